"""A chart hides no point, however far away one looks: what is shown holds each of them."""

import contextlib
import math
import random
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bis.ledger import columns, curves, folding, metric, outlines, points
from bis.ledger.sqlite import migrate
from bis.nouns.curve import hash_of, looks_of
from bis.nouns.tracking import Point

STEPS = st.integers(-30, 1000) | st.integers(-(1 << 50), 1 << 50)
VALUES = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.7976931348623157e308])
ROWS = st.lists(st.tuples(STEPS, VALUES), max_size=150)
ORDERLY = st.lists(VALUES, max_size=300).map(lambda values: list(enumerate(values)))


def scattered(seed, count, shuffled):
    """Many points, here close together and there far apart; hypothesis alone seldom draws long lists."""
    draw, step, rows = random.Random(seed), 0, []
    for _ in range(count):
        step += int(draw.paretovariate(0.6)) if draw.random() < 0.3 else 1
        odd = draw.choice((math.nan, math.inf, -math.inf)) if draw.random() < 0.05 else None
        rows.append((step, odd if odd is not None else draw.gauss(0, 1)))
    if shuffled:
        draw.shuffle(rows)
    return rows


MANY = st.builds(scattered, st.integers(0, 1 << 32), st.integers(0, 500), st.booleans())
ENDS = st.none() | STEPS | st.floats(-50, 1500)

patient = settings(deadline=None, max_examples=200)


@contextlib.contextmanager
def logged(rows, key="loss"):
    """A run with these steps and values, a moment for each, folded now and then."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        migrate(connection)
        log(connection, rows, key)
        yield connection


def log(connection, rows, key):
    for at in range(0, len(rows), 5):
        found = [Point(key, value, at + place, step) for place, (step, value) in enumerate(rows[at : at + 5])]
        points.append(connection, 1, found)
    points.fold(connection, 1)


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    """What happens after thousands of points happens here after some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "CHUNK", 16)
        patch.setattr(points, "ROW", 5)
        patch.setattr(folding, "LONG_ROWS", 4)
        patch.setattr(folding, "LONG_POINTS", 16)
        patch.setattr(points, "SHORT", 1)
        patch.setattr(columns, "STRETCH", 4)
        patch.setattr(curves, "CLOSE", 1)
        yield


def inside(rows, first, last):
    low = -math.inf if first is None else first
    high = math.inf if last is None else last
    return [(step, value) for step, value in rows if low <= step <= high]


@patient
@given(ROWS | ORDERLY | MANY, ENDS, ENDS, st.integers(1, 30))
@example([(step, 9.0 if step == 77 else 0.0) for step in range(300)], None, None, 3)
def test_each_point_of_a_window_lies_in_a_bucket_and_each_extreme_is_a_point(rows, first, last, places):
    with logged(rows) as ledger:
        found = curves.curve(ledger, 1, "loss", first=first, last=last, places=places)
    expected = inside(rows, first, last)
    finite = [(step, value) for step, value in expected if math.isfinite(value)]
    for step, value in finite:
        assert any(one.first <= step <= one.last and one.low <= value <= one.high for one in found.buckets)
    for one in found.buckets:
        assert (one.low_at, one.low) in finite
        assert (one.high_at, one.high) in finite
        assert one.low <= one.mean <= one.high
        assert one.first <= one.low_at <= one.last
        assert one.first <= one.high_at <= one.last
    assert sum(one.points for one in found.buckets) == len(finite)
    assert found.points == len(expected)
    assert {one.kind: one.points for one in found.odd} == counted(expected)
    for one in found.odd:
        assert {(at, one.kind) for at in one.at} <= {(step, curves._kind(value)) for step, value in expected}
    if found.exact:
        assert [(one.first, one.low) for one in found.buckets] == sorted(finite, key=lambda row: row[0])
    else:
        width = (found.last - found.first) / places
        assert len(found.buckets) <= curves.ROOM * places + 2
        assert all(one.points == 1 or one.last - one.first <= width * 1.6 + 1e-9 for one in found.buckets)


def counted(rows):
    kinds = [curves._kind(value) for _, value in rows if not math.isfinite(value)]
    return {kind: kinds.count(kind) for kind in kinds}


@patient
@given(ORDERLY | MANY, st.integers(1, 20))
def test_places_by_their_logarithm_hide_nothing_either_and_what_has_none_is_counted(rows, places):
    with logged(rows) as ledger:
        found = curves.curve(ledger, 1, "loss", places=places, log=True)
    shown = [(step, value) for step, value in rows if step > 0]
    for step, value in shown:
        if math.isfinite(value):
            assert any(one.first <= step <= one.last and one.low <= value <= one.high for one in found.buckets)
    assert found.points == len(shown)
    assert found.hidden == len(rows) - len(shown)


@patient
@given(ROWS | MANY, st.integers(1, 20))
def test_by_their_moments_nothing_is_hidden_either(rows, places):
    with logged(rows) as ledger:
        found = curves.curve(ledger, 1, "loss", axis="moment", places=places)
    for moment, (_, value) in enumerate(rows):
        if math.isfinite(value):
            assert any(one.first <= moment <= one.last and one.low <= value <= one.high for one in found.buckets)


@patient
@given(ORDERLY)
def test_an_outline_tells_all_of_its_points(rows):
    found = columns.ordered([(step, step, value) for step, value in rows]) or [(0, 0, 1.0)]
    data = outlines.pack(found)
    told = outlines.read_stretches(data)
    assert told
    assert repr(told[0]) == repr([outlines.stretch(found[at : at + 4]) for at in range(0, len(found), 4)])
    whole = outlines.read_whole(data[: outlines.SUMMIT])
    assert whole
    assert repr(whole[:10]) == repr(outlines.stretch(found)[:10])
    kinds = {repr(value) for _, _, value in found}
    assert {repr(row[2]) for row in outlines.read_rows(data)} >= kinds - {
        repr(value) for _, _, value in found if math.isfinite(value)
    }


def test_an_outline_of_the_older_form_is_read_and_its_points_are_looked_at():
    rows = [(step, step, math.sin(step)) for step in range(256)]
    some = columns.outline(rows)
    summit = list(dict.fromkeys((*columns.ends(rows), *columns.telling(some))))
    old = bytes((len(summit),)) + columns.raw(summit) + columns.pack(some)
    assert outlines.read_stretches(old) is None
    assert outlines.read_whole(old) is None
    assert outlines.read_summit(old) == summit
    assert set(outlines.read_rows(old)) == {*summit, *some}
    with logged([(step, value) for _, step, value in rows]) as ledger:
        before = curves.curve(ledger, 1, "loss", places=5)
        ledger.execute("UPDATE metric_chunks SET outline = ?", (old,))
        assert curves.curve(ledger, 1, "loss", places=5).points == before.points


@patient
@given(ORDERLY, st.integers(1, 40))
def test_a_metric_stands_against_another_one_step_by_step(rows, size):
    with logged(rows) as ledger:
        log(ledger, [(step, step // size) for step, _ in rows], "epoch")
        found = curves.against(ledger, 1, "loss", "epoch", places=1000)
    assert [(one.first, one.low) for one in found.buckets] == sorted(
        ((step // size, value) for step, value in rows if math.isfinite(value)), key=lambda row: row[0]
    )


def test_long_metrics_stand_against_each_other_by_their_means(monkeypatch):
    monkeypatch.setattr(curves, "KNOWN", 10)
    rows = [(step, 9.0 if step == 777 else math.sin(step)) for step in range(2000)]
    with logged(rows) as ledger:
        log(ledger, [(step, step / 100) for step, _ in rows], "epoch")
        found = curves.against(ledger, 1, "loss", "epoch", places=40)
        near = curves.against(ledger, 1, "loss", "epoch", first=7.5, last=8, places=40)
    assert not found.exact
    assert found.points == 2000
    (spike,) = [one for one in found.buckets if one.high == 9]
    assert abs(spike.first - 7.77) < 0.5
    (spike,) = [one for one in near.buckets if one.high == 9]
    assert abs(spike.first - 7.77) < 0.05


def test_a_run_has_the_same_looks_everywhere():
    assert hash_of("") == 0x811C9DC5
    assert hash_of("a") == 0xE40C292C
    assert looks_of("7f3a") == looks_of("7f3a")
    assert len({looks_of(f"{number:032x}") for number in range(500)}) > 80
