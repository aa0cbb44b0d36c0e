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
from bis.store.chunks import ANCHOR, MAXIMUM, MINIMUM, Base, Cut, Same


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
    """Tells where the version before was cut. See `chunks.Better`, and `chunks.Again` for `same`."""

    def __init__(self, store: Keeper, size: int, path: bytes) -> None:
        self.store, self.size, self.path = store, size, path
        self._known = True
        self._stood: tuple[int, Standing | None] = -1, None

    def same(self, offset: int, view: memoryview) -> Same | None:
        """The piece that stood here before, if nothing of it changed: to cut costs more than to look. A cut that the
        end of a file made is one too."""
        found = self._standing(offset)
        if found is None or not min(MINIMUM, len(view)) <= found.size <= min(MAXIMUM, len(view)):
            return None
        digest = blake3(view[: found.size]).digest()
        return Same(found.size, digest) if digest == found.digest else None

    def _standing(self, offset: int) -> Standing | None:
        if self._stood[0] != offset:
            found = self.store.standing(chunks.spots(self.size, self.path, offset)) if self._known else None
            self._known = self._known and (offset > 0 or found is not None)  # each version has a piece at its start
            self._stood = offset, found
        return self._stood[1]

    def __call__(self, offset: int, view: memoryview, size: int) -> Cut | None:
        """After `same` said that it is another one."""
        if not planes.numbers(view[:size]):
            return None
        found = self._standing(offset)
        if found is None or found.size < min(MINIMUM, len(view)):  # what was the end is none any more
            return None
        there = view[: found.size]
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
