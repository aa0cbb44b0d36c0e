"""Arrays: compared by type, shape and values, whatever the order in memory."""

from __future__ import annotations

import importlib
import math
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from bis.formats import WHOLE, Unreadable
from bis.formats.tally import Tally, plural, shown

Buffer = bytes | bytearray | memoryview
BLOCK = 1 << 16
"""Bytes that are looked at together; a block of equal bytes is not looked into."""
NOISE = {2: 1e-2, 4: 1e-5, 8: 1e-9}
"""By bytes of a number: differences up to this fraction of the largest value touch only last digits."""
LARGE = 1 << 22
"""Bytes from which on NumPy counts the differences, if it is there."""
CODES = {"f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
COUNTED = frozenset((*CODES, "f2"))
"""What NumPy counts: not the long doubles, whose bits it has no number for."""
CODES |= {"c8": "f", "c16": "d", "M8": "q", "m8": "q", "b1": "B"}


class Difference(NamedTuple):
    """Of two arrays of one type and shape."""

    number: int
    what: str
    cause: str


class Array:
    """Values of one type in C order. `dtype` as NumPy writes it (`<f8`), or `bf16`."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: Sequence[int], data: Buffer, fortran: bool = False) -> None:
        self.dtype = dtype
        self.shape = tuple(shape)
        size = itemsize(dtype)
        if size is not None and size * math.prod(self.shape) != len(data):
            raise Unreadable(f"an array of {shown(self.shape)} {dtype} has {plural(len(data), 'byte')}")
        needed = fortran and len([length for length in self.shape if length > 1]) > 1
        if needed and len(data) > WHOLE:
            raise Unreadable(f"in another order in memory, and larger than {WHOLE >> 20} MiB")
        self.data: Buffer = _c_order(data, self.shape, size) if needed and size else data


def itemsize(dtype: str) -> int | None:
    """Bytes of one value; None for a type this module does not know (records, objects)."""
    if dtype == "bf16":
        return 2
    kind, digits = dtype.lstrip("<>=|")[:1], dtype.lstrip("<>=|")[1:].partition("[")[0]
    if not digits.isdigit() or kind not in "fiucbMmSUVO":
        return None
    return int(digits) * (4 if kind == "U" else 1)


def without_gaps(data: Buffer, size: int, fields: Iterable[tuple[int, int]]) -> bytes:
    """Records with zeros between their fields (offset, length): what a compiler leaves there for alignment is
    whatever the memory held before."""
    inside = {at for start, length in fields for at in range(start, min(start + length, size))}
    blanked = bytearray(data)
    for at in range(size):
        if at not in inside:
            blanked[at::size] = bytes(len(range(at, len(blanked), size)))
    return bytes(blanked)


def compare_arrays(old: Array, new: Array, tally: Tally, where: str) -> bool:
    """Whether two arrays hold the same; else the difference is in `tally`."""
    if old.dtype != new.dtype:
        tally.differ(where, f"type {old.dtype} -> {new.dtype}")
    elif old.shape != new.shape:
        tally.differ(where, f"shape {shown(old.shape)} -> {shown(new.shape)}")
    elif memoryview(old.data) != memoryview(new.data):
        found = difference(old.dtype, old.shape, old.data, new.data)
        if not found.number:
            tally.set_aside("bits of NaN")
            return True
        tally.differ(where, found.what, found.cause)
    else:
        return True
    return False


def difference(dtype: str, shape: tuple[int, ...], old: Buffer, new: Buffer) -> Difference:
    """How many values differ, how far, and the cause if the difference itself shows one. What a NaN carries beside
    being one is no difference."""
    size = itemsize(dtype)
    if not size:
        return Difference(1, f"{plural(len(old), 'byte')} of type {dtype} differ", "")
    found = _by_numpy(dtype, old, new) or _one_by_one(dtype, size, old, new)
    count, first, furthest, largest = found
    pair = tuple(_values(dtype, memoryview(data)[first * size : (first + 1) * size])[0] for data in (old, new))
    told = " -> ".join(shown(_readable(dtype, value), 40) for value in pair)
    what = f"{count:,} of {plural(math.prod(shape), 'value')} differ, first {_index(first, shape)} {told}"
    if isinstance(pair[0], float):
        what += f", largest absolute difference {furthest:.3g}"
        if 0 < furthest <= NOISE[size] * largest:
            return Difference(count, what, "float noise")
    return Difference(count, what, "")


def _one_by_one(dtype: str, size: int, old: Buffer, new: Buffer) -> tuple[int, int, float, float]:
    """How many values differ, the place of the first, the largest difference, the largest value around."""
    count, first, furthest, largest = 0, 0, 0.0, 0.0
    for start, before, after in _blocks(memoryview(old), memoryview(new), size):
        for number, (one, other) in enumerate(zip(_values(dtype, before), _values(dtype, after), strict=True)):
            if isinstance(one, float):
                largest = max(largest, *(abs(value) for value in (one, other) if math.isfinite(value)), 0.0)
            if _same(one, other):
                continue
            first = first if count else start // size + number
            count += 1
            if isinstance(one, float):
                furthest = max(furthest, _distance(one, other))
    return count, first, furthest, largest


def _by_numpy(dtype: str, old: Buffer, new: Buffer) -> tuple[int, int, float, float] | None:
    """The same by NumPy, for large arrays of numbers that it knows, where it can be imported."""
    if len(old) < LARGE or (dtype != "bf16" and dtype[1:] not in COUNTED):
        return None
    try:
        numpy: Any = importlib.import_module("numpy")
    except ImportError:
        return None
    one, other = (_numbers(numpy, dtype, data) for data in (old, new))
    dtype = "<f4" if dtype == "bf16" else dtype
    bits = f"{dtype[0]}u{dtype[2:]}"
    differs = one.view(bits) != other.view(bits)
    if dtype[1] != "f":
        return int(differs.sum()), int(differs.argmax()), 0.0, 0.0
    with numpy.errstate(all="ignore"):
        differs &= ~(numpy.isnan(one) & numpy.isnan(other))
        first = numpy.abs(one[differs].astype("f8") - other[differs].astype("f8"))
        furthest = numpy.where(numpy.isfinite(first), first, numpy.inf).max(initial=0.0)
        largest = max(numpy.abs(part[numpy.isfinite(part)]).max(initial=0.0) for part in (one, other))
    return int(differs.sum()), int(differs.argmax()), float(furthest), float(largest)


def _numbers(numpy: Any, dtype: str, data: Buffer) -> Any:
    """NumPy has no name for `bf16`: these are the upper halves of floats of four bytes."""
    if dtype == "bf16":
        return (numpy.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return numpy.frombuffer(data, dtype)


def _readable(dtype: str, value: Any) -> Any:
    if dtype.lstrip("<>=|")[:1] != "U" or not isinstance(value, bytes):
        return value
    return value.decode("utf-32-be" if dtype[0] == ">" else "utf-32-le", "replace").rstrip("\0")


def _same(old: Any, new: Any) -> bool:
    """The same bits, apart from what a NaN carries."""
    if isinstance(old, float):
        if old == new:
            return math.copysign(1.0, old) == math.copysign(1.0, new)
        return math.isnan(old) and math.isnan(new)
    return repr(old) == repr(new) if isinstance(old, complex) else bool(old == new)


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


# -- as numbers --------------------------------------------------------------------------------------------------


class Apart(NamedTuple):
    """How far two arrays of numbers of one shape are from each other."""

    values: int
    differ: int
    furthest: float
    """The largest absolute difference."""
    relative: float
    """That, as a part of the largest value of the first."""
    cosine: float
    """Between the two as vectors; 1 where they point the same way. NaN for one that has no direction."""


def numbers(one: Array) -> Sequence[Any]:
    """Its values in C order."""
    return _values(one.dtype, memoryview(one.data).cast("B"))


def apart(old: Array, new: Array) -> Apart | None:
    """None: their shapes are not the same, or they hold no numbers."""
    if old.shape != new.shape or not (_is_numeric(old) and _is_numeric(new)):
        return None
    differ, furthest, largest, across, olds, news = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for one, other in zip(numbers(old), numbers(new), strict=True):
        before, after = float(one), float(other)
        if before != after and not (before != before and after != after):
            differ += 1
            furthest = max(furthest, _distance(before, after))
        largest = max(largest, abs(before)) if math.isfinite(before) else largest
        across, olds, news = across + before * after, olds + before * before, news + after * after
    length = math.sqrt(olds) * math.sqrt(news) if olds >= 0 and news >= 0 else math.nan
    cosine = across / length if length else math.nan
    relative = furthest / largest if largest else math.inf if furthest else 0.0
    return Apart(math.prod(old.shape), differ, furthest, relative, min(1.0, cosine))


def _is_numeric(one: Array) -> bool:
    return one.dtype == "bf16" or one.dtype.lstrip("<>=|")[:1] in "fiub"
