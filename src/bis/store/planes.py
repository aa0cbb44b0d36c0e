"""Numbers of several bytes, kept by the weight of their bytes: weights of models, samples of sound, columns of floats.

Sign and exponent of such numbers vary little, their last bits are noise, and beside each other neither helps zstd. So
all first bytes are put together, then all second ones: the *planes*. Where content has a version before it, the
two differ in the low planes mostly: then the planes of what is different (xor) are kept.

Slices with a step and integers of any size do this as fast as zstd compresses, without NumPy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bis.errors import Damaged
from bis.store import squeeze

WIDTHS: Final = (2, 4, 8)
"""Bytes of the numbers that are looked for."""
SMALLEST: Final = 16 << 10
"""Fewer bytes are not looked at."""
PAYS: Final = 0.95
"""Planes that take more than this share of what zstd leaves alone are not worth putting them together again."""
LARGE: Final = 256 << 10
NEARER: Final = 0.95
"""A difference that takes more than this share of what the content takes alone is not worth reading its base for."""
GLIMPSE: Final = 512
UNLIKE: Final = 20
"""Numbers show by it: of 64 bytes in a row of one plane, so many more are different ones than in another plane. In
text and in noise all planes are alike."""
SAMPLE: Final = 16 << 10


class Trial(NamedTuple):
    """What a sample says."""

    width: int
    """Of the numbers; 1: they are best left as they are."""
    share: float
    """What zstd then leaves of them."""


def join(planes: bytes, width: int) -> bytes:
    """The content of which these are the planes."""
    data, view, done = bytearray(len(planes)), memoryview(planes), 0
    for at in range(min(width, len(planes))):
        size = len(range(at, len(planes), width))
        data[at::width] = view[done : done + size]
        done += size
    return bytes(data)


def differing(data: bytes | memoryview, base: bytes) -> bytes:
    """`data` xor `base`, as far as that reaches; the rest as it is. Done twice, it is `data` again."""
    both = base[: len(data)].ljust(len(data), b"\0")
    return (int.from_bytes(data, "little") ^ int.from_bytes(both, "little")).to_bytes(len(data), "little")


def pack(data: bytes, width: int) -> bytes:
    """A zstd frame of the planes, in which each begins a block of its own: blocks have one table of frequencies. There
    is little to find again in planes, so looking for it costs more than it saves: measured on weights, a small table
    of what was seen is faster by half and leaves a hundredth less."""
    parameter = squeeze.zstd().CompressionParameter
    writer = squeeze.zstd().ZstdCompressor(options={parameter.compression_level: 1, parameter.hash_log: 10})
    *planes, last = [data[at::width] for at in range(width)]
    blocks = [writer.compress(plane, mode=writer.FLUSH_BLOCK) for plane in planes]
    return b"".join((*blocks, writer.compress(last, mode=writer.FLUSH_FRAME)))


def unpack(frame: bytes, width: int, size: int) -> bytes:
    """Raises Damaged unless the frame holds the planes of so many bytes."""
    return join(squeeze.unpack_exactly(frame, size), width)


def write(data: bytes, width: int) -> bytes:
    """`data` as it is kept: the width, and its planes."""
    return bytes((width,)) + pack(data, width)


def read(payload: bytes, size: int) -> bytes:
    """Raises Damaged unless `payload` holds so many bytes."""
    if not payload or not payload[0]:
        raise Damaged("it does not say how wide its numbers are")
    return unpack(payload[1:], payload[0], size)


def numbers(data: bytes | memoryview) -> bool:
    """Whether a glimpse, of large content at three places, says that these may be numbers, in some microseconds."""
    if len(data) < SMALLEST:
        return False
    places = (2, 1, 3) if len(data) > LARGE else (2,)
    return any(_unlike(bytes(data[(at := place * len(data) // 4) : at + GLIMPSE])) for place in places)


def _unlike(data: bytes) -> bool:
    widest = WIDTHS[-1]
    # What is left of all values without those that occur: a third of the time that a set takes.
    missing = [len(squeeze.EVERY.translate(None, data[at::widest])) for at in range(widest)]
    return max(missing) - min(missing) >= UNLIKE


def best(data: bytes | memoryview) -> Trial:
    """The width at which zstd leaves least, told by a sample. 1, unless planes are worth it."""
    return _best([bytes(data[at : at + SAMPLE]) for at in _places(len(data))])


def _best(samples: list[bytes]) -> Trial:
    """Each sample alone: between them may be the end of an array, behind which the planes come in another order."""
    whole = sum(map(len, samples)) or 1
    alone = min(1.0, sum(len(squeeze.pack(one, 1)) for one in samples) / whole)
    share, width = min((_share(samples, width), width) for width in WIDTHS)
    return Trial(width, share) if share <= PAYS * alone else Trial(1, alone)


def _share(samples: list[bytes], width: int) -> float:
    return sum(len(pack(one, width)) for one in samples) / (sum(map(len, samples)) or 1)


def nearer(data: bytes | memoryview, base: bytes) -> tuple[int, int] | None:
    """Whether a sample says that it pays to keep what is different from `base`: the width of the numbers, and how many
    bytes it may take."""
    places = _places(len(data))
    samples = [bytes(data[at : at + SAMPLE]) for at in places]
    change = [differing(one, base[at : at + SAMPLE]) for one, at in zip(samples, places, strict=True)]
    alone = _best(samples)
    changed = Trial(alone.width, _share(change, alone.width)) if alone.width > 1 else _best(change)
    most = NEARER * alone.share
    return (changed.width, int(most * len(data))) if changed.share <= most else None


def _places(size: int) -> range:
    """Where samples are taken: at the start, in the middle and at the end, each where a number would begin if the first
    one did at the start."""
    apart = max(size - SAMPLE, 0) // 2
    return range(0, size, SAMPLE) if size <= 3 * SAMPLE else range(0, 2 * apart + 1, apart - apart % WIDTHS[-1])
