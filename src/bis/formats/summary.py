"""What is learnt of a column, some cells at a time: its type, its extremes, its statistics.

Blocks can come in any order, and what was learnt of two parts of a column can be put together: the answer is the same.
Cells are a list of texts, or an array of pyarrow, which answers the same questions more quickly; where it would answer
otherwise than Python does, its cells are asked as texts.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from bis.formats.sums import Sums, arrow_sums, sums

DISTINCT: Final = 1000
"""Up to so many different values of a column are counted."""
LONGEST: Final = 40
WORTHWHILE: Final = 4 << 20
"""Bytes of a file from which on pyarrow is worth its start."""
SHORT: Final = 100
"""Cells which are as well asked as texts."""
NUMERIC: Final = frozenset({"integer", "number"})


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column."""

    name: str
    type: str
    """`integer`, `number`, `boolean`, `date`, `text`, `empty`; of Parquet and of JSON, their own."""
    empty: int = 0
    """Cells without a value."""
    distinct: int | None = None
    """Different values; None: more than a thousand, or not known."""
    smallest: str = ""
    largest: str = ""
    mean: float | None = None
    deviation: float | None = None


class Cells(Protocol):
    """Some cells of one column, the empty ones counted and left out."""

    empty: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[str]: ...

    def few(self) -> set[str] | None:
        """The different ones; None if they are more than a thousand."""
        ...

    def numbers(self) -> Sums | None:
        """None: not all are finite numbers."""
        ...

    def are_whole(self) -> bool:
        """Of numbers: whether all are written as integers."""
        ...

    def are_dates(self) -> bool: ...

    def extremes(self) -> tuple[str, str]: ...


class Column:
    """What is learnt of one column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.empty = 0
        self.kinds: set[str] = set()
        self.values: set[str] | None = set()
        self.least = self.most = ""
        """Of the cells that are no finite numbers."""
        self.sums = Sums()
        """Of the numbers, as long as nothing else was seen."""

    def take(self, cells: Cells) -> None:
        self.empty += cells.empty
        if not len(cells):
            return
        self.count += len(cells)
        some = cells.few() if self.values is not None else None
        self._count_values(some)
        if self._is_text():
            self._reach(cells)
        elif self.kinds <= NUMERIC and (found := cells.numbers()):
            self.sums.add(found)
            self.kinds.add("integer" if "number" not in self.kinds and cells.are_whole() else "number")
        elif self.kinds <= {"date"} and cells.are_dates():
            self.kinds.add("date")
            self._widen(*cells.extremes())
        else:
            self._learn(cells, set(cells) if some is None else some)

    def add(self, other: Column) -> None:
        """What was learnt of another part of the column."""
        self.count += other.count
        self.empty += other.empty
        self.kinds |= other.kinds
        self._count_values(other.values)
        if other.least:
            self._widen(other.least, other.most)
        self.sums.add(other.sums)

    def told(self) -> ColumnProfile:
        kind = self._type()
        numeric = kind in NUMERIC and self.sums.count > 0
        return ColumnProfile(
            name=self.name,
            type=kind,
            empty=self.empty,
            distinct=len(self.values) if self.values is not None else None,
            smallest=plain(self.sums.low) if numeric else self.least[:LONGEST],
            largest=plain(self.sums.high) if numeric else self.most[:LONGEST],
            mean=self.sums.mean if numeric else None,
            deviation=self.sums.deviation if numeric else None,
        )

    def _count_values(self, some: set[str] | None) -> None:
        if self.values is None or some is None:
            self.values = None
            return
        self.values |= some
        if len(self.values) > DISTINCT:
            self.values = None

    def _is_text(self) -> bool:
        """Whatever comes."""
        return "text" in self.kinds or (len(self.kinds) > 1 and not self.kinds <= NUMERIC)

    def _reach(self, cells: Cells) -> None:
        """Numbers among texts are left out of the extremes. Few of them lie outside, so that few are looked at."""
        low, high = cells.extremes()
        if self.least <= low and high <= self.most:
            return
        if not _is_finite(low) and not _is_finite(high):
            self._widen(low, high)
            return
        outside = (cell for cell in cells if not self.least or cell < self.least or cell > self.most)
        if others := [cell for cell in set(outside) if not _is_finite(cell)]:
            self._widen(min(others), max(others))

    def _widen(self, low: str, high: str) -> None:
        self.least = min(self.least, low) if self.least else low
        self.most = max(self.most, high)

    def _learn(self, cells: Cells, different: Iterable[str]) -> None:
        """Cell by cell."""
        others = []
        for cell in different:
            number = number_of(cell)
            if number is None or not math.isfinite(number):
                others.append(cell)
                self.kinds.add(_kind(cell) if number is None else "number")
            else:
                self.kinds.add("integer" if is_whole(cell) else "number")
        if others:
            self._widen(min(others), max(others))
        if self.kinds <= NUMERIC:
            self.sums.add(sums([number for cell in cells if math.isfinite(number := float(cell))]))

    def _type(self) -> str:
        if not self.count:
            return "empty"
        if self.kinds <= NUMERIC:
            return "number" if "number" in self.kinds else "integer"
        return next(iter(self.kinds)) if len(self.kinds) == 1 else "text"


def number_of(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdecimal()


def plain(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def _is_finite(cell: str) -> bool:
    number = number_of(cell)
    return number is not None and math.isfinite(number)


def _kind(cell: str) -> str:
    if cell.lower() in ("true", "false"):
        return "boolean"
    return "date" if _is_date(cell) else "text"


def _is_date(cell: str) -> bool:
    if not cell[:1].isdigit() or len(cell) < 8:
        return False
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            read(cell)
            return True
        except ValueError:
            continue
    return False


# -- as texts ----------------------------------------------------------------------------------------------------


class Texts:
    """Cells as Python has them."""

    def __init__(self, cells: Sequence[str]) -> None:
        self.cells = [cell for cell in cells if cell]
        self.empty = len(cells) - len(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def few(self) -> set[str] | None:
        found = set(self.cells)
        return found if len(found) <= DISTINCT else None

    def numbers(self) -> Sums | None:
        try:
            values = list(map(float, self.cells))
        except ValueError:
            return None
        return sums(values) if all(map(math.isfinite, values)) else None

    def are_whole(self) -> bool:
        return "".join(self.cells).replace("-", "").isdecimal() or all(map(is_whole, self.cells))

    def are_dates(self) -> bool:
        return all(cell[4:5] == "-" and _is_date(cell) for cell in self.cells)

    def extremes(self) -> tuple[str, str]:
        return min(self.cells), max(self.cells)


# -- as an array of pyarrow --------------------------------------------------------------------------------------


@functools.cache
def arrow() -> Any:
    """The package with what is needed of it; None where it is not installed."""
    try:
        for name in ("pyarrow.compute", "pyarrow.csv"):
            importlib.import_module(name)
        return importlib.import_module("pyarrow")
    except ImportError:
        return None


def arrow_for(path: Path) -> Any:
    """The same for a file that is large enough."""
    return arrow() if path.stat().st_size >= WORTHWHILE else None


class Array:
    """Cells in an array of valid UTF-8, which is ordered as Python orders texts."""

    def __init__(self, package: Any, cells: Any) -> None:
        self.arrow, self.compute = package, package.compute
        filled = self.compute.not_equal(self.compute.binary_length(cells), 0)
        self.empty = len(cells) - (self.compute.sum(filled).as_py() or 0)
        self.cells = cells.filter(filled) if self.empty else cells

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells.to_pylist())

    def few(self) -> set[str] | None:
        found = self.compute.unique(self.cells)
        return set(found.to_pylist()) if len(found) <= DISTINCT else None

    def numbers(self) -> Sums | None:
        values = self._cast("float64")
        if values is None:  # Python reads more as a number
            return self._texts().numbers() if number_of(self.cells[0].as_py()) is not None else None
        if not self.compute.all(self.compute.is_finite(values)).as_py():
            return None
        return arrow_sums(self.compute, values)

    def are_whole(self) -> bool:
        return self._cast("int64") is not None or self._texts().are_whole()

    def are_dates(self) -> bool:
        return (self._cast("date32") is not None and self.extremes()[0] >= "0001") or self._texts().are_dates()

    def extremes(self) -> tuple[str, str]:
        found = self.compute.min_max(self.cells)
        return found["min"].as_py(), found["max"].as_py()

    def _cast(self, kind: str) -> Any:
        try:
            return self.cells.cast(kind)
        except self.arrow.ArrowInvalid:
            return None

    def _texts(self) -> Texts:
        return Texts(self.cells.to_pylist())


def cells_of(texts: Sequence[str], package: Any) -> Cells:
    """As an array, where there is the package and where every text is valid."""
    if package is None or len(texts) < SHORT:
        return Texts(texts)
    try:
        return Array(package, package.array(texts, "string"))
    except (UnicodeError, package.ArrowException):
        return Texts(texts)
