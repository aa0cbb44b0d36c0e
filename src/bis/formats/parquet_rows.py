"""Rows of two Parquet files: those that one has and the other has not. Needs pyarrow."""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from bis.formats import Unreadable
from bis.formats.meeting import Meeting
from bis.formats.rows import Rows

AT_ONCE: Final = 1 << 14
"""Cells of a file that are in memory together."""
BUFFER: Final = 1 << 20
"""Bytes of each of its columns."""
LARGE: Final = 1 << 20
"""Bytes of them."""
BETWEEN: Final = b"\x1f"
"""Stands between cells that are put together."""
NULL: Final = b"\x1e"
"""Stands for one that is not there."""


def match_parquet(before: Path, after: Path, names: Sequence[str], old: Rows, new: Rows) -> None:
    """Put the rows that may be in one of them alone into `old` and `new`, by the cells of these columns."""
    arrow: Any = importlib.import_module("pyarrow")
    importlib.import_module("pyarrow.compute")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    met, sides = Meeting(), (old, new)
    try:
        # By default it holds the bytes of all columns until it is done with the file.
        files = [parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) for path in (before, after)]
        first, second = ([file.schema_arrow.field(name).type for name in names] for file in files)
        pairs = zip_longest(*(_batches(file, names) for file in files))
        for batches in pairs:
            for side, columns in enumerate(batches):
                if columns is None:
                    continue
                lines, rows = _joined(arrow, columns) if first == second else ([], _tuples(arrow, columns))
                met.meet(side, lines)
                sides[side].take_all(map(hash, met.left(side)))
                sides[side].take_all(map(hash, rows))
    except (arrow.ArrowException, OSError) as error:
        raise Unreadable(f"its rows cannot be read: {error}") from None
    for side, rows_of in enumerate(sides):
        rows_of.take_all(map(hash, met.rest(side)))


def _batches(file: Any, names: Sequence[str]) -> Iterator[list[Any]]:
    for batch in file.iter_batches(max(1, AT_ONCE // len(names)), columns=list(names), use_threads=False):
        step = max(1, len(batch) * LARGE // max(LARGE, batch.nbytes))
        for start in range(0, len(batch), step):
            yield [batch.column(name).slice(start, step) for name in names]


def _joined(arrow: Any, columns: Sequence[Any]) -> tuple[list[bytes], Iterable[Hashable]]:
    """Each row as one text that no other row of these types has; and those of which there is none, as they are."""
    try:
        texts = [_texts(arrow, column) for column in columns]
    except (arrow.ArrowException, UnicodeError):
        return [], _tuples(arrow, columns)
    compute = arrow.compute
    joined = compute.binary_join_element_wise(*texts, BETWEEN, null_handling="replace", null_replacement=NULL)
    nulls = sum(column.null_count for column in texts)
    if _count(compute, joined, BETWEEN) == len(joined) * (len(texts) - 1) and _count(compute, joined, NULL) == nulls:
        return joined.to_pylist(), ()
    lines, rows = [], []
    flags = zip(*(column.is_null().to_pylist() for column in texts), strict=True)
    for line, row, empty in zip(joined.to_pylist(), _tuples(arrow, columns), flags, strict=True):
        if line.count(BETWEEN) == len(texts) - 1 and line.count(NULL) == sum(empty):
            lines.append(line)
        else:
            rows.append(row)
    return lines, rows


def _count(compute: Any, joined: Any, what: bytes) -> int:
    return compute.sum(compute.count_substring(joined, what)).as_py() or 0


def _texts(arrow: Any, column: Any) -> Any:
    """Cells as bytes, which are equal when the bits of their values are: two NaN are the same, 0.0 and -0.0 are not."""
    column = _bits(arrow, column)
    if arrow.types.is_nested(column.type):
        nulls = column.is_null()
        column = arrow.array(list(map(repr, column.to_pylist())), "string")
        column = arrow.compute.if_else(nulls, None, column)
    elif arrow.types.is_temporal(column.type):
        column = column.cast("int32" if column.type.bit_width == 32 else "int64")
    kinds = arrow.types
    if not (kinds.is_binary(column.type) or kinds.is_large_binary(column.type) or kinds.is_string(column.type)):
        column = column.cast("string")
    return column.cast("binary")


def _tuples(arrow: Any, columns: Sequence[Any]) -> Iterable[Hashable]:
    return zip(*(_values(arrow, column) for column in columns), strict=True)


def _values(arrow: Any, column: Any) -> Iterable[Hashable]:
    """The same as Python's values."""
    column = _bits(arrow, column)
    if arrow.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
        column = column.cast("int64")  # Python has no such moments
    values: list[Any] = column.to_pylist()
    return map(repr, values) if arrow.types.is_nested(column.type) else values


def _bits(arrow: Any, column: Any) -> Any:
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast("float64").view("int64") if arrow.types.is_floating(column.type) else column
