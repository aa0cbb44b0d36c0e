"""HDF5: Keras weights and anything else of h5py, group by group. Needs h5py; without it, bytes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bis.formats import Context, Unreadable
from bis.formats.arrays import Array, compare_arrays
from bis.formats.documents import KERAS, read_json
from bis.formats.tally import Tally, shown
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

BLOCK = 1 << 22


class Hdf5:
    """Compared by groups, links, attributes and data sets. Links to other files are never followed."""

    name = "HDF5"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        try:
            h5py: Any = importlib.import_module("h5py")
        except ImportError:
            raise Unreadable("by meaning it needs h5py: pip install 'bis[formats]'") from None
        tally = Tally(context)
        with h5py.File(before, "r") as old, h5py.File(after, "r") as new:
            _Hdf5Walk(h5py, tally, Walk(context, tally, KERAS)).groups(old, new)
        tally.set_aside("layout of the file")
        return tally.settle(self.name, "the same groups, attributes and data sets", "value")


class _Hdf5Walk:
    def __init__(self, h5py: Any, tally: Tally, walk: Walk) -> None:
        self.h5py = h5py
        self.tally = tally
        self.walk = walk
        self.seen: set[tuple[Any, Any]] = set()

    def groups(self, old: Any, new: Any) -> None:
        stack = [("", old, new)]
        while stack:
            where, old, new = stack.pop()
            if (old.id.__hash__(), new.id.__hash__()) in self.seen:
                continue
            self.seen.add((old.id.__hash__(), new.id.__hash__()))
            self.attributes(where, old, new)
            for name in sorted(old.keys() | new.keys(), reverse=True):
                below = f"{where}/{name}"
                if name not in old or name not in new:
                    self.tally.differ(shown(below), f"only in the {'first' if name in old else 'second'}")
                elif self.linked(below, old, new, name):
                    self.one(below, old[name], new[name], stack)

    def linked(self, where: str, old: Any, new: Any, name: str) -> bool:
        """Whether a name is there itself; where it is a link, the links are compared instead."""
        first, second = (self.target(group.get(name, getlink=True)) for group in (old, new))
        if first != second:
            self.tally.differ(shown(where), f"link {shown(first)} -> {shown(second)}")
        return bool(first == second == "")

    def target(self, link: Any) -> str:
        if isinstance(link, self.h5py.ExternalLink):
            return f"{link.filename}:{link.path}"
        return str(link.path) if isinstance(link, self.h5py.SoftLink) else ""

    def one(self, where: str, old: Any, new: Any, stack: list[tuple[str, Any, Any]]) -> None:
        if type(old) is not type(new):
            self.tally.differ(shown(where), f"{type(old).__name__} -> {type(new).__name__}")
        elif isinstance(old, self.h5py.Group):
            stack.append((where, old, new))
        elif isinstance(old, self.h5py.Dataset):
            self.attributes(where, old, new)
            self.datasets(where, old, new)
        elif old != new:
            self.tally.differ(shown(where), f"{old} -> {new}")

    def attributes(self, where: str, old: Any, new: Any) -> None:
        first = {name: _plain(value) for name, value in old.attrs.items()}
        second = {name: _plain(value) for name, value in new.attrs.items()}
        self.walk.compare(first, second, shown(f"{where}@"))

    def datasets(self, where: str, old: Any, new: Any) -> None:
        if old.dtype != new.dtype or old.shape != new.shape:
            self.tally.differ(shown(where), f"{old.dtype} {old.shape} -> {new.dtype} {new.shape}")
        elif old.shape is None:
            return
        elif old.dtype.hasobject:
            self.walk.compare(_plain(old[()]), _plain(new[()]), shown(where))
        else:
            for part in _parts(old):
                if not self.array(where, old[part], new[part]):
                    return

    def array(self, where: str, old: Any, new: Any) -> bool:
        dtype = old.dtype.str if old.dtype.names is None else f"|V{old.dtype.itemsize}"
        first, second = (Array(dtype, part.shape, part.tobytes()) for part in (old, new))
        return compare_arrays(first, second, self.tally, shown(where))


def _parts(dataset: Any) -> list[Any]:
    """Slices of the first axis that fit into memory."""
    if not dataset.shape or not dataset.size:
        return [()]
    rows = max(1, BLOCK // max(1, dataset.size // dataset.shape[0] * dataset.dtype.itemsize))
    return [slice(start, start + rows) for start in range(0, dataset.shape[0], rows)]


def _plain(value: Any) -> Any:
    """An attribute as plain data. Keras keeps its configuration as JSON in a text."""
    if hasattr(value, "tolist"):
        if getattr(value, "dtype", None) is not None and value.dtype.kind in "fiucb" and value.shape:
            return Array(value.dtype.str, value.shape, value.tobytes())
        value = value.tolist()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str) and value[:1] in "{[" and value:
        try:
            return read_json(value.encode("utf-8", "surrogateescape"))
        except (Unreadable, RecursionError):
            return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
