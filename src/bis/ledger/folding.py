"""Folding: the oldest rows of a tail become chunks, one behind the other where points come in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from bis.ledger import columns, metric, outlines
from bis.ledger.columns import Row
from bis.ledger.connection import Connection
from bis.ledger.metric import DESCRIBED, Chunk, Series, read_tail

T = TypeVar("T")

LONG_ROWS: Final = 1024
LONG_POINTS: Final = 16384
"""A tail with so many rows or points is folded, in steps of that size."""
MERGED: Final = 32
"""Chunks that are taken up in one step at most, so that nobody waits for long meanwhile."""
IN_ONE: Final = 500
"""Series that are asked for in one statement."""


def step(connection: Connection, run: int) -> None:
    """Fold the oldest rows of the tail of a run, as many as are a long one."""
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
        for key, model, dataset, data in read_tail(content):
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


def tail_size(connection: Connection, run: int) -> tuple[int, int]:
    """How many rows, and points, at least up to where it is long."""
    found = connection.execute(
        "SELECT count(*), coalesce(sum(points), 0)"
        " FROM (SELECT points FROM metric_tail WHERE run = ? LIMIT ?) AS pieces",
        (run, LONG_ROWS),
    ).fetchall()
    ((rows, points),) = found
    return int(rows), int(points)


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
            f"SELECT {DESCRIBED} FROM metric_chunks AS c WHERE series IN ({_marks(some)}) AND number >="
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
    pieces = [rows[at : at + metric.CHUNK] for at in range(0, len(rows), metric.CHUNK)]
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
    return before.points >= metric.CHUNK and before.high[:2] < min(rows[0][:2], last.low[:2])


def _last_chunks(connection: Connection, series: int) -> list[Chunk]:
    """As many as may be taken up, the last one first, and one more."""
    return [
        Chunk(*row)
        for row in connection.execute(
            f"SELECT {DESCRIBED} FROM metric_chunks WHERE series = ? ORDER BY number DESC LIMIT ?",
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
    if not found and last and last[0].points < metric.CHUNK:
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
