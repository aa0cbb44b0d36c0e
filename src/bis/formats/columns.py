"""Columns: Parquet and Arrow files, column by column. Needs pyarrow; without it, bytes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bis.formats import Context, Unreadable
from bis.formats.documents import read_json
from bis.formats.tally import Tally, plural, shown
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

SLICE = 1 << 14
TOLD = 5


class Columnar:
    """Compared by schema and values, bit by bit. Set aside: who wrote it, row groups, pages, encodings."""

    def __init__(self, name: str, magic: bytes) -> None:
        self.name = name
        self.magic = magic

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(self.magic)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        try:
            arrow: Any = importlib.import_module("pyarrow")
            importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow.feather")
        except ImportError:
            raise Unreadable("by meaning it needs pyarrow, which comes with the extra 'formats' of bis") from None
        tally = Tally(context)
        walk = Walk(context, tally)
        old, new = (_Table(arrow, path, self.magic) for path in (before, after))
        self._schemas(old, new, walk)
        if old.rows != new.rows:
            tally.differ("", f"{old.rows:,} -> {plural(new.rows, 'row')}")
        elif not tally.count:
            for name in old.schema.names:
                _columns(arrow, name, old.column(name), new.column(name), walk)
        if old.writer != new.writer:
            tally.set_aside("writer", old.writer, new.writer)
        return tally.settle(
            self.name, f"the same schema and values in {plural(len(old.schema.names), 'column')}", "value"
        )

    def _schemas(self, old: _Table, new: _Table, walk: Walk) -> None:
        for field in old.schema:
            if field.name not in new.schema.names:
                walk.tally.differ(f"column {shown(field.name)}", "only in the first")
            elif not (other := new.schema.field(field.name)).equals(field, check_metadata=True):
                walk.tally.differ(f"column {shown(field.name)}", f"type {_field(field)} -> {_field(other)}")
        for name in new.schema.names:
            if name not in old.schema.names:
                walk.tally.differ(f"column {shown(name)}", "only in the second")
        if old.schema.names != new.schema.names and not walk.tally.count:
            walk.tally.differ("", "the same columns in another order")
        walk.compare(_metadata(old.schema), _metadata(new.schema), "metadata")


class _Table:
    """One file: its schema, and its columns one at a time."""

    def __init__(self, arrow: Any, path: Path, magic: bytes) -> None:
        self.writer = ""
        if magic == b"PAR1":
            self.file = arrow.parquet.ParquetFile(path)
            self.schema, self.rows = self.file.schema_arrow, self.file.metadata.num_rows
            self.writer = str(self.file.metadata.created_by)
            self.table = None
        else:
            self.table = arrow.feather.read_table(path, memory_map=True)
            self.schema, self.rows = self.table.schema, self.table.num_rows
        if len(set(self.schema.names)) != len(self.schema.names):
            raise Unreadable("two columns have one name")

    def column(self, name: str) -> Any:
        table = self.file.read(columns=[name]) if self.table is None else self.table
        return table.column(name)


def _field(field: Any) -> str:
    notes = f", notes {dict(field.metadata)}" if field.metadata else ""
    return f"{field.type}{'' if field.nullable else ' not null'}{notes}"


def _metadata(schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in (schema.metadata or {}).items():
        text = value.decode("utf-8", "surrogateescape")
        try:
            found[key.decode("utf-8", "surrogateescape")] = read_json(text.encode()) if text[:1] == "{" else text
        except (Unreadable, UnicodeError):
            found[key.decode("utf-8", "surrogateescape")] = text
    found.pop("ARROW:schema", None)
    return found


def _columns(arrow: Any, name: str, old: Any, new: Any, walk: Walk) -> None:
    """Slice by slice, so that only the slices that differ become Python objects."""
    if arrow.types.is_dictionary(old.type):
        walk.compare(_categories(old), _categories(new), f"column {shown(name)}, categories")
    told, nested = 0, arrow.types.is_nested(old.type)
    for start in range(0, len(old), SLICE):
        one, other = _bits(arrow, old.slice(start, SLICE)), _bits(arrow, new.slice(start, SLICE))
        if one.equals(other) and not (nested and "float" in _leaf_types(old.type)):
            continue
        values, others = (_values(arrow, column.slice(start, SLICE)) for column in (old, new))
        for row, (value, further) in enumerate(zip(values, others, strict=True), start):
            if repr(value) != repr(further):
                told += 1
                _cell(walk, name, row, value, further)
        if not told and not nested:
            walk.tally.differ(f"column {shown(name)}", "values differ in bits that are not shown")
            return


def _categories(column: Any) -> list[Any]:
    """The values of a categorical column in the order of their codes, those that no row has among them."""
    chunks = column.unify_dictionaries().chunks
    return [repr(value) for value in chunks[0].dictionary.to_pylist()] if chunks else []


def _leaf_types(kind: Any) -> str:
    """The types below a type of lists and records, as text: Arrow's own comparison takes 0.0 for -0.0 in them."""
    return str(kind).replace("double", "float")


def _values(arrow: Any, column: Any) -> list[Any]:
    """Python objects; moments of nanoseconds, which Python has none for, as their number."""
    if arrow.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast(arrow.int64())
    return list(column.to_pylist())


def _cell(walk: Walk, name: str, row: int, value: Any, other: Any) -> None:
    if isinstance(value, str) and isinstance(other, str):
        walk.compare_leaf(value, other, f"row {row:,}", name)
    elif isinstance(value, (str, int, float, bool, type(None), bytes, list, dict)):
        walk.compare(value, other, f"row {row:,}.{name}")
    elif walk.masks.plausible(str(value), "time", 0) and walk.masks.plausible(str(other), "time", 1):
        walk.tally.differ(f"row {row:,}.{name}", f"{shown(value)} -> {shown(other)}", "clock")
    else:
        walk.tally.differ(f"row {row:,}.{name}", f"{shown(value)} -> {shown(other)}")


def _bits(arrow: Any, column: Any) -> Any:
    """A column in which equal bits are equal: two NaN are the same, 0.0 and -0.0 are not."""
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if hasattr(column, "num_chunks"):
        column = column.chunk(0) if column.num_chunks else arrow.array([], column.type)
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    views = {arrow.float64(): arrow.int64(), arrow.float32(): arrow.int32(), arrow.float16(): arrow.int16()}
    return column.view(views[column.type]) if column.type in views else column
