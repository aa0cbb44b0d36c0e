"""What is shown of data sets and their versions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bis.cli.page_run import labelled
from bis.cli.render import Column
from bis.digest import short, spell
from bis.nouns.dataset import Held, Sight
from bis.steps.data_told import by_name
from bis.text import count, local, numbers, plain, size

if TYPE_CHECKING:
    from pathlib import Path

    from bis.acts.data import User
    from bis.acts.data_diff import ColumnChange, DataDifference, FileChange, Inside
    from bis.acts.standing import Standing
    from bis.cli.render import Cell, Terminal
    from bis.formats.profile import Profile
    from bis.nouns.tree import Leaf
    from bis.steps.add_data import Added
    from bis.steps.bring import Brought


def named(held: Held, terminal: Terminal) -> str:
    return terminal.paint(plain(held.reference), "cyan")


def told(held: Held) -> str:
    """`3 files, 1.2 MiB`."""
    version = held.version
    return f"{count(version.files, 'file')}, {size(version.size)}"


def added_lines(added: Added, terminal: Terminal) -> list[str]:
    held = added.held
    if not added.new:
        return [f"{terminal.paint('no new version', 'grey')}  this is {named(held, terminal)}, b3:{_short(held)}"]
    tags = f"  {', '.join(map(plain, held.tags))}" if held.tags else ""
    tags += f"  the content of {plain(added.like)} again" if added.like else ""
    names = f"{named(held, terminal)}  {held.version.stamp}  b3:{_short(held)}"
    sums = [f"{name}  {value}" for name, value in held.checksums.items() if name != "b3"]
    return [f"{terminal.paint('added', 'green')}  {names}  {told(held)}{tags}", *sums]


def set_lines(versions: Sequence[Held], now: datetime, terminal: Terminal) -> list[str]:
    """The data sets, one a line."""
    columns = [
        Column("name"),
        Column("versions", right=True),
        Column("newest"),
        *_columns(terminal),
    ]
    rows: list[list[Cell]] = []
    for name, some in by_name(versions).items():
        newest = some[0]
        row: list[Cell] = [(plain(name), "cyan"), str(len(some)), f"v{newest.version.number}"]
        rows.append([*row, *_cells(newest, now, terminal)])
    return terminal.table(columns, rows) if rows or not terminal.tty else []


def version_lines(versions: Sequence[Held], now: datetime, terminal: Terminal) -> list[str]:
    """The versions of one data set, one a line."""
    removed = any(one.hidden for one in versions)
    columns = [
        Column("version"),
        Column("time stamp"),
        Column("checksum"),
        *_columns(terminal),
        *([Column("")] if removed else []),
    ]
    rows: list[list[Cell]] = []
    for one in versions:
        digits = _short(one) if terminal.tty else one.version.content.removeprefix("b3:")
        row: list[Cell] = [(f"v{one.version.number}", "cyan"), one.version.stamp, (f"b3:{digits}", "yellow")]
        end: list[Cell] = [("removed", "red") if one.hidden else ""] if removed else []
        rows.append([*row, *_cells(one, now, terminal), *end])
    return terminal.table(columns, rows)


def brought_lines(
    held: Held, path: str, brought: Brought, where: str, terminal: Terminal, *, others: bool = True
) -> list[str]:
    what = named(held, terminal) + (f"/{plain(path)}" if path else "")
    if not brought.written and not brought.replaced:
        line = f"{terminal.paint('there', 'green')}  {what} in {where}  {count(brought.same, 'file')}, nothing to do"
    else:
        parts = [count(brought.written, "file") + " written"] if brought.written else []
        parts += [f"{brought.replaced:,} replaced"] if brought.replaced else []
        parts += [f"{brought.same:,} there already"] if brought.same else []
        line = f"{terminal.paint('brought', 'green')}  {what} into {where}  {', '.join(parts)}, {size(brought.size)}"
    lines = [line]
    if brought.others and others:
        lines.append(f"{count(brought.others, 'other file')} in {where} left alone")
    return lines


# -- one version -------------------------------------------------------------------------------------------------


def version_page(
    held: Held,
    leaf: Leaf | None,
    kept: bool,
    line: Sequence[Held],
    runs: Sequence[User],
    whole: bool,
    now: datetime,
    terminal: Terminal,
    sight: Sight | None = None,
) -> list[str]:
    """Everything known of a version, or of what lies at a leaf of it. `line` are the versions of its data set, newest
    first."""
    version = held.version
    inside = f"/{plain(leaf.path)}" if leaf else ""
    at = terminal.time(version.made, now)
    when = f"{local(version.made)} ({at})" if terminal.tty and not terminal.utc else at
    sums = [f"{name}:{value}" for name, value in held.checksums.items()]
    holds = told(held) if not version.single else size(version.size)
    if leaf:
        sums, holds = [leaf.entry.digest], size(leaf.entry.size)
    holds += "" if kept else "  by reference: not copied, checked when it is used"
    parent = next((one for one in line if one.record == version.parent), None)
    newest = line[0] if line else held
    facts = [f"{plain(key)}={plain(value)}" for key, value in held.metadata.items()]
    said = [f"{plain(one.note)}  ({terminal.time(one.made, now)}, {plain(one.user)})" for one in held.notes]
    sections = [
        labelled(
            "version", [named(held, terminal) + inside + ("" if newest == held else "  not the newest")], terminal
        ),
        labelled("removed", ["yes"] if held.hidden else [], terminal),
        labelled("time stamp", [version.stamp], terminal),
        labelled("checksum", sums, terminal),
        labelled("added", [f"{when}  by {plain(version.user)}@{plain(version.host)}"], terminal),
        labelled("from", [plain(version.source)], terminal),
        labelled("server says", [_sight_words(sight)] if sight else [], terminal),
        labelled("holds", [holds], terminal),
        labelled("message", [plain(text) for text in version.message.splitlines()], terminal),
        labelled("notes", said, terminal),
        labelled("metadata", facts, terminal),
        labelled("tags", [", ".join(map(plain, held.tags))] if held.tags else [], terminal),
        labelled("used by", _users(runs, whole, now, terminal), terminal),
        labelled(
            "next", [f"bis data diff {plain(parent.reference)} {plain(held.reference)}"] if parent else [], terminal
        ),
    ]
    return [line for section in sections for line in section]


def _users(runs: Sequence[User], whole: bool, now: datetime, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = [
        [
            (plain(one.run.name), "cyan"),
            (one.run.id[:8], "yellow"),
            terminal.time(one.run.started, now),
            _share(one),
        ]
        for one in runs
    ]
    lines = terminal.aligned(rows) or ["no run that is recorded here"]
    return lines if whole else [*lines, "and older runs"]


def _share(one: User) -> str:
    if one.of == 1:
        return ""
    return f"all {count(one.of, 'file')}" if one.files == one.of else f"{one.files:,} of {count(one.of, 'file')}"


def profile_lines(found: Profile, terminal: Terminal) -> list[str]:
    """What is in a file, column by column."""
    if found.rows is None:
        return labelled(found.kind, [f"{key} {value}" for key, value in found.facts.items()], terminal)
    columns = [
        Column("column", shrinks=True),
        Column("type"),
        Column("empty", right=True),
        Column("distinct", right=True),
        Column("smallest", shrinks=True),
        Column("largest", shrinks=True),
        Column("mean", right=True),
        Column("deviation", right=True),
    ]
    rows: list[list[Cell]] = [
        [
            plain(one.name),
            one.type,
            f"{one.empty}" if one.empty else "",
            "" if one.distinct is None else f"{one.distinct}",
            plain(one.smallest),
            plain(one.largest),
            _few(one.mean),
            _few(one.deviation),
        ]
        for one in found.columns
    ]
    size = f"{count(found.rows, 'row')}, {count(len(found.columns), 'column')}"
    facts = [f"{key} {value}" for key, value in found.facts.items()]
    return [*labelled(found.kind, [size, *facts], terminal), *terminal.table(columns, rows)]


def leaf_lines(leaves: Sequence[Leaf], terminal: Terminal) -> list[str]:
    columns = [Column("size", right=True), Column("checksum"), Column("path")]
    rows: list[list[Cell]] = []
    for leaf in leaves:
        entry = leaf.entry
        name = plain(leaf.path) + {"tree": "/", "link": f" -> {plain(entry.target)}", "file": ""}[entry.kind]
        digits = short(entry.digest) if terminal.tty else entry.digest.removeprefix("b3:")
        checksum: Cell = (f"b3:{digits}", "yellow") if entry.kind == "file" else ""
        rows.append([size(entry.size) if terminal.tty else str(entry.size), checksum, name])
    return terminal.table(columns, rows)


# -- what is different -------------------------------------------------------------------------------------------

LISTED, COLUMNS, EVERY = 30, 10, 1 << 30
"""So many files, and columns of each, are listed; `--all` lists every one."""
TOLD = 3
"""So much is told of a column."""
SIGNS: dict[str, Cell] = {
    "added": ("added", "green"),
    "removed": ("removed", "red"),
    "changed": ("changed", "yellow"),
    "moved": ("moved", "cyan"),
}


def difference_lines(found: DataDifference, terminal: Terminal, *, everything: bool = False) -> list[str]:
    """The files that differ, what differs within them, and how many there are."""
    lines = [f"{named(found.before, terminal)} -> {named(found.after, terminal)}"]
    shown = found.changes if everything else found.changes[:LISTED]
    most = EVERY if everything else COLUMNS
    rows = [_change_row(change) for change in shown]
    for text, change in zip(terminal.aligned(rows), shown, strict=True):
        lines += [text, *(f"{'':9}{line}" for line in _inside(change, terminal, most))]
    if len(found.changes) > len(shown):
        lines.append(f"and {len(found.changes) - len(shown):,} more (--all, --json)")
    kinds = [(kind, sum(change.kind == kind for change in found.changes)) for kind in SIGNS]
    told = [f"{number:,} {kind}" for kind, number in kinds if number]
    if not told:
        return [*lines, f"the same content: {count(found.alike, 'file')}"]
    return [*lines, ", ".join([*told, f"{found.alike:,} the same"])]


def _change_row(change: FileChange) -> list[Cell]:
    path = f"{plain(change.was)} -> {plain(change.path)}" if change.was else plain(change.path)
    before, after = (size(entry.size) if entry else "" for entry in (change.before, change.after))
    sizes = f"{before} -> {after}" if before and after and before != after else after or before
    return [SIGNS[change.kind], path, sizes]


def _inside(change: FileChange, terminal: Terminal, most: int) -> list[str]:
    if change.why:
        return [f"not looked into: {plain(change.why)}"]
    if change.kind == "changed" and change.before and change.after and change.before.digest == change.after.digest:
        return [f"mode {change.before.mode:o} -> {change.after.mode:o}"]
    if change.inside is None:
        return []
    inside = change.inside
    rows: list[list[Cell]] = [
        [key, f"{old or 'none'} -> {new or 'none'}", ""] for key, (old, new) in inside.facts.items()
    ]
    if inside.before.rows is not None and inside.after.rows is not None:
        rows.append(["rows", _arrow(f"{inside.before.rows:,}", f"{inside.after.rows:,}"), _row_words(inside)])
    rows += [[f"column {plain(one.name)}", *_column_words(one)] for one in inside.columns[:most]]
    lines = terminal.aligned(rows)
    if len(inside.columns) > most:
        lines.append(
            f"and {count(len(inside.columns) - most, 'more column', 'more columns')} with other values (--all)"
        )
    return lines


def _row_words(inside: Inside) -> str:
    if inside.rows:
        return f"{inside.rows.added:,} added, {inside.rows.removed:,} removed; an edited row counts as both"
    return f"not matched one by one: {plain(inside.unmatched)}" if inside.unmatched else ""


def _column_words(one: ColumnChange) -> list[Cell]:
    if one.before is None or one.after is None:
        there = one.after or one.before
        return [("added", "green") if one.after else ("removed", "red"), there.type if there else ""]
    old, new = one.before, one.after
    if old.type != new.type:
        return [f"{old.type} -> {new.type}", ""]
    told = [
        f"{label} {_arrow(first, second)}"
        for label, first, second in (
            ("empty", str(old.empty), str(new.empty)),
            ("mean", *_pair(old.mean, new.mean)),
            ("smallest", plain(old.smallest), plain(new.smallest)),
            ("largest", plain(old.largest), plain(new.largest)),
            ("deviation", *_pair(old.deviation, new.deviation)),
        )
        if first != second
    ]
    if not told and old.distinct != new.distinct:
        told = [f"different ones {_arrow(_many(old.distinct), _many(new.distinct))}"]
    return ["other values", ", ".join(told[:TOLD])]


def _many(distinct: int | None) -> str:
    return "over 1,000" if distinct is None else f"{distinct:,}"


def _pair(old: float | None, new: float | None) -> tuple[str, str]:
    """Two numbers in as few digits as tell them apart."""
    first, second = numbers([old, new])
    return first, second


def _few(value: float | None) -> str:
    return numbers([value])[0]


def _arrow(old: str, new: str) -> str:
    return old if old == new else f"{old or 'none'} -> {new or 'none'}"


# -- what would be new -------------------------------------------------------------------------------------------


def standing_json(one: Standing) -> dict[str, Any]:
    return {
        "name": one.held.version.name,
        "newest": one.held.reference,
        "place": one.place or one.held.version.source,
        "state": one.state,
        "unread": one.unread,
        "why": one.why or None,
        "next": one.next,
        "like": one.like or None,
        **{kind: getattr(one.delta, kind) for kind in ("added", "removed", "changed")},
    }


def standing_lines(found: Sequence[Standing], folder: Path, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = []
    for one in found:
        rows.append([_state(one), named_cell(one.held), _place(one, folder), _standing_words(one, folder)])
    lines = terminal.aligned(rows)
    if len(found) != 1:
        return lines
    names = [("added", "+"), ("removed", "-"), ("changed", "~")]
    files = [f"  {sign} {plain(path)}" for kind, sign in names for path in getattr(found[0].delta, kind)]
    more = [f"  and {len(files) - LISTED:,} more (--json)"] if len(files) > LISTED else []
    return [*lines, *(files[:LISTED] if not found[0].held.version.single else ()), *more]


def named_cell(held: Held) -> Cell:
    return plain(held.reference), "cyan"


def _place(one: Standing, folder: Path) -> str:
    if one.place is None:
        return plain(one.held.version.source)
    place = one.place.relative_to(folder) if one.place.is_relative_to(folder) else one.place
    return plain(spell(str(place)))


def _state(one: Standing) -> Cell:
    colours = {"same": "green", "changed": "yellow", "gone": "red", "elsewhere": "grey", "unknown": "red"}
    return one.state, colours[one.state]


def _standing_words(one: Standing, folder: Path) -> str:
    if one.state == "unknown":
        return plain(one.why)
    if one.place is None and one.state == "gone":
        return "not there any more"
    if one.state == "gone" and one.place is not None:
        place = one.place.parent if one.held.version.single else one.place
        where = shlex.quote(plain(spell(os.path.relpath(place, folder))))
        return f"not there any more: bis data get {plain(one.held.reference)} {where}"
    if one.state == "elsewhere":
        return f"not on this machine, was added on {plain(one.held.version.host)}"
    if one.state == "same":
        return f"as its server says; {count(one.unread, 'file')} not read" if one.unread else ""
    delta = one.delta
    told = [
        f"{len(paths):,} {kind}"
        for kind, paths in (("added", delta.added), ("removed", delta.removed), ("changed", delta.changed))
        if paths
    ]
    new = f"as {plain(one.like)}" if one.like else f"would be v{one.next}"
    return ", ".join([*(told if not one.held.version.single else ()), new])


def _sight_words(sight: Sight) -> str:
    """What a server said of a file when its bytes were read last."""
    changed = datetime.fromtimestamp(int(sight.modified), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if sight.modified else ""
    told = [("ETag", sight.etag), ("version", sight.version), ("changed", changed)]
    return plain(", ".join(f"{what} {value}" for what, value in told if value) or "nothing but its size")


def _columns(terminal: Terminal) -> list[Column]:
    """Of what `_cells` has."""
    return [
        Column("when" if terminal.tty else "made"),
        Column("files", right=True),
        Column("size", right=True),
        Column("tags", shrinks=True),
        Column("message", shrinks=True),
    ]


def _cells(held: Held, now: datetime, terminal: Terminal) -> list[Cell]:
    """Time, files, size, tags and message."""
    version = held.version
    told = size(version.size) if terminal.tty else str(version.size)
    files = f"{version.files:,}" if terminal.tty else str(version.files)
    message = version.message or (held.notes[-1].note if held.notes else "")
    return [terminal.time(version.made, now), files, told, ", ".join(map(plain, held.tags)), plain(message)]


def _short(held: Held) -> str:
    return short(held.version.content)
