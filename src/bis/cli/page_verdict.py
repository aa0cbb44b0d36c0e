"""The page of a verdict: each part, metric and output with its mark, what was set aside, what was not compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from bis.cli.page_difference import coloured, detail_of, masked, with_reason
from bis.cli.page_run import COLOURS, finding_lines, labelled, mark
from bis.nouns.part import Finding
from bis.nouns.run import Run
from bis.nouns.verdict import Judged, Verdict
from bis.text import count, plain

if TYPE_CHECKING:
    from bis.cli.render import Cell, Terminal

SAME = 12
"""So many outputs that are identical are listed one by one."""
DETAIL, LEAKS = 8, 5
"""So many lines of what differs, and so many files, are shown here; `bis diff` and `--json` tell all."""


def verdict_page(
    verdict: Verdict, run: Run, terminal: Terminal, taken: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """`taken`: the parts that were taken from elsewhere on purpose, and from where."""
    return [
        *_table(verdict, terminal),
        *labelled("taken", [f"{plain(kind)} from {plain(source)}" for kind, source in taken.items()], terminal),
        *labelled("set aside", list(_set_aside(verdict)), terminal),
        *labelled("not compared", [plain(text) for text in verdict.not_compared], terminal),
        *labelled("read from here", list(_leaks(verdict)), terminal),
        *finding_lines(_news(verdict, run), terminal),
        *labelled("trace", [plain(verdict.coverage)] if verdict.coverage else [], terminal),
        *labelled("causes", [plain(cause) for cause in verdict.causes], terminal),
        closing(verdict, run, terminal),
    ]


def closing(verdict: Verdict, run: Run, terminal: Terminal) -> str:
    """`identical  train-12 -> 90de1234  every output is the same …   next: …`."""
    word = terminal.paint(verdict.sameness, COLOURS[verdict.sameness])
    said = f"{word}  {plain(run.name)} -> {verdict.again[:8]}  {verdict.sentence}"
    return said + (terminal.paint(f"   next: {_next(verdict)}", "grey") if verdict.sameness != "identical" else "")


def _next(verdict: Verdict) -> str:
    if verdict.sameness == "different":
        return f"bis diff {verdict.run[:8]} {verdict.again[:8]}"
    return f"bis show {verdict.again[:8]}"


# -- the table ---------------------------------------------------------------------------------------------------


def _table(verdict: Verdict, terminal: Terminal) -> list[str]:
    outputs, folded = _listed(verdict.outputs)
    metrics, folded_metrics = _listed(verdict.metrics)
    groups = {"part": list(verdict.parts), "metric": metrics, "output": outputs}
    rows: list[list[Cell]] = []
    judged: list[Judged | None] = []
    for title, group in groups.items():
        if group:
            rows.append(
                [(word, "grey") for word in (title, *(("recorded", "repeated", "verdict") if not rows else [""] * 3))]
            )
            rows += [[f"  {plain(one.name)}", one.before, one.after, mark(one.sameness)] for one in group]
            judged += [None, *group]
    lines = []
    for head, one in zip(terminal.aligned(rows), judged, strict=True):
        lines += _row(head, one, terminal, part=one in verdict.parts) if one else [head]
    for several, word in ((folded_metrics, "metric"), (folded, "output")):
        if several:
            lines.append(f"  and {count(len(several), f'more {word}')}, all {terminal.paint(*mark('identical'))}")
    return lines


def _listed(judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Those that get a line each: all that are not identical, and some that are."""
    same = [one for one in judged if one.sameness == "identical"]
    folded = {id(one) for one in same[SAME:]} if len(same) > SAME + 1 else set()
    return [one for one in judged if id(one) not in folded], [one for one in judged if id(one) in folded]


def _row(head: str, one: Judged, terminal: Terminal, *, part: bool) -> list[str]:
    """A line of the table with its reason; then what differs."""
    why = "" if part and one.sameness == "identical" else one.why
    detail = detail_of(one)[:DETAIL] if one.sameness == "different" else []
    return [*with_reason(head, why, terminal), *(f"    {coloured(line, terminal)}" for line in detail)]


# -- what stands below -------------------------------------------------------------------------------------------


def _set_aside(verdict: Verdict) -> Iterator[str]:
    for one in (*verdict.metrics, *verdict.outputs):
        if one.sameness in ("identical", "equivalent"):
            for each in one.masked:
                yield f"{masked(each)}  in {plain(one.name)}"


def _news(verdict: Verdict, run: Run) -> list[Finding]:
    """Findings that stand in the way, and those that the recorded run does not have."""
    known = {finding.code for finding in run.all_findings}
    return [finding for finding in verdict.findings if finding.blocks or finding.code not in known]


def _leaks(verdict: Verdict) -> Iterator[str]:
    for path in verdict.leaks[:LEAKS]:
        yield plain(path)
    if len(verdict.leaks) > LEAKS:
        yield f"and {count(len(verdict.leaks) - LEAKS, 'more file')} (--json)"
