"""What is in a file of data, in a few numbers: rows, columns, their types and statistics; of an image, its size.

CSV and JSON lines are read as streams by the standard library, in bounded memory. Parquet needs pyarrow, and only its
footer is read.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from bis.formats import Unreadable

CELL: Final = 16 << 20
DISTINCT: Final = 1000
"""Up to so many different values of a column are counted."""
ROWS: Final = 500_000
"""Up to so many rows are matched one by one between two files."""
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


class RowChange(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that one file has and the other has not; one that was edited counts on both sides."""

    added: int
    removed: int


def is_profiled(name: str) -> bool:
    """Whether a file of this name can be looked into."""
    return Path(name).suffix.lower() in (*DELIMITED, *LINES, ".parquet", ".pq", *IMAGES)


def profile(path: Path) -> Profile:
    """Raises Unreadable, with the reason, for a file that is not what its name says."""
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITED:
            return _delimited(path, DELIMITED[suffix])
        if suffix in LINES:
            return _json_lines(path)
        if suffix in IMAGES:
            with path.open("rb") as file:
                return Profile(kind="image", facts=_image(file))
        return _parquet(path)
    except (csv.Error, ValueError, EOFError) as error:
        raise Unreadable(f"it cannot be read as its name says: {error}") from None


def row_change(before: Path, after: Path, shared: Sequence[str]) -> RowChange | None:
    """The rows that differ in the columns that both have, wherever they stand; None where there are too many, or no
    column is shared."""
    counts: Counter[int] = Counter()
    for path, step in ((before, -1), (after, 1)):
        for number, row in enumerate(_rows_of(path, shared) if shared else ()):
            if number >= ROWS:
                return None
            counts[hash(row)] += step
    if not shared:
        return None
    return RowChange(added=sum(n for n in counts.values() if n > 0), removed=-sum(n for n in counts.values() if n < 0))


def _rows_of(path: Path, shared: Sequence[str]) -> Iterator[object]:
    suffix = path.suffix.lower()
    if suffix in LINES:
        with path.open("rb") as file:
            for line in filter(bytes.strip, file):
                row = _fields(json.loads(line))
                yield tuple(_as_cell(row.get(name)) for name in shared)
    elif suffix in DELIMITED:
        header, rows = _header(_cells(path, DELIMITED[suffix]))
        places = [header.index(name) for name in shared]
        for cells in rows:
            yield tuple(cells[place] if place < len(cells) else "" for place in places)


# -- text --------------------------------------------------------------------------------------------------------


def _delimited(path: Path, delimiter: str) -> Profile:
    header, rows = _header(_cells(path, delimiter))
    columns = [_Column(name) for name in header]
    count = 0
    for row in rows:
        count += 1
        for column, cell in zip(columns, row, strict=False):
            column.take(cell)
        for column in columns[len(row) :]:
            column.empty += 1
    kind = "CSV" if path.suffix.lower() == ".csv" else "table"
    return Profile(kind=kind, rows=count, columns=tuple(column.told() for column in columns))


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


def _json_lines(path: Path) -> Profile:
    columns: dict[str, _Column] = {}
    count = 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            for name, value in _fields(json.loads(line)).items():
                if name not in columns:
                    columns[name] = _Column(name)
                columns[name].take(_as_cell(value))
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
        smallest=_told(min(one.min for one in ranged)) if whole else "",
        largest=_told(max(one.max for one in ranged)) if whole else "",
    )


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
