"""NumPy's `.npy` files."""

from __future__ import annotations

import ast
import io
import math
import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO

from bis.formats import WHOLE, Context, Unreadable
from bis.formats.arrays import Array, compare_arrays, itemsize
from bis.formats.pickles import VOLATILE
from bis.formats.tally import Tally
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
            first, second = read_npy(old), read_npy(new)
            if isinstance(first, Array) and isinstance(second, Array):
                compare_arrays(first, second, tally, "")
            else:
                Walk(context, tally, VOLATILE).compare(first, second)
        return tally.settle(self.name, "the same array", "array")


def read_npy(file: BinaryIO) -> Array | list[Any]:
    """The array of an open `.npy` file, its data mapped and not read; for Python objects, shape and values."""
    dtype, fortran, shape = npy_header(file)
    size = os.fstat(file.fileno()).st_size
    if "O" in str(dtype):
        return [str(dtype), shape, read_pickle(io.BytesIO(file.read(WHOLE)))]
    if not isinstance(dtype, str):  # a record
        return [repr(dtype), shape, fortran, file.read()]
    width = itemsize(dtype)
    if width is None:
        raise Unreadable(f"the type {dtype} is not known")
    needed, start = width * math.prod(shape), file.tell()
    if size - start < needed:
        raise Unreadable(f"cut off: {size - start:,} bytes of {needed:,}")
    if not needed:
        return Array(dtype, shape, b"")
    mapped = memoryview(mmap.mmap(file.fileno(), start + needed, access=mmap.ACCESS_READ))
    return Array(dtype, shape, mapped[start:], fortran)


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
