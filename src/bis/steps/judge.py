"""Changes and comparisons become a Verdict. The rules are here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from bis.formats.moments import EITHER
from bis.formats.text import REORDERED
from bis.nouns.part import Change, Finding
from bis.nouns.run import Run
from bis.nouns.verdict import Judged, Sameness, Verdict
from bis.steps.suspect import Suspects

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
    suspects: Suspects = Suspects(),  # noqa: B008 - a frozen value
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
        causes=_causes(run, again, outputs, metrics, parts, [*findings, *_told(run, taken)], suspects)
        if sameness == "different"
        else (),
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
    run: Run,
    again: Run,
    outputs: Sequence[Judged],
    metrics: Sequence[Judged],
    parts: Sequence[Judged],
    findings: Sequence[Finding],
    suspects: Suspects,
) -> tuple[str, ...]:
    """Why it differs, as far as the differences themselves and what was seen of the run tell. What could have made any
    difference is looked for while one is left that does not tell its own cause."""
    ended = f"it ended otherwise: {ending(run)}, then {ending(again)}"
    whole = [ended] if (run.exit, run.signal) != (again.exit, again.signal) else []
    whole += [finding.text for finding in findings if finding.code in LOST]
    other = [f"{part.name}: {part.why}" for part in parts if part.sameness == "different"]
    causes = dict.fromkeys([*whole, *_read_off(outputs, suspects), *other])
    untold = _untold(outputs, metrics) and not (whole or other)
    scheduled = [finding.text for finding in again.findings if finding.code in SCHEDULED] if untold else []
    causes |= dict.fromkeys(scheduled)
    if _adds_in_any_order(run):
        scheduled.append("the graphics card adds in any order: record with `bis run --deterministic`")
        causes |= dict.fromkeys(scheduled)
    untold = untold and not scheduled
    if untold:
        causes |= {finding.text: None for finding in _told(again, ()) if finding.code == "network-input"}
        causes |= {f"randomness of the operating system ({place})": None for place in again.chance.entropy[:1]}
    if not causes:
        causes |= {f"variables {finding.text}": None for finding in findings if finding.code == "variables-not-kept"}
    if not causes and (reordered := [output.name for output in outputs if output.causes == (REORDERED,)]):
        causes[f"the order of names in {reordered[0]}: of a folder, each file system lists them in its own"] = None
        untold = False
    if not causes and any(finding.code == "unseeded-interpreter" for finding in again.findings):
        causes["an interpreter that could not be seeded"] = None
    if untold:
        causes |= dict.fromkeys(_perhaps(suspects))
    return tuple(causes)


def _read_off(outputs: Sequence[Judged], suspects: Suspects) -> Iterator[str]:
    """What the differences themselves tell. Whether a number that went on as the clock did is one of the clock, the
    code says."""
    for output in outputs:
        for cause in output.causes if output.causes != (REORDERED,) else ():
            if cause != EITHER:
                yield f"{cause} in {output.name}"
            elif suspects.clock:
                yield f"perhaps the clock, or float noise, in {output.name}: {_some(suspects.clock)}"
            else:
                yield f"float noise in {output.name}"


def _untold(outputs: Sequence[Judged], metrics: Sequence[Judged]) -> bool:
    """Whether something differs that does not tell why. A metric is told of by the file that it is read from."""
    differing = [output for output in outputs if output.sameness == "different"]
    if not differing:
        return any(metric.sameness == "different" for metric in metrics)
    return any(output.causes in ((), (REORDERED,)) for output in differing)


def _perhaps(suspects: Suspects) -> Iterator[str]:
    if suspects.clock:
        yield f"perhaps the clock: {_some(suspects.clock)}"
    if suspects.process:
        yield f"perhaps the number of a process: {_some(suspects.process)}"


def _some(places: Sequence[str]) -> str:
    shown = ", ".join(places[:3])
    return shown if len(places) <= 3 else f"{shown} and {len(places) - 3} more"


def _adds_in_any_order(run: Run) -> bool:
    machine = run.parts.get("machine")
    return bool(machine and machine.facts.get("gpu used")) and not run.chance.deterministic


def ending(run: Run) -> str:
    """How a run ended, in words: `exit 0`, `signal 9`, `lost`."""
    if run.signal is not None:
        return f"signal {run.signal}"
    return f"exit {run.exit}" if run.exit is not None else run.status
