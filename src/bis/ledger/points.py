"""Points of metrics: taken in as they come, kept in columns, read back whole, in pages, or thinned for a chart.

A call that logs adds one row to the *tail* of its run. When the tail is long, and when the run ends, it is folded into
*chunks*, at most 4,096 points of one series in each, one behind the other where points come in order. What comes out of
order is merged with what it overlaps, if that is no more than itself: each point is written a few times, and a reader
finds the points of one stretch in few chunks. Identical points are one point: a request that is sent again doubles
nothing.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from bis.ledger import columns, outlines
from bis.ledger.columns import LARGEST, Rank, Row
from bis.ledger.connection import Connection
from bis.ledger.numbers import as_read, as_stored
from bis.nouns.tracking import Point

T = TypeVar("T")

CHUNK: Final = 4096
"""Points in a chunk at most."""
ROW: Final = 16384
"""Points in one row of the tail at most."""
LONG_ROWS: Final = 1024
LONG_POINTS: Final = 16384
"""A tail with so many rows or points is folded, in steps of that size."""
LONG_ROW: Final = 24 * 256
"""Bytes of points that are read from a row of the tail only when their turn comes."""
MERGED: Final = 32
"""Chunks that are taken up in one step at most, so that nobody waits for long meanwhile."""
SHORT: Final = 64
"""A tail with fewer rows is left as it is when its run ends."""
IN_ONE: Final = 500
"""Series that are asked for in one statement."""
CLOSE: Final = 32
"""A chart that shows more than one of so many points is made from all of them, others from outlines; from the summits
of chunks where it shows fewer points than there are chunks."""


class Series(NamedTuple):
    """The points of a metric that are about the same model and data set."""

    key: str
    model: str
    dataset: tuple[str, str] | None


class Chunk(NamedTuple):
    """A chunk without its points. No point of it comes before `low` or after `high`."""

    series: int
    number: int
    points: int
    first: int
    last: int
    earliest: int
    latest: int
    least: float
    greatest: float

    @property
    def low(self) -> Row:
        return self.earliest, self.first, self.least

    @property
    def high(self) -> Row:
        return self.latest, self.last, self.greatest


_DESCRIBED: Final = ", ".join(Chunk._fields)
_Part = Literal["points", "outline", "summit"]
_PARTS: Final[dict[_Part, tuple[str, Callable[[bytes], list[Row]]]]] = {
    "points": ("content", columns.unpack),
    "outline": ("outline", outlines.read_rows),
    "summit": (f"substr(outline, 1, {outlines.SUMMIT})", outlines.read_summit),
}
_tail = msgspec.msgpack.Decoder(list[tuple[str, str, tuple[str, str] | None, bytes]])

# -- writing -----------------------------------------------------------------------------------------------------


def append(connection: Connection, run: int, points: Sequence[Point]) -> None:
    """Add points to a run (`runs.seq`), and keep the newest of each metric where runs are searched. Numbers of more
    than 64 bits raise struct.error, before anything is written."""
    for start in range(0, len(points), ROW):
        _append(connection, run, _by_series(points[start : start + ROW]))


def append_to(connection: Connection, id: str, points: Sequence[Point]) -> bool:
    """As `append`, for a run by its id. False, and nothing is done, where it may not be logged to as it is, or where
    there are many points."""
    if not points or len(points) > ROW:
        return False
    found = _by_series(points)
    content, count = _content_of(found)
    for run, seq in connection.execute(
        "INSERT INTO metric_tail (run, seq, points, content)"
        " SELECT r.seq, coalesce((SELECT max(t.seq) FROM metric_tail AS t WHERE t.run = r.seq), 0) + 1, ?, ?"
        " FROM runs AS r WHERE r.id = ? AND r.tracked = 1 AND r.removed = '' AND r.kept = '' RETURNING run, seq",
        (count, content, id),
    ).fetchall():
        _appended(connection, run, found, seq, count)
        return True
    return False


def fold(connection: Connection, run: int) -> None:
    """Put what has gathered in the tail of a run into chunks. For the end of a run; a short tail is left alone."""
    rows, points = _tail_size(connection, run)
    while rows >= SHORT or points >= CHUNK:
        _fold(connection, run)
        rows, points = _tail_size(connection, run)


def remove(connection: Connection, run: int) -> None:
    """Forget all points of a run."""
    connection.execute("DELETE FROM metric_tail WHERE run = ?", (run,))
    connection.execute("DELETE FROM metric_chunks WHERE series IN (SELECT id FROM series WHERE run = ?)", (run,))
    connection.execute("DELETE FROM series WHERE run = ?", (run,))
    connection.execute("DELETE FROM metrics WHERE run = ?", (run,))


def _by_series(points: Sequence[Point]) -> dict[Series, list[Row]]:
    plain: dict[str, list[Row]] = {}
    others: dict[Series, list[Row]] = {}
    for key, value, moment, step, model, dataset in points:
        if model or dataset:
            others.setdefault(Series(key, model, dataset), []).append((moment, step, value))
        elif key in plain:
            plain[key].append((moment, step, value))
        else:
            plain[key] = [(moment, step, value)]
    return {**{Series(key, "", None): rows for key, rows in plain.items()}, **others}


def _append(connection: Connection, run: int, found: dict[Series, list[Row]]) -> None:
    content, count = _content_of(found)
    ((seq,),) = connection.execute(
        "INSERT INTO metric_tail (run, seq, points, content)"
        " SELECT ?, coalesce(max(seq), 0) + 1, ?, ? FROM metric_tail WHERE run = ? RETURNING seq",
        (run, count, content, run),
    ).fetchall()
    _appended(connection, run, found, seq, count)


def _content_of(found: dict[Series, list[Row]]) -> tuple[bytes, int]:
    """As a row of the tail, and how many points they are."""
    content = msgspec.msgpack.encode([(*series, columns.raw(rows)) for series, rows in found.items()])
    return content, sum(map(len, found.values()))


def _appended(connection: Connection, run: int, found: dict[Series, list[Row]], seq: int, count: int) -> None:
    """What follows a row of the tail."""
    _keep_newest(connection, run, found)
    if _is_time_to_look(seq, count):
        rows, waiting = _tail_size(connection, run)
        if rows >= LONG_ROWS or waiting >= LONG_POINTS:
            _fold(connection, run)


def _is_time_to_look(seq: int, points: int) -> bool:
    """Whether to ask how long the tail is: about each 32nd time, more often after many points."""
    return (seq * 0x9E3779B1 >> 12) % 1024 < max(points, 32)


def _keep_newest(connection: Connection, run: int, found: dict[Series, list[Row]]) -> None:
    """By step, then moment, then value. NaN stands where zero would, and the largest double for infinity."""
    newest: dict[str, Row] = {}
    for series, rows in found.items():
        row = _newest(rows)
        if series.key not in newest or _newness(row) > _newness(newest[series.key]):
            newest[series.key] = row
    connection.executemany(
        "INSERT INTO metrics (run, key, value, flag, step, moment) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, flag = excluded.flag, step = excluded.step,"
        " moment = excluded.moment WHERE (excluded.step, excluded.moment, coalesce(excluded.value, 0))"
        " > (metrics.step, metrics.moment, coalesce(metrics.value, 0))",
        [(run, key, *as_stored(value), step, moment) for key, (moment, step, value) in newest.items()],
    )


def _newest(rows: Sequence[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    moment, step, _ = last = max(rows, key=columns.by_step)
    equal = [row for row in rows if row[1] == step and row[0] == moment]
    return last if len(equal) == 1 else max(equal, key=_newness)


def _newness(row: Row) -> tuple[int, int, float]:
    moment, step, value = row
    return step, moment, 0.0 if math.isnan(value) else min(max(value, -LARGEST), LARGEST)


# -- folding -----------------------------------------------------------------------------------------------------


def _tail_size(connection: Connection, run: int) -> tuple[int, int]:
    """How many rows, and points, at least up to where it is long."""
    found = connection.execute(
        "SELECT count(*), coalesce(sum(points), 0)"
        " FROM (SELECT points FROM metric_tail WHERE run = ? LIMIT ?) AS pieces",
        (run, LONG_ROWS),
    ).fetchall()
    ((rows, points),) = found
    return int(rows), int(points)


def _fold(connection: Connection, run: int) -> None:
    """One step: the oldest rows of the tail."""
    until, points = 0, 0
    for seq, more in connection.execute(
        "SELECT seq, points FROM metric_tail WHERE run = ? ORDER BY seq LIMIT ?", (run, LONG_ROWS)
    ).fetchall():
        until, points = seq, points + more
        if points >= LONG_POINTS:
            break
    taken = connection.execute(
        "DELETE FROM metric_tail WHERE run = ? AND seq <= ? RETURNING seq, content", (run, until)
    ).fetchall()
    found: dict[Series, list[Row]] = {}
    for _, content in sorted(taken):
        for key, model, dataset, data in _tail.decode(content):
            found.setdefault(Series(key, model, dataset), []).extend(columns.read_raw(data))
    ids = _series_ids(connection, run, found)
    near = _newest_chunks(connection, list(ids.values()))
    connection.executemany(
        "INSERT INTO metric_chunks (series, number, points, first, last, earliest, latest, least, greatest, outline,"
        " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, number) DO UPDATE SET"
        " points = excluded.points, first = excluded.first, last = excluded.last, earliest = excluded.earliest,"
        " latest = excluded.latest, least = excluded.least, greatest = excluded.greatest, outline = excluded.outline,"
        " content = excluded.content",
        [
            row
            for series, rows in found.items()
            for row in _added(connection, ids[series], columns.ordered(rows), near.get(ids[series], []))
        ],
    )


def _series_ids(connection: Connection, run: int, found: Iterable[Series]) -> dict[Series, int]:
    """Of these series, which are made where they are new."""
    keys = list(dict.fromkeys(series.key for series in found))
    known: dict[Series, int] = {}
    for some in _pieces(keys):
        for id, key, model, name, digest in connection.execute(
            f"SELECT id, key, model, dataset, digest FROM series WHERE run = ? AND key IN ({_marks(some)})",
            (run, *some),
        ).fetchall():
            known[Series(key, model, (name, digest) if name or digest else None)] = int(id)
    for series in found:
        if series not in known:
            ((id,),) = connection.execute(
                "INSERT INTO series (run, key, model, dataset, digest) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (run, series.key, series.model, *(series.dataset or ("", ""))),
            ).fetchall()
            known[series] = int(id)
    return known


def _newest_chunks(connection: Connection, ids: Sequence[int]) -> dict[int, list[Chunk]]:
    """The last two of each series, the very last one first."""
    found: dict[int, list[Chunk]] = {}
    for some in _pieces(ids):
        for row in connection.execute(
            f"SELECT {_DESCRIBED} FROM metric_chunks AS c WHERE series IN ({_marks(some)}) AND number >="
            " (SELECT max(d.number) FROM metric_chunks AS d WHERE d.series = c.series) - 1 ORDER BY number DESC",
            some,
        ).fetchall():
            found.setdefault(row[0], []).append(Chunk(*row))
    return found


def _pieces(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[at : at + IN_ONE] for at in range(0, len(values), IN_ONE))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _added(connection: Connection, series: int, rows: list[Row], near: list[Chunk]) -> list[tuple[Any, ...]]:
    """Chunks to be added to a series. The last ones are taken up that overlap what is added, or are small, and no
    larger than it: so two that overlap are few for a stretch, few are small, and each point is written a few times."""
    last = near if _is_enough(near, rows) else _last_chunks(connection, series)
    number, left = (last[0].number + 1 if last else 0), MERGED
    while taken := _to_take(last, rows, left):
        number, left, last = taken[-1].number, left - len(taken), last[len(taken) :]
        for chunk in taken:
            rows += columns.unpack(_content(connection, chunk))
        rows = columns.ordered(rows)
    pieces = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    if MERGED - left > len(pieces):  # identical points have become one
        gone = (series, number + len(pieces))
        connection.execute("DELETE FROM metric_chunks WHERE series = ? AND number >= ?", gone)
    return [
        (series, number + place, *_described(some), outlines.pack(some), columns.pack(some))
        for place, some in enumerate(pieces)
    ]


def _is_enough(near: Sequence[Chunk], rows: Sequence[Row]) -> bool:
    """Whether no chunk before these two can be meant: the first of them is whole, and before all that is merged."""
    if len(near) < 2:
        return True
    last, before = near
    return before.points >= CHUNK and before.high[:2] < min(rows[0][:2], last.low[:2])


def _last_chunks(connection: Connection, series: int) -> list[Chunk]:
    """As many as may be taken up, the last one first, and one more."""
    return [
        Chunk(*row)
        for row in connection.execute(
            f"SELECT {_DESCRIBED} FROM metric_chunks WHERE series = ? ORDER BY number DESC LIMIT ?",
            (series, MERGED + 1),
        ).fetchall()
    ]


def _to_take(last: Sequence[Chunk], rows: Sequence[Row], most: int) -> Sequence[Chunk]:
    """Of the last chunks, the last one first, those that are to be merged with these rows: all or nothing of a row of
    chunks that are in order, as half of it would overlap what is made of the other half."""
    low, found, before = rows[0][:2], 0, None
    while found < len(last) and last[found].high[:2] >= low:
        if before is not None and last[found].high[:2] > before.low[:2]:
            break  # another row of chunks ends there
        before = last[found]
        found += 1
    if not found and last and last[0].points < CHUNK:
        found = 1
    taken = last[:found]
    return taken if found <= most and sum(chunk.points for chunk in taken) <= len(rows) else ()


def _content(connection: Connection, chunk: Chunk) -> bytes:
    ((content,),) = connection.execute(
        "SELECT content FROM metric_chunks WHERE series = ? AND number = ?", (chunk.series, chunk.number)
    ).fetchall()
    return bytes(content)


def _described(rows: Sequence[Row]) -> tuple[Any, ...]:
    moments, steps, values = zip(*rows, strict=True)
    if any(map(math.isnan, values)):
        values = tuple(0.0 if math.isnan(value) else value for value in values)
    return len(rows), min(steps), max(steps), moments[0], moments[-1], min(values), max(values)


# -- reading -----------------------------------------------------------------------------------------------------


def history(connection: Connection, run: int, key: str, *, limit: int, after: Point | None = None) -> list[Point]:
    """Points of a metric by moment, step and value; identical ones once. `after`: the last point of the page before:
    what comes while pages are read moves nothing from one page to another."""
    mark = columns.rank((after.moment, after.step, after.value)) if after else None
    source = Source(connection, run, key)
    done: list[Row] = []
    pending: list[Row] = []
    for low, load in source.sorted(mark):
        settled = bisect.bisect_left(pending, low, key=columns.rank)
        done += pending[:settled]
        if len(done) >= limit:
            break
        pending = columns.ordered([*pending[settled:], *_later(load(), mark)])
    found = source.named([*done, *pending][:limit])
    return found if found or after else sealed(connection, run, key)[:limit]


def chart(connection: Connection, run: int, key: str, *, first: int | None, last: int | None, most: int) -> list[Point]:
    """Points of a metric by step, from step `first` to step `last`: all of them, or about `most` at most. Of equally
    long stretches there are the least and the greatest value, and NaN and the infinities, if any."""
    source = Source(connection, run, key)
    low = -(1 << 63) if first is None else first
    high = (1 << 63) - 1 if last is None else last
    rows = [row for row in source.tail() if low <= row[1] <= high]
    chunks = [chunk for chunk in source.chunks() if chunk.first <= high and chunk.last >= low]
    part: _Part = "points"
    if sum(chunk.points for chunk in chunks) + len(rows) > CLOSE * most:
        part = "summit" if len(chunks) >= most // 2 else "outline"
        rows = [*columns.ends(rows), *columns.outline(columns.ordered(rows))]
    inside = [chunk for chunk in chunks if low <= chunk.first and chunk.last <= high]
    rows += source.all_points(inside, part)
    for chunk in chunks:
        if not (low <= chunk.first and chunk.last <= high):
            rows += [row for row in source.points(chunk) if low <= row[1] <= high]
    found = source.named(columns.thinned(columns.ordered(rows), most))
    return found or [point for point in sealed(connection, run, key) if low <= point.step <= high]


def count(connection: Connection, run: int, key: str) -> int:
    """How many points a metric has. Quick where they came in order."""
    source = Source(connection, run, key)
    tail = columns.ordered(source.tail())
    chunks = sorted(source.chunks(), key=lambda chunk: chunk.low)
    apart = all(one.high < two.low for one, two in itertools.pairwise(chunks))
    if apart and not (tail and chunks and (*tail[0][:2], -math.inf) <= chunks[-1].high):
        return len(tail) + sum(chunk.points for chunk in chunks)
    rows = [row for chunk in chunks for row in source.points(chunk)]
    return len(columns.ordered(rows + tail))


def folded(connection: Connection, run: int, key: str) -> int:
    """How many points of a metric are in chunks: nearly as many as it has, where these are many."""
    ((found,),) = connection.execute(
        "SELECT coalesce(sum(points), 0) FROM metric_chunks JOIN series ON series.id = metric_chunks.series"
        " WHERE run = ? AND key = ?",
        (run, key),
    ).fetchall()
    return int(found)


def newest(connection: Connection, run: int) -> list[Point]:
    """The newest point of each metric of a run, by key."""
    return [
        Point(key, as_read(value, flag), moment, step)
        for key, value, flag, step, moment in connection.execute(
            "SELECT key, value, flag, step, moment FROM metrics WHERE run = ? ORDER BY key", (run,)
        ).fetchall()
    ]


def counts(connection: Connection, run: int) -> dict[str, int]:
    """How many points each metric of a run has, about: one that was sent again is counted again."""
    found = {
        key: int(points)
        for key, points in connection.execute(
            "SELECT key, sum(points) FROM metric_chunks JOIN series ON series.id = metric_chunks.series"
            " WHERE run = ? GROUP BY key",
            (run,),
        ).fetchall()
    }
    for (content,) in connection.execute("SELECT content FROM metric_tail WHERE run = ?", (run,)).fetchall():
        for key, _, _, data in _tail.decode(content):
            found[key] = found.get(key, 0) + len(data) // 24
    return found


def tails(connection: Connection, run: int) -> dict[str, list[Row]]:
    """What has been folded into no chunk yet, by metric."""
    found: dict[str, list[Row]] = {}
    for (content,) in connection.execute(
        "SELECT content FROM metric_tail WHERE run = ? ORDER BY seq", (run,)
    ).fetchall():
        for key, _, _, data in _tail.decode(content):
            found.setdefault(key, []).extend(columns.read_raw(data))
    return found


def sealed(connection: Connection, run: int, key: str) -> list[Point]:
    """What is known of a metric of a run that was recorded: its last value."""
    known = connection.execute("SELECT 1 FROM runs WHERE seq = ? AND tracked = 0", (run,)).fetchall()
    return [point for point in newest(connection, run) if point.key == key] if known else []


class Source:
    """What there is of a metric of a run. The tail is read before the chunks into which it may be folded meanwhile."""

    def __init__(self, connection: Connection, run: int, key: str) -> None:
        self._connection = connection
        self._key = key
        waiting = connection.execute("SELECT content FROM metric_tail WHERE run = ? ORDER BY seq", (run,)).fetchall()
        self._waiting = list(_of_key(key, (content for (content,) in waiting)))
        self._series = {
            int(id): Series(key, model, (name, digest) if name or digest else None)
            for id, model, name, digest in connection.execute(
                "SELECT id, model, dataset, digest FROM series WHERE run = ? AND key = ? ORDER BY id", (run, key)
            ).fetchall()
        }
        kinds = {*self._series.values(), *(series for series, _ in self._waiting)}
        self._only = kinds.pop() if len(kinds) == 1 else None
        self._named: dict[Row, Series] = {}

    def tail(self) -> list[Row]:
        return self._read(self._waiting)

    def _ordered(self, waiting: tuple[Series, bytes]) -> list[Row]:
        return columns.ordered(self._read([waiting]))

    def _read(self, waiting: Iterable[tuple[Series, bytes]]) -> list[Row]:
        found: list[Row] = []
        for series, data in waiting:
            rows = columns.read_raw(data)
            self._name(rows, series)
            found += rows
        return found

    def chunks(self) -> list[Chunk]:
        return [
            Chunk(*row)
            for series in self._series
            for row in self._connection.execute(
                f"SELECT {_DESCRIBED} FROM metric_chunks WHERE series = ? ORDER BY number",
                (series,),
            ).fetchall()
        ]

    def sorted(self, mark: Rank | None) -> list[tuple[Rank, Callable[[], list[Row]]]]:
        """Where points may come after the mark: what they are not before, and how to read them, ordered."""
        parts: list[tuple[Rank, Callable[[], list[Row]]]] = [
            ((*chunk.low, False), functools.partial(self.points, chunk))
            for chunk in self.chunks()
            if mark is None or (*chunk.high, True) > mark
        ]
        few = [(series, data) for series, data in self._waiting if len(data) < LONG_ROW]
        if tail := columns.ordered(self._read(few)):
            parts.append((columns.rank(tail[0]), lambda: tail))
        for one in self._waiting:
            if len(one[1]) >= LONG_ROW:
                low = (columns.earliest(one[1]), -(1 << 63), -math.inf, False)
                parts.append((low, functools.partial(self._ordered, one)))
        return sorted(parts, key=operator.itemgetter(0))

    def points(self, chunk: Chunk, part: _Part = "points") -> list[Row]:
        """All of them, or those that stand for all."""
        column, read = _PARTS[part]
        ((content,),) = self._connection.execute(
            f"SELECT {column} FROM metric_chunks WHERE series = ? AND number = ?", (chunk.series, chunk.number)
        ).fetchall()
        rows = read(bytes(content))
        self._name(rows, self._series[chunk.series])
        return rows

    def parts(self, chunks: Sequence[Chunk], part: _Part) -> Iterator[tuple[Chunk, bytes]]:
        """What is kept of many chunks, as it is kept."""
        column, _ = _PARTS[part]
        for series, some in itertools.groupby(chunks, operator.attrgetter("series")):
            wanted = {chunk.number: chunk for chunk in some}
            for number, content in self._connection.execute(
                f"SELECT number, {column} FROM metric_chunks WHERE series = ? AND number BETWEEN ? AND ?",
                (series, min(wanted), max(wanted)),
            ).fetchall():
                if number in wanted:
                    yield wanted[number], bytes(content)

    def all_points(self, chunks: Sequence[Chunk], part: _Part) -> list[Row]:
        """As `points`, of many chunks."""
        _, read = _PARTS[part]
        found: list[Row] = []
        for chunk, content in self.parts(chunks, part):
            rows = read(content)
            self._name(rows, self._series[chunk.series])
            found += rows
        return found

    def named(self, rows: Iterable[Row]) -> list[Point]:
        if self._only:
            key, model, dataset = self._only
            return [Point(key, value, moment, step, model, dataset) for moment, step, value in rows]
        found = []
        for row in rows:
            key, model, dataset = self._named[columns.known(row)]
            found.append(Point(key, row[2], row[0], row[1], model, dataset))
        return found

    def _name(self, rows: Iterable[Row], series: Series) -> None:
        """Remember whose these are, where a metric has several series. A point of several is the first one's."""
        if not self._only:
            for row in rows:
                self._named.setdefault(columns.known(row), series)


def _of_key(key: str, contents: Iterable[bytes]) -> Iterator[tuple[Series, bytes]]:
    for content in contents:
        for name, model, dataset, data in _tail.decode(content):
            if name == key:
                yield Series(name, model, dataset), data


def _later(rows: list[Row], mark: Rank | None) -> list[Row]:
    return rows[bisect.bisect_right(rows, mark, key=columns.rank) :] if mark else rows
