"""What the API changes of runs and experiments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from bis.errors import UsageError
from bis.ledger import experiments, tracked
from bis.ledger.connection import Connection
from bis.nouns.run import check_name
from bis.nouns.tracking import Experiment, TrackedRun, check_experiment_name
from bis.server import sealed
from bis.server.desk import Desk
from bis.server.native.call import Call
from bis.server.native.looking import One, OneExperiment, Run, run, shown

Id = TypeVar("Id", str, int)
T = TypeVar("T")
Key = Annotated[str, Meta(min_length=1, max_length=250)]
Text = Annotated[str, Meta(max_length=8000)]
Tags = Annotated[dict[Key, Text], Meta(description="Tags to set.", max_length=100)]
Untag = Annotated[list[Key], Meta(description="Names of tags to take away.", max_length=100)]


class ChangedRun(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    id: str
    name: Annotated[str, Meta(max_length=500)] = ""
    note: Annotated[str, Meta(description="A remark; earlier ones stay.", max_length=100_000)] = ""
    experiment: Annotated[int, Meta(description="Where to move it.", ge=0, le=1 << 62)] | None = None
    tags: Tags = {}
    untag: Untag = []


class NewExperiment(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=500)]
    tags: Tags = {}


class ChangedExperiment(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    id: Annotated[int, Meta(ge=0, le=1 << 62)]
    name: Annotated[str, Meta(max_length=500)] = ""
    tags: Tags = {}
    untag: Untag = []


# -- runs ----------------------------------------------------------------------------------------------------------


async def change_run(desk: Desk, asked: ChangedRun) -> Run:
    if asked.name:
        check_name(asked.name)
    if (await desk.read(tracked.get, asked.id)).sealed:
        await _say(desk, asked)
        return await run(desk, One(asked.id))
    return shown(await desk.keep(_change_run, asked))


def _change_run(connection: Connection, asked: ChangedRun) -> TrackedRun:
    """Of a run that a client logs to: all of it, or nothing."""
    seq = tracked.loggable(connection, asked.id)
    if asked.experiment is not None:
        tracked.move(connection, asked.id, asked.experiment)
    if asked.name:
        tracked.update(connection, asked.id, name=asked.name)
    for key in asked.untag:
        tracked.drop_tag(connection, asked.id, key)
    tracked.put_tags(connection, seq, asked.tags)
    if asked.note:
        connection.execute("UPDATE runs SET note = ? WHERE seq = ?", (asked.note, seq))
    return tracked.get(connection, asked.id)


async def _say(desk: Desk, asked: ChangedRun) -> None:
    """Of a recorded run: beside the record, as one word."""
    known = (await desk.read(tracked.get, asked.id)).tags
    for key in asked.untag:
        if key not in known:
            raise UsageError(f"run {asked.id} has no tag {key!r}")
    place = "" if asked.experiment is None else (await desk.read(experiments.there, asked.experiment)).name
    said = sealed.said(desk, asked.id, tags=asked.tags, removed=asked.untag, name=asked.name, experiment=place)
    if asked.tags or asked.untag or asked.name or place or asked.note:
        await sealed.say(desk, msgspec.structs.replace(said, note=asked.note))


async def remove_run(desk: Desk, asked: One) -> Run:
    if (await desk.read(tracked.get, asked.id)).sealed:
        await sealed.remove(desk, asked.id)
        return await run(desk, asked)
    return shown(await desk.keep(_and_then, tracked.get, tracked.remove, asked.id, desk.now()))


async def restore_run(desk: Desk, asked: One) -> Run:
    if (await desk.read(tracked.get, asked.id)).sealed:
        await sealed.remove(desk, asked.id, undo=True)
        return await run(desk, asked)
    return shown(await desk.keep(_and_then, tracked.get, tracked.restore, asked.id))


# -- experiments ---------------------------------------------------------------------------------------------------


async def create_experiment(desk: Desk, asked: NewExperiment) -> Experiment:
    check_experiment_name(asked.name)

    def make(connection: Connection) -> Experiment:
        id = experiments.create(connection, asked.name, "", asked.tags, desk.now())
        return experiments.get(connection, id)

    return await desk.keep(make)


async def change_experiment(desk: Desk, asked: ChangedExperiment) -> Experiment:
    if asked.name:
        check_experiment_name(asked.name)

    def change(connection: Connection) -> Experiment:
        experiments.there(connection, asked.id)
        if asked.name:
            experiments.rename(connection, asked.id, asked.name, desk.now())
        for key in asked.untag:
            experiments.drop_tag(connection, asked.id, key)
        for key, value in asked.tags.items():
            experiments.set_tag(connection, asked.id, key, value)
        return experiments.get(connection, asked.id)

    return await desk.keep(change)


async def remove_experiment(desk: Desk, asked: OneExperiment) -> Experiment:
    return await desk.keep(_and_then, experiments.get, experiments.remove, asked.id, desk.now())


async def restore_experiment(desk: Desk, asked: OneExperiment) -> Experiment:
    return await desk.keep(_and_then, experiments.get, experiments.restore, asked.id, desk.now())


def _and_then(
    connection: Connection, get: Callable[[Connection, Id], T], change: Callable[..., None], id: Id, *more: Any
) -> T:
    """Change a thing, and give it as it is then: who asked later could fail at that, with the change made."""
    change(connection, id, *more)
    return get(connection, id)


CALLS: Final[tuple[Call, ...]] = (
    Call("/runs/{id}", "Rename, move or tag a run, or write a remark on it.", ChangedRun, Run, change_run, "PATCH"),
    Call("/runs/{id}", "Remove a run.", One, Run, remove_run, "DELETE"),
    Call("/runs/{id}/restore", "Take the removal of a run back.", One, Run, restore_run, "POST"),
    Call("/experiments", "Make an experiment.", NewExperiment, Experiment, create_experiment, "POST"),
    Call(
        "/experiments/{id}", "Rename or tag an experiment.", ChangedExperiment, Experiment, change_experiment, "PATCH"
    ),
    Call(
        "/experiments/{id}",
        "Remove an experiment with the runs that clients logged in it.",
        OneExperiment,
        Experiment,
        remove_experiment,
        "DELETE",
    ),
    Call(
        "/experiments/{id}/restore",
        "Take the removal of an experiment back.",
        OneExperiment,
        Experiment,
        restore_experiment,
        "POST",
    ),
)
