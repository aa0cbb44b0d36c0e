"""What a run used of the machine while it ran, as small charts that need no script."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import msgspec
from markupsafe import Markup

from bis.errors import BisError
from bis.ledger.curves import curve_of
from bis.nouns.run import Run
from bis.steps.drawing import Line, line_chart
from bis.store import Store

MOST: Final = 1 << 22
"""Bytes of samples that are drawn: one a second, for some weeks."""
PLACES: Final = 300
LONG: Final = 30
"""Seconds, from which on they are the unit."""
MIB: Final = 1 << 20


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was used, over time."""

    name: str
    unit: str
    seconds: list[float]
    values: list[float]

    @property
    def greatest(self) -> float:
        return max(self.values)

    @property
    def drawing(self) -> Markup:
        # Along an axis of whole numbers.
        long = self.seconds[-1] > LONG
        at = [round(second if long else second * 1000) for second in self.seconds]
        curve = curve_of(self.values, at, places=PLACES)
        title, axis = f"{self.name}, {self.unit}", "s" if long else "ms"
        return Markup(line_chart([Line(self.name, curve)], title=title, axis=axis, width=420, height=170))


def usage_of(run: Run, store: Store) -> list[Used]:
    """What its samples say; nothing where there are none, or where they are not here."""
    if not run.usage.samples:
        return []
    try:
        content = store.get_bytes(run.usage.samples)[:MOST].decode("utf-8", "replace")
    except BisError:
        return []
    rows = [row for row in csv.DictReader(io.StringIO(content, newline="")) if _number(row.get("seconds")) is not None]
    drawn: tuple[tuple[str, str, Callable[[Sequence[dict[str, str]]], list[tuple[float, float]]]], ...] = (
        ("processors", "busy at a time", _busy),
        ("memory", "MiB", lambda rows: _plain(rows, "rss_bytes", MIB)),
        ("graphics card", "percent busy", lambda rows: _plain(rows, "gpu_percent", 1)),
        ("graphics memory", "MiB", lambda rows: _plain(rows, "gpu_bytes", MIB)),
        ("read", "MiB in all", lambda rows: _plain(rows, "read_bytes", MIB)),
        ("written", "MiB in all", lambda rows: _plain(rows, "written_bytes", MIB)),
    )
    found = []
    for name, unit, ask in drawn:
        points = ask(rows)
        if len(points) > 1 and any(value for _, value in points):
            found.append(Used(name=name, unit=unit, seconds=[at for at, _ in points], values=[v for _, v in points]))
    return found


def _busy(rows: Sequence[dict[str, str]]) -> list[tuple[float, float]]:
    """How many processors were busy between each two samples."""
    points = _plain(rows, "cpu_seconds", 1)
    return [
        (end, max(0.0, after - before) / (end - start))
        for (start, before), (end, after) in pairwise(points)
        if end > start
    ]


def _plain(rows: Sequence[dict[str, str]], column: str, unit: int) -> list[tuple[float, float]]:
    return [
        (at, value / unit)
        for row in rows
        if (at := _number(row.get("seconds"))) is not None and (value := _number(row.get(column))) is not None
    ]


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
