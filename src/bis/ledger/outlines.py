"""What is told of points without reading them: of a chunk as a whole, and of each 64 points in it.

A *stretch* is some neighbours: how many they are, where they begin and end, by step and by moment, their least, their
greatest and their mean number, and how many are NaN or infinite. A chart that knows its stretches draws each point
within one of them, and hides none.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from bis.errors import Damaged
from bis.ledger import columns
from bis.ledger.columns import Row

_FORM: Final = 0x80
"""Marks the first byte; an outline without it is of an older form, which has rows alone."""
_WHOLE: Final = struct.Struct("<4I4qqqdqqdd")
_ENDS: Final = 7
"""Rows at most of the ends and of what is telling of all."""
SUMMIT: Final = 1 + _WHOLE.size + 24 * _ENDS
"""Bytes in front of an outline that tell of all the points."""

_value = operator.itemgetter(2)


class Stretch(NamedTuple):
    """Some points by their moments. Where none is a finite number, `least`, `greatest` and `mean` have NaN."""

    points: int
    nans: int
    above: int
    """How many are infinity."""
    below: int
    """How many are minus infinity."""
    first: int
    """The smallest step."""
    last: int
    earliest: int
    latest: int
    least: Row
    greatest: Row
    mean: float
    """Of the finite numbers."""

    @property
    def numbers(self) -> int:
        return self.points - self.nans - self.above - self.below


def stretch(rows: Sequence[Row]) -> Stretch:
    """Of points by their moments; at least one."""
    moments, steps, values = zip(*rows, strict=True)
    nans = above = below = 0
    finite: Sequence[Row] = rows
    if not all(map(math.isfinite, values)):
        nans = sum(map(math.isnan, values))
        above, below = values.count(math.inf), values.count(-math.inf)
        finite = [row for row in rows if math.isfinite(row[2])]
        values = tuple(map(_value, finite))
    if not values:
        none = (moments[0], steps[0], columns.NAN)
        return Stretch(
            len(rows), nans, above, below, min(steps), max(steps), moments[0], moments[-1], none, none, columns.NAN
        )
    low, high = min(values), max(values)
    ends = min(steps), max(steps), moments[0], moments[-1]
    extremes = finite[values.index(low)], finite[values.index(high)]
    return Stretch(len(rows), nans, above, below, *ends, *extremes, _mean(values, low, high))


def merged(some: Sequence[Stretch]) -> Stretch:
    """All of their points together; at least one."""
    points, nans, above, below, first, last, earliest, latest, _, _, _ = zip(*some, strict=True)
    counted = [one for one in some if one.numbers] or some[:1]
    least = min((one.least for one in counted), key=_value)
    greatest = max((one.greatest for one in counted), key=_value)
    numbers = sum(one.numbers for one in counted)
    mean = sum(one.mean * (one.numbers / numbers) for one in counted) if numbers else columns.NAN
    ends = min(first), max(last), min(earliest), max(latest)
    mean = min(max(mean, least[2]), greatest[2])
    return Stretch(sum(points), sum(nans), sum(above), sum(below), *ends, least, greatest, mean)


def _mean(values: Sequence[float], low: float, high: float) -> float:
    try:
        mean = math.fsum(values) / len(values)
    except OverflowError:
        mean = sum(value / len(values) for value in values)
    return min(max(mean, low), high)


def pack(rows: Sequence[Row]) -> bytes:
    """All of them, and behind it each 64."""
    some = [rows[at : at + columns.STRETCH] for at in range(0, len(rows), columns.STRETCH)]
    found = list(map(stretch, some))
    odd = [row for piece, told in zip(some, found, strict=True) if told.numbers < told.points for row in _odd(piece)]
    extremes = chain.from_iterable((one.least, one.greatest) for one in found if one.numbers)
    summit = list(dict.fromkeys((*columns.ends(rows), *columns.telling(list(dict.fromkeys((*extremes, *odd)))))))
    counts = b"".join(struct.pack("<4H", *told[:4]) for told in found)
    body = columns.pack(
        [
            *(told.least for told in found),
            *(told.greatest for told in found),
            *((told.earliest, told.first, told.mean) for told in found),
            *((told.latest, told.last, 0.0) for told in found),
            *odd,
        ]
    )
    head = bytes((_FORM | len(summit),)) + _flat(merged(found)) + columns.raw(summit).ljust(24 * _ENDS, b"\0")
    return head + struct.pack("<H", len(found)) + counts + body


def _odd(rows: Sequence[Row]) -> Iterable[Row]:
    return (row for row in columns.telling(rows) if not math.isfinite(row[2]))


def _flat(told: Stretch) -> bytes:
    return _WHOLE.pack(*told[:8], *told.least, *told.greatest, told.mean)


def read_whole(data: bytes) -> Stretch | None:
    """What the front of an outline tells of all the points; None where it is of the older form."""
    if not data[0] & _FORM:
        return None
    told: tuple[Any, ...] = _WHOLE.unpack_from(data, 1)
    return Stretch._make((*told[:8], told[8:11], told[11:14], told[14]))


def read_summit(data: bytes) -> list[Row]:
    """The ends by step, and what is telling of all the points."""
    start = 1 + _WHOLE.size if data[0] & _FORM else 1
    return columns.read_raw(data[start : start + 24 * (data[0] & ~_FORM)])


def read_stretches(data: bytes) -> tuple[list[Stretch], list[Row]] | None:
    """Each 64 points, and the first NaN and the first of each infinity in each of them; None where the outline is of
    the older form, which does not tell."""
    if not data[0] & _FORM:
        return None
    try:
        (count,) = struct.unpack_from("<H", data, SUMMIT)
        counts = list(struct.iter_unpack("<4H", data[SUMMIT + 2 : SUMMIT + 2 + 8 * count]))
        rows = columns.unpack(data[SUMMIT + 2 + 8 * count :])
    except struct.error as error:
        raise Damaged(f"the outline of a metric cannot be read: {error}", hint="bis verify") from None
    least, greatest, lows, highs = (rows[at * count : (at + 1) * count] for at in range(4))
    found = [
        Stretch(points, nans, above, below, low[1], high[1], low[0], high[0], some, most, low[2])
        for (points, nans, above, below), some, most, low, high in zip(
            counts, least, greatest, lows, highs, strict=True
        )
    ]
    return found, rows[4 * count :]


def read_rows(data: bytes) -> list[Row]:
    """The ends by step, and of each 64 points what is telling."""
    told = read_stretches(data)
    if told is None:
        return read_summit(data) + columns.unpack(data[1 + 24 * data[0] :])
    found, odd = told
    extremes = chain.from_iterable((one.least, one.greatest) for one in found if one.numbers)
    return [*read_summit(data), *extremes, *odd]
