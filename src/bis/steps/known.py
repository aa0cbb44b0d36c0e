"""Everything known of one run, for whoever shows all of it: what went in, what came out, what was said of it later."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, get_args

import msgspec

from bis.errors import NotFound
from bis.ledger.runs import SqlLedger
from bis.nouns.annotation import Annotation, removed_at, tags_after
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Output, Run, told
from bis.nouns.verdict import Verdict
from bis.steps.abreast import Head, head
from bis.steps.home import Home
from bis.steps.model_place import files_of
from bis.steps.recognising import Recognised, models_in
from bis.steps.uploaded import uploaded_elsewhere, with_uploaded

CHILDREN: Final = 50
"""Runs around which it was, that are listed."""


class Known(msgspec.Struct, kw_only=True):
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
    """The newest of the runs around which it was."""
    children_there: int
    commands: dict[str, str]
    """What to type next, by what it does."""

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


def known(ledger: SqlLedger, run: Run, home: Home | None) -> Known:
    """Without a home, as far as the ledger tells."""
    annotations = ledger.annotations(run.id)
    over = home is not None and run.status != "running"
    if home is not None:
        run = with_uploaded(run, home)
    within = f"parent = '{run.id}'"
    return Known(
        run=run,
        params=told(run),
        tags=tags_after(annotations),
        experiment=ledger.experiment(run.id),
        annotations=annotations,
        verdicts=ledger.verdicts(run.id),
        findings=run.all_findings,
        models=models_in(files_of(home, run), home.store) if home and over else [],
        elsewhere=uploaded_elsewhere(run, home) if home else "",
        repeats=_head(ledger, run.repeats),
        parent=_head(ledger, run.parent),
        children=[head(ledger.get(row.id)) for row in ledger.rows(within, (), CHILDREN)],
        children_there=ledger.count(within),
        commands=_commands(run),
    )


def _head(ledger: SqlLedger, id: str) -> Head | None:
    with suppress(NotFound):  # a record may come from elsewhere, and name what it likes
        return head(ledger.get(id)) if id else None
    return None


def _commands(run: Run) -> dict[str, str]:
    short = run.id[:8]
    if run.tracked or run.status == "running":
        return {"see it in a terminal": f"bis show {short}"}
    return {
        "repeat it": f"bis repeat {short}",
        "put its code and data into a folder": f"bis restore {short} DIR",
        "compare it with what would run now": f"bis status {short}",
        "build an image of it": f"bis build image {short}",
    }
