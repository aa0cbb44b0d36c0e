"""`bis tag`, `bis note` and `bis rm`: say something of a run after it was sealed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import msgspec

from bis.digest import readable
from bis.errors import UsageError
from bis.ledger import registry
from bis.ledger.runs import SqlLedger
from bis.nouns.annotation import Annotation
from bis.nouns.run import Run
from bis.steps.annotations import keep
from bis.steps.here import now, user_here
from bis.steps.home import Home
from bis.steps.removals import still_there

FORBIDDEN = frozenset("=`'\"")
"""Letters that would keep a tag from being typed in a filter or on a command line."""


def annotate(annotation: Annotation, home: Home) -> Annotation:
    """Keep an annotation beside its run, in the store and then in the ledger. Killed in between, `reindex` finds it.

    The run itself is not touched. Raises UsageError for a tag that could not be asked for.
    """
    for name in (*annotation.tags, *annotation.removed):
        if not name.isprintable() or not name or name != name.strip() or FORBIDDEN & set(name):
            raise UsageError(
                f"{name!r} cannot be the name of a tag",
                because="Names of tags have no quotes, no = and no control characters, and no space at their ends.",
                hint="bis tag RUN team=fraud",
            )
    if not (annotation.tags or annotation.removed or annotation.note.strip()):
        raise UsageError("there is nothing to say", hint="bis note RUN 'why it matters', or bis tag RUN team=fraud")
    return _keep(msgspec.structs.replace(annotation, note=annotation.note.strip()), home)


def remove(runs: Sequence[Run], home: Home, *, undo: bool = False) -> None:
    """Remove runs: they are not listed, and what only they need may be collected; or take that back.

    Raises UsageError for a run under way and for one that a registered model came from, and NotFound where content of
    a removed run is gone already: then nothing is taken back.
    """
    records = [home.ledger.record(run.id) for run in runs]
    for run, record in zip(runs, records, strict=True):
        if not record and not run.tracked:
            raise UsageError(f"{readable(run.name)} is under way", hint="wait until it has ended, or stop it first")
        if not undo:
            _check_registered(run, home)
    with still_there(home.store, [record for record in records if record]) if undo else nullcontext():
        for run in runs:
            _keep(Annotation(run=run.id, made=now(), user=user_here(), hidden=not undo), home)


def _check_registered(run: Run, home: Home) -> None:
    """The files of a registered model are those of its run."""
    assert isinstance(home.ledger, SqlLedger)
    with home.ledger.database.reading() as connection:
        found = registry.versions(connection, "v.run = ?", (run.id,), limit=1)
    for version in found:
        raise UsageError(
            f"{readable(run.name)} made the registered {readable(version.reference)}",
            because="Its files are those of the model, and might be collected.",
            hint=f"bis model rm {version.name}/{version.number}  first",
        )


def _keep(annotation: Annotation, home: Home) -> Annotation:
    return keep(annotation, home.store, home.ledger)
