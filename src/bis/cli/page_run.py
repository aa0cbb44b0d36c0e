"""The page of one run: everything known, in few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from bis.nouns.annotation import Annotation, tags_after
from bis.nouns.part import Finding, PartKind
from bis.nouns.run import Output, Run
from bis.nouns.verdict import MARKS, Verdict
from bis.text import (
    by_point,
    command_line,
    count,
    duration,
    ident,
    local,
    number,
    plain,
    size,
)

if TYPE_CHECKING:
    from bis.cli.render import Cell, Painted, Terminal
    from bis.steps.recognising import Recognised

LABEL = 16
"""Columns of the labels on the left."""
OUTPUTS, METRICS = 20, 40
"""So many are listed; `--outputs` and `--json` list all."""
COLOURS = {
    "identical": "green",
    "equivalent": "blue",
    "different": "red",
    "not repeatable": "yellow",
    "nothing observed": "grey",
    "not compared": "grey",
}


def mark(sameness: str) -> Painted:
    """`[=]` in its colour."""
    return MARKS[sameness], COLOURS[sameness]


def run_page(
    run: Run,
    verdicts: Sequence[Verdict],
    now: datetime,
    terminal: Terminal,
    annotations: Sequence[Annotation] = (),
    experiment: str = "",
    models: Sequence[Recognised] = (),
) -> list[str]:
    sections = [
        labelled("run", _head(run, terminal), terminal),
        labelled("when", [_when(run, now, terminal)], terminal),
        labelled("experiment", [plain(experiment)] if experiment else [], terminal),
        labelled("command", [] if run.tracked else [_command(run)], terminal),
        labelled("tags", list(_tags(annotations)), terminal),
        labelled("note", [*_note(run), *_later_notes(annotations, now, terminal)], terminal),
        labelled("repeats", [_repeats(run)] if run.repeats else [], terminal),
        labelled("part of", [f"run {run.parent[:8]}"] if run.parent else [], terminal),
        _parts(run, terminal),
        labelled("stdin", list(_stdin(run)), terminal),
        labelled("chance", [] if run.tracked else list(_chance(run)), terminal),
        labelled("logged", logged_lines(run, terminal), terminal) if run.logged else [],
        labelled("metrics", metric_lines(run, terminal), terminal),
        labelled("models", model_lines(models, terminal), terminal),
        output_lines(run, terminal, OUTPUTS) if run.outputs or not run.tracked else [],
        labelled("usage", list(_usage(run)), terminal),
        labelled("trace", list(_trace(run)), terminal),
        finding_lines(run.all_findings, terminal),
        labelled("verdicts", [_verdicts(verdicts, now, terminal)] if verdicts else [], terminal),
        labelled("next", list(_next(run, verdicts)), terminal),
    ]
    return [line for section in sections for line in section]


def labelled(label: str, lines: Sequence[str], terminal: Terminal) -> list[str]:
    """Lines with a label before the first."""
    first = terminal.paint(f"{label:<{LABEL}}", "grey")
    return [(first if place == 0 else " " * LABEL) + line for place, line in enumerate(lines)]


# -- how it went -------------------------------------------------------------------------------------------------


def ending(run: Run) -> Painted:
    """How it ended, in its colour."""
    return run.ending, "cyan" if run.status == "running" else "green" if run.ok else "red"


def _head(run: Run, terminal: Terminal) -> list[str]:
    said, colour = ending(run)
    return [f"{run.id}  {terminal.paint(plain(run.name), 'cyan')}  {terminal.paint(said, colour)}"]


def _when(run: Run, now: datetime, terminal: Terminal) -> str:
    at = terminal.time(run.started, now)
    if terminal.tty and not terminal.utc:
        at = f"{local(run.started)} ({at})"
    if run.tracked:
        return f"{at}  by {plain(run.user)}"
    return f"{at}  by {plain(run.user)}@{plain(run.host)}  bis {plain(run.version)}"


def _command(run: Run) -> str:
    return command_line(run.command) + ("" if run.folder == "." else f"   (in {plain(run.folder)})")


def _note(run: Run) -> list[str]:
    return [plain(line) for line in run.note.splitlines()]


def _later_notes(annotations: Sequence[Annotation], now: datetime, terminal: Terminal) -> Iterator[str]:
    """What was noted later, with when and by whom."""
    for one in annotations:
        for place, line in enumerate(one.note.splitlines()):
            about = (
                f"  ({', '.join(filter(None, (terminal.time(one.made, now), plain(one.user))))})" if place == 0 else ""
            )
            yield plain(line) + terminal.paint(about, "grey")


def _tags(annotations: Sequence[Annotation]) -> Iterator[str]:
    tags = tags_after(annotations)
    yield from (f"{plain(name)}={plain(value)}" for name, value in tags.items())


def _repeats(run: Run) -> str:
    taken = ", ".join(f"{plain(kind)} of {plain(source)}" for kind, source in run.taken.items())
    return run.repeats[:8] + (f" with {taken}" if taken else "")


# -- what went in ------------------------------------------------------------------------------------------------


def _parts(run: Run, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = []
    for kind in get_args(PartKind):
        part = run.parts.get(kind)
        if part is None:
            continue
        rows.append([(f"{kind:<{LABEL - 2}}", "grey"), (ident(part.digest), "yellow"), plain(part.summary)])
    return terminal.aligned(rows)


def _stdin(run: Run) -> Iterator[str]:
    if run.stdin:
        yield f"{ident(run.stdin)}  what it read of a {'pipe' if run.conditions.get('stdin') == 'pipe' else 'file'}"


def _chance(run: Run) -> Iterator[str]:
    chance = run.chance
    if chance.seed is None:
        yield "nothing was seeded by bis (--no-seed)" if run.status != "running" else "not known yet"
    else:
        told = [f"seed {chance.seed} ({'given' if chance.given else 'drawn'})"]
        if chance.hash_seed is not None and chance.hash_seed != chance.seed:
            told.append(f"PYTHONHASHSEED {chance.hash_seed}")
        if chance.deterministic:
            told.append("deterministic")
        yield ", ".join(told)
    if chance.streams:
        yield "seeded by bis: " + ", ".join(
            plain(name) + (f" x{times}" if times > 1 else "") for name, times in sorted(chance.streams.items())
        )
    if chance.own:
        yield "seeded by the script: " + ", ".join(map(plain, chance.own))
    if chance.entropy:
        yield "not seeded, from the operating system: " + ", ".join(map(plain, chance.entropy))


# -- what came out -----------------------------------------------------------------------------------------------


def metric_lines(run: Run, terminal: Terminal, most: int = METRICS) -> list[str]:
    shown = list(run.metrics.items())[:most]
    points = by_point([number(value) for _, value in shown])
    rows: list[list[Cell]] = [[plain(name), text] for (name, _), text in zip(shown, points, strict=True)]
    lines = terminal.aligned(rows)
    if len(run.metrics) > most:
        lines.append(f"and {len(run.metrics) - most} more (--json)")
    return lines


def model_lines(models: Sequence[Recognised], terminal: Terminal) -> list[str]:
    """`model.joblib  sklearn RandomForestClassifier, 20 trees, 38 KiB`."""
    rows: list[list[Cell]] = [
        [
            (plain(one.path) or ".", "cyan"),
            f"{plain(one.flavor)} {', '.join(filter(None, (plain(one.words), size(one.size))))}",
            (f"{one.cannot}", "yellow") if one.cannot else "",
        ]
        for one in models[:OUTPUTS]
    ]
    return [*terminal.aligned(rows), *([f"and {len(models) - OUTPUTS} more (--json)"] if len(models) > OUTPUTS else [])]


def model_json(one: Recognised) -> dict[str, object]:
    return {
        "path": one.path,
        "flavor": one.flavor,
        "words": one.words,
        "size": one.size,
        "cannot": one.cannot,
        "summary": one.summary,
        "warnings": list(one.warnings),
    }


def logged_lines(run: Run, terminal: Terminal) -> list[str]:
    """Params that the script said it had."""
    rows: list[list[Cell]] = [[plain(name), plain(value)] for name, value in list(run.logged.items())[:METRICS]]
    rest = [f"and {len(run.logged) - METRICS} more (--json)"] if len(run.logged) > METRICS else []
    return [*terminal.aligned(rows), *rest]


def output_lines(run: Run, terminal: Terminal, most: int) -> list[str]:
    """The outputs in three columns, the logs last."""
    shown = [output for output in run.outputs if not (output.is_log and output.size == 0)]
    shown.sort(key=lambda output: output.is_log)
    rows: list[list[Cell]] = [
        [plain(output.path), (ident(output.digest), "yellow"), text, _output_note(output)]
        for output, text in zip(shown, _sizes(shown[:most]), strict=False)
    ]
    rows += [[plain(name), "", "removed", ""] for name in (run.removed or ())[: max(0, most - len(rows))]]
    lines = terminal.aligned(rows)
    if (more := len(shown) + len(run.removed or ()) - len(rows)) > 0:
        lines.append(f"and {more} more (bis show {run.id[:8]} --outputs)")
    if not lines and run.status != "running":
        lines = ["none: it wrote no file and printed nothing"]
    return labelled("outputs", lines, terminal)


def _sizes(outputs: Sequence[Output]) -> list[str]:
    """Sizes of files by their points, and where links lead."""
    sizes = [size(output.size) for output in outputs]
    files = by_point([text for output, text in zip(outputs, sizes, strict=True) if not output.target])
    found = iter(files)
    return [f"-> {plain(output.target)}" if output.target else next(found) for output in outputs]


def _output_note(output: Output) -> Cell:
    return "" if output.kept else ("hashed, not copied", "yellow")


def _usage(run: Run) -> Iterator[str]:
    usage = run.usage
    if not usage.seconds:
        return
    told = [f"{duration(usage.seconds)} in all"]
    if usage.cpu_seconds:
        told.append(f"{duration(usage.cpu_seconds)} of processor time")
    if usage.peak_bytes:
        told.append(f"{size(usage.peak_bytes)} of memory")
    if usage.read_bytes:
        told.append(f"{size(usage.read_bytes)} read")
    if usage.written_bytes:
        told.append(f"{size(usage.written_bytes)} written")
    yield ", ".join(told)


def _trace(run: Run) -> Iterator[str]:
    if run.status == "running":
        return
    if run.tracked:
        yield (
            f"in the record of run {run.parent[:8]}: a client logged this one while that ran"
            if run.parent
            else "none: a client logged it, and bis did not see it run"
        )
        return
    coverage = run.coverage
    if coverage.mechanism == "none":
        yield "none: which files it used is not known"
    else:
        yield f"{coverage.mechanism}, {'complete' if coverage.complete else 'partial'}"
    yield from (f"not seen: {plain(limit)}" for limit in coverage.limits)


def finding_lines(findings: Sequence[Finding], terminal: Terminal) -> list[str]:
    lines = []
    for finding in findings:
        sign = terminal.paint("[!]", "red" if finding.blocks else "yellow")
        lines.append(f"{sign} {plain(finding.text)}  {terminal.paint(plain(finding.code), 'grey')}")
        if finding.hint:
            lines.append(f"    {plain(finding.hint)}")
    return labelled("findings", lines, terminal)


# -- and then ----------------------------------------------------------------------------------------------------


def _verdicts(verdicts: Sequence[Verdict], now: datetime, terminal: Terminal) -> str:
    newest = verdicts[0]
    sign, colour = mark(newest.sameness)
    told = f"{terminal.paint(sign, colour)} {newest.sameness}, {terminal.time(newest.made, now)} ({newest.again[:8]})"
    if len(verdicts) > 1:
        same = sum(verdict.same for verdict in verdicts)
        told += f"   {same} of {count(len(verdicts), 'repeat')} came out the same"
    return told


def _next(run: Run, verdicts: Sequence[Verdict]) -> Iterator[str]:
    name = plain(run.name)
    if run.status == "running" or (run.tracked and not run.parent):
        return
    if run.tracked:
        yield f"bis repeat {run.parent[:8]}"
        return
    if run.repeats:
        yield f"bis diff {run.repeats[:8]} {run.id[:8]}"
    elif verdicts and not verdicts[0].same:
        yield f"bis diff {run.id[:8]} {verdicts[0].again[:8]}"
    else:
        yield f"bis repeat {name}" if not verdicts else f"bis status {name}"
