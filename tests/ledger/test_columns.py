"""Points of metrics as bytes, and what a chart shows of them."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.errors import Damaged
from bis.ledger import columns

WHOLE = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 3)
ROWS = st.lists(st.tuples(WHOLE, WHOLE, st.floats() | st.sampled_from([math.nan, 0.0, -0.0, math.inf])), max_size=80)


def bits(rows: list[columns.Row]) -> list[tuple[int, int, bytes]]:
    return [(moment, step, struct.pack("<d", value)) for moment, step, value in rows]


@given(ROWS)
def test_what_is_packed_comes_back_bit_by_bit(rows):
    assert bits(columns.unpack(columns.pack(rows))) == bits(rows)


@given(st.binary(max_size=200))
def test_what_nobody_packed_is_damaged(data):
    try:
        rows = columns.unpack(data)
    except Damaged:
        return
    assert len(columns.raw(rows) if rows else b"") <= 64 * len(data)


def test_points_in_equal_steps_take_little_more_than_their_values():
    rows = [(1_700_000_000_000 + 50 * step, step, math.sin(step)) for step in range(4096)]
    assert len(columns.pack(rows)) < 8 * 4096 * 1.02


def test_numbers_of_more_than_64_bits_are_refused():
    with pytest.raises(struct.error):
        columns.raw([(0, 1 << 63, 0.0)])


@given(ROWS)
def test_identical_rows_are_there_once_in_order(rows):
    found = columns.ordered([*rows, *reversed(rows)])
    keys = [columns.rank(row) for row in found]
    assert keys == sorted(set(map(columns.rank, rows)))


@given(ROWS, st.integers(2, 40))
def test_a_chart_hides_no_extreme(rows, most):
    rows = columns.ordered(rows)
    shown = columns.thinned(rows, most)
    numbers = [value for _, _, value in rows if math.isfinite(value)]
    seen = {value for _, _, value in shown if math.isfinite(value)}
    assert {min(numbers), max(numbers)} <= seen if numbers else not seen
    assert {repr(value) for _, _, value in rows if not math.isfinite(value)} <= {repr(value) for _, _, value in shown}
    assert len(shown) <= max(most, 7)


@given(ROWS, st.integers(2, 40))
def test_a_chart_begins_and_ends_where_its_points_do(rows, most):
    rows = sorted(columns.ordered(rows), key=columns.by_step)
    shown = columns.thinned(rows, most)
    assert (shown[:1], shown[-1:]) == (rows[:1], rows[-1:])
    assert shown == sorted(shown, key=columns.by_step)
