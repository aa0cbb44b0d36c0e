"""Points of metrics: whatever comes, in whatever order and however often, is read back as a plain list would be."""

import contextlib
import math
import random
import sqlite3
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bis.ledger import columns, folding, metric, points
from bis.ledger.sqlite import migrate
from bis.nouns.tracking import Point

WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
SMALL = st.integers(-4, 4)
VALUES = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 1.7976931348623157e308]) | st.floats()
POINTS = st.builds(
    Point,
    key=st.sampled_from(["loss", "acc"]),
    value=VALUES,
    moment=SMALL | WHOLE,
    step=SMALL | WHOLE,
    model=st.sampled_from(["", "m-1"]),
    dataset=st.sampled_from([None, ("iris", "d1")]),
)
BATCHES = st.lists(st.lists(POINTS, max_size=12), max_size=12)

patient = settings(deadline=None)


@pytest.fixture
def ledger():
    with opened() as connection:
        yield connection


@contextlib.contextmanager
def opened():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with contextlib.closing(connection):
        migrate(connection)
        yield connection


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    """What happens after thousands of points happens here after some: chunks are cut and tails are folded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric, "CHUNK", 8)
        patch.setattr(points, "ROW", 5)
        patch.setattr(folding, "LONG_ROWS", 4)
        patch.setattr(folding, "LONG_POINTS", 16)
        patch.setattr(points, "SHORT", 1)
        patch.setattr(points, "CLOSE", 1)
        patch.setattr(metric, "LONG_ROW", 24 * 3)
        patch.setattr(columns, "STRETCH", 4)
        yield


def plain(batches, key):
    """Of all points of a metric the different ones, in MLflow's order."""
    rows = {
        columns.rank((point.moment, point.step, point.value))
        for batch in batches
        for point in batch
        if point.key == key
    }
    return sorted(rows)


def ranks(found):
    return [columns.rank((point.moment, point.step, point.value)) for point in found]


@patient
@given(BATCHES, st.lists(st.integers(0, 12), max_size=3))
def test_a_history_is_what_a_sorted_list_would_be(batches, folded):
    with opened() as ledger:
        for number, batch in enumerate(batches):
            points.append(ledger, 1, batch)
            if number in folded:
                points.fold(ledger, 1)
        for key in ("loss", "acc"):
            assert ranks(points.history(ledger, 1, key, limit=1000)) == plain(batches, key)


@patient
@given(BATCHES, st.integers(1, 9))
def test_pages_together_are_the_history(batches, limit):
    with opened() as ledger:
        for batch in batches:
            points.append(ledger, 1, batch)
        found, page = [], points.history(ledger, 1, "loss", limit=limit)
        while page:
            found += page
            page = points.history(ledger, 1, "loss", limit=limit, after=page[-1])
        assert ranks(found) == plain(batches, "loss")


@patient
@given(BATCHES, BATCHES, st.integers(1, 9))
def test_what_comes_between_two_pages_moves_no_other_point(batches, later, limit):
    with opened() as ledger:
        for batch in batches:
            points.append(ledger, 1, batch)
        first = points.history(ledger, 1, "loss", limit=limit)
        for batch in later:
            points.append(ledger, 1, batch)
        points.fold(ledger, 1)
        rest = points.history(ledger, 1, "loss", limit=1000, after=first[-1]) if first else []
        behind = [row for row in plain([*batches, *later], "loss") if first and row > ranks(first)[-1]]
        assert ranks(rest) == behind


@patient
@given(BATCHES, st.integers(2, 30), SMALL, SMALL)
def test_a_chart_shows_the_extremes_of_any_range(batches, most, first, last):
    with opened() as ledger:
        for batch in batches:
            points.append(ledger, 1, batch)
        points.fold(ledger, 1)
        found = points.chart(ledger, 1, "loss", first=first, last=last, most=most)
        wanted = [row for row in plain(batches, "loss") if first <= row[1] <= last]
        numbers = [value for _, _, value, unknown in wanted if math.isfinite(value) and not unknown]
        seen = [point.value for point in found if math.isfinite(point.value)]
        assert set(ranks(found)) <= set(wanted)
        assert len(found) <= max(most, 7)
        assert (min(seen), max(seen)) == (min(numbers), max(numbers)) if numbers else not seen
        assert any(math.isnan(point.value) for point in found) == any(unknown for *_, unknown in wanted)
        assert [point.step for point in found[:1] + found[-1:]] == sorted(row[1] for row in wanted)[:1] + sorted(
            row[1] for row in wanted
        )[-1:]


@patient
@given(BATCHES)
def test_the_newest_is_the_last_by_step_moment_and_value(batches):
    with opened() as ledger:
        for batch in batches:
            points.append(ledger, 1, batch)
        found = {point.key: point for point in points.newest(ledger, 1)}
        for key in ("loss", "acc"):
            rows = [(step, moment, value) for moment, step, value, _ in plain(batches, key)]
            if not rows:
                assert key not in found
                continue
            point = found[key]
            value = 0.0 if math.isnan(point.value) else point.value
            clipped = max(
                (step, moment, min(max(value, -columns.LARGEST), columns.LARGEST)) for step, moment, value in rows
            )
            assert (point.step, point.moment) == clipped[:2]
            assert value == clipped[2] or (math.isinf(value) and abs(clipped[2]) == columns.LARGEST)


@patient
@given(BATCHES)
def test_a_request_that_is_sent_again_doubles_nothing(batches):
    with opened() as ledger:
        for batch in [*batches, *batches]:
            points.append(ledger, 1, batch)
        points.fold(ledger, 1)
        points.append(ledger, 1, [point for batch in batches for point in batch])
        assert ranks(points.history(ledger, 1, "loss", limit=1000)) == plain(batches, "loss")


def test_a_point_knows_its_model_and_data_set(ledger):
    about = Point("loss", 1.0, 5, 1, "m-1", ("iris", "d1"))
    points.append(ledger, 1, [about, Point("loss", 2.0, 6, 2)])
    assert points.history(ledger, 1, "loss", limit=10) == [about, Point("loss", 2.0, 6, 2)]
    points.fold(ledger, 1)
    assert points.history(ledger, 1, "loss", limit=10) == [about, Point("loss", 2.0, 6, 2)]


def test_a_number_of_more_than_64_bits_is_refused_and_nothing_written(ledger):
    with pytest.raises(struct.error):
        points.append(ledger, 1, [Point("loss", 1.0, 1, 1), Point("loss", 1.0, 1, 1 << 63)])
    assert not points.history(ledger, 1, "loss", limit=10)


def test_nothing_is_left_of_points_that_were_removed(ledger):
    for run in (1, 2):
        points.append(ledger, run, [Point("loss", float(step), step, step) for step in range(30)])
    points.remove(ledger, 1)
    assert not points.history(ledger, 1, "loss", limit=1000)
    assert not points.newest(ledger, 1)
    assert len(points.history(ledger, 2, "loss", limit=1000)) == 30


def test_chunks_are_few_however_short_the_steps(ledger):
    for step in range(300):
        points.append(ledger, 1, [Point("loss", float(step), step, step)])
    points.fold(ledger, 1)
    ((chunks,),) = ledger.execute("SELECT count(*) FROM metric_chunks").fetchall()
    assert chunks <= 2 * 300 / metric.CHUNK


@patient
@given(st.permutations(range(40)))
def test_points_that_come_out_of_order_are_read_in_order(steps):
    with opened() as ledger:
        for step in steps:
            points.append(ledger, 1, [Point("loss", float(step), step, step)])
        assert [point.step for point in points.history(ledger, 1, "loss", limit=17)] == list(range(17))


def said(ledger, words, work):
    """What work gives, and how many statements with these words it takes."""
    statements = []
    ledger.set_trace_callback(statements.append)
    try:
        return work(), sum(words in statement for statement in statements)
    finally:
        ledger.set_trace_callback(None)


def logged(ledger, steps):
    for step in steps:
        points.append(ledger, 1, [Point("loss", float(step), step, step)])


@pytest.mark.parametrize("start", [0, 700, 1990])
def test_a_page_of_a_series_that_came_shuffled_is_read_from_few_chunks(ledger, start):
    steps = list(range(2000))
    random.Random(5).shuffle(steps)
    _, written = said(ledger, "INSERT INTO metric_chunks", lambda: logged(ledger, steps))
    points.fold(ledger, 1)
    assert written <= 8 * 2000 / metric.CHUNK  # each point, that is, eight times
    after = Point("loss", float(start), start, start)
    page, read = said(
        ledger, "SELECT content FROM metric_chunks", lambda: points.history(ledger, 1, "loss", limit=8, after=after)
    )
    assert [point.step for point in page] == list(range(start + 1, min(start + 9, 2000)))
    assert read <= 40  # of some 250


@pytest.mark.parametrize("late", [1, 3, 20])
def test_chunks_stay_one_behind_the_other_where_some_points_come_a_little_late(ledger, late):
    steps = [step - late if step % 7 == 0 else step + (step % 7 == 6) * late for step in range(700)]
    logged(ledger, steps)
    points.fold(ledger, 1)
    assert len(points.history(ledger, 1, "loss", limit=1000)) == len(set(steps))
    page, read = said(
        ledger,
        "SELECT content FROM metric_chunks",
        lambda: points.history(ledger, 1, "loss", limit=8, after=Point("loss", 300.0, 300, 300)),
    )
    assert [point.step for point in page] == [step for step in sorted(set(steps)) if step > 300][:8]
    assert read <= 10


def test_a_series_that_comes_in_order_is_written_about_twice(ledger):
    _, written = said(ledger, "INSERT INTO metric_chunks", lambda: logged(ledger, range(2000)))
    assert written <= 2.5 * 2000 / metric.CHUNK
