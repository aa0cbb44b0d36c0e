"""Files of rows as chunks: so many rows of one file, and fewer where they would be too many bytes. What a chunk holds
is parsed when somebody asks, so that those that were scored before are passed over."""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...flavors.signature import Column, Signature
from ...flavors.values import Array, Columns
from .. import Wrong
from ..tabular import EXACT, MISSING, column_of, columns_of_arrow, columns_of_records, numbers_of, of_cells
from . import Stop
from .kinds import KINDS, PACKED, kind_of

AT_ONCE = 16 << 20
"""Bytes of text in a chunk, at most; one row that is larger is a chunk by itself."""
PIECE = 1 << 20
"""Bytes that are read at once."""
CELL = 256 << 20
"""Letters of a cell: what is larger is the rest of a file behind a quote that is not closed."""
NO_ROW = "A quote in it is not closed, or a lone carriage return or a zero byte is in it."


class Bad(Exception):
    """Rows that are no rows of their format: `row` in the chunk, where it is known."""

    def __init__(self, expected: str, given: str, column: str = "") -> None:
        super().__init__(f"{expected} is expected, and {given} is given")
        self.expected, self.given, self.column = expected, given, column


class Chunk(Protocol):
    """Some rows of one file."""

    @property
    def file(self) -> str: ...
    @property
    def numbers(self) -> Sequence[int]:
        """Of each row, its number in the file."""
        ...

    @property
    def names(self) -> tuple[str, ...]: ...
    def columns(self, wanted: Sequence[str] | None) -> Columns:
        """Those of the names that there are, None: all. Raises Bad."""
        ...

    def kept(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        """Columns as they are to be written again: lists, or arrays of Arrow. Raises Bad."""
        ...

    def chosen(self, places: Sequence[int]) -> Chunk: ...


class File(Protocol):
    """An open file of rows."""

    def chunks(self) -> Iterator[Chunk]: ...
    def done(self) -> float:
        """The part of it that was read, from 0 to 1."""
        ...


def opened(path: str, format: str, batch: int, signature: Signature) -> File:
    """Raises Stop for what is in no format that is known."""
    kind = format or kind_of(path)
    try:
        if kind == "csv":
            return CsvFile(path, batch, signature)
        if kind == "jsonl":
            return JsonFile(path, batch, signature)
        if kind == "parquet":
            return ParquetFile(path, batch)
        if kind == "arrow":
            return ArrowFile(path, batch)
    except FileNotFoundError:
        raise Stop(f"there is no file {path}", status=3) from None
    except OSError as error:
        raise Stop(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    known = ", ".join(KINDS)
    raise Stop(
        f"{path} is in no format that its name tells", f"Known are {known}, and .csv.gz and the like.", "--format csv"
    )


def raw(path: str) -> Any:
    """Bytes of a file that may be compressed. Raises Stop where this environment cannot read it."""
    if path.lower().endswith(".gz"):
        import gzip

        return gzip.open(path, "rb")
    if path.lower().endswith(".zst"):
        return _zst(path)
    return open(path, "rb")


def _zst(path: str) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.open(path, "rb")
    try:
        import pyarrow

        return io.BufferedReader(_Readable(pyarrow.CompressedInputStream(pyarrow.OSFile(path, "rb"), "zstd")), 1 << 18)
    except ImportError:
        raise Stop(f"{path} needs pyarrow, which is not in the environment of this model", status=4) from None


class _Readable(io.RawIOBase):
    """A stream of Arrow as Python reads others."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        block = self._stream.read(len(into))
        into[: len(block)] = block
        return len(block)


# -- text --------------------------------------------------------------------------------------------------------


class Text:
    """Lines of a file, and how much of it was read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = Path(path).stat().st_size
        self._under = None if path.lower().endswith(PACKED) else Path(path).open("rb")  # noqa: SIM115
        self.file = self._under or raw(path)
        self._ahead, self._ends = b"", np.empty(0, np.intp)
        """What was read and not asked for, and where lines end in it."""

    def some(self, number: int) -> list[bytes]:
        """The next lines; fewer where there are no more. Raises Stop for a packed file that is not whole."""
        with self._whole():
            return list(itertools.islice(self.file, number))

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, zlib.error):
            raise Stop(f"{self.path} is damaged, or cut off") from None

    def line(self) -> bytes:
        return b"".join(self.some(1))

    def block(self, most: int) -> tuple[bytes, Array]:
        """The next lines as one piece, and how long each of them is: so many, or as many as fit. Where it is cut
        follows from the lines alone."""
        pieces, size, ends = [self._ahead], len(self._ahead), self._ends
        while len(ends) < most and (not len(ends) or ends[-1] < AT_ONCE):
            with self._whole():
                more = self.file.read(PIECE)
            if not more:
                ends = ends if not size or (len(ends) and ends[-1] == size) else np.append(ends, size)
                break
            ends = np.append(ends, _ends_in(more) + size)
            pieces.append(more)
            size += len(more)
        text = b"".join(pieces)
        rows = min(most, int(np.searchsorted(ends, AT_ONCE)) + 1, len(ends))
        end = int(ends[rows - 1]) if rows else 0
        self._ahead, self._ends = text[end:], ends[rows:] - end
        return text[:end], np.diff(ends[:rows], prepend=0)

    def rest(self) -> Iterator[bytes]:
        """Line by line."""
        *lines, last = self._ahead.split(b"\n")
        self._ahead, self._ends = b"", np.empty(0, np.intp)
        yield from (line + b"\n" for line in lines)
        if last:
            yield last + self.line()
        while some := self.some(1000):
            yield from some

    def lines(self, most: int, first: Sequence[bytes] = ()) -> list[bytes]:
        """So many, or as many as fit."""
        found, size = list(first), sum(map(len, first))
        while len(found) < most and size < AT_ONCE:
            # As few at a time as keeps lines of a megabyte from filling the memory.
            width = max(1, size // max(1, len(found))) if found else 1 << 16
            some = self.some(max(1, min(most - len(found), (1 << 20) // width)))
            if not some:
                break
            found += some
            size += sum(map(len, some))
        return found

    def done(self) -> float:
        if self._under is None:
            return 0.0
        return (self._under.tell() - len(self._ahead)) / self.size if self.size else 1.0


def _ends_in(text: bytes) -> Array:
    """Behind which bytes a line ends."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1


def _lines_of(text: bytes) -> list[bytes]:
    *lines, last = text.split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]


def _has_gaps(text: bytes, lengths: Array, width: int) -> bool:
    """Whether a line may be empty: all are long enough, and there is a comma between any two cells, where none is."""
    if width == 1 or int(lengths.min()) < width:
        return True
    commas = np.count_nonzero(np.frombuffer(text, np.uint8) == ord(","))  # `count` takes eight times as long
    return bool(commas != len(lengths) * (width - 1))


class CsvFile:
    """Names in its first line. Lines are counted without those that are empty."""

    def __init__(self, path: str, batch: int, signature: Signature) -> None:
        csv.field_size_limit(CELL)
        self._text, self._batch = Text(path), batch
        self._types = {one.name: one.type for one in signature.inputs if isinstance(one, Column) and one.name}
        head = self._text.line()
        if head.startswith(codecs.BOM_UTF8):
            head = head[3:]
        while head and head.count(b'"') % 2:
            more = self._text.line()
            if not more:
                break
            head += more
        try:
            lines = list(csv.reader([head.decode("utf-8")])) if head.strip() else []
        except (UnicodeDecodeError, csv.Error):
            raise Stop(f"{path}: the line of names is no CSV in UTF-8") from None
        if not lines:
            raise Stop(f"{path} is empty: its first line is to name the columns")
        self.names = tuple(lines[0])
        if len(set(self.names)) < len(self.names):
            twice = next(name for place, name in enumerate(self.names) if name in self.names[:place])
            raise Stop(f"{path} names the column {twice!r} twice")

    def done(self) -> float:
        return self._text.done()

    def chunks(self) -> Iterator[Chunk]:
        number = 1
        text, lengths = self._text.block(self._batch)
        while text:
            if b'"' in text:
                yield from self._quoted(_lines_of(text), number)
                return
            rows = len(lengths)
            if _has_gaps(text, lengths, len(self.names)):
                kept = [line for line in _lines_of(text) if line.strip()]
                text, rows = b"".join(kept), len(kept)
            if rows:
                yield CsvChunk(self._text.path, range(number, number + rows), self.names, self._types, text, None)
            number += rows
            text, lengths = self._text.block(self._batch)

    def _quoted(self, lines: list[bytes], number: int) -> Iterator[Chunk]:
        """From the first quote on, as a cell may hold the end of a line."""
        text = (line.decode("utf-8", "surrogateescape") for line in itertools.chain(lines, self._text.rest()))
        reader = csv.reader(text)
        while rows := self._rows(reader, number):
            numbers = range(number, number + len(rows))
            yield CsvChunk(self._text.path, numbers, self.names, self._types, None, rows)
            number += len(rows)

    def _rows(self, reader: Any, number: int) -> list[list[str]]:
        rows: list[list[str]] = []
        size = 0
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    size += sum(map(len, row))
                if len(rows) == self._batch or size >= AT_ONCE:
                    break
        except csv.Error:
            raise Stop(f"{self._text.path}, row {number + len(rows)}: it is no row of CSV", NO_ROW) from None
        return rows


@dataclasses.dataclass(frozen=True)
class CsvChunk:
    file: str
    numbers: Sequence[int]
    names: tuple[str, ...]
    types: dict[str, Any]
    text: bytes | None
    """Lines without quotes; else `cells`."""
    cells: list[list[str]] | None

    def columns(self, wanted: Sequence[str] | None) -> Columns:
        names = self.names if wanted is None else tuple(name for name in wanted if name in self.names)
        if self.text is not None and (quick := self._quick(self.text, names)) is not None:
            return quick
        rows = self._rows()
        cells = dict(zip(self.names, zip(*rows))) if rows else dict.fromkeys(self.names, ())
        return Columns(names, None, tuple(self._of(name, list(cells[name])) for name in names))

    def kept(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        cells = dict(zip(self.names, zip(*self._rows())))
        return [(name, list(cells.get(name, ()))) for name in names]

    def chosen(self, places: Sequence[int]) -> CsvChunk:
        lines = [] if self.text is None else _lines_of(self.text)
        return dataclasses.replace(
            self,
            numbers=[self.numbers[place] for place in places],
            text=None if self.text is None else b"".join([lines[place] for place in places]),
            cells=None if self.cells is None else [self.cells[place] for place in places],
        )

    def _rows(self) -> list[list[str]]:
        rows = self.cells
        if rows is None:
            assert self.text is not None
            try:
                rows = list(csv.reader([line.decode("utf-8") for line in _lines_of(self.text)]))
            except UnicodeDecodeError:
                raise Bad("text in UTF-8", "text in another coding") from None
            except csv.Error:
                raise Bad("a row of CSV", "one with a carriage return or a zero byte in it") from None
        width = len(self.names)
        for row in rows:
            if len(row) != width:
                raise Bad(f"a row of {width} cells", f"one of {len(row)}")
        return rows

    def _of(self, name: str, cells: list[str]) -> Array:
        type = self.types.get(name)
        try:
            array = of_cells(cells, type, name)
        except Wrong:
            raise Bad(f"a value of the type {type}", "other text", name) from None
        if array.dtype == object and any("\udc80" <= letter <= "\udcff" for cell in cells for letter in set(cell)):
            raise Bad("text in UTF-8", "text in another coding", name)
        return array

    def _quick(self, text: bytes, names: tuple[str, ...]) -> Columns | None:
        """Numbers only, by pyarrow or NumPy. None for what these do not take, which the slow way explains or takes."""
        types = {self.types.get(name) for name in names}
        if not types or not types <= {"double", "float", "long", "integer"}:
            return None
        block = _by_arrow(text, len(self.numbers), self.names, names, self.types)
        return block if block is not None else _by_numpy(_lines_of(text), self.names, names, types)


def _by_arrow(
    text: bytes, rows: int, all_names: tuple[str, ...], names: tuple[str, ...], types: dict[str, Any]
) -> Columns | None:
    try:
        import pyarrow
        from pyarrow import csv as arrow_csv
    except ImportError:
        return None
    kinds = {"long": pyarrow.int64(), "integer": pyarrow.int64()}
    try:
        table = arrow_csv.read_csv(
            pyarrow.BufferReader(text),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=list(all_names)
            ),
            parse_options=arrow_csv.ParseOptions(quote_char=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: kinds.get(types[name], pyarrow.float64()) for name in names},
                include_columns=list(names),
                null_values=sorted(MISSING),
            ),
        )
    except (pyarrow.ArrowException, ValueError):
        return None
    if any(column.null_count and pyarrow.types.is_integer(column.type) for column in table.columns):
        return None
    if table.num_rows != rows:
        return None
    arrays = [numbers_of(column) for column in table.columns]
    if len({array.dtype for array in arrays}) == 1:
        return Columns(names, np.stack(arrays, axis=1))
    return Columns(names, None, tuple(arrays))


def _by_numpy(
    lines: list[bytes], all_names: tuple[str, ...], names: tuple[str, ...], types: set[Any]
) -> Columns | None:
    places = [all_names.index(name) for name in names]
    width = len(all_names) - 1
    if any(line.count(b",") != width for line in lines):
        return None
    dtype = np.int64 if types <= {"long", "integer"} else np.float64
    if dtype is np.float64 and types & {"long", "integer"}:
        return None
    try:
        text = [line.decode("ascii") for line in lines]
        block = np.loadtxt(text, delimiter=",", dtype=dtype, usecols=places, ndmin=2, comments=None)
    except (ValueError, OverflowError):
        return None
    return Columns(names, block) if block.shape == (len(lines), len(names)) else None


class JsonFile:
    """One object in each line. Lines are counted without those that are empty."""

    def __init__(self, path: str, batch: int, signature: Signature) -> None:
        self._text, self._batch = Text(path), batch
        self._types = {one.name: one.type for one in signature.inputs if isinstance(one, Column) and one.name}

    def done(self) -> float:
        return self._text.done()

    def chunks(self) -> Iterator[Chunk]:
        number, names = 1, None
        while lines := self._text.lines(self._batch):
            kept = [line for line in lines if line.strip()]
            if kept:
                names = names or _names_in(kept[0])
                yield JsonChunk(self._text.path, range(number, number + len(kept)), names, self._types, kept)
            number += len(kept)


def _names_in(line: bytes) -> tuple[str, ...]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ()
    return tuple(found) if isinstance(found, dict) else ()


@dataclasses.dataclass(frozen=True)
class JsonChunk:
    file: str
    numbers: Sequence[int]
    names: tuple[str, ...]
    """Of the first row of the file."""
    types: dict[str, Any]
    lines: list[bytes]

    def columns(self, wanted: Sequence[str] | None) -> Columns:
        if wanted and {self.types.get(name) for name in wanted} == {"double"}:
            quick = _objects_by_arrow(self.lines, wanted)
            if quick is not None:
                return quick
        records = self._records()
        if wanted is not None:
            there = {name for record in records for name in record}
            names = tuple(name for name in wanted if name in there)
            arrays = tuple(column_of([record.get(name) for record in records]) for name in names)
            return Columns(names, None, arrays)
        return columns_of_records(records)

    def kept(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        records = self._records()
        return [(name, [record.get(name) for record in records]) for name in names]

    def names_in_rows(self) -> tuple[str, ...]:
        """Of those rows that are objects."""
        found: dict[str, None] = {}
        for line in self.lines:
            found.update(dict.fromkeys(_names_in(line)))
        return tuple(found)

    def chosen(self, places: Sequence[int]) -> JsonChunk:
        return dataclasses.replace(
            self,
            numbers=[self.numbers[place] for place in places],
            lines=[self.lines[place] for place in places],
        )

    def _records(self) -> list[dict[str, Any]]:
        try:
            found = json.loads(b"[" + b",".join(self.lines) + b"]")
        except (ValueError, RecursionError):
            raise Bad("a JSON object", "text that is none") from None
        if len(found) != len(self.lines) or set(map(type, found)) - {dict}:
            raise Bad("a JSON object", "another value")
        records: list[dict[str, Any]] = found
        return records


def _objects_by_arrow(lines: list[bytes], wanted: Sequence[str]) -> Columns | None:
    """Numbers of objects that hold nothing nested, one in each line. None for what Arrow does not take, and for what
    Python would take otherwise: whole numbers that a fraction does not hold, zeros with a sign, gaps, text in ASCII
    no more."""
    try:
        import pyarrow
        from pyarrow import json as arrow_json
    except ImportError:
        return None
    text, rows = b"".join(lines), len(lines)
    letters = np.frombuffer(text, np.uint8)
    for brace in b"{}":
        if np.count_nonzero(letters == brace) != rows:
            return None
    if text.count(b"}\n") + text.endswith(b"}") != rows or not text.isascii():
        return None
    try:
        table = arrow_json.read_json(
            pyarrow.BufferReader(text),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pyarrow.schema([(name, pyarrow.float64()) for name in wanted]),
                unexpected_field_behavior="ignore",
            ),
        )
    except (pyarrow.ArrowException, ValueError):
        return None
    if table.num_rows != rows or any(table.column(name).null_count for name in wanted):
        return None
    block = np.stack([numbers_of(table.column(name)) for name in wanted], axis=1)
    if not (np.abs(block) < EXACT).all() or (np.signbit(block) & (block == 0)).any():
        return None
    return Columns(tuple(wanted), block)


# -- Arrow -------------------------------------------------------------------------------------------------------


def arrow() -> Any:
    """pyarrow. Raises Stop where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Stop(
            "Parquet and Arrow need pyarrow, which is not in the environment of this model",
            hint="install pyarrow there, or use CSV or JSON lines",
            status=4,
        ) from None
    return pyarrow


class ParquetFile:
    def __init__(self, path: str, batch: int) -> None:
        self._arrow = arrow()
        self.path = path
        try:
            self._file = self._arrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)
        except self._arrow.ArrowException as error:
            raise Stop(f"{path} is no Parquet file, or is damaged") from error
        meta = self._file.metadata
        size = sum(meta.row_group(place).total_byte_size for place in range(meta.num_row_groups))
        self._rows = meta.num_rows
        self._batch = max(1, min(batch, AT_ONCE // max(1, size // max(1, self._rows))))
        self._read = 0

    def done(self) -> float:
        return self._read / self._rows if self._rows else 1.0

    def chunks(self) -> Iterator[Chunk]:
        for chunk in _in_chunks(self.path, self._blocks(), self._batch, self._arrow):
            self._read += len(chunk.numbers)
            yield chunk

    def _blocks(self) -> Iterator[Any]:
        try:
            yield from self._file.iter_batches(batch_size=self._batch, use_threads=False)
        except (self._arrow.ArrowException, OSError) as error:
            raise Stop(f"{self.path} is damaged, or in a form that pyarrow does not read") from error


class ArrowFile:
    """The file format and the stream, which are told apart by their first bytes."""

    def __init__(self, path: str, batch: int) -> None:
        self._arrow = arrow()
        self.path, self._batch = path, batch
        self._size = Path(path).stat().st_size
        with open(path, "rb") as file:
            self._is_file = file.read(6) == b"ARROW1"
        if not self._size:
            raise Stop(f"{path} is empty, and no Arrow file")
        self._source = self._arrow.memory_map(path)

    def done(self) -> float:
        return float(self._source.tell()) / self._size

    def chunks(self) -> Iterator[Chunk]:
        yield from _in_chunks(self.path, self._blocks(), self._batch, self._arrow)

    def _blocks(self) -> Iterator[Any]:
        try:
            if self._is_file:
                reader = self._arrow.ipc.open_file(self._source)
                yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
            else:
                yield from self._arrow.ipc.open_stream(self._source)
        except (self._arrow.ArrowException, OSError) as error:
            raise Stop(f"{self.path} is no Arrow file, or is damaged") from error


def _in_chunks(path: str, blocks: Iterator[Any], batch: int, arrow: Any) -> Iterator[ArrowChunk]:
    """Of so many rows each, whatever the file was written in."""
    waiting: list[Any] = []
    rows, number = 0, 1
    for block in blocks:
        while block.num_rows:
            some = block.slice(0, batch - rows)
            block = block.slice(some.num_rows)
            waiting.append(some)
            rows += some.num_rows
            if rows == batch:
                yield ArrowChunk(path, range(number, number + rows), arrow.Table.from_batches(waiting))
                number += rows
                waiting, rows = [], 0
    if rows:
        yield ArrowChunk(path, range(number, number + rows), arrow.Table.from_batches(waiting))


@dataclasses.dataclass(frozen=True)
class ArrowChunk:
    file: str
    numbers: Sequence[int]
    table: Any

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    def columns(self, wanted: Sequence[str] | None) -> Columns:
        import pyarrow

        names = self.names if wanted is None else tuple(name for name in wanted if name in self.names)
        if wanted is None:
            names = tuple(name for name in names if not name.startswith("__index_level_"))
        table = self.table.select(list(names))
        for place, field in enumerate(table.schema):
            if pyarrow.types.is_dictionary(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
            elif pyarrow.types.is_decimal(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(pyarrow.float64()))
        if not names:
            return Columns((), None, ())
        return columns_of_arrow(table)

    def kept(self, names: Sequence[str]) -> list[tuple[str, Any]]:
        return [(name, self.table.column(name).combine_chunks()) for name in names]

    def chosen(self, places: Sequence[int]) -> ArrowChunk:
        import pyarrow

        rows = self.table.take(pyarrow.array(places, pyarrow.int64()))
        return ArrowChunk(self.file, [self.numbers[place] for place in places], rows)
