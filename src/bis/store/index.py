"""Which pack holds which object. A cache: everything in it can be read again from the packs.

It is written without waiting for the disk. What it says of a place is checked whenever an object is read, what it
does not know is looked for in the packs, and a broken one is made anew: it can cost time, never an object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from bis.digest import digest_bytes, short
from bis.errors import Damaged
from bis.store.assembly import list_of
from bis.store.caches import Layout, in_memory, open_cache
from bis.store.packs import DELTA, HEAD, PARTS, SUFFIX, Item, list_items, pack_name, scan
from bis.store.volume import cache_folder, network_file_system

VERSION: Final = 2
AT_ONCE: Final = 500
"""So many objects are asked for in one question."""
PATIENCE: Final = 10.0
"""Seconds to wait for another writer before the index is given up for this process."""
SETTLED: Final = 2_000_000_000
"""A folder changed less than so many nanoseconds ago may change again without a new time stamp."""

SCHEMA: Final = """
CREATE TABLE packs (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    size    INTEGER NOT NULL         -- bytes of the file
);
CREATE TABLE objects (
    digest  BLOB NOT NULL,           -- 32 bytes
    kind    INTEGER NOT NULL,        -- 1 blob, 2 tree, 3 record, 4 chunk
    pack    INTEGER NOT NULL,        -- an object may lie in several packs: any copy serves
    method  INTEGER NOT NULL,
    raw     INTEGER NOT NULL,
    stored  INTEGER NOT NULL,
    offset  INTEGER NOT NULL,        -- of the head
    depth   INTEGER NOT NULL,
    PRIMARY KEY (digest, kind, pack)
) WITHOUT ROWID;
CREATE TABLE boundaries (            -- between the pieces of large objects; the newest of each anchor
    anchor  BLOB PRIMARY KEY,        -- 8 bytes: what stands before the cut
    before  BLOB,                    -- digests of the pieces on both sides
    after   BLOB
) WITHOUT ROWID;
CREATE TABLE folder (
    mtime   INTEGER NOT NULL         -- of packs/ when it was last listed: an unchanged folder is not listed again
);
INSERT INTO folder VALUES (0);
"""

PLACES: Final = (
    "SELECT name, size, digest, kind, method, raw, stored, offset, depth FROM objects JOIN packs ON id = pack"
    " WHERE digest"
)
LAYOUT: Final = Layout(VERSION, SCHEMA, PATIENCE)
Boundary = tuple[bytes, bytes | None, bytes | None]
"""An anchor, and the digests of the pieces before and behind the cut."""


class Place(NamedTuple):
    """Where a copy of an object lies."""

    pack: str
    item: Item


class Index:
    """The index of one store, shared by processes. Calls must not overlap (the store has the lock)."""

    def __init__(self, store: Path) -> None:
        self.packs = store / "packs"
        self.path = index_path(store)
        self._trusted: set[str] = set()
        self._prefixes: array[int] | None = None
        self._added: set[bytes] = set()
        self._connection = open_cache(self.path, LAYOUT)

    def close(self) -> None:
        self._connection.close()

    def find(self, digest: bytes) -> list[Place]:
        rows = self._ask(f"{PLACES} = ? ORDER BY pack", (digest,))
        return [Place(name, Item(*rest)) for name, size, *rest in rows if self._there(name, size)]

    def find_all(self, digests: Sequence[bytes], without: Container[str] = ()) -> dict[bytes, Place]:
        """Where the first copy of each lies that is there, in packs other than these."""
        found: dict[bytes, Place] = {}
        for start in range(0, len(digests), AT_ONCE):
            some = digests[start : start + AT_ONCE]
            for name, size, *rest in self._ask(f"{PLACES} IN ({','.join('?' * len(some))})", tuple(some)):
                if rest[0] not in found and name not in without and self._there(name, size):
                    found[rest[0]] = Place(name, Item(*rest))
        return found

    def of_kind(self, kind: int) -> Iterator[bytes]:
        self.catch_up(sure=True)
        for (digest,) in self._ask("SELECT DISTINCT digest FROM objects WHERE kind = ? ORDER BY digest", (kind,)):
            yield digest

    def may_have(self, digest: bytes) -> bool:
        """False: it is in no pack that was known when this was first asked, nor in one that was added here since. A
        quick answer for whoever puts many objects, most of them new."""
        if self._prefixes is None:
            rows = self._ask("SELECT substr(digest, 1, 8) FROM objects ORDER BY digest")
            self._prefixes = array("Q", b"".join(prefix for (prefix,) in rows))
            if sys.byteorder == "little":
                self._prefixes.byteswap()
        wanted = int.from_bytes(digest[:8], "big")
        place = bisect_left(self._prefixes, wanted)
        return (place < len(self._prefixes) and self._prefixes[place] == wanted) or digest in self._added

    def composed(self) -> set[bytes]:
        """Digests of what is put together from other objects."""
        self.catch_up(sure=True)
        rows = self._ask("SELECT digest FROM objects WHERE method IN (?, ?)", (PARTS, DELTA))
        return {digest for (digest,) in rows}

    def digests(self) -> set[bytes]:
        """Of all objects."""
        return {digest for (digest,) in self._ask("SELECT DISTINCT digest FROM objects")}

    def copies_of(self, digests: Iterable[bytes]) -> Iterator[Place]:
        """Where these objects lie, as `copies` has it: for some of very many."""
        wanted = sorted(set(digests))
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            for name, _, *rest in self._ask(f"{PLACES} IN ({marks}) ORDER BY digest", tuple(some)):
                yield Place(name, Item(*rest))

    def copies(self, packs: Iterable[str] | None = None) -> Iterator[Place]:
        """Where all objects lie, or those of some packs, by digest; those of one digest follow each other. Nothing may
        be written meanwhile."""
        where: str = ""
        values: tuple[str, ...] = ()
        if packs is not None:
            where, values = "WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(list(packs)),)
        rows = self._connection.execute(
            "SELECT name, digest, kind, method, raw, stored, offset, depth FROM objects JOIN packs ON id = pack"
            f" {where} ORDER BY digest",
            values,
        )
        for name, *rest in rows:
            yield Place(name, Item(*rest))

    def around(self, start: bytes, end: bytes) -> tuple[bytes, ...]:
        """Digests of the piece that once stood behind the anchor `start` and of the one before `end`."""
        rows = self._ask("SELECT after FROM boundaries WHERE anchor = ?", (start,))
        rows += self._ask("SELECT before FROM boundaries WHERE anchor = ?", (end,))
        return tuple(dict.fromkeys(digest for (digest,) in rows if digest))

    def add(self, name: str, items: Iterable[Item], boundaries: Iterable[Boundary]) -> None:
        """Note a finished pack."""

        def work() -> None:
            self._insert(name, (self.packs / name).stat().st_size, items)
            self._bound(boundaries)

        items = list(items)
        self._write(work)
        self._trusted.add(name)
        self._added.update(item.digest for item in items)

    def catch_up(self, *, sure: bool = False) -> None:
        """Take in packs that are new and take out those that are gone. Unless `sure`, the folder's time stamp is
        believed when it says that nothing changed."""
        changed = self.packs.stat().st_mtime_ns
        if not sure and self._ask("SELECT mtime FROM folder") == [(changed,)]:
            return
        there = {entry.name for entry in os.scandir(self.packs) if entry.name.endswith(SUFFIX)}
        known = {name for (name,) in self._ask("SELECT name FROM packs")}
        settled = time.time_ns() - changed > SETTLED
        if there != known or settled:
            self._write(lambda: self._compare(there - known, known - there, changed if settled else 0))

    def doubt(self) -> None:
        """Look again whether packs are there, before they are said to be."""
        self._trusted.clear()

    def read_again(self, name: str) -> None:
        """Take in one pack anew: what the index said of it turned out wrong."""
        self._write(lambda: self._compare({name}, {name}, 0))

    def settle(self, name: str, items: Iterable[Item]) -> None:
        """These objects of a pack are whole, and no others: what is damaged does not count as kept, so that it can be
        put again, and what came back from a backup does."""
        rows = self._ask(
            "SELECT digest, kind, method, raw, stored, offset, depth FROM objects"
            " WHERE pack IN (SELECT id FROM packs WHERE name = ?)",
            (name,),
        )
        whole = set(items)

        def work() -> None:
            self._drop(name)
            self._insert(name, (self.packs / name).stat().st_size, whole)

        if {Item(*row) for row in rows} != whole:
            self._write(work)

    def forget(self, digests: Iterable[bytes]) -> None:
        """These cannot be read as they are, and do not count as kept."""
        rows = [(digest,) for digest in digests]
        if rows:
            self._write(lambda: self._connection.executemany("DELETE FROM objects WHERE digest = ?", rows))

    def by_kind(self) -> list[tuple[int, int, int, int]]:
        """kind, objects, raw bytes and stored bytes (heads and lists included)."""
        return self._ask(
            f"SELECT kind, count(*), sum(raw), sum(stored + {2 * HEAD.size}) FROM objects GROUP BY kind ORDER BY kind"
        )

    def by_pack(self) -> list[tuple[str, int, int]]:
        """name, size and number of objects, the largest first."""
        return self._ask(
            "SELECT name, size, count(digest) FROM packs LEFT JOIN objects ON pack = id"
            " GROUP BY id ORDER BY size DESC, name"
        )

    def twice(self) -> int:
        ((size,),) = self._ask(
            "SELECT coalesce(sum(total - one), 0)"
            " FROM (SELECT sum(stored) AS total, max(stored) AS one FROM objects GROUP BY digest HAVING count(*) > 1)"
        )
        return int(size)

    def rebuild(self) -> None:
        """Forget everything and read all packs."""
        names = {entry.name for entry in os.scandir(self.packs) if entry.name.endswith(SUFFIX)}
        self._trusted.clear()

        def work() -> None:
            self._connection.execute("DELETE FROM objects")
            self._connection.execute("DELETE FROM packs")
            self._connection.execute("DELETE FROM boundaries")
            self._compare(names, set(), 0)

        self._write(work)

    def _compare(self, fresh: set[str], gone: set[str], changed: int) -> None:
        self._prefixes = None
        for name in gone:
            self._drop(name)
        for name in sorted(fresh):
            self._take_in(name)
        self._connection.execute("UPDATE folder SET mtime = ?", (changed,))

    def _take_in(self, name: str) -> None:
        try:
            fd = os.open(self.packs / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            listed = list_items(fd)
            items = listed[0] if listed and pack_name(listed[1]) == name else list(scan(fd))
            self._insert(name, os.fstat(fd).st_size, items)
            for item in items:
                if item.method == PARTS:
                    with contextlib.suppress(Damaged):
                        self._bound(list_of(fd, item).boundaries())
        finally:
            os.close(fd)

    def _insert(self, name: str, size: int, items: Iterable[Item]) -> None:
        self._connection.execute("INSERT OR IGNORE INTO packs (name, size) VALUES (?, ?)", (name, size))
        ((pack,),) = self._connection.execute("SELECT id FROM packs WHERE name = ?", (name,))
        self._connection.executemany(
            f"INSERT OR REPLACE INTO objects (pack, digest, kind, method, raw, stored, offset, depth)"
            f" VALUES ({pack:d}, ?, ?, ?, ?, ?, ?, ?)",
            in_table_order(items),
        )

    def _bound(self, boundaries: Iterable[Boundary]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO boundaries VALUES (?, ?, ?)", boundaries)

    def _drop(self, name: str) -> None:
        self._connection.execute("DELETE FROM objects WHERE pack IN (SELECT id FROM packs WHERE name = ?)", (name,))
        self._connection.execute("DELETE FROM packs WHERE name = ?", (name,))
        self._trusted.discard(name)

    def _there(self, name: str, size: int) -> bool:
        """A pack that somebody deleted or cut short is not trusted. Looked at once by each process."""
        if name not in self._trusted:
            with contextlib.suppress(OSError):
                if (self.packs / name).stat().st_size == size:
                    self._trusted.add(name)
        return name in self._trusted

    def _ask(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError:
            self._start_anew()
            return self._connection.execute(statement, values).fetchall()

    def _write(self, work: Any) -> None:
        """Do `work` in a transaction; where the file cannot be written, in memory, for this process alone."""
        try:
            self._transact(work)
        except sqlite3.DatabaseError:
            self._start_anew()
            self._transact(work)

    def _transact(self, work: Any) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _start_anew(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._connection = in_memory(LAYOUT)
        self.rebuild()


def in_table_order(items: Iterable[Item]) -> list[Item]:
    """By digest: rows are added where the last ones were. To compare the items themselves takes twice as long."""
    return sorted(items, key=itemgetter(0))


def index_path(store: Path) -> Path:
    """Beside the packs; on a network file system in the user's cache folder, as locks cannot be relied upon there."""
    if not network_file_system(store):
        return store / "index"
    name = short(digest_bytes(os.fsencode(store.resolve())), 32)
    return cache_folder() / "indexes" / f"{name}.db"
