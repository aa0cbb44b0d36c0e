"""What a damaged store lacks, and how it gets rid of its damaged packs once that has come back from elsewhere.

Both come after `sweep.verify`, which makes the index forget what is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from bis.digest import Digest
from bis.errors import BisError
from bis.store import packs
from bis.store.local import LocalStore, digest_of, raw_of
from bis.store.packs import KINDS, SUFFIX, Form, Item, PackWriter
from bis.store.records import named_by

ASIDE: Final = "damaged-"
"""Before the name of a pack that is damaged, when what is whole of it lies in others."""
TREE_SCHEMA: Final = "bis.tree/1"
Held = Callable[[bytes], bytes | None]
"""The content of a record that is not in the store yet; None where there is none."""


def missing(store: LocalStore, roots: Iterable[Digest], held: Held = lambda digest: None) -> set[bytes]:
    """What of the roots, and of all that they need, is not here: as far as that can be known without it."""
    there = store.index.digests()
    found = set[bytes]()
    todo = [raw_of(digest) for digest in roots]
    seen = set[bytes]()
    records_here, trees = set(store.raw_digests("record")), set(store.raw_digests("tree"))
    composed = store.composed()
    leading = composed | trees | records_here
    while todo:
        digest = todo.pop()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            if record := held(digest):
                todo += [raw_of(named.digest) for named in named_by(record)]
                continue
            if digest not in there:
                found.add(digest)
                continue
            if digest in composed:
                todo += store.needs(digest)
            if digest in records_here:
                todo += [raw_of(named.digest) for named in named_by(store.get_bytes(digest_of(digest)))]
            if digest in trees:  # there may be very many entries, of which few lead on
                entries = _entries(store, digest)
                found |= entries - there
                todo += entries & leading
        except (BisError, msgspec.MsgspecError):
            found.add(digest)
    return found


class _Named(msgspec.Struct):
    """Of an entry, what says whether it must be there."""

    kind: str
    digest: str = ""
    kept: bool = True


class _Names(msgspec.Struct, tag=TREE_SCHEMA, tag_field="schema"):
    entries: list[_Named]


def _entries(store: LocalStore, digest: bytes) -> set[bytes]:
    """What a tree names. Raises msgspec.MsgspecError for what is no tree."""
    tree = msgspec.json.decode(store.get_bytes(digest_of(digest)), type=_Names)
    return {raw_of(Digest(one.digest)) for one in tree.entries if one.kind != "link" and one.kept}


def damaged_packs(store: LocalStore) -> dict[str, set[bytes]]:
    """Packs of which the index does not have all that they say they hold, with the digests of what it has not."""
    there: dict[str, set[bytes]] = {}
    for place in store.index.copies():
        there.setdefault(place.pack, set()).add(place.item.digest)
    found = {}
    for name in sorted(path.name for path in store.packs.iterdir() if path.name.endswith(SUFFIX)):
        listed = {item.digest for item in _listed(store.packs / name)}
        if not listed or listed - there.get(name, set()):
            found[name] = listed - there.get(name, set())
    return found


def _listed(path: Path) -> list[Item]:
    """What the list of a pack says; nothing when it is not the one that the name stands for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        listed = packs.list_items(fd)
        return listed[0] if listed and packs.pack_name(listed[1]) == path.name else []
    except (OSError, BisError):
        return []
    finally:
        os.close(fd)


def set_aside(store: LocalStore, names: Iterable[str]) -> None:
    """Write what is whole in these packs into new ones, and rename them, so that nothing damaged is found any more."""
    for name in names:
        fresh = _copy_whole(store, name)
        if fresh != name:
            (store.packs / name).rename(store.packs / f"{ASIDE}{name.removesuffix(SUFFIX)}")
            store.let_go(name)  # what is brought may be packed as it was, and have the same name
    packs.sync_folder(store.packs)
    store.index.rebuild()


def forget_aside(store: LocalStore) -> None:
    """Delete what was set aside: all that it held is whole again."""
    for path in list(store.packs.iterdir()):
        if path.name.startswith(ASIDE):
            path.unlink()


def _copy_whole(store: LocalStore, name: str) -> str:
    """The name of the new pack; empty when nothing was whole."""
    path = store.packs / name
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    writer = PackWriter(store.packs)
    try:
        for item in _listed(path) or packs.scan(fd):
            if packs.seal_holds(fd, item):
                form = Form(item.method, packs.payload(fd, item), item.depth)
                writer.add(KINDS[item.kind - 1], item.digest, item.raw, form)
        return writer.finish()[0] if writer.items else ""
    finally:
        writer.discard()
        os.close(fd)
