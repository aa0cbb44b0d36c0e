"""Tables as text, CSV and the like: what is in one, and which rows one has and another has not.

A file is read in windows. Where the lines of a window are its rows beyond doubt, lines that both files have are looked
for first: they are rows of both, and are taken apart once. What is left is taken apart for each file and matched by
hashes. Where pyarrow is installed, it takes lines apart; what it might read otherwise than Python's own `csv` does is
left to that, so that the answer is the same.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from bis.formats import Unreadable
from bis.formats.meeting import Meeting
from bis.formats.rows import Rows
from bis.formats.summary import Array, Cells, Column, ColumnProfile, arrow_for, cells_of, number_of

CELL: Final = 16 << 20
WINDOW: Final = 1 << 19
SUFFIXES: Final = {".csv": "", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
AT_ONCE: Final = 1 << 13
"""Rows that are in memory as cells."""
BOM: Final = b"\xef\xbb\xbf"
NEVER: Final = "\x1f"
"""What is put between cells where two files have different delimiters."""

Row = list[str]


class Table:
    """One file: what is learnt of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.delimiter = SUFFIXES[path.suffix.lower()]
        try:
            with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                if not self.delimiter:
                    first = file.readline(1 << 16)
                    self.delimiter = max(",;\t|", key=first.count)
                    file.seek(0)
                head: Row = next((row for row in _reader(file, self.delimiter) if row), [])
        except (csv.Error, ValueError) as error:
            raise not_as_named(error) from None
        # Where the first row holds a number, it is a row.
        self.headed = all(number_of(cell) is None for cell in head)
        self.names = head if self.headed else [str(place) for place in range(1, len(head) + 1)]
        self.columns = [Column(name) for name in self.names]
        self.count = 0
        quoted = b'"(?<![^%b\\n]")[^"]*(?:""[^"]*)*"(?![^%b\\r\\n])' % ((re.escape(self.delimiter.encode()),) * 2)
        self.quoted = re.compile(quoted)
        """A cell in quotes, as it should be."""

    def told(self) -> tuple[ColumnProfile, ...]:
        return tuple(column.told() for column in self.columns)

    def add(self, other: Table) -> None:
        self.count += other.count
        for column, further in zip(self.columns, other.columns, strict=True):
            column.add(further)


def learn(table: Table) -> None:
    """Read the file. Raises Unreadable for one that is no such table."""
    taking = _Taking(table, None, [], "")
    for lines, rows in _windows(table):
        taking.take(lines)
        taking.rows(rows)
    taking.finish()


def learn_both(before: Table, after: Table, shared: Sequence[str], old: Rows, new: Rows) -> None:
    """Read two files, and put the rows that may be in one of them alone into `old` and `new`, by the cells of the
    columns that both have."""
    tables = (before, after)
    separator = before.delimiter if before.delimiter == after.delimiter else NEVER
    sides = [_Taking(table, rows, shared, separator) for table, rows in zip(tables, (old, new), strict=True)]
    alike = before.names == after.names and before.delimiter == after.delimiter
    met = Meeting() if alike else None
    common = Table(before.path)
    both = _Taking(common, None, [], "")
    for windows in zip_longest(_windows(before), _windows(after)):
        for side, window in enumerate(windows):
            if window is None:
                continue
            if met and window[0]:
                both.take(met.meet(side, window[0]))
                sides[side].take(met.left(side))
            else:
                sides[side].take(window[0])
            sides[side].rows(window[1])
    for side, taking in enumerate(sides):
        taking.take(met.rest(side) if met else [])
        taking.finish()
    both.finish()
    for table in tables:
        if alike:
            table.add(common)


def not_as_named(error: Exception) -> Unreadable:
    return Unreadable(f"it cannot be read as its name says: {error}")


# -- windows -----------------------------------------------------------------------------------------------------


def _windows(table: Table) -> Iterator[tuple[list[bytes], list[Row]]]:
    """The rows of a file, some at a time and without the one that names the columns: as lines where each is a row and
    nothing else can be meant, else as cells."""
    passed = not table.headed
    for lines, rows in _whole_windows(table):
        if not passed:
            passed = bool(lines or rows)
            lines, rows = lines[1:], rows if lines else rows[1:]
        yield lines, rows


def _whole_windows(table: Table) -> Iterator[tuple[list[bytes], list[Row]]]:
    with table.path.open("rb") as file:
        rest = b"" if (start := file.read(len(BOM))) == BOM else start
        while True:
            read = file.read(max(WINDOW, len(rest)))
            data, rest = rest + read, b""
            if not data:
                return
            cut = data.rfind(b"\n") + 1 if read else len(data)
            if (lines := _lines(data[:cut], table)) is not None:
                rest = data[cut:]
                yield lines, []
            else:
                rows, rest = _rows(data, table.delimiter, not read)
                yield [], rows


def _lines(data: bytes, table: Table) -> list[bytes] | None:
    """None: lines and rows may be two things here."""
    if not data or b"\0" in data:
        return None
    ends = data.count(b"\n")
    if b'"' in data:
        bare = table.quoted.sub(b"", data)
        if b'"' in bare or bare.count(b"\n") != ends:
            return None
    lines = data.splitlines()
    if len(lines) != ends + (not data.endswith(b"\n")):  # a carriage return by itself
        return None
    return list(filter(None, lines)) if b"" in lines else lines


def _rows(data: bytes, delimiter: str, last: bool) -> tuple[list[Row], bytes]:
    """Rows as Python reads them, and what may go on behind the end: that from the last row on."""
    lines = list(io.StringIO(data.decode("utf-8", "surrogateescape"), newline=""))
    reader = _reader(lines, delimiter)
    rows, ends = [], [0]
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error as error:
        raise not_as_named(error) from None
    rest = b""
    if not last:
        rest = "".join(lines[ends[-2] :]).encode("utf-8", "surrogateescape") if rows else data
        del rows[-1:]
    return [row for row in rows if row], rest


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(CELL)
    return csv.reader(lines, delimiter=delimiter)


# -- taking apart ------------------------------------------------------------------------------------------------


class _Taking:
    """Rows on their way into the columns of a table, and by their hashes into `rows`, if there are any."""

    def __init__(self, table: Table, rows: Rows | None, shared: Sequence[str], separator: str) -> None:
        self.table, self.matched = table, rows if shared else None
        self.width = len(table.names)
        self.places = [table.names.index(name) for name in shared]
        self.pick = _picker(self.places) if shared else None
        self.separator = separator
        self.as_they_are = separator == table.delimiter and self.places == list(range(self.width))
        self.arrow = arrow_for(table.path)
        self.lines: list[bytes] = []
        self.size = 0

    def take(self, lines: list[bytes]) -> None:
        self.lines += lines
        self.size += sum(map(len, lines)) + len(lines)
        if self.size >= WINDOW:
            self.finish()

    def finish(self) -> None:
        """Also with what has come so far."""
        lines, self.lines, self.size = self.lines, [], 0
        if not lines:
            return
        data = b"\n".join(lines) + b"\n"
        if (arrays := self._arrays(data, len(lines))) is not None:
            if self.matched:
                keys = lines if self.as_they_are and b'"' not in data else self._joined(arrays)
                self.matched.take_all(map(hash, keys))
            self._learn([Array(self.arrow, array) for array in arrays], len(lines))
            return
        for start in range(0, len(lines), AT_ONCE):
            texts = (line.decode("utf-8", "surrogateescape") for line in lines[start : start + AT_ONCE])
            self.rows(list(_reader(texts, self.table.delimiter)))

    def rows(self, rows: list[Row]) -> None:
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            if self.matched and self.pick:
                self.matched.take_all(hash(_identity(self.pick(row), self.separator)) for row in some)
            columns = list(islice(zip_longest(*some, fillvalue=""), self.width))
            columns += [("",) * len(some)] * (self.width - len(columns))
            self._learn([cells_of(column, self.arrow) for column in columns], len(some))

    def _learn(self, columns: Sequence[Cells], count: int) -> None:
        self.table.count += count
        for column, cells in zip(self.table.columns, columns, strict=True):
            column.take(cells)

    def _arrays(self, data: bytes, count: int) -> list[Any] | None:
        """A column each. None: pyarrow is not there, or these lines are not for it."""
        if self.arrow is None or data.startswith(BOM):  # it would pass over that
            return None
        try:
            data.decode()
            names = [str(place) for place in range(self.width)]
            csv_of = self.arrow.csv
            found = csv_of.read_csv(
                self.arrow.BufferReader(data),
                csv_of.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
                csv_of.ParseOptions(delimiter=self.table.delimiter, newlines_in_values=False),
                csv_of.ConvertOptions(
                    column_types=dict.fromkeys(names, self.arrow.string()), strings_can_be_null=False, check_utf8=False
                ),
            )
        except (UnicodeDecodeError, self.arrow.ArrowException):
            return None
        if len(found) != count:
            return None
        return [column.combine_chunks() for column in found.columns]

    def _joined(self, arrays: list[Any]) -> Iterable[object]:
        """What rows are matched by: see `_identity`."""
        compute, picked = self.arrow.compute, [arrays[place] for place in self.places]
        joined = compute.binary_join_element_wise(*picked, self.separator)
        inside = compute.sum(compute.count_substring(joined, self.separator)).as_py()
        if inside == len(joined) * (len(picked) - 1):
            return list(joined.cast("binary").to_pylist())
        rows = zip(*(array.to_pylist() for array in picked), strict=True)
        return (_identity(row, self.separator) for row in rows)


def _picker(places: Sequence[int]) -> Callable[[Row], tuple[str, ...]]:
    """A function that takes these cells out of a row; those that a short one has not are empty."""
    width = max(places) + 1
    if len(places) == 1:
        place = places[0]
        return lambda row: (row[place] if len(row) > place else "",)
    pick = itemgetter(*places)
    return lambda row: pick(row if len(row) >= width else row + [""] * (width - len(row)))


def _identity(cells: Sequence[str], separator: str) -> object:
    """What is equal for equal cells only: their text with the separator in between; where a cell has it, themselves."""
    joined = separator.join(cells)
    if joined.count(separator) != len(cells) - 1:
        return tuple(cells)
    return joined.encode("utf-8", "surrogateescape")
