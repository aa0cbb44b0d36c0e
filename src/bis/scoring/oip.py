"""The Open Inference Protocol, version 2, over REST, with Triton's extension for binary tensors, both ways.

A model that takes columns is asked with one tensor for each of them, or with one whose second dimension is all of
them in the order of the signature.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..flavors.signature import Signature
from ..flavors.values import Array, Batch, Columns, Tensors
from . import Answer, Asked, Wrong
from .payloads import JSON, asked, parsed
from .tabular import tensor_of
from .written import encoded, plain

BINARY = "application/octet-stream"
TYPES = {
    "BOOL": "bool",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BYTES": "object",
}
NAMES = {dtype: name for name, dtype in TYPES.items()}
GAPS_TOO = frozenset((int, float, type(None)))
OUTPUT = "predictions"
"""The name of an output that has none."""


class About:
    """What the answer needs to know of a request."""

    def __init__(self, id: Any, outputs: Any, binary: bool) -> None:
        self.id, self.outputs, self.binary = id, outputs, binary


def read(body: bytes, json_length: int, signature: Signature) -> Asked:
    """`json_length`: bytes of JSON before binary tensors; -1 where there are none. Raises Wrong."""
    if json_length > len(body):
        raise Wrong("Inference-Header-Content-Length is larger than the body")
    head, rest = (body, b"") if json_length < 0 else (body[:json_length], body[json_length:])
    found = parsed(head)
    inputs = found.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
        raise Wrong("the request is to have inputs: a list of tensors, each with name, shape, datatype and data")
    arrays: dict[str, Array] = {}
    for one in inputs:
        name = str(one.get("name", ""))
        arrays[name], rest = _tensor(name, one, rest)
    if rest:
        raise Wrong(f"{len(rest)} bytes of the body belong to no tensor")
    params = _object(found.get("parameters"), "parameters")
    binary = params.pop("binary_data_output", False) is True
    given = {key: value for key, value in params.items() if key in {param.name for param in signature.params}}
    about = About(found.get("id"), found.get("outputs"), binary)
    return asked(_batch(arrays, signature), given, signature, about)


def answer(asked: Asked, predictions: Any, named: Mapping[str, str], signature: Signature) -> Answer:
    """`named`: the name and the version of the model. Raises Wrong for outputs that there are not."""
    about: About = asked.about
    arrays = _outputs(predictions, signature)
    wanted = _wanted(about, arrays)
    entries, blobs = [], []
    for name, binary in wanted:
        array = arrays[name]
        entry: dict[str, Any] = {"name": name, "datatype": _type_of(array), "shape": list(array.shape)}
        if binary:
            blob = _written(array)
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            entry["data"] = plain(array.ravel())
        entries.append(entry)
    head = {"model_name": named["name"], "model_version": named["version"], "outputs": entries}
    if about.id is not None:
        head["id"] = about.id
    text = encoded(head)
    if not blobs:
        return Answer(200, JSON, text, asked.batch.rows)
    return Answer(200, BINARY, text + b"".join(blobs), asked.batch.rows, len(text))


def refusal(wrong: Wrong) -> Answer:
    return Answer(wrong.status, JSON, encoded({"error": wrong.message}))


# -- reading -----------------------------------------------------------------------------------------------------


def _tensor(name: str, entry: Mapping[str, Any], rest: bytes) -> tuple[Array, bytes]:
    """One tensor, and what is left of the binary ones behind it."""
    kind, shape = str(entry.get("datatype", "")), entry.get("shape")
    if kind not in TYPES:
        raise Wrong(f"the tensor {name!r} is to be of one of the types {', '.join(TYPES)}")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape) or not shape:
        raise Wrong(f"the shape of the tensor {name!r} is to be a list of whole numbers, the first for the rows")
    size = _object(entry.get("parameters"), f"the parameters of the tensor {name!r}").get("binary_data_size")
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(rest):
            raise Wrong(f"the tensor {name!r} has a binary_data_size that the body does not hold")
        array = _from_bytes(name, kind, rest[:size])
        rest = rest[size:]
    else:
        array = _from_json(name, kind, entry.get("data"))
    try:
        return array.reshape(shape), rest
    except ValueError:
        raise Wrong(f"the tensor {name!r} of the shape {shape} came with {array.size} values") from None


def _from_bytes(name: str, kind: str, blob: bytes) -> Array:
    if kind == "BYTES":
        return _texts(name, blob)
    dtype = np.dtype(TYPES[kind]).newbyteorder("<")
    if len(blob) % dtype.itemsize:
        raise Wrong(f"the tensor {name!r} of the type {kind} came with {len(blob)} bytes")
    return np.frombuffer(blob, dtype).astype(dtype.newbyteorder("="))


def _texts(name: str, blob: bytes) -> Array:
    values: list[Any] = []
    place = 0
    while place < len(blob):
        if place + 4 > len(blob):
            raise Wrong(f"the tensor {name!r} of the type BYTES is cut off")
        (size,) = struct.unpack_from("<I", blob, place)
        place += 4 + size
        if place > len(blob):
            raise Wrong(f"the tensor {name!r} of the type BYTES is cut off")
        values.append(_text(blob[place - size : place]))
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _from_json(name: str, kind: str, data: Any) -> Array:
    if not isinstance(data, list):
        raise Wrong(f"the tensor {name!r} has no data")
    try:
        found = np.array(data, dtype=object) if kind == "BYTES" else tensor_of(data)
    except (Wrong, ValueError, OverflowError):
        raise Wrong(f"the data of the tensor {name!r} is of several lengths or depths") from None
    flat = found.ravel()
    wanted = np.dtype(TYPES[kind])
    fits = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "O": "O"}[wanted.kind]
    if flat.size and flat.dtype.kind not in fits:
        if wanted.kind == "f" and flat.dtype == object and GAPS_TOO.issuperset(map(type, flat)):
            try:
                return np.array([np.nan if value is None else value for value in flat.tolist()], dtype=wanted)
            except OverflowError:
                pass
        raise Wrong(f"the tensor {name!r} is to be of the type {kind}, and holds something else")
    if wanted.kind in "iu" and flat.size:
        bounds = np.iinfo(wanted)
        if int(flat.min()) < bounds.min or int(flat.max()) > bounds.max:
            raise Wrong(f"the tensor {name!r} holds numbers that {kind} cannot hold")
    return flat.astype(wanted)


def _object(value: Any, called: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Wrong(f"{called} is to be an object")
    return dict(value)


def _batch(arrays: dict[str, Array], signature: Signature) -> Batch:
    """As columns, where the model takes columns and each tensor is one."""
    if not signature.by_column:
        return Tensors({"": next(iter(arrays.values()))} if len(arrays) == 1 and not signature.inputs else arrays)
    names = {one.name for one in signature.inputs}
    if len(arrays) == 1 and not (set(arrays) & names and len(names) == 1):
        (array,) = arrays.values()
        if array.ndim == 2 and array.shape[1] == len(signature.inputs):
            return Tensors({"": array})
    flat = {
        name: array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array for name, array in arrays.items()
    }
    if any(array.ndim != 1 for array in flat.values()):
        raise Wrong("a model that takes columns is asked with one tensor of one dimension for each of them")
    if len({len(array) for array in flat.values()}) > 1:
        raise Wrong("the tensors are of several lengths")
    return Columns(tuple(flat), None, tuple(flat.values()))


# -- answering ---------------------------------------------------------------------------------------------------


def _outputs(predictions: Any, signature: Signature) -> dict[str, Array]:
    names = [one.name for one in signature.outputs]
    if isinstance(predictions, Mapping):
        return {str(name): _as_array(value) for name, value in predictions.items()}
    if hasattr(predictions, "columns") and hasattr(predictions, "to_numpy"):
        return {str(name): _as_array(predictions[name]) for name in predictions.columns}
    return {names[0] if len(names) == 1 and names[0] else OUTPUT: _as_array(predictions)}


def _as_array(values: Any) -> Array:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    array = np.asarray(values)
    return array if array.dtype.name in NAMES else array.astype(str).astype(object)


def _wanted(about: About, arrays: Mapping[str, Array]) -> list[tuple[str, bool]]:
    """Which outputs, and whether as bytes."""
    if not about.outputs:
        return [(name, about.binary) for name in arrays]
    if not isinstance(about.outputs, list) or not all(isinstance(one, dict) for one in about.outputs):
        raise Wrong("outputs is to be a list of objects, each with a name")
    found = []
    for one in about.outputs:
        name = str(one.get("name", ""))
        if name not in arrays:
            raise Wrong(f"the model has no such output; it has {', '.join(map(repr, arrays))}")
        params = _object(one.get("parameters"), "the parameters of an output")
        found.append((name, params.get("binary_data", about.binary) is True))
    return found


def _type_of(array: Array) -> str:
    return NAMES[array.dtype.name]


def _written(array: Array) -> bytes:
    if array.dtype == object:
        parts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
