"""The ledger's file: versions, folders that cannot be written, full disks, damage, and many processes."""

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.digest import Digest, digest_value
from bis.errors import KeepingError, NotFound
from bis.ledger import database, sqlite
from bis.ledger.database import MIGRATIONS, VERSION, statements
from bis.ledger.noted import columns
from bis.ledger.runs import open_ledger
from bis.ledger.sqlite import SqliteDatabase, migrate
from bis.nouns.part import Part
from bis.nouns.run import Run

FORK = multiprocessing.get_context("fork")


def a_run(number: int, status: Any = "finished") -> Run:
    started = f"2026-05-03T00:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    return Run(id=f"{number:012x}", name=f"run-{number}", command=("x",), started=started, status=status)


def fill(path: Path, count: int = 1) -> None:
    with open_ledger(path) as ledger:
        for number in range(count):
            ledger.seal(a_run(number), Digest(f"b3:{number}"))


# the schema


def shape(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
    # A column that was added later stands behind a comma of its own.
    return [(name, " ".join(sql.split()).replace(" ,", ",").replace(" )", ")")) for name, sql in rows]


def rows(connection: sqlite3.Connection) -> list[str]:
    """What the tables hold from the beginning."""
    return [line for line in connection.iterdump() if line.startswith("INSERT")]


def test_the_migrations_lead_to_the_schema_that_is_written_down() -> None:
    stepwise, written = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    migrate(stepwise)
    for statement in statements((MIGRATIONS.parent / "schema.sql").read_text()):
        written.execute(statement)
    assert shape(stepwise) == shape(written)
    assert rows(stepwise) == rows(written)
    assert stepwise.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert sorted(path.name for path in MIGRATIONS.iterdir()) == [
        f"{number:04}.sql" for number in range(1, VERSION + 1)
    ]


def test_a_ledger_of_an_older_bis_is_brought_up_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "ledger.db")
    later = tmp_path / "migrations"
    later.mkdir()
    for path in MIGRATIONS.iterdir():
        (later / path.name).write_text(path.read_text())
    (later / f"{VERSION + 1:04}.sql").write_text(
        "ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'; -- new\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", later)
    monkeypatch.setattr(database, "VERSION", VERSION + 1)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.get(a_run(0).id) == a_run(0)
        assert ledger.database.ask("SELECT colour FROM runs") == [("grey",)]


def test_a_ledger_from_before_data_sets_learns_what_its_runs_used(tmp_path: Path) -> None:
    file = digest_value("a file")
    part = Part(kind="data", digest=file, facts={"inputs": [{"path": "x", "digest": file, "size": 1}]})
    row = columns(msgspec.structs.replace(a_run(1), parts={"data": part}), "b3:1")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        for number in (1, 2, 3):
            for statement in statements((MIGRATIONS / f"{number:04}.sql").read_text()):
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 3")
        connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)
    connection.close()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.data.users([file]) == [a_run(1).id]


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "ledger.db")
    later = tmp_path / "migrations"
    later.mkdir()
    (later / f"{VERSION + 1:04}.sql").write_text("CREATE TABLE more (x); SELECT nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", later)
        patch.setattr(database, "VERSION", VERSION + 1)
        with pytest.raises(KeepingError):
            open_ledger(tmp_path / "ledger.db").count()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.count() == 1
        assert ledger.database.ask("SELECT 1 FROM sqlite_schema WHERE name = 'more'") == []


def test_a_ledger_of_a_newer_bis_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path / "ledger.db")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "ledger.db").read_bytes()
    for use in (lambda ledger: ledger.count(), lambda ledger: ledger.begin(a_run(1))):
        with pytest.raises(KeepingError) as error:
            use(open_ledger(tmp_path / "ledger.db"))
        assert error.value.code == "B053"
        assert "version 99" in str(error.value)
        assert f"up to {VERSION}" in str(error.value)
    assert (tmp_path / "ledger.db").read_bytes() == before


# folders and files


def test_asking_makes_no_file(tmp_path: Path) -> None:
    for create in (True, False):
        with open_ledger(tmp_path / "deep" / "ledger.db", create) as ledger:
            assert ledger.runs() == []
            assert ledger.count("metrics.x > 1") == 0
            assert ledger.last("x") is None
    assert list(tmp_path.iterdir()) == []


def test_the_first_run_makes_the_folder(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "er" / "ledger.db")
    assert (tmp_path / "deep" / "er" / "ledger.db").exists()


def test_a_ledger_that_is_not_to_be_made_is_not_found_when_written_to(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_ledger(tmp_path / "ledger.db", create=False).begin(a_run(1))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(plain_folder: Path, apart: Callable[..., Any]) -> None:
    plain_folder.chmod(0o555)
    for path in (plain_folder / "ledger.db", plain_folder / "sub" / "ledger.db"):
        name, code, text = apart(lambda path=path: open_ledger(path).begin(a_run(1)))
        assert (name, code) == ("KeepingError", "B051")
        assert "BIS_LEDGER" in text
    plain_folder.chmod(0o755)


def test_a_read_only_ledger_can_be_asked_and_says_why_it_cannot_be_written(
    plain_folder: Path, apart: Callable[..., Any]
) -> None:
    fill(plain_folder / "ledger.db", 3)
    plain_folder.chmod(0o555)
    (plain_folder / "ledger.db").chmod(0o444)
    try:
        assert apart(lambda: len(open_ledger(plain_folder / "ledger.db").runs())) == 3
        assert apart(lambda: open_ledger(plain_folder / "ledger.db").begin(a_run(9)))[:2] == ("KeepingError", "B051")
    finally:
        plain_folder.chmod(0o755)


def test_another_users_ledger_can_be_asked_while_he_writes_to_it(plain_folder: Path, apart: Callable[..., Any]) -> None:
    with open_ledger(plain_folder / "ledger.db") as ledger:
        ledger.seal(a_run(1), Digest("b3:1"))
        assert (plain_folder / "ledger.db-wal").exists()
        plain_folder.chmod(0o555)
        try:
            assert apart(lambda: len(open_ledger(plain_folder / "ledger.db").runs())) == 1
        finally:
            plain_folder.chmod(0o755)


def test_a_ledger_on_a_network_file_system_is_kept_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "network_file_system", lambda folder: "nfs4")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "net" / "ledger.db")
    assert not (tmp_path / "net").exists()
    with open_ledger(tmp_path / "net" / "ledger.db") as ledger:
        assert ledger.count() == 1
        assert ledger.database.relocated
        assert "network file system (nfs4)" in ledger.database.remark
        assert str(tmp_path / "cache") in ledger.database.remark
        assert ledger.database.path.is_relative_to(tmp_path / "cache")
    with open_ledger(tmp_path / "other" / "ledger.db") as other:
        assert other.count() == 0


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be taken for one" * 100, b"SQLite format 3\0" + b"\7" * 9000]
)
def test_a_damaged_ledger_says_how_to_make_it_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(KeepingError) as error:
        open_ledger(tmp_path / "ledger.db").count()
    assert error.value.code == "B060"
    assert "bis reindex" in error.value.hint
    assert (tmp_path / "ledger.db").read_bytes() == content


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    def work(out: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
        ledger = open_ledger(tmp_path / "ledger.db")
        done, codes = 0, set()
        for number in range(100):
            run = a_run(number)
            try:
                noise = random.Random(number).randbytes(5000).hex()
                ledger.seal(
                    Run(**{**{name: getattr(run, name) for name in run.__struct_fields__}, "note": noise}),
                    Digest("b3:"),
                )
                done += 1
            except KeepingError as error:
                codes.add(error.code)
        out.send((done, codes))

    here, there = FORK.Pipe()
    process = FORK.Process(target=work, args=(there,))
    process.start()
    process.join()
    done, codes = here.recv()
    assert 0 < done < 100
    assert codes == {"B050"}
    assert open_ledger(tmp_path / "ledger.db").count() == done


def test_a_ledger_that_is_locked_for_too_long_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    fill(tmp_path / "ledger.db")
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger = open_ledger(tmp_path / "ledger.db")
        assert ledger.count() == 1  # reading goes on
        with pytest.raises(KeepingError) as error:
            ledger.begin(a_run(2))
        assert error.value.code == "B056"
        other.execute("ROLLBACK")
        ledger.begin(a_run(2))


# processes


def test_many_processes_may_begin_and_seal_at_once(ledger_place: Path | str) -> None:
    def work(seed: int) -> None:
        with open_ledger(ledger_place) as ledger:
            for number in range(20):
                run = a_run(seed * 100 + number)
                ledger.begin(run)
                ledger.seal(run, Digest("b3:"))

    writers = [FORK.Process(target=work, args=(seed,)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert open_ledger(ledger_place).count() == 80


def test_no_two_processes_are_given_the_same_name(ledger_place: Path | str) -> None:
    def work(out: Any) -> None:
        with open_ledger(ledger_place) as ledger:
            out.send([ledger.name("train", "2026-05-03T00:00:00Z") for _ in range(10)])

    pipes = [FORK.Pipe() for _ in range(8)]
    writers = [FORK.Process(target=work, args=(there,)) for _, there in pipes]
    for writer in writers:
        writer.start()
    names = [name for here, _ in pipes for name in here.recv()]
    for writer in writers:
        writer.join()
    assert sorted(names, key=lambda name: int(name[6:])) == [f"train-{number}" for number in range(1, 81)]


def test_a_ledger_that_is_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(KeepingError, match="is a folder") as error:
        open_ledger(tmp_path).count()
    assert error.value.hint == f"BIS_LEDGER={tmp_path}/ledger.db"


def test_a_ledger_from_before_annotations_has_its_notes(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as connection:
        for statement in statements((MIGRATIONS / "0001.sql").read_text()):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        row = columns(msgspec.structs.replace(a_run(1), note="why"), "b3:1")
        del row["note"]
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    connection.close()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert [row.note for row in ledger.rows("note = 'why'")] == ["why"]


def test_what_was_acknowledged_survives_a_kill(ledger_place: Path | str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.touch()

    def work(start: int) -> None:
        ledger = open_ledger(ledger_place)
        with journal.open("ab", buffering=0) as file:
            for number in range(start, start + 10_000):
                ledger.seal(a_run(number), Digest("b3:"))
                file.write(b"%d\n" % number)

    numbers = random.Random(3)
    for part in range(5):
        writer = FORK.Process(target=work, args=(part * 10_000,))
        writer.start()
        time.sleep(numbers.uniform(0.03, 0.15))
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        with open_ledger(ledger_place) as ledger:
            for line in journal.read_text().split():
                assert ledger.get(a_run(int(line)).id)
    if isinstance(ledger_place, Path):
        with sqlite3.connect(ledger_place) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_beginnings_and_seals_wait_for_the_disk(tmp_path: Path) -> None:
    base = SqliteDatabase(tmp_path / "ledger.db")
    with base.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert base.ask("PRAGMA synchronous") == [(2,)]
