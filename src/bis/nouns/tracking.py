"""What clients log: experiments, the runs in them, points of metrics. MLflow's words where they mean the same."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from bis.errors import UsageError
from bis.nouns.run import Status


def usual_place(experiment: int) -> str:
    """Where the artifacts of an experiment lie that names no place of its own: below the server's root of all."""
    return f"mlflow-artifacts:/{experiment}"


def check_experiment_name(name: str) -> None:
    """Raises UsageError for what could not be typed, or what MLflow's clients could not have."""
    if not name.strip() or not name.isprintable() or len(name) > 500:
        raise UsageError(
            f"{name[:80]!r} cannot be the name of an experiment",
            because="Names have 1 to 500 characters, and none that cannot be printed.",
            hint="bis experiment create churn",
        )


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


class Described(NamedTuple):
    """A data set as a client describes it."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    """JSON, mostly."""
    schema: str | None = None
    profile: str | None = None


class UsedData(NamedTuple):
    """A data set that a run read."""

    dataset: Described
    tags: dict[str, str]
    context: str = ""
    """What for: training, evaluation, …; one of the tags, whose name depends on the client."""


class UsedModel(NamedTuple):
    """A logged model that a run used, or made."""

    id: str
    step: int = 0


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
    commit: str = ""
    """The revision that was checked out, where bis recorded the run."""
    params: dict[str, str] = {}
    metrics: tuple[Point, ...] = ()
    """The newest point of each."""
    tags: dict[str, str] = {}
    datasets: tuple[UsedData, ...] = ()
    used: tuple[UsedModel, ...] = ()
    made: tuple[UsedModel, ...] = ()
    """Models that it saved."""


class Measured(NamedTuple):
    """A point about a logged model, and the run that measured it."""

    point: Point
    run: str


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run saved, before anybody registered it."""

    id: str
    """m- and 32 hexadecimal digits."""
    experiment: int
    run: str = ""
    """The id of the run that made it."""
    name: str
    type: str = ""
    status: int = 0
    """0 unspecified, 1 pending, 2 ready, 3 failed."""
    status_message: str = ""
    artifacts: str
    made: int
    changed: int
    removed: int | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[Measured, ...] = ()
