"""What is in a file of data, in a few numbers: rows, columns, their types and statistics; of an image, its size.

All are read in bounded memory: CSV and JSON lines as streams; Parquet and Arrow, which need pyarrow, column by column,
and where there are very many cells in columns, their footers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from bis.formats import Unreadable, arrow_columns
from bis.formats.arrow_columns import CELLS
from bis.formats.delimited import SUFFIXES, Table, learn, learn_both, not_as_named
from bis.formats.json_lines import Fields, learn_both_fields, learn_fields, match_by
from bis.formats.parquet_rows import match_parquet
from bis.formats.rows import RowChange, Rows, row_change
from bis.formats.summary import ColumnProfile

LINES: Final = (".jsonl", ".ndjson")


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file."""

    kind: str
    rows: int | None = None
    columns: tuple[ColumnProfile, ...] = ()
    facts: dict[str, str] = {}
    """What is known beside columns: of an image, its size; of statistics that are not those of all cells, that."""


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two files."""

    before: Profile
    after: Profile
    rows: RowChange | None = None
    unmatched: str = ""
    """Why rows were not matched."""


def is_profiled(name: str) -> bool:
    """Whether a file of this name can be looked into."""
    return Path(name).suffix.lower() in (*SUFFIXES, *LINES, *arrow_columns.SUFFIXES, *IMAGES)


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
        return _columned(path)[0]
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
        elif suffixes <= set(arrow_columns.SUFFIXES):
            first, second = _columned(before, after)
        else:
            first, second = profile(before), profile(after)
        if first.kind != second.kind or first.rows is None:
            told = "" if first.rows is None else f"one is {first.kind}, the other {second.kind}"
            return Pair(before=first, after=second, unmatched=told)
        names = [[column.name for column in one.columns] for one in (first, second)]
        shared = _shared(*names)
        if not shared or any(len(set(some)) < len(some) for some in names if first.kind in ("Parquet", "Arrow")):
            told = "two columns have one name" if shared else "no column is in both"
            return Pair(before=first, after=second, unmatched=told)
        if first.kind == "Arrow":
            return Pair(before=first, after=second, unmatched="Arrow files are compared by their columns alone")
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


# -- columns -----------------------------------------------------------------------------------------------------


def _columned(*paths: Path) -> tuple[Profile, ...]:
    """Files of columns. Their cells are read where those of each are few enough: what is told can be compared then."""
    with ExitStack() as stack:
        files = [stack.enter_context(arrow_columns.opened(path)) for path in paths]
        whole = all(map(arrow_columns.is_small, files))
        facts = {} if whole else {"statistics": f"of the footer alone, as there are more than {CELLS:,} cells"}
        return tuple(
            Profile(kind=file.kind, rows=file.rows, columns=arrow_columns.columns_of(file, whole=whole), facts=facts)
            for file in files
        )


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
