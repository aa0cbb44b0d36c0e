"""Arrays as bytes between processes: their own memory, one after the other; text as offsets and bytes; what else there
is, as JSON, with the names of types that JSON has no word for. Nothing is pickled."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...flavors.values import Array, Batch, Columns, Tensors
from ..written import plain

Named = Sequence["tuple[str, Array]"]
MARK = "\0type"
"""The key of an object that is a value of a type which JSON has not."""
TYPES: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "timedelta": (
        datetime.timedelta,
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda told: datetime.timedelta(*told),
    ),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode("ascii"), base64.b64decode),
}
"""How they are spelt, and read."""


def packed(arrays: Named) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What tells of each array, and its bytes. Values of types that nobody here knows come as `written.plain` has
    them."""
    heads, bodies = [], []
    for name, array in arrays:
        kind, pieces = _pieces(array)
        heads.append({"name": name, "kind": kind, "shape": array.shape, "lengths": [len(one) for one in pieces]})
        bodies += pieces
    return heads, bodies


def unpacked(heads: Sequence[dict[str, Any]], body: bytes) -> list[tuple[str, Array]]:
    view, place, found = memoryview(bytearray(body)), 0, []  # so that a model may write into what it is asked with
    for head in heads:
        pieces = []
        for length in head["lengths"]:
            pieces.append(view[place : place + length])
            place += length
        found.append((head["name"], _array(head["kind"], pieces).reshape(head["shape"])))
    return found


def batch_packed(batch: Batch) -> tuple[dict[str, Any], list[bytes]]:
    if isinstance(batch, Tensors):
        heads, bodies = packed(list(batch.arrays.items()))
        return {"form": "tensors", "arrays": heads}, bodies
    if batch.block is not None:
        heads, bodies = packed([("", batch.block)])
        return {"form": "block", "names": batch.names, "arrays": heads}, bodies
    heads, bodies = packed(list(zip(batch.names, batch.arrays)))
    return {"form": "columns", "names": batch.names, "arrays": heads}, bodies


def batch_unpacked(head: dict[str, Any], body: bytes) -> Batch:
    arrays = unpacked(head["arrays"], body)
    if head["form"] == "tensors":
        return Tensors(dict(arrays))
    names = tuple(head["names"])
    if head["form"] == "block":
        return Columns(names, arrays[0][1])
    return Columns(names, None, tuple(array for _, array in arrays))


def _pieces(array: Array) -> tuple[str, list[bytes]]:
    if array.dtype.kind in "biufcmM":
        return array.dtype.str, [np.ascontiguousarray(array).tobytes()]
    values = array.ravel().tolist()
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return "text", _runs([None if value is None else value.encode("utf-8", "surrogatepass") for value in values])
    if kinds <= {bytes}:
        return "bytes", _runs(values)
    return "json", [json.dumps(values, default=_marked).encode()]


def _marked(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    for name, (kind, spelt, _) in TYPES.items():
        if isinstance(value, kind):
            return {MARK: name, "is": spelt(value)}
    return plain(value)


def _unmarked(value: dict[str, Any]) -> Any:
    return TYPES[value[MARK]][2](value["is"]) if MARK in value else value


def _runs(values: Sequence[bytes | None]) -> list[bytes]:
    """Which are there, the length of each, and all of them."""
    there = np.array([value is not None for value in values], dtype=bool)
    lengths = np.array([len(value or b"") for value in values], dtype="<i8")
    return [there.tobytes(), lengths.tobytes(), b"".join(value or b"" for value in values)]


def _array(kind: str, pieces: Sequence[memoryview]) -> Array:
    if kind == "json":
        return _objects(json.loads(bytes(pieces[0]), object_hook=_unmarked))
    if kind not in ("text", "bytes"):
        return np.frombuffer(pieces[0], dtype=kind)
    there, lengths = np.frombuffer(pieces[0], dtype=bool), np.frombuffer(pieces[1], dtype="<i8")
    ends = np.cumsum(lengths).tolist()
    runs = [bytes(pieces[2][begin:end]) for begin, end in zip([0, *ends], ends)]
    if kind == "text":
        return _objects([run.decode("utf-8", "surrogatepass") if is_ else None for run, is_ in zip(runs, there)])
    return _objects([run if is_ else None for run, is_ in zip(runs, there)])


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
