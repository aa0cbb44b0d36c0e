"""Objects that are put together from others: read whole, or as a stream in bounded memory, and verified."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from blake3 import blake3

from bis.digest import Digest, short
from bis.errors import Damaged
from bis.store import deltas, packs
from bis.store.chunks import PartList, read_list, total
from bis.store.crew import Behind, in_order
from bis.store.packs import DELTA, PARTS, RAW, Item

Fetch = Callable[[bytes], bytes]
"""The bytes of an object that others are made from, verified. Raises NotFound or Damaged."""
Glance = Callable[[bytes], bytes]
"""The same, not verified: what is made from them is."""
Look = Callable[[bytes], bytes | memoryview]
"""The same, good until the next is asked for."""
AHEAD = 3
"""Pieces fetched at once: more would cost memory, and the disk no time."""


def read(fd: int, item: Item, fetch: Fetch) -> bytes:
    """All bytes of an object, verified."""
    if item.method == DELTA:
        return _applied(fd, item, fetch)
    if item.method == PARTS:
        return b"".join(stream(fd, item, fetch))
    return packs.read_object(fd, item)


def stream(fd: int, item: Item, fetch: Fetch) -> Iterator[bytes]:
    """The bytes of an object in pieces of bounded size. Raises Damaged, at the latest at the end, unless they match."""
    if item.method == PARTS:
        yield from _in_pieces(item, list_of(fd, item), fetch)
    elif item.method == DELTA:
        yield _applied(fd, item, fetch)
    else:
        yield from packs.raw_blocks(fd, item)


def at_the_end(fd: int, item: Item, glance: Glance) -> Iterator[bytes]:
    """As `stream`, of a large object, for who hands nothing out before the end: only the whole is verified, so nothing
    is hashed twice. When that fails, `stream` says which piece is damaged, or finds another copy of it."""
    yield from _in_pieces(item, list_of(fd, item), glance)


def straight(item: Item, found: PartList, look: Look) -> Iterator[bytes | memoryview]:
    """As `at_the_end`, piece by piece and without threads: they cost more than pieces that are kept as they are."""
    hasher = blake3()
    for part in found.parts:
        data = look(part.digest)
        hasher.update(data)
        yield data
    if hasher.digest() != item.digest:
        raise Damaged("its bytes do not match its digest")


def glimpse_into(room: memoryview, fd: int, item: Item, fetch: Fetch) -> bytes | memoryview:
    """As `glimpse`; what is kept as it is, in that room."""
    if item.method != RAW or item.raw > len(room):
        return glimpse(fd, item, fetch)
    if packs.read_into(room[: item.raw], fd, item.payload) < item.raw:
        raise Damaged("the pack ends in the middle of it")
    return room[: item.raw]


def glimpse(fd: int, item: Item, fetch: Fetch) -> bytes:
    """All bytes of a piece, not verified."""
    return _changed(fd, item, fetch) if item.method == DELTA else packs.content(item, packs.payload(fd, item))


class Stream(io.RawIOBase):
    """The bytes of a large object, as a file. Raises Damaged at the end unless they matched."""

    def __init__(self, digest: Digest, fetch: Fetch, fd: int, item: Item) -> None:
        self._digest = digest
        self._fd = os.dup(fd)
        self._blocks = stream(self._fd, item, fetch)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            while not self._left and (block := next(self._blocks, b"")):
                self._left = memoryview(block)
        except Damaged as error:
            raise Damaged(f"{short(self._digest)} is damaged: {error.what}", hint="bis verify") from None
        size = min(len(into), len(self._left))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def stretch(fd: int, item: Item, fetch: Fetch, start: int) -> Iterator[bytes]:
    """The bytes of an object from `start` on. Only the pieces that are asked for are read; each is verified by itself,
    before it is handed out. The first is read at once: where it is damaged, another copy can be tried. Close what is
    not read to its end: it holds the pack open."""
    mine = os.dup(fd)
    blocks = _from(start, mine, item, fetch)
    try:
        first = next(blocks, b"")
    except BaseException:
        os.close(mine)
        raise
    return _and_close(mine, itertools.chain((first,), blocks))


def _from(start: int, fd: int, item: Item, fetch: Fetch) -> Iterator[bytes]:
    if item.method != PARTS:
        yield read(fd, item, fetch)[start:]
        return
    at = 0
    for part in list_of(fd, item).parts:
        if at + part.size > start:
            yield fetch(part.digest)[max(0, start - at) :]
        at += part.size


def _and_close(fd: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from blocks
    finally:
        os.close(fd)


def list_of(fd: int, item: Item) -> PartList:
    """What a large object is put together from. Raises Damaged."""
    found = read_list(packs.payload(fd, item))
    if total(found.parts) != item.raw:
        raise Damaged(f"its pieces do not make {item.raw} bytes")
    return found


def needs(fd: int, item: Item) -> tuple[bytes, ...]:
    """The digests of the objects without which this one cannot be read."""
    if item.method == PARTS:
        return tuple(part.digest for part in list_of(fd, item).parts)
    return deltas.read(packs.payload(fd, item)).bases if item.method == DELTA else ()


def _applied(fd: int, item: Item, fetch: Fetch) -> bytes:
    data = _changed(fd, item, fetch)
    if blake3(data).digest() != item.digest:
        raise Damaged("its bytes do not match its digest")
    return data


def _changed(fd: int, item: Item, fetch: Fetch) -> bytes:
    delta = deltas.read(packs.payload(fd, item))
    return deltas.apply(delta, deltas.joined([fetch(base) for base in delta.bases]), item.raw)


def _in_pieces(item: Item, found: PartList, fetch: Fetch | Glance) -> Iterator[bytes]:
    hasher = blake3()
    digests = (part.digest for part in found.parts)
    if len(found.parts) <= AHEAD:
        for data in map(fetch, digests):
            hasher.update(data)
            yield data
    else:
        with Behind(hasher.update, AHEAD) as hashing:
            for data in in_order(fetch, digests, AHEAD):
                hashing.do(data)
                yield data
            hashing.catch_up()
    if hasher.digest() != item.digest:
        raise Damaged("its bytes do not match its digest")
