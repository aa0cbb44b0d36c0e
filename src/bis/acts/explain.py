"""`bis diff` and `bis status`: what is different between two runs, or between a run and now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import unspell
from bis.errors import KeepingError, NotFound
from bis.nouns.part import Change, PartKind
from bis.nouns.run import Run
from bis.nouns.verdict import Judged
from bis.parts import Scene
from bis.steps.capture import capture_supposed, made_inputs, remembered_inputs
from bis.steps.compare import compare_parts, context_of, judge_metrics, judge_outputs, judge_parts
from bis.steps.here import now
from bis.steps.home import Home
from bis.steps.metrics import metric_globs
from bis.steps.planning import still_outputs
from bis.steps.recorded import demand_record
from bis.steps.shallow import differing, need
from bis.steps.uploaded import uploaded_elsewhere, with_uploaded
from bis.store.volatile import Forgetful


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    before: Run
    after: Run
    parts: list[Judged]
    changes: dict[PartKind, list[Change]]
    outputs: list[Judged] = []
    metrics: list[Judged] = []

    @property
    def same(self) -> bool:
        judged = [*self.parts, *self.outputs, *self.metrics]
        return all(one.sameness in ("identical", "equivalent") for one in judged)


def difference(before: Run, after: Run, home: Home) -> Difference:
    """Two recorded runs, part by part, output by output, metric by metric. Where contents lie with a remote that does
    not answer, what cannot be compared is named as such."""
    before, after = with_uploaded(before, home), with_uploaded(after, home)
    with suppress(KeepingError, NotFound):
        need(home, differing(before, after))
    changes = compare_parts(before, after, home.store)
    outputs = judge_outputs(
        before,
        after,
        home.store,
        context_of(before, after),
        home.settings.tolerance,
        metric_globs(home.settings.metrics, before.parts.get("code"), home.store),
    )
    return Difference(
        before=before,
        after=after,
        parts=judge_parts(before, after, changes),
        changes=changes,
        outputs=[*outputs, *_not_seen(before, after, home)],
        metrics=judge_metrics(before, after, home.settings.tolerance),
    )


def _not_seen(before: Run, after: Run, home: Home) -> Iterator[Judged]:
    """Artifacts that lie where bis cannot look."""
    for run in (before, after):
        if elsewhere := uploaded_elsewhere(run, home):
            yield Judged(name="artifacts", sameness="not compared", why=f"those of {run.name} lie in {elsewhere}")


def status(against: Run, home: Home, *, folder: Path, variables: Mapping[str, str]) -> Difference:
    """What would be different if the command of `against` ran now. Executes nothing and records nothing.

    Code, data and params are what they would be if it read the same files again. Parts that only an execution shows
    (which packages it used, which BLAS kernel it chose) are compared as far as they are known before one. Raises
    CannotRepeat for a run that a client logged.
    """
    demand_record(against, home)
    scene = Scene(
        project=home.project,
        folder=home.project / unspell(against.folder),
        command=tuple(unspell(word) for word in against.command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        cache=home.cache,
        known_outputs=still_outputs(home)
        | {output.path for output in against.outputs}
        | made_inputs(against.parts.get("data")),
        remembered=remembered_inputs(against),
    )
    store = Forgetful(home.store)
    parts = capture_supposed(scene, store, against)
    after = msgspec.structs.replace(
        against,
        id="",
        name="now",
        started=now(),
        ended="",
        status="running",
        exit=None,
        parts=parts,
        outputs=(),
        metrics={},
    )
    changes = compare_parts(against, after, store)
    return Difference(before=against, after=after, parts=judge_parts(against, after, changes), changes=changes)


def told(found: Difference) -> dict[str, Any]:
    """As JSON has it, in the command's answer and in the page's."""
    return {
        "same": found.same,
        "before": _identity(found.before),
        "after": _identity(found.after),
        "parts": found.parts,
        "changes": found.changes,
        "metrics": found.metrics,
        "outputs": found.outputs,
    }


def _identity(run: Run) -> dict[str, Any]:
    return {
        "id": run.id or None,
        "name": run.name,
        "status": run.status if run.id else None,
        "exit": run.exit,
        "started": run.started,
    }
