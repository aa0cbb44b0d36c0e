"""Points of a metric as bytes: moments, steps and values in columns, and what a chart must show of them.

Neighbours differ little, so whole numbers are kept as differences; the first bytes of all numbers come first, then the
second ones, for zstd to find what they have in common.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

from bis.errors import Damaged
from bis.store import planes

Row = tuple[int, int, float]
"""Moment, step and value of a point; the order in which a history is read."""

Rank = tuple[int, int, float, bool]

NAN: Final = math.nan
"""The one that rows hold: it is equal to itself where rows are compared."""
STRETCH: Final = 64
"""So many points are told by their extremes in an outline."""
LARGEST: Final = 1.7976931348623157e308

_RAW, _PACKED, _MOMENTS, _STEPS = 0, 1, 2, 4
_SMALLEST: Final = 16
"""Fewer points are not worth packing."""

_value = operator.itemgetter(2)
by_step: Final = operator.itemgetter(1, 0)


def ordered(rows: Iterable[Row]) -> list[Row]:
    """By moment, step and value, identical ones once. NaN stands where zero would."""
    once = dict.fromkeys(rows)
    if any(map(math.isnan, map(_value, once))):
        return sorted(dict.fromkeys(map(known, once)), key=rank)
    return sorted(once)


def known(row: Row) -> Row:
    """The row, equal to others with the same numbers, NaN among them."""
    return (row[0], row[1], NAN) if math.isnan(row[2]) else row


def rank(row: Row) -> Rank:
    """What rows are ordered by."""
    moment, step, value = row
    return (moment, step, 0.0, True) if math.isnan(value) else (moment, step, value, False)


def raw(rows: Sequence[Row]) -> bytes:
    """The columns as they are, 24 bytes for each point. Raises struct.error for numbers of more than 64 bits."""
    count = len(rows)
    moments, steps, values = zip(*rows, strict=True)
    return struct.pack(f"<{count}q{count}q{count}d", *moments, *steps, *values)


def read_raw(data: bytes) -> list[Row]:
    count = len(data) // 24
    numbers = struct.unpack(f"<{count}q{count}q{count}d", data)
    return list(zip(numbers[:count], numbers[count : 2 * count], numbers[2 * count :], strict=True))


def earliest(data: bytes) -> int:
    """The smallest moment in what `raw` gave."""
    return int(min(struct.unpack_from(f"<{len(data) // 24}q", data)))


def pack(rows: Sequence[Row]) -> bytes:
    """The columns as small as they get; `unpack` gives the rows back, each bit of them."""
    count = len(rows)
    if count < _SMALLEST:
        return bytes((_RAW,)) + (raw(rows) if rows else b"")
    moments, steps, values = zip(*rows, strict=True)
    first, form = _differences(moments, _MOMENTS)
    second, another = _differences(steps, _STEPS)
    data = first + second + struct.pack(f"<{count}d", *values)
    return struct.pack("<BI", _PACKED | form | another, count) + planes.pack(data, 8)


def unpack(data: bytes) -> list[Row]:
    """Raises Damaged for what no `pack` has written."""
    try:
        if data[0] == _RAW:
            return read_raw(data[1:])
        form, count = struct.unpack_from("<BI", data)
        numbers = struct.unpack(f"<{count}q{count}q{count}d", planes.unpack(data[5:], 8, 24 * count))
    except (struct.error, IndexError) as error:
        raise Damaged(f"points of a metric cannot be read: {error}", hint="bis verify") from None
    moments, steps, values = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]
    return list(
        zip(
            accumulate(moments) if form & _MOMENTS else moments,
            accumulate(steps) if form & _STEPS else steps,
            values,
            strict=True,
        )
    )


def _differences(column: Sequence[int], form: int) -> tuple[bytes, int]:
    """The column, each number less the one before; as it is where that takes more than 64 bits."""
    try:
        return struct.pack(f"<{len(column)}q", column[0], *map(operator.sub, column[1:], column)), form
    except struct.error:
        return struct.pack(f"<{len(column)}q", *column), 0


# -- charts ------------------------------------------------------------------------------------------------------


def outline(rows: Sequence[Row]) -> list[Row]:
    """What is telling of each 64 points."""
    return [row for at in range(0, len(rows), STRETCH) for row in telling(rows[at : at + STRETCH])]


def ends(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The first and the last by step, if there are any."""
    return (min(rows, key=by_step), max(rows, key=by_step)) if rows else ()


def telling(rows: Sequence[Row]) -> list[Row]:
    """The least and the greatest of the numbers, and the first NaN and the first of each infinity, in their order."""
    values = list(map(_value, rows))
    places: set[int] = set()
    if not all(map(math.isfinite, values)):
        unlike = [(place, repr(value)) for place, value in enumerate(values) if not math.isfinite(value)]
        kinds: dict[str, int] = {}
        for place, kind in unlike:
            kinds.setdefault(kind, place)
        places.update(kinds.values())
        others = [(value, place) for place, value in enumerate(values) if math.isfinite(value)]
        if others:
            places.update((min(others)[1], max(others)[1]))
    elif values:
        places.update((values.index(min(values)), values.index(max(values))))
    return [rows[place] for place in sorted(places)]


def thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """About `most` of these rows at most, by step: the first, the last, and what is telling of
    equally long stretches."""
    rows = sorted(rows, key=by_step)
    if len(rows) <= most:
        return rows
    kinds = 2 + len({repr(value) for _, _, value in rows if not math.isfinite(value)})
    stretches = max(1, (most - 2) // kinds)
    ends = [len(rows) * number // stretches for number in range(stretches + 1)]
    shown = [row for start, end in pairwise(ends) for row in telling(rows[start:end])]
    return list(dict.fromkeys((rows[0], *shown, rows[-1])))
