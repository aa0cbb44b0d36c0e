"""Changes of many go through one writer; questions wait for nobody."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bis.errors import KeepingError
from bis.ledger import group
from bis.ledger.group import Change, Writer
from bis.ledger.readers import Readers
from bis.ledger.sqlite import SqliteDatabase
from bis.store.trouble import DISK_FULL


@pytest.fixture
def database(tmp_path):
    database = SqliteDatabase(tmp_path / "ledger.db")
    with database.writing():
        pass
    yield database
    database.close()


@pytest.fixture
def writer(database):
    writer = Writer(database)
    yield writer
    writer.close()


@pytest.fixture
def readers(database):
    readers = Readers(database)
    yield readers
    readers.close()


def add(connection, name):
    connection.execute("INSERT INTO names (name, given) VALUES (?, 1)", (name,))
    return name


def names(connection):
    return [name for (name,) in connection.execute("SELECT name FROM names ORDER BY name").fetchall()]


def held(writer):
    """Keeps the writer at work until it is released, so that what is submitted meanwhile comes together."""
    begun, release = threading.Event(), threading.Event()

    def wait(_):
        begun.set()
        assert release.wait(30)

    done = writer.submit(wait)
    assert begun.wait(30)
    return release, done


def test_a_change_that_fails_takes_back_what_it_did_and_nothing_else(writer, readers):
    def fail(connection):
        add(connection, "lost")
        raise ValueError("no")

    release, _ = held(writer)
    changes = [writer.submit(lambda c, name=name: add(c, name)) for name in ("a", "b")]
    failed = [writer.submit(fail)]
    release.set()
    assert [change.result(30) for change in changes] == ["a", "b"]
    failed.append(writer.submit(fail))  # alone in its transaction
    for change in failed:
        with pytest.raises(ValueError, match="no"):
            change.result(30)
    assert readers.ask(names) == ["a", "b"]


def test_a_question_does_not_wait_for_a_change_under_way(writer, readers):
    begun, release = threading.Event(), threading.Event()

    def slow(connection):
        add(connection, "slow")
        begun.set()
        assert release.wait(30)

    done = writer.submit(slow)
    assert begun.wait(30)
    assert readers.ask(names) == []
    release.set()
    done.result(30)
    assert readers.ask(names) == ["slow"]


def test_a_question_sees_the_ledger_of_one_moment(writer, readers):
    def twice(connection):
        before = names(connection)
        writer.submit(lambda c: add(c, "between")).result(30)
        return before, names(connection)

    assert readers.ask(twice) == ([], [])
    assert readers.ask(names) == ["between"]


def test_many_threads_write_and_none_is_turned_away(writer, readers):
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda number: writer.submit(lambda c: add(c, f"{number:04}")).result(30), range(1000)))
    assert len(readers.ask(names)) == 1000


def test_another_process_that_writes_is_waited_for(database, writer, readers):
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    add(other, "theirs")
    done = writer.submit(lambda c: add(c, "ours"))
    assert not done.done()
    other.execute("COMMIT")
    other.close()
    assert done.result(30) == "ours"
    assert readers.ask(names) == ["ours", "theirs"]


def test_who_comes_when_too_many_wait_is_asked_to_come_again(writer, monkeypatch):
    monkeypatch.setattr(group, "WAITING", 3)
    release, _ = held(writer)
    waiting = [writer.submit(lambda c, name=name: add(c, name)) for name in "abc"]
    with pytest.raises(KeepingError, match="wait to be written"):
        writer.submit(lambda c: add(c, "d"))
    release.set()
    assert [change.result(30) for change in waiting] == ["a", "b", "c"]


def test_what_was_submitted_before_the_end_is_written(database, readers):
    writer = Writer(database)
    release, _ = held(writer)
    changes = [writer.submit(lambda c, name=name: add(c, name)) for name in "ab"]
    release.set()
    writer.close()
    assert [change.result(0) for change in changes] == ["a", "b"]
    assert readers.ask(names) == ["a", "b"]


def test_small_changes_are_made_right_here_while_nobody_else_writes(database, writer, readers):
    told = []

    def change(name):
        def fail(connection):
            add(connection, name)
            raise ValueError(name)

        apply = fail if name == "bad" else lambda connection: add(connection, name)
        return Change(apply, False, lambda result, trouble: told.append((result, type(trouble))))

    assert writer.now([change("a"), change("bad"), change("b")])
    assert told == [("a", type(None)), (None, ValueError), ("b", type(None))]
    with database.writing() as connection:
        add(connection, "theirs")
        assert not writer.now([change("c")])
    assert writer.now([change("bad")])
    assert told[3:] == [(None, ValueError)]
    assert readers.ask(names) == ["a", "b", "theirs"]


def test_changes_that_all_succeed_are_made_once_and_those_beside_one_that_fails_again(writer, readers):
    made = []

    def change(name):
        def apply(connection):
            made.append(name)
            if name == "bad":
                raise ValueError(name)
            return add(connection, name)

        return apply

    release, _ = held(writer)
    done = [writer.submit(change(name)) for name in "ab"]
    release.set()
    assert [one.result(30) for one in done] == ["a", "b"]
    assert made == ["a", "b"]

    release, _ = held(writer)
    done = [writer.submit(change(name)) for name in ("c", "bad", "d")]
    release.set()
    assert [one.result(30) for one in (done[0], done[2])] == ["c", "d"]
    assert isinstance(done[1].exception(30), ValueError)
    assert made[2:] == ["c", "bad", "c", "bad", "d"]
    assert readers.ask(names) == ["a", "b", "c", "d"]


def test_a_full_disk_is_told_as_one_to_all_that_came_together(database, writer):
    with database.writing() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS names (name, given)")
    with database.reading() as connection:
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    release, _ = held(writer)
    several = [writer.submit(lambda connection: add(connection, "x" * 100_000)) for _ in range(3)]
    release.set()
    for future in several:
        with pytest.raises(KeepingError, match="no room") as told:
            future.result(timeout=30)
        assert told.value.code == DISK_FULL


def test_that_a_database_cannot_be_opened_right_here_is_told_to_who_asked(tmp_path):
    folder = tmp_path / "place"
    writer = Writer(SqliteDatabase(folder / "ledger.db"))
    folder.write_text("a file in the way")
    told = []
    assert writer.now([Change(names, False, lambda result, trouble: told.append(trouble))])
    assert told[0] is not None
    writer.close()
