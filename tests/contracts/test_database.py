"""What every database under a ledger promises to the statements that are given to it: SQLite or PostgreSQL."""

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.errors import BisError, UsageError
from bis.ledger import experiments
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.places import database_at
from bis.ledger.readers import Asking, Readers
from bis.server.reset import forget


@pytest.fixture
def base(ledger_place: Path | str) -> Iterator[Database]:
    with contextlib.closing(database_at(ledger_place)) as base:
        yield base


def put_tag(connection: Connection, key: str, value: str, number: Any = None) -> None:
    connection.execute("INSERT INTO tags (run, key, value, number) VALUES (?, ?, ?, ?)", (1, key, value, number))


def tags(base: Database) -> dict[str, str]:
    return dict(base.ask("SELECT key, value FROM tags ORDER BY key"))


def test_asking_makes_nothing(base: Database) -> None:
    assert base.ask("SELECT 1") == []
    assert not base.there
    with base.writing():
        pass
    assert base.there
    assert base.another().there


def test_a_change_that_fails_leaves_nothing(base: Database) -> None:
    with contextlib.suppress(ZeroDivisionError), base.writing() as connection:
        put_tag(connection, "a", "b")
        raise ZeroDivisionError
    assert tags(base) == {}
    with base.writing(durable=False) as connection:
        put_tag(connection, "a", "c")
    assert tags(base) == {"a": "c"}


def test_a_savepoint_takes_back_what_follows_it_also_after_an_error(base: Database) -> None:
    with base.writing() as connection:
        put_tag(connection, "a", "1")
        connection.execute("SAVEPOINT change")
        put_tag(connection, "b", "2")
        with pytest.raises(Exception, match=r"."):
            put_tag(connection, "a", "again")
        connection.execute("ROLLBACK TO change")
        connection.execute("RELEASE change")
        put_tag(connection, "c", "3")
    assert tags(base) == {"a": "1", "c": "3"}


def test_an_error_of_the_database_is_told_in_words(base: Database) -> None:
    with base.writing() as connection:
        connection.execute("SAVEPOINT change")
        try:
            connection.execute("SELECT nothing FROM nowhere")
        except Exception as error:
            told = base.told(error)
        connection.execute("ROLLBACK TO change")
    assert isinstance(told, BisError)
    assert base.told(ZeroDivisionError()).__class__ is ZeroDivisionError
    with pytest.raises(BisError):
        base.ask("SELECT nothing FROM nowhere")


def test_values_are_bound_by_place_and_by_name_and_what_is_in_quotes_stays(base: Database) -> None:
    with base.writing() as connection:
        put_tag(connection, "100%", "what?")
        put_tag(connection, ":key", "%s %(key)s")
        named = connection.execute(
            "SELECT value FROM tags WHERE key = :key AND value <> '?:key%''%s' AND key LIKE '%' || :key",
            {"key": "100%"},
        )
        assert named.fetchall() == [("what?",)]
        asked = "SELECT key FROM tags WHERE value = ? AND key LIKE ':%' AND '%s' <> ?"
        assert connection.execute(asked, ("%s %(key)s", "x")).fetchall() == [(":key",)]
        assert connection.execute("SELECT count(*) FROM tags WHERE key LIKE '%0\\%' ESCAPE '\\'").fetchone() == (1,)


def test_answers_are_plain_values(base: Database) -> None:
    with base.writing() as connection:
        changed = connection.executemany(
            "INSERT INTO tags (run, key, value, number) VALUES (?, ?, ?, ?)",
            ((7, str(number), "x", number / 2) for number in range(1, 5)),
        )
        assert changed.rowcount == 4
        asked = "SELECT sum(run), count(*), max(run), min(number), sum(number), avg(number) FROM tags"
        found = connection.execute(asked).fetchone()
        assert found == (28, 4, 7, 0.5, 5.0, 1.25)
        assert [type(value) for value in found] == [int, int, int, float, float, float]
        gone = connection.execute("DELETE FROM tags WHERE key = ?", ("1",))
        assert (gone.rowcount, gone.fetchall(), gone.fetchone(), list(gone)) == (1, [], None, [])
        assert list(connection.execute("SELECT key FROM tags ORDER BY key")) == [("2",), ("3",), ("4",)]
        assert connection.execute("SELECT key FROM tags WHERE run = ?", (True,)).fetchall() == []


def test_bytes_and_the_widest_numbers_come_back(base: Database) -> None:
    blob = bytes(range(256)) * 40
    with base.writing() as connection:
        insert = "INSERT INTO annotations (record, run, made, content) VALUES (?, 'x', ?, ?) RETURNING seq"
        ((seq,),) = connection.execute(insert, ("a", (1 << 63) - 1, blob)).fetchall()
        asked = "SELECT made, content FROM annotations WHERE seq = ?"
        assert connection.execute(asked, (seq,)).fetchall() == [((1 << 63) - 1, blob)]
        ((following,),) = connection.execute(insert, ("b", -(1 << 63), memoryview(b"x"))).fetchall()
        assert following == seq + 1


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 1 << 200, "\ud800"])
def test_what_no_ledger_can_hold_is_refused(base: Database, value: Any) -> None:
    with pytest.raises(UsageError), base.writing() as connection:
        connection.execute("INSERT INTO tags (run, key, value) VALUES (1, 'x', ?)", (value,))
    assert tags(base) == {}


def test_numbers_that_are_no_numbers(base: Database) -> None:
    with base.writing() as connection:
        for key, number in (("nan", math.nan), ("much", math.inf), ("less", -math.inf), ("nothing", None)):
            put_tag(connection, key, "", number)
    found = dict(base.ask("SELECT key, number FROM tags"))
    assert found == {"nan": None, "much": math.inf, "less": -math.inf, "nothing": None}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\1\2aZé_%\\'\""))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(TEXTS, unique=True, max_size=8))
def test_any_text_comes_back_is_found_and_sorts_by_its_bytes(base: Database, texts: list[str]) -> None:
    with base.writing() as connection:
        connection.execute("DELETE FROM tags")
        for number, text in enumerate(texts):
            put_tag(connection, str(number), text)
    assert [text for (text,) in base.ask("SELECT value FROM tags ORDER BY value")] == sorted(texts, key=str.encode)
    for number, text in enumerate(texts):
        assert base.ask("SELECT key FROM tags WHERE value = ?", (text,)) == [(str(number),)]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 340, 1000])
def test_many_rows_are_inserted_and_changed_as_one_by_one(base: Database, count: int) -> None:
    insert = (
        "INSERT INTO tags (run, key, value, number) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, number = excluded.number"
    )
    for text in ("a\0\1b", "it's 100 % ? :x $1"):
        rows = [(1, str(number), f"{text}{number}", None if number % 2 else number / 3) for number in range(count)]
        with base.writing() as connection:
            assert max(connection.executemany(insert, rows).rowcount, 0) == count
        assert sorted(base.ask("SELECT run, key, value, number FROM tags")) == sorted(rows)
    with base.writing() as connection:
        connection.executemany("UPDATE tags SET value = ? WHERE key = ?", [("new", row[1]) for row in rows])
    assert set(tags(base).values()) == ({"new"} if count else set())


def test_a_value_may_be_longer_than_an_index_takes(base: Database) -> None:
    import random

    long = random.Random(3).randbytes(20_000).hex()
    with base.writing() as connection:
        put_tag(connection, "long", long)
        connection.execute("INSERT INTO params (run, key, value) VALUES (1, 'long', ?)", (long,))
    assert base.ask("SELECT key FROM tags WHERE key = ? AND value = ?", ("long", long)) == [("long",)]


def test_the_default_experiment_is_there_and_the_next_is_another(base: Database) -> None:
    with base.writing() as connection:
        assert experiments.get(connection, 0).name == "Default"
        made = [experiments.create(connection, name, "", {}, 1) for name in ("one", "two")]
        assert made == [1, 2]


def test_a_failed_change_does_not_keep_the_ids_of_those_that_follow_from_rising(base: Database) -> None:
    insert = "INSERT INTO series (run, key) VALUES (1, ?) RETURNING id"
    found = []
    for number in range(4):
        with contextlib.suppress(ZeroDivisionError), base.writing() as connection:
            ((seq,),) = connection.execute(insert, (f"{number}",)).fetchall()
            if number % 2:
                raise ZeroDivisionError
            found.append(seq)
    assert found == sorted(set(found))


def test_writers_take_turns_so_that_what_one_has_read_is_still_so_when_it_writes(base: Database) -> None:
    with base.writing() as connection:
        put_tag(connection, "count", "0")

    def work() -> None:
        with contextlib.closing(base.another()) as own:
            for _ in range(25):
                with own.writing(durable=False) as connection:
                    ((value,),) = connection.execute("SELECT value FROM tags WHERE key = 'count'").fetchall()
                    connection.execute("UPDATE tags SET value = ? WHERE key = 'count'", (str(int(value) + 1),))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tags(base) == {"count": "100"}


def test_those_who_come_first_at_once_make_one_ledger(base: Database) -> None:
    wrong: list[BaseException] = []
    together = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            with contextlib.closing(base.another()) as own:
                together.wait()
                with own.writing() as connection:
                    put_tag(connection, str(number), "x")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(tags(base)) == ["0", "1", "2", "3"]


def test_a_reader_waits_for_no_writer_and_sees_what_was_committed(base: Database) -> None:
    with base.writing() as connection:
        put_tag(connection, "a", "1")
    with contextlib.closing(base.another()) as other, base.writing() as connection:
        put_tag(connection, "b", "2")
        assert base.ask("SELECT count(*) FROM tags") == [(2,)]  # what it wrote itself
        with other.reading() as asking:
            assert asking.execute("SELECT count(*) FROM tags").fetchall() == [(1,)]


def test_a_ledger_that_was_told_to_forget_numbers_as_a_new_one_does(base: Database) -> None:
    for _ in range(2):
        with base.writing() as connection:
            made = [experiments.create(connection, name, "", {}, 1) for name in ("a", "b")]
        assert made == [1, 2]
        with base.writing() as connection:
            forget(connection, base)
        assert base.ask("SELECT id, name FROM experiments") == [(0, "Default")]


def test_a_question_is_given_up_from_another_thread_and_the_next_is_answered(base: Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0) SELECT count(*) FROM n"
    with base.writing():
        pass
    readers, asking, begun = Readers(base), Asking(), threading.Event()

    def ask(connection: Connection) -> None:
        begun.set()
        connection.execute(endless).fetchall()

    def give_up() -> None:
        assert begun.wait(30)
        while not ended.wait(0.05):
            asking.give_up()

    ended = threading.Event()
    other = threading.Thread(target=give_up)
    other.start()
    with pytest.raises(BisError):
        readers.ask(ask, asking)
    ended.set()
    other.join()
    assert readers.ask(lambda connection: connection.execute("SELECT 1").fetchall()) == [(1,)]
    asking.give_up()
    readers.close()


def test_its_state_is_another_one_once_somebody_else_has_changed_something(base: Database) -> None:
    watching = base.another()
    assert watching.state() == ""
    with base.writing() as connection:
        put_tag(connection, "a", "1")
    before = watching.state()
    assert before == watching.state() != ""
    with base.writing() as connection:
        put_tag(connection, "b", "1")
    assert watching.state() != before
    watching.close()
