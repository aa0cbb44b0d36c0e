"""A ledger on PostgreSQL: where it lies, who may use it, what is said when it cannot be had, and a server that ends."""

import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.digest import Digest
from bis.errors import KeepingError, NotFound, UsageError
from bis.ledger import database
from bis.ledger.connection import Connection
from bis.ledger.database import MIGRATIONS, SCHEMA, VERSION, statements
from bis.ledger.dialect import for_postgres, spelled
from bis.ledger.group import Writer
from bis.ledger.places import database_at, on_server
from bis.ledger.postgres import PostgresDatabase
from bis.ledger.readers import Readers
from bis.ledger.runs import open_ledger
from bis.nouns.run import Run


def a_run(number: int, status: Any = "finished") -> Run:
    started = f"2026-05-03T00:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    return Run(id=f"{number:012x}", name=f"run-{number}", command=("x",), started=started, status=status)


@pytest.fixture
def named(postgres: Any) -> str:
    """A database of one's own."""
    name: str = postgres.database()
    return name


@pytest.fixture
def url(postgres: Any, named: str) -> str:
    address: str = postgres.url(named)
    return address


def refused(place: str, use: Callable[[Any], Any] = lambda ledger: ledger.count()) -> KeepingError:
    with pytest.raises(KeepingError) as error, open_ledger(place) as ledger:
        use(ledger)
    return error.value


# where it lies


def test_the_tables_lie_in_a_schema_of_their_own(postgres: Any, named: str, url: str) -> None:
    with open_ledger(url) as ledger:
        ledger.begin(a_run(1))
    assert postgres.sql("SELECT count(*) FROM bis.runs", named) == "1"
    assert postgres.sql("SELECT version FROM bis.ledger_version", named) == str(VERSION)
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", named) == "0"


def test_the_url_or_the_role_may_choose_another_schema(postgres: Any, named: str) -> None:
    with open_ledger(postgres.url(named, schema="team")) as ledger:
        ledger.begin(a_run(1))
    with open_ledger(postgres.url(named)) as other:
        assert other.count() == 0
        other.begin(a_run(2))
    postgres.sql("CREATE ROLE by_role LOGIN; ALTER ROLE by_role SET search_path = '$user', team", named)
    postgres.sql("GRANT USAGE ON SCHEMA team TO by_role; GRANT SELECT ON ALL TABLES IN SCHEMA team TO by_role", named)
    with open_ledger(postgres.url(named, user="by_role")) as ledger:
        assert [run.name for run in ledger.runs()] == ["run-1"]


def test_a_ledger_that_is_not_to_be_made_is_not_found_when_written_to(postgres: Any, named: str, url: str) -> None:
    with pytest.raises(NotFound, match=named), open_ledger(url, create=False) as ledger:
        ledger.begin(a_run(1))
    assert postgres.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'bis'", named) == "0"


def test_a_url_is_told_from_a_path() -> None:
    assert on_server("postgresql://ada@host/name")
    assert on_server("postgres://host/name")
    assert not on_server("/srv/postgresql/ledger")
    assert not on_server("postgresql")


def test_a_ledger_says_what_room_it_takes(url: str) -> None:
    with open_ledger(url) as ledger:
        assert ledger.database.size == 0
        ledger.begin(a_run(1))
        assert ledger.database.size > 100_000


def test_every_table_of_the_schema_is_there_with_the_columns_that_are_written_down(
    postgres: Any, named: str, url: str
) -> None:
    import sqlite3

    written = sqlite3.connect(":memory:")
    for statement in statements(SCHEMA.read_text()):
        written.execute(statement)
    with contextlib.closing(database_at(url)) as base, base.writing():
        pass
    for (table,) in written.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        columns = [name for (name,) in written.execute(f"SELECT name FROM pragma_table_info('{table}')")]
        asked = (
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        )
        assert postgres.sql(asked, named).split() == columns, table
    found = postgres.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'bis'", named).split()
    for (index,) in written.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"):
        assert index in found


def test_an_index_on_values_holds_their_beginning_and_numbers_stay_whole() -> None:
    assert for_postgres("CREATE INDEX i ON tags (key, value)") == "CREATE INDEX i ON tags (key, left(value, 128))"
    assert for_postgres("CREATE INDEX i ON metrics (key, value)") == "CREATE INDEX i ON metrics (key, value)"
    assert for_postgres("UPDATE runs SET note = 'an INTEGER'") == "UPDATE runs SET note = 'an INTEGER'"
    assert spelled("SELECT a::bigint FROM t WHERE b = :b AND c = ? AND d LIKE '%?'") == (
        "SELECT a::bigint FROM t WHERE b = %(b)s AND c = %s AND d LIKE '%%?'"
    )


# versions


def test_a_ledger_of_an_older_bis_is_brought_up(
    url: str, named: str, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_ledger(url) as ledger:
        ledger.seal(a_run(1), Digest("b3:1"))
    for path in MIGRATIONS.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / f"{VERSION + 1:04}.sql").write_text(
        "ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'; -- new\n"
        "CREATE TABLE more (id INTEGER PRIMARY KEY, weight REAL, body BLOB) WITHOUT ROWID;"
    )
    monkeypatch.setattr(database, "MIGRATIONS", tmp_path)
    monkeypatch.setattr(database, "VERSION", VERSION + 1)
    with open_ledger(url) as ledger:
        assert ledger.get(a_run(1).id) == a_run(1)
        assert ledger.database.ask("SELECT colour FROM runs") == [("grey",)]
    assert postgres.sql("SELECT version FROM bis.ledger_version", named) == str(VERSION + 1)
    monkeypatch.undo()
    error = refused(url)
    assert error.code == "B053"
    assert f"version {VERSION + 1}" in str(error)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    url: str, named: str, postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_ledger(url) as ledger:
        ledger.seal(a_run(1), Digest("b3:1"))
    (tmp_path / f"{VERSION + 1:04}.sql").write_text("CREATE TABLE more (x TEXT); SELECT nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", tmp_path)
        patch.setattr(database, "VERSION", VERSION + 1)
        refused(url)
    assert postgres.sql("SELECT to_regclass('bis.more')", named) == ""
    with open_ledger(url) as ledger:
        assert ledger.count() == 1


# who may use it, and what is said


def test_a_password_comes_from_the_url_or_from_where_libpq_looks_and_is_never_shown(
    postgres: Any, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_ledger(postgres.url(named, port=True, password=postgres.PASSWORD)) as ledger:
        ledger.begin(a_run(1))
        assert ledger.database.place == f"postgresql://ada@127.0.0.1:{postgres.port}/{named}"
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", postgres.PASSWORD)
        assert open_ledger(postgres.url(named, port=True)).count() == 1
    with monkeypatch.context() as patch:
        (tmp_path / "pgpass").write_text(f"127.0.0.1:{postgres.port}:*:ada:{postgres.PASSWORD}\n")
        (tmp_path / "pgpass").chmod(0o600)
        patch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
        assert open_ledger(postgres.url(named, port=True)).count() == 1
    with monkeypatch.context() as patch:
        service = f"[team]\nhost=127.0.0.1\nport={postgres.port}\nuser=ada\npassword={postgres.PASSWORD}\n"
        (tmp_path / "services").write_text(service + f"dbname={named}\n")
        patch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        with open_ledger("postgresql:///?service=team") as ledger:
            assert ledger.count() == 1
            assert ledger.database.place == "postgresql:///?service=team"
    for wrong in ("geheim", "ada", "%40%20x"):
        error = refused(postgres.url(named, port=True).replace("ada@", f"ada:{wrong}@"))
        assert error.code == "B071"
        assert "password" in str(error)
        assert "geheim" not in str(error)
        assert "PGPASSWORD" in error.hint


@pytest.mark.parametrize(
    "place",
    ["postgresql://ada:sec#ret@host/x", "postgresql://ada:sec/ret@host/x", "postgresql://ada:sec%ret@host:99/x"],
)
def test_a_url_that_cannot_be_read_is_not_shown(place: str) -> None:
    with pytest.raises((UsageError, KeepingError)) as error:
        open_ledger(place).count()
    assert "ret@" not in str(error.value)
    assert "sec" not in str(error.value)


def test_what_keeps_a_person_out_is_named(postgres: Any, named: str, url: str) -> None:
    with contextlib.closing(__import__("socket").create_server(("127.0.0.1", 0))) as free:
        nobody = free.getsockname()[1]
    error = refused(f"postgresql://ada@127.0.0.1:{nobody}/{named}")
    assert (error.code, error.because) == ("B071", "No server answers there.")
    error = refused(postgres.url("absent"))
    assert (error.code, error.because, error.hint) == ("B071", "The server has no such database.", "createdb absent")
    assert refused(postgres.url(named, user="nobody_here")).code == "B071"


def test_rights_that_are_missing_are_named_with_the_statement_that_gives_them(
    postgres: Any, named: str, url: str
) -> None:
    role = f"guest_{named}"
    postgres.sql(f"CREATE ROLE {role} LOGIN", named)
    guest = postgres.url(named, user=role)
    assert open_ledger(guest).runs() == []
    error = refused(guest, lambda ledger: ledger.begin(a_run(1)))
    assert (error.code, error.hint) == ("B051", f"GRANT CREATE ON DATABASE {named} TO {role}")
    with open_ledger(url) as ledger:
        ledger.begin(a_run(1))
    postgres.sql(f"GRANT USAGE ON SCHEMA bis TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA bis TO {role}", named)
    with open_ledger(guest) as ledger:
        assert ledger.count() == 1
        with pytest.raises(KeepingError) as caught:
            ledger.begin(a_run(2))
    assert caught.value.code == "B051"
    assert caught.value.hint.startswith("GRANT SELECT, INSERT")
    postgres.sql(f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bis TO {role}", named)
    with open_ledger(guest) as ledger:
        ledger.begin(a_run(2))


def test_a_database_that_cannot_hold_unicode_is_refused(postgres: Any, named: str) -> None:
    postgres.sql(f"CREATE DATABASE {named}_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    error = refused(postgres.url(f"{named}_latin"))
    assert "LATIN1" in str(error)
    assert "UTF8" in error.hint


def test_a_missing_table_is_named(postgres: Any, named: str, url: str) -> None:
    with open_ledger(url) as ledger:
        ledger.begin(a_run(1))
    postgres.sql("DROP TABLE bis.tags", named)
    error = refused(url, lambda ledger: ledger.rows())
    assert "bis" in str(error)
    assert "tags" in str(error)


def test_psycopg_is_asked_for_only_where_a_url_is_and_then_by_name(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")
    program = f"""
from pathlib import Path
from bis.errors import KeepingError
from bis.ledger.readers import Readers
from bis.ledger.runs import open_ledger
assert open_ledger(Path({str(tmp_path / "ledger")!r})).runs() == []
try:
    open_ledger("postgresql://ada:secret@host/name").runs()
except KeepingError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "psycopg" in done.stdout
    assert "bis[postgres]" in done.stdout
    assert "secret" not in done.stdout


def test_a_ledger_that_is_locked_for_too_long_says_so(
    postgres: Any, named: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    with contextlib.closing(database_at(url)) as base, base.writing(), open_ledger(url) as ledger:
        assert ledger.count() == 0  # reading goes on
        with pytest.raises(KeepingError) as error:
            ledger.begin(a_run(2))
        assert error.value.code == "B056"
    with open_ledger(url) as ledger:
        ledger.begin(a_run(2))


def test_who_prefers_speed_has_it_for_what_need_not_survive_power_loss(url: str) -> None:
    with contextlib.closing(database_at(f"{url}&options=-csynchronous_commit%3Doff")) as base:
        for durable, said in ((True, "on"), (False, "off"), (True, "on")):
            with base.writing(durable=durable) as connection:
                assert connection.execute("SHOW synchronous_commit").fetchall() == [(said,)]
    with contextlib.closing(database_at(url)) as base, base.writing(durable=False) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchall() == [("on",)]


# a server that ends


@pytest.fixture
def running(postgres: Any) -> Iterator[Any]:
    """The server, which runs again afterwards."""
    yield postgres
    with contextlib.suppress(AssertionError):
        postgres.sql("SELECT 1")
        return
    postgres.start()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_was_restarted_is_found_again(running: Any, url: str, how: int) -> None:
    with open_ledger(url) as ledger:
        ledger.begin(a_run(1))
        with ledger.database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
            running.stop(how)
            running.start()
            assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
        running.stop(how)
        running.start()
        assert ledger.count() == 1
        running.stop(how)
        running.start()
        ledger.begin(a_run(2))
        assert ledger.count() == 2


def test_a_reader_of_several_things_at_one_moment_asks_all_of_them_again(running: Any, url: str) -> None:
    asked = []

    def question(connection: Connection) -> list[Any]:
        first = connection.execute("SELECT count(*) FROM tags").fetchall()
        if not asked:
            running.stop(signal.SIGINT)
            running.start()
        asked.append(first)
        return [first, connection.execute("SELECT count(*) FROM tags").fetchall()]

    with contextlib.closing(database_at(url)) as base:
        with base.writing():
            pass
        readers = Readers(base)
        assert readers.ask(question) == [[(0,)], [(0,)]]
        assert len(asked) == 2
        readers.close()


def test_a_change_whose_server_ends_leaves_nothing_and_says_so(running: Any, url: str) -> None:
    with contextlib.closing(database_at(url)) as base:
        with base.writing():
            pass

        def change() -> None:
            with base.writing() as connection:
                connection.execute("INSERT INTO tags (run, key, value) VALUES (1, 'a', 'b')")
                running.stop(signal.SIGQUIT)
                running.start()
                connection.execute("INSERT INTO tags (run, key, value) VALUES (1, 'b', 'b')")

        with pytest.raises(KeepingError) as error:
            change()
        assert error.value.code == "B071"
        assert "Nothing of the change" in error.value.because
        assert base.ask("SELECT key FROM tags") == []


def test_a_commit_that_nobody_answered_is_called_unknown(running: Any, url: str) -> None:
    with contextlib.closing(database_at(url)) as base:
        with base.writing():
            pass

        def change() -> None:
            with base.writing() as connection:
                connection.execute("INSERT INTO tags (run, key, value) VALUES (1, 'a', 'b')")
                running.stop(signal.SIGQUIT)

        with pytest.raises(KeepingError) as error:
            change()
        assert error.value.code == "B072"
        assert "not known" in error.value.because
        running.start()
        assert base.ask("SELECT key FROM tags") == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_restart_under_load_loses_no_change_that_was_acknowledged(running: Any, url: str, how: int) -> None:
    """Writers of this process and a group of changes, durable ones and others, while the server goes down and comes
    back, by order and by a crash."""
    noted: list[str] = []
    wrong: list[BaseException] = []
    ending = threading.Event()

    def work(number: int) -> None:
        with contextlib.closing(PostgresDatabase(url)) as base:
            for turn in range(100_000):
                if ending.is_set():
                    return
                key = f"{number}-{turn}"
                try:
                    with base.writing(durable=bool(turn % 2)) as connection:
                        connection.execute("INSERT INTO tags (run, key, value) VALUES (1, ?, '')", (key,))
                except KeepingError as error:
                    if error.code not in ("B071", "B072"):
                        wrong.append(error)
                else:
                    noted.append(key)

    def put(connection: Connection, key: str) -> int:
        return connection.execute("INSERT INTO tags (run, key, value) VALUES (2, ?, '')", (key,)).rowcount

    def gather() -> None:
        with contextlib.closing(PostgresDatabase(url)) as base:
            writer = Writer(base)
            for turn in range(100_000):
                if ending.is_set():
                    break
                keys = [f"group-{turn}-{number}" for number in range(20)]
                waiting = [(key, writer.submit(functools.partial(put, key=key))) for key in keys]
                for key, done in waiting:
                    try:
                        if done.result() == 1:
                            noted.append(key)
                    except KeepingError as error:
                        if error.code not in ("B071", "B072"):
                            wrong.append(error)
            writer.close()

    with contextlib.closing(PostgresDatabase(url)) as base, base.writing():
        pass
    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)] + [threading.Thread(target=gather)]
    for worker in workers:
        worker.start()
    numbers = random.Random(how)
    for _ in range(3):
        time.sleep(numbers.uniform(0.2, 0.5))
        running.stop(how)
        running.start()
    time.sleep(0.3)
    ending.set()
    for worker in workers:
        worker.join()
    assert not wrong
    with contextlib.closing(PostgresDatabase(url)) as base:
        there = {key for (key,) in base.ask("SELECT key FROM tags")}
    assert len(noted) > 100
    assert not set(noted) - there
