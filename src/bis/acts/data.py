"""`bis data`: say how files stand to a version, which runs used it; tag and remove versions."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import msgspec

from bis.digest import readable, unspell
from bis.errors import KeepingError, NotFound, UsageError
from bis.nouns.dataset import DataAnnotation, DataVersion, Held, is_url
from bis.nouns.reference import is_tag
from bis.nouns.run import Run
from bis.nouns.tree import Leaf
from bis.steps.add_data import Delta, annotate, compare, say, take, take_folder
from bis.steps.add_url import take as read_elsewhere
from bis.steps.bring import leaves_of
from bis.steps.home import Home
from bis.steps.originals import Told
from bis.steps.perform import now, user_here
from bis.steps.removals import still_there
from bis.steps.urls import open_source
from bis.store.snapshot import plant, walk

ASKED = 20_000
USERS = 20
"""So many runs are told of."""
State = Literal["same", "changed", "gone", "elsewhere", "unknown"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the place that a version was added from stands to it."""

    held: Held
    place: Path | None
    """None: it was added by its URL."""
    state: State
    delta: Delta = Delta()
    like: str = ""
    """Another version that has the content of now."""
    next: int = 0
    """The number that it would get."""
    unread: int = 0
    """Files that are the same by what their server says, and were not read."""
    why: str = ""
    """Why nothing is known."""


def standing(
    held: Held, home: Home, place: Path | None = None, told: Told = lambda text, done, total: None
) -> Standing:
    """How the files where a version was added from, or those at `place`, stand to it. Nothing is kept."""
    version = held.version
    if place is None and is_url(version.source):
        return _standing_elsewhere(held, home, told)
    place = place or home.project / unspell(version.source)
    newest = _newest(version.name, home)
    if not place.exists():
        # A path outside the project may be of another machine.
        gone: State = "gone" if version.host == socket.gethostname() else "elsewhere"
        return Standing(held=held, place=place, state=gone, next=newest + 1)
    if place.is_dir() and not version.single and take_folder(place, home, None)[0] == version.tree:
        return Standing(held=held, place=place, state="same", next=newest + 1)
    leaves, _ = take(place, home, by_reference=True, store=False)
    is_as = _single(leaves, home) if place.is_file() else _folder(leaves)
    if is_as(version):
        return Standing(held=held, place=place, state="same", next=newest + 1)
    delta = compare(home, version.tree, leaves, single=version.single and place.is_file())
    like = _like(version.name, is_as, home)
    return Standing(held=held, place=place, state="changed", delta=delta, like=like, next=newest + 1)


def _standing_elsewhere(held: Held, home: Home, told: Told) -> Standing:
    """How what lies at a URL stands to a version: by what its server says, and where that is no proof, by its bytes. A
    server that cannot be asked leaves the state unknown."""
    version, next = held.version, _newest(held.version.name, home) + 1
    source = open_source(version.source, version.source, home.variables)
    try:
        single, there = source.list()
        found = read_elsewhere(source, there, home, held, certain=False, told=told)
    except NotFound:
        return Standing(held=held, place=None, state="gone", next=next)
    except KeepingError as error:
        return Standing(held=held, place=None, state="unknown", next=next, why=error.what)
    is_as = _single(found.leaves, home) if single else _folder(found.leaves)
    if version.single == single and is_as(version):
        return Standing(held=held, place=None, state="same", next=next, unread=found.unread)
    delta = compare(home, version.tree, found.leaves, single=version.single and single)
    known = all(leaf.entry.digest for leaf in found.leaves)
    like = _like(version.name, is_as, home) if known else ""
    return Standing(held=held, place=None, state="changed", delta=delta, like=like, next=next)


def _newest(name: str, home: Home) -> int:
    return max((one.version.number for one in home.ledger.data.versions(name, hidden=True)), default=0)


def _like(name: str, is_as: Callable[[DataVersion], bool], home: Home) -> str:
    return next((one.reference for one in home.ledger.data.versions(name) if is_as(one.version)), "")


def _single(leaves: Sequence[Leaf], home: Home) -> Callable[[DataVersion], bool]:
    return lambda version: version.single and not compare(home, version.tree, leaves, single=True).any


def _folder(leaves: Sequence[Leaf]) -> Callable[[DataVersion], bool]:
    """Whether a version has these files, copied or by reference: no tree of it is read for that."""
    trees = {plant([_with_kept(leaf, kept) for leaf in leaves], None) for kept in (True, False)}
    return lambda version: not version.single and version.tree in trees


def _with_kept(leaf: Leaf, kept: bool) -> Leaf:
    if leaf.entry.kind != "file":
        return leaf
    return Leaf(path=leaf.path, entry=msgspec.structs.replace(leaf.entry, kept=kept))


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A run that used files of a version."""

    run: Run
    files: int
    """So many different ones, by content."""
    of: int


def users(held: Held, path: str, home: Home) -> tuple[list[User], bool]:
    """The runs whose data part holds a file of the version, or of what lies at `path` in it, newest first; and whether
    all of its files were asked for: of very many, the first 20,000 are."""
    files = [leaf for leaf in leaves_of(held, path, home) if leaf.entry.kind == "file" and leaf.entry.size]
    digests = {leaf.entry.digest for leaf in files[:ASKED]}
    found = []
    for id in home.ledger.data.users(digests)[:USERS]:
        run = home.ledger.get(id)
        inputs = {row["digest"] for row in run.parts["data"].facts["inputs"]}
        found.append(User(run=run, files=len(digests & inputs), of=len(digests)))
    return found, len(files) <= ASKED


def is_kept(held: Held, home: Home) -> bool:
    """Whether its files are in the store. One version is either copied, or by reference, as a whole."""
    files = (leaf for leaf in walk(home.store, held.version.tree) if leaf.entry.kind == "file")
    return next((leaf.entry.kept for leaf in files), True)


def tag(held: Held, tags: Sequence[str], home: Home, *, removed: Sequence[str] = ()) -> Held:
    """Let tags mean this version, and no other of its data set; or take some away. The version as it then is."""
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
    return say(held, home, tags=tuple(tags), removed=tuple(removed)) if tags or removed else held


def remove(versions: Sequence[Held], home: Home, *, undo: bool = False) -> None:
    """Hide versions of one data set, so that their content may be collected; or take that back, all of it or nothing:
    NotFound where content was collected already."""
    records = tuple(one.record for one in versions)
    name = versions[0].version.name
    with still_there(home.store, records) if undo else nullcontext():
        annotate(DataAnnotation(name=name, about=records, made=now(), user=user_here(), hidden=not undo), home)
