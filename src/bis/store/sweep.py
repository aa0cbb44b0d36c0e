"""A look at all that a store holds: is it whole, is anything missing, and what takes the room."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bis.digest import READ_SIZE, Digest, readable, short
from bis.errors import BisError, Damaged, counted
from bis.nouns.part import Finding
from bis.store import ObjectKind, doomed, packs
from bis.store.local import LocalStore, digest_of
from bis.store.packs import CHUNK, KINDS, SUFFIX, UNFINISHED, Item
from bis.store.proofs import Reader, Wholes, in_order_of_pieces, lists
from bis.store.records import Named, named_by, sort_out
from bis.store.snapshot import read_tree
from bis.store.trouble import shown

Progress = Callable[[int, int], None]
"""Called with bytes looked at so far, and in all."""


REMEDY: Final = "copy it back from a backup, or record the same again"


class KindRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What all objects of one kind take."""

    objects: int = 0
    raw: int = 0
    """Bytes of the content."""
    stored: int = 0
    """Bytes on disk."""


class PackRoom(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    objects: int


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What takes the room in a store."""

    size: int
    """All bytes on disk, index and leftovers included."""
    kinds: dict[ObjectKind, KindRoom]
    packs: tuple[PackRoom, ...]
    """The largest first."""
    twice: int
    """Bytes of objects that lie in more than one pack."""
    unfinished: int
    """Bytes of packs being written, or left behind by a killed writer (removed by the next that writes)."""


class _Seen:
    """What has been found while looking."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.whole: dict[ObjectKind, set[bytes]] = {kind: set() for kind in KINDS}
        """Digests of objects that can be read."""
        self.composed: dict[bytes, int] = {}
        """Those that need others, with their kind: whether they can be read is found out last."""
        self.good: dict[str, set[Item]] = {}
        """By pack."""
        self.staying: set[bytes] = set()
        """What lies in packs that are not about to be deleted, of that which names other objects."""


def verify(store: LocalStore, progress: Progress | None = None) -> list[Finding]:
    """Read everything and say what is wrong: each flipped bit, each pack cut short, each object that a record or a
    tree names and that is not there. Damaged objects are forgotten by the index, so that putting them again helps."""
    lots = doomed.read(store.path)
    gone, leaving = doomed.names(lot for lot in lots if lot.going), doomed.names(lots)
    names = sorted(path.name for path in store.packs.iterdir() if path.name.endswith(SUFFIX) and path.name not in gone)
    sizes = {name: (store.packs / name).stat().st_size for name in names}
    seen, wholes, done = _Seen(), Wholes(), 0
    listed = {name: items for name in names if (items := _listed(store.packs / name, seen, wholes)) is not None}
    for name in in_order_of_pieces(listed, wholes):
        _verify_pack(store, store.packs / name, listed[name], seen, wholes)
        if name not in leaving:
            seen.staying.update(item.digest for item in seen.good.get(name, ()) if packs.leans(item))
        done += sizes[name]
        if progress:
            progress(done, sum(sizes.values()))
    broken = _put_together(store, seen, wholes)
    seen.findings += [*_missing(store, seen), *_strangers(store)]
    for name, good in seen.good.items():  # again: whoever read meanwhile may have asked the packs
        store.index.settle(name, good)
    store.index.forget(broken)
    return seen.findings


def room(store: LocalStore) -> Room:
    """Figures for `bis du`."""
    index = store.index
    index.catch_up(sure=True)
    sizes = {path.name: path.stat().st_size for path in store.packs.iterdir()}
    beside = sum(path.stat().st_size for path in store.path.iterdir() if path.is_file())
    return Room(
        size=sum(sizes.values()) + beside,
        kinds={KINDS[kind - 1]: KindRoom(objects=n, raw=raw, stored=kept) for kind, n, raw, kept in index.by_kind()},
        packs=tuple(PackRoom(name=name, size=size, objects=count) for name, size, count in index.by_pack()),
        twice=index.twice(),
        unfinished=sum(size for name, size in sizes.items() if name.startswith(UNFINISHED)),
    )


def _listed(path: Path, seen: _Seen, wholes: Wholes) -> list[Item] | None:
    """The objects that a pack says it has; its large ones are expected from now on. None when it cannot be read."""
    with _opened(path, seen.findings) as fd:
        items = list(_items(fd, path.name, path, seen.findings))
        for item, found in lists(fd, items):
            wholes.expect(item, found)
        return items
    return None


def _verify_pack(store: LocalStore, path: Path, items: list[Item], seen: _Seen, wholes: Wholes) -> None:
    """Look at every byte of a pack."""
    with _opened(path, seen.findings) as fd:
        reader = Reader(fd)
        good = {item for item in items if reader.holds(item, wholes)}
        for item in items:
            if item not in good:
                what = f"{KINDS[item.kind - 1]} {short(digest_of(item.digest))}"
                seen.findings.append(_damage(f"{what} is damaged in pack {path.name[:12]}", path))
        seen.good[path.name] = good
        store.index.settle(path.name, good)
        for item in good:
            if item.method in packs.WHOLE:
                seen.whole[KINDS[item.kind - 1]].add(item.digest)
            else:
                seen.composed[item.digest] = item.kind


@contextlib.contextmanager
def _opened(path: Path, findings: list[Finding]) -> Iterator[int]:
    """A pack to be read. That it cannot be is told of, and ends what was to be done with it."""
    doing = "opened"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        doing = "read"
        try:
            yield fd
        finally:
            os.close(fd)
    except OSError as error:
        findings.append(_damage(f"pack {path.name[:12]} cannot be {doing}: {error.strerror}", path))


def _put_together(store: LocalStore, seen: _Seen, wholes: Wholes) -> list[bytes]:
    """Prove what is stored in pieces or as a difference, and name what cannot be put together. Returns its digests."""
    wrong: dict[bytes, str] = {}
    fetched: set[bytes] = set()

    def fetch(digest: bytes) -> bytes:
        data = store.fetch(digest)
        fetched.add(digest)
        return data

    for digest, kind in sorted(seen.composed.items()):
        if kind != CHUNK and not wholes.proved(digest, fetch) and (why := _why_not(store, digest)):
            wrong[digest] = why
    for digest, kind in sorted(seen.composed.items()):
        if kind == CHUNK and digest not in fetched:
            try:
                store.fetch(digest)
            except BisError as error:
                wrong[digest] = error.what
    for digest, why in sorted(wrong.items(), key=lambda one: (seen.composed[one[0]] != CHUNK, one[0])):
        if digest in seen.staying:  # else it is about to be deleted, as what it needs was; or a record names it
            text = f"{KINDS[seen.composed[digest] - 1]} {short(digest_of(digest))} cannot be put together: {why}"
            seen.findings.append(Finding(code="damaged", text=text, hint=REMEDY, blocks=True))
    for digest in seen.composed.keys() - wrong.keys():
        seen.whole[KINDS[seen.composed[digest] - 1]].add(digest)
    return list(wrong)


def _why_not(store: LocalStore, digest: bytes) -> str:
    """What is wrong with an object, of which each piece is looked at singly; empty when nothing is."""
    try:
        with store.open(digest_of(digest)) as stream:
            while stream.read(READ_SIZE):
                pass
    except BisError as error:
        return error.what
    return ""


def _items(fd: int, name: str, path: Path, findings: list[Finding]) -> Iterable[Item]:
    """The objects that the pack says it has; when its list does not hold, those that can be found without it."""
    listed = packs.list_items(fd)
    if listed and packs.pack_name(listed[1]) == name:
        return listed[0]
    found = list(packs.scan(fd))
    size = os.fstat(fd).st_size
    whole = f"whole of it: {counted(len(found), 'object')}"
    findings.append(_damage(f"pack {name[:12]} ({counted(size, 'byte')}) is cut short or changed; {whole}", path))
    return found


def _missing(store: LocalStore, found: _Seen) -> Iterator[Finding]:
    """What records and trees name and no pack holds whole. Each tree is told of once, by the first run that has it."""
    there = {digest_of(digest) for digests in found.whole.values() for digest in digests}
    trees = {digest_of(digest) for digest in found.whole["tree"]}
    seen: set[Digest] = set()
    strange: list[Finding] = []
    records = sorted(digest_of(raw) for raw in found.whole["record"])
    removed = sort_out(((digest, store.get_bytes(digest)) for digest in records), strict=False).removed
    for digest in records:
        if digest not in removed:
            yield from _follow(store, _named_by_record(store, digest, strange), there, trees, seen)
    yield from strange
    for digest in sorted({digest_of(raw) for raw in found.whole["tree"] & found.staying} - seen):
        if digest not in seen:
            yield from _follow(store, [(f"tree {short(digest)}", digest)], there, trees, seen)


def _follow(
    store: LocalStore,
    named: Iterable[tuple[str, Digest]],
    there: set[Digest],
    trees: set[Digest],
    seen: set[Digest],
) -> Iterator[Finding]:
    todo = list(named)
    while todo:
        where, digest = todo.pop()
        if digest not in there:
            text = f"{where} is missing: {digest} is in no pack, or only damaged"
            hint = "copy the packs back from a backup, or record the same content again"
            yield Finding(code="missing-object", text=text, hint=hint, blocks=True)
        elif digest in trees and digest not in seen:
            seen.add(digest)
            try:
                entries = read_tree(store, digest).entries
            except Damaged as error:
                yield Finding(code="strange-object", text=f"{where}: {error.what}", hint="bis verify", blocks=True)
                continue
            kept = [entry for entry in entries if entry.kind != "link" and entry.kept]
            todo += [(f"{where}/{readable(entry.name)}", entry.digest) for entry in kept]


def _named_by_record(store: LocalStore, digest: Digest, findings: list[Finding]) -> list[Named]:
    """What a record says is in the store, each with words for it."""
    try:
        return named_by(store.get_bytes(digest))
    except msgspec.MsgspecError as error:
        findings.append(
            Finding(code="strange-object", text=f"record {short(digest)} cannot be read: {error}", blocks=True)
        )
        return []


def _strangers(store: LocalStore) -> Iterator[Finding]:
    """What lies in the packs folder and is no pack."""
    for path in sorted(store.packs.iterdir()):
        if not path.name.endswith(SUFFIX) and not path.name.startswith(UNFINISHED):
            yield Finding(code="strange-file", text=f"{shown(path)} is no pack", hint=f"ls -la {shown(path)}")


def _damage(text: str, path: Path) -> Finding:
    return Finding(
        code="damaged",
        text=text,
        hint=f"{REMEDY}: {shown(path)}",
        blocks=True,
    )
