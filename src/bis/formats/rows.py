"""Rows of two tables, matched wherever they stand, in bounded memory.

A row is taken for a hash of 64 bits: of ten million rows, that two different ones are taken for the same has odds of
about one in 100,000. Hashes lie in bins, by some of their bits, and what of a bin does not fit in memory in a
temporary file; then bin is held against bin.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import BinaryIO, Final

import msgspec

from bis.formats import Unreadable

BINS: Final = 1024
FULL: Final = 1024
"""Hashes of a bin that stay in memory: 8 MiB of all bins."""
WIDTH: Final = 8


class RowChange(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that one file has and the other has not; one that was edited counts on both sides."""

    added: int
    removed: int


class Rows:
    """The rows of one table, taken one by one, in memory that does not grow with their number as long as they are
    fewer than billions."""

    def __init__(self) -> None:
        self._bins = [array("q") for _ in range(BINS)]
        self._places = [array("q") for _ in range(BINS)]
        self._file: BinaryIO | None = None

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def take(self, row: Hashable) -> None:
        self.take_all((hash(row),))

    def take_all(self, hashes: Iterable[int]) -> None:
        """Raises Unreadable when there is no room for a temporary file."""
        bins = self._bins
        for value in hashes:
            some = bins[value % BINS]
            some.append(value)
            if len(some) >= FULL:
                self._put_away(value % BINS)

    def hashes(self, number: int) -> array[int]:
        """Those of one bin."""
        found = array("q")
        for place in self._places[number]:
            assert self._file
            self._file.seek(place)
            found.frombytes(self._file.read(FULL * WIDTH))
        return found + self._bins[number]

    def _put_away(self, number: int) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="bis-rows-")  # noqa: SIM115 - closed with this
            self._places[number].append(self._file.seek(0, os.SEEK_END))
            self._file.write(self._bins[number].tobytes())
        except OSError as error:
            raise Unreadable(f"its rows cannot be matched in {tempfile.gettempdir()}: {error.strerror}") from None
        del self._bins[number][:]


def row_change(before: Rows, after: Rows) -> RowChange:
    """What the one has more than the other; rows that are there several times count as often."""
    added = removed = 0
    for number in range(BINS):
        old, new = before.hashes(number), after.hashes(number)
        counts = Counter(new)
        counts.subtract(old)
        added += sum(count for count in counts.values() if count > 0)
        removed -= sum(count for count in counts.values() if count < 0)
    return RowChange(added=added, removed=removed)
