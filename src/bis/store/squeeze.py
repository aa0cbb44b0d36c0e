"""Compression: zstd, from the standard library where it has it."""

from __future__ import annotations

import functools
import sys
from typing import Any, Final

from bis.errors import Damaged

WORTH_TRYING: Final = 96
"""Fewer bytes are left as they are."""
SAMPLE: Final = 64 << 10
PAYS: Final = 0.93
"""What compression brings down to less than this share of its size is kept compressed."""
GLIMPSE: Final = 128
EVERY: Final = bytes(range(256))
VARIED: Final = 90
"""So many different values among 128 bytes in a row are those of noise, or of what is compressed already."""


@functools.cache
def zstd() -> Any:
    """The module. Imported when first needed: it takes longer than opening a store."""
    if sys.version_info >= (3, 14):
        from compression import zstd as found
    else:
        from backports import zstd as found
    return found


def pack(data: bytes | memoryview, level: int = 3) -> bytes:
    packed: bytes = zstd().compress(data, level)
    return packed


def unpack(data: bytes) -> bytes:
    try:
        plain: bytes = zstd().decompress(data)
    except zstd().ZstdError as error:
        raise Damaged(f"compressed content cannot be read: {error}", hint="bis verify") from None
    return plain


def unpack_exactly(data: bytes, size: int) -> bytes:
    """Raises Damaged unless the content has that size; never takes more memory than that."""
    reader = zstd().ZstdDecompressor()
    try:
        plain: bytes = reader.decompress(data, max_length=size + 1)
    except zstd().ZstdError as error:
        raise Damaged(f"its compression is broken ({error})", hint="bis verify") from None
    if len(plain) != size:
        raise Damaged(f"it does not hold {size} bytes", hint="bis verify")
    return plain


def pack_if_it_pays(data: bytes | memoryview) -> bytes | None:
    """The data packed, or None when that is not worth its time."""
    if len(data) < WORTH_TRYING or _noisy(data) or (len(data) > 4 * SAMPLE and not pays(data)):
        return None
    small = pack(data, 1)
    return small if len(small) < PAYS * len(data) else None


def _noisy(data: bytes | memoryview) -> bool:
    """Whether a glimpse at the middle says that nothing is to be gained, in a tenth of the time that trying takes."""
    middle = len(data) // 2
    # What is left of all values without those that occur: a third of the time that a set takes.
    return len(data) >= 2 * GLIMPSE and len(EVERY.translate(None, data[middle : middle + GLIMPSE])) < 256 - VARIED


def pays(data: bytes | memoryview) -> bool:
    """Whether compression is worth its time, judged by the start, the middle and the end."""
    return len(data) >= WORTH_TRYING and shrinks_to(data) < PAYS


def shrinks_to(data: bytes | memoryview) -> float:
    """The share of its size that compression leaves, judged by the start, the middle and the end."""
    middle = len(data) // 2
    sample = b"".join((data[:SAMPLE], data[middle : middle + SAMPLE], data[-SAMPLE:]))
    return len(pack(sample, 1)) / len(sample) if sample else 1.0
