"""The version before of a file in which all numbers change and none moves: the next checkpoint of a model.

No anchor of such a file is the one it was, as each is a digest of bytes. But its size is, and each number stands where
it stood. So, where content looks like numbers, it is cut where the version before was cut, as far as what lies there is
like it: then each piece has one other that it differs from, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from blake3 import blake3

from bis.errors import BisError
from bis.store import chunks, planes
from bis.store.chunks import ANCHOR, MINIMUM, Base, Cut


class Standing(NamedTuple):
    """A piece that stood at the same place before."""

    digest: bytes
    size: int
    base: bytes
    """What to differ from: the piece, or what that differs from, not to make the row too long."""
    depth: int


class Keeper(Protocol):
    """What is asked of a store."""

    def standing(self, spots: Iterable[bytes]) -> Standing | None:
        """What was kept last at the first of these spots that is known."""
        ...

    def is_anchor(self, anchor: bytes) -> bool:
        """Whether some content was cut where these bytes stood."""
        ...

    def fetch(self, digest: bytes) -> bytes: ...


class Before:
    """Tells where the version before was cut. See `chunks.Better`."""

    def __init__(self, store: Keeper, size: int, path: bytes) -> None:
        self.store, self.size, self.path = store, size, path

    def __call__(self, offset: int, view: memoryview, size: int) -> Cut | None:
        if not planes.numbers(view[:size]):
            return None
        found = self.store.standing(chunks.spots(self.size, self.path, offset))
        if found is None or found.size < min(MINIMUM, len(view)):  # what was the end is none any more
            return None
        there = view[: found.size]
        if blake3(there).digest() == found.digest:
            return Cut(len(there), None)
        if base := self._like(there, found):
            return Cut(len(there), base)
        # Another tensor may go on in place behind this one; unless what was there before goes on elsewhere.
        moved = self.store.is_anchor(chunks.anchor(view[max(0, size - ANCHOR) : size]))
        return None if moved else Cut(len(there), None)

    def _like(self, there: memoryview, found: Standing) -> Base | None:
        """None when the other is none like it, or cannot be read: what is damaged must not spread."""
        try:
            data = self.store.fetch(found.base)
        except BisError:
            return None
        nearer = planes.nearer(there, data)
        return Base(found.base, found.depth, data, *nearer) if nearer else None
