"""Points of metrics: taken in as they come, kept in columns, read back whole, in pages, or thinned for a chart.

A call that logs adds one row to the *tail* of its run. When the tail is long, and when the run ends, it is folded into
*chunks*, at most 4,096 points of one series in each, one behind the other where points come in order. What comes out of
order is merged with what it overlaps, if that is no more than itself: each point is written a few times, and a reader
finds the points of one stretch in few chunks. Identical points are one point: a request that is sent again doubles
nothing.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from bis.ledger import columns, folding, metric
from bis.ledger.columns import LARGEST, Rank, Row
from bis.ledger.connection import Connection
from bis.ledger.metric import Kept, Series, Source, read_tail
from bis.ledger.numbers import as_read, as_stored
from bis.nouns.tracking import Point

ROW: Final = 16384
"""Points in one row of the tail at most."""
SHORT: Final = 64
"""A tail with fewer rows is left as it is when its run ends."""
CLOSE: Final = 32
"""A chart that shows more than one of so many points is made from all of them, others from outlines; from the summits
of chunks where it shows fewer points than there are chunks."""

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
    rows, points = folding.tail_size(connection, run)
    while rows >= SHORT or points >= metric.CHUNK:
        folding.step(connection, run)
        rows, points = folding.tail_size(connection, run)


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
        rows, waiting = folding.tail_size(connection, run)
        if rows >= folding.LONG_ROWS or waiting >= folding.LONG_POINTS:
            folding.step(connection, run)


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
    kept: Kept = "points"
    if sum(chunk.points for chunk in chunks) + len(rows) > CLOSE * most:
        kept = "summit" if len(chunks) >= most // 2 else "outline"
        rows = [*columns.ends(rows), *columns.outline(columns.ordered(rows))]
    inside = [chunk for chunk in chunks if low <= chunk.first and chunk.last <= high]
    rows += source.all_points(inside, kept)
    for chunk in chunks:
        if not (low <= chunk.first and chunk.last <= high):
            rows += [row for row in source.points(chunk) if low <= row[1] <= high]
    found = source.named(columns.thinned(columns.ordered(rows), most))
    return found or [point for point in sealed(connection, run, key) if low <= point.step <= high]


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
        for key, _, _, data in read_tail(content):
            found[key] = found.get(key, 0) + len(data) // 24
    return found


def tails(connection: Connection, run: int) -> dict[str, list[Row]]:
    """What has been folded into no chunk yet, by metric."""
    found: dict[str, list[Row]] = {}
    for (content,) in connection.execute(
        "SELECT content FROM metric_tail WHERE run = ? ORDER BY seq", (run,)
    ).fetchall():
        for key, _, _, data in read_tail(content):
            found.setdefault(key, []).extend(columns.read_raw(data))
    return found


def sealed(connection: Connection, run: int, key: str) -> list[Point]:
    """What is known of a metric of a run that was recorded: its last value."""
    known = connection.execute("SELECT 1 FROM runs WHERE seq = ? AND tracked = 0", (run,)).fetchall()
    return [point for point in newest(connection, run) if point.key == key] if known else []


def _later(rows: list[Row], mark: Rank | None) -> list[Row]:
    return rows[bisect.bisect_right(rows, mark, key=columns.rank) :] if mark else rows
