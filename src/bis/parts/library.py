"""The standard library, as far as a run opened it. No installer says what its files are to be: digests are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bis.digest import Digest, canonical, digest_file, unspell
from bis.nouns.trace import Trace
from bis.parts.edited import CACHED
from bis.store import Store
from bis.store.statcache import StatCache

FOLDER = re.compile(r"/(?:python|pypy)\d+(?:\.\d+)?(?:/lib-dynload)?$")


def library(
    trace: Trace | None, path: Iterable[str], real: Callable[[str], Path], cache: StatCache | None
) -> dict[str, str]:
    """Files of the standard library that were opened, relative to their folder on the interpreter's `path` (spelled) ->
    digest. Byte code stands for its source."""
    folders = sorted((folder for folder in path if FOLDER.search(folder)), key=len, reverse=True)
    places = {f"{folder}/": os.path.realpath(real(folder)) for folder in folders}
    starts = tuple(places)
    opened: dict[str, str] = {}
    for access in trace.accesses if trace and starts else ():
        if access.path.startswith(starts) and access.before is not None and access.was_read:
            start = next(start for start in starts if access.path.startswith(start))
            name = _source(access.path[len(start) :])
            if "-packages/" not in name:
                opened[name] = f"{places[start]}/{unspell(name)}"
    found = _digests(sorted(set(opened.values())), cache)
    return {name: found[place] for name, place in sorted(opened.items()) if place in found}


def keep(files: dict[str, str], store: Store) -> dict[str, Digest]:
    """The list in the store, as a tree role; nothing when nothing was opened."""
    return {"library": store.put_bytes(canonical(files))} if files else {}


def differing(before: Digest, after: Digest, store: Store) -> list[tuple[str, str, str]]:
    """(path, digest before, digest after) of the files that both runs opened and that were not the same."""
    old, new = (msgspec.json.decode(store.get_bytes(digest), type=dict[str, str]) for digest in (before, after))
    return [(name, old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


def _source(name: str) -> str:
    cached = CACHED.match(name)
    return f"{cached['folder'] or ''}{cached['stem']}.py" if cached else name


def _digests(places: list[str], cache: StatCache | None) -> dict[str, str]:
    """Digests of the files that can be read, from the cache while they are unchanged."""
    present = []
    for place in places:
        try:
            present.append((place, os.stat(place)))
        except OSError:
            continue
    known = cache.recall(present) if cache else [None] * len(present)
    found: dict[str, str] = {}
    for (place, status), digest in zip(present, known, strict=True):
        try:
            looked = cache.now() if cache else 0
            found[place] = digest or digest_file(place)
        except OSError:
            continue
        if cache and not digest:
            cache.remember(place, status, Digest(found[place]), looked)
    if cache:
        cache.save()
    return found
