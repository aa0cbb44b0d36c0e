"""Rows that came as text, as columns: numbers of one table in one block, without a look at each of them by Python."""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from ..flavors.signature import Column, Signature
from ..flavors.values import Array, Batch, Columns, Tensors
from . import Wrong

NUMBERS = frozenset((int, float))
EXACT = 2.0**53
"""Whole numbers below are exact among numbers with a fraction."""
CELLS = 1 << 25
"""Values of a Parquet file that comes as a request."""
UNPACKED = 512 << 20
"""Bytes of it, unpacked."""
UNFIT = "INVALID_PARAMETER_VALUE"
WIDTHS: dict[str, np.dtype[Any]] = {
    "double": np.dtype("f8"),
    "float": np.dtype("f4"),
    **{f"{sign}int{width * 8}": np.dtype(f"{sign or 'i'}{width}") for sign in ("", "u") for width in (1, 2, 4, 8)},
}
"""Types of Arrow whose memory is that of an array of NumPy."""
MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "<NA>", "#N/A"))
"""Cells of a CSV file that hold nothing, as pandas has it."""


def columns_of_rows(names: Sequence[Any], rows: Any) -> Columns:
    """A table from its rows. Raises Wrong for rows that are no table."""
    titles = tuple(map(str, names))
    if not isinstance(rows, list):
        raise Wrong("the rows are to be a list of lists, one for each row")
    if (block := _block(rows)) is not None and block.shape[1] == len(titles):
        return Columns(titles, block)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(titles):
            found = f"{len(row)} values" if isinstance(row, list) else "something that is no list"
            raise Wrong(f"row {place + 1} is to hold {len(titles)} values, one for each column, and is {found}")
    arrays = tuple(map(column_of, zip(*rows))) if rows else tuple(np.empty(0) for _ in titles)
    return Columns(titles, None, arrays)


def columns_of_records(records: Any) -> Columns:
    """A table from a list of objects, one for each row. What a row does not have is a gap. Raises Wrong."""
    if not isinstance(records, list) or not all(map(_is_object, records)):
        raise Wrong("the rows are to be a list of objects, one for each row, with a value for each column")
    if not records:
        return Columns((), None, ())
    names = tuple(records[0])
    if len(names) > 1:
        try:
            rows = list(map(itemgetter(*names), records))
        except KeyError:
            rows = []
        if sum(map(len, records)) == len(rows) * len(names) and (block := _block(rows)) is not None:
            return Columns(names, block)
    all_names = tuple(dict.fromkeys(name for record in records for name in record))
    return Columns(all_names, None, tuple(column_of([row.get(name) for row in records]) for name in all_names))


def columns_of_lists(lists: Mapping[str, Any]) -> Batch:
    """A table, or tensors, from an object that has a list for each name. Raises Wrong."""
    arrays = {
        name: column_of(values) if isinstance(values, list) else column_of([values]) for name, values in lists.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} of {size}" for name, size in lengths.items())
        raise Wrong(f"the columns are of several lengths: {told}", code="INVALID_PARAMETER_VALUE")
    if all(array.ndim == 1 for array in arrays.values()):
        return Columns(tuple(arrays), None, tuple(arrays.values()))
    return Tensors(arrays)


def column_of(values: Sequence[Any]) -> Array:
    """Values of one column by their types: numbers as numbers, all else as what it is."""
    kinds = set(map(type, values))
    if kinds <= {int, float} or kinds == {bool}:
        if kinds == {int, float} and any(abs(value) >= EXACT for value in values if type(value) is int):
            return _objects(values)
        array = np.array(values)
        return array if array.dtype.kind in "fiub" else _objects(values)
    if kinds == {list}:
        try:
            array = _nested(values)
        except ValueError:  # of several lengths
            return _objects(values)
        if array.dtype.kind in "fiub":
            return array
    return _objects(values)


def tensor_of(values: Any) -> Array:
    """A nested list as an array. Raises Wrong for one whose rows are of several lengths."""
    try:
        array = _nested(values)
    except (ValueError, OverflowError, RecursionError):
        raise Wrong("the rows of the tensor are of several lengths or depths") from None
    if array.dtype == object and any(type(value) is list for value in array.flat):
        raise Wrong("the rows of the tensor are of several lengths or depths")
    return array


def with_types(signature: Signature, batch: Batch) -> Batch:
    """Columns that JSON and CSV can only hold as text, as what they are: bytes, which come in base 64."""
    wanted = [one.name for one in signature.inputs if isinstance(one, Column) and one.type == "binary"]
    if not wanted or not isinstance(batch, Columns) or batch.block is not None:
        return batch
    arrays = [_bytes(array, name) if name in wanted else array for name, array in zip(batch.names, batch.arrays)]
    return Columns(batch.names, None, tuple(arrays))


def columns_of_csv(body: bytes, signature: Signature) -> Columns:
    """A table with a line of names above it. Types are those of the signature; where there is none, what all cells of a
    column can be read as. Raises Wrong."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Wrong("the CSV is not in UTF-8") from None
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error:
        raise Wrong("the CSV cannot be read: a quote is not closed, or a cell is too long") from None
    if not lines:
        raise Wrong("the CSV is empty: its first line names the columns")
    names = tuple(lines[0])
    for place, row in enumerate(lines[1:], 2):
        if len(row) != len(names):
            raise Wrong(f"line {place} of the CSV has {len(row)} cells, and the first names {len(names)} columns")
    types = {one.name: one.type for one in signature.inputs if isinstance(one, Column)}
    cells = zip(*lines[1:]) if len(lines) > 1 else ([] for _ in names)
    arrays = tuple(of_cells(list(values), types.get(name), name) for name, values in zip(names, cells))
    return Columns(names, None, arrays)


def columns_of_parquet(body: bytes) -> Columns:
    """Raises Wrong, also where this environment cannot read it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Wrong(
            "Parquet needs pyarrow, which is not in the environment of this model", 415, "UNSUPPORTED_MEDIA_TYPE"
        ) from None
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(body), read_dictionary=_texts_in(body))
        _demand_small(file.metadata, body)
        table = file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError, ValueError):
        raise Wrong("the body is no Parquet file, or is damaged") from None
    return columns_of_arrow(table)


def _texts_in(body: bytes) -> list[str]:
    """Columns of text: read by their dictionary, in which a text that is said a million times lies once."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(io.BytesIO(body))
    return [field.name for field in schema if str(field.type) in ("string", "large_string", "binary", "large_binary")]


def _demand_small(metadata: Any, body: bytes) -> None:
    """A small body may say a great deal: a value that is said often lies in it once. Raises Wrong."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    counts = [sum(one.column(place).num_values for one in groups) for place in range(metadata.num_columns)]
    size = sum(one.total_byte_size for one in groups)
    columns = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    fixed = sum(count * max(0, one.length or 0) for count, one in zip(counts, columns))
    if (
        max(sum(counts), metadata.num_rows) > CELLS
        or size + fixed > UNPACKED
        or _texts_within(columns, body) > UNPACKED
    ):
        raise Wrong(
            f"the Parquet file unpacks to more than {CELLS:,} values or {UNPACKED >> 20} MiB: ask in several requests,"
            " or score it with bis predict",
            413,
            UNFIT,
        )


def _texts_within(columns: Sequence[Any], body: bytes) -> int:
    """Bytes of the texts in lists and the like, each as often as it is said: no dictionary of them is kept."""
    import pyarrow.parquet

    paths = [one.path for one in columns if "." in one.path and one.physical_type == "BYTE_ARRAY"]
    if not paths:
        return 0
    file = pyarrow.parquet.ParquetFile(io.BytesIO(body), read_dictionary=paths)
    groups = (file.read_row_group(place, paths, use_threads=False) for place in range(file.num_row_groups))
    return sum(_said(chunk) for group in groups for column in group.columns for chunk in column.chunks)


def _said(array: Any) -> int:
    import pyarrow.compute

    if pyarrow.types.is_dictionary(array.type):
        lengths = np.asarray(pyarrow.compute.binary_length(array.dictionary).fill_null(0), dtype=np.int64)
        return int(lengths[np.asarray(array.indices.drop_null())].sum())
    if pyarrow.types.is_struct(array.type):
        return sum(map(_said, array.flatten()))
    return _said(array.flatten()) if pyarrow.types.is_nested(array.type) else int(array.nbytes)


def columns_of_arrow(table: Any) -> Columns:
    """Of a table or a batch of Arrow. Columns of one type of numbers without gaps lie in one block."""
    names = tuple(name for name in table.column_names if not name.startswith("__index_level_"))
    arrays = tuple(_of_arrow(table.column(name)) for name in names)
    if len({array.dtype for array in arrays}) == 1 and arrays[0].dtype.kind in "fiu":
        return Columns(names, np.stack(arrays, axis=1))
    return Columns(names, None, arrays)


# -- within ------------------------------------------------------------------------------------------------------


def _block(rows: Any) -> Array | None:
    """All at once; None where they are no numbers, or some of them might not stay what they are. Their types are asked
    before: among texts, NumPy gives each the room of the longest."""
    try:
        if not NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
            return None
        block = np.array(rows)
    except (TypeError, ValueError, OverflowError):
        return None
    if block.ndim != 2 or block.dtype.kind not in "fi":
        return None
    if block.dtype.kind == "f" and block.size and max(block.max(), -block.min()) >= EXACT:
        return None
    return block


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _nested(values: Any) -> Array:
    """Numbers as numbers, truth values as such, all else as objects. Raises ValueError for several lengths among
    numbers."""
    kinds = _kinds((values,))
    if kinds <= NUMBERS or kinds == {bool}:
        array = np.array(values)
        if array.dtype.kind in "fiub":
            return array
    return np.array(values, dtype=object)


def _kinds(values: Iterable[Any]) -> set[type]:
    """Of all that is in lists, and in lists of those."""
    found, inner = set(), [values]
    while inner:
        kinds = set(map(type, one := inner.pop()))
        if list in kinds:
            inner += [part for part in one if type(part) is list]
            kinds.discard(list)
        found |= kinds
    return found


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values if not isinstance(values, tuple) else list(values)
    return array


def _bytes(array: Array, name: str) -> Array:
    try:
        return _objects([base64.b64decode(v, validate=True) if isinstance(v, str) else v for v in array.tolist()])
    except (binascii.Error, ValueError):
        raise Wrong(f"the column {name!r} is to be bytes in base 64, and is not") from None


def of_cells(cells: list[str], type: Any, name: str) -> Array:
    """A column from cells of CSV, by its type; without one, as what all of them can be read. Raises Wrong."""
    if type in ("string", "binary"):
        return _objects([None if cell in MISSING else cell for cell in cells])
    if type == "datetime":
        return _objects([None if cell in MISSING else cell for cell in cells])
    if type == "boolean":
        return _truth(cells, name)
    if type is None:
        return _guessed(cells)
    try:
        return _numbers(cells)
    except (ValueError, OverflowError):
        raise Wrong(f"the column {name!r} is to be of the type {type}, and holds text") from None


def _numbers(cells: list[str]) -> Array:
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array([np.nan if cell in MISSING else float(cell) for cell in cells])


def _truth(cells: list[str], name: str) -> Array:
    words = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
    if any(cell not in words for cell in cells):
        raise Wrong(f"the column {name!r} is to be of the type boolean, and holds other words than true and false")
    return np.array([words[cell] for cell in cells], dtype=bool)


def _guessed(cells: list[str]) -> Array:
    try:
        return _numbers(cells)
    except (ValueError, OverflowError):
        pass
    if cells and all(cell in ("true", "false", "True", "False") for cell in cells):
        return np.array([cell in ("true", "True") for cell in cells], dtype=bool)
    return _objects([None if cell in MISSING else cell for cell in cells])


def _of_dictionary(chunk: Any) -> Array:
    """Each value once, however often it is said."""
    values = _objects([*chunk.dictionary.to_pylist(), None])
    found: Array = values[np.asarray(chunk.indices.fill_null(-1))]
    return found


def _of_arrow(column: Any) -> Array:
    kind = str(column.type)
    if kind.startswith("dictionary<"):
        return np.concatenate([_of_dictionary(chunk) for chunk in column.chunks] or [_objects([])])
    if kind.startswith("timestamp"):
        return np.asarray(column.to_numpy(), dtype="datetime64[ns]")
    if kind in WIDTHS and (kind in ("float", "double") or column.null_count == 0):
        return numbers_of(column)
    if kind == "halffloat" or (column.null_count == 0 and kind == "bool"):
        return np.asarray(column.to_numpy())
    return _objects(column.to_pylist())


def numbers_of(column: Any) -> Array:
    """Of a column of Arrow, which is of one of these types; a gap among numbers with a fraction is NaN. Arrow's own way
    imports pandas, which takes longer than a million rows."""
    pieces = [_numbers_in(chunk) for chunk in column.chunks]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, WIDTHS[str(column.type)]), *pieces])


def _numbers_in(chunk: Any) -> Array:
    if chunk.null_count:
        chunk = chunk.fill_null(float("nan"))
    dtype = WIDTHS[str(chunk.type)]
    buffer = chunk.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(chunk), chunk.offset * dtype.itemsize)
