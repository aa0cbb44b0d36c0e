"""Lists of runs in every order and in groups: whichever way they are found, they are what a plain model says; and how
they are found: no run is read that is not shown."""

import contextlib
import functools
import math
import sqlite3
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bis.ledger import anywhere, batches, experiments, grounds, groups, lately, listed, searching, tracked
from bis.ledger.listed import View
from bis.ledger.moments import NEVER
from bis.ledger.numbers import as_number
from bis.ledger.rungs import rungs
from bis.ledger.search import compile_order
from bis.ledger.searching import Known
from bis.ledger.sqlite import migrate
from bis.nouns.tracking import Point

TEXTS = ("code", "data", "verdict", "note", "host", "status", "user")
ORDERS = [*TEXTS, "seconds", "exit", "experiment", "params.lr", "tags.team", "metrics.loss", "started"]
FILTERS = {
    "": lambda run: True,
    "params.lr IS NOT NULL": lambda run: run.lr is not None,
    "status = 'failed'": lambda run: run.status == "failed",
    "metrics.loss < 1 AND tags.team = 'a'": lambda run: run.loss is not None and run.loss < 1 and run.team == "a",
}
VIEWS = [View(), View(removed=None, repeats=True), View(removed=True, repeats=True), View(experiment=1), View(until=9)]


class Facts(NamedTuple):
    number: int
    started: int
    status: str
    ended: int | None
    code: str
    verdict: str
    note: str
    lr: str | None
    team: str | None
    loss: float | None
    experiment: int
    removed: str
    repeats: str

    @property
    def is_in(self) -> str:
        return ["Default", "another"][self.experiment]


RUNS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(["finished", "failed", "running"]),
        st.none() | st.integers(12, 14),
        st.sampled_from(["", "b3:1", "b3:2"]),
        st.sampled_from(["", "", "identical", "different"]),
        st.sampled_from(["", "", "fine"]),
        st.sampled_from([None, "9", "10", "10", "10", "1e1", "many", "nan"]),
        st.none() | st.sampled_from(["a", "b"]),
        st.none()
        | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0])
        | st.floats(-2, 2).map(lambda value: value + 0.0),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([*[""] * 6, "then"]),
        st.sampled_from([*[""] * 6, "x"]),
    ),
    min_size=10,
    max_size=40,
).map(lambda all: [Facts(number, *facts) for number, facts in enumerate(all, start=1)])


@pytest.fixture(scope="module", autouse=True)
def few():
    """So that a ledger of some runs is one of many."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FIRST": 2, "SAMPLE": 4, "NEAR": 6, "RARE": 1, "STEPS": 5}.items():
            patch.setattr(searching, name, value)
        for name, value in {"NEAR": 1, "LEAST": 3, "FEW": 2}.items():
            patch.setattr(groups, name, value)
        yield


@functools.cache
def empty() -> bytes:
    """A ledger of two experiments without runs."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        experiments.create(connection, "another", "", {}, 0)
        return connection.serialize()


@contextlib.contextmanager
def ledger_of(runs):
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(empty())
        connection.execute("PRAGMA case_sensitive_like = ON")
        for run in runs:
            id, tags = f"{run.number:032x}", {"team": run.team} if run.team else {}
            tracked.create(
                connection, id, experiment=run.experiment, name="r", user="u", started=run.started, tags=tags
            )
            metrics = [] if run.loss is None else [Point("loss", run.loss, 1, 1)]
            batches.log(connection, id, metrics, {"lr": run.lr} if run.lr else {})
            connection.execute(
                "UPDATE runs SET status = ?, ended = ?, code = ?, data = ?, verdict = ?, note = ?, host = ?,"
                " username = ?, exit = ?, removed = ?, repeats = ? WHERE id = ?",
                (
                    *(run.status, run.ended, run.code, run.code, run.verdict, run.note, run.verdict, run.note),
                    *(run.ended and run.ended % 2, run.removed, run.repeats, id),
                ),
            )
        yield connection


def is_meant(run: Facts, view: View) -> bool:
    return (
        (view.removed is None or bool(run.removed) == view.removed)
        and (view.repeats or not run.repeats)
        and view.experiment in (None, run.experiment)
        and (view.until is None or run.started <= view.until)
    )


def value_of(run: Facts, name: str) -> Any:
    """What a run has under a name; None where it has nothing."""
    text = {"data": run.code, "host": run.verdict, "user": run.note, "experiment": run.is_in}
    if name in text:
        return text[name]
    match name.rpartition(".")[2]:
        case "seconds":
            return None if run.ended is None else (run.ended - run.started) / 1e6
        case "exit":
            return run.ended and run.ended % 2
        case one:
            return getattr(run, one)


def rank(run: Facts, name: str) -> tuple[int, Any]:
    """By what it stands before others: what has nothing stands behind them, and what is no number before that."""
    value = value_of(run, name)
    if value is None:
        return 2, 0
    if name.startswith(("params.", "tags.")):
        number = as_number(value)
        return (1, value) if number is None else (0, (number, value))
    return (1, 0) if isinstance(value, float) and math.isnan(value) else (0, value)


def ordered(runs: list[Facts], order: str, falling: bool) -> list[int]:
    runs = sorted(runs, key=lambda run: (run.started, run.number), reverse=True)
    runs.sort(key=lambda run: rank(run, order)[0])
    found = []
    for stage in range(3):
        some = [run for run in runs if rank(run, order)[0] == stage]
        found += sorted(some, key=lambda run: rank(run, order)[1], reverse=falling)  # equal ones stay as they are
    return [run.number for run in found]


@settings(deadline=None, max_examples=150)
@given(
    RUNS,
    st.sampled_from(ORDERS),
    st.booleans(),
    st.sampled_from(list(FILTERS)),
    st.sampled_from(VIEWS),
    st.integers(1, 5),
    st.booleans(),
)
def test_every_order_is_that_of_the_model_page_by_page(runs, order, falling, filter, view, limit, is_known):
    check(runs, order, falling, filter, view, limit, is_known)


@settings(deadline=None, max_examples=50)
@given(RUNS, st.sampled_from(["params.lr", "metrics.loss"]), st.booleans(), st.integers(1, 5))
def test_values_are_followed_one_by_one_where_most_runs_match(runs, order, falling, limit):
    check(runs, order, falling, "", View(), limit, True)


def check(runs, order, falling, filter, view, limit, is_known):
    meant = [run for run in runs if is_meant(run, view) and FILTERS[filter](run)]
    with ledger_of(runs) as connection:
        assert listed.count(connection, view, filter) == len(meant)
        known = Known(len(meant), len(runs)) if is_known else None
        found, place = [], None
        while not found or place is not None:
            by = [f"{order} DESC"] if falling else [order]
            rows, place = listed.rows(connection, filter, by, limit=limit, view=view, after=place, known=known)
            found += [int(row.id, 16) for row in rows]
            assert place is None or len(rows) == limit
            if not rows:
                break
    assert found == ordered(meant, order, falling)


@settings(deadline=None, max_examples=60)
@given(RUNS, st.sampled_from(["params.lr", "tags.team", "metrics.loss"]), st.booleans())
def test_from_each_value_all_that_follow_are_reached(runs, order, falling):
    first = compile_order([f"{order} DESC"] if falling else [order]).first
    expected = []
    for number in ordered(runs, order, falling):
        value = value_of(runs[number - 1], order)
        expected.append(None if value is None else str(value))
    with ledger_of(runs) as connection:
        found = list(rungs(connection, first))
        having = [
            connection.execute(f"SELECT seq FROM runs WHERE {one.having.where}", one.having.values) for one in found
        ]
        met = [sorted(seq for (seq,) in one.fetchall()) for one in having]
        assert [value for seqs in met for value in {str(value_of(runs[seq - 1], order)) for seq in seqs}] == [
            str(value) for value in dict.fromkeys(expected)
        ]
        assert sorted(seq for seqs in met for seq in seqs) == list(range(1, len(runs) + 1))
        for at, one in enumerate(found):
            assert list(rungs(connection, first, one.place)) == found[at:]
            each = connection.execute(f"SELECT seq FROM runs WHERE {one.each.where}", one.each.values).fetchall()
            assert sorted(seq for (seq,) in each) == met[at]


@settings(deadline=None, max_examples=100)
@given(
    RUNS,
    st.sampled_from([*TEXTS, "experiment", "params.lr", "tags.team"]),
    st.sampled_from(list(FILTERS)),
    st.sampled_from(VIEWS),
    st.sampled_from(["", "least", "greatest"]),
    st.sampled_from([2, 100]),
)
def test_groups_are_those_of_the_model(runs, by, filter, view, best, limit):
    model: dict[str | None, list[float]] = {}
    for run in runs:
        if is_meant(run, view) and FILTERS[filter](run):
            measured = model.setdefault(value_of(run, by) or None, [])
            measured.append(math.nan if run.loss is None else run.loss)
    expected = []
    for value, measured in model.items():
        numbers = [number for number in measured if not math.isnan(number)]
        expected.append((value, len(measured), min(numbers, default=None), max(numbers, default=None)))

    def rank(group):
        value, runs, least, greatest = group
        first = {"": 0, "least": least, "greatest": greatest and -greatest}[best]
        return first is None, first or 0, -runs, value is not None, value or ""

    with ledger_of(runs) as connection:
        found = groups.groups(connection, by, "loss", filter, view=view, limit=limit, best=best)
    assert found.groups == sorted(expected, key=rank)[:limit]
    assert found.total == len(expected)


READ = {"command": "SCAN runs", "folder": "SCAN runs", "project": "SCAN runs"}
"""What may be as long as a person likes lies in no index: runs that are ordered by it are read."""


def steps(connection, ask):
    """How SQLite answers what is asked: each step of each statement, but for those through the answer of another."""
    said: list[str] = []
    connection.set_trace_callback(said.append)
    ask()
    connection.set_trace_callback(None)
    plans = [[row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")] for one in said]
    return [step for plan in plans for step in plan if f"CO-ROUTINE {step.removeprefix('SCAN ')}" not in plan]


def is_read(step: str) -> bool:
    """Whether it reads all runs, rather than an index of them: that of names ends with the page, and few have notes."""
    return step.startswith("SCAN runs") and not any(
        index in step for index in ("COVERING INDEX", "runs_by_name", "runs_noted")
    )


A_FEW = [Facts(number, number, "finished", 13, "b3:1", "", "", "0.1", "a", 0.5, 0, "", "") for number in range(1, 40)]


@pytest.mark.parametrize("order", ["", *ORDERS, "ended", "name", "repeats", "environment", "infrastructure", "machine"])
@pytest.mark.parametrize("way", ["", " DESC"])
def test_runs_are_put_in_order_within_an_index(order, way):
    with ledger_of(A_FEW) as connection:
        by, known = [order + way] if order else [], Known(39, 39)
        first = steps(connection, lambda: listed.rows(connection, "", by, limit=5, view=View(), known=known))
        _, place = listed.rows(connection, "", by, limit=5, view=View(), known=known)
        again = steps(
            connection, lambda: listed.rows(connection, "", by, limit=5, view=View(), known=known, after=place)
        )
    assert [step for step in (*first, *again) if is_read(step)] == []


@pytest.mark.parametrize("order", READ)
def test_runs_are_read_to_be_put_in_the_order_of_a_long_text(order):
    with ledger_of(A_FEW) as connection:
        found = steps(connection, lambda: listed.rows(connection, "", [order], limit=5, view=View()))
    assert any(is_read(step) for step in found)


@pytest.mark.parametrize("filter", ["", "status = 'failed'", "params.lr = 0.1", "name LIKE '%x%'", "user = 'ada'"])
def test_runs_are_counted_within_an_index(filter):
    with ledger_of(A_FEW) as connection:
        found = steps(connection, lambda: listed.count(connection, View(), filter))
    assert [step for step in found if is_read(step)] == []


@pytest.mark.parametrize("by", ["params.lr", "tags.team", "status", "user", "code", "data", "environment", "machine"])
def test_runs_are_grouped_within_an_index(by):
    with ledger_of(A_FEW) as connection:
        found = steps(connection, lambda: groups.groups(connection, by, "loss", "", view=View(), limit=100))
    assert [step for step in found if is_read(step)] == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: grounds.hosts(connection, limit=9, each=9, until=NEVER),
        lambda connection: grounds.environments(connection, limit=9, until=NEVER),
        lambda connection: lately.failed(connection, until=NEVER, limit=9),
        lambda connection: anywhere.machines(connection, "x", 9),
        lambda connection: anywhere.runs_named(connection, "x", 9),
    ],
)
def test_machines_and_names_are_found_within_an_index(ask):
    with ledger_of(A_FEW) as connection:
        found = steps(connection, lambda: ask(connection))
    assert found
    assert [step for step in found if is_read(step)] == []
