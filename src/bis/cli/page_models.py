"""What is shown of the difference between two versions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bis.cli.page_run import labelled, mark
from bis.text import count, plain

if TYPE_CHECKING:
    from bis.acts.models import ModelDifference, Tensor, Trees
    from bis.cli.render import Cell, Terminal
    from bis.nouns.part import Change

SHOWN = 12
"""Lines of a list; `--all` and `--json` list all."""


def difference_page(found: ModelDifference, terminal: Terminal, *, everything: bool = False) -> list[str]:
    most = 1 << 40 if everything else SHOWN
    word = "identical" if found.same else "different"
    alike = found.identities[0] == found.identities[1]
    said = "the same model" if alike else "another model"
    if alike and not found.same:
        said = "the same model, which answers otherwise in the other environment"
    head = f"{terminal.paint(*mark(word))} {plain(found.before)} -> {plain(found.after)}  {said}"
    sections = [
        labelled("hyperparameter", _changes(found.params, most, terminal), terminal),
        labelled("weights", _tensors(found.tensors, most, terminal), terminal),
        labelled("trees", _trees(found.trees, most, terminal) if found.trees else [], terminal),
        labelled("files", _cut([plain(line) for line in found.files], most), terminal),
        labelled("signature", _changes(found.signature, most, terminal), terminal),
        labelled("metrics", _changes(found.metrics, most, terminal), terminal),
        labelled("predictions", [_predictions(found)], terminal),
        labelled("made of", _parts(found, terminal), terminal),
    ]
    return [head, *(line for section in sections for line in section)]


def _changes(changes: Sequence[Change], most: int, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = [
        [plain(one.name), plain(one.before or "-")[:60], "->", plain(one.after or "-")[:60]] for one in changes
    ]
    return _cut(terminal.aligned(rows), most)


def _tensors(tensors: Sequence[Tensor], most: int, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = []
    for one in tensors:
        far = one.apart
        told = (
            [f"{far.differ:,} of {far.values:,}", f"by {far.furthest:.3g}", f"{far.relative:.2g} of the largest",
             f"cosine {far.cosine:.6g}"]
            if far
            else [plain(one.what)]
        )  # fmt: skip
        rows.append([plain(one.name), *told])
    return _cut(terminal.aligned(rows), most)


def _trees(trees: Trees, most: int, terminal: Terminal) -> list[str]:
    lines = []
    if trees.before != trees.after:
        lines.append(f"{trees.before:,} -> {trees.after:,} trees")
    if trees.splits_before != trees.splits_after:
        lines.append(f"{trees.splits_before:,} -> {trees.splits_after:,} splits")
    if trees.changed:
        lines.append(f"{trees.changed:,} of {min(trees.before, trees.after):,} ask of other features")
    if trees.thresholds:
        lines.append(f"{trees.thresholds:,} thresholds are others where they ask of the same")
    if trees.leaves:
        lines.append(
            f"{trees.leaves:,} values of leaves are others where they ask of the same, by {trees.furthest:.6g} at most"
        )
    rows: list[list[Cell]] = [
        [plain(name), f"{before:.4f}", "->", f"{after:.4f}", "of the gain"] for name, before, after in trees.importances
    ]
    return [*lines, *_cut(terminal.aligned(rows), most)]


def _predictions(found: ModelDifference) -> str:
    told = found.predictions
    if told is None:
        of = f" on {plain(found.asked)}" if found.asked else ""
        return f"not compared{of}: {plain(found.unasked)}"
    said = f"{told.same:,} of {count(told.rows, 'row')} of {plain(found.asked)} alike"
    if told.probable is None:
        return f"{said}, by {told.furthest:.3g} at most" if told.furthest else said
    far = f"by {told.probable:.3g} at most, {told.probable_mean:.3g} on average" if told.probable else "the same"
    return f"{said}; probabilities {far}"


def _parts(found: ModelDifference, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = [
        [plain(one.name), mark(one.sameness), plain(one.before), plain(one.after), plain(one.why)]
        for one in found.parts
    ]
    return terminal.aligned(rows) or ["not known of both"]


def _cut(lines: Sequence[str], most: int) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], *([f"and {more:,} more (--all)"] if more > 0 else [])]
