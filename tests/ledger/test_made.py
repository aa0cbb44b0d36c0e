"""What lineage is asked by: outputs, commits and packages of runs."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.digest import Digest, digest_bytes, short
from bis.ledger import made
from bis.ledger.database import MIGRATIONS, statements
from bis.ledger.noted import columns
from bis.ledger.runs import SqlLedger, open_ledger
from bis.ledger.used import DIGITS
from bis.nouns.part import Part
from bis.nouns.run import Output, Run

MODEL, EMPTY = digest_bytes(b"model"), digest_bytes(b"")


def a_run(number: int, *outputs: Output, revision: str = "", environment: str = "") -> Run:
    parts: dict[Any, Part] = {}
    if revision:
        parts["code"] = Part(kind="code", digest=Digest("b3:c"), facts={"revision": revision})
    if environment:
        parts["environment"] = Part(kind="environment", digest=Digest(environment))
    return Run(
        id=f"{number:012x}",
        name=f"run-{number}",
        command=("x",),
        started=f"2026-05-03T00:00:{number:02}.000000Z",
        status="finished",
        parts=parts,
        outputs=outputs,
    )


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[SqlLedger]:
    with open_ledger(ledger_place) as ledger:
        yield ledger


def put(ledger: SqlLedger, *runs: Run) -> None:
    for run in runs:
        ledger.seal(run, Digest(f"b3:{run.id}"))


def test_who_made_a_file_is_known_by_its_content(ledger: SqlLedger) -> None:
    put(
        ledger,
        a_run(1, Output(path="a.bin", digest=MODEL, size=5), Output(path="b.bin", digest=MODEL, size=5)),
        a_run(
            2, Output(path="empty", digest=EMPTY, size=0), Output(path="<stdout>", digest=digest_bytes(b"x"), size=1)
        ),
        a_run(3, Output(path="c.bin", digest=MODEL, size=5)),
    )
    with ledger.database.reading() as connection:
        assert made.makers(connection, [MODEL]) == {short(MODEL, DIGITS): [1, 3]}
        assert made.makers(connection, [EMPTY, digest_bytes(b"x")]) == {}


def test_a_run_is_known_by_its_commit_or_the_start_of_it(ledger: SqlLedger) -> None:
    put(ledger, a_run(1, revision="abc123" + "0" * 34), a_run(2, revision="abd" + "0" * 37), a_run(3))
    with ledger.database.reading() as connection:
        assert made.runs_at(connection, "ABC123") == [1]
        assert made.runs_at(connection, "ab") == [1, 2]
        assert made.runs_at(connection, "abc124") == []


def test_a_run_is_known_by_the_packages_of_its_environment_once_they_are_noted(ledger: SqlLedger) -> None:
    put(ledger, a_run(1, environment="b3:one"), a_run(2, environment="b3:one"), a_run(3, environment="b3:two"))
    with ledger.database.writing() as connection:
        assert made.unread_environments(connection) == {"b3:one": 2, "b3:two": 3}
        made.note_packages(connection, "b3:one", {"numpy": "2.1.0"})
        made.note_packages(connection, "b3:one", {"numpy": "2.1.0"})
        assert made.unread_environments(connection) == {"b3:two": 3}
        made.note_packages(connection, "b3:two", {})
        assert made.unread_environments(connection) == {}
        assert made.runs_with_package(connection, "numpy", "2.1.0") == [1, 2]
        assert made.runs_with_package(connection, "numpy", "2.0") == []
        assert made.versions_of_package(connection, "numpy") == ["2.1.0"]


def test_runs_of_an_older_ledger_are_known_after_it_was_migrated(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "ledger")
    for number in range(1, 6):
        for statement in statements((MIGRATIONS / f"{number:04}.sql").read_text()):
            old.execute(statement)
    row = columns(a_run(1, Output(path="a", digest=MODEL, size=5), revision="abc"), "b3:x")
    there = {name for _, name, *_ in old.execute("PRAGMA table_info(runs)")}
    row = {name: value for name, value in row.items() if name in there}
    old.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)
    old.execute("PRAGMA user_version = 5")
    old.commit()
    old.close()
    with open_ledger(tmp_path / "ledger") as ledger, ledger.database.writing() as connection:
        assert made.makers(connection, [MODEL]) == {short(MODEL, DIGITS): [1]}
        assert made.runs_at(connection, "abc") == [1]
