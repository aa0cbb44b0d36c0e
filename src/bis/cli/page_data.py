"""What is shown of data sets and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bis.cli.render import Column
from bis.cli.text import count, plain, size
from bis.digest import short
from bis.nouns.dataset import Held

if TYPE_CHECKING:
    from bis.acts.data import Added
    from bis.cli.render import Cell, Terminal
    from bis.steps.bring import Brought


def as_plain(held: Held) -> dict[str, Any]:
    """A version for `--json`: everything that is known of it."""
    version = held.version
    return {
        "name": version.name,
        "number": version.number,
        "reference": held.reference,
        "made": version.made,
        "stamp": version.stamp,
        "checksum": version.content,
        "checksums": held.checksums,
        "tree": version.tree,
        "single": version.single,
        "files": version.files,
        "size": version.size,
        "source": version.source,
        "user": version.user,
        "host": version.host,
        "message": version.message,
        "notes": [{"made": one.made, "user": one.user, "note": one.note} for one in held.notes],
        "metadata": held.metadata,
        "tags": held.tags,
        "removed": held.hidden,
        "record": held.record,
        "parent": version.parent or None,
    }


def sets_as_plain(versions: Sequence[Held]) -> list[dict[str, Any]]:
    return [
        {"name": name, "versions": len(some), "latest": as_plain(some[0])} for name, some in _by_name(versions).items()
    ]


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
    names = f"{named(held, terminal)}  {held.version.stamp}  b3:{_short(held)}"
    sums = [f"{name}  {value}" for name, value in held.checksums.items() if name != "b3"]
    return [f"{terminal.paint('added', 'green')}  {names}  {told(held)}{tags}", *sums]


def set_lines(versions: Sequence[Held], now: datetime, terminal: Terminal) -> list[str]:
    """The data sets, one a line."""
    columns = [
        Column("name"),
        Column("versions", right=True),
        Column("newest"),
        Column("when" if terminal.tty else "made"),
        Column("files", right=True),
        Column("size", right=True),
        Column("tags", shrinks=True),
        Column("message", shrinks=True),
    ]
    rows: list[list[Cell]] = []
    for name, some in _by_name(versions).items():
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
        Column("when" if terminal.tty else "made"),
        Column("files", right=True),
        Column("size", right=True),
        Column("tags", shrinks=True),
        Column("message", shrinks=True),
        *([Column("")] if removed else []),
    ]
    rows: list[list[Cell]] = []
    for one in versions:
        digits = _short(one) if terminal.tty else one.version.content.removeprefix("b3:")
        row: list[Cell] = [(f"v{one.version.number}", "cyan"), one.version.stamp, (f"b3:{digits}", "yellow")]
        end: list[Cell] = [("removed", "red") if one.hidden else ""] if removed else []
        rows.append([*row, *_cells(one, now, terminal), *end])
    return terminal.table(columns, rows)


def brought_lines(held: Held, path: str, brought: Brought, where: str, terminal: Terminal) -> list[str]:
    what = named(held, terminal) + (f"/{plain(path)}" if path else "")
    if not brought.written and not brought.replaced:
        line = f"{terminal.paint('there', 'green')}  {what} in {where}  {count(brought.same, 'file')}, nothing to do"
    else:
        parts = [count(brought.written, "file") + " written"] if brought.written else []
        parts += [f"{brought.replaced:,} replaced"] if brought.replaced else []
        parts += [f"{brought.same:,} there already"] if brought.same else []
        line = f"{terminal.paint('brought', 'green')}  {what} into {where}  {', '.join(parts)}, {size(brought.size)}"
    lines = [line]
    if brought.others:
        lines.append(f"{count(brought.others, 'other file')} in {where} left alone")
    return lines


def _cells(held: Held, now: datetime, terminal: Terminal) -> list[Cell]:
    """Time, files, size, tags and message."""
    version = held.version
    told = size(version.size) if terminal.tty else str(version.size)
    files = f"{version.files:,}" if terminal.tty else str(version.files)
    message = version.message or (held.notes[-1].note if held.notes else "")
    return [terminal.time(version.made, now), files, told, ", ".join(map(plain, held.tags)), plain(message)]


def _short(held: Held) -> str:
    return short(held.version.content)


def _by_name(versions: Sequence[Held]) -> dict[str, list[Held]]:
    found: dict[str, list[Held]] = {}
    for one in versions:
        found.setdefault(one.version.name, []).append(one)
    return dict(sorted(found.items()))
