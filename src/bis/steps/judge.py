"""Changes and comparisons become a Verdict. The rules are here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from bis.formats.text import REORDERED
from bis.nouns.part import Change, Finding
from bis.nouns.run import Run
from bis.nouns.verdict import Judged, Sameness, Verdict

RESTORED = ("code", "data", "params", "environment")
"""Parts that a repeat puts back itself: when one of them is not as recorded, it was not the same run."""

LOST = (
    *("cache-missing", "input-overwritten", "input-vanished", "input-changed", "own-files-read"),
    *("piped-input", "typed-input", "write-refused", "not-recorded", "environment-incomplete"),
)
"""Findings of ingredients that a repeat could not have: causes, when it comes out otherwise."""

SCHEDULED = ("worker-order", "parallel-start")
"""Findings of seeds that went to whom the scheduler of the system chose."""


def judge(
    run: Run,
    again: Run,
    *,
    made: str,
    parts: Sequence[Judged],
    outputs: Sequence[Judged],
    metrics: Sequence[Judged],
    changes: Sequence[Change] = (),
    leaks: Sequence[str] = (),
    findings: Sequence[Finding] = (),
    not_compared: Sequence[str] = (),
    tolerance: Mapping[str, float] = MappingProxyType({}),
    taken: Collection[str] = (),
) -> Verdict:
    """Whether `again` came out as `run` did. Identical needs every output compared, equal in bytes, and no doubt
    about what the repeat was made of; each doubt is named in `not_compared`, `leaks` or `findings`. Parts that were
    `taken` from elsewhere on purpose are no doubt."""
    restored = [part for part in parts if part.name in RESTORED and part.name not in taken]
    told = [*(finding for finding in _told(run, taken) if finding.blocks), *findings]
    unseen = [f"{output.name}: {output.why}" for output in outputs if output.sameness == "not compared"]
    doubts = [*not_compared, *unseen, *_doubts(again, restored, leaks, told)]
    sameness = _sameness(run, again, outputs, metrics, doubts)
    return Verdict(
        run=run.id,
        again=again.id,
        sameness=sameness,
        made=made,
        parts=tuple(parts),
        outputs=tuple(outputs),
        metrics=tuple(metrics),
        not_compared=tuple(doubts),
        leaks=tuple(leaks),
        findings=tuple(findings),
        causes=_causes(run, again, outputs, parts, [*findings, *_told(run, taken)]) if sameness == "different" else (),
        changes=tuple(changes),
        tolerance=dict(tolerance),
        coverage=f"{again.coverage.mechanism}, {'complete' if again.coverage.complete else 'partial'}",
    )


def _told(run: Run, taken: Collection[str]) -> list[Finding]:
    """All that was found of the recorded run and of its parts, without those that were taken from elsewhere."""
    parts = [part for kind, part in run.parts.items() if kind not in taken]
    return [*run.findings, *(finding for part in parts for finding in part.findings)]


def _sameness(
    run: Run, again: Run, outputs: Sequence[Judged], metrics: Sequence[Judged], doubts: Sequence[str]
) -> Sameness:
    if (run.exit, run.signal) != (again.exit, again.signal):
        return "different"
    judged = [*outputs, *metrics]
    if any(one.sameness == "different" for one in judged):
        return "different"
    if not any(one.sameness in ("identical", "equivalent") for one in judged):
        return "nothing observed"
    if doubts or any(one.sameness != "identical" for one in judged):
        return "equivalent"
    return "identical"


def _doubts(again: Run, parts: Sequence[Judged], leaks: Sequence[str], findings: Sequence[Finding]) -> list[str]:
    doubts = []
    if not again.coverage.complete:
        said = "; ".join(again.coverage.limits[:2]) or "not every opening of a file was seen"
        doubts.append(f"whether it read files of this machine ({again.coverage.mechanism} trace: {said})")
    if leaks:
        doubts.append(f"{_leaked(leaks)} from this machine, not from the record")
    doubts += [f"{part.name} is not as recorded: {part.why}" for part in parts if part.sameness == "different"]
    doubts += [f"{part.name}: {part.why}" for part in parts if part.sameness == "not compared"]
    doubts += [finding.text for finding in findings if finding.blocks]
    return list(dict.fromkeys(doubts))


def _leaked(leaks: Sequence[str]) -> str:
    """How many of which: a folder has a slash at its end."""
    folders = sum(path.endswith("/") for path in leaks)
    files = len(leaks) - folders
    told = [f"{files} {'file' if files == 1 else 'files'} read"] if files else []
    told += [f"{folders} {'folder' if folders == 1 else 'folders'} listed"] if folders else []
    return " and ".join(told)


def _causes(
    run: Run, again: Run, outputs: Sequence[Judged], parts: Sequence[Judged], findings: Sequence[Finding]
) -> tuple[str, ...]:
    """Why it differs, as far as the differences themselves and what was seen of the run tell."""
    causes: dict[str, None] = {}
    if (run.exit, run.signal) != (again.exit, again.signal):
        causes[f"it ended otherwise: {ending(run)}, then {ending(again)}"] = None
    causes |= {finding.text: None for finding in findings if finding.code in LOST}
    for output in outputs:
        for cause in output.causes if output.causes != (REORDERED,) else ():
            causes[f"{cause} in {output.name}"] = None
    for part in parts:
        if part.sameness == "different":
            causes[f"{part.name}: {part.why}"] = None
    if not causes:
        causes |= {finding.text: None for finding in again.findings if finding.code in SCHEDULED}
    if _adds_in_any_order(run):
        causes["the graphics card adds in any order: record with `bis run --deterministic`"] = None
    if not causes:
        causes |= {finding.text: None for finding in _told(again, ()) if finding.code == "network-input"}
        causes |= {f"randomness of the operating system ({place})": None for place in again.chance.entropy[:1]}
    if not causes:
        causes |= {f"variables {finding.text}": None for finding in findings if finding.code == "variables-not-kept"}
    if not causes and (reordered := [output.name for output in outputs if output.causes == (REORDERED,)]):
        causes[f"the order of names in {reordered[0]}: of a folder, each file system lists them in its own"] = None
    if not causes and any(finding.code == "unseeded-interpreter" for finding in again.findings):
        causes["an interpreter that could not be seeded"] = None
    return tuple(causes)


def _adds_in_any_order(run: Run) -> bool:
    machine = run.parts.get("machine")
    return bool(machine and machine.facts.get("gpu used")) and not run.chance.deterministic


def ending(run: Run) -> str:
    """How a run ended, in words: `exit 0`, `signal 9`, `lost`."""
    if run.signal is not None:
        return f"signal {run.signal}"
    return f"exit {run.exit}" if run.exit is not None else run.status
