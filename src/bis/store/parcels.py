"""What is to travel, put together as packs that are made while they are sent: nothing is written here for it.

Heads and payloads are copied as they are, and proved on their way: all is read once. What is needed comes before what
needs it, in a stable order, so that a push that was cut and one that goes on put the same packs together as far as
they can.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from bis.digest import short
from bis.errors import Damaged
from bis.nouns.part import Finding
from bis.store import assembly, packs
from bis.store.chunks import MAXIMUM
from bis.store.index import Place
from bis.store.local import PACK_SIZE, LocalStore, digest_of
from bis.store.packs import DELTA, END, END_MARK, HEAD, KINDS, MAGIC, NUMBER_OF_KIND, PARTS, Item
from bis.store.remote import Block

LISTS: Final = 1 << 16
"""The stage of what is put together from pieces; differences, by depth, come before."""
STAGES: Final = {NUMBER_OF_KIND["tree"]: LISTS + 1, NUMBER_OF_KIND["record"]: LISTS + 2}
WINDOW: Final = 1 << 20
"""So much is read at once, where no object is larger: it stays in the caches of the processor while it is proved."""
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
            item = Item(*place.item[:5], offset, place.item.depth)
            offset += HEAD.size + item.stored
            yield item


class Damages:
    """What turned out to be damaged in this store, and is not sent; nor is what needs it."""

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self.digests = set[bytes]()
        self._tell = tell

    def add(self, place: Place) -> None:
        self.digests.add(place.item.digest)
        what = f"{KINDS[place.item.kind - 1]} {short(digest_of(place.item.digest))}"
        text = f"{what} in pack {place.pack[:12]} of this store is damaged or needs what is, and was not sent"
        self._tell(Finding(code="damaged", text=text, hint="bis verify --repair REMOTE", blocks=True))


def compose(store: LocalStore, places: Iterable[Place], damages: Damages) -> Iterator[Parcel]:
    """The objects as packs of up to 64 MiB, without those that are known to be damaged and what needs them: a remote
    never has an object without those that it is put together from. What they hold is proved when it is sent."""
    chosen: list[Place] = []
    heads: list[bytes] = []
    size, source = len(MAGIC), _Source(store)
    with contextlib.closing(source):
        for place in sorted(places, key=lambda place: (stage(place.item), place.pack, place.item.offset)):
            if place.item.digest in damages.digests:
                continue
            head = source.head(place, damages.digests)
            if head is None:
                damages.add(place)
                continue
            more = HEAD.size + place.item.stored
            if chosen and (size + more > PACK_SIZE or len(chosen) >= MOST):
                yield _parcel(chosen, heads, size)
                chosen, heads, size = [], [], len(MAGIC)
            chosen.append(place)
            heads.append(head)
            size += more
    if chosen:
        yield _parcel(chosen, heads, size)


def _parcel(chosen: list[Place], heads: list[bytes], size: int) -> Parcel:
    stages = {stage(place.item) for place in chosen}
    whole = size + HEAD.size * len(heads) + END.size
    return Parcel(packs.pack_name(heads), whole, tuple(chosen), tuple(heads), min(stages), max(stages))


def blocks(store: LocalStore, parcel: Parcel, progress: Callable[[int], None] = lambda size: None) -> Iterator[Block]:
    """The bytes of the pack, in pieces of about a MiB, each object proved before it is handed out; `progress` is told
    how many were. Raises Damaged where one is not as it was written: `broken` says which ones."""
    yield MAGIC
    with contextlib.closing(_Source(store)) as source:
        for block in _proved(parcel, source):
            yield block
            progress(len(block))
    end = b"".join(parcel.heads) + END.pack(END_MARK, len(parcel.heads))
    yield end
    progress(len(MAGIC) + len(end))


class Taken:
    """Blocks as they are taken by who sends them, and whether something damaged was in the way of the rest: what the
    sender makes of that error nobody knows."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self.damaged = False

    def __iter__(self) -> Taken:
        return self

    def __next__(self) -> Block:
        try:
            return next(self._blocks)
        except Damaged:
            self.damaged = True
            raise


def broken(store: LocalStore, parcel: Parcel) -> list[Place]:
    """The objects that are not as they were written."""
    with contextlib.closing(_Source(store)) as source:
        return [
            place for place, head in zip(parcel.places, parcel.heads, strict=True) if not source.is_sound(place, head)
        ]


def _proved(parcel: Parcel, source: _Source) -> Iterator[Block]:
    for start, end in _runs(parcel.places):
        places, heads = parcel.places[start:end], parcel.heads[start:end]
        if places[0].item.stored > MAXIMUM:  # as older versions kept files
            yield from source.large(places[0], heads[0])
        else:
            yield source.run(places, heads)


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int]]:
    """From where to where objects lie one behind the other, and are read at once."""
    start, first, after, pack = 0, 0, -1, ""
    for number, place in enumerate(places):
        item = place.item
        if item.offset != after or place.pack != pack or item.after - first > WINDOW:
            if number:
                yield start, number
            start, first, pack = number, item.offset, place.pack
        after = item.after
    yield start, len(places)


class _Source:
    """The packs that are read, the last one open, through memory that is used again."""

    def __init__(self, store: LocalStore) -> None:
        self._folder = store.packs
        self._name, self._fd = "", -1
        self._heads: dict[bytes, bytes] = {}
        self._room = memoryview(bytearray(WINDOW))

    def head(self, place: Place, bad: set[bytes]) -> bytes | None:
        """The head of an object, as the list of its pack has it; None where the object cannot be read, or needs what is
        bad."""
        item = place.item
        try:
            if place.pack != self._name:
                self._open(place.pack)
                self._heads = _listed(self._fd, place.pack)
            if bad and item.method in (PARTS, DELTA) and not bad.isdisjoint(assembly.needs(self._fd, item)):
                return None
            return self._heads.get(bytes((item.kind, item.method)) + item.digest) or self._head_at(item)
        except (OSError, Damaged):
            return None

    def _head_at(self, item: Item) -> bytes | None:
        head = os.pread(self._fd, HEAD.size, item.offset)
        return head if packs.read_head(head, item.offset) == item else None

    def run(self, places: Sequence[Place], heads: Sequence[bytes]) -> memoryview:
        """What lies one behind the other, proved; good until more is read. Raises Damaged."""
        first, last = places[0].item, places[-1].item
        data, at = self._read(places[0].pack, first.offset, last.after - first.offset), 0
        for (_, item), head in zip(places, heads, strict=True):
            payload = data[at + HEAD.size : (after := at + HEAD.size + item.stored)]
            if data[at : at + HEAD.size] != head or packs.head_of(item, blake3(payload).digest()) != head:
                raise Damaged("its seal is broken")
            at = after
        return data

    def large(self, place: Place, head: bytes) -> Iterator[memoryview]:
        """An object of any size, which is proved when it has been handed out. Raises Damaged."""
        item, hasher = place.item, blake3()
        yield (data := self._read(place.pack, item.offset, HEAD.size))
        sound = data == head
        for start in range(item.payload, item.after, WINDOW):
            data = self._read(place.pack, start, min(WINDOW, item.after - start))
            hasher.update(data)
            yield data
        if not sound or packs.head_of(item, hasher.digest()) != head:
            raise Damaged("its seal is broken")

    def is_sound(self, place: Place, head: bytes) -> bool:
        try:
            for _ in self.large(place, head):
                pass
        except Damaged:
            return False
        return True

    def _read(self, pack: str, offset: int, size: int) -> memoryview:
        try:
            self._open(pack)
            if size > len(self._room):
                self._room = memoryview(bytearray(size))
            if packs.read_into(self._room[:size], self._fd, offset) < size:
                raise Damaged("the pack ends in the middle of it")
        except OSError as error:
            raise Damaged(f"the disk cannot read it: {error.strerror}") from error
        return self._room[:size]

    def _open(self, name: str) -> None:
        if name != self._name:
            self.close()
            self._fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            self._name = name

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = "", -1
        self._heads = {}


def _listed(fd: int, name: str) -> dict[bytes, bytes]:
    """The heads of a pack by kind, method and digest; none where its list is not the one that its name stands for."""
    heads = packs.list_of_heads(fd)
    if heads is None or packs.pack_name(heads) != name:
        return {}
    return {head[4:6] + head[24:56]: head for head in heads}
