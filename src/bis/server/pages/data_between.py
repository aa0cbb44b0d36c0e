"""What is different in the data of two runs: file by file, with the versions of data sets that hold them, and within
tables, as far as a page looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bis.acts.data import versions_with
from bis.acts.data_diff import Bounds, FileChange, between, change_told
from bis.digest import Digest
from bis.formats.bins import Bins
from bis.nouns.dataset import Held
from bis.nouns.run import Run
from bis.nouns.tree import Entry
from bis.server.pages.data import version_place
from bis.steps.data_told import told
from bis.steps.home import Home

BOUNDS: Final = Bounds(4 << 20, 10, together=8 << 20, fetched=False, bins=True, beyond="bis data diff")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a content lies in a version of data."""

    name: str
    """Of the data set."""
    reference: str
    path: str
    """In the version; empty where it is a single file."""
    page: str
    stamp: str


class Side(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int
    places: list[Place]


class DataFile(msgspec.Struct, kw_only=True):
    """One file that two runs did not both have so."""

    path: str
    kind: str
    before: Side | None
    after: Side | None
    inside: dict[str, Any] | None = None
    """What is different within it."""
    bins: dict[str, tuple[Bins, Bins]] = {}
    why: str = ""
    """Why it was not looked into."""

    @property
    def versions(self) -> tuple[Place, Place] | None:
        """Two versions of one data set that hold it."""
        old, new = (side.places if side else [] for side in (self.before, self.after))
        pairs = ((first, second) for first in old for second in new if first.name == second.name)
        return next(((first, second) for first, second in pairs if first.reference != second.reference), None)


def data_between(before: Run, after: Run, home: Home) -> list[DataFile]:
    changes = between(before, after, home, BOUNDS)
    digests = {entry.digest for one in changes for entry in (one.before, one.after) if entry and entry.size}
    known = versions_with(digests, home) if digests else {}
    return [_file(one, known) for one in changes]


def _file(change: FileChange, known: dict[Digest, list[tuple[Held, str]]]) -> DataFile:
    return DataFile(
        path=change.path,
        kind=change.kind,
        before=_side(change.before, known),
        after=_side(change.after, known),
        inside=change_told(change).get("inside"),
        bins=change.inside.bins if change.inside else {},
        why=change.why,
    )


def _side(entry: Entry | None, known: dict[Digest, list[tuple[Held, str]]]) -> Side | None:
    if entry is None:
        return None
    return Side(digest=entry.digest, size=entry.size, places=places_of(known.get(entry.digest, ())))


def places_of(some: Iterable[tuple[Held, str]]) -> list[Place]:
    return [
        Place(
            name=held.version.name,
            reference=held.reference,
            path=path,
            page=version_place(told(held)),
            stamp=held.version.stamp,
        )
        for held, path in some
    ]
