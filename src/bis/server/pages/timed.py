"""Points in time, drawn in lanes one below the other. Those that would lie on one another are one, with a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

WIDTH: Final = 1000
LEFT: Final = 112
"""Of the words beside the lanes."""
RIGHT: Final = 24
TOP: Final = 28
LANE: Final = 44
NEAR: Final = 16
"""Points that are nearer to one another are drawn as one."""
TICKS: Final = 7
SECOND: Final = 1_000_000
STEPS: Final = tuple(
    SECOND * seconds
    for seconds in (
        *(1, 2, 5, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 21_600, 43_200),
        *(86_400 * days for days in (1, 2, 7, 14, 28, 91, 182, 365, 730, 3650)),
    )
)
DAY: Final = 86_400 * SECOND


class Spot(NamedTuple):
    x: float
    first: int
    """Number of the first of the points that it stands for."""
    size: int
    since: int
    until: int


class Lane(NamedTuple):
    name: str
    y: float
    spots: list[Spot]


class Tick(NamedTuple):
    x: float
    word: str


class Drawing(NamedTuple):
    width: float
    height: float
    left: float
    lanes: list[Lane]
    ticks: list[Tick]
    moment: float | None
    """Where the moment is that is looked at; None: it is outside."""


def drawn(lanes: Sequence[tuple[str, Sequence[int]]], since: int, until: int, moment: int | None) -> Drawing:
    """`lanes`: their names, and the times of their points in order."""
    across = (WIDTH - LEFT - RIGHT) / max(until - since, 1)

    def at(time: int) -> float:
        return round(LEFT + (time - since) * across, 1)

    return Drawing(
        WIDTH,
        TOP + LANE * len(lanes) + 8,
        LEFT,
        [
            Lane(name, TOP + LANE * number + LANE / 2, list(_spots([(at(time), time) for time in times])))
            for number, (name, times) in enumerate(lanes)
        ],
        [Tick(at(time), _word(time, step)) for step in [_step(since, until)] for time in _ticks(since, until, step)],
        at(moment) if moment is not None and since <= moment <= until else None,
    )


def _spots(points: Sequence[tuple[float, int]]) -> Iterator[Spot]:
    start = 0
    for number, (x, _) in enumerate(points):
        if number + 1 == len(points) or points[number + 1][0] - points[start][0] >= NEAR:
            middle = round((points[start][0] + x) / 2, 1)
            yield Spot(middle, start, number + 1 - start, points[start][1], points[number][1])
            start = number + 1


def _step(since: int, until: int) -> int:
    return next((step for step in STEPS if (until - since) / step <= TICKS), STEPS[-1])


def _ticks(since: int, until: int, step: int) -> Iterator[int]:
    yield from range(-(-since // step) * step, until + 1, step)


def _word(time: int, step: int) -> str:
    form = "%Y-%m-%d" if step >= DAY else "%m-%d %H:%M" if step >= 60 * SECOND else "%H:%M:%S"
    return datetime.fromtimestamp(time / SECOND, UTC).strftime(form)
