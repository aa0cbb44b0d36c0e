"""Tables: CSV and TSV, cell by cell, as text. Quoting and line ends are set aside, nothing else.

No number in a table is masked: a fit time in a table of results is a result, and another one is a difference (with
the cause `clock` when its column says so). A cell that is an id, a path of the run or a time within it may differ.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from bis.formats import Context, Unreadable
from bis.formats.tally import Tally, plural
from bis.formats.text import is_text
from bis.formats.values import Number, Walk
from bis.nouns.verdict import Comparison

CELL = 16 << 20
TOLD = 10_000
"""Cells that differ, after which rows are counted and no longer looked into."""


class Table:
    """Delimited text with a header, read as a stream."""

    def __init__(self, name: str, suffixes: tuple[str, ...], delimiter: str) -> None:
        self.name = name
        self.suffixes = suffixes
        self.delimiter = delimiter

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(self.suffixes) and is_text(head)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        with _open(before) as old, _open(after) as new:
            delimiter = self.delimiter or _delimiter(old)
            self._rows(Walk(context, tally), _read(old, delimiter), _read(new, delimiter))
        return tally.settle(self.name, "the same cells", "cell")

    def _rows(self, walk: Walk, olds: Iterator[list[str]], news: Iterator[list[str]]) -> None:
        header, other = next(olds, []), next(news, [])
        shared = len(header) == len(other)
        self._row(walk, header, other, [f"column {place}" for place in range(1, len(header) + 1)], 1)
        missing, sums = [0, 0], [0, 0]
        for number, (old, new) in enumerate(zip_longest(olds, news), 2):
            if old == new:
                continue
            for side, row in enumerate((old, new)):
                sums[side] += _mark(row)
            if old is None or new is None:
                missing[old is None] += 1
            elif not shared or walk.tally.count > TOLD:
                walk.tally.differ(f"row {number:,}", "differs")
            else:
                self._row(walk, old, new, header, number)
        for side, count in enumerate(missing):
            if count:
                walk.tally.differ("", f"{plural(count, 'row')} only in the {('first', 'second')[side]}")
        if walk.tally.count and sums[0] == sums[1] != 0 and header == other:
            walk.tally.reordered("row order", "the same rows in another order")

    def _row(self, walk: Walk, old: list[str], new: list[str], header: list[str], number: int) -> None:
        if len(old) != len(new):
            walk.tally.differ(f"row {number:,}", f"{len(old)} -> {plural(len(new), 'cell')}")
            return
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            if one != other:
                column = header[place] if place < len(header) else f"column {place + 1}"
                walk.compare_leaf(_cell(one), _cell(other), f"row {number:,}", column)


def _cell(text: str) -> str:
    """A cell as a number if it is written as one, so that a difference can be measured. 1.0 and 1.00 are not the same
    cell, as a table may hold labels."""
    try:
        float(text)
    except ValueError:
        return text
    return Number(text)


def _mark(row: list[str] | None) -> int:
    """A number for a row, to be added up: equal sums are equal rows in any order."""
    if row is None:
        return 0
    return int.from_bytes(hashlib.blake2b("\0".join(row).encode("utf-8", "surrogateescape"), digest_size=16).digest())


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="surrogateescape", newline="")


def _delimiter(file: TextIO) -> str:
    line = file.readline(1 << 16)
    file.seek(0)
    return max(",;\t|", key=line.count) if line else ","


def _read(file: TextIO, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(CELL)
    try:
        yield from csv.reader(file, delimiter=delimiter)
    except csv.Error as error:
        raise Unreadable(f"not valid CSV ({error})") from None
