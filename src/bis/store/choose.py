"""Which packs to doom: those of which little or nothing is needed, or that hold what must not stay behind."""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import groupby
from typing import Final

import msgspec

from bis.store import ObjectKind, packs
from bis.store.index import Place
from bis.store.local import PACK_SIZE, LocalStore
from bis.store.move import by_use
from bis.store.packs import HEAD, KINDS, SUFFIX

WORTH_KEEPING: Final = 0.7
"""A pack of which less is needed is written anew without the rest."""

CRUMB: Final = 1 << 20
"""Bytes of a small pack."""
MANY: Final = 100
"""So many small packs are made one: each upload of a file to a server leaves one, and each costs an open file."""


class KindGone(msgspec.Struct, frozen=True, kw_only=True):
    objects: int = 0
    size: int = 0
    """Bytes on disk."""


class Choice:
    """Which packs to doom, by what is needed of each."""

    def __init__(
        self, store: LocalStore, needed: Collection[bytes], all_doomed: frozenset[str], since: float | None
    ) -> None:
        self.store = store
        self.unsound: set[str] = set()
        self.sizes: dict[str, int] = {}
        self._ages: dict[str, int] = {}
        self._fresh: set[str] = set()
        for name in sorted(pack_names(store)):
            self._look(name, since)
        self.chosen: set[str] = set()
        self._all_doomed = all_doomed
        self._live = dict.fromkeys(self.sizes, 0)
        self._dead: dict[str, dict[ObjectKind, KindGone]] = {name: {} for name in self.sizes}
        self._leaning: set[str] = set()
        self._huge: set[str] = set()
        for digest, places in groupby(store.index.copies(), lambda place: place.item.digest):
            self._count(digest in needed, [place for place in places if place.pack in self.sizes])
        self.chosen = {name for name in self.sizes if self._is_to_go(name)} | self._crumbs()

    def others(self) -> set[str]:
        """The packs that stay, and can be relied upon."""
        return self.sizes.keys() - self.chosen - self._all_doomed - self.unsound

    def unneeded(self) -> dict[ObjectKind, KindGone]:
        found: dict[ObjectKind, KindGone] = {}
        for name in self.chosen:
            for kind, gone in self._dead[name].items():
                found[kind] = _sum(found.get(kind, KindGone()), gone)
        return found

    def needed_bytes(self) -> int:
        return sum(self._live[name] for name in self.chosen)

    def _look(self, name: str, since: float | None) -> None:
        """A pack whose name does not vouch for its list is left alone, and so is one that a living writer may have
        written: its record comes later."""
        try:
            fd = os.open(self.store.packs / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            status = os.fstat(fd)
            listed = packs.list_items(fd)
        finally:
            os.close(fd)
        self.sizes[name], self._ages[name] = status.st_size, status.st_mtime_ns
        if listed is None or packs.pack_name(listed[1]) != name:
            self.unsound.add(name)
        if since is not None and status.st_mtime >= since - 1:
            self._fresh.add(name)

    def _count(self, is_needed: bool, places: list[Place]) -> None:
        for place in places:
            if not is_needed:
                self._note_dead(place)
            elif place.item.stored > PACK_SIZE:
                self._huge.add(place.pack)
        if is_needed:
            for copies in by_use(place for place in places if place.pack not in self._all_doomed).values():
                newest = max(copies, key=lambda place: (self._ages[place.pack], place.pack))
                self._live[newest.pack] += newest.item.stored + 2 * HEAD.size

    def _note_dead(self, place: Place) -> None:
        kind = KINDS[place.item.kind - 1]
        gone = KindGone(objects=1, size=place.item.stored + 2 * HEAD.size)
        self._dead[place.pack][kind] = _sum(self._dead[place.pack].get(kind, KindGone()), gone)
        if packs.leans(place.item):
            self._leaning.add(place.pack)

    def _crumbs(self) -> set[str]:
        """Small packs, where there are many: what is needed of them is written together."""
        staying = self.sizes.keys() - self._all_doomed - self.unsound - self._fresh
        small = {name for name in staying if self.sizes[name] < CRUMB}
        return small if len(small) >= MANY else set()

    def _is_to_go(self, name: str) -> bool:
        if name in self._all_doomed | self.unsound | self._fresh or (self._live[name] and name in self._huge):
            return False
        # What names other objects must not stay behind when those go.
        return self._live[name] < WORTH_KEEPING * self.sizes[name] - packs.END.size or name in self._leaning


def _sum(one: KindGone, other: KindGone) -> KindGone:
    return KindGone(objects=one.objects + other.objects, size=one.size + other.size)


def pack_names(store: LocalStore) -> set[str]:
    return {entry.name for entry in os.scandir(store.packs) if entry.name.endswith(SUFFIX)}
