"""What is to travel, put together as packs that are made while they are sent: nothing is written here for it.

Heads and payloads are copied as they are. What is needed comes before what needs it, in a stable order, so that a
push that was cut and one that goes on put the same packs together as far as they can.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from bis.digest import short
from bis.errors import Damaged
from bis.nouns.part import Finding
from bis.store import assembly, packs
from bis.store.index import Place
from bis.store.local import PACK_SIZE, LocalStore, digest_of
from bis.store.packs import BLOCK, DELTA, END, END_MARK, HEAD, KINDS, MAGIC, NUMBER_OF_KIND, PARTS, Item

LISTS: Final = 1 << 16
"""The stage of what is put together from pieces; differences, by depth, come before."""
STAGES: Final = {NUMBER_OF_KIND["tree"]: LISTS + 1, NUMBER_OF_KIND["record"]: LISTS + 2}
WINDOW: Final = 2 << 20
"""So much is read at once."""
MOST: Final = 200_000
"""Objects in a pack."""


def stage(item: Item) -> int:
    """What an object needs has a lower stage."""
    return STAGES.get(item.kind) or (LISTS if item.method == PARTS else item.depth)


class Parcel(NamedTuple):
    """A pack to be sent."""

    name: str
    size: int
    places: tuple[Place, ...]
    heads: tuple[bytes, ...]
    low: int
    high: int
    """Stages of what is in it."""

    @property
    def items(self) -> Iterator[Item]:
        """Its objects, as they lie in it."""
        offset = len(MAGIC)
        for place in self.places:
            item = place.item._replace(offset=offset)
            offset = item.after
            yield item


def compose(store: LocalStore, places: Iterable[Place], tell: Callable[[Finding], None]) -> Iterator[Parcel]:
    """The objects as packs of up to 64 MiB. Each is checked; what is damaged is told of and left out, and so is what
    needs it: a remote never has an object without those that it is put together from."""
    chosen: list[Place] = []
    heads: list[bytes] = []
    size, bad, source = len(MAGIC), set[bytes](), _Source(store)
    try:
        for place in sorted(places, key=lambda place: (stage(place.item), place.pack, place.item.offset)):
            head = source.sound_head(place, bad)
            if head is None:
                bad.add(place.item.digest)
                what = f"{KINDS[place.item.kind - 1]} {short(digest_of(place.item.digest))}"
                text = f"{what} in pack {place.pack[:12]} of this store is damaged or needs what is, and was not sent"
                tell(Finding(code="damaged", text=text, hint="bis verify --repair REMOTE", blocks=True))
                continue
            more = HEAD.size + place.item.stored
            if chosen and (size + more > PACK_SIZE or len(chosen) >= MOST):
                yield _parcel(chosen, heads, size)
                chosen, heads, size = [], [], len(MAGIC)
            chosen.append(place)
            heads.append(head)
            size += more
    finally:
        source.close()
    if chosen:
        yield _parcel(chosen, heads, size)


def _parcel(chosen: list[Place], heads: list[bytes], size: int) -> Parcel:
    stages = [stage(place.item) for place in chosen]
    whole = size + HEAD.size * len(heads) + END.size
    return Parcel(packs.pack_name(heads), whole, tuple(chosen), tuple(heads), min(stages), max(stages))


def blocks(store: LocalStore, parcel: Parcel, progress: Callable[[int], None] = lambda size: None) -> Iterator[bytes]:
    """The bytes of the pack, in pieces of about a MiB. `progress` is told how many were handed out."""
    source = _Source(store)
    try:
        for block in _gathered(_bytes(parcel, source)):
            yield block
            progress(len(block))
    finally:
        source.close()


def _bytes(parcel: Parcel, source: _Source) -> Iterator[bytes]:
    yield MAGIC
    for place, head in zip(parcel.places, parcel.heads, strict=True):
        yield head
        yield from source.payload(place)
    yield b"".join(parcel.heads) + END.pack(END_MARK, len(parcel.heads))


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


class _Source:
    """The packs that are read, the last one open. What lies together is read together."""

    def __init__(self, store: LocalStore) -> None:
        self._folder = store.packs
        self._name, self._fd = "", -1
        self._window, self._start = b"", 0

    def payload(self, place: Place) -> Iterator[bytes]:
        fd = self.open(place.pack)
        if place.item.stored > WINDOW:
            yield from packs.blocks(fd, place.item)
        else:
            yield self._bytes(place.item.payload, place.item.stored)

    def _bytes(self, offset: int, size: int) -> bytes:
        """Bytes of the open pack, no more than a window; fewer where it ends."""
        at = offset - self._start
        if at < 0 or at + size > len(self._window):
            self._window, self._start, at = os.pread(self._fd, WINDOW, offset), offset, 0
        return self._window[at : at + size]

    def open(self, name: str) -> int:
        if name != self._name:
            self.close()
            self._fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            self._name = name
        return self._fd

    def sound_head(self, place: Place, bad: set[bytes]) -> bytes | None:
        """The head of an object; None unless it and its payload are as they were written, and so is what it needs."""
        try:
            fd = self.open(place.pack)
            head = self._bytes(place.item.offset, HEAD.size)
            if packs.read_head(head, place.item.offset) != place.item or not self._is_sealed(head, place):
                return None
            if bad and place.item.method in (PARTS, DELTA) and not bad.isdisjoint(assembly.needs(fd, place.item)):
                return None
            return head
        except (OSError, Damaged):
            return None

    def _is_sealed(self, head: bytes, place: Place) -> bool:
        hasher, size = blake3(), 0
        for block in self.payload(place):
            hasher.update(block)
            size += len(block)
        return size == place.item.stored and head == packs.head_of(place.item, hasher.digest())

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = "", -1
        self._window = b""
