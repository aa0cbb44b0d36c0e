"""Make of what was asked what the model takes: columns in its order, of its types, as long as nothing is lost.

What does not fit is named by column, by what was expected and what came; the values themselves are never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        return _checked_columns(signature.inputs, _as_columns(signature.inputs, batch))  # type: ignore[arg-type]
    return _checked_tensors(signature.inputs, batch)  # type: ignore[arg-type]


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
    return array if wanted.dtype in ("str", "object") else _numbers(array, wanted.dtype, wanted.dtype, called)


def _cast(array: Array, wanted: Column, called: str) -> Array:
    if wanted.dtype != "object":
        return _numbers(array, wanted.dtype, str(wanted.type), called)
    if wanted.type == "string" and not all(
        value is None or isinstance(value, str) or value != value for value in array
    ):
        raise Mismatch(f"{called} is to be of the type string, and holds {_kinds(array)}")
    return array.astype(object)


def _numbers(array: Array, dtype: str, name: str, called: str) -> Array:
    """Cast where no value changes: whole numbers in any type that holds them, and numbers with a fraction among those
    with one."""
    kind = np.dtype(dtype)
    if array.dtype == kind:
        return array
    if array.dtype == object:
        array = _without_gaps(array, kind, name, called)
    if array.dtype.kind in "US" and kind.kind != "M":
        raise Mismatch(f"{called} is to be of the type {name}, and holds text")
    if kind.kind == "b" or array.dtype.kind == "b" or kind.kind == "M":
        return _special(array, kind, name, called)
    cast = array.astype(kind)
    if kind.kind in "iu" and not np.array_equal(cast, array):
        why = "gaps" if array.dtype.kind == "f" and np.isnan(array).any() else "numbers with a fraction or out of range"
        raise Mismatch(f"{called} is to be of the type {name}, and holds {why}")
    return cast


def _without_gaps(array: Array, kind: Any, name: str, called: str) -> Array:
    """Objects as what they are; None among numbers is a gap, as NaN is."""
    values = array.ravel().tolist()
    gaps = any(value is None for value in values)
    if kind.kind == "M":
        return np.array(values, dtype="datetime64[ns]").reshape(array.shape)
    if any(isinstance(value, (str, bytes, list, dict)) for value in values):
        raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")
    if gaps and kind.kind != "f":
        raise Mismatch(f"{called} is to be of the type {name}, and holds gaps")
    return np.array([np.nan if value is None else value for value in values]).reshape(array.shape)


def _special(array: Array, kind: Any, name: str, called: str) -> Array:
    """Truth values are no numbers, and the other way round; times come as text or as times."""
    if kind.kind == "M":
        try:
            return array.astype("datetime64[ns]")
        except (TypeError, ValueError):
            raise Mismatch(f"{called} is to be of the type {name}, and holds what is no time") from None
    if kind.kind != array.dtype.kind:
        raise Mismatch(f"{called} is to be of the type {name}, and holds {_kinds(array)}")
    return array


def _kinds(array: Array) -> str:
    """What kinds of values there are, in words."""
    if array.dtype != object:
        return {"b": "truth values", "f": "numbers with a fraction", "i": "whole numbers", "u": "whole numbers"}.get(
            array.dtype.kind, f"values of the type {array.dtype}"
        )
    words = {str: "text", bytes: "bytes", bool: "truth values", int: "whole numbers", float: "numbers with a fraction"}
    found = dict.fromkeys(words.get(type(value), "nested values") for value in array.ravel() if value is not None)
    return " and ".join(found) or "gaps"


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{what}{'s' if len(names) > 1 else ''} {shown}"


def check_params(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of those that were not given. Raises Mismatch for one that the model does not have."""
    known = {param.name: param for param in signature.params}
    if strange := [name for name in given if name not in known]:
        raise Mismatch(
            f"the model has no {_listed('param', strange)}" + (f"; it has {', '.join(known)}" if known else "")
        )
    return {name: given.get(name, param.default) for name, param in known.items()}
