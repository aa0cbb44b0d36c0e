"""JSON lines: what is in a file of them, and which rows one has and another has not.

Read as `delimited` reads: lines that both files have are looked into once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.formats.delimited import WINDOW, not_as_named
from bis.formats.meeting import Meeting
from bis.formats.rows import Rows
from bis.formats.summary import Column, ColumnProfile, arrow_for, cells_of

AT_ONCE: Final = 1 << 12
"""Rows that are in memory together."""
decode: Final = msgspec.json.Decoder().decode


class Fields:
    """One file: what is learnt of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrow = arrow_for(path)
        self.columns: dict[str, Column] = {}
        self.count = 0
        self.first: tuple[str, ...] | None = None
        """The fields of the first row."""

    def told(self) -> tuple[ColumnProfile, ...]:
        """Columns in the order of the first row, then those that it has not."""
        first = self.first or ()
        names = [*first, *sorted(self.columns.keys() - set(first))]
        for column in self.columns.values():  # those that a line does not name are empty in it
            column.empty = self.count - column.count
        return tuple(self.columns[name].told() for name in names)

    def add(self, other: Fields) -> None:
        self.count += other.count
        for name, column in other.columns.items():
            self.columns.setdefault(name, Column(name)).add(column)

    def take(self, lines: Sequence[bytes], rows: Rows | None) -> None:
        """Rows are taken by all of their fields that are not empty."""
        for start in range(0, len(lines), AT_ONCE):
            self._take([_cells(line) for line in lines[start : start + AT_ONCE]], rows)

    def _take(self, some: Sequence[dict[str, str]], rows: Rows | None) -> None:
        self.count += len(some)
        if rows:
            rows.take_all(hash(_identity(row)) for row in some)
        columns: dict[str, list[str]] = {}
        for row in some:
            for name, cell in row.items():
                if name in columns:
                    columns[name].append(cell)
                else:
                    columns[name] = [cell]
        for name, cells in columns.items():
            if name not in self.columns:
                self.columns[name] = Column(name)
            self.columns[name].take(cells_of(cells, self.arrow))


def learn_fields(fields: Fields) -> None:
    """Read the file. Raises Unreadable for one that is not JSON in each line."""
    for lines in _windows(fields):
        fields.take(lines, None)


def learn_both_fields(before: Fields, after: Fields, old: Rows, new: Rows) -> None:
    """Read two files, and put the rows that may be in one of them alone into `old` and `new`."""
    sides, met, common = ((before, old), (after, new)), Meeting(), Fields(before.path)
    for windows in zip_longest(*(_windows(fields) for fields, _ in sides)):
        for side, lines in enumerate(windows):
            fields, rows = sides[side]
            common.take(met.meet(side, lines or []), None)
            fields.take(met.left(side), rows)
    for side, (fields, rows) in enumerate(sides):
        fields.take(met.rest(side), rows)
        fields.add(common)


def match_by(path: Path, shared: Sequence[str], rows: Rows) -> None:
    """Take the rows of a file by these fields alone."""
    wanted = set(shared)
    for lines in _windows(Fields(path)):
        picked = ({name: cell for name, cell in _cells(line).items() if name in wanted} for line in lines)
        rows.take_all(hash(_identity(row)) for row in picked)


def _windows(fields: Fields) -> Iterator[list[bytes]]:
    with fields.path.open("rb") as file:
        while lines := file.readlines(WINDOW):
            lines = list(filter(None, map(bytes.strip, lines)))
            if lines and fields.first is None:
                fields.first = tuple(_cells(lines[0]))
            yield lines


def _cells(line: bytes) -> dict[str, str]:
    try:
        row = decode(line)
    except (msgspec.DecodeError, UnicodeError):  # which is stricter
        try:
            row = json.loads(line)
        except (ValueError, EOFError) as error:
            raise not_as_named(error) from None
    if not isinstance(row, dict):
        row = {"value": row}
    return {name: value if type(value) is str else _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return json.dumps(value, sort_keys=True)


def _identity(row: dict[str, str]) -> Hashable:
    """A field that is empty is as one that is not there."""
    return tuple(sorted(one for one in row.items() if one[1]))
