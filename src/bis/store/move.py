"""Copying what is needed out of packs that are to go, as it is stored, and proved before."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from blake3 import blake3

from bis.errors import Damaged, counted
from bis.store import packs
from bis.store.index import Place
from bis.store.local import PACK_SIZE, LocalStore
from bis.store.packs import HEAD, KINDS, NUMBER_OF_KIND, PARTS, Form, Item, PackWriter
from bis.store.trouble import trouble

LISTED: Final = frozenset((NUMBER_OF_KIND["tree"], NUMBER_OF_KIND["record"]))
"""Kinds that an object must be listed as."""
OFFSET: Final = 40
"""Bits of a place that are the offset in its pack."""


class Moving:
    """Copies what is needed out of packs that are to go, as it is stored."""

    def __init__(self, store: LocalStore, taken: frozenset[str] | set[str], progress: Callable[[str], None]) -> None:
        self.store, self.taken, self.progress = store, taken, progress
        self.failed: set[str] = set()
        """Packs that hold something needed which is damaged and lies nowhere else: they must stay."""
        self.size = 0
        self._writer: PackWriter | None = None

    def move(self, leaving: Collection[str], staying: Collection[str], needed: Collection[bytes]) -> None:
        """All that is needed, lies in packs that are `leaving` and is whole in none that is `staying`. Durable."""
        names = sorted(leaving)
        places = array("Q")  # compact: there may be very many
        lists = array("Q")
        for digest, some in groupby(self.store.index.copies(), lambda place: place.item.digest):
            if digest in needed:
                for place in _last(self.store, list(some), leaving, staying):
                    into = lists if place.item.method == PARTS else places
                    into.append(names.index(place.pack) << OFFSET | place.item.offset)
        try:
            # Pieces come before the lists of them, as when they were put.
            for number, code in enumerate((*sorted(places), *sorted(lists))):
                if number % 1000 == 0:
                    self.progress(f"moving {number:,} of {counted(len(places) + len(lists), 'object')}")
                self._copy(names[code >> OFFSET], code & (1 << OFFSET) - 1, leaving)
            self._finish()
        except packs.Unsynced as unsynced:
            raise trouble(unsynced.error, "write to the store", self.store.path) from unsynced
        except OSError as error:
            raise trouble(error, "write to the store", self.store.path) from error
        finally:
            if self._writer:
                self._writer.discard()

    def _copy(self, pack: str, offset: int, leaving: Collection[str]) -> None:
        """From this pack; where it is damaged there, from another that has it in the same form."""
        item = _item_at(self.store.packs / pack, offset)
        if item is None:
            self.failed.add(pack)
            return
        with contextlib.suppress(Damaged):
            self._add(item, _sound_payload(self.store, Place(pack, item)))
            return
        others = [place for place in self.store.index.find(item.digest) if place.pack in leaving]
        for place in by_use(others).get(_use(item), ()):
            with contextlib.suppress(Damaged):
                self._add(place.item, _sound_payload(self.store, place))
                return
        self.failed.update(place.pack for place in others)

    def _add(self, item: Item, payload: bytes) -> None:
        if self._writer and self._writer.size >= PACK_SIZE:
            self._finish()
        self._writer = self._writer or PackWriter(self.store.packs)
        self._writer.add(KINDS[item.kind - 1], item.digest, item.raw, Form(item.method, payload, item.depth))
        self.size += item.stored + 2 * HEAD.size

    def _finish(self) -> None:
        if self._writer:
            name, items = self._writer.finish(self.taken)
            self.store.index.add(name, items, ())
            self._writer = None


def _sound_payload(store: LocalStore, place: Place) -> bytes:
    """What is stored of an object. Raises Damaged unless head, seal and, where the pack alone has it, content hold."""
    item = place.item
    try:
        fd = os.open(store.packs / place.pack, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged("the pack is gone") from None
    try:
        packs.check_head(fd, item)
        payload = packs.payload(fd, item)
        head = os.pread(fd, HEAD.size, item.offset)
        if head != packs.head_of(item, blake3(payload).digest()):
            raise Damaged("its seal does not hold")
        if item.method in packs.WHOLE:
            packs.read_object(fd, item)
        return payload
    finally:
        os.close(fd)


def _item_at(pack: Path, offset: int) -> Item | None:
    with pack.open("rb") as file:
        return packs.read_head(os.pread(file.fileno(), HEAD.size, offset), offset)


def _last(
    store: LocalStore, places: list[Place], leaving: Collection[str], staying: Collection[str]
) -> Iterator[Place]:
    """The copies of an object that must be moved, one for each use that no whole copy which stays has."""
    if any(place.pack in leaving for place in places):
        for copies in by_use(places).values():
            going = [place for place in copies if place.pack in leaving]
            if going and not any(place.pack in staying and _is_whole(store, place) for place in copies):
                yield going[0]


def _is_whole(store: LocalStore, place: Place) -> bool:
    try:
        with (store.packs / place.pack).open("rb") as file:
            packs.check_head(file.fileno(), place.item)
            return packs.seal_holds(file.fileno(), place.item)
    except (OSError, Damaged):
        return False


def by_use(places: Iterable[Place]) -> dict[tuple[int, bool], list[Place]]:
    """Copies of one object by what they serve as."""
    found: dict[tuple[int, bool], list[Place]] = {}
    for place in places:
        found.setdefault(_use(place.item), []).append(place)
    return found


def _use(item: Item) -> tuple[int, bool]:
    """A tree must be listed as one, and a piece must be no list itself."""
    return item.kind if item.kind in LISTED else 0, item.method == PARTS
