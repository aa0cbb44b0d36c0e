"""`bis data`: say which runs used a version; tag and remove versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import nullcontext
from itertools import islice
from typing import Any

import msgspec

from bis.digest import Digest, readable
from bis.errors import BisError, NotFound, UsageError
from bis.formats import Unreadable
from bis.formats.bins import Bins, bins, ranges_of
from bis.formats.profile import Profile, is_profiled, profile
from bis.ledger import Ledger
from bis.nouns.dataset import DataAnnotation, Held
from bis.nouns.reference import is_tag
from bis.nouns.run import Run
from bis.nouns.tree import Leaf
from bis.steps.add_data import annotate, say
from bis.steps.bring import leaves_of, located
from bis.steps.here import now, user_here
from bis.steps.home import Home
from bis.steps.removals import still_there
from bis.store.snapshot import walk
from bis.text import size

USERS = 20
"""So many runs are told of."""
SETS = 50
FEW = 500


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A run that used files of a version."""

    run: Run
    files: int
    """So many different ones, by content."""
    of: int


def users(held: Held, path: str, home: Home) -> tuple[list[User], bool]:
    """The newest of the runs whose data part holds a file of the version, or of what lies at `path` in it; and whether
    these are all."""
    files = [leaf for leaf in leaves_of(held, path, home) if leaf.entry.kind == "file" and leaf.entry.size]
    digests = {leaf.entry.digest for leaf in files}
    known = home.ledger.data.users(digests)
    return shares(known[:USERS], digests, home.ledger), len(known) <= USERS


def shares(ids: Iterable[str], digests: Set[Digest], ledger: Ledger) -> list[User]:
    """How many of these files each of some runs used."""
    found = []
    for id in ids:
        run = ledger.get(id)
        inputs = {row["digest"] for row in run.parts["data"].facts["inputs"]}
        found.append(User(run=run, files=len(digests & inputs), of=len(digests)))
    return found


def told(users: Sequence[User]) -> list[dict[str, Any]]:
    """As JSON has it, in the command's answer and in the page's."""
    return [
        {"id": one.run.id, "name": one.run.name, "started": one.run.started, "files": one.files, "of": one.of}
        for one in users
    ]


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was found to hold."""

    profile: Profile | None = None
    bins: dict[str, Bins] = {}
    why: str = ""
    """Why it was not looked into, where it might have been."""


def look(held: Held, path: str, leaf: Leaf, home: Home, *, largest: int) -> Looked:
    """What is in one file of a version, as far as it lies in the store and is no larger than that."""
    entry = leaf.entry
    if entry.kind != "file" or not is_profiled(entry.name):
        return Looked()
    if not entry.kept and not home.store.has(entry.digest):
        return Looked(why="it was recorded by reference, and lies elsewhere")
    if entry.size > largest:
        return Looked(why=f"it is larger than {size(largest)}")
    try:
        with located(held, path, home) as place:
            found = profile(place)
            return Looked(profile=found, bins=bins(place, ranges_of(found)))
    except (Unreadable, BisError) as error:
        return Looked(why=str(error).splitlines()[0])


def versions_with(digests: Set[Digest], home: Home) -> dict[Digest, list[tuple[Held, str]]]:
    """The versions that hold files, of each data set the newest, and where in them; looked for in the newest 50 that
    hold few files."""
    found: dict[Digest, dict[str, tuple[Held, str]]] = {}
    few = (held for held in home.ledger.data.versions() if held.version.files <= FEW)
    for held in islice(few, SETS):
        if held.version.single and held.version.content not in digests:
            continue
        for leaf in leaves_of(held, "", home):
            if leaf.entry.kind == "file" and leaf.entry.digest in digests:
                inside = "" if held.version.single else leaf.path
                found.setdefault(leaf.entry.digest, {}).setdefault(held.version.name, (held, inside))
    return {digest: list(names.values()) for digest, names in found.items()}


def is_kept(held: Held, home: Home) -> bool:
    """Whether its files are in the store. One version is either copied, or by reference, as a whole."""
    files = (leaf for leaf in walk(home.store, held.version.tree) if leaf.entry.kind == "file")
    return next((leaf.entry.kept for leaf in files), True)


def tag(held: Held, tags: Sequence[str], home: Home, *, removed: Sequence[str] = ()) -> Held:
    """Let tags mean this version, and no other of its data set; or take some away. The version as it then is."""
    check_tag(held, tags, removed)
    return say(held, home, tags=tuple(tags), removed=tuple(removed)) if tags or removed else held


def check_tag(held: Held, tags: Sequence[str], removed: Sequence[str]) -> None:
    """Raises UsageError for a word that cannot be a tag, NotFound for one that is to be taken away and is not there."""
    for name in tags:
        if not is_tag(name):
            raise UsageError(
                f"{name!r} cannot be a tag of a version",
                because="A tag is letters, digits and ._+-, and means nothing else: no number (v3), no date.",
                hint=f"bis data tag {readable(held.reference)} production",
            )
    for name in removed:
        if name not in held.tags:
            has = f"It has {', '.join(held.tags)}." if held.tags else "It has none."
            raise NotFound(f"{readable(held.reference)} has no tag {name!r}", because=has, hint="bis data log")


def remove(versions: Sequence[Held], home: Home, *, undo: bool = False) -> None:
    """Hide versions of one data set, so that their content may be collected; or take that back, all of it or nothing:
    NotFound where content was collected already."""
    records = tuple(one.record for one in versions)
    name = versions[0].version.name
    with still_there(home.store, records) if undo else nullcontext():
        annotate(DataAnnotation(name=name, about=records, made=now(), user=user_here(), hidden=not undo), home)
