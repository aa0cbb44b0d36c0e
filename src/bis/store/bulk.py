"""Many small objects read at once: those that lie close to each other in a pack come with one read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from blake3 import blake3

from bis.errors import Damaged
from bis.store import squeeze
from bis.store.index import Place
from bis.store.packs import RAW, ZSTD, Item

METHODS: Final = frozenset((RAW, ZSTD))
STRETCH: Final = 1 << 20
"""No more than this is read at once, if not a single object is larger."""
GAP: Final = 16 << 10
"""What lies between two objects is read, too, when it is not longer than this."""


def stretches(places: Iterable[Place]) -> Iterator[list[Place]]:
    """These places in the order in which they lie, parted into what is worth reading at once."""
    some: list[Place] = []
    for place in sorted(places, key=lambda place: (place.pack, place.item.offset)):
        if some and not _is_near(some, place):
            yield some
            some = []
        some.append(place)
    if some:
        yield some


def _is_near(some: list[Place], place: Place) -> bool:
    first, last = some[0], some[-1]
    if place.pack != last.pack or place.item.offset > last.item.after + GAP:
        return False
    return place.item.after <= first.item.offset + STRETCH


def content(item: Item, stored: bytes) -> bytes | None:
    """The bytes of an object by what is stored of it; None unless they are what its name says."""
    if item.method not in METHODS:
        return None
    try:
        data = squeeze.unpack_exactly(stored, item.raw) if item.method == ZSTD else stored
    except Damaged:
        return None
    return data if blake3(data).digest() == item.digest else None
