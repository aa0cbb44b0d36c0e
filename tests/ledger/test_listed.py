"""Lists of runs: what is on a page of them is what the ledger holds, counted without being looked at."""

import random
from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.ledger import groups, listed, points, tracked
from bis.ledger.listed import View
from bis.ledger.runs import SqlLedger, open_ledger
from bis.ledger.searching import Known
from bis.nouns.tracking import Point

START = 1_790_000_000_000_000
FILTERS = (
    "",
    "metrics.auc > 0.5",
    "metrics.auc > 0.5 AND params.lr = '0.1'",
    "params.lr = '0.1' AND metrics.auc > 0.1 AND tags.team IN ('a', 'b') AND metrics.loss < 200",
    "tags.team = 'a' AND status = 'failed'",
    "params.lr IS NULL",
    "name LIKE 'run-1%'",
)
VIEWS = (
    View(),
    View(repeats=True),
    View(removed=True, repeats=True),
    View(removed=None),
    View(experiment=0),
    View(experiment=1, repeats=True),
    View(until=START + 150 * 1_000_000),
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> SqlLedger:
    """300 runs, some removed, some of them repeats, some without a param."""
    draw = random.Random(4)
    ledger = open_ledger(tmp_path_factory.mktemp("listed") / "ledger.db")
    with ledger.database.writing() as connection:
        connection.execute("INSERT INTO experiments (id, name, artifacts, made, changed) VALUES (1, 'b', '', 0, 0)")
        for number in range(300):
            id, started = f"{number:032x}", START + number * 1_000_000
            tags = {"team": draw.choice("abc")}
            tracked.create(
                connection, id, experiment=number % 2, name=f"run-{number}", user="", started=started, tags=tags
            )
            params = {"lr": draw.choice(("0.1", "9", "10", "many"))} if number % 7 else {}
            tracked.log_params(connection, id, params)
            seq = tracked.seq_of(connection, id)
            points.append(connection, seq, [Point("auc", draw.random()), Point("loss", float(number))])
            if number % 5 == 0:
                tracked.update(connection, id, status="failed", ended=started)
            if number % 11 == 0:
                tracked.remove(connection, id, started)
            if number % 13 == 0:
                connection.execute("UPDATE runs SET repeats = 'x' WHERE seq = ?", (seq,))
    return ledger


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("filter", FILTERS)
def test_what_is_counted_is_what_is_there(ledger: SqlLedger, filter: str, view: View) -> None:
    with ledger.database.reading() as connection:
        found, place = listed.rows(connection, filter, [], limit=1000, view=view)
        assert place is None
        assert listed.count(connection, view, filter) == len(found) > 0
    assert {row.id for row in found} == {row.id for row in ledger.rows(filter) if _is_meant(ledger, row.id, view)}


def _is_meant(ledger: SqlLedger, id: str, view: View) -> bool:
    asked = "SELECT removed, repeats, experiment, started FROM runs WHERE id = ?"
    ((removed, repeats, experiment, started),) = ledger.database.ask(asked, (id,))
    return (
        (view.removed is None or bool(removed) == view.removed)
        and (view.repeats or not repeats)
        and view.experiment in (None, experiment)
        and (view.until is None or started <= view.until)
    )


@pytest.mark.parametrize("order", ["metrics.auc DESC", "params.lr ASC", "started ASC", "status DESC", "seconds DESC"])
@pytest.mark.parametrize("filter", FILTERS[:4])
def test_its_pages_follow_one_another_whichever_way_they_are_found(ledger: SqlLedger, filter: str, order: str) -> None:
    with ledger.database.reading() as connection:
        whole, _ = listed.rows(connection, filter, [order], limit=1000, view=View())
        for known in (None, Known(1000, 1000), Known(1, 1000)):
            pages, place = [], None
            while not pages or place is not None:
                rows, place = listed.rows(connection, filter, [order], limit=17, view=View(), after=place, known=known)
                pages += rows
            assert [row.id for row in pages] == [row.id for row in whole]


def test_params_that_are_numbers_are_ordered_by_them(ledger: SqlLedger) -> None:
    with ledger.database.reading() as connection:
        rows, _ = listed.rows(connection, "", ["params.lr"], limit=1000, view=View())
    values = list(dict.fromkeys(row.params.get("lr") for row in rows))
    assert values == ["0.1", "9", "10", "many", None]


def test_the_names_are_those_that_any_run_has(ledger: SqlLedger) -> None:
    with ledger.database.reading() as connection:
        assert listed.names(connection) == {"metrics": ["auc", "loss"], "params": ["lr"], "tags": ["team"]}
        assert listed.names(connection, 1)["metrics"] == ["auc"]


@pytest.mark.parametrize("by", ["params.lr", "tags.team", "experiment", "status"])
def test_a_group_has_its_count_and_what_is_least_and_greatest_in_it(ledger: SqlLedger, by: str) -> None:
    with ledger.database.reading() as connection:
        rows, _ = listed.rows(connection, "metrics.auc > 0.2", [], limit=1000, view=View())
        found = groups.groups(connection, by, "loss", "metrics.auc > 0.2", view=View(), limit=100, best="greatest")
    entity, _, key = by.partition(".")
    expected: dict[str | None, list[float]] = {}
    for row in rows:
        value = getattr(row, entity).get(key) if key else getattr(row, entity)
        expected.setdefault(value, []).append(row.metrics["loss"])
    assert {group.value: (group.runs, group.least, group.greatest) for group in found.groups} == {
        value: (len(losses), min(losses), max(losses)) for value, losses in expected.items()
    }
    assert [group.greatest for group in found.groups] == sorted((max(one) for one in expected.values()), reverse=True)
    assert found.total == len(expected)


def test_runs_are_not_grouped_by_numbers(ledger: SqlLedger) -> None:
    with ledger.database.reading() as connection, pytest.raises(UsageError, match=r"not grouped by metrics\.auc"):
        groups.groups(connection, "metrics.auc", "", "", view=View(), limit=9)


def test_a_page_of_the_newest_asks_little_however_many_runs_there_are(ledger: SqlLedger, tmp_path: Path) -> None:
    """Of SQLite's machine the steps are counted: they do not grow with the ledger."""
    asked = 0

    def step() -> int:
        nonlocal asked
        asked += 1
        return 0

    with ledger.database.reading() as connection:
        connection.set_progress_handler(step, 100)  # type: ignore[attr-defined]
        listed.rows(connection, "metrics.auc > 0.1", [], limit=10, view=View(), known=Known(250, 300))
        listed.count(connection, View())
        connection.set_progress_handler(None, 0)  # type: ignore[attr-defined]
    assert asked < 60
