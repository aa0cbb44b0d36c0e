"""The signature of a model: which columns or tensors it takes and gives, and which params. As MLflow spells it.

The standard library is enough for what is here, so that whoever only reads it needs no arrays: `inferring` tells it
from examples, `checking` holds what was asked against it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Union

DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "binary": "object",
    "datetime": "datetime64[ns]",
}
"""Of each type of column. Nested types, `{"type": "array", …}`, are objects."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Empty for the only one, or for one known by its place."""
    type: Any
    """One of DTYPES, or, for nested values, the whole of its description."""
    required: bool = True
    numbered: bool = False
    """Whether its name is a number, as in a data frame whose columns were given none."""

    @property
    def dtype(self) -> str:
        return DTYPES.get(self.type, "object") if isinstance(self.type, str) else "object"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An array with a type and a shape; -1 is any length."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Param:
    """What a prediction can be asked with beside its rows."""

    name: str
    type: Any
    """As of a column; a mapping as the whole of its description."""
    default: Any
    shape: tuple[int, ...] | None = None


Fields = Union[tuple[Column, ...], tuple[Tensor, ...]]


@dataclasses.dataclass(frozen=True)
class Signature:
    """Empty where nothing is known."""

    inputs: Fields = ()
    outputs: Fields = ()
    params: tuple[Param, ...] = ()

    @property
    def by_column(self) -> bool:
        return bool(self.inputs) and isinstance(self.inputs[0], Column)


# -- reading and spelling ----------------------------------------------------------------------------------------


def read(written: Mapping[str, Any] | None) -> Signature:
    """Of the `signature` of an MLmodel file. Raises ValueError for what is none."""
    found = written or {}
    return Signature(_fields(found.get("inputs")), _fields(found.get("outputs")), _params(found.get("params")))


def spell(signature: Signature) -> dict[str, Any]:
    """As MLmodel has it: each side JSON in a string."""
    return {
        "inputs": _spelled([_field(one) for one in signature.inputs]),
        "outputs": _spelled([_field(one) for one in signature.outputs]),
        "params": _spelled([_param(one) for one in signature.params]),
    }


def _spelled(entries: Sequence[Mapping[str, Any]]) -> str | None:
    return json.dumps(entries) if entries else None


def _parsed(written: Any) -> list[dict[str, Any]]:
    found = json.loads(written) if isinstance(written, str) else written
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) and "type" in one for one in found):
        raise ValueError("a side of the signature is no list of columns or tensors")
    return found


def _fields(written: Any) -> Fields:
    entries = _parsed(written)
    if entries and all(one["type"] == "tensor" for one in entries):
        return tuple(_tensor(one) for one in entries)
    return tuple(_column(one) for one in entries)


def _column(entry: Mapping[str, Any]) -> Column:
    name = entry.get("name")
    numbered = isinstance(name, int) and not isinstance(name, bool)
    return Column("" if name is None else str(name), _type(entry), bool(entry.get("required", True)), numbered)


NO_TYPE = ("name", "required", "optional", "default", "shape")


def _type(entry: Mapping[str, Any]) -> Any:
    nested = {key: value for key, value in entry.items() if key not in NO_TYPE}
    return nested["type"] if len(nested) == 1 else nested


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    spec = entry["tensor-spec"]
    return Tensor(str(entry.get("name") or ""), str(spec["dtype"]), tuple(int(side) for side in spec["shape"]))


def _params(written: Any) -> tuple[Param, ...]:
    return tuple(
        Param(
            str(one["name"]),
            _type(one),
            one.get("default"),
            None if one.get("shape") is None else tuple(one["shape"]),
        )
        for one in _parsed(written)
    )


def _field(field: Column | Tensor) -> dict[str, Any]:
    name: dict[str, Any] = {"name": field.name} if field.name else {}
    if isinstance(field, Tensor):
        return {"type": "tensor", **name, "tensor-spec": {"dtype": field.dtype, "shape": list(field.shape)}}
    if field.numbered:
        name = {"name": int(field.name)}
    nested = {"type": field.type} if isinstance(field.type, str) else dict(field.type)
    return {**nested, **name, "required": field.required}


def _param(param: Param) -> dict[str, Any]:
    shape = None if param.shape is None else list(param.shape)
    type = {"type": param.type} if isinstance(param.type, str) else dict(param.type)
    return {"name": param.name, "default": param.default, "shape": shape, **type}
