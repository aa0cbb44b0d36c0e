"""skops: scikit-learn models as a zip of a schema and arrays, whose names and ids are memory addresses."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from bis.formats import WHOLE, Budget, Context, Unreadable
from bis.formats.archives import ZIP, open_zip
from bis.formats.arrays import Array
from bis.formats.documents import read_json
from bis.formats.npy import MAGIC, holds_objects, npy_header, records
from bis.formats.pickles import VOLATILE
from bis.formats.tally import Tally, shown
from bis.formats.values import Bag, Made, Name, Walk
from bis.nouns.verdict import Comparison

FACTS = ("__class__", "__module__", "__loader__", "__id__", "file")


class Skops:
    """Compared as the tree of objects that the schema describes, with each member in the place that names it."""

    name = "skops"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(ZIP) and (name.lower().endswith(".skops") or b".npy" in head[:100])

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        if max(before.stat().st_size, after.stat().st_size) > WHOLE:
            raise Unreadable("too large to be read as a whole")
        tally = Tally(context)
        with open_zip(before) as old, open_zip(after) as new:
            Walk(context, tally, VOLATILE).compare(tree_of(old), tree_of(new))
        tally.set_aside("address", "names of members and __id__ of objects")
        return tally.settle(self.name, "the same objects, read without making them", "value")


def tree_of(box: zipfile.ZipFile) -> Any:
    """The objects that an open file describes. Raises Unreadable."""
    if "schema.json" not in box.namelist():
        raise Unreadable("a zip without schema.json")
    budget = Budget()
    schema = read_json(_member(box, "schema.json", budget))
    if not isinstance(schema, dict) or "protocol" not in schema:
        raise Unreadable("schema.json has no protocol")
    head = {key: schema.pop(key) for key in ("protocol", "_skops_version") if key in schema}
    used: set[str] = set()
    tree = _node(schema, box, used, budget)
    unused = sorted(set(box.namelist()) - used - {"schema.json"})
    return {"": tree, "skops": head, "unused": [_member(box, name, budget) for name in unused]}


def _node(value: Any, box: zipfile.ZipFile, used: set[str], budget: Budget) -> Any:
    if isinstance(value, list):
        return [_node(item, box, used, budget) for item in value]
    if not isinstance(value, dict):
        return value
    if "__loader__" not in value:
        return {key: _node(item, box, used, budget) for key, item in value.items()}
    loader, what = str(value["__loader__"]), Name(str(value.get("__module__")), str(value.get("__class__")))
    if loader == "JsonNode":
        return read_json(str(value.get("content")).encode())
    if loader == "TypeNode":
        return what
    content = _node(value.get("content"), box, used, budget)
    if loader == "SetNode" and isinstance(content, list):
        return Bag(content, frozen=what.name == "frozenset")
    if what in (Name("builtins", "list"), Name("builtins", "tuple")) and isinstance(content, list):
        return content if what.name == "list" else tuple(content)
    rest = {key: _node(item, box, used, budget) for key, item in value.items() if key not in FACTS and key != "content"}
    made = Made(what, loader)
    if what == Name("builtins", "dict") and isinstance(content, dict):
        made.pairs.items, made.args = list(content.items()), rest
        return made
    made.state = content
    made.args = (loader, rest)
    if "file" in value:
        used.add(str(value["file"]))
        _fill(made, _member(box, str(value["file"]), budget), budget)
    return made


def _fill(made: Made, data: bytes, budget: Budget) -> None:
    """Put the content of a member where the schema names it."""
    if data.startswith(MAGIC):
        file = io.BytesIO(data)
        dtype, fortran, shape = npy_header(file)
        if isinstance(dtype, str) and not holds_objects(dtype):
            made.array = Array(dtype, shape, file.read(), fortran)
            return
        if not holds_objects(dtype):
            made.array, made.args = records(dtype, shape, file.read(), fortran), (*made.args, repr(dtype))
            return
    if data.startswith(ZIP):
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            made.state = {name: _part(_member(inner, name, budget), budget) for name in sorted(inner.namelist())}
        return
    made.state = data


def _part(data: bytes, budget: Budget) -> Any:
    made = Made(Name("numpy", "ndarray"), ())
    _fill(made, data, budget)
    return made


def _member(box: zipfile.ZipFile, name: str, budget: Budget) -> bytes:
    """Counted each time: many objects may name one member, and each holds what it says."""
    try:
        info = box.getinfo(name)
    except KeyError:
        raise Unreadable(f"{shown(name)} is missing") from None
    if info.file_size > WHOLE:
        raise Unreadable(f"{shown(name)} is too large")
    budget.spend(info.file_size)
    return box.read(info)
