"""Ledgers as older versions of bis wrote them: opened, brought up, and used.

`fixtures/ledger-N.sql` is a whole ledger of version N, written by the last bis that had it: two runs of a small
training, tagged where that was known (from 2), with a version of a data set (from 4) and a third run that was removed
(from 5). Ledgers in PostgreSQL began with version 6. Whoever adds version N + 1 adds `ledger-N.sql`:
`sqlite3 .bis/ledger .dump` of such a project, with `PRAGMA user_version = N` at its end.
"""

import sqlite3
from pathlib import Path

import pytest

from bis.errors import KeepingError
from bis.ledger import tracked
from bis.ledger.database import MIGRATIONS, VERSION, statements
from bis.ledger.grammar import RUNS
from bis.ledger.runs import open_ledger
from bis.ledger.search import compile_filter, compile_order
from bis.nouns.run import Run

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(params=range(1, VERSION))
def older(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A ledger, and which version of it."""
    place = tmp_path / "ledger"
    connection = sqlite3.connect(place)
    connection.executescript((FIXTURES / f"ledger-{request.param}.sql").read_text())
    connection.close()
    return place, request.param


def tables(connection: sqlite3.Connection) -> dict[str, list[tuple[str, str, int]]]:
    """What is in it: tables with their columns, and indexes."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    asked = 'SELECT name, type, "notnull" FROM pragma_table_info(?) ORDER BY name'
    return {name: connection.execute(asked, (name,)).fetchall() for (name,) in found}


def test_an_older_ledger_is_found_as_it_was_by_what_it_knew(older: tuple[Path, int]) -> None:
    place, version = older
    with open_ledger(place) as ledger:
        runs = {row.name: row for row in ledger.rows() if not row.removed}
        assert set(runs) == {"first", "second"}
        assert [row.name for row in ledger.rows() if row.removed] == ["third"] * (version >= 5)
        first = ledger.get(runs["first"].id)
        assert (first.command, first.metrics, first.status) == (
            ("/usr/bin/python3", "train.py", "0.25"),
            {"loss": 0.25},
            "finished",
        )
        assert [row.name for row in ledger.rows("metrics.loss < 0.3")] == ["first"]
        assert [row.name for row in ledger.rows("params.`argument 1` = '0.5'")] == ["second"]
        if version >= 2:
            assert [row.name for row in ledger.rows("tags.state = 'final'")] == ["first"]
        (data,) = first.parts["data"].facts["inputs"]
        assert set(ledger.data.users([data["digest"]])) >= {row.id for row in runs.values()}
        if version >= 4:
            assert ledger.data.names() == ["cells"]


def test_an_older_ledger_has_the_tables_of_a_new_one_when_it_was_brought_up(older: tuple[Path, int]) -> None:
    place, _ = older
    with open_ledger(place) as ledger, ledger.database.writing():
        pass
    written = sqlite3.connect(":memory:")
    for statement in statements((MIGRATIONS.parent / "schema.sql").read_text()):
        written.execute(statement)
    brought = sqlite3.connect(place)
    assert tables(brought) == tables(written)
    assert brought.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_older_ledger_takes_new_runs_and_shows_the_old_ones_to_clients(older: tuple[Path, int]) -> None:
    place, _ = older
    with open_ledger(place) as ledger:
        ledger.begin(
            Run(id="0" * 12, name="new", command=("x",), started="2027-01-01T00:00:00.000000Z", status="running")
        )
        order = compile_order(["metrics.loss ASC"], RUNS)
        with ledger.database.reading() as connection:
            found, _ = tracked.search(connection, compile_filter("metrics.loss < 1", RUNS), order, limit=10, among=[0])
        assert [run.name for run in found] == ["first", "second"]
        assert [row.name for row in ledger.rows("status = 'running'")] == ["new"]


def test_an_older_ledger_that_cannot_be_brought_up_is_left_as_it_was(older: tuple[Path, int]) -> None:
    place, version = older
    connection = sqlite3.connect(place)
    connection.execute("CREATE TABLE tags_by_number (in_the_way)")
    connection.commit()
    with pytest.raises(KeepingError):
        open_ledger(place).count()
    assert connection.execute("PRAGMA user_version").fetchone() == (version,)
