"""Import from other systems: one state after the other becomes a version, and what cannot be had is named.

What all of `acts/adopt*.py` stand on.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bis.digest import readable
from bis.errors import UsageError
from bis.nouns.dataset import Held
from bis.nouns.reference import is_data_name
from bis.steps.adopting import State, keep
from bis.steps.home import Home

Progress = Callable[[str, int, int], None]
"""Told what is imported, how many states are done, and how many there are (0: not known)."""
SHORT = 8
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lz4")


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A version that could not be imported."""

    what: str
    """Spelled: `data/raw.csv of 1a2b3c4d`."""
    why: str


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    versions: tuple[Held, ...] = ()
    """The new ones, in the order in which they were kept."""
    known: int = 0
    """States that were there already, or had the content of the version before."""
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()


class Absent(Exception):
    """Content that cannot be had, and why."""


class Taking:
    """Keeps one state after the other, and what could not be kept."""

    def __init__(self, home: Home, progress: Progress) -> None:
        self._home, self._progress = home, progress
        self._versions: list[Held] = []
        self._known = 0
        self._missing: list[Missing] = []
        self._done = 0
        self.total = 0
        self.notes: list[str] = []

    def take(self, what: str, make: Callable[[], State]) -> None:
        """Keep the state that is made; one whose content cannot be had is noted under the name `what`."""
        self._progress(f"importing {readable(what)}", self._done, max(self.total, self._done))
        self._done += 1
        try:
            state = make()
        except Absent as absent:
            self._missing.append(Missing(what=what, why=str(absent)))
            return
        held, new = keep(state, self._home)
        if new:
            self._versions.append(held)
        else:
            self._known += 1

    def done(self) -> Adopted:
        return Adopted(
            versions=tuple(self._versions),
            known=self._known,
            missing=tuple(self._missing),
            notes=tuple(dict.fromkeys(self.notes)),
        )


# -- names -------------------------------------------------------------------------------------------------------


def names_for(places: Mapping[str, bool], prefix: str) -> dict[str, str]:
    """Place -> name of its data set: its last word without suffixes, or, where two would be called alike, all of it."""
    short = {place: stem(posixpath.basename(place), not folder) for place, folder in places.items()}
    taken = [*short.values()]
    return {
        place: named(name if taken.count(name) == 1 else stem(place, not places[place]), prefix)
        for place, name in short.items()
    }


def stem(path: str, is_file: bool) -> str:
    folder, _, name = path.rpartition("/")
    if is_file:
        while Path(name).suffix in PACKED:
            name = Path(name).stem
        name = Path(name).stem
    return f"{folder}/{name}" if folder else name


def named(name: str, prefix: str) -> str:
    """A name that a data set can have."""
    words = [re.sub(r"[^\w.+-]", "-", word).strip(".-+") for word in f"{prefix}/{name}".split("/")]
    called = "/".join(filter(None, words))
    if not is_data_name(called):
        raise UsageError(f"no name can be made of {name!r}", hint="--prefix NAME")
    return called
