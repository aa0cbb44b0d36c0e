"""How the numbers of a column are spread: what a small histogram is drawn from. Of tables as text, and of files of
columns."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.formats.arrow_columns import SUFFIXES as COLUMNED
from bis.formats.arrow_columns import is_number, is_small, numbers_of, opened
from bis.formats.delimited import CELL, SUFFIXES, Table, not_as_named
from bis.formats.profile import Profile
from bis.formats.summary import NUMERIC, ColumnProfile, number_of

BINS: Final = 20
COLUMNS: Final = 50
"""Columns of one file that are told so."""

Range = tuple[float, float]


class Bins(msgspec.Struct, frozen=True, kw_only=True):
    """So many values lie in each of some equal stretches between two numbers; the last one has its end in it."""

    low: float
    high: float
    counts: tuple[int, ...]


def ranges_of(*profiles: Profile) -> dict[str, Range]:
    """From the smallest to the largest value in any of these tables, of columns that hold numbers in all that have
    them."""
    found: dict[str, Range] = {}
    columns = [column for profile in profiles for column in profile.columns]
    others = {column.name for column in columns if column.type not in NUMERIC and not is_number(column.type)}
    for column in columns:
        if column.name not in others and (ends := _ends(column)):
            low, high = found.get(column.name, ends)
            found[column.name] = (min(low, ends[0]), max(high, ends[1]))
    return dict(list(found.items())[:COLUMNS])


def bins(path: Path, ranges: Mapping[str, Range]) -> dict[str, Bins]:
    """Of the columns that have a range; none of a file of another kind, or with very many cells in columns. Raises
    Unreadable."""
    suffix = path.suffix.lower()
    if suffix in COLUMNED and ranges:
        return _of_columns(path, ranges)
    if suffix not in SUFFIXES or not ranges:
        return {}
    table = Table(path)
    counts = {name: [0] * BINS for name in ranges if name in table.names}
    wanted = [(table.names.index(name), *ranges[name], counts[name]) for name in counts]
    csv.field_size_limit(CELL)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, delimiter=table.delimiter)
            if table.headed:
                next((row for row in rows if row), None)
            for row in rows:
                _count(row, wanted)
    except (csv.Error, ValueError) as error:
        raise not_as_named(error) from None
    return {name: Bins(low=ranges[name][0], high=ranges[name][1], counts=tuple(some)) for name, some in counts.items()}


def _count(row: Sequence[str], wanted: Sequence[tuple[int, float, float, list[int]]]) -> None:
    for place, low, high, counts in wanted:
        value = number_of(row[place]) if place < len(row) else None
        if value is not None and math.isfinite(value):
            width = high / 2 - low / 2  # halves: nothing overflows
            part = (value / 2 - low / 2) / width if width else 0.0
            counts[min(max(int(part * BINS), 0), BINS - 1)] += 1


def _of_columns(path: Path, ranges: Mapping[str, Range]) -> dict[str, Bins]:
    found = {}
    with opened(path) as file:
        there = {field.name for field in file.fields} if is_small(file) else set()
        for name in (name for name in ranges if name in there):
            counts = [0] * BINS
            for numbers in numbers_of(file, name):
                _count_block(numbers, *ranges[name], counts)
            found[name] = Bins(low=ranges[name][0], high=ranges[name][1], counts=tuple(counts))
    return found


def _count_block(numbers: Any, low: float, high: float, counts: list[int]) -> None:
    """As `_count`, of an array of pyarrow."""
    compute: Any = importlib.import_module("pyarrow.compute")
    width = high / 2 - low / 2
    half = compute.subtract(compute.divide(numbers, 2.0), low / 2)
    parts = compute.multiply(compute.divide(half, width), float(BINS)) if width else compute.multiply(half, 0.0)
    for one in compute.value_counts(parts.cast("int64", safe=False)).to_pylist():
        counts[min(max(one["values"], 0), BINS - 1)] += one["counts"]


def _ends(column: ColumnProfile) -> Range | None:
    try:
        low, high = float(column.smallest), float(column.largest)
    except ValueError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
