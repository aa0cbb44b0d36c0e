"""What may be said of a run that bis recorded: its tags, name and experiment, and whether it is removed. It lies beside
the record, which stays as it is, so that it comes back with it whatever happens to the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from bis.errors import UsageError
from bis.ledger import tracked
from bis.ledger.moments import stamp
from bis.ledger.refusals import NoSuch
from bis.ledger.runs import SqlLedger
from bis.nouns.annotation import Annotation
from bis.server.desk import Desk
from bis.steps.annotations import keep
from bis.steps.removals import still_there


async def tag(desk: Desk, id: str, tags: Mapping[str, str]) -> None:
    await say(desk, Annotation(run=id, made=stamp(desk.now()), user=desk.asking(), tags=dict(tags)))


async def drop_tag(desk: Desk, id: str, key: str) -> None:
    """Raises NoSuch."""
    if key not in (await desk.read(tracked.get, id)).tags:
        raise NoSuch("tag", key, f"run with id {id}")
    await say(desk, Annotation(run=id, made=stamp(desk.now()), user=desk.asking(), removed=(key,)))


async def remove(desk: Desk, id: str, *, undo: bool = False) -> None:
    """Raises UsageError for a run under way; to take it back, NotFound where content of it is gone already."""
    await asyncio.to_thread(_remove, desk, id, stamp(desk.now()), desk.asking(), undo)


def _remove(desk: Desk, id: str, made: str, user: str, undo: bool) -> None:
    ledger = SqlLedger(desk.database)
    record = ledger.record(id)
    if not record:
        raise UsageError(f"run {id} is under way", hint="wait until it has ended, or stop it first")
    with still_there(desk.store, [record]) if undo else nullcontext():
        keep(Annotation(run=id, made=made, user=user, hidden=not undo), desk.store, ledger)


def said(
    desk: Desk, id: str, *, tags: Mapping[str, str], removed: Sequence[str], name: str, experiment: str
) -> Annotation:
    """What somebody who asks now says of a run. `experiment`: the name of the one that it is moved to."""
    return Annotation(
        run=id,
        made=stamp(desk.now()),
        user=desk.asking(),
        tags=dict(tags),
        removed=tuple(removed),
        name=name,
        experiment=experiment,
    )


async def say(desk: Desk, annotation: Annotation) -> None:
    await asyncio.to_thread(keep, annotation, desk.store, SqlLedger(desk.database))
