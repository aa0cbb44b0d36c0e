"""A memory of digests by file status, so that a file that did not change is not read again.

A remembered digest is believed when size, times, inode and device are what they were, and when the file had already
been left alone for a while when it was looked at (Git's racy rule): a file written in the same tick of the clock
as it was read could be written once more without its times changing. `ctime` catches times that were set back.
What it cannot see: a program that still has the file mapped for writing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from blake3 import blake3

from bis.digest import PREFIX, Digest
from bis.store import caches
from bis.store.volume import network_file_system

VERSION: Final = 2
TICK_NS: Final = 50_000_000
"""The kernel stamps files with a clock that ticks every 1 to 10 ms; some slack on top."""
COARSE_NS: Final = 2_100_000_000
"""File systems with whole (or two) seconds."""
REMOTE_NS: Final = 600_000_000_000
"""Where another machine's clock stamps the files, it may be wrong by minutes."""
PATIENCE: Final = 0.5
AT_ONCE: Final = 500

LAYOUT: Final = caches.Layout(
    VERSION,
    """
CREATE TABLE files (path BLOB PRIMARY KEY, status BLOB, digest BLOB, sum BLOB) WITHOUT ROWID;
CREATE TABLE folders (
    path BLOB, kind INTEGER, signature BLOB, below BLOB, tree BLOB, size INTEGER, sum BLOB, PRIMARY KEY (path, kind)
) WITHOUT ROWID;
""",
    PATIENCE,
    wal=False,
)
FOLDERS: Final = (
    "SELECT path, kind, signature, below, tree, size, sum FROM folders"
    " WHERE (path = ? OR (path > ? AND path < ?)) AND kind = ?"
)
Row = tuple[bytes, bytes, bytes, bytes]
"""path, status, digest, checksum of the row"""


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
        self._fresh: dict[bytes, Row] = {}
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
        keys = [os.fsencode(path) for path, _ in files]
        with self._lock:
            known = self._read(keys)
        return [
            _believed(key, known[key], status) if key in known else None
            for key, (_, status) in zip(keys, files, strict=True)
        ]

    def remember(self, path: str, status: os.stat_result, digest: Digest, looked: int) -> None:
        """Note what was read of a file whose status was `status` before and after, and which was opened after
        `looked`. Not noted when it had been changed too shortly before."""
        mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
        if looked - (mtime if mtime > ctime else ctime) > self._doubt(path, mtime, ctime, device=status.st_dev):
            key, told, raw = os.fsencode(path), _status(status), bytes.fromhex(digest[len(PREFIX) :])
            row = (key, told, raw, _check(key, told, raw))
            with self._lock:
                self._fresh[key] = row

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
                files = sorted(self._fresh.values())  # in the order of the table
                self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)
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
        return self._remote[key] or (TICK_NS if any(time % 10_000_000 for time in times) else COARSE_NS)

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        found = {key: self._fresh[key] for key in keys if key in self._fresh}
        wanted = [key for key in keys if key not in found]
        with self._attempt():
            if not wanted or not self._any_between(min(wanted), max(wanted)):
                return found
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                assert self._connection
                rows = self._connection.execute(
                    f"SELECT path, status, digest, sum FROM files WHERE path IN ({','.join('?' * len(some))})", some
                )
                found.update((row[0], row) for row in rows)
        return found

    def _any_between(self, first: bytes, last: bytes) -> bool:
        """Whether asking for each of many files can pay: not for those of a folder that is new."""
        ask = "SELECT 1 FROM files WHERE path BETWEEN ? AND ? LIMIT 1"
        return self._connection is not None and self._connection.execute(ask, (first, last)).fetchone() is not None


def open_cache(path: Path | None, clock: Callable[[], int] = time.time_ns) -> StatCache:
    """The cache in the file `path`, made when it is not there; None: in memory only. A broken file is begun anew, and
    where none can be made, the cache forgets when it is closed."""
    return StatCache(caches.open_cache(path, LAYOUT) if path else None, path, clock)


def _stored(row: FolderRow) -> tuple[Any, ...]:
    raw = bytes.fromhex(row.tree.removeprefix(PREFIX))
    fields = (os.fsencode(row.path), row.kind, row.signature, row.below, raw, row.size)
    return (*fields, _check(*(str(field).encode() for field in fields)))


def _believed(key: bytes, row: Row, status: os.stat_result) -> Digest | None:
    _, then, raw, check = row
    if then == _status(status) and check == _check(key, then, raw) and stat.S_ISREG(status.st_mode):
        return Digest(PREFIX + raw.hex())
    return None


def _status(status: os.stat_result) -> bytes:
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return b"%d %d %d %d %d" % numbers


def _check(*fields: bytes) -> bytes:
    """A row that a crash of the machine mixed up does not pass for a digest."""
    return blake3(b"\0".join(fields)).digest(8)
