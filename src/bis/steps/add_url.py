"""Add what lies at a URL as a version of a data set: it is read once, in bounded memory, and not copied."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from bis.digest import Digest, canonical, readable, unspell
from bis.errors import BisError, UsageError
from bis.nouns.dataset import Held, Seen, Sight
from bis.nouns.tree import Entry, Leaf
from bis.steps.add_data import Added, Adding, Taken, check_words, enter, free_name, name_after
from bis.steps.home import Home
from bis.steps.originals import Told
from bis.steps.urls import as_folder, clean, last_name, open_source
from bis.store.crew import in_order
from bis.store.local import digest_of
from bis.store.snapshot import plant, walk
from bis.store.sources import Source
from bis.store.trouble import UNSAFE

READ: Final = "read"


def add_url(adding: Adding, home: Home, told: Told = lambda text, done, total: None) -> Added:
    """Make what lies at `adding.url` the next version of a data set, by reference: its bytes are read for their digest
    and stay there. A file of which the server proves that it is as it was is not read again.

    Raises KeepingError when the server cannot be asked, NotFound where it has nothing there.
    """
    check_words(adding)
    url = clean(adding.url).url
    source = open_source(adding.url, url, home.variables, None)
    single, there = source.list()
    url = url if single else as_folder(url)
    name = adding.name or free_name(_name_after(url, there, single), url, url, home)
    earlier = next((one for one in home.ledger.data.versions(name) if one.version.source == url), None)
    found = take(source, there, home, earlier, adding.checksums, told=told)
    tree = plant(found.leaves, home.store)
    seen = home.store.put_bytes(canonical(Seen(files=found.sights)))
    home.store.flush()
    taken = Taken(
        name=name,
        tree=tree,
        single=single,
        source=url,
        seen=seen,
        sums=lambda names: {name: _sum_of(name, found, single) for name in names},
    )
    return enter(taken, msgspec.structs.replace(adding, by_reference=True), home)


def _name_after(url: str, there: Iterable[str], single: bool) -> str:
    return name_after(unspell(next(iter(there))) if single else last_name(url), single=single, typed=url)


# -- reading -----------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    leaves: list[Leaf]
    sights: dict[str, Sight]
    sums: dict[str, dict[str, str]]
    """By path, those that were asked for."""
    unread: int = 0
    """Files of which the server proves that they are as they were."""


class _One(NamedTuple):
    leaf: Leaf
    sight: Sight
    sums: dict[str, str]
    read: bool = True


def take(
    source: Source,
    there: Mapping[str, Sight],
    home: Home,
    earlier: Held | None,
    algorithms: Sequence[str] = (),
    *,
    certain: bool = True,
    told: Told = lambda text, done, total: None,
) -> Found:
    """The leaves of what is there. What the server proves to be as in an `earlier` version is not read, unless further
    checksums are asked for. Unless `certain`, what cannot be as it was is not read either, and has no digest."""
    known = {} if earlier is None or algorithms else known_of(earlier, home)
    _demand_safe(source.url, there)
    todo = {path for path, sight in there.items() if path not in known or not sight.vouches(known[path].sight)}
    counter = _Counter(sum(max(there[path].size, 0) for path in todo), told)

    def one(path: str) -> _One:
        sight = there[path]
        if path not in todo:
            return known[path]
        if not certain and path in known and sight.refutes(known[path].sight):
            return _One(_leaf(path, Digest(""), sight.size), sight, {})
        return _read(source, path, algorithms, counter)

    done = list(in_order(one, sorted(there), source.at_once))
    return Found(
        [each.leaf for each in done],
        {each.leaf.path: each.sight for each in done},
        {each.leaf.path: each.sums for each in done},
        sum(not each.read for each in done),
    )


def known_of(held: Held, home: Home) -> dict[str, _One]:
    """What is known of the files of a version by URL; nothing where the store has lost what servers said."""
    if not held.seen or not home.store.has(held.seen):
        return {}
    sights = sights_of(held, home)
    leaves = (leaf for leaf in walk(home.store, held.version.tree) if leaf.path in sights)
    return {leaf.path: _One(leaf, sights[leaf.path], {}, read=False) for leaf in leaves}


def sights_of(held: Held, home: Home) -> dict[str, Sight]:
    """What servers said of the files of a version when it was added; nothing where that is not known."""
    try:
        return msgspec.json.decode(home.store.get_bytes(held.seen), type=Seen).files if held.seen else {}
    except (BisError, msgspec.MsgspecError):
        return {}


def sight_of(held: Held, path: str, home: Home) -> Sight | None:
    """What the server said of one file; None where nothing is known, or it means many."""
    sights = sights_of(held, home)
    return next(iter(sights.values()), None) if held.version.single else sights.get(path)


def _read(source: Source, path: str, algorithms: Sequence[str], counter: _Counter) -> _One:
    """Read a file through. Its size is that of its bytes, whatever was said."""
    hasher, size, others = blake3(), 0, {name: hashlib.new(name) for name in algorithms}
    sight, blocks = source.read(path)
    for block in blocks:
        hasher.update(block)
        for other in others.values():
            other.update(block)
        size += len(block)
        counter.add(len(block))
    sums = {name: other.hexdigest() for name, other in others.items()}
    leaf = _leaf(path, digest_of(hasher.digest()), size)
    return _One(leaf, msgspec.structs.replace(sight, size=size), sums)


def _leaf(path: str, digest: Digest, size: int) -> Leaf:
    name = path.rpartition("/")[2]
    return Leaf(path=path, entry=Entry(name=name, kind="file", digest=digest, size=size, kept=False))


def _demand_safe(url: str, paths: Iterable[str]) -> None:
    """An object may have any name; a file may not."""
    for path in paths:
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise UsageError(
                f"{url} has an object named {readable(path)!r}, which no file in a folder can be named",
                hint="name a prefix without it",
                code=UNSAFE,
            )


def _sum_of(name: str, found: Found, single: bool) -> str:
    """A checksum: of the file; of many, over the listing that `md5sum` and its like print."""
    if single:
        return found.sums[found.leaves[0].path][name]
    listing = hashlib.new(name)
    for path in sorted(found.sums, key=lambda path: os.fsencode(unspell(path))):
        listing.update(found.sums[path][name].encode() + b"  " + os.fsencode(unspell(path)) + b"\n")
    return listing.hexdigest()


class _Counter:
    """Bytes that all threads have read."""

    def __init__(self, total: int, told: Told) -> None:
        self._done, self._total, self._told = 0, total, told
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._told(READ, self._done, max(self._total, self._done))
