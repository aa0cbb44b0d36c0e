"""Lines that two files have in common, found as both are read, in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import Final

PATIENCE: Final = 8 << 20
"""Bytes of lines that wait for the other file to have them, too."""
OBJECT: Final = 100
"""Bytes that Python needs beside those of a line."""


class Meeting:
    """Lines of two files, met with the same ones of the other. One that is there several times may be left over on both
    sides, for the rows to be counted."""

    def __init__(self) -> None:
        self._waiting: list[set[bytes]] = [set(), set()]
        self._left: list[list[bytes]] = [[], []]

    def meet(self, side: int, lines: list[bytes]) -> list[bytes]:
        """The lines that the other file has, too."""
        fresh = set(lines)
        mine, others, left = self._waiting[side], self._waiting[1 - side], self._left[side]
        if len(fresh) < len(lines):
            again = Counter(lines)
            again.subtract(fresh)
            left.extend(again.elements())
        if mine and (twice := fresh & mine):
            left.extend(twice)
            fresh -= twice
        met = fresh & others
        others -= met
        fresh -= met
        mine |= fresh
        if len(mine) * OBJECT > PATIENCE or sum(map(len, mine)) > PATIENCE:
            left.extend(mine)
            mine.clear()
        return list(met)

    def left(self, side: int) -> list[bytes]:
        """Those that wait no longer."""
        found, self._left[side] = self._left[side], []
        return found

    def rest(self, side: int) -> list[bytes]:
        return [*self.left(side), *self._waiting[side]]
