"""The first page of a search by a metric: found among the first runs of that order where these fill it, and the same
page as if all runs had been looked at."""

import contextlib
import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bis.ledger import batches, tracked
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
        patch.setattr(tracked, "FIRST", 2)
        yield


@contextlib.contextmanager
def ledger_of(facts):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        migrate(connection)
        for number, (value, kind) in enumerate(facts):
            id = f"{number:032x}"
            tracked.create(connection, id, experiment=0, name="r", user="u", started=number, tags={})
            metrics = [] if value is None else [Point("loss", value, 1, 1)]
            batches.log(connection, id, metrics, {"kind": kind} if kind else {})
        yield connection


@settings(deadline=None)
@given(FACTS, st.sampled_from(FILTERS), st.booleans(), st.integers(1, 4))
def test_the_first_page_is_the_same_however_it_is_found(facts, filter, falling, limit):
    order = compile_order([f"metrics.loss {'DESC' if falling else 'ASC'}"], RUNS)
    asked, each = compile_filter(filter, RUNS), compile_filter(filter, EACH)
    with ledger_of(facts) as connection:
        whole = tracked.search(connection, asked, order, limit=limit)
        quick = tracked.search(connection, asked, order, limit=limit, each=each)
        assert [run.id for run in quick[0]] == [run.id for run in whole[0]]
        assert quick[1] == whole[1]
