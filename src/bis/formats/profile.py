"""What is in a file of data, in a few numbers: rows, columns, their types and statistics; of an image, its size.

CSV and JSON lines are read as streams, in bounded memory. Parquet needs pyarrow, and of one file only its footer is
read.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from bis.formats import Unreadable
from bis.formats.delimited import SUFFIXES, Table, learn, learn_both, not_as_named
from bis.formats.json_lines import Fields, learn_both_fields, learn_fields, match_by
from bis.formats.parquet_rows import match_parquet
from bis.formats.rows import RowChange, Rows, row_change
from bis.formats.summary import LONGEST, ColumnProfile, plain

LINES: Final = (".jsonl", ".ndjson")


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
    return Path(name).suffix.lower() in (*SUFFIXES, *LINES, ".parquet", ".pq", *IMAGES)


def profile(path: Path) -> Profile:
    """Raises Unreadable, with the reason, for a file that is not what its name says."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        table = Table(path)
        learn(table)
        return _table(table)
    if suffix in LINES:
        fields = Fields(path)
        learn_fields(fields)
        return _fields(fields)
    try:
        if suffix in IMAGES:
            with path.open("rb") as file:
                return Profile(kind="image", facts=_image(file))
        return _parquet(path)
    except (ValueError, EOFError) as error:
        raise not_as_named(error) from None


def profile_both(before: Path, after: Path) -> Pair:
    """As `profile`, of two files; of two tables of one kind also the rows that differ in the columns that both have,
    wherever they stand. Text is read once, JSON lines a second time where one has a field that the other has not."""
    suffixes = {path.suffix.lower() for path in (before, after)}
    with Rows() as old, Rows() as new:
        if suffixes <= set(SUFFIXES):
            tables = Table(before), Table(after)
            learn_both(*tables, _shared(*(table.names for table in tables)), old, new)
            first, second = map(_table, tables)
        elif suffixes <= set(LINES):
            fields = Fields(before), Fields(after)
            learn_both_fields(*fields, old, new)
            first, second = map(_fields, fields)
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
            match_parquet(before, after, shared, old, new)
        elif suffixes <= set(LINES) and set(names[0]) != set(names[1]):
            return Pair(before=first, after=second, rows=_again(before, after, shared))
        return Pair(before=first, after=second, rows=row_change(old, new))


def _shared(names: Sequence[str], others: Sequence[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name in there]


def _again(before: Path, after: Path, shared: Sequence[str]) -> RowChange:
    with Rows() as old, Rows() as new:
        match_by(before, shared, old)
        match_by(after, shared, new)
        return row_change(old, new)


def _table(table: Table) -> Profile:
    kind = "CSV" if table.path.suffix.lower() == ".csv" else "table"
    return Profile(kind=kind, rows=table.count, columns=table.told())


def _fields(fields: Fields) -> Profile:
    return Profile(kind="JSON lines", rows=fields.count, columns=fields.told())


# -- Parquet -----------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Profile:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        errors: Any = importlib.import_module("pyarrow").ArrowException
    except ImportError:
        raise Unreadable("to look into it needs pyarrow, which comes with the extra 'formats' of bis") from None
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


def _told(value: Any) -> str:
    # The footer calls the smallest zero -0.0, whichever it was.
    return plain(value + 0.0) if isinstance(value, float) and math.isfinite(value) else str(value)[:LONGEST]


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
