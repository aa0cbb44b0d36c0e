"""Two versions of data side by side: which files differ, and what differs within tables, as `bis data diff` tells it.
What a page does not look into it names, with the command that does."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import msgspec

from bis.acts.data_diff import Bounds, diff, told
from bis.digest import readable
from bis.errors import NotFound, counted
from bis.formats.bins import Bins
from bis.nouns.dataset import Held
from bis.nouns.reference import parse_data
from bis.server.desk import Desk
from bis.server.pages.clock import here
from bis.server.pages.data import One, chosen, home_of, version_place
from bis.server.pages.data import place as set_place
from bis.server.pages.page import Page, Table
from bis.steps import data_told
from bis.steps.home import Home
from bis.text import command_line

BOUNDS: Final = Bounds(4 << 20, 20, together=8 << 20, fetched=False, bins=True, beyond="bis data diff")
MOST: Final = 100_000
"""Files of a version up to which it is compared."""
NUMBER: Final = re.compile(r"v?(\d{1,9})")
SHOWN: Final = 200
"""Files that the page shows."""


class Asked(One, forbid_unknown_fields=True):
    other: str = ""
    """What it is compared with: `v1`, or a version of another data set as a command takes it; empty: the one before."""


class Apart(msgspec.Struct, kw_only=True):
    before: dict[str, Any]
    after: dict[str, Any]
    difference: dict[str, Any] | None = None
    """What `bis data diff --json` says, as far as a page looks."""
    bins: dict[str, dict[str, tuple[Bins, Bins]]] = {}
    """How numbers are spread before and after: by file, and by column."""
    limits: list[str] = []
    """What was not looked at, in words."""

    @property
    def shown(self) -> list[dict[str, Any]]:
        return list(self.difference["changes"][:SHOWN]) if self.difference else []

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many files of each kind."""
        found = Counter(one["kind"] for one in self.difference["changes"]) if self.difference else Counter()
        return [(kind, found[kind]) for kind in ("added", "removed", "changed", "moved") if found[kind]]

    @property
    def command(self) -> str:
        return command_line(["bis", "data", "diff", self.before["reference"], self.after["reference"]])

    @property
    def swapped(self) -> str:
        """The path of the page that has them the other way round."""
        return f"{version_place(self.before)}/diff"

    @staticmethod
    def place(version: dict[str, Any]) -> str:
        return version_place(version)

    @property
    def set_place(self) -> str:
        return set_place(self.after["name"])


async def apart(desk: Desk, asked: Asked) -> Apart:
    return await desk.shelf.work(lambda: _apart(desk, asked))


def _apart(desk: Desk, asked: Asked) -> Apart:
    home, after = home_of(desk), chosen(desk, asked)
    before = _other(desk, after, asked.other)
    found = Apart(before=data_told.told(before), after=data_told.told(after))
    if (files := max(before.version.files, after.version.files)) > MOST:
        found.limits.append(f"a page does not compare {counted(files, 'file')}: {found.command}")
        return found
    _compare(found, before, after, home)
    return found


def _compare(found: Apart, before: Held, after: Held, home: Home) -> None:
    difference = diff(before, after, home, bounds=BOUNDS)
    found.difference = told(difference)
    found.bins = {one.path: one.inside.bins for one in difference.changes if one.inside and one.inside.bins}
    unseen = sum(bool(one.why) for one in difference.changes)
    if unseen:
        found.limits.append(f"{counted(unseen, 'file')} that changed could not be looked into here: each says why")


def _other(desk: Desk, after: Held, text: str) -> Held:
    sets = home_of(desk).ledger.data
    if text:
        number = NUMBER.fullmatch(text)
        reference = f"{after.version.name}@v{number[1]}" if number else text
        return sets.find(parse_data(reference, here()), hidden=True)[0]
    line = sets.versions(after.version.name, hidden=after.hidden)
    older = line[[one.record for one in line].index(after.record) + 1 :]
    if not older:
        raise NotFound(
            f"{readable(after.reference)} is the first version of {readable(after.version.name)}: there is none before",
            hint=f"bis data show {readable(after.reference)}",
        )
    return older[0]


def table(found: Apart) -> Table:
    names = ("kind", "path", "was", "digest before", "digest after", "size before", "size after")
    changes = found.difference["changes"] if found.difference else ()
    return names, ([one["kind"], one["path"], one["was"], *_sides(one)] for one in changes)


def _sides(change: dict[str, Any]) -> list[Any]:
    sides = [change["before"] or {}, change["after"] or {}]
    return [side.get(name) for name in ("digest", "size") for side in sides]


PAGES: Final = (Page("/data/{name:path}/v{number:int}/diff", "data_difference", Asked, apart, table),)
