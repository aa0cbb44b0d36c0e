"""The first page of a search by a metric: found among the first runs of that order where these fill it, run by run in a
small experiment, or from what the conditions have in common; always the same page."""

import contextlib
import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bis.ledger import batches, experiments, searching, tracked
from bis.ledger.grammar import RUNS
from bis.ledger.search import compile_filter, compile_order
from bis.ledger.sqlite import migrate
from bis.nouns.tracking import Point

EACH = RUNS._replace(each=True)
VALUES = st.none() | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0]) | st.floats(-2, 2)
FACTS = st.lists(st.tuples(VALUES, st.none() | st.sampled_from(["a", "b"])), min_size=15, max_size=40)
FILTERS = ["", "params.kind = 'a'", "params.kind != 'a' AND metrics.loss > 0", "params.kind IN ('a', 'b')"]


@pytest.fixture(scope="module", autouse=True)
def few_first():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "FIRST", 2)
        yield


@contextlib.contextmanager
def ledger_of(facts):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        migrate(connection)
        experiments.create(connection, "another", "", {}, 0)
        for number, (value, kind) in enumerate(facts):
            id = f"{number:032x}"
            tracked.create(connection, id, experiment=0, name="r", user="u", started=number, tags={})
            metrics = [] if value is None else [Point("loss", value, 1, 1)]
            batches.log(connection, id, metrics, {"kind": kind} if kind else {})
        yield connection


@settings(deadline=None)
@given(FACTS, st.sampled_from(FILTERS), st.booleans(), st.integers(1, 4), st.sampled_from([0, 1000]))
def test_the_first_page_is_the_same_however_it_is_found(facts, filter, falling, limit, few):
    order = compile_order([f"metrics.loss {'DESC' if falling else 'ASC'}"], RUNS)
    asked, each = compile_filter(filter, RUNS), compile_filter(filter, EACH)
    with ledger_of(facts) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "FEW", few)
        tracked.create(connection, "f" * 32, experiment=1, name="r", user="u", started=-1, tags={})
        whole, _ = tracked.search(connection, asked, order, limit=1000)
        here = [run.id for run in whole if run.experiment == 0]
        for how in (each, None):
            page, place = tracked.search(connection, asked, order, limit=limit, each=how, among=[0])
            assert [run.id for run in page] == here[:limit]
            assert bool(place) == (len(here) > limit)
            if place:
                rest, _ = tracked.search(connection, asked, order, limit=1000, after=place, each=how, among=[0])
                assert [run.id for run in rest] == here[limit:]


def test_runs_that_match_are_looked_up_and_no_others_of_a_large_experiment(monkeypatch):
    monkeypatch.setattr(searching, "FEW", 0)
    said = []
    with ledger_of([(number / 40, "a" if number % 2 else "b") for number in range(40)]) as connection:
        order = compile_order(["metrics.loss ASC"], RUNS)
        asked = compile_filter("metrics.loss > 0.8 AND params.kind = 'a'", RUNS)
        connection.set_trace_callback(said.append)
        found, _ = tracked.search(connection, asked, order, limit=10, among=[0])
        connection.set_trace_callback(None)
        statement = next(one for one in said if "INTERSECT" in one)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert len(found) == 4
    looked_up = "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"
    assert [step for step in plan if " runs " in step] == [looked_up, looked_up]  # to be found, and to be read
