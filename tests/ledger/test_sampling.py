"""Metrics of several runs in one chart: at MLflow's steps, and nothing that stands out is hidden."""

import contextlib
import math
import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from bis.ledger import points, sampling
from bis.ledger.sqlite import migrate
from bis.nouns.tracking import Point

VALUES = st.floats(-3, 3) | st.sampled_from([math.nan, math.inf, -math.inf])
SERIES = st.lists(st.tuples(st.integers(-20, 60), VALUES), max_size=60)


@contextlib.contextmanager
def ledger_of(*series):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        migrate(connection)
        for run, some in enumerate(series, start=1):
            points.append(connection, run, [Point("loss", value, 1, step) for step, value in some])
        yield connection


def steps(found):
    return [[point.step for point in some] for some in found]


def test_steps_are_those_that_mlflow_chooses():
    with ledger_of([(step, 10.0) for step in range(10)], [(step, 10.0) for step in range(20)]) as ledger:
        assert steps(sampling.sampled(ledger, [1], "loss", first=None, last=None, most=5)) == [[0, 2, 4, 6, 8, 9]]
        assert steps(sampling.sampled(ledger, [1], "loss", first=0, last=4, most=5)) == [[0, 1, 2, 3, 4]]
        both = sampling.sampled(ledger, [1, 2], "loss", first=None, last=None, most=5)
        assert steps(both) == [[0, 4, 8, 9], [0, 4, 8, 9, 12, 16, 19]]


def test_a_spike_between_the_steps_is_shown():
    values = [(step, 100.0 if step == 7 else math.nan if step == 3 else 1.0) for step in range(10)]
    with ledger_of(values) as ledger:
        assert steps(sampling.sampled(ledger, [1], "loss", first=None, last=None, most=5)) == [[0, 2, 3, 4, 6, 7, 8, 9]]


@settings(deadline=None)
@given(SERIES, SERIES, st.integers(1, 20))
def test_no_extreme_is_hidden(one, two, most):
    with ledger_of(one, two) as ledger:
        for series, found in zip(
            (one, two), sampling.sampled(ledger, [1, 2], "loss", first=None, last=None, most=most), strict=True
        ):
            assert {(point.step, repr(point.value)) for point in found} <= {
                (step, repr(value)) for step, value in series
            }
            shown = {point.value for point in found if math.isfinite(point.value)}
            there = {value for _, value in series if math.isfinite(value)}
            assert not there or {min(there), max(there)} <= shown
            assert {repr(value) for _, value in series if not math.isfinite(value)} == {
                repr(point.value) for point in found if not math.isfinite(point.value)
            }
            assert steps([found])[0] == sorted(steps([found])[0])


def test_many_points_are_shown_by_their_extremes(monkeypatch):
    monkeypatch.setattr(sampling, "FEW", 100)
    values = [(step, 1000.0 if step == 777 else math.sin(step)) for step in range(5000)]
    with ledger_of(values) as ledger:
        points.fold(ledger, 1)
        (found,) = sampling.sampled(ledger, [1], "loss", first=None, last=None, most=50)
        assert len(found) <= 50
        assert Point("loss", 1000.0, 1, 777) in found
        assert (found[0].step, found[-1].step) == (0, 4999)
