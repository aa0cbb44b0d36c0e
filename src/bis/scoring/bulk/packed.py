"""Arrays as bytes between processes: their own memory, one after the other; text as offsets and bytes. Nothing is
pickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...flavors.values import Array, Batch, Columns, Tensors

Named = Sequence["tuple[str, Array]"]


def packed(arrays: Named) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What tells of each array, and its bytes. Raises TypeError for objects that are neither text nor of JSON."""
    heads, bodies = [], []
    for name, array in arrays:
        kind, pieces = _pieces(array)
        heads.append({"name": name, "kind": kind, "shape": array.shape, "lengths": [len(one) for one in pieces]})
        bodies += pieces
    return heads, bodies


def unpacked(heads: Sequence[dict[str, Any]], body: bytes) -> list[tuple[str, Array]]:
    view, place, found = memoryview(body), 0, []
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
    return "json", [json.dumps(values).encode()]


def _runs(values: Sequence[bytes | None]) -> list[bytes]:
    """Which are there, the length of each, and all of them."""
    there = np.array([value is not None for value in values], dtype=bool)
    lengths = np.array([len(value or b"") for value in values], dtype="<i8")
    return [there.tobytes(), lengths.tobytes(), b"".join(value or b"" for value in values)]


def _array(kind: str, pieces: Sequence[memoryview]) -> Array:
    if kind == "json":
        return _objects(json.loads(bytes(pieces[0])))
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
