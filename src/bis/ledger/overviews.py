"""The metrics of a run in a line each: how many points, the first, the newest, the least and the greatest."""

from __future__ import annotations

from bis.ledger import columns, outlines, points
from bis.ledger.columns import Row
from bis.ledger.connection import Connection
from bis.ledger.outlines import Stretch
from bis.nouns.curve import Overview
from bis.nouns.tracking import Point


def overview(connection: Connection, run: int, key: str | None = None) -> list[Overview]:
    """Of all metrics of a run, by key, or of one. No points are read but those that came last: what outlines tell is
    enough. Where a point was logged twice, and came out of order, it may be counted twice."""
    newest = [point for point in points.newest(connection, run) if key in (None, point.key)]
    told, firsts = _told(connection, run, key)
    return [_overview(point, told.get(point.key, []), firsts.get(point.key, [])) for point in newest]


def _told(connection: Connection, run: int, key: str | None) -> tuple[dict[str, list[Stretch]], dict[str, list[Row]]]:
    told: dict[str, list[Stretch]] = {}
    firsts: dict[str, list[Row]] = {}
    for name, rows in points.tails(connection, run).items():
        if key in (None, name):
            told[name] = [outlines.stretch(columns.ordered(rows))]
            firsts[name] = list(columns.ends(rows))[:1]
    for name, data in connection.execute(
        f"SELECT series.key, substr(outline, 1, {outlines.SUMMIT}) FROM metric_chunks"
        f" JOIN series ON series.id = metric_chunks.series WHERE series.run = ?{' AND series.key = ?' if key else ''}",
        (run, key) if key else (run,),
    ).fetchall():
        data = bytes(data)
        summit = outlines.read_summit(data)
        told.setdefault(name, []).append(outlines.read_whole(data) or outlines.stretch(columns.ordered(summit)))
        firsts.setdefault(name, []).append(min(summit, key=columns.by_step))
    return told, firsts


def _overview(newest: Point, told: list[Stretch], firsts: list[Row]) -> Overview:
    row = (newest.moment, newest.step, newest.value)
    whole = outlines.merged(told or [outlines.stretch([row])])
    _, step, first = min(firsts or [row], key=columns.by_step)
    return Overview(
        key=newest.key,
        points=whole.points,
        odd=whole.points - whole.numbers,
        first=first,
        first_at=step,
        newest=newest.value,
        newest_at=newest.step,
        least=whole.least[2],
        least_at=whole.least[1],
        greatest=whole.greatest[2],
        greatest_at=whole.greatest[1],
    )
