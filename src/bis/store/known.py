"""What is known of packs that lie elsewhere: which objects each one holds. A cache.

The name of a pack vouches for its list of objects, so what was once learnt of it stays true wherever it lies. Of a
pack not yet known the end is read: the last bytes, where its list is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bis import __version__
from bis.digest import digest_bytes
from bis.errors import Damaged, NotFound
from bis.nouns.part import Finding
from bis.store.caches import Layout, open_cache
from bis.store.crew import in_order
from bis.store.index import Place, in_table_order
from bis.store.local import LocalStore
from bis.store.packs import END, END_MARK, HEAD, MAGIC, Item, list_items, pack_name, read_head
from bis.store.remote import Remote

VERSION: Final = 2
PATIENCE: Final = 10.0
TAIL: Final = 64 << 10
"""So much of a pack's end is asked for at first: it has the list of a thousand objects."""
AT_ONCE: Final = 500
"""Digests that are asked for in one statement."""
ROW: Final = "pack, digest, kind, method, raw, stored, offset, depth"
SCHEMA: Final = """
CREATE TABLE packs (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    size    INTEGER NOT NULL
);
CREATE TABLE objects (
    digest  BLOB NOT NULL,
    kind    INTEGER NOT NULL,
    pack    INTEGER NOT NULL,
    method  INTEGER NOT NULL,
    raw     INTEGER NOT NULL,
    stored  INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    depth   INTEGER NOT NULL,
    PRIMARY KEY (digest, kind, pack)
) WITHOUT ROWID;
CREATE TABLE settled (                   -- where nothing was left to do
    remote  TEXT NOT NULL,
    way     TEXT NOT NULL,               -- fetch
    state   TEXT NOT NULL,               -- digest of the packs on both sides
    PRIMARY KEY (remote, way)
);
CREATE TABLE served (                    -- of what a remote has all, as long as it has all packs it is relied on for
    remote  TEXT NOT NULL,
    what    TEXT NOT NULL,               -- name of a pack here, or digest of a record
    PRIMARY KEY (remote, what)
) WITHOUT ROWID;
CREATE TABLE relied (
    remote  TEXT NOT NULL,
    pack    TEXT NOT NULL,
    PRIMARY KEY (remote, pack)
) WITHOUT ROWID;
"""


class Seen(NamedTuple):
    """A pack that was learnt."""

    size: int
    items: list[Item]


class Known:
    """The cache, in a file of its own; in memory where that cannot be."""

    def __init__(self, path: Path) -> None:
        self._connection = open_cache(path, Layout(VERSION, SCHEMA, PATIENCE))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, name: str, size: int, items: Iterable[Item]) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.execute("INSERT OR IGNORE INTO packs (name, size) VALUES (?, ?)", (name, size))
            ((pack,),) = connection.execute("SELECT id FROM packs WHERE name = ?", (name,))
            connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (digest, kind, pack, method, raw, stored, offset, depth)
                    for digest, kind, method, raw, stored, offset, depth in in_table_order(items)
                ),
            )

    def sizes(self) -> dict[str, int]:
        """The packs that are known, with their sizes."""
        return dict(self._connection.execute("SELECT name, size FROM packs"))

    def places(self, packs: Iterable[str], digests: Sequence[bytes] | None = None) -> Iterator[Place]:
        """The objects of these packs, or those among them with these digests, sorted by digest."""
        yield from self._in(packs, self._rows() if digests is None else self._rows_of(sorted(set(digests))))

    def of_kinds(self, packs: Iterable[str], kinds: Iterable[int], whole: Iterable[str] = ()) -> Iterator[Place]:
        """The objects of these packs that are of some kinds, and all of those that are `whole`, sorted by digest."""
        where = (
            "kind IN (SELECT value FROM json_each(?))"
            " OR pack IN (SELECT id FROM packs WHERE name IN (SELECT value FROM json_each(?)))"
        )
        yield from self._in(packs, self._rows(f"WHERE {where}", json.dumps([*kinds]), json.dumps([*whole])))

    def _in(self, packs: Iterable[str], rows: Iterable[Any]) -> Iterator[Place]:
        wanted = set(packs)
        chosen = {id: name for id, name in self._connection.execute("SELECT id, name FROM packs") if name in wanted}
        for pack, *rest in rows:
            if name := chosen.get(pack):
                yield Place(name, Item(*rest))

    def _rows(self, where: str = "", *values: str) -> Iterable[Any]:
        return self._connection.execute(f"SELECT {ROW} FROM objects {where} ORDER BY digest, kind, pack", values)

    def _rows_of(self, digests: Sequence[bytes]) -> Iterable[Any]:
        for start in range(0, len(digests), AT_ONCE):
            some = digests[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            where = f"WHERE digest IN ({marks}) ORDER BY digest, kind, pack"
            yield from self._connection.execute(f"SELECT {ROW} FROM objects {where}", some)

    def served(self, remote: str, listed: Mapping[str, int]) -> set[str]:
        """Of which packs here and which records a remote has all, as far as was noted; nothing, once it lacks a pack
        that this relied on."""
        sizes = self.sizes()
        relied = [name for (name,) in self._connection.execute("SELECT pack FROM relied WHERE remote = ?", (remote,))]
        if any(name not in listed or listed[name] != sizes.get(name) for name in relied):
            self.forget_served(remote)
        return {what for (what,) in self._connection.execute("SELECT what FROM served WHERE remote = ?", (remote,))}

    def serves(self, remote: str, what: Iterable[str], relied: Iterable[str]) -> None:
        """Note that a remote has all of these, and which packs there were relied on for that."""
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany("INSERT OR IGNORE INTO relied VALUES (?, ?)", ((remote, name) for name in relied))
            connection.executemany("INSERT OR IGNORE INTO served VALUES (?, ?)", ((remote, name) for name in what))

    def forget_served(self, remote: str) -> None:
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.execute("DELETE FROM served WHERE remote = ?", (remote,))
            connection.execute("DELETE FROM relied WHERE remote = ?", (remote,))

    def is_settled(self, remote: str, way: str, state: str) -> bool:
        found = self._connection.execute("SELECT state FROM settled WHERE remote = ? AND way = ?", (remote, way))
        return bool(found.fetchone() == (state,))

    def settle(self, remote: str, way: str, state: str) -> None:
        """Note that nothing was left to do with these packs here and there."""
        with self._connection as connection:
            connection.execute("INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", (remote, way, state))


def state_of(here: Iterable[str], there: Iterable[str]) -> str:
    """A name for the packs on both sides, as this bis understands them."""
    return digest_bytes("\n".join([__version__, *sorted(here), "", *sorted(there)]).encode())


def learn(
    remote: Remote,
    listed: Mapping[str, int],
    known: Known,
    store: LocalStore,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[str], list[Finding]]:
    """Make known what the listed packs hold. Returns the names of those that are sound, as far as their lists tell,
    and what is wrong with the others. A pack that lies here, too, is read here."""
    sizes = known.sizes()
    fresh = sorted(name for name in listed if name not in sizes)
    findings = []
    for number, (name, seen) in enumerate(
        in_order(lambda name: (name, _seen(remote, store, name, listed[name])), fresh, 4 * remote.at_once)
    ):
        if isinstance(seen, Seen):
            known.add(name, seen.size, seen.items)
            sizes[name] = seen.size
        elif seen:
            findings.append(damaged_pack(remote, name, seen))
        progress(number + 1, len(fresh))
    findings += [
        damaged_pack(remote, name, f"it has {size:,} bytes, and should have {sizes[name]:,}")
        for name, size in listed.items()
        if name in sizes and sizes[name] != size
    ]
    return sorted(name for name, size in listed.items() if sizes.get(name) == size), findings


def damaged_pack(remote: Remote, name: str, why: str) -> Finding:
    return Finding(
        code="damaged-pack",
        text=f"pack {name[:12]} of {remote.url} is damaged: {why}",
        hint=f"remove packs/{name} there, then bis push from where its content is",
        blocks=True,
    )


def _seen(remote: Remote, store: LocalStore, name: str, size: int) -> Seen | str:
    """What a pack holds, or why it cannot be known; empty when it is gone."""
    if here := _seen_here(store.packs / name, name):
        return here
    try:
        return seen_there(remote, name, size)
    except Damaged as error:
        return error.what
    except NotFound:
        return ""


def _seen_here(path: Path, name: str) -> Seen | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        listed = list_items(fd)
        return Seen(os.fstat(fd).st_size, listed[0]) if listed and pack_name(listed[1]) == name else None
    except (OSError, Damaged):
        return None
    finally:
        os.close(fd)


def seen_there(remote: Remote, name: str, size: int) -> Seen:
    """Raises Damaged when the end of the pack is not the list that its name vouches for."""
    if size < len(MAGIC) + END.size:
        raise Damaged(f"it has {size} bytes only")
    tail = remote.read(name, max(0, size - TAIL), min(TAIL, size))
    if len(tail) < END.size:
        raise Damaged("it is shorter than listed")
    mark, count = END.unpack(tail[-END.size :])
    needed = END.size + count * HEAD.size
    if mark != END_MARK or len(MAGIC) + needed > size:
        raise Damaged("it does not end as a pack does")
    if needed > len(tail):
        tail = remote.read(name, size - needed, needed - len(tail)) + tail
    heads = tail[len(tail) - needed : -END.size]
    if pack_name([heads]) != name:
        raise Damaged("its list of objects is not the one that its name stands for")
    items, offset = [], len(MAGIC)
    for at in range(0, len(heads), HEAD.size):
        item = read_head(heads[at : at + HEAD.size], offset)
        if item is None:
            raise Damaged("its list holds what this bis does not know")
        items.append(item)
        offset = item.after
    if offset + needed != size:
        raise Damaged(f"it has {size:,} bytes, and should have {offset + needed:,}")
    return Seen(size, items)
