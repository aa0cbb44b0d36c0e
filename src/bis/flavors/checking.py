"""Make of what was asked what the model takes: columns in its order, of its types, as long as nothing is lost.

What does not fit is named by column, by what was expected and what came; the values themselves are never repeated.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from .signature import Column, Signature, Tensor
from .values import Array, Batch, Columns, Tensors


class Mismatch(ValueError):
    """What was asked is not what the model takes. The text says where, and holds none of the values."""


def check(signature: Signature, batch: Batch) -> Batch:
    """The rows as the model takes them. Raises Mismatch."""
    if not signature.inputs:
        return batch
    if signature.by_column:
        columns = cast("tuple[Column, ...]", signature.inputs)
        return _checked_columns(columns, _as_columns(columns, batch))
    return _checked_tensors(cast("tuple[Tensor, ...]", signature.inputs), batch)


def _as_columns(wanted: Sequence[Column], batch: Batch) -> Columns:
    """One tensor of two dimensions, or of one, is columns by their place."""
    if isinstance(batch, Columns):
        return batch
    named = {name: array for name, array in batch.arrays.items() if name}
    if named:
        return Columns(tuple(named), None, tuple(named.values()))
    array = batch.only
    if array.ndim == 1 and len(wanted) == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != len(wanted):
        raise Mismatch(f"the model takes {len(wanted)} columns, and came with an array of the shape {array.shape}")
    return Columns(tuple(one.name for one in wanted), array)


def _checked_columns(wanted: Sequence[Column], batch: Columns) -> Columns:
    names = tuple(one.name for one in wanted)
    if not any(names):
        names = batch.names[: len(wanted)]
    if missing := [one.name for one in wanted if one.required and one.name and one.name not in batch.names]:
        raise Mismatch(
            f"the model takes the {_listed('column', missing)}, which {'is' if len(missing) == 1 else 'are'} not there"
        )
    kinds = {one.dtype for one in wanted}
    block = batch.block
    if block is not None and len(kinds) == 1 and "object" not in kinds and batch.names == names:
        with contextlib.suppress(Mismatch):  # which column it is, is found one by one
            return Columns(names, _cast(block, wanted[0], "any column"))
    arrays = {
        one.name: _cast(batch.column(one.name), one, f"the column {one.name!r}")
        for one in wanted
        if one.name in batch.names
    }
    if not any(one.name for one in wanted):
        arrays = {
            name: _cast(batch.column(name), one, f"column {place}")
            for place, (name, one) in enumerate(zip(names, wanted), 1)
        }
    return Columns(tuple(arrays), None, tuple(arrays.values()))


def _checked_tensors(wanted: Sequence[Tensor], batch: Batch) -> Tensors:
    given = {"": batch.matrix()} if isinstance(batch, Columns) and len(wanted) == 1 else None
    arrays = given or (
        batch.arrays if isinstance(batch, Tensors) else dict(zip(batch.names, map(batch.column, batch.names)))
    )
    if len(wanted) == 1 and len(arrays) == 1:
        arrays = {wanted[0].name: next(iter(arrays.values()))}
    if missing := [one.name for one in wanted if one.name not in arrays]:
        raise Mismatch(
            f"the model takes the {_listed('tensor', missing)}, which {'is' if len(missing) == 1 else 'are'} not there"
        )
    return Tensors({one.name: _fitted(arrays[one.name], one) for one in wanted})


def _fitted(array: Array, wanted: Tensor) -> Array:
    called = f"the tensor {wanted.name!r}" if wanted.name else "the tensor"
    fits = len(array.shape) == len(wanted.shape) and all(b in (-1, a) for a, b in zip(array.shape, wanted.shape))
    if not fits:
        raise Mismatch(f"{called} is to be of the shape {wanted.shape}, and is of {tuple(array.shape)}")
    if wanted.dtype in ("str", "bytes", "object"):
        if wanted.dtype == "object" or array.dtype.kind in ("US" if wanted.dtype == "str" else "S"):
            return array
        return _objects(array, "string" if wanted.dtype == "str" else "binary", called)
    return _numbers(array, wanted.dtype, wanted.dtype, called)


def _cast(array: Array, wanted: Column, called: str) -> Array:
    if wanted.dtype != "object":
        return _numbers(array, wanted.dtype, str(wanted.type), called)
    if wanted.type == "any":
        return array
    if isinstance(wanted.type, str):
        return _objects(array, wanted.type, called)
    for value in array.tolist():
        if not _is_missing(value) or wanted.required:
            _demand(value, wanted.type, called)
    return array


def _objects(array: Array, type: str, called: str) -> Array:
    """Texts or bytes, and gaps. Bytes may come as text, as JSON has none."""
    allowed = (str,) if type == "string" else (bytes, bytearray, str)
    if array.dtype.kind not in "OUS" or not all(isinstance(one, allowed) or _is_missing(one) for one in array.flat):
        raise Mismatch(f"{called} is to be of the type {type}, and holds {_kinds(array)}")
    return array.astype(object)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and value != value


# -- numbers and times -------------------------------------------------------------------------------------------


def _numbers(array: Array, dtype: str, name: str, called: str) -> Array:
    """Cast where no value changes: whole numbers in any type that holds them, and numbers with a fraction among those
    with one, where JSON and CSV know no width."""
    kind = np.dtype(dtype)
    if array.dtype == kind:
        return array
    if kind.kind == "M":
        return _times(array, name, called)
    if kind.kind == "b":
        return _truths(array, name, called)
    if array.dtype == object:
        array = _without_gaps(array, kind, name, called)
    if array.dtype.kind not in "iuf":
        raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(kind)
        if kind.kind in "iu":
            kept = np.array_equal(cast, array) and (array.dtype.kind != "f" or bool((np.abs(array) < 2.0**63).all()))
            why = "numbers with a fraction or out of range"
        elif array.dtype.kind in "iu":
            kept = bool((np.abs(cast) < 2.0**63).all()) and np.array_equal(cast.astype(array.dtype), array)
            why = "whole numbers that it cannot hold"
        else:
            kept = not np.isinf(cast[~np.isinf(array)]).any()
            why = "numbers out of range"
    if not kept:
        gaps = array.dtype.kind == "f" and np.isnan(array).any()
        raise Mismatch(f"{called} is to be of the type {name}, and holds {'gaps' if gaps else why}")
    return cast


def _without_gaps(array: Array, kind: Any, name: str, called: str) -> Array:
    """Objects as the numbers that they are; None among numbers is a gap, as NaN is."""
    values = array.ravel().tolist()
    gaps = [_is_missing(value) for value in values]
    if not all(gap or _is_number(value) for value, gap in zip(values, gaps)):
        raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")
    if any(gaps) and kind.kind != "f":
        raise Mismatch(f"{called} is to be of the type {name}, and holds gaps")
    try:
        found = np.array([np.nan if gap else value for value, gap in zip(values, gaps)])
        return (found.astype(float) if found.dtype == object else found).reshape(array.shape)
    except (OverflowError, ValueError, TypeError):
        raise Mismatch(f"{called} is to be of the type {name}, and holds numbers out of range") from None


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.integer, np.floating)) or type(value).__name__ == "Decimal"


def _truths(array: Array, name: str, called: str) -> Array:
    """Truth values are no numbers, and the other way round. With gaps among them they stay objects."""
    if array.dtype.kind == "O" and all(isinstance(one, (bool, np.bool_)) or _is_missing(one) for one in array.flat):
        return array if any(map(_is_missing, array.flat)) else array.astype(bool)
    raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")


def _times(array: Array, name: str, called: str) -> Array:
    """Times come as times, or as text that says one."""
    if array.dtype.kind not in "MOUS" or any(_is_number(one) or isinstance(one, bool) for one in _objects_of(array)):
        raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")
    try:
        values = array if array.dtype.kind == "M" else [None if _is_missing(one) else one for one in array.ravel()]
        fine = np.asarray(values, dtype="datetime64[us]").reshape(array.shape)
        found = fine.astype("datetime64[ns]") if array.dtype.kind != "M" else array.astype("datetime64[ns]")
        if not ((found.astype("datetime64[us]") == fine) | np.isnat(fine)).all():
            raise ValueError
        return found
    except (TypeError, ValueError, OverflowError):
        raise Mismatch(f"{called} is to be of the type {name}, and holds what is no time") from None


def _objects_of(array: Array) -> Sequence[Any]:
    return array.ravel().tolist() if array.dtype.kind == "O" else ()


# -- nested values -----------------------------------------------------------------------------------------------

SINGLE: dict[str, tuple[type, ...]] = {
    "boolean": (bool, np.bool_),
    "integer": (int, np.integer),
    "long": (int, np.integer),
    "float": (int, float, np.integer, np.floating),
    "double": (int, float, np.integer, np.floating),
    "string": (str,),
    "binary": (bytes, bytearray, str),
    "datetime": (datetime.date, np.datetime64, str),
}


def _demand(value: Any, wanted: Any, called: str) -> None:
    """Raises Mismatch where a value is not of the type that a description names. `called`: how to get there."""
    described: Mapping[str, Any] = {"type": wanted} if isinstance(wanted, str) else wanted
    kind = described["type"]
    if kind == "any":
        return
    if kind == "array":
        _demand_kind(value, (list, tuple, np.ndarray), kind, called)
        for one in value:
            _demand(one, described["items"], f"an item of {called}")
    elif kind == "map":
        _demand_kind(value, (dict,), kind, called)
        for one in value.values():
            _demand(one, described["values"], f"a value of {called}")
    elif kind == "object":
        _demand_kind(value, (dict,), kind, called)
        _demand_properties(value, described["properties"], called)
    elif not isinstance(value, SINGLE.get(kind, (object,))) or (isinstance(value, bool) and kind != "boolean"):
        raise Mismatch(f"{called} is to be of the type {kind}, and is {_kind(value)}")


def _demand_kind(value: Any, allowed: tuple[type, ...], kind: str, called: str) -> None:
    if not isinstance(value, allowed):
        raise Mismatch(f"{called} is to be of the type {kind}, and is {_kind(value)}")


def _demand_properties(value: Mapping[str, Any], properties: Mapping[str, Any], called: str) -> None:
    if not value.keys() <= properties.keys():
        raise Mismatch(f"{called} has keys that the signature does not know; it knows {', '.join(properties)}")
    for name, one in properties.items():
        if value.get(name) is not None:
            _demand(value[name], one, f"{name!r} in {called}")
        elif one.get("required", True):
            raise Mismatch(f"{name!r} in {called} is to be of the type {one['type']}, and is not there")


WORDS = {
    str: "text",
    bytes: "bytes",
    bytearray: "bytes",
    bool: "truth values",
    np.bool_: "truth values",
    int: "whole numbers",
    float: "numbers with a fraction",
    list: "lists",
    tuple: "lists",
    np.ndarray: "lists",
    dict: "mappings",
    datetime.date: "dates",
    datetime.datetime: "times",
    np.datetime64: "times",
}
ONE = {
    "text": "text",
    "bytes": "bytes",
    "truth values": "a truth value",
    "whole numbers": "a whole number",
    "numbers with a fraction": "a number with a fraction",
    "lists": "a list",
    "mappings": "a mapping",
    "dates": "a date",
    "times": "a time",
}


def _word(value: Any) -> str:
    if isinstance(value, np.generic) and not isinstance(value, (np.bool_, np.datetime64)):
        value = value.item()
    return WORDS.get(type(value), f"values of the type {type(value).__name__}")


def _kind(value: Any) -> str:
    """What one value is, in words."""
    word = "gaps" if value is None else _word(value)
    return {"gaps": "not there"}.get(word) or ONE.get(word) or f"of the type {type(value).__name__}"


def _kinds(array: Array) -> str:
    """What kinds of values there are, in words."""
    if array.dtype != object:
        return {
            "b": "truth values",
            "f": "numbers with a fraction",
            "i": "whole numbers",
            "u": "whole numbers",
            "M": "times",
            "U": "text",
            "S": "bytes",
        }.get(array.dtype.kind, f"values of the type {array.dtype}")
    found = dict.fromkeys(_word(value) for value in array.ravel().tolist() if not _is_missing(value))
    return " and ".join(list(found)[:4]) or "gaps"


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{what}{'s' if len(names) > 1 else ''} {shown}"


def check_params(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of those that were not given. Raises Mismatch for one that the model does not have, and for one
    of another type."""
    known = {param.name: param for param in signature.params}
    if strange := [name for name in given if name not in known]:
        raise Mismatch(
            f"the model has no {_listed('param', strange)}" + (f"; it has {', '.join(known)}" if known else "")
        )
    for name, value in given.items():
        param, called = known[name], f"the param {name!r}"
        if value is None:
            continue
        if param.shape is None:
            _demand(value, param.type, called)
            continue
        _demand_kind(value, (list, tuple, np.ndarray), "array", called)
        for one in value:
            _demand(one, param.type, f"an item of {called}")
    return {name: given.get(name, param.default) for name, param in known.items()}
