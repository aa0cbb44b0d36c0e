"""What a damaged store lacks, and how it gets rid of its damaged packs once that has come back from elsewhere.

Both come after `sweep.verify`, which makes the index forget what is damaged.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from bis.digest import Digest
from bis.errors import BisError
from bis.store import packs
from bis.store.local import LocalStore, digest_of, raw_of
from bis.store.packs import KINDS, SUFFIX, Form, Item, PackWriter
from bis.store.records import named_by
from bis.store.snapshot import read_tree


def lost(store: LocalStore, records: Iterable[Digest]) -> set[bytes]:
    """Objects that are damaged or missing: of `records` and what they need, and of what the packs say they hold."""
    there = {place.item.digest for place in store.index.copies()}
    found = {item.digest for name in damaged_packs(store) for item in _listed(store.packs / name)} - there
    todo = [raw_of(digest) for digest in {*records, *store.list("record")}]
    seen = set[bytes]()
    records_here, trees = set(store.raw_digests("record")), set(store.raw_digests("tree"))
    composed = store.composed()
    while todo:
        digest = todo.pop()
        if digest in seen:
            continue
        seen.add(digest)
        if digest not in there:
            found.add(digest)
            continue
        try:
            if digest in composed:
                todo += store.needs(digest)
            if digest in records_here:
                todo += [raw_of(named.digest) for named in named_by(store.get_bytes(digest_of(digest)))]
            if digest in trees:
                todo += _entries(store, digest)
        except (BisError, msgspec.MsgspecError):
            found.add(digest)
    return found


def _entries(store: LocalStore, digest: bytes) -> Iterator[bytes]:
    for entry in read_tree(store, digest_of(digest)).entries:
        if entry.kind != "link" and entry.kept:
            yield raw_of(entry.digest)


def damaged_packs(store: LocalStore) -> list[str]:
    """Packs of which the index does not have all that they say they hold."""
    known = Counter(place.pack for place in store.index.copies())
    names = sorted(path.name for path in store.packs.iterdir() if path.name.endswith(SUFFIX))
    return [name for name in names if not (items := _listed(store.packs / name)) or len(set(items)) != known[name]]


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


def retire(store: LocalStore, names: Iterable[str]) -> int:
    """Write what is whole in these packs into a new one, and delete them. Only for packs whose other objects lie
    elsewhere by now. Returns how many were deleted."""
    gone = 0
    for name in names:
        fresh = _copy_whole(store, name)
        if fresh != name:
            (store.packs / name).unlink()
        gone += 1
    packs.sync_folder(store.packs)
    store.index.rebuild()
    return gone


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
