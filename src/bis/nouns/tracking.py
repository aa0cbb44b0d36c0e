"""What clients log: experiments, the runs in them, points of metrics. MLflow's words where they mean the same."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bis.nouns.run import Status


def usual_place(experiment: int) -> str:
    """Where the artifacts of an experiment lie that names no place of its own: below the server's root of all."""
    return f"mlflow-artifacts:/{experiment}"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of runs that belong together."""

    id: int
    name: str
    artifacts: str = ""
    """Where those of its runs lie, as clients are told; empty: the usual place."""
    made: int
    """Microseconds since 1970 UTC, as all times here but those of points."""
    changed: int
    removed: int | None = None
    """When it was removed; it can be restored until the garbage is collected."""
    tags: dict[str, str] = {}


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    moment: int = 0
    """Milliseconds since 1970 UTC, as the client gave it."""
    step: int = 0
    model: str = ""
    """The id of the logged model that it is about, if any."""
    dataset: tuple[str, str] | None = None
    """Name and digest of the data set that it was measured on, if any."""


class TrackedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as clients see it: one that they log to, or a sealed one."""

    id: str
    name: str
    experiment: int
    user: str = ""
    status: Status
    started: int
    ended: int | None = None
    artifacts: str = ""
    removed: str = ""
    """When it was removed, RFC 3339; empty for a run that is there."""
    sealed: bool = False
    """True: `bis run` recorded it; what is said of it now is said beside the record."""
    command: str = ""
    """What was run, as a shell would read it, where that is known."""
    params: dict[str, str] = {}
    metrics: tuple[Point, ...] = ()
    """The newest point of each."""
    tags: dict[str, str] = {}
