"""The signature that a model seems to have, told from rows that it understands and from what it answered.

As MLflow's `infer_signature` tells it, so that both say the same of the same rows; where MLflow gives up on all columns
for one of them, only that one is of any type here; a mapping of lists is columns, and lists of numbers are an array.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .signature import Column, Fields, Param, Signature, Tensor
from .values import Array, Tensors, batch_of

SCALARS = {
    bool: "boolean",
    np.bool_: "boolean",
    int: "long",
    float: "double",
    str: "string",
    bytes: "binary",
    bytearray: "binary",
    np.str_: "string",
    np.bytes_: "binary",
}
EXAMPLES = 10_000
"""Rows that the type of a column of objects is told from."""
ANY = "any"
"""The type of a column that holds nothing, or values of several types."""


class Several(ValueError):
    """Values of several types."""


def infer(example: Any, predictions: Any = None, params: Mapping[str, Any] | None = None) -> Signature:
    """From rows that the model understands and what it answered. Raises ValueError for rows without a type."""
    outputs = () if predictions is None else _told(predictions)
    inputs = _told(np.asarray(example) if _is_matrix(example) else example)
    return Signature(inputs, outputs, tuple(_told_param(name, value) for name, value in (params or {}).items()))


def _is_matrix(rows: Any) -> bool:
    """Whether it is lists of numbers, which a model is asked with as an array."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, (list, tuple)) for row in rows):
        return False
    return len({len(row) for row in rows}) == 1 and np.asarray(rows).dtype.kind in "biuf"


def _told(rows: Any) -> Fields:
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return tuple(_of_series(rows.iloc[:, place], name) for place, name in enumerate(rows.columns))
    if hasattr(rows, "iloc"):
        return (_of_series(rows, "" if rows.name is None else rows.name),)
    if isinstance(rows, list):
        return _of_list(rows[:EXAMPLES])
    batch = batch_of(rows)
    if isinstance(batch, Tensors):
        return tuple(Tensor(name, _kind(array), (-1, *array.shape[1:])) for name, array in batch.arrays.items())
    return tuple(_of_array(name, batch.column(name)) for name in batch.names)


def _of_list(rows: list[Any]) -> Fields:
    """Mappings are rows of columns; all else is one column without a name."""
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return tuple(
            Column(
                str(name),
                _of_values([row[name] for row in rows if name in row]),
                required=all(row.get(name) is not None for row in rows),
            )
            for name in names
        )
    return (Column("", _of_values(rows) if rows else "string"),)


def _kind(array: Array) -> str:
    """As a signature spells the type of a tensor: texts and bytes have no length."""
    return {"U": "str", "S": "bytes", "O": "str"}.get(array.dtype.kind) or array.dtype.name


def _of_series(series: Any, name: Any) -> Column:
    """A column of a data frame; its missing values make it optional."""
    if series.dtype.kind == "O" and not hasattr(series.dtype, "categories"):
        series = series.infer_objects()
    required = not bool(series.isna().any())
    if series.dtype.kind in "OU":
        return _column(name, _of_values(series.iloc[:EXAMPLES].tolist()), required)
    return _column(name, _of_dtype(name, series.dtype), required)


def _of_array(name: str, array: Array) -> Column:
    if array.dtype.kind in "OUS":
        values = array[:EXAMPLES].tolist()
        return Column(name, _of_values(values), required=not any(map(_is_missing, values)))
    missing = array.dtype.kind in "fM" and bool((array != array).any())
    return Column(name, _of_dtype(name, array.dtype), required=not missing)


def _column(name: Any, type: Any, required: bool) -> Column:
    numbered = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
    return Column(str(name), type, required, numbered=numbered)


def _of_dtype(name: Any, dtype: Any) -> str:
    """Of a type of NumPy or pandas: the narrowest of a signature that holds it."""
    kind, size = dtype.kind, dtype.itemsize
    found = {"b": "boolean", "M": "datetime", "S": "binary"}.get(kind)
    if kind == "i" or (kind == "u" and size < 8):
        found = "integer" if size < 4 or (kind == "i" and size == 4) else "long"
    elif kind == "f":
        found = "float" if size <= 4 else "double" if size == 8 else None
    if found is None:
        raise ValueError(f"the column {str(name)!r} is of the type {dtype}, which a signature has no name for")
    return found


def _of_values(values: Sequence[Any]) -> Any:
    try:
        found = _array_of(values)
    except Several:
        return ANY
    return ANY if found is None else found["items"]


def _type_of(value: Any) -> Any:
    """The type of one value, as a description of a signature. Raises Several."""
    if _is_missing(value) or (isinstance(value, (list, dict)) and not value):
        return {"type": ANY}
    if isinstance(value, Mapping):
        types = {str(name): _type_of(one) or {"type": ANY} for name, one in value.items()}
        properties = {name: {**one, "required": one != {"type": ANY}} for name, one in types.items()}
        return {"type": "object", "properties": properties}
    if isinstance(value, (list, tuple, np.ndarray)):
        found = _array_of(value)
        return None if found is None else {"type": "array", "items": _described(found["items"])}
    if type(value) in SCALARS:
        return {"type": SCALARS[type(value)]}
    if isinstance(value, (datetime.date, np.datetime64)):
        return {"type": "datetime"}
    if isinstance(value, np.number):
        return {"type": _of_dtype("", value.dtype)}
    raise Several(type(value).__name__)


def _array_of(values: Any) -> dict[str, Any] | None:
    """The type that all values have in common; None where nothing is known. Raises Several."""
    found: Any = None
    for value in values:
        one = _type_of(value)
        if one is not None:
            found = one if found is None else _merged(found, one)
    return None if found is None else {"type": "array", "items": _plain(found)}


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two values have in common. Raises Several."""
    if one["type"] == ANY or other["type"] == ANY:
        return other if one["type"] == ANY else one
    if one["type"] != other["type"]:
        raise Several
    if one["type"] == "array":
        return {"type": "array", "items": _merged(one["items"], other["items"])}
    if one["type"] != "object":
        return one
    before, after = one["properties"], other["properties"]
    properties = {}
    for name in sorted(before.keys() | after.keys()):
        known = [each[name] for each in (before, after) if name in each]
        types = [{key: value for key, value in each.items() if key != "required"} for each in known]
        merged = types[0] if len(types) == 1 else _merged(types[0], types[1])
        properties[name] = {**merged, "required": len(known) == 2 and all(each["required"] for each in known)}
    return {"type": "object", "properties": properties}


def _plain(type: dict[str, Any]) -> Any:
    return type["type"] if len(type) == 1 else type


def _described(type: Any) -> dict[str, Any]:
    return {"type": type} if isinstance(type, str) else type


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating, np.datetime64)) and value != value


def _told_param(name: str, value: Any) -> Param:
    """Raises ValueError for what a request could not say."""
    several = isinstance(value, (list, tuple, np.ndarray))
    values = [_default(one) for one in value] if several else [_default(value)]
    types = [_type_of(one) for one in (value if several else [value])]
    if not types or any(one != types[0] or one["type"] in (ANY, "array") for one in types):
        raise ValueError(f"the param {name!r} has a default whose type cannot be told")
    return Param(name, _plain(types[0]), values if several else values[0], (-1,) if several else None)


def _default(value: Any) -> Any:
    if isinstance(value, (datetime.date, np.datetime64)):
        return value.isoformat() if isinstance(value, datetime.date) else str(value)
    return value.item() if hasattr(value, "item") else value
