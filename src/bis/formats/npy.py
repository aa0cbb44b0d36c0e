"""NumPy's `.npy` files."""

from __future__ import annotations

import ast
import io
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bis.formats import MEMBERS, WHOLE, Context, Unreadable
from bis.formats.arrays import Array, Buffer, itemsize, without_gaps
from bis.formats.pickles import VOLATILE
from bis.formats.tally import Tally, plural, shown
from bis.formats.unpickle import read_pickle
from bis.formats.values import Walk
from bis.nouns.verdict import Comparison

MAGIC = b"\x93NUMPY"


class Npy:
    """NumPy's `.npy`. An array of objects holds a pickle, which is compared as one."""

    name = "npy"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        with before.open("rb") as old, after.open("rb") as new:
            firsts, seconds = read_all(old), read_all(new)
            if len(firsts) != len(seconds):
                tally.differ("", f"{plural(len(firsts), 'array')} -> {plural(len(seconds), 'array')}")
            walk = Walk(context, tally, VOLATILE)
            for number, (first, second) in enumerate(zip(firsts, seconds, strict=False), 1):
                walk.compare(first, second, f"array {number}" if len(firsts) > 1 else "")
        return tally.settle(self.name, "the same array", "array")


def read_all(file: BinaryIO) -> list[Any]:
    """Every array of an open `.npy` file, as `numpy.save` may be called more than once, and what is behind the last."""
    size = os.fstat(file.fileno()).st_size
    found: list[Any] = []
    while (start := file.tell()) < size:
        if len(found) > MEMBERS:
            raise Unreadable(f"more than {MEMBERS:,} arrays")
        more = file.read(len(MAGIC))
        file.seek(start)
        found.append(read_npy(file) if more == MAGIC else file.read(WHOLE))
    return found


def read_npy(file: BinaryIO) -> Array | list[Any]:
    """The array at which an open `.npy` file stands, its data mapped and not read; of records and of Python objects
    type, shape and values. The file is left behind it."""
    dtype, fortran, shape = npy_header(file)
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    if holds_objects(dtype):
        content = io.BytesIO(file.read(WHOLE))
        value = read_pickle(content)
        file.seek(start + content.tell())
        return [str(dtype), shape, value]
    width = record_size(dtype)
    needed = width * math.prod(shape)
    if size - start < needed:
        raise Unreadable(f"cut off: {size - start:,} bytes of {needed:,}")
    file.seek(start + needed)
    data = memoryview(mmap.mmap(file.fileno(), start + needed, access=mmap.ACCESS_READ))[start:] if needed else b""
    if isinstance(dtype, str):
        return Array(dtype, shape, data, fortran)
    return [repr(dtype), records(dtype, shape, data, fortran)]


def records(dtype: Any, shape: tuple[int, ...], data: Buffer, fortran: bool) -> Array:
    """An array of records, without what lies in the gaps between their fields."""
    if len(data) > WHOLE:
        raise Unreadable(f"records of {len(data) >> 20:,} MiB (limit {WHOLE >> 20} MiB)")
    width = record_size(dtype)
    return Array(f"|V{width}", shape, without_gaps(data, width, _places(dtype)), fortran)


def holds_objects(dtype: Any) -> bool:
    """Whether there are Python objects in a type: they are pickled."""
    if isinstance(dtype, str):
        return dtype.lstrip("<>=|").startswith("O")
    return any(holds_objects(field[1]) for field in dtype) if isinstance(dtype, list) else holds_objects(dtype[0])


def record_size(dtype: Any) -> int:
    """Bytes of one value of a type as a header writes it: a name, a pair of a type and a shape, or a list of fields."""
    if isinstance(dtype, str):
        width = itemsize(dtype)
    elif isinstance(dtype, tuple) and len(dtype) == 2:
        width = record_size(dtype[0]) * math.prod(dtype[1] if isinstance(dtype[1], tuple) else (dtype[1],))
    elif isinstance(dtype, list):
        width = sum(length for _, length in _fields(dtype))
    else:
        width = None
    if width is None or width < 0:
        raise Unreadable(f"the type {shown(dtype)} is not known")
    return width


def _fields(dtype: list[Any]) -> list[tuple[str, int]]:
    """The name and the bytes of each field, in order; one without a name is a gap."""
    return [(str(name), record_size((kind, *shape) if shape else kind)) for name, kind, *shape in dtype]


def _places(dtype: Any) -> Iterator[tuple[int, int]]:
    """Where the fields of a record stand: offset, length."""
    at = 0
    for name, length in _fields(dtype) if isinstance(dtype, list) else [("all", record_size(dtype))]:
        if name:
            yield at, length
        at += length


def npy_header(file: BinaryIO) -> tuple[Any, bool, tuple[int, ...]]:
    """Type, order and shape; the file is left at the first value."""
    start = file.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise Unreadable("no NumPy header")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > 1 << 20:
        raise Unreadable(f"a header of {length:,} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8" if start[6] > 2 else "latin-1"))
        shape = tuple(int(number) for number in header["shape"])
        if any(number < 0 for number in shape):
            raise ValueError("a negative length")
        return header["descr"], bool(header["fortran_order"]), shape
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise Unreadable(f"a damaged header ({error})") from None
