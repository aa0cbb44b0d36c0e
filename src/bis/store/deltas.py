"""Content as its difference from other content: what edits leave of a table is stored, not the table.

A delta is a zstd frame for which the bytes of its bases, one behind the other, are the text that came before, found
again by zstd's long-distance matching. Edits spread over a whole file leave no piece of it unchanged, and yet most of
each: measured, one row in a hundred edited costs half a percent. In numbers that all changed a little nothing is found
again: there the `planes` of what is different are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from bis.errors import Damaged
from bis.store import planes
from bis.store.squeeze import SAMPLE, zstd

MOST_BASES: Final = 2
DEEPEST: Final = 4
"""So many deltas, one on the other, are read for one piece at most."""
WORTH_IT: Final = 0.5
"""A delta larger than this share of what the content would take alone is not worth reading its bases for."""
COUNT: Final = struct.Struct("<B")
IN_PLANES: Final = 128
"""Added to the count of bases where the frame holds planes."""


class Delta(NamedTuple):
    bases: tuple[bytes, ...]
    """Digests."""
    frame: bytes
    width: int = 0
    """Of the numbers, where the frame holds the planes of what is different; else 0."""


def make(data: bytes | memoryview, base: bytes) -> bytes:
    """`data` as a frame that needs `base`."""
    parameter = zstd().CompressionParameter
    options = {
        parameter.compression_level: 1,
        parameter.enable_long_distance_matching: 1,
        parameter.window_log: max(18, (len(base) + len(data)).bit_length()),
    }
    frame: bytes = zstd().compress(data, options=options, zstd_dict=_prefix(base))
    return frame


def apply(delta: Delta, base: bytes, size: int) -> bytes:
    """The content, of which `size` is the length. Raises Damaged when delta and base do not give that."""
    if delta.width:
        return planes.differing(planes.unpack(delta.frame, delta.width, size), base)
    limit = {zstd().DecompressionParameter.window_log_max: 27}
    reader = zstd().ZstdDecompressor(zstd_dict=_prefix(base), options=limit)
    try:
        data: bytes = reader.decompress(delta.frame, max_length=size + 1)
    except zstd().ZstdError as error:
        raise Damaged(f"its difference from another object cannot be applied ({error})") from None
    if len(data) != size:
        raise Damaged(f"it does not hold {size} bytes")
    return data


def resembles(data: bytes | memoryview, base: bytes) -> bool:
    """Whether trying is likely to pay: of three samples of `data`, the better half is found in `base`."""
    middle = len(data) // 2
    sample = b"".join((data[: SAMPLE // 4], data[middle : middle + SAMPLE // 4], data[-SAMPLE // 4 :]))
    return len(make(sample, base)) < len(sample) // 4


def write(delta: Delta) -> bytes:
    if delta.width:
        return COUNT.pack(len(delta.bases) | IN_PLANES) + b"".join(delta.bases) + bytes((delta.width,)) + delta.frame
    return COUNT.pack(len(delta.bases)) + b"".join(delta.bases) + delta.frame


def read(payload: bytes) -> Delta:
    count, in_planes = payload[0] % IN_PLANES if payload else 0, payload[:1] >= bytes((IN_PLANES,))
    end = 1 + 32 * count
    if not count or len(payload) < end + in_planes:
        raise Damaged("its list of bases is cut short")
    bases = tuple(payload[at : at + 32] for at in range(1, end, 32))
    if not in_planes:
        return Delta(bases, payload[end:])
    if not payload[end]:
        raise Damaged("it does not say how wide its numbers are")
    return Delta(bases, payload[end + 1 :], payload[end])


def joined(contents: Sequence[bytes]) -> bytes:
    return contents[0] if len(contents) == 1 else b"".join(contents)


def _prefix(base: bytes) -> object:
    return zstd().ZstdDict(base, is_raw=True).as_prefix
