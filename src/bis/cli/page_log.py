"""The list of runs: which columns it has, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bis.cli.command import nearest
from bis.cli.page_run import mark
from bis.cli.render import Column
from bis.digest import short
from bis.errors import UsageError
from bis.ledger import Row
from bis.nouns.run import signal_name
from bis.nouns.verdict import MARKS
from bis.steps.listing import PARTS, SHOWN_PARTS, by_frequency, differing, digest_of, same_parts, telling_length
from bis.text import command_line, duration, number, numbers, plain, seconds_between, width

if TYPE_CHECKING:
    from bis.cli.render import Cell, Terminal

NAMES = (
    *("verdict", "run", "name", "status", "started", "took", *PARTS, "params", "note", "command", "folder", "user"),
    *("host", "outputs", "findings", "repeats", "id", "ended", "exit", "experiment"),
)
VALUES = ("metrics.", "params.", "tags.")
"""What stands before the names of columns that some runs have."""
OF_PROGRAMS = ("tags.mlflow.", "tags.bis.")
"""Tags that no person set: they are columns on a terminal when they are asked for."""
PIPED = ("id", "name", "status", "exit", "started", "took", "verdict", *PARTS, "params")
"""The first columns in a pipe: always the same, so that a script can count on them."""


class Listing:
    """Some runs as a table."""

    def __init__(self, rows: Sequence[Row], now: datetime, terminal: Terminal) -> None:
        self.rows, self.now, self.terminal = rows, now, terminal
        self.hidden = 0
        """Columns left out because the terminal is too narrow for them."""

    def lines(self, chosen: Sequence[str], *, everything: bool = False) -> list[str]:
        """The table with the columns that were asked for, or with those that tell these runs apart."""
        if chosen:
            return self._table([self._checked(name) for name in chosen])
        if not self.terminal.tty:
            return self._table([*PIPED, *self._values(everything)])
        names = self._telling(everything)
        return self._table(names) if everything else self._fitting(names)

    def same_parts(self) -> str:
        """The parts that all of the runs share: `data d01f, environment e77b`; they need no column."""
        return ", ".join(f"{kind} {short(one)}" for kind, one in same_parts(self.rows).items())

    # -- which columns ---------------------------------------------------------------------------------------------

    def _telling(self, everything: bool) -> list[str]:
        """Columns that say something about these runs: what is the same in all of them needs none."""
        names = ["verdict"] if everything or any(row.verdict for row in self.rows) else []
        names += ["run", "name"]
        if everything or any(_status(row) for row in self.rows):
            names.append("status")
        names += ["started", "took"]
        parts = PARTS if everything else SHOWN_PARTS
        names += [kind for kind in parts if everything or len({digest_of(row, kind) for row in self.rows}) > 1]
        names += [name for name in self._values(everything) if everything or not name.startswith(OF_PROGRAMS)]
        if everything or any(row.repeats for row in self.rows):
            names.append("repeats")
        if everything or any(row.note for row in self.rows):
            names.append("note")
        return names

    def _values(self, everything: bool) -> list[str]:
        params = by_frequency(row.params for row in self.rows) if everything else differing(self.rows)
        metrics = by_frequency(row.metrics for row in self.rows)
        named = {"metrics": metrics, "params": params, "tags": by_frequency(row.tags for row in self.rows)}
        return [f"{kind}.{name}" for kind, names in named.items() for name in names]

    def _fitting(self, names: list[str]) -> list[str]:
        """The table without the metrics, params and tags, last ones first, that do not fit the terminal."""
        columns = {name: self._column(name) for name in names}
        wide = {name: max(map(width, [_title(name), *map(_text, cells)])) for name, cells in columns.items()}
        kept = list(names)
        optional = [name for name in names if name.startswith(VALUES)]
        while optional and sum(wide[name] for name in kept) + 2 * (len(kept) - 1) > self.terminal.width:
            kept.remove(optional.pop())
            self.hidden += 1
        return self._table(kept)

    def _checked(self, name: str) -> str:
        """A column's name as it was meant. Raises UsageError for one that no run has."""
        name = {"env": "environment", "when": "started", "rpt": "verdict", "seconds": "took"}.get(name, name)
        known = {
            *(f"metrics.{metric}" for row in self.rows for metric in row.metrics),
            *(f"params.{param}" for row in self.rows for param in row.params),
            *(f"tags.{tag}" for row in self.rows for tag in row.tags),
        }
        if name in NAMES or name in known or not self.rows:
            return name
        for prefix in VALUES:
            if prefix + name in known:
                return prefix + name
        near = nearest(name, [*NAMES, *sorted(known), *sorted(each.partition(".")[2] for each in known)], 0.6)
        raise UsageError(
            f"none of these runs has a column {name!r}",
            because=f"Did you mean {near}?"
            if near
            else f"There are {', '.join(NAMES)}, metrics.NAME, params.NAME and tags.NAME.",
            hint="bis log --all-columns",
        )

    # -- what stands in them ---------------------------------------------------------------------------------------

    def _table(self, names: Sequence[str]) -> list[str]:
        columns = [
            Column(_title(name) if self.terminal.tty else name, right=_right(name), shrinks=_shrinks(name))
            for name in names
        ]
        cells = [self._column(name) for name in names]
        return self.terminal.table(columns, list(zip(*cells, strict=True)))

    def _column(self, name: str) -> list[Cell]:
        if name.startswith("metrics."):
            values = [row.metrics.get(name[8:]) for row in self.rows]
            return list(numbers(values)) if self.terminal.tty else [number(value) for value in values]
        if name.startswith("params."):
            return [plain(row.params.get(name[7:], "")) for row in self.rows]
        if name.startswith("tags."):
            return [plain(row.tags.get(name[5:], "")) for row in self.rows]
        if name in (*PARTS, "params"):
            return self._digests(name)
        return [self._cell(row, name) for row in self.rows]

    def _digests(self, kind: str) -> list[Cell]:
        """Digests as short as they can be and still tell the parts apart."""
        found = [digest_of(row, kind) for row in self.rows]
        length = telling_length(found) if self.terminal.tty else 8
        return [short(one, length) for one in found]

    def _cell(self, row: Row, name: str) -> Cell:
        tty = self.terminal.tty
        match name:
            case "verdict":
                if not row.verdict:
                    return MARKS["not compared"] if tty else ""
                return mark(row.verdict) if tty else row.verdict
            case "run":
                return row.id[:8], "yellow"
            case "id":
                return row.id
            case "name":
                return plain(row.name), "cyan"
            case "status":
                return _status(row) if tty else row.status
            case "started" | "ended":
                then = row.started if name == "started" else row.ended
                return self.terminal.time(then, self.now) if then else ""
            case "took":
                return _took(row, tty)
            case "exit":
                return "" if row.exit is None else str(row.exit)
            case "command":
                return command_line(row.command)
            case "findings":
                return ", ".join(row.findings)
            case "repeats":
                return row.repeats[:8] if tty else row.repeats
        return plain(str(getattr(row, name)))


def _status(row: Row) -> Cell:
    """What is worth saying of how it went; empty for a run that simply finished."""
    if row.status == "running":
        return "running", "cyan"
    if row.status == "finished":
        return ""
    how = signal_name(row.signal) if row.signal is not None else str(row.exit) if row.exit is not None else ""
    return f"{row.status} {how}".rstrip(), "red"


def _took(row: Row, tty: bool) -> str:
    seconds = seconds_between(row.started, row.ended) if row.ended else None
    if seconds is None:
        return ""
    return duration(seconds) if tty else f"{seconds:.3f}"


def _title(name: str) -> str:
    words = {"verdict": "rpt", "started": "when", "environment": "env"}
    value = name.partition(".")[2] if name.startswith(VALUES) else name
    return words.get(name) or plain(name if value in NAMES else value)


def _right(name: str) -> bool:
    return name in ("took", "exit", "outputs") or name.startswith("metrics.")


def _shrinks(name: str) -> bool:
    return name in ("note", "command", "folder", "findings") or name.startswith(("params.", "tags."))


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]
