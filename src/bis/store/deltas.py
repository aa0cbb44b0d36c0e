"""Content as its difference from other content: what edits leave of a table is stored, not the table.

A delta is a zstd frame for which the bytes of its bases, one behind the other, are the text that came before, found
again by zstd's long-distance matching. Edits spread over a whole file leave no piece of it unchanged, and yet most of
each: measured, one row in a hundred edited costs half a percent.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from bis.errors import Damaged
from bis.store.squeeze import SAMPLE, zstd

MOST_BASES: Final = 2
DEEPEST: Final = 4
"""So many deltas, one on the other, are read for one piece at most."""
WORTH_IT: Final = 0.5
"""A delta larger than this share of what the content would take alone is not worth reading its bases for."""
COUNT: Final = struct.Struct("<B")


class Delta(NamedTuple):
    bases: tuple[bytes, ...]
    """Digests."""
    frame: bytes


def make(data: bytes, base: bytes) -> bytes:
    """`data` as a frame that needs `base`."""
    parameter = zstd().CompressionParameter
    options = {
        parameter.compression_level: 1,
        parameter.enable_long_distance_matching: 1,
        parameter.window_log: max(18, (len(base) + len(data)).bit_length()),
    }
    frame: bytes = zstd().compress(data, options=options, zstd_dict=_prefix(base))
    return frame


def apply(frame: bytes, base: bytes, size: int) -> bytes:
    """The content, of which `size` is the length. Raises Damaged when frame and base do not give that."""
    limit = {zstd().DecompressionParameter.window_log_max: 27}
    reader = zstd().ZstdDecompressor(zstd_dict=_prefix(base), options=limit)
    try:
        data: bytes = reader.decompress(frame, max_length=size + 1)
    except zstd().ZstdError as error:
        raise Damaged(f"its difference from another object cannot be applied ({error})") from None
    if len(data) != size:
        raise Damaged(f"it does not hold {size} bytes")
    return data


def resembles(data: bytes, base: bytes) -> bool:
    """Whether trying is likely to pay: of three samples of `data`, the better half is found in `base`."""
    middle = len(data) // 2
    sample = b"".join((data[: SAMPLE // 4], data[middle : middle + SAMPLE // 4], data[-SAMPLE // 4 :]))
    return len(make(sample, base)) < len(sample) // 4


def write(delta: Delta) -> bytes:
    return COUNT.pack(len(delta.bases)) + b"".join(delta.bases) + delta.frame


def read(payload: bytes) -> Delta:
    if not payload or len(payload) < 1 + 32 * payload[0] or not payload[0]:
        raise Damaged("its list of bases is cut short")
    count = payload[0]
    bases = tuple(payload[1 + 32 * number : 33 + 32 * number] for number in range(count))
    return Delta(bases, payload[1 + 32 * count :])


def joined(contents: Sequence[bytes]) -> bytes:
    return contents[0] if len(contents) == 1 else b"".join(contents)


def _prefix(base: bytes) -> object:
    return zstd().ZstdDict(base, is_raw=True).as_prefix
