"""Columns of Parquet, Arrow and Feather files: read one after the other, some rows at a time, and what is learnt of
each. Needs pyarrow.

Of numbers it is what is learnt of the same numbers in a table as text. Lists, records and the like are not read: their
cells can be of any size.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Protocol

from bis.formats import Unreadable
from bis.formats.summary import DISTINCT, LONGEST, ColumnProfile, plain
from bis.formats.sums import Sums, arrow_sums

ARROW: Final = (".arrow", ".feather")
PARQUET: Final = (".parquet", ".pq")
SUFFIXES: Final = (*PARQUET, *ARROW)
CELLS: Final = 1 << 25
"""Of a file with more, none is read: a few kilobytes may say a thousand million of them."""
ROWS: Final = 1 << 14
"""Of a column that are in memory together,"""
BYTES: Final = 1 << 22
"""and of how many bytes, as far as that is known before they are read."""
MEMORY: Final = 1 << 26
"""Bytes of a group of rows up to which the different texts of a column are held."""
BUFFER: Final = 1 << 20
"""Bytes of a file that are read at once."""
FILE: Final = b"ARROW1"
"""How a file begins that is no stream of Arrow."""
NUMBER: Final = re.compile(r"u?int\d+|halffloat|float|double|decimal\d+\(.*\)")
WIDE: Final = frozenset({"BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"})


class ColumnFile(Protocol):
    """A file that is open for reading."""

    kind: str
    fields: Sequence[Any]
    """Of Arrow."""

    @property
    def rows(self) -> int: ...

    def blocks(self, place: int) -> Iterator[Any]:
        """The cells of one column, some at a time."""
        ...

    def footer(self, place: int) -> ColumnProfile:
        """What is known of a column without reading it."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[ColumnFile]:
    """Raises Unreadable, with the reason; also in the middle of a file that is damaged there."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        for name in ("pyarrow.compute", "pyarrow.parquet", "pyarrow.ipc"):
            importlib.import_module(name)
    except ImportError:
        raise Unreadable("looking into it needs pyarrow (the extra 'formats' of bis)") from None
    is_parquet = path.suffix.lower() in PARQUET
    try:
        file: ColumnFile = _Parquet(arrow, path) if is_parquet else _Arrow(arrow, path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise Unreadable(f"it is no {'Parquet' if is_parquet else 'Arrow'} file: {error}") from None
    try:
        yield file
    except (arrow.ArrowException, OSError) as error:
        raise Unreadable(f"its columns cannot be read: {error}") from None


def is_small(file: ColumnFile) -> bool:
    """Whether its cells are read."""
    return file.rows * len(file.fields) <= CELLS


def columns_of(file: ColumnFile, *, whole: bool) -> tuple[ColumnProfile, ...]:
    """What is in each column: with `whole` from all of its cells, else without reading one."""
    told = partial(_learnt, file) if whole else file.footer
    return tuple(told(place) for place in range(len(file.fields)))


def is_number(kind: str) -> bool:
    """Whether a type, as Arrow spells it, is one of numbers."""
    return bool(NUMBER.fullmatch(kind))


def numbers_of(file: ColumnFile, name: str) -> Iterator[Any]:
    """Of the first column of that name, one of numbers: the finite ones as doubles, some at a time."""
    place = next(place for place, field in enumerate(file.fields) if field.name == name)
    return (_finite(block.drop_null()) for block in file.blocks(place))


# -- files -------------------------------------------------------------------------------------------------------


class _Parquet:
    kind: str = "Parquet"

    def __init__(self, arrow: Any, path: Path) -> None:
        self.arrow, self.path = arrow, path
        self.file = self._opened()
        self.fields: Sequence[Any] = list(self.file.schema_arrow)
        meta = self.file.metadata
        self.rows = meta.num_rows
        self.groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
        first = self.groups[:1]
        self.places = {one.column(place).path_in_schema: place for one in first for place in range(meta.num_columns)}

    def _opened(self, **more: Any) -> Any:
        # By default it holds the bytes of all columns until it is done with the file.
        return self.arrow.parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=BUFFER, **more)

    def blocks(self, place: int) -> Iterator[Any]:
        names = [field.name for field in self.fields]
        name, before = names[place], names[:place].count(names[place])
        chunks = [group.column(self.places[name]) for group in self.groups] if name in self.places else []
        longest = max((self._longest(name, number, chunk) for number, chunk in enumerate(chunks)), default=1)
        file, rows = self.file, max(1, min(ROWS, BYTES // longest))
        if rows < ROWS and all(
            chunk.physical_type == "BYTE_ARRAY" and chunk.total_uncompressed_size <= MEMORY for chunk in chunks
        ):
            file, rows = self._opened(read_dictionary=[name]), ROWS  # each text once, however often it is said
        for batch in file.iter_batches(rows, columns=[name], use_threads=False):
            alike = [at for at, other in enumerate(batch.schema.names) if other == name]
            yield batch.column(alike[before])

    def _longest(self, name: str, group: int, chunk: Any) -> int:
        """Bytes of a cell: on average, or of the longest of a dictionary, which may be said very often."""
        usual = int(max(1, chunk.total_uncompressed_size // max(1, chunk.num_values)))
        if chunk.physical_type not in WIDE or not chunk.has_dictionary_page:
            return usual
        batches = self._opened(read_dictionary=[name]).iter_batches(1, row_groups=[group], columns=[name])
        for column in (batch.column(0) for batch in batches):
            if not self.arrow.types.is_dictionary(column.type):
                return max(usual, int(getattr(column.type, "byte_width", 1)))
            compute = self.arrow.compute
            return max(usual, int(compute.max(compute.binary_length(column.dictionary)).as_py() or 1))
        return usual

    def footer(self, place: int) -> ColumnProfile:
        field = self.fields[place]
        at = self.places.get(field.name)
        if at is None:
            return _unread(field)
        statistics = [group.column(at).statistics for group in self.groups]
        told = [one for one in statistics if one is not None]
        ranged = [one for one in told if one.has_min_max]
        # A group that holds nothing has no smallest, and takes none away.
        whole = bool(ranged) and all(one is not None and (one.has_min_max or not one.num_values) for one in statistics)
        return ColumnProfile(
            name=field.name,
            type=str(field.type),
            empty=sum(one.null_count or 0 for one in told),
            smallest=_told(min(_bounds(field, one)[0] for one in ranged)) if whole else "",
            largest=_told(max(_bounds(field, one)[1] for one in ranged)) if whole else "",
        )


def _bounds(field: Any, one: Any) -> tuple[Any, Any]:
    """The smallest and the largest value; of nanoseconds, which Python has none of, as far as it has."""
    if getattr(field.type, "unit", "") != "ns":
        return one.min, one.max
    return _nanoseconds(field.type, one.min_raw), _nanoseconds(field.type, one.max_raw)


def _nanoseconds(kind: Any, value: int) -> datetime | timedelta:
    start = datetime(1970, 1, 1) if str(kind).startswith("timestamp") else timedelta()
    return start + timedelta(microseconds=value // 1000)


def _told(value: Any) -> str:
    # The footer calls the smallest zero -0.0, whichever it was.
    return plain(value + 0.0) if isinstance(value, float) and math.isfinite(value) else str(value)[:LONGEST]


class _Arrow:
    """The layout for files, which Feather has, too, and that for streams: batches that are read where they lie."""

    kind: str = "Arrow"

    def __init__(self, arrow: Any, path: Path) -> None:
        self.arrow, self.path = arrow, path
        with path.open("rb") as file:
            self.stream = file.read(len(FILE)) != FILE
        self.fields: Sequence[Any] = list(self._opened().schema)

    @cached_property
    def rows(self) -> int:
        return sum(len(batch) for batch in self._batches(0)) if self.fields else 0

    def _opened(self, *places: int) -> Any:
        options = self.arrow.ipc.IpcReadOptions(included_fields=list(places), use_threads=False)
        begin = self.arrow.ipc.open_stream if self.stream else self.arrow.ipc.open_file
        return begin(self.arrow.memory_map(str(self.path)), options=options)

    def _batches(self, place: int) -> Iterator[Any]:
        found = self._opened(place)  # the others are not unpacked
        yield from found if self.stream else map(found.get_batch, range(found.num_record_batches))

    def blocks(self, place: int) -> Iterator[Any]:
        for batch in self._batches(place):
            yield from _slices(batch.column(0))

    def footer(self, place: int) -> ColumnProfile:
        return _unread(self.fields[place])


def _unread(field: Any) -> ColumnProfile:
    return ColumnProfile(name=field.name, type=str(field.type))


def _slices(column: Any) -> Iterator[Any]:
    for start in range(0, len(column), ROWS):
        yield column.slice(start, ROWS)


# -- one column --------------------------------------------------------------------------------------------------


def _learnt(file: ColumnFile, place: int) -> ColumnProfile:
    field = file.fields[place]
    arrow: Any = importlib.import_module("pyarrow")
    if arrow.types.is_null(field.type):
        return ColumnProfile(name=field.name, type=str(field.type), empty=file.rows)
    column = _Column(_value_type(field.type))
    if not column.is_told:
        return file.footer(place)
    count = 0
    try:
        for block in file.blocks(place):
            cells = block.drop_null()
            count += len(cells)
            if len(cells):
                column.take(cells)
    except arrow.ArrowNotImplementedError:  # an older pyarrow does not do everything with every type
        return file.footer(place)
    return ColumnProfile(
        name=field.name,
        type=str(field.type),
        empty=file.rows - count,
        distinct=None if column.values is None else len(column.values),
        smallest=column.smallest,
        largest=column.largest,
        mean=column.sums.mean if column.sums.count else None,
        deviation=column.sums.deviation if column.sums.count else None,
    )


def _value_type(kind: Any) -> Any:
    """Without what is wrapped around it."""
    arrow: Any = importlib.import_module("pyarrow")
    if isinstance(kind, arrow.BaseExtensionType):
        return _value_type(kind.storage_type)
    return _value_type(kind.value_type) if arrow.types.is_dictionary(kind) else kind


class _Column:
    """What is learnt of the cells of one column."""

    def __init__(self, kind: Any) -> None:
        self.arrow: Any = importlib.import_module("pyarrow")
        self.kind, types = kind, self.arrow.types
        self.is_float = types.is_floating(kind)
        self.is_number = self.is_float or types.is_integer(kind) or types.is_decimal(kind)
        self.is_time = types.is_temporal(kind) and not types.is_interval(kind)
        self.is_text = any(
            told(kind)
            for told in (
                *(types.is_string, types.is_large_string, types.is_binary, types.is_large_binary),
                *(types.is_string_view, types.is_binary_view, types.is_fixed_size_binary),
            )
        )
        self.is_told = self.is_number or self.is_time or self.is_text or types.is_boolean(kind)
        self.sums = Sums()
        self.values: set[Any] | None = set()
        self.ends: tuple[Any, Any] | None = None
        """As numbers or bytes."""
        self.odd: set[str] = set()
        """NaN and the infinities."""

    def take(self, block: Any) -> None:
        """Cells that hold something."""
        compute, cells = self.arrow.compute, self._plain(block)
        if self.values is not None:
            self._count_values(compute.unique(cells))
        if self.is_number:
            numbers = _finite(block)
            if len(numbers):
                self.sums.add(arrow_sums(compute, numbers))
            if self.is_float:
                self._note_odd(block, numbers)
                return
        ends = compute.min_max(cells)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        self.ends = (min(self.ends[0], low), max(self.ends[1], high)) if self.ends else (low, high)

    def _count_values(self, found: Any) -> None:
        if len(found) <= DISTINCT and self.values is not None:
            self.values |= set(found.to_pylist())
        if len(found) > DISTINCT or len(self.values or ()) > DISTINCT:
            self.values = None

    def _plain(self, block: Any) -> Any:
        """Cells of which all are equal that are the same, and that have an order: whole numbers, decimals, bytes."""
        if self.arrow.types.is_dictionary(block.type):
            if self.is_text:  # each once, however long it is and how often it is said
                block = block.dictionary.take(block.indices.unique().drop_null()).drop_null()
            else:
                block = block.dictionary_decode()
        block = _bare(block)
        if self.is_float:
            return block.cast("float64").view("int64")
        if self.is_time:
            return block.cast("int32" if self.kind.bit_width == 32 else "int64")
        return block.cast("large_binary") if self.is_text else block

    def _note_odd(self, block: Any, numbers: Any) -> None:
        if len(numbers) < len(block):
            found = self.arrow.compute.unique(_doubles(block)).to_pylist()
            self.odd |= {repr(value) for value in found if not math.isfinite(value)}

    @property
    def smallest(self) -> str:
        if self.is_float:
            return plain(self.sums.low) if self.sums.count else min(self.odd, default="")
        return self._said(self.ends[0]) if self.ends else ""

    @property
    def largest(self) -> str:
        if self.is_float:
            return plain(self.sums.high) if self.sums.count else max(self.odd, default="")
        return self._said(self.ends[1]) if self.ends else ""

    def _said(self, value: Any) -> str:
        if isinstance(value, bytes):
            of_text = str(self.kind) in ("string", "large_string", "string_view")
            return (value[: 4 * LONGEST].decode("utf-8", "replace") if of_text else str(value[:LONGEST]))[:LONGEST]
        if not self.is_time:
            return str(value)
        try:
            if getattr(self.kind, "unit", "") == "ns":
                return str(_nanoseconds(self.kind, value))
            whole = self.arrow.scalar(value, "int32" if self.kind.bit_width == 32 else "int64")
            return str(whole.cast(self.kind).as_py())
        except (ValueError, OverflowError):  # Python's calendar ends with the year 9999
            return str(value)


def _bare(block: Any) -> Any:
    arrow: Any = importlib.import_module("pyarrow")
    return block.storage if isinstance(block.type, arrow.BaseExtensionType) else block


def _doubles(block: Any) -> Any:
    arrow: Any = importlib.import_module("pyarrow")
    block = _bare(block.dictionary_decode() if arrow.types.is_dictionary(block.type) else block)
    return block.cast("float64", safe=False)


def _finite(block: Any) -> Any:
    compute: Any = importlib.import_module("pyarrow.compute")
    numbers = _doubles(block)
    return numbers.filter(compute.is_finite(numbers))
