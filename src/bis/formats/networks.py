"""The weights of networks in files that are more than an archive of tensors: PyTorch's exported programs, models of
Keras, and the checkpoints of TensorFlow's SavedModels. Nothing of a framework is run."""

from __future__ import annotations

import importlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bis.formats import PARSED, WHOLE, Unreadable
from bis.formats.archives import Box
from bis.formats.arrays import Array, itemsize
from bis.formats.bundles import GRAPH, entries
from bis.formats.documents import read_bounded
from bis.formats.protobufs import fields
from bis.formats.tensors import gathered

TORCH: Final = dict(
    enumerate(("|u1", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", "", "<c8", "<c16", "|b1", "bf16"), 1)
)
"""Types by the numbers that an exported program has for them."""
TENSORFLOW: Final = {
    **dict(enumerate(("<f4", "<f8", "<i4", "|u1", "<i2", "|i1", "", "<c8", "<i8", "|b1"), 1)),
    **dict(zip((14, 17, 18, 19, 22, 23), ("bf16", "<u2", "<c16", "<f2", "<u4", "<u8"), strict=True)),
}
VALUE: Final = "/.ATTRIBUTES/VARIABLE_VALUE"
PACKING: Final = 1000
"""Values may take this many times the size of their file, as no way of packing does better."""
TOGETHER: Final = 4 * WHOLE
"""Most bytes that the weights of an exported program have, as many as one member of PyTorch's other files."""
HDF5: Final = b"\x89HDF\r\n\x1a\n"


def of_exported(box: Box) -> dict[str, Array]:
    """The weights and constants of an exported program (`pt2`), by their names in the module. Raises Unreadable before
    it reads any of more than can be read: many names may show the values of one member."""
    named = dict(_named(box))
    if sum(box.members[member].size for member, _ in named.values()) > TOGETHER:
        raise _too_large()
    found: dict[str, Array] = {}
    left = TOGETHER
    for name, (member, one) in named.items():
        if array := _exported(box, member, one):
            left -= len(array.data)  # which may show each value of its member many times
            if left < 0:
                raise _too_large()
            found[name] = array
    return found


def _named(box: Box) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """The name of each tensor, with the member that has its values and what is said of them."""
    for folder, config in (("weights", "model_weights_config"), ("constants", "model_constants_config")):
        member = f"data/{folder}/{config}.json"
        known = json.loads(_read(box, member, PARSED))["config"] if member in box.members else {}
        for name, one in known.items():
            if not one.get("use_pickle") and (place := f"data/{folder}/{one['path_name']}") in box.members:
                yield name, (place, one)


def _too_large() -> Unreadable:
    return Unreadable(f"its weights have more than {TOGETHER >> 20:,} MiB")


def _exported(box: Box, member: str, one: Mapping[str, Any]) -> Array | None:
    about = one.get("tensor_meta") or {}
    dtype = TORCH.get(about.get("dtype", 0), "")
    if not dtype:
        return None
    shape, stride = (tuple(side["as_int"] for side in about[key]) for key in ("sizes", "strides"))
    offset = about["storage_offset"]["as_int"]
    return Array(dtype, shape, gathered(_read(box, member, WHOLE), itemsize(dtype) or 1, offset, shape, stride))


def _read(box: Box, name: str, most: int) -> bytes:
    member = box.members[name]
    if member.size > most:
        raise Unreadable(f"{name} has more than {most >> 20} MiB")
    with member.open() as file:
        return bytes(file.read(most + 1))


def of_keras(box: zipfile.ZipFile) -> dict[str, Array]:
    """The weights of a Keras model, without the state of its optimizer; none where h5py is not installed."""
    try:
        info = box.getinfo("model.weights.h5")
    except KeyError:
        return {}
    if info.file_size > WHOLE:
        raise Unreadable(f"its weights have more than {WHOLE >> 20} MiB")
    with box.open(info) as file:
        return of_hdf5(io.BytesIO(file.read(WHOLE + 1)), info.file_size)


def of_hdf5(file: Any, size: int) -> dict[str, Array]:
    """The data sets of an HDF5 file that hold numbers, by their paths."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError:
        return {}
    left, found = min(WHOLE, PACKING * size), dict[str, Array]()
    try:
        with h5py.File(file, "r") as opened:
            for name, one in _data_sets(h5py, opened):
                left -= int(one.size or 0) * one.dtype.itemsize
                if left < 0:
                    raise Unreadable("its weights are larger than can be read")
                if one.shape is not None and one.dtype.kind in "fiub":
                    found[name] = Array(one.dtype.str, one.shape, one[()].tobytes())
    except (OSError, RuntimeError) as error:
        raise Unreadable(f"a damaged HDF5 file ({error})") from None
    return found


def _data_sets(h5py: Any, top: Any) -> Iterator[tuple[str, Any]]:
    """Those in this file itself, each group once: links are not followed, and a group may be in itself."""
    stack, seen = [("", top)], set[int]()
    while stack:
        where, group = stack.pop()
        if (at := h5py.h5o.get_info(group.id).addr) in seen:
            continue
        seen.add(at)
        for name in sorted(group, reverse=True):
            place = f"{where}/{name}" if where else name
            if place.startswith("optimizer") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            one = group[name]
            if isinstance(one, h5py.Group):
                stack.append((place, one))
            elif isinstance(one, h5py.Dataset) and not one.is_virtual and not one.external:
                yield place, one


def of_checkpoint(index: Path) -> dict[str, Array]:
    """The variables of a checkpoint of TensorFlow, whose index this is and whose values lie beside it, by the names
    that their owners gave them."""
    known = {
        key: {name: values[-1] for name, values in facts.items()}
        for key, facts in entries(read_bounded(index)).items()
        if key
    }
    beside = [
        path
        for path in index.parent.glob("*")
        if path.name.startswith(f"{index.stem}.data-") and re.search(r"\d{5}-of-\d{5}$", path.name)
    ]
    if sum(path.stat().st_size for path in beside) > WHOLE:
        raise Unreadable(f"its weights have more than {WHOLE >> 20} MiB")
    shards = {int(path.name[-14:-9]): read_bounded(path, WHOLE) for path in beside}
    graph = known.pop(GRAPH, None)
    names = _names(_bytes(graph, shards)) if graph else {}
    found: dict[str, dict[str, Array]] = {}
    for key, about in known.items():
        dtype = TENSORFLOW.get(about.get("dtype", 0))
        if dtype and not key.startswith("save_counter"):
            array = Array(dtype, _shape(about.get("shape", b"")), _bytes(about, shards))
            found.setdefault(names.get(key, key), {})[key.removesuffix(VALUE)] = array
    return dict(_called(found))


def _called(found: Mapping[str, Mapping[str, Array]]) -> Iterator[tuple[str, Array]]:
    """Keras lists a variable several times, in the order of a set: by its full name it is one. Where several variables
    have one name, they are called by their places."""
    for name, arrays in found.items():
        first = next(iter(arrays.values()))
        if all((one.shape, bytes(one.data)) == (first.shape, bytes(first.data)) for one in arrays.values()):
            yield name.removesuffix(VALUE), first
        else:
            yield from arrays.items()


def _bytes(about: Mapping[str, Any], shards: Mapping[int, bytes]) -> bytes:
    start, size = about.get("offset", 0), about.get("size", 0)
    data = shards.get(about.get("shard", 0), b"")
    if start + size > len(data):
        raise Unreadable("its values are not all there")
    return data[start : start + size]


def _shape(told: bytes) -> tuple[int, ...]:
    """Of a message: a field 2 for each side, whose field 1 is its length."""
    sides = [bytes(value) for number, kind, value in fields(told) if (number, kind) == (2, 2)]
    return tuple(next((int(value) for number, _, value in fields(side) if number == 1), 0) for side in sides)


def _names(told: bytes) -> dict[str, str]:
    """Key in the checkpoint -> the full name of a variable. `told` is a text that holds the
    graph of objects: its length, a checksum, and a message."""
    length = shift = at = 0
    while at < len(told) and shift < 64:
        length |= (told[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if told[at - 1] < 128:
            break
    graph = told[at + 4 : at + 4 + length]
    found: dict[str, str] = {}
    for number, kind, node in fields(graph):
        for inner, wire, attribute in fields(bytes(node)) if (number, kind) == (1, 2) else ():
            if (inner, wire) != (2, 2):
                continue
            words = {
                part: bytes(value).decode("utf-8", "replace") for part, how, value in fields(attribute) if how == 2
            }
            if words.get(2) and words.get(3):
                found[words[3]] = words[2]
    return found
