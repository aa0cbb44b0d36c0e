"""Proving all that packs hold in one reading: each object by its seal and its digest, and what is put together from
pieces by its own digest, which is found out while they pass by.

The pieces of a large object lie in the order in which they are needed, as far as it was put at once. Where another one
lies elsewhere, the rest of the large object is read again, from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from blake3 import blake3

from bis.errors import BisError, Damaged
from bis.store import assembly, packs
from bis.store.chunks import MAXIMUM, PartList
from bis.store.crew import in_order
from bis.store.packs import BLOCK, PARTS, Item

MOST: Final = 2 * MAXIMUM
"""Objects that take more, which older versions made, are read in blocks."""


class Whole:
    """The digest of a large object, as far as its pieces came."""

    def __init__(self, item: Item, found: PartList) -> None:
        self.item, self.found = item, found
        self._left = [part.digest for part in reversed(found.parts)]
        self._hasher = blake3()

    @property
    def next(self) -> bytes | None:
        return self._left[-1] if self._left else None

    def take(self, data: bytes | memoryview) -> None:
        """The next piece."""
        self._hasher.update(data)
        self._left.pop()

    def finish(self, fetch: Callable[[bytes], bytes]) -> bool:
        """Whether its bytes are what its name says. What did not pass by is fetched."""
        for data in in_order(fetch, self._left[::-1], assembly.AHEAD) if self._left else ():
            self._hasher.update(data)
        return self._hasher.digest() == self.item.digest


class Wholes:
    """The large objects of which pieces are expected."""

    def __init__(self) -> None:
        self._all: dict[bytes, Whole] = {}
        self._waiting: dict[bytes, list[Whole]] = {}

    def expect(self, item: Item, found: PartList) -> None:
        if item.digest not in self._all:
            self._all[item.digest] = whole = Whole(item, found)
            self._wait(whole)

    def __bool__(self) -> bool:
        return bool(self._all)

    def forget(self, digest: bytes) -> None:
        """It is not expected any more."""
        if whole := self._all.pop(digest, None):
            waiting = self._waiting.get(whole.next or b"", [])
            if whole in waiting:
                waiting.remove(whole)

    def awaits(self, digest: bytes) -> bool:
        """Whether a large object goes on with this piece."""
        return digest in self._waiting

    def expects(self, item: Item, found: PartList) -> bool:
        """Whether an object is expected with these very pieces."""
        whole = self._all.get(item.digest)
        return whole is not None and whole.found == found

    def _wait(self, whole: Whole) -> None:
        if whole.next:
            self._waiting.setdefault(whole.next, []).append(whole)

    def pieces(self) -> Iterator[bytes]:
        """All that are expected, in the order in which they are."""
        for whole in self._all.values():
            yield from reversed(whole._left)

    def merged(self) -> Iterator[bytes]:
        """All that are expected, each once, in an order in which those of every version of a file come as it needs
        them: what only one version has stands behind what precedes it there."""
        behind: dict[bytes, bytes] = {}
        for whole in self._all.values():
            before = b""
            for digest in reversed(whole._left):
                if digest not in behind:
                    behind[digest], behind[before] = behind.get(before, b""), digest
                before = digest
        digest = behind.get(b"", b"")
        while digest:
            yield digest
            digest = behind[digest]

    def passes(self, digest: bytes, data: bytes | memoryview) -> None:
        """These bytes, which are proved, are at hand."""
        for whole in self._waiting.pop(digest, ()):
            while whole.next == digest:  # a piece may come several times in a row
                whole.take(data)
            self._wait(whole)

    def proved(self, digest: bytes, fetch: Callable[[bytes], bytes]) -> bool:
        """Whether a large object can be put together; False also where nobody knows yet."""
        whole = self._all.pop(digest, None)
        try:
            return whole is not None and whole.finish(fetch)
        except BisError:
            return False


def lists(fd: int, items: Iterable[Item]) -> Iterator[tuple[Item, PartList]]:
    """What large objects are put together from, as far as that can be read; it is proved when it passes by."""
    for item in items:
        if item.method == PARTS:
            try:
                yield item, assembly.list_of(fd, item)
            except Damaged:
                continue


def in_order_of_pieces(listed: Mapping[str, list[Item]], wholes: Wholes) -> list[str]:
    """The packs, in the order in which pieces are needed."""
    wanted = set(wholes.pieces())
    lies = {item.digest: name for name, items in listed.items() for item in items if item.digest in wanted}
    first = dict.fromkeys(lies[digest] for digest in wholes.pieces() if digest in lies)
    return [*first, *(name for name in listed if name not in first)]


class Reader:
    """Proves objects of a pack, in the order in which they lie, through memory that is used again."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._room = memoryview(bytearray(BLOCK))
        self._start = self._end = 0

    def holds(self, item: Item, wholes: Wholes) -> bool:
        """Whether an object is as it was written. What is put together from others: whether its list is."""
        alone = item.method in packs.WHOLE
        try:
            if max(item.stored, item.raw * alone) > MOST:
                return _holds(self._fd, item)
            data = packs.proved(item, self._stored(item))
        except Damaged:
            return False
        if alone:
            wholes.passes(item.digest, data)
        return True

    def _stored(self, item: Item) -> memoryview:
        """Head and payload, until more is read; fewer bytes where the pack ends."""
        if not self._start <= item.offset <= item.after <= self._end:
            size = item.after - item.offset
            if size > len(self._room):
                self._room = memoryview(bytearray(size))
            read = packs.read_into(self._room[: max(size, BLOCK)], self._fd, item.offset)
            self._start, self._end = item.offset, item.offset + read
        return self._room[item.offset - self._start : min(item.after, self._end) - self._start]


def _holds(fd: int, item: Item) -> bool:
    """For any size."""
    if not packs.seal_holds(fd, item):
        return False
    return item.method not in packs.WHOLE or sum(len(block) for block in packs.raw_blocks(fd, item)) == item.raw
