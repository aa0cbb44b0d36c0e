"""Two runs side by side: part by part, output by output, metric by metric."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

from bis.digest import readable, short, unspell
from bis.errors import Damaged, NotFound, counted
from bis.formats import Context, Side, clocks
from bis.formats.registry import compare as compare_files
from bis.nouns.part import Change, PartKind
from bis.nouns.run import Output, Run, told
from bis.nouns.verdict import Judged, Masked, OutputSameness
from bis.parts.kinds import KINDS
from bis.steps.metrics import is_metric_file
from bis.steps.pairing import pair, stable
from bis.store import Store
from bis.store.temporary import temporary

LOGS = ("<stdout>", "<stderr>")
EXECUTABLE = 0o111
TELLING = 100
"""Bytes of a file whose size, as a number in a log, can hardly be anything else."""
LARGEST_TEXT = 50_000_000
"""Bytes of a file whose letters are counted."""


def compare_parts(before: Run, after: Run, store: Store) -> dict[PartKind, list[Change]]:
    """The changes of each kind, kinds without any included. A kind that one side lacks is one change."""
    changes: dict[PartKind, list[Change]] = {}
    for kind in KINDS:
        old, new = before.parts.get(kind.KIND), after.parts.get(kind.KIND)
        if old is None or new is None:
            missing = Change(
                kind=kind.KIND, name=kind.KIND, before=old.summary if old else None, after=new.summary if new else None
            )
            changes[kind.KIND] = [] if old is new else [missing]
        else:
            changes[kind.KIND] = kind.compare(old, new, store)
    if before.tracked or after.tracked:
        changes["params"] = _told(before, after)
    if not (before.tracked or after.tracked):  # of what a client logged, nobody saw how chance was had
        changes.setdefault("params", []).extend(_chance(before, after))
    if before.stdin != after.stdin:
        sides = [short(run.stdin) if run.stdin else None for run in (before, after)]
        changes.setdefault("data", []).append(Change(kind="data", name="<stdin>", before=sides[0], after=sides[1]))
    return changes


def _told(before: Run, after: Run) -> list[Change]:
    """Params by name, where a client logged one of the runs, so that there is no more of them than that."""
    old, new = told(before), told(after)
    return [
        Change(kind="params", name=name, before=old.get(name), after=new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def judge_parts(before: Run, after: Run, changes: Mapping[PartKind, Sequence[Change]]) -> list[Judged]:
    """The word on each part. `different` when a change that matters is in it."""
    judged = []
    for kind in KINDS:
        old, new = before.parts.get(kind.KIND), after.parts.get(kind.KIND)
        if kind.KIND == "params" and (before.tracked or after.tracked) and changes[kind.KIND]:
            judged.append(Judged(name=kind.KIND, sameness="different", why=_first_words(changes[kind.KIND])))
            continue
        if old is None or new is None:
            why = "not recorded in both runs"
            judged.append(Judged(name=kind.KIND, sameness="not compared", why=why))
            continue
        matter = [change for change in changes[kind.KIND] if change.weight == "matters"]
        sameness: OutputSameness = "different" if matter else "identical" if old.digest == new.digest else "equivalent"
        judged.append(
            Judged(
                name=kind.KIND,
                sameness=sameness,
                before=short(old.digest),
                after=short(new.digest),
                why=_first_words(matter or list(changes[kind.KIND])) if sameness != "identical" else new.summary,
            )
        )
    return judged


def judge_outputs(
    before: Run,
    after: Run,
    store: Store,
    context: Context,
    tolerance: Mapping[str, float] = MappingProxyType({}),
    metric_files: Sequence[str] = (),
) -> list[Judged]:
    """The word on each output. In metric files numbers may differ as far as the widest declared tolerance goes;
    each metric is then judged with its own."""
    tolerant = msgspec.structs.replace(context, tolerance=max(tolerance.values(), default=0.0))
    files: list[Judged] = []
    sizes: dict[tuple[int, int], None] = {}
    logs: list[tuple[Output, Output]] = []
    unseen: list[str] = []
    with temporary("compare") as folder:
        for old, new in pair(before.outputs, after.outputs, context):
            name = old.path if old else new.path if new else ""
            if name in LOGS and not any(one.size for one in (old, new) if one):
                continue  # a command that prints nothing is not said to print the same
            if old is None or new is None:
                if _unseen(before, after, old, new):
                    unseen.append(name)
                else:
                    files.append(_judge_one(before, after, old, new))
                continue
            if name in LOGS:
                logs.append((old, new))
                continue
            used = tolerant if is_metric_file(name, metric_files) else context
            files.append(_judge_output(name, old, new, store, used, folder))
            if files[-1].sameness == "equivalent":
                sizes |= dict.fromkeys(_sizes(old, new, folder))
        # Only a log is told them, when all are known: each takes a look at each line.
        context = _with_sizes(context, list(sizes)) if logs else context
        judged = [_judge_output(old.path, old, new, store, context, folder) for old, new in logs]
    return [*judged, *files, *_judge_unseen(before, unseen), *_judge_removed(before, after)]


def _judge_removed(before: Run, after: Run) -> list[Judged]:
    """The word on each file that was there before and that a run deleted or moved away."""
    sides = [set(run.removed or ()) for run in (before, after)]
    unknown = [place for place, run in zip(("first", "second"), (before, after), strict=True) if run.removed is None]
    judged = []
    for name in sorted(sides[0] | sides[1]):
        words = ["removed" if name in side else "" for side in sides]
        sameness: OutputSameness = "identical" if all(words) else "not compared" if unknown else "different"
        why = "" if all(words) else f"removed only by the {'first' if words[0] else 'second'} run"
        if not all(words) and unknown:
            why = f"what the {unknown[0]} run removed is not recorded"
        judged.append(Judged(name=readable(name), sameness=sameness, before=words[0], after=words[1], why=why))
    return judged


def _sizes(old: Output, new: Output, folder: Path) -> list[tuple[int, int]]:
    """The two sizes of a file that both runs made, in bytes and in letters, where they differ and tell of it."""
    both = ((old.size, new.size), _letters(old, new, folder))
    return [sizes for sizes in both if sizes[0] != sizes[1] and min(sizes) >= TELLING]


def _letters(old: Output, new: Output, folder: Path) -> tuple[int, int]:
    """The lengths of two texts that have just been compared; zeros where they are none, or large."""
    files = folder / "before", folder / "after"
    try:
        if old.digest == new.digest or old.target or new.target or max(old.size, new.size) > LARGEST_TEXT:
            return 0, 0
        return len(files[0].read_text("utf-8")), len(files[1].read_text("utf-8"))
    except (OSError, ValueError):
        return 0, 0


def _with_sizes(context: Context, sizes: Sequence[tuple[int, int]]) -> Context:
    """Logs name the sizes of files that were written, in bytes or in letters. Where two files mean the same, so do
    their two sizes."""
    before, after = (
        msgspec.structs.replace(side, names=(*side.names, *(f"{pair[place]} bytes" for pair in sizes)))
        for place, side in enumerate((context.before, context.after))
    )
    return msgspec.structs.replace(context, before=before, after=after)


def context_of(before: Run, after: Run) -> Context:
    """What a comparison of two runs' outputs may know of them."""
    # Lists of the two sides pair by position: a folder counts only where both runs have one.
    pairs = [two for two in zip(_roots(before), _roots(after), strict=True) if all(two)]
    roots = [tuple(two[side] for two in pairs) for side in (0, 1)]
    return Context(before=_side(before, roots[0]), after=_side(after, roots[1]))


def _roots(run: Run) -> tuple[str, ...]:
    python = run.parts["environment"].facts.get("python") or {} if "environment" in run.parts else {}
    return unspell(run.project), unspell(python.get("prefix", ""))


def _side(run: Run, roots: tuple[str, ...]) -> Side:
    started, ended = _seconds(run.started), _seconds(run.ended or run.started)
    return Side(roots=roots, names=(run.id, run.host), started=started, ended=ended)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _judge_one(before: Run, after: Run, old: Output | None, new: Output | None) -> Judged:
    """The word on what one run alone has."""
    verb = "logged" if before.tracked and after.tracked else "made"
    why = f"{verb} only by the second run" if old is None else f"not {verb} by the second run"
    name = old.path if old else new.path if new else ""
    return Judged(name=readable(name), sameness="different", why=why, before=_word(old), after=_word(new))


def _unseen(before: Run, after: Run, old: Output | None, new: Output | None) -> bool:
    """Whether nobody saw if the other run made it, too: a client uploads of its run what it chooses."""
    return (old is None and before.tracked and not after.tracked) or (
        new is None and after.tracked and not before.tracked
    )


def _judge_unseen(before: Run, unseen: Sequence[str]) -> list[Judged]:
    """One word on all that the recorded one of two runs made, and the one of a client may have made."""
    if not unseen:
        return []
    sides = ("second", "first") if before.tracked else ("first", "second")
    what = readable(unseen[0]) if len(unseen) == 1 else f"{counted(len(unseen), 'output')} of the {sides[0]} run"
    why = f"a client logged the {sides[1]} run: bis did not see all that it made"
    return [Judged(name=what, sameness="not compared", why=why)]


def _judge_output(name: str, old: Output, new: Output, store: Store, context: Context, folder: Path) -> Judged:
    shown = readable(name)
    sides = short(old.digest), short(new.digest)
    if old.digest == new.digest and old.target == new.target:
        set_aside = (*_masked_name(old, new, context), *_masked_mode(old, new))
        same_name = old.path == new.path and not set_aside
        sameness: OutputSameness = "different" if _other_mode(old, new) else "identical" if same_name else "equivalent"
        why = _other_mode(old, new) or _renamed(old, new)
        return Judged(name=shown, sameness=sameness, why=why, masked=set_aside, before=sides[0], after=sides[1])
    if old.target or new.target:
        return _judge_link(shown, old, new, context, sides)
    if not (old.kept and new.kept):
        why = "other bytes; the content was not kept, so its meaning could not be compared"
        return Judged(name=shown, sameness="different", why=why, before=sides[0], after=sides[1])
    return _judge_content(shown, old, new, store, context, folder, sides)


def _judge_link(name: str, old: Output, new: Output, context: Context, sides: tuple[str, str]) -> Judged:
    """Links to the same thing, whose name holds the time of its run or an id, mean the same."""
    why = f"link to {readable(old.target)}, then to {readable(new.target)}"
    targets = stable(old.target, context.before, context.slack), stable(new.target, context.after, context.slack)
    if not old.target or targets[0] != targets[1]:
        return Judged(name=name, sameness="different", why=why, before=sides[0], after=sides[1])
    masked = (*_masked_name(old, new, context), _name_masked(old.target, new.target))
    return Judged(name=name, sameness="equivalent", masked=masked, before=sides[0], after=sides[1])


def _judge_content(
    name: str, old: Output, new: Output, store: Store, context: Context, folder: Path, sides: tuple[str, str]
) -> Judged:
    files = folder / "before", folder / "after"
    try:
        for output, file in zip((old, new), files, strict=True):
            file.unlink(missing_ok=True)
            store.get_file(output.digest, file)
    except (NotFound, Damaged) as error:
        return Judged(name=name, sameness="not compared", why=error.what, before=sides[0], after=sides[1])
    found = compare_files(old.path, files[0], files[1], context)
    mode = _other_mode(old, new)
    same: OutputSameness = "not compared" if found.same is None else "equivalent" if found.same else "different"
    return Judged(
        name=name,
        sameness="different" if mode else same,
        why="; ".join(filter(None, (mode, found.why))),
        detail=found.detail,
        masked=(*found.masked, *_masked_name(old, new, context), *_masked_mode(old, new)),
        causes=found.causes,
        before=sides[0],
        after=sides[1],
    )


def judge_metrics(before: Run, after: Run, tolerance: Mapping[str, float]) -> list[Judged]:
    """The word on each metric: equal, within its declared relative tolerance, a duration that was set aside by the rule
    for documents (`formats/clocks.py`), or different."""
    context = context_of(before, after)
    judged = []
    for name in sorted({*before.metrics, *after.metrics}):
        old, new = before.metrics.get(name), after.metrics.get(name)
        sides = number(old), number(new)
        if old is None or new is None:
            judged.append(
                Judged(name=name, sameness="different", why="only in one of the runs", before=sides[0], after=sides[1])
            )
        elif old == new or (math.isnan(old) and math.isnan(new)):
            judged.append(Judged(name=name, sameness="identical", before=sides[0], after=sides[1]))
        else:
            allowed = _tolerance(name, tolerance)
            timed = allowed is None and clocks.measured(name) and clocks.lasted(name, repr(old), repr(new), context)
            judged.append(_set_aside(name, sides) if timed else _judge_metric(name, old, new, allowed, sides))
    return judged


def _set_aside(name: str, sides: tuple[str, str]) -> Judged:
    masked = Masked(rule="duration", count=1, example=" -> ".join(sides))
    return Judged(name=name, sameness="equivalent", masked=(masked,), before=sides[0], after=sides[1])


def _judge_metric(name: str, old: float, new: float, allowed: float | None, sides: tuple[str, str]) -> Judged:
    relative = abs(new - old) / abs(old) if old and math.isfinite(old) and math.isfinite(new) else math.inf
    if allowed is not None and relative <= allowed:
        why = f"differs by {relative:.2g}, within the declared tolerance of {allowed:g}"
        return Judged(name=name, sameness="equivalent", why=why, before=sides[0], after=sides[1])
    why = f"{new - old:+.6g}" + (f", tolerance {allowed:g}" if allowed is not None else ", no tolerance declared")
    return Judged(name=name, sameness="different", why=why, before=sides[0], after=sides[1])


def _tolerance(name: str, tolerance: Mapping[str, float]) -> float | None:
    if name in tolerance:
        return tolerance[name]
    return next((value for glob, value in tolerance.items() if fnmatch.fnmatchcase(name, glob)), None)


def number(value: float | None) -> str:
    """A metric for a person, exact: the shortest text that reads back as the same number."""
    if value is None:
        return ""
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return str(int(value)) if whole else str(value)


def _chance(before: Run, after: Run) -> list[Change]:
    changes = []
    for name in ("seed", "hash_seed", "deterministic"):
        old, new = getattr(before.chance, name), getattr(after.chance, name)
        if old != new:
            # A fresh seed that nothing used cannot have changed a result.
            used = name != "seed" or any(run.chance.streams for run in (before, after))
            changes.append(
                Change(
                    kind="params",
                    name=name.replace("_", " "),
                    before=None if old is None else str(old),
                    after=None if new is None else str(new),
                    weight="matters" if used else "minor",
                )
            )
    return changes


def _first_words(changes: Sequence[Change]) -> str:
    if not changes:
        return ""
    first = changes[0]
    told = f"{readable(first.name)}: {first.before or 'absent'} -> {first.after or 'absent'}"
    return told if len(changes) == 1 else f"{told}, and {len(changes) - 1} more"


def _word(output: Output | None) -> str:
    return short(output.digest) if output else ""


def _renamed(old: Output, new: Output) -> str:
    return "" if old.path == new.path else "the same bytes"


def _masked_name(old: Output, new: Output, context: Context) -> tuple[Masked, ...]:
    sides = stable(old.path, context.before, context.slack), stable(new.path, context.after, context.slack)
    return () if old.path == new.path or sides[0] != sides[1] else (_name_masked(old.path, new.path),)


def _name_masked(old: str, new: str) -> Masked:
    """The parts of two names that differ."""
    olds, news = old.split("/"), new.split("/")
    if len(olds) == len(news):
        differing = [two for two in zip(olds, news, strict=True) if two[0] != two[1]]
        old, new = ("/".join(side) for side in zip(*differing, strict=True))
    return Masked(rule="name", count=1, example=f"{readable(old)} -> {readable(new)}")


def _other_mode(old: Output, new: Output) -> str:
    """Whether a file can be executed is part of what it is. Empty when both runs agree."""
    if old.target or new.target or bool(old.mode & EXECUTABLE) == bool(new.mode & EXECUTABLE):
        return ""
    return "executable, then not" if old.mode & EXECUTABLE else "not executable, then executable"


def _masked_mode(old: Output, new: Output) -> tuple[Masked, ...]:
    """Who may read and write it is set aside, by name."""
    if old.target or new.target or old.mode == new.mode or _other_mode(old, new):
        return ()
    return (Masked(rule="mode", count=1, example=f"{old.mode:04o} -> {new.mode:04o}"),)
