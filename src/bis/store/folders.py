"""Whole folders as trees, without another look at the files of a folder that did not change.

A folder is remembered by a signature of what it lists: names, and of each file the time of its last change of any kind
(`ctime`), its size and inode. While the signature is the same, so are the files, by the rule that `statcache` follows
for one file: what was changed just before it was looked at is not believed.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from blake3 import blake3

from bis.digest import Digest, digest_bytes, spell
from bis.nouns.tree import Entry, Tree
from bis.store import Store
from bis.store.statcache import Files, FolderRow, StatCache

AT_ONCE = 4096
"""So many files are taken together."""
Seen = tuple[str, os.stat_result | None]
"""The name of a file, and its status, if that could be had."""


class Hands:
    """What `take_folder` asks of its caller."""

    def __init__(
        self,
        take: Callable[[str, str, list[Seen], Files], list[Entry]],
        cannot: Callable[[str, OSError], None],
        mode: Callable[[int], int],
        read: Callable[[Store, Digest], Tree],
        encode: Callable[[Tree], bytes],
    ) -> None:
        self.take = take
        """Files of a folder, given by its absolute path and what it is called, as entries, with what is remembered of
        them; what cannot be taken is noted and left out."""
        self.cannot = cannot
        """Note a folder (spelled) that cannot be listed."""
        self.mode = mode
        """The mode to record for one that the system tells."""
        self.read = read
        self.encode = encode


class _Folder:
    """One folder, looked at once."""

    __slots__ = (
        "below", "entries", "files", "mode", "parent", "path", "row", "seen", "signature", "subfolders", "youngest"
    )  # fmt: skip

    def __init__(self, path: str, below: str, parent: _Folder | None, mode: int) -> None:
        self.path, self.below, self.parent, self.mode = path, below, parent, mode
        self.seen: list[Seen] = []
        """What is no folder, until it was taken."""
        self.files = 0
        """How many."""
        self.subfolders: list[_Folder] = []
        self.entries: list[Entry] = []
        self.signature = b""
        self.youngest = 0
        """When the last of its files was changed, in nanoseconds."""
        self.row: FolderRow | None = None
        """What is remembered of it, where it still lists the same."""


def take_folder(top: str, store: Store | None, cache: StatCache, hands: Hands) -> Digest:
    """The tree of a whole folder, given by its absolute path. Durable after the store's `flush`. Raises OSError when
    the folder itself cannot be listed."""
    looked, kind = cache.now(), hands.mode(0o666)
    folders: list[_Folder] = []
    waiting: list[_Folder] = []
    many = 0
    for folder in _look(top, cache.folders_below(top, kind), store, hands):
        folders.append(folder)
        if not folder.row:
            waiting.append(folder)
            many += folder.files
        if many >= AT_ONCE:
            _take(waiting, cache, hands)
            waiting, many = [], 0
    _take(waiting, cache, hands)
    digest = Digest("")
    for folder in reversed(folders):
        complete = bool(folder.row) or len(folder.entries) == folder.files + len(folder.subfolders)
        row = _folded(folder, kind, cache, store, hands)
        digest = row.tree
        if folder.parent:
            name = folder.below.rpartition("/")[2]
            entry = Entry(name=name, kind="tree", digest=digest, size=row.size, mode=folder.mode)
            folder.parent.entries.append(entry)
        if complete and folder.signature and row != folder.row:
            cache.remember_folder(row, folder.youngest, looked)
    return digest


def _take(folders: list[_Folder], cache: StatCache, hands: Hands) -> None:
    """The files of these folders as their entries."""
    known = cache.files_in([folder.path for folder in folders if folder.seen])
    for folder in folders:
        folder.entries += hands.take(folder.path, folder.below, folder.seen, known.get(folder.path, {}))
        folder.seen = []
    cache.save()


def _look(top: str, known: dict[str, FolderRow], store: Store | None, hands: Hands) -> Iterator[_Folder]:
    """All folders, each before those in it."""
    todo = [_Folder(top, "", None, 0)]
    while todo:
        folder = todo.pop()
        try:
            folder.signature = _listed(folder, hands)
        except OSError as error:
            if folder.parent is None:
                raise
            hands.cannot(folder.below, error)
        row = known.get(folder.path)
        if row and row.signature == folder.signature and (store is None or store.has(row.tree)):
            folder.row = row
            folder.seen = []
        yield folder
        todo += folder.subfolders


def _listed(folder: _Folder, hands: Hands) -> bytes:
    """Note what lies in a folder; returns its signature, empty where a name went away while it was looked at."""
    told: list[Any] = []
    seen, subfolders, youngest, steady = folder.seen, folder.subfolders, 0, True
    with os.scandir(folder.path) as entries:
        for entry in entries:
            name, status = entry.name, None
            try:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    below = f"{folder.below}/{spell(name)}" if folder.below else spell(name)
                    subfolders.append(_Folder(entry.path, below, folder, hands.mode(status.st_mode)))
                    told.append((name, subfolders[-1].mode))
                    continue
            except OSError:
                steady = False
            else:
                changed = status.st_ctime_ns
                youngest = max(youngest, changed)
                told.append((name, changed, status.st_size, status.st_ino))
            seen.append((name, status))
    folder.youngest, folder.files = youngest, len(seen)
    # Of marshal's layouts, the one that depends on the values alone.
    return blake3(marshal.dumps(told, 0)).digest(16) if steady else b""


def _folded(folder: _Folder, kind: int, cache: StatCache, store: Store | None, hands: Hands) -> FolderRow:
    """The folder as a row: its tree, put unless it is remembered."""
    inner = sorted((entry for entry in folder.entries if entry.kind == "tree"), key=lambda entry: entry.name)
    below = blake3("".join(entry.digest for entry in inner).encode()).digest(16)
    row = folder.row
    if row and row.below == below:
        return row
    if row:
        folder.entries += _files_of(folder, row, cache, store, hands)
    entries = tuple(sorted(folder.entries, key=attrgetter("name")))  # UTF-8 sorts as its letters do
    data = hands.encode(Tree(entries=entries))
    digest = store.put_bytes(data, "tree") if store else digest_bytes(data)
    return FolderRow(folder.path, kind, folder.signature, below, digest, sum(entry.size for entry in entries))


def _files_of(folder: _Folder, row: FolderRow, cache: StatCache, store: Store | None, hands: Hands) -> list[Entry]:
    """The files of a folder that did not change, while something below it did."""
    if store is None:
        again = _Folder(folder.path, folder.below, None, 0)
        _listed(again, hands)
        _take([again], cache, hands)
        return again.entries
    return [entry for entry in hands.read(store, row.tree).entries if entry.kind != "tree"]
