"""A pack that comes from somebody else, as a file: written to a draft, and proved before it has its name.

What is believed here others rely on: what the store has, they do not send. So not only the seals are looked at, which
anybody can make, but that each object has its digest, also those that are put together from others.
"""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from typing import BinaryIO, Final

from blake3 import blake3

from bis.digest import Digest, short
from bis.errors import Damaged, KeepingError, NotFound
from bis.store import assembly, doomed, packs
from bis.store.chunks import MAXIMUM
from bis.store.local import LocalStore, digest_of
from bis.store.packs import BLOCK, DELTA, END, HEAD, KINDS, MAGIC, NUMBER_OF_KIND, PARTS, PLANES, RAW, Item
from bis.store.trouble import BUSY, trouble

MOST: Final = 1 << 20
"""Objects in a pack: their list is held in memory."""
LARGE: Final = 4 * MAXIMUM
"""What is larger is read as a stream; nothing larger is a piece of something, or a base."""
DEEPEST: Final = 64
"""Differences, one on the other: each is read while the one above it is."""


class Arrival:
    """One pack on its way in. Dropped, it leaves nothing; killed with its process, a draft that the next writer
    removes. Threads take turns."""

    def __init__(self, store: LocalStore, name: str) -> None:
        """Raises KeepingError where a pack of that name is about to be deleted."""
        self.store, self.name = store, name
        self._turn = threading.Lock()
        self._demand_staying()
        try:
            store.packs.mkdir(parents=True, exist_ok=True)
            packs.remove_unfinished(store.packs)
            self._path, self._fd = packs.create(store.packs)
        except OSError as error:
            raise trouble(error, "write to the store", store.path) from error

    def write(self, block: bytes) -> None:
        try:
            with self._turn:
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise trouble(error, "write to the store", self.store.path) from error

    def settle(self) -> list[Digest]:
        """Prove it and let it appear, durable. Returns its records. Raises Damaged, and nothing of it is kept then."""
        with self._turn:
            return self._settle()

    def _settle(self) -> list[Digest]:
        items = prove(self._fd, self.name, self.store)
        self._demand_staying()
        try:
            self.store.adopt(self._path, self._fd, self.name)
        except OSError as error:
            raise trouble(error, "write to the store", self.store.path) from error
        return [digest_of(item.digest) for item in items if item.kind == NUMBER_OF_KIND["record"]]

    def discard(self) -> None:
        """After all: what appeared stays."""
        with self._turn:
            if self._fd >= 0:
                with contextlib.suppress(OSError):
                    self._path.unlink()
                os.close(self._fd)
                self._fd = -1

    def _demand_staying(self) -> None:
        if self.name in doomed.names(doomed.read(self.store.path)):
            raise KeepingError(
                f"pack {self.name[:12]} is about to be deleted, and holds what was to be sent",
                because="`bis gc` found there that nothing needed it.",
                hint="bis gc there, and the same command again when the pack is gone",
                code=BUSY,
            )


def prove(fd: int, name: str, store: LocalStore) -> list[Item]:
    """The objects of a pack that is all that its name says; what they are put together from is in it, before them, or
    in the store. Takes bounded memory, whatever the pack says. Raises Damaged."""
    if _count(fd) > MOST:
        raise Damaged(f"pack {name[:12]} says that it holds more than {MOST:,} objects")
    listed = packs.list_items(fd)
    if listed is None:
        raise Damaged(f"pack {name[:12]} did not come whole, or holds what this bis does not know")
    items, heads = listed
    if packs.pack_name(heads) != name:
        raise Damaged(f"pack {name[:12]} does not hold what its name stands for")
    proof = _Proof(fd, store)
    with open(fd, "rb", buffering=BLOCK, closefd=False) as file:
        file.seek(len(MAGIC))
        for item, head in zip(items, heads, strict=True):
            try:
                proof.demand(item, head, file)
            except (Damaged, NotFound) as error:
                what = f"{KINDS[item.kind - 1]} {short(digest_of(item.digest))} in pack {name[:12]}"
                raise Damaged(f"{what} is refused: {error.what}", hint="bis verify, where it comes from") from error
    return items


def _count(fd: int) -> int:
    end = os.pread(fd, END.size, max(0, os.fstat(fd).st_size - END.size))
    return int(END.unpack(end)[1]) if len(end) == END.size else 0


class _Proof:
    """Goes through a pack once, from its start."""

    def __init__(self, fd: int, store: LocalStore) -> None:
        self._fd, self._store = fd, store
        self._own: dict[bytes, Item] = {}
        """What was proved so far and may be a piece or a base of what follows."""

    def demand(self, item: Item, head: bytes, file: BinaryIO) -> None:
        """Raises Damaged or NotFound unless the object, at which the file stands, is what its head says."""
        if item.stored > LARGE:
            self._demand_large(item, head, file)
        else:
            self._demand_small(item, head, file)
        if item.method != PARTS:
            self._own[item.digest] = item

    def _demand_small(self, item: Item, head: bytes, file: BinaryIO) -> None:
        there, payload = file.read(HEAD.size), file.read(item.stored)
        digest = blake3(payload).digest()
        if there != head or packs.head_of(item, digest) != head:
            raise Damaged("its seal is broken")
        if item.method in (PARTS, DELTA):
            self._demand_composed(item)
        elif item.method == RAW:
            _demand(digest == item.digest and item.stored == item.raw)
        elif item.raw > LARGE:
            self._demand_unpacked(item)
        else:
            _demand(blake3(packs.content(item, payload)).digest() == item.digest)

    def _demand_large(self, item: Item, head: bytes, file: BinaryIO) -> None:
        if os.pread(self._fd, HEAD.size, item.offset) != head or not packs.seal_holds(self._fd, item):
            raise Damaged("its seal is broken")
        if item.method in (PARTS, DELTA):
            self._demand_composed(item)
        else:
            self._demand_unpacked(item)
        file.seek(item.after)

    def _demand_unpacked(self, item: Item) -> None:
        if item.method == PLANES:
            raise Damaged(f"{item.raw:,} bytes are no piece")
        for _ in packs.raw_blocks(self._fd, item):
            pass

    def _demand_composed(self, item: Item) -> None:
        if item.method == PARTS:
            for _ in assembly.at_the_end(self._fd, item, partial(self._fetch, most=MAXIMUM)):
                pass
            return
        if item.raw > LARGE or item.stored > LARGE or item.depth > DEEPEST:
            raise Damaged("it is no difference as a store has them")
        assembly.read(self._fd, item, partial(self._fetch, most=LARGE, above=item.depth))

    def _fetch(self, digest: bytes, *, most: int, above: int = DEEPEST + 1) -> bytes:
        """The bytes of a piece or base, from the pack itself, or from the store."""
        own = self._own.get(digest)
        if (own.raw if own else self._store.size(digest_of(digest))) > most or (own and own.depth >= above):
            raise Damaged("it is put together from what is no piece")
        if own is None:
            return self._store.fetch(digest)
        return assembly.read(self._fd, own, partial(self._fetch, most=most, above=own.depth))


def _demand(holds: bool) -> None:
    if not holds:
        raise Damaged("its bytes do not match its digest")
