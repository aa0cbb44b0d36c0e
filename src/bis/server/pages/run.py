"""One run: what went in, what came out, whether it repeats, and what is not known of it."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from bis.errors import UsageError
from bis.ledger import tracked
from bis.ledger.runs import SqlLedger
from bis.ledger.runs import told as params_of
from bis.nouns.annotation import Annotation, removed_at, tags_after
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Output, Run
from bis.nouns.verdict import Verdict
from bis.server.desk import Desk
from bis.server.native import changing
from bis.server.native.looking import One
from bis.server.pages.charts import Charts, of_run
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Action, Page, Table
from bis.server.pages.usage import Used, usage_of
from bis.steps.abreast import Head, head
from bis.steps.model_place import files_of
from bis.steps.recognising import Recognised, models_in
from bis.steps.uploaded import uploaded_elsewhere, with_uploaded

CHILDREN: Final = 50
"""Runs around which it was, that are listed."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    """Its id, the beginning of it, or a name."""


class OneRun(msgspec.Struct, kw_only=True):
    run: Run
    params: dict[str, str]
    tags: dict[str, str]
    experiment: str
    annotations: list[Annotation]
    verdicts: list[Verdict]
    findings: list[Finding]
    """Of the run and of its parts, those that stand in the way of a repeat first."""
    models: list[Recognised]
    elsewhere: str
    """Where its artifacts lie, where bis does not keep them."""
    repeats: Head | None
    """The run that it repeats."""
    parent: Head | None
    children: list[Head]
    usage: list[Used]
    """What it used of the machine, over time."""
    commands: dict[str, str]
    """What to type next, by what it does."""
    charts: Charts

    @property
    def is_removed(self) -> bool:
        return bool(removed_at(self.annotations))

    @property
    def parts(self) -> list[tuple[PartKind, Part | None]]:
        """All kinds, also those that are missing."""
        return [(kind, self.run.parts.get(kind)) for kind in get_args(PartKind)]

    @property
    def outputs(self) -> list[Output]:
        """The files, without the empty logs."""
        shown = [output for output in self.run.outputs if not (output.is_log and output.size == 0)]
        return sorted(shown, key=lambda output: output.is_log)


async def run(desk: Desk, asked: Asked) -> OneRun:
    return await desk.shelf.work(lambda: _run(desk, asked))


def _run(desk: Desk, asked: Asked) -> OneRun:
    ledger = SqlLedger(desk.database, False)
    found = run_meant(ledger, asked.id)
    home = desk.home
    annotations = ledger.annotations(found.id)
    over = home is not None and found.status != "running"
    if home is not None:
        found = with_uploaded(found, home)
    return OneRun(
        run=found,
        params=params_of(found),
        tags=tags_after(annotations),
        experiment=ledger.experiment(found.id),
        annotations=annotations,
        verdicts=ledger.verdicts(found.id),
        findings=found.all_findings,
        models=models_in(files_of(home, found), home.store) if home and over else [],
        elsewhere=uploaded_elsewhere(found, home) if home else "",
        repeats=_head(ledger, found.repeats),
        parent=_head(ledger, found.parent),
        children=[head(ledger.get(row.id)) for row in ledger.rows(f"parent = '{found.id}'", (), CHILDREN)],
        usage=usage_of(found, home.store) if home else [],
        commands=_commands(found),
        charts=_charts(desk, found.id),
    )


def _charts(desk: Desk, id: str) -> Charts:
    with desk.database.reading() as connection:
        return of_run(connection, tracked.get(connection, id))


def _head(ledger: SqlLedger, id: str) -> Head | None:
    rows = ledger.rows(f"run_id = '{id}'", (), 1) if id else []
    return head(ledger.get(rows[0].id)) if rows else None


def _commands(run: Run) -> dict[str, str]:
    short = run.id[:8]
    if run.tracked or run.status == "running":
        return {"see it in a terminal": f"bis show {short}"}
    return {
        "repeat it": f"bis repeat {short}",
        "put its code and data into a folder": f"bis restore {short} --into DIR",
        "compare it with what would run now": f"bis status {short}",
        "build an image of it": f"bis build image {short}",
    }


def table(found: OneRun) -> Table:
    return ("path", "digest", "size"), ((one.path, one.digest, one.size) for one in found.run.outputs)


# -- what is said of it later ----------------------------------------------------------------------------------------


class Said(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    note: str = ""
    tag: str = ""
    value: str = ""
    untag: str = ""
    name: str = ""


async def say(desk: Desk, asked: Said) -> str:
    """A note, a tag or another name. Raises UsageError for nothing."""
    if not (asked.note or asked.tag or asked.untag or asked.name):
        raise UsageError("nothing was said", hint="write a note, or a tag and its value")
    tags = {asked.tag: asked.value} if asked.tag else {}
    untag = [asked.untag] if asked.untag else []
    changed = changing.ChangedRun(id=asked.id, note=asked.note, tags=tags, untag=untag, name=asked.name)
    await changing.change_run(desk, changed)
    return f"/runs/{asked.id}"


class Removed(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    undo: bool = False


async def remove(desk: Desk, asked: Removed) -> str:
    await (changing.restore_run if asked.undo else changing.remove_run)(desk, One(asked.id))
    return f"/runs/{asked.id}"


PAGES: Final = (Page("/runs/{id}", "run", Asked, run, table),)
ACTIONS: Final[tuple[Action, ...]] = (
    Action("/runs/{id}/say", Said, say),
    Action("/runs/{id}/remove", Removed, remove),
)
