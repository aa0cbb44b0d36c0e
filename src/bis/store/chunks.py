"""Large content in pieces that are cut by the content itself, so that an edit changes the pieces around it alone.

The cutter is FastCDC as its authors published it in 2020 (Xia et al., *The Design of Fast Content-Defined Chunking
for Data Deduplication Based Storage Systems*, IEEE TPDS 31(9)), by the package `pyfastcdc`. Where its compiled form is
not there, content is cut into equal pieces, and the list says so.

What precedes a cut decides that it is one. The digest of these bytes is its *anchor*: two versions of a file share
the anchors of the cuts that no edit touched, and between two shared anchors lie the pieces to compare.

Where all numbers of a file change and none moves, no anchor is shared. Such a file is cut where the version before was
(see `inplace`), and its pieces are known by their *spots*: what the file is known by, and where in it they begin.
"""

from __future__ import annotations

import functools
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from blake3 import blake3

from bis.errors import Damaged

MINIMUM: Final = 256 << 10
"""Content up to this size is one piece."""
AVERAGE: Final = 1 << 20
MAXIMUM: Final = 4 << 20
CONTENT_DEFINED: Final = "fastcdc2020/1m"
EQUAL: Final = "equal/1m"

BLOCK: Final = 16 << 20
"""So much is read at once. What is left of it uncut is copied in front of the next, so it is far more than a piece."""

ANCHOR: Final = 64
"""Bytes before a cut that its anchor is the digest of: the window of the rolling hash."""
START: Final = struct.Struct("<16s8s")
"""Name of the cutter, anchor of the start."""
PART: Final = struct.Struct("<32sI8s")
"""Digest, size, anchor of the end."""


class Part(NamedTuple):
    """One piece of a large object: an object of kind chunk."""

    digest: bytes
    size: int
    end: bytes
    """Anchor of the cut behind it."""


class PartList(NamedTuple):
    """What a large object is put together from."""

    cutter: str
    start: bytes
    """Anchor of where the object begins: of its first bytes, as nothing precedes them."""
    parts: tuple[Part, ...]

    def boundaries(self, path: bytes = b"") -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
        """Each anchor, with the digest of the piece before it and of the one behind it. Then the spots, as if they were
        anchors, with the piece that begins there; also those by the path of the file, where that is told."""
        digests = [None, *(part.digest for part in self.parts), None]
        anchors = [self.start, *(part.end for part in self.parts)]
        yield from zip(anchors, digests, digests[1:], strict=False)
        size, offset = total(self.parts), 0
        for part in self.parts:
            yield from ((at, None, part.digest) for at in spots(size, path, offset))
            offset += part.size


class Base(NamedTuple):
    """A piece that another one is like, byte by byte in the same places."""

    digest: bytes
    depth: int
    data: bytes
    width: int
    """Of the numbers, for the planes of what is different."""
    most: int
    """Bytes that those may take, not to be in vain."""


class Cut(NamedTuple):
    """Where a piece ends, other than where its own bytes say so."""

    size: int
    base: Base | None


class Same(NamedTuple):
    """A piece that is kept already, and that lies at its place again."""

    size: int
    digest: bytes


class Piece(NamedTuple):
    data: memoryview
    """Holds what it is a part of in memory, which is used anew when nobody holds it."""
    start: bytes
    end: bytes
    """Anchors of the cuts around it."""
    base: Base | None = None
    digest: bytes | None = None
    """Where it was found out already."""


Again = Callable[[int, memoryview], Same | None]
"""Told where a piece begins and the bytes from there on: the piece that is there, if it need not be looked for."""
Better = Callable[[int, memoryview, int], Cut | None]
"""Told where a piece begins, the bytes from there on and the size that they say: another cut, if that is better."""


def anchor(data: bytes | memoryview) -> bytes:
    return blake3(data).digest(8)


def spots(size: int, path: bytes, offset: int) -> list[bytes]:
    """What a place in a file is found again by, as the file has another content each time: its path, where there is
    one, and its size. Of checkpoints and other files of arrays the size seldom changes."""
    names = ([path] if path else []) + [struct.pack("<Q", size)]
    return [blake3(name + struct.pack("<Q", offset)).digest(8) for name in names]


def cutter() -> str:
    """The name of the way in which content is cut here."""
    return CONTENT_DEFINED if _fast() else EQUAL


def pieces(
    read: Callable[[memoryview], int],
    better: Better = lambda at, view, size: None,
    hint: int = BLOCK,
    again: Again = lambda at, view: None,
) -> Iterator[Piece]:
    """Cut what `read` puts where it is told to, returning how many bytes that were (0 at the end). `hint`: how many
    there are in all, as far as that is known. Memory is bounded by some blocks, for who does not hoard pieces."""
    cut = _fast() or _equal
    rooms, rest, at, ended, offset = _Rooms(), memoryview(b""), b"", False, 0
    while not ended:
        # The last byte of room stays empty where the hint is right, which tells that the end was met.
        view = rooms.one(max(min(hint - offset + 1, BLOCK + len(rest)), 2 * len(rest), 2 * MINIMUM))
        filled = _fill(view, rest, read)
        ended = filled < len(view)
        view = view[:filled]
        done, sizes = 0, None
        while done < filled and (ended or filled - done >= MAXIMUM):  # else more bytes could move the next cut
            other, same = None, again(offset, view[done:])
            if same:
                size, sizes = same.size, None
            else:
                sizes = sizes or cut(view[done:])
                size = next(sizes)
                other = better(offset, view[done:], size)
                if other and other.size != size:
                    size, sizes = other.size, None
            data = view[done : done + size]
            at = at or anchor(data[:ANCHOR])
            end = anchor(data[-ANCHOR:])
            yield Piece(data, at, end, other.base if other else None, same.digest if same else None)
            at = end
            done += size
            offset += size
        rest = view[done:]


def _fill(view: memoryview, start: memoryview, read: Callable[[memoryview], int]) -> int:
    """How many bytes are there, `start` in front; fewer than there is room for at the end only."""
    view[: len(start)] = start
    filled = len(start)
    while filled < len(view) and (more := read(view[filled:])):
        filled += more
    return filled


class _Rooms:
    """Memory for blocks, used again as soon as nobody looks at it: new memory costs as much as a copy of all bytes."""

    def __init__(self) -> None:
        self._all: list[bytearray] = []

    def one(self, size: int) -> memoryview:
        for room in self._all:
            if len(room) >= size and _is_free(room):
                return memoryview(room)[:size]
        self._all = [room for room in self._all if not _is_free(room)]
        self._all.append(bytearray(size))
        return memoryview(self._all[-1])


def _is_free(room: bytearray) -> bool:
    """Python refuses to change the size of what somebody looks at."""
    try:
        room.pop()
    except BufferError:
        return False
    room.append(0)
    return True


def write_list(found: PartList) -> bytes:
    head = START.pack(found.cutter.encode(), found.start)
    return head + b"".join(PART.pack(*part) for part in found.parts)


def read_list(data: bytes) -> PartList:
    """Raises Damaged for what is no such list."""
    if len(data) < START.size or (len(data) - START.size) % PART.size:
        raise Damaged("its list of pieces is cut short")
    name, start = START.unpack_from(data)
    parts = tuple(Part(*fields) for fields in PART.iter_unpack(data[START.size :]))
    return PartList(name.rstrip(b"\0").decode("ascii", "replace"), start, parts)


@functools.cache
def _fast() -> Callable[[memoryview], Iterator[int]] | None:
    """Sizes of the pieces of a buffer, by the compiled cutter; None where there is only the slow one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pyfastcdc import FastCDC
        except ImportError:
            return None
    if ".cy." not in FastCDC.__module__:
        return None
    knife: Any = FastCDC(AVERAGE, min_size=MINIMUM, max_size=MAXIMUM)
    return lambda view: (chunk.length for chunk in knife.cut_buf(view))


def _equal(view: memoryview) -> Iterator[int]:
    for start in range(0, len(view), AVERAGE):
        yield min(AVERAGE, len(view) - start)


def total(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)
