"""A memory of digests by file status, so that a file that did not change is not read again.

A remembered digest is believed when size, times, inode and device are what they were, and when the file had already
been left alone for a while when it was looked at (Git's racy rule): a file written in the same tick of the clock
as it was read could be written once more without its times changing. `ctime` catches times that were set back.
What it cannot see: a program that still has the file mapped for writing.

Files are remembered by the folder, as there may be very many: a row holds some hundred of them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from bis.digest import PREFIX, Digest, digest_file, spell
from bis.store import caches
from bis.store.volume import network_file_system

VERSION: Final = 3
TICK_NS: Final = 50_000_000
"""The kernel stamps files with a clock that ticks every 1 to 10 ms; some slack on top."""
COARSE_NS: Final = 2_100_000_000
"""File systems with whole (or two) seconds."""
REMOTE_NS: Final = 600_000_000_000
"""Where another machine's clock stamps the files, it may be wrong by minutes."""
EARLIEST: Final = -(1 << 63)
"""In nanoseconds: what lies before it does not fit into a row. Nothing is remembered that lies after `looked`."""
PATIENCE: Final = 0.5
AT_ONCE: Final = 500
IN_A_ROW: Final = 512
"""So many files at most share a row: one of a large folder is found, and noted, without the others."""

LAYOUT: Final = caches.Layout(
    VERSION,
    """
CREATE TABLE files (folder BLOB, first BLOB, files BLOB, sum BLOB, PRIMARY KEY (folder, first));
CREATE TABLE folders (
    path BLOB, kind INTEGER, signature BLOB, below BLOB, tree BLOB, size INTEGER, sum BLOB, PRIMARY KEY (path, kind)
) WITHOUT ROWID;
""",
    PATIENCE,
    wal=False,
)
FIRSTS: Final = "SELECT first FROM files WHERE folder = ? ORDER BY first"
ROW: Final = "SELECT folder, first, files, sum FROM files WHERE folder = ? AND first = ?"
FOLDERS: Final = (
    "SELECT path, kind, signature, below, tree, size, sum FROM folders"
    " WHERE (path = ? OR (path > ? AND path < ?)) AND kind = ?"
)
Known = tuple[int, int, int, int, int, bytes]
"""Of a file: size, mtime, ctime, inode, device; digest."""
Files = dict[str, Known]
"""Files of a folder by name, spelled. Rows follow each other in the order of their first names."""
ENCODER: Final = msgspec.msgpack.Encoder()
DECODER: Final = msgspec.msgpack.Decoder(Files)


class FolderRow(NamedTuple):
    """What is remembered of a folder (see `folders`)."""

    path: str
    kind: int
    """Under which rule for modes its tree was made."""
    signature: bytes
    """Of what it lists."""
    below: bytes
    """Of the trees of its subfolders."""
    tree: Digest
    size: int


class StatCache:
    """Digests of files by path and status. A cache: whatever goes wrong with its file costs time only."""

    def __init__(self, connection: sqlite3.Connection | None, path: Path | None, clock: Callable[[], int]) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._fresh: dict[str, Files] = {}
        self._folders: dict[tuple[str, int], FolderRow] = {}
        self._remote: dict[int | str, int] = {}

    def __enter__(self) -> StatCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> int:
        """The time to hand to `remember`: taken before the file is opened."""
        return self._clock()

    def recall(self, files: Sequence[tuple[str, os.stat_result]]) -> list[Digest | None]:
        """For each absolute path and its status, the digest of its bytes, or None when it has to be read."""
        named = [(folder, spell(name)) for folder, _, name in (path.rpartition("/") for path, _ in files)]
        wanted: dict[str, list[str]] = {}
        for folder, name in named:
            wanted.setdefault(folder, []).append(name)
        known = {folder: self._named(folder, names) for folder, names in wanted.items()}
        return [
            believed(known[folder].get(name), status) for (folder, name), (_, status) in zip(named, files, strict=True)
        ]

    def files_in(self, folders: Sequence[str]) -> dict[str, Files]:
        """What is remembered of the files of these folders (absolute paths), for `believed` to judge."""
        found: dict[str, Files] = {}
        with self._lock:
            for start in range(0, len(folders), AT_ONCE):
                some = folders[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._ask(
                    f"SELECT folder, first, files, sum FROM files WHERE folder IN ({marks})",
                    list(map(os.fsencode, some)),
                )
                for row in rows:
                    found.setdefault(os.fsdecode(row[0]), {}).update(_files(*row))
            for folder in folders:
                if folder in self._fresh:
                    found.setdefault(folder, {}).update(self._fresh[folder])
        return found

    def remember(self, path: str, status: os.stat_result, digest: Digest, looked: int) -> None:
        """Note what was read of a file whose status was `status` before and after, and which was opened after
        `looked`. Not noted when it had been changed too shortly before."""
        folder, _, name = path.rpartition("/")
        self.remember_files(folder, [(spell(name), status, digest)], looked)

    def remember_files(self, folder: str, files: Iterable[tuple[str, os.stat_result, Digest]], looked: int) -> None:
        """As `remember`, for files of one folder by their names, spelled."""
        settled = {}
        for name, status, digest in files:
            mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
            youngest = mtime if mtime > ctime else ctime
            if looked - youngest > self._doubt(folder, mtime, ctime, device=status.st_dev) and mtime > EARLIEST:
                raw = bytes.fromhex(digest[len(PREFIX) :])
                settled[name] = (status.st_size, mtime, ctime, status.st_ino, status.st_dev, raw)
        if settled:
            with self._lock:
                self._fresh.setdefault(folder, {}).update(settled)

    def folders_below(self, top: str, kind: int) -> dict[str, FolderRow]:
        """What is remembered of the folder `top` (an absolute path) and of those below it."""
        start, end = os.fsencode(f"{top}/"), os.fsencode(f"{top}0")  # 0 comes right after /
        found = {}
        with self._lock:
            with self._attempt():
                for row in (
                    self._connection.execute(FOLDERS, (os.fsencode(top), start, end, kind)) if self._connection else ()
                ):
                    *fields, check = row
                    if check == _check(*(str(field).encode() for field in fields)):
                        path, _, signature, below, tree, size = fields
                        name = os.fsdecode(path)
                        found[name] = FolderRow(name, kind, signature, below, Digest(PREFIX + tree.hex()), size)
            found |= {row.path: row for row in self._folders.values() if row.kind == kind}
        return found

    def remember_folder(self, row: FolderRow, youngest: int, looked: int) -> None:
        """Note the tree of a folder, unless one of its files was changed too shortly before it was looked at."""
        if looked - youngest > self._doubt(row.path, youngest):
            with self._lock:
                self._folders[row.path, row.kind] = row

    def save(self) -> None:
        """Write what is new. Where another process writes just now it is forgotten, which costs time only."""
        with self._lock, self._attempt():
            if self._connection and (self._fresh or self._folders):
                self._connection.execute("BEGIN IMMEDIATE")
                for folder in sorted(self._fresh):  # about the order of the table
                    _merge(self._connection, os.fsencode(folder), self._fresh[folder])
                rows = map(_stored, self._folders.values())
                self._connection.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                self._connection.execute("COMMIT")
                self._fresh.clear()
                self._folders.clear()

    def close(self) -> None:
        self.save()
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection:
                self._connection.close()
        self._connection = None

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        """Use the file as long as it can be used; one that is broken is removed."""
        try:
            yield
        except sqlite3.OperationalError:
            pass
        except sqlite3.DatabaseError:
            if self._path:
                caches.remove(self._path)

    def _doubt(self, path: str, *times: int, device: int | None = None) -> int:
        """How long a file must have been left alone, by what stamps its times."""
        key = os.path.dirname(path) if device is None else device  # noqa: PTH120
        if key not in self._remote:
            self._remote[key] = REMOTE_NS if network_file_system(Path(path)) else 0
        return self._remote[key] or (TICK_NS if any(map(_is_fine, times)) else COARSE_NS)

    def _named(self, folder: str, names: Sequence[str]) -> Files:
        """What is remembered of some files of a folder, and perhaps of others beside them."""
        key, found = os.fsencode(folder), Files()
        with self._lock:
            firsts = [first for (first,) in self._ask(FIRSTS, (key,))]
            for number in {_place(firsts, name) for name in names} if firsts else ():
                for row in self._ask(ROW, (key, firsts[number])):
                    found.update(_files(*row))
            return found | self._fresh.get(folder, {})

    def _ask(self, statement: str, values: Sequence[object]) -> list[Any]:
        with self._attempt():
            return self._connection.execute(statement, values).fetchall() if self._connection else []
        return []


def open_cache(path: Path | None, clock: Callable[[], int] = time.time_ns) -> StatCache:
    """The cache in the file `path`, made when it is not there; None: in memory only. A broken file is begun anew, and
    where none can be made, the cache forgets when it is closed."""
    return StatCache(caches.open_cache(path, LAYOUT) if path else None, path, clock)


def digest_known(file: str, cache: StatCache | None) -> str:
    """The digest of a file, from the cache while it is unchanged; empty where it cannot be read."""
    try:
        status = Path(file).stat()
        if cache is None:
            return digest_file(file)
        if known := cache.recall([(file, status)])[0]:
            return known
        looked = cache.now()
        digest = digest_file(file)
    except OSError:
        return ""
    cache.remember(file, status, digest, looked)
    return digest


def _stored(row: FolderRow) -> tuple[Any, ...]:
    raw = bytes.fromhex(row.tree.removeprefix(PREFIX))
    fields = (os.fsencode(row.path), row.kind, row.signature, row.below, raw, row.size)
    return (*fields, _check(*(str(field).encode() for field in fields)))


def believed(known: Known | None, status: os.stat_result) -> Digest | None:
    """The digest of a file by what is remembered of it, or None when it has to be read."""
    if known is None or not stat.S_ISREG(status.st_mode):
        return None
    times = status.st_mtime_ns, status.st_ctime_ns
    if known[:5] != (status.st_size, *times, status.st_ino, status.st_dev):
        return None
    return Digest(PREFIX + known[5].hex())


def _merge(connection: sqlite3.Connection, folder: bytes, fresh: Files) -> None:
    """Take these files into the rows where their names stand. A row that grows too long becomes several."""
    firsts = [first for (first,) in connection.execute(FIRSTS, (folder,))]
    touched: dict[int, Files] = {} if firsts else {0: fresh}
    for name in fresh if firsts else ():
        touched.setdefault(_place(firsts, name), {})[name] = fresh[name]
    for number, files in touched.items():
        there = (folder, firsts[number]) if firsts else None
        if there:
            ((*row,),) = connection.execute(ROW, there)
            connection.execute("DELETE FROM files WHERE folder = ? AND first = ?", there)
            files = _files(*row) | files
        connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", _rows(folder, files))


def _is_fine(time: int) -> bool:
    """Whether a time stamp tells of a clock that ticks often."""
    return time % 10_000_000 != 0


def _place(firsts: Sequence[bytes], name: str) -> int:
    """The number of the row in which a name stands, or would."""
    return max(bisect_right(firsts, name.encode()) - 1, 0)


def _rows(folder: bytes, files: Files) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    names = sorted(files)
    count = -(-len(names) // IN_A_ROW)
    length = -(-len(names) // count)  # all about as long, so that each has room
    for start in range(0, len(names), length):
        some = {name: files[name] for name in names[start : start + length]}
        first, data = names[start].encode(), ENCODER.encode(some)
        yield folder, first, data, _check(folder, first, data)


def _files(folder: bytes, first: bytes, data: bytes, check: bytes) -> Files:
    """What a row holds; nothing where it is not as it was written."""
    try:
        return DECODER.decode(data) if check == _check(folder, first, data) else {}
    except (msgspec.MsgspecError, TypeError):
        return {}


def _check(*fields: bytes) -> bytes:
    """A row that a crash of the machine mixed up does not pass for a digest."""
    return blake3(b"\0".join(fields)).digest(8)
