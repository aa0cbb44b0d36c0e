"""How files stand to a version of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from bis.digest import unspell
from bis.errors import KeepingError, NotFound
from bis.nouns.dataset import DataVersion, Held, is_url
from bis.nouns.tree import Leaf
from bis.steps.add_data import Delta, compare, take, take_folder
from bis.steps.here import host_here
from bis.steps.home import Home
from bis.store.snapshot import plant

if TYPE_CHECKING:
    from bis.steps.originals import Told

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
        gone: State = "gone" if version.host == host_here() else "elsewhere"
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
    from bis.steps.add_url import take as read_elsewhere
    from bis.steps.trust import servers
    from bis.steps.urls import open_source

    version, next = held.version, _newest(held.version.name, home) + 1
    source = open_source(
        version.source, version.source, home.variables, servers(home.project, home.settings, home.variables)
    )
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
