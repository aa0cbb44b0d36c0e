"""Arrays: compared by type, shape and values, whatever the order in memory; and NumPy's `.npy` files."""

from __future__ import annotations

import ast
import math
import mmap
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bis.formats import Context, Unreadable
from bis.formats.tally import Tally, plural, shown
from bis.nouns.verdict import Comparison

Buffer = bytes | bytearray | memoryview
BLOCK = 1 << 16
"""Bytes that are looked at together; a block of equal bytes is not looked into."""
NOISE = {2: 1e-2, 4: 1e-5, 8: 1e-9}
"""By bytes of a number: differences up to this fraction of the largest value touch only last digits."""
MAGIC = b"\x93NUMPY"
CODES = {"f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
CODES |= {"c8": "f", "c16": "d", "M8": "q", "m8": "q", "b1": "B"}


class Array:
    """Values of one type in C order. `dtype` as NumPy writes it (`<f8`), or `bf16`."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: Sequence[int], data: Buffer, fortran: bool = False) -> None:
        self.dtype = dtype
        self.shape = tuple(shape)
        size = itemsize(dtype)
        if size is not None and size * math.prod(self.shape) != len(data):
            raise Unreadable(f"an array of {shown(self.shape)} {dtype} has {len(data):,} bytes")
        needed = fortran and len([length for length in self.shape if length > 1]) > 1
        self.data: Buffer = _c_order(data, self.shape, size) if needed and size else data


def itemsize(dtype: str) -> int | None:
    """Bytes of one value; None for a type this module does not know (records, objects)."""
    if dtype == "bf16":
        return 2
    kind, digits = dtype.lstrip("<>=|")[:1], dtype.lstrip("<>=|")[1:].partition("[")[0]
    if not digits.isdigit() or kind not in "fiucbMmSUVO":
        return None
    return int(digits) * (4 if kind == "U" else 1)


def compare_arrays(old: Array, new: Array, tally: Tally, where: str) -> bool:
    """Whether two arrays hold the same; else the difference is in `tally`."""
    if old.dtype != new.dtype:
        tally.differ(where, f"type {old.dtype} -> {new.dtype}")
    elif old.shape != new.shape:
        tally.differ(where, f"shape {shown(old.shape)} -> {shown(new.shape)}")
    elif memoryview(old.data) != memoryview(new.data):
        what, cause = difference(old.dtype, old.shape, old.data, new.data)
        tally.differ(where, what, cause)
    else:
        return True
    return False


def difference(dtype: str, shape: tuple[int, ...], old: Buffer, new: Buffer) -> tuple[str, str]:
    """How many values differ, how far, and the cause if the difference itself shows one."""
    size = itemsize(dtype)
    total = math.prod(shape)
    if not size:
        return f"{plural(len(old), 'byte')} of type {dtype} differ", ""
    count, first, furthest, largest = 0, -1, 0.0, 0.0
    pair: tuple[Any, Any] = ("", "")
    for start, before, after in _blocks(memoryview(old), memoryview(new), size):
        for number, (one, other) in enumerate(zip(_values(dtype, before), _values(dtype, after), strict=True)):
            if _same(one, other):
                if isinstance(one, float) and math.isfinite(one):
                    largest = max(largest, abs(one))
                continue
            count += 1
            if first < 0:
                first, pair = start // size + number, (one, other)
            if isinstance(one, (int, float)):
                furthest = max(furthest, _distance(one, other))
                largest = max(largest, *(abs(value) for value in (one, other) if not math.isnan(value)), 0.0)
    what = f"{count:,} of {plural(total, 'value')} differ, first {_index(first, shape)} {_told(*pair)}"
    if isinstance(pair[0], float):
        what += f", largest absolute difference {furthest:.3g}"
        if 0 < furthest <= NOISE.get(size // (2 if "c" in dtype else 1), 0.0) * largest:
            return what, "float noise"
    return what, ""


def _told(old: Any, new: Any) -> str:
    return f"{shown(old, 40)} -> {shown(new, 40)}"


def _same(old: Any, new: Any) -> bool:
    """The same bits, apart from what a NaN carries."""
    if isinstance(old, float):
        if old == new:
            return math.copysign(1.0, old) == math.copysign(1.0, new)
        return math.isnan(old) and math.isnan(new)
    return bool(old == new)


def _distance(old: float, new: float) -> float:
    if math.isfinite(old) and math.isfinite(new):
        return float(abs(old - new))
    return math.inf


def _index(flat: int, shape: tuple[int, ...]) -> str:
    places = []
    for length in reversed(shape):
        places.append(flat % max(length, 1))
        flat //= max(length, 1)
    return f"[{', '.join(map(str, reversed(places)))}]"


def _blocks(old: memoryview, new: memoryview, size: int) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The stretches, of whole values, whose bytes differ."""
    old, new = old.cast("B"), new.cast("B")
    step = max(size, BLOCK // size * size)
    for start in range(0, len(old), step):
        before, after = old[start : start + step], new[start : start + step]
        if before != after:
            yield start, before, after


def _values(dtype: str, data: memoryview) -> Sequence[Any]:
    order, plain = (dtype[0], dtype[1:]) if dtype[0] in "<>=|" else ("<", dtype)
    plain = plain.partition("[")[0]
    swap = (order == ">") != (sys.byteorder == "big") and order not in "=|"
    if plain == "bf16":
        return array("f", b"".join(b"\0\0" + bytes(data[at : at + 2]) for at in range(0, len(data), 2)))
    if plain == "f2":
        return struct.unpack(f"{'>' if order == '>' else '<'}{len(data) // 2}e", data)
    if plain in CODES:
        values = array(CODES[plain], bytes(data))
        if swap:
            values.byteswap()
        if plain[0] == "c":
            return [complex(values[at], values[at + 1]) for at in range(0, len(values), 2)]
        return values
    size = itemsize(dtype) or 1
    if plain[0] == "U":
        codec = "utf-32-be" if order == ">" else "utf-32-le"
        pieces = (bytes(data[at : at + size]) for at in range(0, len(data), size))
        return [piece.decode(codec, "replace").rstrip("\0") for piece in pieces]
    return [bytes(data[at : at + size]) for at in range(0, len(data), size)]


def _c_order(data: Buffer, shape: tuple[int, ...], size: int) -> bytes:
    """Values in Fortran order (first index fastest) put into C order (last index fastest)."""
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(size)
    if code is None:
        cells = [bytes(data[at : at + size]) for at in range(0, len(data), size)]
        return b"".join(_transposed(cells, shape))
    values = array(code, bytes(data))
    out = array(code)
    for piece in _transposed(values, shape, whole=True):
        out.extend(piece)
    return out.tobytes()


def _transposed(values: Any, shape: tuple[int, ...], whole: bool = False) -> Iterator[Any]:
    if len(shape) <= 1:
        if whole:
            yield values
        else:
            yield from values
        return
    for index in range(shape[0]):
        yield from _transposed(values[index :: shape[0]], shape[1:], whole)


class Npy:
    """NumPy's `.npy`. An array of objects holds a pickle, which is compared as one."""

    name = "npy"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        with before.open("rb") as old, after.open("rb") as new:
            compare_arrays(read_npy(old), read_npy(new), tally, "")
        return tally.settle(self.name, "the same array", "array")


def read_npy(file: BinaryIO) -> Array:
    """The array of an open `.npy` file, its data mapped and not read. Raises Unreadable for an array of objects."""
    dtype, fortran, shape = npy_header(file)
    if not isinstance(dtype, str) or "O" in dtype:
        if "O" in str(dtype):
            raise Unreadable("an array of Python objects")
        dtype = str(dtype)
    start = file.tell()
    try:
        mapped: Buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[start:]
    except (OSError, ValueError):
        mapped = file.read()
    size = itemsize(dtype)
    if size is not None:
        if len(mapped) < size * math.prod(shape):
            raise Unreadable(f"cut off: {len(mapped):,} bytes of {size * math.prod(shape):,}")
        mapped = mapped[: size * math.prod(shape)]
    return Array(dtype, shape, mapped, fortran)


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
