"""Predictions as files. While it is at it there are parts, each of some batches, in a folder of its own; at the end
they become the output, which is there whole or not at all. Where parts begin shows nowhere in it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...flavors.values import Array
from ..written import plain
from . import Stop
from .kinds import ARROW_KINDS, in_the_way
from .reading import arrow

Series = Sequence["tuple[str, Any]"]
"""Columns of a part of the output: arrays of NumPy or Arrow, or lists."""
GROUP = 100_000
"""Rows of a group of a Parquet file."""
IN_FILE = 1_000_000
"""Rows of each file, where a folder is written."""
STRING = json.encoder.encode_basestring


class Part(Protocol):
    """A file that is being written."""

    def add(self, series: Series, rows: int) -> None: ...
    def close(self) -> None: ...


def part(path: Path, kind: str) -> Part:
    return ArrowPart(path) if kind in ARROW_KINDS else TextPart(path, kind)


class TextPart:
    def __init__(self, path: Path, kind: str) -> None:
        self._file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._write = _csv_rows if kind == "csv" else _json_rows

    def add(self, series: Series, rows: int) -> None:
        self._write(self._file, series)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class ArrowPart:
    """Batches of Arrow, which are cheap to write and to read."""

    def __init__(self, path: Path) -> None:
        self._arrow = arrow()
        self._path = path
        self._schema_path = path.parent / "schema"
        self._file = path.open("wb")
        self._writer: Any = None

    def add(self, series: Series, rows: int) -> None:
        schema = self._schema(series)
        arrays = [_as_arrow(name, values, schema.field(place).type) for place, (name, values) in enumerate(series)]
        batch = self._arrow.RecordBatch.from_arrays(arrays, schema=schema)
        if self._writer is None:
            self._writer = self._arrow.ipc.new_stream(self._file, schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _schema(self, series: Series) -> Any:
        """Of the first batch that there was, as long as that is remembered."""
        if self._schema_path.exists():
            return self._arrow.ipc.read_schema(self._arrow.py_buffer(self._schema_path.read_bytes()))
        types = [(name, _type_of(values)) for name, values in series]
        schema = self._arrow.schema(types)
        draft = self._schema_path.with_name("schema.new")
        draft.write_bytes(schema.serialize().to_pybytes())
        draft.replace(self._schema_path)
        return schema


def _type_of(values: Any) -> Any:
    import pyarrow

    if isinstance(values, (pyarrow.Array, pyarrow.ChunkedArray)):
        return values.type.value_type if pyarrow.types.is_dictionary(values.type) else values.type
    try:
        found = pyarrow.array(_plain_list(values)).type if _is_objects(values) else pyarrow.array(values).type
    except (pyarrow.ArrowException, TypeError, ValueError):
        return pyarrow.string()
    return pyarrow.string() if pyarrow.types.is_null(found) else found


def _as_arrow(name: str, values: Any, type: Any) -> Any:
    import pyarrow

    try:
        if isinstance(values, pyarrow.ChunkedArray):
            values = values.combine_chunks()
        if isinstance(values, pyarrow.Array):
            return values if values.type == type else values.cast(type)
        if not _is_objects(values):
            found = pyarrow.array(values)
            return found if found.type == type else found.cast(type)
        given = _plain_list(values)
        if pyarrow.types.is_string(type):
            given = [one if one is None or isinstance(one, str) else json.dumps(plain(one)) for one in given]
        return pyarrow.array(given, type=type)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        raise Stop(
            f"the column {name!r} of the output was {type} in its first rows, and holds something else later",
            hint="write JSON lines, where each row has its own types: --format jsonl",
        ) from None


def _is_objects(values: Any) -> bool:
    return not isinstance(values, np.ndarray) or values.dtype == object or values.ndim != 1


def _plain_list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


# -- text --------------------------------------------------------------------------------------------------------


def _csv_rows(file: Any, series: Series) -> None:
    if len(series) == 1 and isinstance(series[0][1], np.ndarray) and series[0][1].dtype.kind in "iu":
        file.write(_lines_of_numbers(series[0][1]))
        return
    csv.writer(file, lineterminator="\n").writerows(zip(*(_cells(values) for _, values in series)))


def _lines_of_numbers(values: Array) -> str:
    """Whole numbers, one in each line. Classes are mostly of one digit, which need not be made text one by one."""
    if len(values) and values.ndim == 1 and values.min() >= 0 and values.max() <= 9:
        lines = np.full((len(values), 2), ord("\n"), np.uint8)
        lines[:, 0] = values + ord("0")
        return lines.tobytes().decode("ascii")
    return "\n".join(map(str, values.tolist())) + "\n"


def _cells(values: Any) -> list[Any]:
    """As a CSV file has them: gaps are empty, what has several values is JSON."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf":
        found = values.tolist()
        if values.dtype.kind == "f" and np.isnan(values).any():
            return ["" if value != value else value for value in found]
        return list(found)
    return [_cell(value) for value in _values(values)]


def _cell(value: Any) -> Any:
    if value is None or value != value:
        return ""
    if isinstance(value, (str, int, float)):
        return value
    found = plain(value)
    return found if isinstance(found, (str, int, float)) else json.dumps(found, ensure_ascii=False)


def _values(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "M":
            return list(plain(values))
        return list(values.tolist())
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values)


def _json_rows(file: Any, series: Series) -> None:
    keys = [STRING(name) for name, _ in series]
    pattern = "{" + ", ".join(f"{key.replace('%', '%%')}: %s" for key in keys) + "}\n"
    file.writelines(pattern % row for row in zip(*(_json_texts(values) for _, values in series)))


def _json_texts(values: Any) -> list[str]:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
        return ["null" if value != value or value in (np.inf, -np.inf) else repr(value) for value in values.tolist()]
    return [
        STRING(value) if type(value) is str else json.dumps(plain(value), ensure_ascii=False)
        for value in _values(values)
    ]


# -- the whole ---------------------------------------------------------------------------------------------------


def assemble(parts: Sequence[Path], output: Path, kind: str, names: Sequence[str], folder: bool) -> None:
    """The output of its parts, in their order: written beside it, made durable, and put into its place. Raises Stop
    where something else would be lost."""
    if why := in_the_way(output, folder):
        raise Stop(f"{output} is not written: {why}")
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_name(f".{output.name}.draft")
    _remove(draft)
    if folder:
        draft.mkdir()
        _into_files(parts, draft, kind, names)
        _remove(output)
    else:
        _into_file(parts, draft, kind, names, str(output).lower())
    draft.replace(output)
    handle = os.open(output.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _into_file(parts: Sequence[Path], draft: Path, kind: str, names: Sequence[str], named: str) -> None:
    with open(draft, "wb") as file:
        if kind in ARROW_KINDS:
            _write_arrow(_batches(parts), file, kind, names, named)
        else:
            with _packing(file, named) as into:
                into.write(_head(kind, names))
                for one in parts:
                    with open(one, "rb") as source:
                        shutil.copyfileobj(source, into, 1 << 18)
        file.flush()
        os.fsync(file.fileno())


def _head(kind: str, names: Sequence[str]) -> bytes:
    if kind != "csv":
        return b""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(names)
    return line.getvalue().encode("utf-8", "surrogateescape")


class _Through:
    """What is written goes there as it is."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: Any) -> None:
        pass


def _packing(file: Any, named: str) -> Any:
    if named.endswith(".gz"):
        return gzip.GzipFile("", "wb", 6, file, mtime=0)
    if named.endswith(".zst"):
        if sys.version_info >= (3, 14):
            from compression import zstd

            return zstd.open(file, "wb")
        return arrow().CompressedOutputStream(os.fdopen(os.dup(file.fileno()), "wb"), "zstd")
    return _Through(file)


def _batches(parts: Sequence[Path]) -> Iterator[Any]:
    pyarrow = arrow()
    for one in parts:
        if not one.stat().st_size:
            continue
        with pyarrow.OSFile(str(one), "rb") as file:
            yield from pyarrow.ipc.open_stream(file)


def _write_arrow(batches: Iterator[Any], file: Any, kind: str, names: Sequence[str], named: str) -> None:
    pyarrow = arrow()
    first = next(batches, None)
    schema = first.schema if first is not None else pyarrow.schema([(name, pyarrow.float64()) for name in names])
    if kind == "parquet":
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for table in _groups(first, batches, pyarrow):
                writer.write_table(table, row_group_size=GROUP)
        return
    stream = named.endswith(".arrows")
    with (pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file)(file, schema) as writer:
        if first is not None:
            writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _groups(first: Any, batches: Iterator[Any], pyarrow: Any) -> Iterator[Any]:
    """Of as many rows as a group has."""
    waiting = [first] if first is not None else []
    rows = first.num_rows if first is not None else 0
    for batch in batches:
        while rows + batch.num_rows >= GROUP:
            some = batch.slice(0, GROUP - rows)
            yield pyarrow.Table.from_batches([*waiting, some])
            batch, waiting, rows = batch.slice(GROUP - rows), [], 0
        if batch.num_rows:
            waiting.append(batch)
            rows += batch.num_rows
    if waiting:
        yield pyarrow.Table.from_batches(waiting)


def _into_files(parts: Sequence[Path], draft: Path, kind: str, names: Sequence[str]) -> None:
    """Files of so many rows each, whatever the parts hold."""
    end = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet", "arrow": ".arrow"}[kind]
    if kind in ARROW_KINDS:
        batches = _batches(parts)
        for place, some in enumerate(_portions(batches)):
            with (draft / f"part-{place:05d}{end}").open("wb") as whole:
                _write_arrow(iter(some), whole, kind, names, "")
                whole.flush()
                os.fsync(whole.fileno())
        return
    rows, place = 0, 0
    file: Any = None
    for one in parts:
        with open(one, encoding="utf-8", errors="surrogateescape", newline="") as source:
            for row in _records_of(source, kind):
                if file is None or rows == IN_FILE:
                    if file:
                        _end(file)
                    file = (draft / f"part-{place:05d}{end}").open("wb")
                    file.write(_head(kind, names))
                    rows, place = 0, place + 1
                file.write(row.encode("utf-8", "surrogateescape"))
                rows += 1
    if file is None:
        file = (draft / f"part-00000{end}").open("wb")
        file.write(_head(kind, names))
    _end(file)


def _end(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _records_of(source: Any, kind: str) -> Iterator[str]:
    """Whole rows: in CSV, a quoted cell may hold the end of a line."""
    waiting = ""
    for line in source:
        waiting += line
        if kind == "csv" and waiting.count('"') % 2:
            continue
        yield waiting
        waiting = ""


def _portions(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Batches of a million rows each, cut where one reaches over that; an empty one where there are none at all."""
    rest: list[Any] = [next(batches, None)]
    if rest == [None]:
        yield iter(())
        return

    def some() -> Iterator[Any]:
        left = IN_FILE
        while left:
            batch = rest.pop() if rest else next(batches, None)
            if batch is None:
                return
            cut = batch.slice(0, left)
            left -= cut.num_rows
            if cut.num_rows < batch.num_rows:
                rest.append(batch.slice(cut.num_rows))
            yield cut

    while True:
        yield some()
        if not rest:
            following = next(batches, None)
            if following is None:
                return
            rest.append(following)


def columns_of(predictions: Any, names: Sequence[str], rows: int) -> list[tuple[str, Array]]:
    """What a model answered, as columns: `prediction`, or one for each output. Raises ValueError where it is not one
    answer for each row."""
    found = _by_name(predictions, list(names))
    for name, array in found:
        if len(array) != rows:
            raise ValueError(f"the model answered {len(array)} rows of {name!r} where it was asked {rows}")
    return found


def _by_name(predictions: Any, names: list[str]) -> list[tuple[str, Array]]:
    if hasattr(predictions, "columns") and hasattr(predictions, "to_numpy"):
        return [(str(name), _array(predictions[name])) for name in predictions.columns]
    if isinstance(predictions, dict):
        return [one for key, value in predictions.items() for one in _wide(str(key), _array(value), [])]
    return _wide("prediction", _array(predictions), names)


def _wide(name: str, array: Array, names: list[str]) -> list[tuple[str, Array]]:
    if array.ndim != 2:
        return [(name, array if array.ndim == 1 else _nested(array))]
    if array.shape[1] == 1:
        return [(name, array[:, 0])]
    titles = names if len(names) == array.shape[1] else [f"{name}_{place}" for place in range(array.shape[1])]
    return [(title, array[:, place]) for place, title in enumerate(titles)]


def _nested(array: Array) -> Array:
    found = np.empty(len(array) if array.ndim else 0, dtype=object)
    found[:] = array.tolist() if array.ndim else []
    return found


def _array(values: Any) -> Array:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if hasattr(values, "toarray"):
        values = values.toarray()
    if isinstance(values, np.ndarray):
        return values.astype(object) if values.dtype.kind in "US" else values
    try:
        array = np.asarray(values)
    except ValueError:  # of several lengths
        array = np.empty(len(values), dtype=object)
        array[:] = list(values)
    return array.astype(object) if array.dtype.kind in "US" else array
