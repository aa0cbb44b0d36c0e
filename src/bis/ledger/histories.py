"""Histories of metrics of sealed runs: a blob that the record names, taken into the same tables as what clients log."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from bis.ledger import points
from bis.ledger.connection import Connection
from bis.nouns.tracking import Point

COLUMNS: Final = ("key", "step", "moment", "value")
AT_ONCE: Final = 4096


def put(connection: Connection, id: str, content: bytes) -> None:
    """Note the points of a run; those that are noted already count once. A line that makes no sense is passed over: the
    record is what counts, and this an index of it."""
    for (seq,) in connection.execute("SELECT seq FROM runs WHERE id = ?", (id,)).fetchall():
        rows = read(content)
        while some := list(itertools.islice(rows, AT_ONCE)):
            points.append(connection, seq, some)
        points.fold(connection, seq)


def write(out: TextIO, points: Iterable[Point]) -> None:
    """The points of a history, as they come."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((point.key, point.step, point.moment, repr(point.value)) for point in points)


def read(content: bytes) -> Iterator[Point]:
    """The points of a history (`docs/format.md`, histories), in its order."""
    rows = csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""))
    next(rows, None)
    for row in rows:
        try:
            key, step, moment, value = row
            yield Point(key, float(value), int(moment), int(step))
        except ValueError:
            continue
