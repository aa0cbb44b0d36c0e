"""What a model is asked with, and what it answers: rows as arrays; a data frame only for a model that wants names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Predictions = Union[Array, dict[str, Array], list[Any]]
"""One for each row: an array whose first dimension is the rows, several of them by name, or a list."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Rows of named columns. All of one type lie in one block."""

    names: tuple[str, ...]
    block: Array | None = None
    """Shape (rows, columns)."""
    arrays: tuple[Array, ...] = ()
    """Where there is no block: one of shape (rows,) for each name; text and nested values as objects."""

    @property
    def rows(self) -> int:
        return len(self.block if self.block is not None else self.arrays[0] if self.arrays else ())

    def column(self, name: str) -> Array:
        place = self.names.index(name)
        return self.block[:, place] if self.block is not None else self.arrays[place]

    def chosen(self, names: Sequence[str]) -> Columns:
        """Some of the columns, in the order of the names."""
        if self.block is not None:
            return Columns(tuple(names), self.block[:, [self.names.index(name) for name in names]])
        return Columns(tuple(names), None, tuple(self.column(name) for name in names))

    def matrix(self) -> Array:
        """Shape (rows, columns), of the narrowest type that holds all columns."""
        if self.block is not None:
            return self.block
        return np.stack(self.arrays, axis=1) if self.arrays else np.empty((self.rows, 0))

    def frame(self) -> Any:
        """As a pandas data frame."""
        import pandas

        if self.block is not None:
            return pandas.DataFrame(self.block, columns=list(self.names), copy=False)
        return pandas.DataFrame(dict(zip(self.names, self.arrays)), columns=list(self.names))

    def part(self, rows: slice) -> Columns:
        block = None if self.block is None else self.block[rows]
        return Columns(self.names, block, tuple(array[rows] for array in self.arrays))


@dataclasses.dataclass(frozen=True)
class Tensors:
    """Rows of tensors: the first dimension of each is the rows."""

    arrays: dict[str, Array]
    """By name; "" is the one that needs none."""

    @property
    def rows(self) -> int:
        return next((len(array) for array in self.arrays.values() if array.ndim), 0)

    @property
    def only(self) -> Array:
        """The tensor of a model that takes one."""
        (array,) = self.arrays.values()
        return array

    def part(self, rows: slice) -> Tensors:
        return Tensors({name: array[rows] for name, array in self.arrays.items()})


Batch = Union[Columns, Tensors]


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of the same names and types, as one. Raises ValueError where they do not fit together."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Tensors):
        several = [batch for batch in batches if isinstance(batch, Tensors)]
        return Tensors({name: np.concatenate([one.arrays[name] for one in several]) for name in first.arrays})
    tables = [batch for batch in batches if isinstance(batch, Columns)]
    blocks = [one.block for one in tables if one.block is not None]
    if len(blocks) == len(tables):
        return Columns(first.names, np.concatenate(blocks))
    return Columns(
        first.names, None, tuple(np.concatenate([one.column(name) for one in tables]) for name in first.names)
    )


def rows_of(predictions: Predictions, rows: slice) -> Predictions:
    """Those of some rows."""
    if isinstance(predictions, Mapping):
        return {name: array[rows] for name, array in predictions.items()}
    return predictions[rows]


def batch_of(given: Any) -> Batch:
    """What people hand to their models: a data frame, an array, a list of rows, a mapping of columns (lists) or of
    tensors (arrays). Raises ValueError for what has no rows."""
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        return _of_frame(given)
    if hasattr(given, "toarray"):
        given = given.toarray()
    if isinstance(given, Mapping):
        arrays = {str(name): _array(value) for name, value in given.items()}
        if any(not array.ndim for array in arrays.values()):
            raise ValueError("an example needs rows: each of its columns or tensors is to have several values")
        told = all(isinstance(value, np.ndarray) for value in given.values())
        if not told and all(array.ndim == 1 for array in arrays.values()):
            return Columns(tuple(arrays), None, tuple(arrays.values()))
        return Tensors(arrays)
    if isinstance(given, list) and given and all(isinstance(row, Mapping) for row in given):
        names = list(dict.fromkeys(name for row in given for name in row))
        return Columns(tuple(map(str, names)), None, tuple(_array([row.get(name) for row in given]) for name in names))
    array = _array(given)
    if not array.ndim:
        raise ValueError("an example needs rows: an array, a data frame, or a mapping of columns")
    return Tensors({"": array})


def _of_frame(frame: Any) -> Batch:
    names = tuple(str(name) for name in frame.columns)
    kinds = {str(kind) for kind in frame.dtypes}
    if len(kinds) == 1 and next(iter(kinds)).startswith(("int", "uint", "float", "bool")):
        return Columns(names, frame.to_numpy())
    return Columns(names, None, tuple(_array(frame.iloc[:, place]) for place in range(len(names))))


def _array(given: Any) -> Array:
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    try:
        array = np.asarray(given)
    except ValueError:  # lists of several lengths
        array = np.empty(len(given), dtype=object)
        array[:] = given
    return array.astype(object) if array.dtype.kind == "U" else array
