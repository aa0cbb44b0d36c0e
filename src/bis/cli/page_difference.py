"""The page of a difference: what is not the same, part by part; what is the same, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bis.cli.page_run import LABEL, ending, labelled, mark
from bis.nouns.part import Change, PartKind
from bis.nouns.run import Run
from bis.nouns.verdict import Judged, Masked
from bis.text import count, ident, plain, plain_lines, width

if TYPE_CHECKING:
    from bis.acts.explain import Difference
    from bis.cli.render import Cell, Terminal

ROWS = 20
"""So many changes of one part are listed, and so many lines of the detail of one; `--all` lists all."""
DETAILS = 3
"""So many lines of what is different in one output."""
FILES = 50
"""So many files of code."""
SIGNS = {"+": "green", "-": "red", "@": "cyan"}


class Fold:
    """What a page leaves out, to be told in its last lines."""

    def __init__(self) -> None:
        self.same: list[str] = []
        self.minor = 0
        self.more = 0
        self.not_compared: list[str] = []


def difference_page(
    found: Difference, terminal: Terminal, *, everything: bool = False, stat: bool = False
) -> list[str]:
    fold = Fold()
    lines = [_head(found, terminal), *_endings(found, terminal)]
    for judged in found.parts:
        lines += _part(judged, found.changes.get(judged.name, []), terminal, fold, everything, stat)  # type: ignore[call-overload]
    lines += _metrics(found.metrics, terminal, fold, everything)
    lines += _outputs(found.outputs, terminal, fold, everything)
    return [*lines, *(terminal.paint(line, "grey") for line in _folded(fold, found.same))]


def _head(found: Difference, terminal: Terminal) -> str:
    return f"{_named(found.before, terminal)} -> {_named(found.after, terminal)}"


def _named(run: Run, terminal: Terminal) -> str:
    name = terminal.paint(plain(run.name), "cyan")
    return f"{name} ({run.id[:8]})" if run.id else name


def _endings(found: Difference, terminal: Terminal) -> list[str]:
    """How the two ended, when that is not the same."""
    before, after = found.before, found.after
    if not after.id or (before.status, before.exit, before.signal) == (after.status, after.exit, after.signal):
        return []
    words = [terminal.paint(*ending(run)) for run in (before, after)]
    return labelled("ended", [f"{words[0]} -> {words[1]}"], terminal)


# -- parts -------------------------------------------------------------------------------------------------------


def _part(
    judged: Judged, changes: Sequence[Change], terminal: Terminal, fold: Fold, everything: bool, stat: bool
) -> list[str]:
    if judged.sameness == "not compared":
        fold.not_compared.append(f"{judged.name} ({plain(judged.why)})")
        return []
    shown = [change for change in changes if everything or change.weight == "matters"]
    fold.minor += len(changes) - len(shown)
    if not shown:
        fold.same.append(judged.name)
        if everything:
            return labelled(judged.name, [f"{judged.before}  the same  {plain(judged.why)}".rstrip()], terminal)
        return []
    if judged.name == "code":
        return _code(judged, shown, terminal, fold, everything, stat)
    most = len(shown) if everything else ROWS
    fold.more += max(0, len(shown) - most)
    return labelled(judged.name, _rows(shown[:most], terminal, fold, everything, details=not stat), terminal)


def _rows(
    changes: Sequence[Change], terminal: Terminal, fold: Fold, everything: bool, *, details: bool = True
) -> list[str]:
    """`numpy  2.3.4 -> 2.4.0`, each with its detail below."""
    heads = terminal.aligned([[plain(change.name), _sides(change)] for change in changes])
    lines = []
    for head, change in zip(heads, changes, strict=True):
        told = change.detail.rstrip("\n")
        if not told or (not details and "\n" in told):
            lines.append(head)
        elif "\n" not in told:
            lines.append(f"{head}  ({plain(told)})")
        else:
            lines += [head, *_cut(plain_lines(told), terminal, fold, len(told) if everything else ROWS)]
    return lines


def _sides(change: Change) -> str:
    before, after = (_side(side) for side in (change.before, change.after))
    return f"{before} -> {after}" if before or after else ""


def _side(text: str | None) -> str:
    return "absent" if text is None else plain(text) if text else '""'


def _cut(lines: Sequence[str], terminal: Terminal, fold: Fold, most: int) -> list[str]:
    fold.more += max(0, len(lines) - most)
    return [f"    {coloured(line, terminal)}" for line in lines[:most]]


def _code(
    judged: Judged, changes: Sequence[Change], terminal: Terminal, fold: Fold, everything: bool, stat: bool
) -> list[str]:
    """The files that differ, then their unified differences as `patch` takes them."""
    texts = [change for change in changes if change.detail]
    others = [change for change in changes if not change.detail]
    head = f"{judged.before} -> {judged.after}  {count(len(changes), 'file')}"
    lines = [head, *_rows(others, terminal, fold, everything)]
    if stat:
        rows: list[list[Cell]] = [[plain(change.name), *_counts(change.detail)] for change in texts]
        return labelled("code", [head, *terminal.aligned(rows), *lines[1:]], terminal)
    most = len(texts) if everything else FILES
    fold.more += max(0, len(texts) - most)
    lines = labelled("code", lines, terminal)
    for change in texts[:most]:
        lines += [coloured(line, terminal) for line in plain_lines(change.detail.rstrip("\n"))]
    return lines


def _counts(detail: str) -> list[Cell]:
    """How many lines came and went."""
    lines = detail.splitlines()[2:]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return [(f"+{added}" if added else "", "green"), (f"-{removed}" if removed else "", "red")]


def coloured(line: str, terminal: Terminal) -> str:
    """A line of a unified difference."""
    return terminal.paint(line, SIGNS.get(line[:1], "")) if not line.startswith(("+++", "---")) else line


# -- what came out -----------------------------------------------------------------------------------------------


def _metrics(metrics: Sequence[Judged], terminal: Terminal, fold: Fold, everything: bool) -> list[str]:
    shown = [one for one in metrics if everything or one.sameness != "identical"]
    _count_same(metrics, "metric", fold)
    rows: list[list[Cell]] = [[mark(one.sameness), plain(one.name), *_before_after(one), _delta(one)] for one in shown]
    return labelled("metrics", terminal.aligned(rows), terminal)


def _delta(one: Judged) -> str:
    """How far apart; that nobody declared a tolerance matters to a verdict only."""
    return plain(one.why.removesuffix(", no tolerance declared"))


def _before_after(one: Judged) -> list[Cell]:
    if one.before == one.after:
        return [one.before, ""]
    return [one.before or "absent", f"-> {one.after or 'absent'}"]


def _outputs(outputs: Sequence[Judged], terminal: Terminal, fold: Fold, everything: bool) -> list[str]:
    shown = [one for one in outputs if everything or one.sameness not in ("identical", "not compared")]
    fold.not_compared += [f"{one.name} ({plain(one.why)})" for one in outputs if one.sameness == "not compared"]
    _count_same(outputs, "output", fold)
    return labelled("outputs", judged_lines(shown, terminal, fold, everything), terminal)


def judged_lines(shown: Sequence[Judged], terminal: Terminal, fold: Fold, everything: bool) -> list[str]:
    """Outputs with mark, digests and the reason; below each the details, and what was set aside."""
    rows: list[list[Cell]] = [[mark(one.sameness), plain(one.name), *_before_after(one)] for one in shown]
    lines = []
    for head, one in zip(terminal.aligned(rows), shown, strict=True):
        lines += with_reason(head, one.why, terminal, LABEL)
        if one.sameness == "different":
            lines += _cut(detail_of(one), terminal, fold, len(one.detail) if everything else DETAILS)
        lines += [terminal.paint(f"    set aside: {masked(each)}", "grey") for each in one.masked]
    return lines


def with_reason(head: str, why: str, terminal: Terminal, margin: int = 0) -> list[str]:
    """A reason behind a line or, where that is too long, below it."""
    why = plain(why)
    if not why:
        return [head]
    fits = margin + width(head) + width(why) + 2 <= terminal.width
    return [f"{head}  {why}"] if fits else [head, f"    {why}"]


def detail_of(one: Judged) -> list[str]:
    """The lines of a detail that the reason has not told already."""
    lines = plain_lines(one.detail.rstrip("\n")) if one.detail else []
    return lines[1:] if lines and plain(one.why).startswith(lines[0].strip()) else lines


def masked(one: Masked) -> str:
    """`3 x duration, such as 12.1 s -> 12.4 s`."""
    return f"{one.count} x {plain(one.rule)}" + (f", such as {plain(one.example)}" if one.example else "")


def _count_same(judged: Sequence[Judged], word: str, fold: Fold) -> None:
    same = sum(one.sameness == "identical" for one in judged)
    if same:
        fold.same.append(count(same, word))


def _folded(fold: Fold, same: bool) -> Iterator[str]:
    hidden = []
    if fold.minor:
        hidden.append(count(fold.minor, "minor difference"))
    if fold.more:
        hidden.append(count(fold.more, "more line"))
    aside = f"   ({', '.join(hidden)} hidden; --all)" if hidden else ""
    if fold.same:
        yield f"{'the same in all: ' if same else 'the same: '}{', '.join(fold.same)}{aside}"
    elif aside:
        yield aside.strip()
    if fold.not_compared:
        yield f"not compared: {'; '.join(fold.not_compared)}"


# -- for other readers -------------------------------------------------------------------------------------------


def markdown(found: Difference) -> list[str]:
    """For a pull request: a table of the metrics, the rest folded."""
    before, after = (
        f"`{plain(run.name)}`" + (f" ({ident(run.id)})" if run.id else "") for run in (found.before, found.after)
    )
    lines = [f"### bis diff: {before} -> {after}", ""]
    different = [one.name for one in found.parts if one.sameness == "different"]
    different += ["metrics"] * any(one.sameness == "different" for one in found.metrics)
    different += ["outputs"] * any(one.sameness == "different" for one in found.outputs)
    same = [one.name for one in found.parts if one.sameness in ("identical", "equivalent")]
    lines.append(f"**Different:** {', '.join(different)}." if different else "**The same.**")
    lines.append(f"The same: {', '.join(same)}." if same else "")
    lines += _markdown_table("metric", [one for one in found.metrics if one.sameness != "identical"])
    for judged in found.parts:
        lines += _markdown_part(judged, found.changes)
    lines += _markdown_table(
        "output", [one for one in found.outputs if one.sameness not in ("identical", "not compared")]
    )
    return lines


def _markdown_table(title: str, judged: Sequence[Judged]) -> list[str]:
    if not judged:
        return []
    rows = [
        f"| {_cell(one.name)} | {_cell(one.before)} | {_cell(one.after)} | {one.sameness}: {_cell(one.why)} |"
        for one in judged
    ]
    return ["", f"| {title} | before | after | |", "|---|---|---|---|", *rows]


def _markdown_part(judged: Judged, changes: Mapping[PartKind, Sequence[Change]]) -> list[str]:
    shown = [
        change for kind, some in changes.items() if kind == judged.name for change in some if change.weight == "matters"
    ]
    if not shown:
        return []
    lines = ["", f"<details><summary>{judged.name}: {count(len(shown), 'change')}</summary>", ""]
    plain_ones = [change for change in shown if "\n" not in change.detail]
    if plain_ones:
        lines += ["| | before | after |", "|---|---|---|"]
        lines += [
            f"| {_cell(one.name)} | {_cell(_side(one.before))} | {_cell(_side(one.after))} |" for one in plain_ones
        ]
    for change in shown:
        if "\n" in change.detail:
            text = plain_lines(change.detail.rstrip("\n"))
            longest = max((len(ticks) for ticks in re.findall("`+", change.detail)), default=0)
            fence = "`" * max(3, longest + 1)
            lines += [*([""] if lines[-1] else []), f"{fence}diff", *text, fence]
    return [*lines, "", "</details>"]


def _cell(text: str) -> str:
    """Text in a cell of a table: nothing in it is markup."""
    for letter in "\\`*_[]<|":
        text = text.replace(letter, f"\\{letter}")
    return plain(text)
