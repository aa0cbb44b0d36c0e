"""Tensors: PyTorch's files (zip and the older one) and safetensors, compared tensor by tensor.

A tensor is compared by type, shape, stride and the values that it shows of its storage. Names of storages, the
folder that PyTorch names after the file, and the id it draws for a file are set aside.
"""

from __future__ import annotations

import io
import json
import math
import mmap
from collections.abc import Callable
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from bis.formats import WHOLE, Compare, Context, Unreadable
from bis.formats.archives import ZIP, Archive, Box, open_zip, zip_box
from bis.formats.arrays import Array, compare_arrays
from bis.formats.documents import read_bounded
from bis.formats.pickles import VOLATILE
from bis.formats.rules import STRICT
from bis.formats.tally import Tally, plural, shown
from bis.formats.text import Reading
from bis.formats.unpickle import read_pickle
from bis.formats.values import Made, Name, Pairs, Walk
from bis.nouns.verdict import Comparison

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<b1",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "UntypedStorage": "<u1",
    "QUInt8Storage": "<u1",
    "QInt8Storage": "<i1",
    "QInt32Storage": "<i4",
}
WIDTHS = {"bf16": 2} | {f"<{code}": int(code[1:]) for code in "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 b1 c8 c16".split()}
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bf16", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "<b1", "C64": "<c8",
}  # fmt: skip
TORCH = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "bf16", "int64": "<i8", "int32": "<i4",
    "int16": "<i2", "int8": "<i1", "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "<u1", "bool": "<b1",
    "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
LOADED = Name("torch.storage", "_load_from_bytes")
REBUILDS = ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter", "_rebuild_tensor_v3")
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".model")
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of `torch.save(..., _use_new_zipfile_serialization=False)` begins: a magic number as a pickle."""
IGNORED = {
    ".data/serialization_id": "id of the file",
    ".storage_alignment": "packing",
    ".format_version": "packing",
}


MOVED = 8_000_000
"""Most values of a tensor that are put in another order."""


class Storage(Made):
    """The values that one or more tensors show, read when the first one is built."""

    __slots__ = ("data", "dtype", "location", "read")

    def __init__(self, dtype: str, location: Any, read: Callable[[], bytes]) -> None:
        super().__init__(Name("torch", "storage"), (dtype, location))
        self.dtype = dtype
        self.location = location
        self.read = read
        self.data: bytes | None = None

    def bytes(self) -> bytes:
        if self.data is None:
            self.data = self.read()
        return self.data


class TorchZip(Archive):
    """`torch.save`, TorchScript."""

    name = "PyTorch"

    def __init__(self, compare: Compare) -> None:
        super().__init__(compare, IGNORED)

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(ZIP) and (b"/data" in head[:200] or name.lower().endswith(SUFFIXES))

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        with open_zip(before) as old, open_zip(after) as new:
            first, second = zip_box(old), zip_box(new)
            if "data.pkl" not in first.members or "data.pkl" not in second.members:
                raise Unreadable("a zip without data.pkl")
            tally = Tally(context)
            told = self._objects(first, second, context, tally)
            rest = self.compare_boxes(_without(first, told[0]), _without(second, told[1]), context)
            _take_rest(tally, rest)
        return tally.settle(self.name, "the same objects and tensors", "tensor or value")

    def _objects(self, old: Box, new: Box, context: Context, tally: Tally) -> tuple[set[str], set[str]]:
        """Compare what is reached through the pickles; the members of each side that this was."""
        told: tuple[set[str], set[str]] = set(), set()
        for name in ("data.pkl", "constants.pkl"):
            if name in old.members and name in new.members:
                (one, ones), (other, others) = objects_of(old, name), objects_of(new, name)
                Walk(context, tally, VOLATILE).compare(one, other)
                told[0].update({name}, ones)
                told[1].update({name}, others)
        return told


def _take_rest(tally: Tally, rest: Comparison) -> None:
    for mask in rest.masked:
        one, _, other = mask.example.partition(" -> ")
        tally.set_aside(mask.rule, one, other, mask.count)
    if not rest.same:
        for line in rest.detail.split("\n"):
            tally.differ("", line, rest.causes[0] if rest.causes else "")


def _without(box: Box, told: set[str]) -> Box:
    return Box({name: member for name, member in box.members.items() if name not in told}, box.root)


def objects_of(box: Box, name: str) -> tuple[Any, set[str]]:
    """The objects of a pickle, and the members that it names."""
    folder = name.removesuffix(".pkl")
    data = _read(box, name)
    storages: dict[str, Storage] = {}

    def persistent(key: Any) -> Any:
        return _storage(key, storages, lambda number: _read(box, f"{folder}/{number}"))

    found = with_tensors(read_pickle(io.BytesIO(data), persistent=persistent))
    return found, {f"{folder}/{number}" for number in storages}


def _read(box: Box, name: str) -> bytes:
    if name not in box.members:
        raise Unreadable(f"{shown(name)} is missing")
    if box.members[name].size > WHOLE * 4:
        raise Unreadable(f"{shown(name)} is too large")
    with box.members[name].open() as file:
        return bytes(file.read())


def _storage(key: Any, known: dict[str, Storage], read: Callable[[str], bytes]) -> Any:
    """What a persistent id of PyTorch stands for: ('storage', type, key, location, length)."""
    if not isinstance(key, tuple) or len(key) < 4 or key[0] != "storage" or not isinstance(key[1], Name):
        return Made(Name("", "persistent id"), key)
    number = str(key[2])
    if number not in known:
        known[number] = Storage(STORAGES.get(key[1].name, key[1].name), key[3], lambda: read(number))
    return known[number]


def with_tensors(root: Any) -> Any:
    """The tree with each rebuilt tensor as an array; a plain pickle holds them as files of PyTorch. Works in place,
    without recursion."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen or not isinstance(node, (list, tuple, Pairs, Made)):
            continue
        seen.add(id(node))
        if isinstance(node, Storage):
            data = node.bytes()
            width = WIDTHS.get(node.dtype)
            node.array = Array(node.dtype if width else "<u1", (len(data) // (width or 1),), data)
        elif isinstance(node, Made):
            if isinstance(node.what, Name) and node.what.module == "torch._utils" and node.what.name in REBUILDS:
                _rebuild(node)
            elif node.what == LOADED and isinstance(node.args, tuple) and _is_legacy(*node.args):
                node.args = (_legacy(io.BytesIO(node.args[0])),)
            stack += [node.args, node.state, node.items, node.pairs]
        elif isinstance(node, Pairs):
            stack += [item for pair in node.items for item in pair]
        else:
            stack += node
    return root


def _rebuild(node: Made) -> None:
    args = node.args
    if not isinstance(args, tuple) or not args or not isinstance(args[0], Storage):
        return
    storage, offset, shape, stride = args[:4]
    location = (storage.location, stride, *args[4:])
    dtype = storage.dtype
    if node.what.name == "_rebuild_tensor_v3":
        dtype = TORCH.get(args[6].name, "") if len(args) > 6 and isinstance(args[6], Name) else ""
    if dtype not in WIDTHS:
        return  # compared by its whole storage, byte by byte
    try:
        data = gathered(storage.bytes(), WIDTHS[dtype], offset, shape, stride)
    except (TypeError, ValueError, IndexError) as error:
        raise Unreadable(f"a damaged tensor ({error})") from None
    node.args, node.array = location, Array(dtype, shape, data)


def gathered(data: bytes, width: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The values that a tensor shows of its storage, in C order."""
    count = math.prod(shape)
    if count == 0:
        return b""
    if min(offset, *shape, *stride, 0) < 0 or len(shape) != len(stride):
        raise ValueError("negative or missing lengths")
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if (last + 1) * width > len(data):
        raise ValueError(f"it needs {(last + 1) * width:,} of {plural(len(data), 'byte')}")
    expected = 1
    for length, step in zip(reversed(shape), reversed(stride), strict=True):
        if length > 1 and step != expected:
            break
        expected *= length
    else:
        return data[offset * width : (offset + count) * width]
    if count > MOVED:
        raise ValueError("too large to be put in order")
    return _strided(data, width, offset, shape, stride)


def _strided(data: bytes, width: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    starts = [offset]
    for length, step in zip(shape, stride, strict=True):
        starts = [start + number * step for start in starts for number in range(length)]
    return b"".join([data[start * width : (start + 1) * width] for start in starts])


class ScriptCode:
    """The source that TorchScript writes for a module. Constants of a class stand in any order."""

    name = "TorchScript source"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.startswith("code/__torch__") and name.endswith((".py", ".debug_pkl"))

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        if context.name.endswith(".debug_pkl"):
            tally.set_aside("places in the source")
        else:
            old, new = (sorted_constants(path.read_bytes()) for path in (before, after))
            Reading(context, tally, STRICT).compare(io.BytesIO(old), io.BytesIO(new))
            if not tally.count:
                tally.set_aside("order of constants")
        return tally.settle(self.name, "the same source", "line")


def sorted_constants(source: bytes) -> bytes:
    """The source of a module with the constants of each class in one order: torch writes them as a set has them."""
    lines: list[bytes] = []
    for constant, group in groupby(source.split(b"\n"), lambda line: b" : Final[" in line):
        block = list(group)
        lines += sorted(block) if constant else block
    return b"\n".join(lines)


class TorchLegacy:
    """PyTorch before 1.6, and `_use_new_zipfile_serialization=False`."""

    name = "PyTorch (legacy)"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(LEGACY)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = read_legacy(before), read_legacy(after)
        Walk(context, tally, VOLATILE).compare(old, new)
        tally.set_aside("address", "names of storages")
        return tally.settle(self.name, "the same objects and tensors", "tensor or value")


def read_legacy(path: Path) -> Any:
    """The objects of a file of PyTorch before 1.6. Raises Unreadable."""
    return with_tensors(_legacy(io.BytesIO(read_bounded(path, WHOLE))))


def _is_legacy(data: Any = None, *more: Any) -> bool:
    return isinstance(data, bytes) and data.startswith(LEGACY) and not more


def _legacy(file: io.BytesIO) -> Any:
    """Five pickles (magic number, version, machine, objects, names of storages), then each storage: length, values."""
    storages: dict[str, Storage] = {}
    data: dict[str, bytes] = {}

    def persistent(key: Any) -> Any:
        if isinstance(key, tuple) and len(key) > 2 and key[0] == "module":
            return key[1]
        return _storage(key, storages, lambda number: data[number])

    head = [read_pickle(file) for _ in range(3)]
    found = read_pickle(file, persistent=persistent)
    names = read_pickle(file)
    for name in names if isinstance(names, list) else []:
        storage = storages.get(str(name))
        width = WIDTHS.get(storage.dtype) if storage else 1
        if width is None:
            raise Unreadable(f"the type {shown(storage.dtype if storage else '')} is not known")
        length = int.from_bytes(file.read(8), "little")
        data[str(name)] = file.read(length * width)
        if len(data[str(name)]) != length * width:
            raise Unreadable("cut off")
    return [head[1], head[2], found]


class Safetensors:
    name = "safetensors"

    def recognises(self, name: str, head: bytes) -> bool:
        return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        with ExitStack() as stack:
            old, new = (_safetensors(stack.enter_context(path.open("rb"))) for path in (before, after))
            if list(old[0]) != list(new[0]) and dict(old[0]) == dict(new[0]):
                tally.set_aside("key order")
            Walk(context, tally).compare(old[0], new[0], "metadata")
            for name in sorted(old[1].keys() | new[1].keys()):
                if name not in old[1] or name not in new[1]:
                    tally.differ(shown(name), f"only in the {'first' if name in old[1] else 'second'}")
                else:
                    compare_arrays(old[1][name], new[1][name], tally, shown(name))
            tally.set_aside("order in the file")
        return tally.settle(self.name, f"the same {plural(len(old[1]), 'tensor')}", "tensor")


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors of a file, by name. Raises Unreadable."""
    with path.open("rb") as file:
        return _safetensors(file)[1]


def _safetensors(file: BinaryIO) -> tuple[dict[str, Any], dict[str, Array]]:
    length = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(length))
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + length :]
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, facts in header.items():
            start, end = facts["data_offsets"]
            if not 0 <= start <= end <= len(mapped):
                raise ValueError(f"{name} lies outside of the file")
            dtype = DTYPES.get(facts["dtype"]) or f"?{facts['dtype']}"  # compared by its name and its bytes
            tensors[name] = Array(dtype, facts["shape"], mapped[start:end])
        if sum(len(tensor.data) for tensor in tensors.values()) != len(mapped):
            raise ValueError("the tensors do not fill the file")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"a damaged header ({error})") from None
    return metadata, tensors
