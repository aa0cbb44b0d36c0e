"""The points of a metric as a chart shows them: all of them, or the least and the greatest of those that share a place,
made from what outlines tell. Points are read only where a chart is close enough to tell them apart."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from bis.ledger import columns, metric, outlines, points
from bis.ledger.columns import Row
from bis.ledger.connection import Connection
from bis.ledger.outlines import Stretch
from bis.nouns.curve import Axis, Bucket, Curve, Kind, Odd

CLOSE: Final = 3
"""So many points for each place are shown as they are."""
ROOM: Final = 1.25
"""So many buckets for each place at most: neighbours of different widths do not always fit together."""
MARKS: Final = 200
"""Places of NaN, and of each infinity, that are told."""
KNOWN: Final = 20_000
"""Points of two metrics that are set against each other step by step; of more, their buckets are."""
KINDS: Final[tuple[Kind, ...]] = ("NaN", "Infinity", "-Infinity")

_first = operator.attrgetter("first")


class _Sight(NamedTuple):
    """What is looked at, and how closely."""

    axis: Axis
    low: float
    high: float
    places: int
    log: bool
    """Whether places become wider to the right, by their logarithm."""

    def at(self, row: Row) -> int:
        return row[0] if self.axis == "moment" else row[1]

    def span(self, told: Stretch | metric.Chunk) -> tuple[int, int]:
        return (told.earliest, told.latest) if self.axis == "moment" else (told.first, told.last)

    def place(self, at: float) -> float:
        return math.log(at) if self.log else at

    @property
    def width(self) -> float:
        """Of one place."""
        if self.high <= self.low:
            return 0.0
        return (self.place(self.high) - self.place(self.low)) / self.places

    def fits(self, first: float, last: float) -> bool:
        """Whether what lies there is in the window, and too close together to be told apart."""
        if not (self.low <= first and last <= self.high):
            return False
        return self.place(last) - self.place(first) <= self.width


class _Seen(NamedTuple):
    """What was found in the window."""

    buckets: list[Bucket]
    odd: list[tuple[Kind, int]]
    """Kinds and places."""
    counts: dict[Kind, int]
    points: int


def curve(
    connection: Connection,
    run: int,
    key: str,
    *,
    axis: Axis = "step",
    first: float | None = None,
    last: float | None = None,
    places: int = 1000,
    log: bool = False,
) -> Curve:
    """What a chart with so many places shows of a metric between `first` and `last`: about as many buckets at most.
    Each point of the window lies in one, whose extremes are points themselves: none is hidden, however far away one
    looks."""
    source = metric.Source(connection, run, key)
    tail, chunks = source.tail(), source.chunks()
    if not tail and not chunks:
        tail = [(point.moment, point.step, point.value) for point in points.sealed(connection, run, key)]
    sight = _sight(tail, chunks, axis, first, last, places, log)
    near = [chunk for chunk in chunks if sight.span(chunk)[0] <= sight.high and sight.span(chunk)[1] >= sight.low]
    tail = [row for row in tail if sight.low <= sight.at(row) <= sight.high]
    hidden = _hidden(source, chunks, axis, first) if log else 0
    if sum(chunk.points for chunk in near) + len(tail) <= CLOSE * places + 2 * metric.CHUNK:
        rows = [row for row in source.all_points(near, "points") if sight.low <= sight.at(row) <= sight.high]
        return _curve(sight, _rows_seen(sight, columns.ordered([*rows, *tail])), hidden)
    return _curve(sight, _stretches_seen(sight, source, near, columns.ordered(tail)), hidden)


def against(
    connection: Connection,
    run: int,
    key: str,
    other: str,
    *,
    first: float | None = None,
    last: float | None = None,
    places: int = 1000,
) -> Curve:
    """A metric by the values of another one at the same steps. Of long ones, by the mean of the other over the steps of
    a bucket: it is not exact then, and says so."""
    if max(points.folded(connection, run, one) for one in (key, other)) <= KNOWN:
        return _joined(connection, run, key, other, first, last, places)
    across = curve(connection, run, other, places=places)
    steps = [one for one in across.buckets if _meets(one, first, last)]
    if first is not None or last is not None:
        if not steps:
            return Curve(axis="step", first=first or 0, last=last or 0, points=0, exact=False, buckets=[], odd=[])
        across = curve(connection, run, other, first=steps[0].first, last=steps[-1].last, places=places)
    shown = curve(connection, run, key, first=across.first, last=across.last, places=places)
    moved = sorted(_moved(shown.buckets, across.buckets), key=_first)
    found = [one for one in moved if (first is None or one.first >= first) and (last is None or one.last <= last)]
    ends = (found[0].first, max(one.last for one in found)) if found else (0.0, 0.0)
    return Curve(
        axis="step",
        first=ends[0] if first is None else first,
        last=ends[1] if last is None else last,
        points=sum(one.points for one in found),
        exact=False,
        buckets=found,
        odd=[Odd(kind=one.kind, points=one.points, at=[]) for one in shown.odd],
    )


def curve_of(
    values: Sequence[float], at: Sequence[int] | None = None, *, places: int = 1000, axis: Axis = "step"
) -> Curve:
    """Of values that are at hand, at these steps, else one after the other."""
    steps = at or range(len(values))
    rows = sorted(((step, step, float(value)) for step, value in zip(steps, values, strict=True)), key=columns.by_step)
    sight = _sight(rows, [], axis, None, None, places, False)
    return _curve(sight, _rows_seen(sight, rows), 0)


def merged(buckets: Sequence[Bucket], places: int, low: float, high: float) -> list[Bucket]:
    """At most about `places` buckets; those that are beside each other become one, where a place has room for both."""
    return _within(sorted(buckets, key=_first), _Sight("step", low, high, places, False))


# -- the window ----------------------------------------------------------------------------------------------------


def _sight(
    tail: Sequence[Row],
    chunks: Sequence[metric.Chunk],
    axis: Axis,
    first: float | None,
    last: float | None,
    places: int,
    log: bool,
) -> _Sight:
    whole = _Sight(axis, -math.inf, math.inf, places, False)
    ends = [whole.at(row) for row in tail] + [end for chunk in chunks for end in whole.span(chunk)]
    low = (min(ends, default=0) if first is None else first) if not log else max(1, first or 1)
    high = max(ends, default=0) if last is None else last
    return _Sight(axis, low, high, places, log)


def _hidden(source: metric.Source, chunks: Sequence[metric.Chunk], axis: Axis, first: float | None) -> int:
    """Points of the window that are at zero or before it."""
    whole = _Sight(axis, -math.inf if first is None else first, 0, 1, False)
    before = [chunk for chunk in chunks if whole.span(chunk)[0] <= 0]
    inside = sum(chunk.points for chunk in before if whole.low <= whole.span(chunk)[0] and whole.span(chunk)[1] <= 0)
    cut = [chunk for chunk in before if not (whole.low <= whole.span(chunk)[0] and whole.span(chunk)[1] <= 0)]
    rows = [*source.tail(), *source.all_points(cut, "points")]
    return inside + sum(whole.low <= whole.at(row) <= 0 for row in rows)


# -- what is in it -------------------------------------------------------------------------------------------------


def _rows_seen(sight: _Sight, rows: Iterable[Row]) -> _Seen:
    buckets, odd, counts, total = list[Bucket](), list[tuple[Kind, int]](), dict[Kind, int](), 0
    for row in rows:
        total += 1
        at, value = sight.at(row), row[2]
        if math.isfinite(value):
            buckets.append(Bucket(at, at, value, at, value, at, value, 1))
        else:
            kind = _kind(value)
            counts[kind] = counts.get(kind, 0) + 1
            odd.append((kind, at))
    return _Seen(buckets, odd, counts, total)


def _stretches_seen(sight: _Sight, source: metric.Source, chunks: Sequence[metric.Chunk], tail: list[Row]) -> _Seen:
    seen = _rows_seen(sight, tail)
    counts, odd, buckets, total = seen.counts, seen.odd, seen.buckets, seen.points
    for told, marks in _stretches(sight, source, chunks):
        if isinstance(told, list):
            more = _rows_seen(sight, told)
            buckets += more.buckets
            odd += more.odd
            total += more.points
            for kind, count in more.counts.items():
                counts[kind] = counts.get(kind, 0) + count
            continue
        total += told.points
        if told.numbers:
            ends = told.least[2], sight.at(told.least), told.greatest[2], sight.at(told.greatest)
            buckets.append(Bucket(*sight.span(told), *ends, told.mean, told.numbers))
        if told.numbers < told.points:
            for kind, count in zip(KINDS, (told.nans, told.above, told.below), strict=True):
                counts[kind] = counts.get(kind, 0) + count
            odd += [(_kind(row[2]), sight.at(row)) for row in marks]
    return _Seen(buckets, odd, counts, total)


Told = tuple[Stretch | list[Row], list[Row]]


def _stretches(sight: _Sight, source: metric.Source, chunks: Sequence[metric.Chunk]) -> Iterator[Told]:
    """Stretches that are too close together to be told apart, with the NaN and infinities that are telling; and rows of
    the window where points can be told apart."""
    close = [chunk for chunk in chunks if sight.fits(*sight.span(chunk))]
    for chunk, data in source.parts(close, "summit"):
        if told := outlines.read_whole(data):
            yield told, [row for row in outlines.read_summit(data) if not math.isfinite(row[2])]
        else:
            yield source.points(chunk), []
    for chunk, data in source.parts([chunk for chunk in chunks if not sight.fits(*sight.span(chunk))], "outline"):
        yield from _pieces(sight, source, chunk, data)


def _pieces(sight: _Sight, source: metric.Source, chunk: metric.Chunk, data: bytes) -> Iterator[Told]:
    told = outlines.read_stretches(data)
    if told is None:
        yield [row for row in source.points(chunk) if sight.low <= sight.at(row) <= sight.high], []
        return
    stretches, odd = told
    marks = iter(odd)
    rows: list[Row] = []
    done = 0
    for one in stretches:
        kinds = bool(one.nans) + bool(one.above) + bool(one.below)
        own = list(itertools.islice(marks, kinds))
        start, end = sight.span(one)
        if sight.fits(start, end):
            yield one, own
        elif start <= sight.high and end >= sight.low:
            rows = rows or source.points(chunk)
            yield [row for row in rows[done : done + one.points] if sight.low <= sight.at(row) <= sight.high], []
        done += one.points


def _kind(value: float) -> Kind:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# -- what is shown of it -------------------------------------------------------------------------------------------


def _curve(sight: _Sight, seen: _Seen, hidden: int) -> Curve:
    buckets = sorted(seen.buckets, key=_first)
    exact = seen.points <= CLOSE * sight.places and all(one.points == 1 for one in buckets)
    return Curve(
        axis=sight.axis,
        first=sight.low,
        last=sight.high,
        points=seen.points,
        exact=exact,
        buckets=buckets if exact else _within(buckets, sight),
        odd=[
            Odd(kind=kind, points=seen.counts[kind], at=_spread([at for one, at in seen.odd if one == kind]))
            for kind in KINDS
            if seen.counts.get(kind)
        ],
        hidden=hidden,
    )


def _spread(places: list[int]) -> list[float]:
    """Of many places some, equally many left out between them; the first and the last are among them."""
    found = sorted(set(places))
    if len(found) <= MARKS:
        return list(found)
    return [found[number * (len(found) - 1) // (MARKS - 1)] for number in range(MARKS)]


def _within(buckets: list[Bucket], sight: _Sight) -> list[Bucket]:
    """By their places, as few as there is room for."""
    width = sight.width
    found = _together(buckets, sight.place, width)
    while len(found) > ROOM * sight.places + 1:
        width *= ROOM
        found = _together(found, sight.place, width)
    return found


def _together(buckets: list[Bucket], place: Callable[[float], float], width: float) -> list[Bucket]:
    """Neighbours become one as long as it is no wider than this."""
    found: list[Bucket] = []
    at = 0
    while at < len(buckets):
        end, limit, last = at + 1, place(buckets[at].first) + width, buckets[at].last
        while end < len(buckets) and place(buckets[end].last) <= limit:
            last = max(last, buckets[end].last)
            end += 1
        found.append(_one(buckets[at:end], last) if end > at + 1 else buckets[at])
        at = end
    return found


def _one(some: Sequence[Bucket], last: float) -> Bucket:
    low, high = min(some, key=operator.attrgetter("low")), max(some, key=operator.attrgetter("high"))
    count = sum(one.points for one in some)
    mean = sum(one.mean * (one.points / count) for one in some)
    mean = min(max(mean, low.low), high.high)
    return Bucket(some[0].first, last, low.low, low.low_at, high.high, high.high_at, mean, count)


# -- against another metric ----------------------------------------------------------------------------------------


def _joined(
    connection: Connection, run: int, key: str, other: str, first: float | None, last: float | None, places: int
) -> Curve:
    across = {row[1]: row[2] for row in sorted(_all(connection, run, other), key=columns.by_step)}
    rows = [
        (across[row[1]], row[2]) for row in _all(connection, run, key) if math.isfinite(across.get(row[1], math.nan))
    ]
    low = min((at for at, _ in rows), default=0.0) if first is None else first
    high = max((at for at, _ in rows), default=0.0) if last is None else last
    rows = [(at, value) for at, value in rows if low <= at <= high]
    buckets = [Bucket(at, at, value, at, value, at, value, 1) for at, value in rows if math.isfinite(value)]
    exact = len(rows) <= CLOSE * places
    odd = [(_kind(value), at) for at, value in rows if not math.isfinite(value)]
    return Curve(
        axis="step",
        first=low,
        last=high,
        points=len(rows),
        exact=exact,
        buckets=sorted(buckets, key=_first) if exact else merged(buckets, places, low, high),
        odd=[
            Odd(kind=kind, points=len(own), at=sorted(set(own))[:MARKS])
            for kind in KINDS
            if (own := [at for one, at in odd if one == kind])
        ],
    )


def _all(connection: Connection, run: int, key: str) -> list[Row]:
    source = metric.Source(connection, run, key)
    rows = columns.ordered([*source.tail(), *source.all_points(source.chunks(), "points")])
    return rows or [(point.moment, point.step, point.value) for point in points.sealed(connection, run, key)]


def _meets(one: Bucket, first: float | None, last: float | None) -> bool:
    return (last is None or one.low <= last) and (first is None or one.high >= first)


def _moved(buckets: Sequence[Bucket], across: Sequence[Bucket]) -> Iterator[Bucket]:
    """These buckets at the mean of what the others, by the same steps, have there."""
    place = 0
    for one in buckets:
        while place < len(across) and across[place].last < one.first:
            place += 1
        end, count, total = place, 0, 0.0
        while end < len(across) and across[end].first <= one.last:
            count, total = count + across[end].points, total + across[end].mean * across[end].points
            end += 1
        if count:
            at = total / count
            yield Bucket(at, at, one.low, at, one.high, at, one.mean, one.points)
