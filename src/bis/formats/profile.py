"""What is in a file of data, in a few numbers: rows, columns, their types and statistics; of an image, its size.

CSV and JSON lines are read as streams by the standard library, in bounded memory. Parquet needs pyarrow, and of one
file only its footer is read.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from bis.formats import Unreadable
from bis.formats.rows import RowChange, Rows, row_change

CELL: Final = 16 << 20
DISTINCT: Final = 1000
"""Up to so many different values of a column are counted."""
AT_ONCE: Final = 1 << 14
"""Cells of a Parquet file that are in memory together."""
BUFFER: Final = 1 << 20
"""Bytes of each of its columns."""
LONGEST: Final = 40
DELIMITED: Final = {".csv": "", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
LINES: Final = (".jsonl", ".ndjson")


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


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file."""

    kind: str
    rows: int | None = None
    columns: tuple[ColumnProfile, ...] = ()
    facts: dict[str, str] = {}
    """What is known beside columns: of an image, its size."""


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two files."""

    before: Profile
    after: Profile
    rows: RowChange | None = None
    unmatched: str = ""
    """Why rows were not matched."""


def is_profiled(name: str) -> bool:
    """Whether a file of this name can be looked into."""
    return Path(name).suffix.lower() in (*DELIMITED, *LINES, ".parquet", ".pq", *IMAGES)


def profile(path: Path) -> Profile:
    """Raises Unreadable, with the reason, for a file that is not what its name says."""
    suffix = path.suffix.lower()
    if suffix in (*DELIMITED, *LINES):
        return _text(path, None, None)
    try:
        if suffix in IMAGES:
            with path.open("rb") as file:
                return Profile(kind="image", facts=_image(file))
        return _parquet(path)
    except (ValueError, EOFError) as error:
        raise _not_as_named(error) from None


def profile_both(before: Path, after: Path) -> Pair:
    """As `profile`, of two files; of two tables of one kind also the rows that differ in the columns that both have,
    wherever they stand. Text is read once, JSON lines a second time where one has a field that the other has not."""
    suffixes = {path.suffix.lower() for path in (before, after)}
    with Rows() as old, Rows() as new:
        if suffixes <= set(DELIMITED):
            shared = _shared(_names(before), _names(after))
            first, second = _text(before, shared, old), _text(after, shared, new)
        elif suffixes <= set(LINES):
            first, second = _text(before, None, old), _text(after, None, new)
        else:
            first, second = profile(before), profile(after)
        if first.kind != second.kind or first.rows is None:
            told = "" if first.rows is None else f"one is {first.kind}, the other {second.kind}"
            return Pair(before=first, after=second, unmatched=told)
        names = [[column.name for column in one.columns] for one in (first, second)]
        shared = _shared(*names)
        if not shared or any(len(set(some)) < len(some) for some in names if first.kind == "Parquet"):
            told = "two columns have one name" if shared else "no column is in both"
            return Pair(before=first, after=second, unmatched=told)
        if first.kind == "Parquet":
            _take_parquet(before, shared, old)
            _take_parquet(after, shared, new)
        elif suffixes <= set(LINES) and set(names[0]) != set(names[1]):
            return Pair(before=first, after=second, rows=_again(before, after, shared))
        return Pair(before=first, after=second, rows=row_change(old, new))


def _shared(names: Sequence[str], others: Sequence[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name in there]


def _again(before: Path, after: Path, shared: Sequence[str]) -> RowChange:
    with Rows() as old, Rows() as new:
        _text(before, shared, old)
        _text(after, shared, new)
        return row_change(old, new)


def _text(path: Path, shared: Sequence[str] | None, rows: Rows | None) -> Profile:
    """A table as text. Its rows are taken by the shared columns; of JSON lines, if those are not known, by all."""
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITED:
            return _delimited(path, DELIMITED[suffix], shared or (), rows)
        return _json_lines(path, shared, rows)
    except (csv.Error, ValueError, EOFError) as error:
        raise _not_as_named(error) from None


def _not_as_named(error: Exception) -> Unreadable:
    return Unreadable(f"it cannot be read as its name says: {error}")


# -- text --------------------------------------------------------------------------------------------------------


def _delimited(path: Path, delimiter: str, shared: Sequence[str], taken: Rows | None) -> Profile:
    header, rows = _header(_cells(path, delimiter))
    columns = [_Column(name) for name in header]
    pick = _picker(header, shared) if taken and shared else None
    count = 0
    for row in rows:
        count += 1
        if taken and pick:
            taken.take(pick(row))
        for column, cell in zip(columns, row, strict=False):
            column.take(cell)
        for column in columns[len(row) :]:
            column.empty += 1
    kind = "CSV" if path.suffix.lower() == ".csv" else "table"
    return Profile(kind=kind, rows=count, columns=tuple(column.told() for column in columns))


def _names(path: Path) -> list[str]:
    try:
        return _header(_cells(path, DELIMITED[path.suffix.lower()]))[0]
    except (csv.Error, ValueError) as error:
        raise _not_as_named(error) from None


def _picker(header: Sequence[str], names: Sequence[str]) -> Callable[[list[str]], Hashable]:
    """A function that takes the cells of these columns out of a row; those that a short one has not are empty."""
    places = [header.index(name) for name in names]
    pick, width = itemgetter(*places), max(places) + 1
    return lambda row: pick(row if len(row) >= width else row + [""] * (width - len(row)))


def _cells(path: Path, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(CELL)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if not delimiter:
            first = file.readline(1 << 16)
            delimiter = max(",;\t|", key=first.count)
            file.seek(0)
        yield from (row for row in csv.reader(file, delimiter=delimiter) if row)


def _header(rows: Iterator[list[str]]) -> tuple[list[str], Iterable[list[str]]]:
    """The names of the columns and the rows below; where the first row holds a number, it is a row."""
    first = next(rows, [])
    if any(_number(cell) is not None for cell in first):
        return [str(place) for place in range(1, len(first) + 1)], chain([first], rows)
    return first, rows


def _json_lines(path: Path, shared: Sequence[str] | None, taken: Rows | None) -> Profile:
    columns: dict[str, _Column] = {}
    wanted = None if shared is None else set(shared)
    count = 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            cells = [(name, _as_cell(value)) for name, value in _fields(json.loads(line)).items()]
            if taken:  # a field that is empty is as one that is not there
                taken.take(tuple(sorted(one for one in cells if one[1] and (wanted is None or one[0] in wanted))))
            for name, cell in cells:
                if name not in columns:
                    columns[name] = _Column(name)
                columns[name].take(cell)
            count += 1
    for column in columns.values():  # those that a line does not name are empty in it
        column.empty = count - column.count
    return Profile(kind="JSON lines", rows=count, columns=tuple(column.told() for column in columns.values()))


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else {"value": row}


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True) if not isinstance(value, bool) else str(value).lower()


class _Column:
    """What is learnt of a column, cell by cell."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.empty = self.numbers = 0
        self.kinds: set[str] = set()
        self.values: set[str] | None = set()
        self.least = self.most = ""
        self.low, self.high = math.inf, -math.inf
        self.mean = self.spread = 0.0

    def take(self, cell: str) -> None:
        if cell == "":
            self.empty += 1
            return
        self.count += 1
        if self.values is not None:
            self.values.add(cell)
            if len(self.values) > DISTINCT:
                self.values = None
        number = _number(cell)
        if number is None or not math.isfinite(number):
            self.kinds.add(_kind(cell) if number is None else "number")
            self.least = cell if not self.least or cell < self.least else self.least
            self.most = max(self.most, cell)
            return
        self.kinds.add("integer" if number == int(number) and _is_whole(cell) else "number")
        self.numbers += 1
        self.low, self.high = min(self.low, number), max(self.high, number)
        off = number - self.mean
        self.mean += off / self.numbers
        self.spread += off * (number - self.mean)

    def told(self) -> ColumnProfile:
        kind = self._type()
        numeric = kind in ("integer", "number") and self.numbers > 0
        return ColumnProfile(
            name=self.name,
            type=kind,
            empty=self.empty,
            distinct=len(self.values) if self.values is not None else None,
            smallest=_plain(self.low) if numeric else self.least[:LONGEST],
            largest=_plain(self.high) if numeric else self.most[:LONGEST],
            mean=self.mean if numeric else None,
            deviation=math.sqrt(max(0.0, self.spread) / self.numbers) if numeric else None,
        )

    def _type(self) -> str:
        if not self.count:
            return "empty"
        if self.kinds <= {"integer", "number"}:
            return "number" if "number" in self.kinds else "integer"
        return self.kinds.copy().pop() if len(self.kinds) == 1 else "text"


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdecimal()


def _kind(cell: str) -> str:
    if cell.lower() in ("true", "false"):
        return "boolean"
    if cell[:1].isdigit() and len(cell) >= 8:
        for read in (date.fromisoformat, datetime.fromisoformat):
            try:
                read(cell)
                return "date"
            except ValueError:
                continue
    return "text"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


# -- Parquet -----------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Profile:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        errors: Any = importlib.import_module("pyarrow").ArrowException
    except ImportError:
        raise Unreadable("to look into it needs pyarrow: pip install 'bis[formats]'") from None
    try:
        file = parquet.ParquetFile(path)
        meta, schema = file.metadata, file.schema_arrow
        groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    except (errors, OSError) as error:
        raise Unreadable(f"it is no Parquet file: {error}") from None
    places = (
        {meta.row_group(0).column(place).path_in_schema: place for place in range(meta.num_columns)} if groups else {}
    )
    columns = [
        _arrow_column(field, [group.column(places[field.name]).statistics for group in groups])
        if field.name in places
        else ColumnProfile(name=field.name, type=str(field.type))
        for field in schema
    ]
    return Profile(kind="Parquet", rows=meta.num_rows, columns=tuple(columns))


def _arrow_column(field: Any, statistics: list[Any]) -> ColumnProfile:
    """What the footer says of a column: no cell is read."""
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
    start = datetime(1970, 1, 1) if str(field.type).startswith("timestamp") else timedelta()
    low, high = (start + timedelta(microseconds=raw // 1000) for raw in (one.min_raw, one.max_raw))
    return low, high


def _take_parquet(path: Path, names: Sequence[str], taken: Rows) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        # By default it holds the bytes of all columns until it is done with the file.
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
        for batch in file.iter_batches(max(1, AT_ONCE // len(names)), columns=list(names), use_threads=False):
            for row in zip(*(_values(arrow, batch.column(name)) for name in names), strict=True):
                taken.take(row)
    except (arrow.ArrowException, OSError) as error:
        raise Unreadable(f"its rows cannot be read: {error}") from None


def _values(arrow: Any, column: Any) -> Iterable[Hashable]:
    """Values that are equal when their bits are: two NaN are the same, 0.0 and -0.0 are not."""
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if arrow.types.is_floating(column.type):
        column = column.cast(arrow.float64()).view(arrow.int64())
    elif arrow.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast(arrow.int64())  # Python has no such moments
    values: list[Any] = column.to_pylist()
    return map(repr, values) if arrow.types.is_nested(column.type) else values


def _told(value: Any) -> str:
    # The footer calls the smallest zero -0.0, whichever it was.
    return _plain(value + 0.0) if isinstance(value, float) and math.isfinite(value) else str(value)[:LONGEST]


# -- images ------------------------------------------------------------------------------------------------------

IMAGES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp")
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The marks of JPEG behind which the size stands."""
COLOURS: Final = {0: "grey", 2: "RGB", 3: "palette", 4: "grey, alpha", 6: "RGB, alpha"}


def _image(file: BinaryIO) -> dict[str, str]:
    """Size and colours, as the first bytes say."""
    head = file.read(32)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 26:
        width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        return {"format": "PNG", "size": f"{width} x {height}", "colours": COLOURS.get(head[25], str(head[25]))}
    if head.startswith((b"GIF87a", b"GIF89a")):
        return {"format": "GIF", "size": f"{_little(head[6:8])} x {_little(head[8:10])}"}
    if head.startswith(b"BM") and len(head) >= 26:
        height = abs(int.from_bytes(head[22:26], "little", signed=True))
        return {"format": "BMP", "size": f"{_little(head[18:22])} x {height}"}
    if head.startswith(b"\xff\xd8"):
        return {"format": "JPEG", **_jpeg(file)}
    raise Unreadable("it is no image that is known")


def _jpeg(file: BinaryIO) -> dict[str, str]:
    file.seek(2)
    while len(mark := file.read(4)) == 4 and mark[0] == 0xFF:
        if mark[1] in FRAMES and len(frame := file.read(6)) == 6:
            height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
            return {"size": f"{width} x {height}", "colours": {1: "grey", 3: "colour"}.get(frame[5], str(frame[5]))}
        file.seek(int.from_bytes(mark[2:4]) - 2, 1)
    raise Unreadable("it is no whole JPEG")


def _little(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
