"""A metric of a run: the series, chunks and tail in which its points lie, and how they are read."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from bis.ledger import columns, outlines
from bis.ledger.columns import Rank, Row
from bis.ledger.connection import Connection
from bis.nouns.tracking import Point

CHUNK: Final = 4096
"""Points in a chunk at most."""
LONG_ROW: Final = 24 * 256
"""Bytes of points that are read from a row of the tail only when their turn comes."""


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


DESCRIBED: Final = ", ".join(Chunk._fields)
"""The columns of a chunk without its points."""
Kept = Literal["points", "outline", "summit"]
"""What is kept of a chunk: all points, or those that stand for them."""
_KEPT: Final[dict[Kept, tuple[str, Callable[[bytes], list[Row]]]]] = {
    "points": ("content", columns.unpack),
    "outline": ("outline", outlines.read_rows),
    "summit": (f"substr(outline, 1, {outlines.SUMMIT})", outlines.read_summit),
}
read_tail: Final = msgspec.msgpack.Decoder(list[tuple[str, str, tuple[str, str] | None, bytes]]).decode
"""A row of the tail: of each series its name, and the points as `columns.read_raw` reads them."""


class Source:
    """What there is of a metric of a run. The tail is read before the chunks into which it may be folded meanwhile."""

    def __init__(self, connection: Connection, run: int, key: str) -> None:
        self._connection = connection
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
                f"SELECT {DESCRIBED} FROM metric_chunks WHERE series = ? ORDER BY number",
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

    def points(self, chunk: Chunk, kept: Kept = "points") -> list[Row]:
        """All of them, or those that stand for all."""
        column, read = _KEPT[kept]
        ((content,),) = self._connection.execute(
            f"SELECT {column} FROM metric_chunks WHERE series = ? AND number = ?", (chunk.series, chunk.number)
        ).fetchall()
        rows = read(bytes(content))
        self._name(rows, self._series[chunk.series])
        return rows

    def parts(self, chunks: Sequence[Chunk], kept: Kept) -> Iterator[tuple[Chunk, bytes]]:
        """What is kept of many chunks, as it is kept."""
        column, _ = _KEPT[kept]
        for series, some in itertools.groupby(chunks, operator.attrgetter("series")):
            wanted = {chunk.number: chunk for chunk in some}
            for number, content in self._connection.execute(
                f"SELECT number, {column} FROM metric_chunks WHERE series = ? AND number BETWEEN ? AND ?",
                (series, min(wanted), max(wanted)),
            ).fetchall():
                if number in wanted:
                    yield wanted[number], bytes(content)

    def all_points(self, chunks: Sequence[Chunk], kept: Kept) -> list[Row]:
        """As `points`, of many chunks."""
        _, read = _KEPT[kept]
        found: list[Row] = []
        for chunk, content in self.parts(chunks, kept):
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
        for name, model, dataset, data in read_tail(content):
            if name == key:
                yield Series(name, model, dataset), data
