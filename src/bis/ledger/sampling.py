"""Metrics of several runs for one chart: at equally distant steps, as MLflow chooses them, and whatever stands out
between those."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final

from bis.ledger import columns, points
from bis.ledger.connection import Connection
from bis.nouns.tracking import Point

FEW: Final = 25_000
"""Of more points charts are made from outlines: there steps are not counted."""
ALL: Final = 1 << 62


def sampled(
    connection: Connection, runs: Sequence[int], key: str, *, first: int | None, last: int | None, most: int
) -> list[list[Point]]:
    """For each run points by step, from step `first` to step `last`; of about `most` different steps, where there are
    more. No extreme is hidden."""
    if sum(points.folded(connection, run, key) for run in runs) > FEW:
        return [points.chart(connection, run, key, first=first, last=last, most=most) for run in runs]
    found = [_by_step(points.chart(connection, run, key, first=first, last=last, most=ALL)) for run in runs]
    steps = sorted(set(itertools.chain(*found)))
    if len(steps) > most:
        chosen = {steps[int(number * len(steps) / most)] for number in range(most)}
        ends = {end for each in found if each for end in (min(each), max(each))}
        steps = sorted({*chosen, *ends, steps[-1]})
    return [_shown(each, steps) for each in found]


def _by_step(found: Sequence[Point]) -> dict[int, list[Point]]:
    return {step: list(some) for step, some in itertools.groupby(found, key=lambda point: point.step)}


def _shown(found: Mapping[int, list[Point]], steps: Sequence[int]) -> list[Point]:
    """The points at these steps, and those between two of them that stand out from what is shown at both."""
    own = [step for step in steps if step in found]
    between: dict[int, list[Point]] = {}
    for step, some in found.items():
        place = bisect.bisect_right(own, step)
        if own[place - 1] != step:
            between.setdefault(place, []).extend(some)
    shown: list[Point] = []
    for place, step in enumerate(own, start=1):
        shown += found[step]
        if place in between:
            shown += _standing_out(between[place], found[step] + found[own[place]])
    return shown


def _standing_out(hidden: Sequence[Point], shown: Sequence[Point]) -> list[Point]:
    numbers = [point.value for point in shown if math.isfinite(point.value)]
    low, high = (min(numbers), max(numbers)) if numbers else (math.inf, -math.inf)
    others = {repr(point.value) for point in shown if not math.isfinite(point.value)}
    rows = {(place, 0, point.value): point for place, point in enumerate(hidden)}
    return [
        rows[row]
        for row in columns.telling(list(rows))
        if (not low <= row[2] <= high if math.isfinite(row[2]) else repr(row[2]) not in others)
    ]
