"""Arrays: compared by type, shape and values, whatever the order in memory."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from bis.formats import Unreadable
from bis.formats.tally import Tally, plural, shown

Buffer = bytes | bytearray | memoryview
BLOCK = 1 << 16
"""Bytes that are looked at together; a block of equal bytes is not looked into."""
NOISE = {2: 1e-2, 4: 1e-5, 8: 1e-9}
"""By bytes of a number: differences up to this fraction of the largest value touch only last digits."""
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
