"""HDF5: Keras weights and anything else of h5py, group by group. Needs h5py; without it, bytes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from bis.formats import UNPACKED, WHOLE, Context, Unreadable
from bis.formats.arrays import Array, compare_arrays
from bis.formats.documents import KERAS, read_json
from bis.formats.tally import Tally, shown
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

BLOCK = 1 << 22
PACKING = 1000
"""Values may take this many times the size of their file, as no way of packing does better."""
OBJECTS = 10_000_000
"""Most texts, lists or references of one data set, which become Python objects."""


class Hdf5:
    """Compared by groups, links, attributes and data sets. Links to other files are never followed."""

    name = "HDF5"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        try:
            h5py: Any = importlib.import_module("h5py")
        except ImportError:
            raise Unreadable("by meaning it needs h5py, which comes with the extra 'formats' of bis") from None
        tally = Tally(context)
        with h5py.File(before, "r") as old, h5py.File(after, "r") as new:
            limit = max(UNPACKED, PACKING * max(before.stat().st_size, after.stat().st_size))
            _Hdf5Walk(h5py, tally, Walk(context, tally, KERAS), limit).groups(old, new)
        tally.set_aside("layout of the file")
        return tally.settle(self.name, "the same groups, attributes and data sets", "value")


class _Hdf5Walk:
    def __init__(self, h5py: Any, tally: Tally, walk: Walk, limit: int) -> None:
        self.h5py = h5py
        self.left = limit
        """Bytes of values that may still be read: a small file can claim to hold any number of them."""
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
        first, second = ({name: self.plain(value, one) for name, value in one.attrs.items()} for one in (old, new))
        for name in first.keys() & second.keys():
            types = [one.attrs.get_id(name).get_type() for one in (old, new)]
            if types[0] != types[1] and not (self.fixed(old.attrs, name) and self.fixed(new.attrs, name)):
                self.tally.differ(shown(f"{where}@.{name}"), "the type of its values in the file")
        self.walk.compare(first, second, shown(f"{where}@"))

    def fixed(self, attributes: Any, name: str) -> bool:
        """Whether an attribute has texts of a fixed length: that length is the one of the longest text."""
        return bool(attributes.get_id(name).dtype.kind == "S")

    def datasets(self, where: str, old: Any, new: Any) -> None:
        if old.dtype != new.dtype or old.shape != new.shape:
            self.tally.differ(shown(where), f"{old.dtype} {old.shape} -> {new.dtype} {new.shape}")
        elif old.id.get_type() != new.id.get_type():
            self.tally.differ(shown(where), "the type of its values in the file")
        elif old.shape is None:
            return
        else:
            for one in (old, new):
                self.bound(where, one)
            if old.dtype.hasobject:
                self.walk.compare(self.plain(old[()], old), self.plain(new[()], new), shown(where))
                return
            for part in _parts(old):
                if not self.array(where, old[part], new[part]):
                    return

    def bound(self, where: str, dataset: Any) -> None:
        """Raise Unreadable for values that lie in other files, and for more of them than can be read."""
        if dataset.is_virtual or dataset.external:
            raise Unreadable(f"the values of {shown(where)} lie in other files")
        row = dataset.size // max(1, dataset.shape[0] if dataset.shape else 1) * dataset.dtype.itemsize
        self.left -= dataset.size * dataset.dtype.itemsize
        if self.left < 0 or row > WHOLE or (dataset.dtype.hasobject and dataset.size > OBJECTS):
            raise Unreadable(f"{shown(where)} says that it holds {dataset.size:,} values")

    def plain(self, value: Any, owner: Any) -> Any:
        """Values as plain data: numbers with their type, a reference as what it refers to in the file of `owner`."""
        if isinstance(value, self.h5py.RegionReference) and value:
            space = self.h5py.h5r.get_region(value, owner.id)
            return ["region", self.named(value, owner), space.get_select_type(), _selected(self.h5py, space)]
        if isinstance(value, self.h5py.Reference):
            return ["reference", self.named(value, owner)]
        if isinstance(value, self.h5py.Empty):
            return f"empty {value.dtype}"
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            if value.dtype.kind in "fiucb":
                return Array(value.dtype.str, value.shape, value.tobytes())
            if not value.dtype.hasobject and value.dtype.kind == "V":
                return Array(f"|V{value.dtype.itemsize}", value.shape, value.tobytes())
            return [str(value.dtype), list(value.shape), self.plain(value.tolist(), owner)]
        if isinstance(value, (list, tuple)):
            return [self.plain(item, owner) for item in value]
        if isinstance(value, (str, bytes)):
            return _text(value)
        return value if isinstance(value, (int, float, bool, type(None))) else str(value)

    def named(self, reference: Any, owner: Any) -> str:
        return str(owner.file[reference].name) if reference else ""

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


def _text(value: str | bytes) -> Any:
    """A text as itself, or as the JSON that it is: Keras keeps its configuration so."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if not text or text[0] not in "{[":
        return value
    try:
        found = read_json(text.encode("utf-8", "surrogateescape"))
    except (Unreadable, RecursionError):
        return value
    return found if value is text else [found, "as bytes"]


def _selected(h5py: Any, space: Any) -> list[Any]:
    """What a region refers to: its blocks or its points."""
    if space.get_select_type() == h5py.h5s.SEL_POINTS:
        return list(space.get_select_elem_pointlist().tolist())
    if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS:
        return list(space.get_select_hyper_blocklist().tolist())
    return []
