"""The signature that a model seems to have, told from rows that it understands and from what it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .signature import Column, Fields, Param, Signature, Tensor
from .values import Array, Batch, Columns, Predictions, Tensors, batch_of

NAMES = {"bool": "boolean", "int32": "integer", "int64": "long", "float32": "float", "float64": "double"}
NARROW = {
    "int8": "integer",
    "int16": "integer",
    "uint8": "integer",
    "uint16": "integer",
    "uint32": "long",
    "float16": "float",
}
EXAMPLES = 10_000
"""Rows that the type of a column of objects is told from."""


def infer(example: Any, predictions: Predictions | None = None, params: Mapping[str, Any] | None = None) -> Signature:
    """From rows that the model understands and what it answered. Raises ValueError for rows without a type."""
    inputs = _told(batch_of(example))
    outputs = () if predictions is None else _told_of_outputs(predictions)
    return Signature(inputs, outputs, tuple(_told_param(name, value) for name, value in (params or {}).items()))


def _told(batch: Batch) -> Fields:
    if isinstance(batch, Tensors):
        return tuple(Tensor(name, _kind(array), (-1, *array.shape[1:])) for name, array in batch.arrays.items())
    return tuple(_told_column(name, batch.column(name)) for name in batch.names)


def _told_of_outputs(predictions: Any) -> Fields:
    if isinstance(predictions, list):
        array = np.asarray(predictions, dtype=object)
        return (_told_column("", array),) if array.ndim == 1 else ()
    batch = batch_of(predictions)
    if isinstance(batch, Columns) and not hasattr(predictions, "columns"):
        return tuple(Tensor(name, _kind(batch.column(name)), (-1,)) for name in batch.names)
    return _told(batch)


def _kind(array: Array) -> str:
    return "str" if array.dtype == object else array.dtype.name


def _told_column(name: str, array: Array) -> Column:
    """A column of objects is of the type of its values; missing ones make it optional."""
    if array.dtype != object:
        kind = "datetime" if array.dtype.kind == "M" else NAMES.get(array.dtype.name) or NARROW.get(array.dtype.name)
        if kind is None:
            raise ValueError(f"the column {name!r} is of the type {array.dtype}, which a signature has no name for")
        return Column(name, kind)
    values = [value for value in array[:EXAMPLES] if value is not None and value == value]
    return Column(name, _told_type(name, values), required=len(values) == len(array[:EXAMPLES]))


def _told_type(name: str, values: Sequence[Any]) -> Any:
    kinds = {type(value) for value in values}
    if kinds <= {str}:
        return "string"
    if kinds <= {bytes, bytearray}:
        return "binary"
    if kinds <= {bool, np.bool_}:
        return "boolean"
    if all(issubclass(kind, (int, np.integer)) for kind in kinds - {bool}):
        return "long"
    if all(issubclass(kind, (int, float, np.number)) for kind in kinds - {bool}):
        return "double"
    if all(issubclass(kind, (list, tuple, np.ndarray)) for kind in kinds):
        return {"type": "array", "items": {"type": _told_type(name, [one for value in values for one in value])}}
    if all(issubclass(kind, dict) for kind in kinds):
        keys = dict.fromkeys(key for value in values for key in value)
        of = {key: [value[key] for value in values if key in value] for key in keys}
        properties = {
            key: {**_as_entry(_told_type(f"{name}.{key}", found)), "required": len(found) == len(values)}
            for key, found in of.items()
        }
        return {"type": "object", "properties": properties}
    raise ValueError(f"the column {name!r} holds values of several types")


def _as_entry(type: Any) -> dict[str, Any]:
    return {"type": type} if isinstance(type, str) else type


def _told_param(name: str, value: Any) -> Param:
    several = isinstance(value, (list, tuple))
    one = value[0] if several and value else value
    kind = {bool: "boolean", int: "long", float: "double", str: "string"}.get(type(one), "string")
    return Param(name, kind, list(value) if several else value, (-1,) if several else None)
