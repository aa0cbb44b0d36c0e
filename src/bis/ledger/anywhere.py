"""A word is looked for in everything that the ledger holds. Each function is one question, which is bounded: it is
answered by an index, or looks at so many of the newest and says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from bis.ledger.connection import Connection
from bis.ledger.used import DIGITS
from bis.store.squeeze import unpack

NEAR: Final = 5000
"""Runs of which note and command are looked at, the newest."""
RECORDS: Final = 300
"""Records of runs in which the names of files are looked for, the newest."""
SOME: Final = 20
"""Of those records, so many are asked for at once."""
BYTES: Final = 16 << 20
"""Of those records, as much as is read."""
UPLOADS: Final = 50_000
"""Files of clients whose names are looked at."""
KEYS: Final = 200
"""Names of params, or of tags, below which a value is looked for."""
SHORTEST: Final = 4
"""Digits of an id or a digest that are enough to look for it."""
HEX: Final = frozenset("0123456789abcdef")
LAST: Final = "\U0010ffff"
"""Behind every letter."""
REMOVED: Final = "(SELECT seq FROM runs WHERE removed <> '')"


class Named(NamedTuple):
    """A run."""

    id: str
    name: str
    status: str
    started: int
    why: str = ""
    """What was found of it, where that is not its name."""


class Found(NamedTuple):
    """Some of what was found, and how much there is."""

    some: list[Any]
    total: int
    looked: int | None = None
    """So many were looked at, which is not all; None: all were."""


class Value(NamedTuple):
    """A value that a param or a tag has, in so many runs. None: its name was found, whatever the value."""

    key: str
    value: str | None
    runs: int


class File(NamedTuple):
    path: str
    digest: str
    run: str
    name: str
    made: bool
    """Whether the run made it; else it was read."""


def runs_named(connection: Connection, text: str, limit: int) -> Found:
    """Runs whose name holds a word, those first that are called just so, and the newest first."""
    like = _inside(text)
    so = connection.execute(
        "SELECT seq FROM runs WHERE name = ? AND removed = '' ORDER BY started DESC LIMIT ?", (text, limit)
    ).fetchall()
    # Names and times alone are looked at, which lie in an index; what is removed is counted by an index of its own.
    room = limit + _count(connection, "removed <> ''", ())
    seqs = connection.execute(
        "SELECT seq FROM runs WHERE lower(name) LIKE ? ESCAPE '\\' ORDER BY started DESC, seq DESC LIMIT ?",
        (like, room),
    ).fetchall()
    total = _count(connection, "lower(name) LIKE ? ESCAPE '\\'", (like,)) if len(seqs) == room else len(seqs)
    gone = _count(connection, "removed <> '' AND lower(name) LIKE ? ESCAPE '\\'", (like,)) if total else 0
    return Found(_runs(connection, [seq for (seq,) in dict.fromkeys([*so, *seqs])], limit), total - gone)


def runs_with_id(connection: Connection, text: str, limit: int) -> Found:
    """Runs whose id begins so."""
    digits = text.lower()
    if len(digits) < SHORTEST or not set(digits) <= HEX:
        return Found([], 0)
    where, values = "id >= ? AND id < ? AND removed = ''", (digits, digits + "g")
    rows = connection.execute(f"SELECT seq FROM runs WHERE {where} ORDER BY id LIMIT ?", (*values, limit)).fetchall()
    return Found(_runs(connection, [seq for (seq,) in rows], limit), _count(connection, where, values))


def runs_that_say(connection: Connection, text: str, limit: int) -> Found:
    """Of the newest runs those whose note or command holds a word."""
    newest = "SELECT seq, note, command, started FROM runs WHERE removed = '' ORDER BY started DESC, seq DESC LIMIT ?"
    like = _inside(text)
    rows = connection.execute(
        f"SELECT seq, CASE WHEN lower(note) LIKE ? ESCAPE '\\' THEN note ELSE command END FROM ({newest}) AS newest"
        " WHERE lower(note) LIKE ? ESCAPE '\\' OR lower(command) LIKE ? ESCAPE '\\' ORDER BY started DESC, seq DESC",
        (like, NEAR, like, like),
    ).fetchall()
    why = dict(rows[:limit])
    found = [one._replace(why=why[seq]) for seq, one in _named(connection, list(why)).items()]
    return Found(found, len(rows), NEAR if _more(connection, "runs", NEAR) else None)


def values(connection: Connection, table: Literal["params", "tags"], text: str, limit: int) -> Found:
    """Values of params or tags that begin so, and names; `name=value` is both."""
    key, is_both, value = text.partition("=")
    found: list[Value] = []
    total, looked = 0, 0
    for name in _keys(connection, table, key.strip() if is_both else ""):
        looked += 1
        if is_both:
            some, more = _values(connection, table, name, value.strip(), limit)
        else:
            some, more = _values(connection, table, name, text, limit)
            if name.lower().startswith(text.lower()):
                some = [Value(name, None, _owners(connection, table, name)), *some]
                more += 1
        found += some[: limit - len(found)]
        total += more
    return Found(found, total, looked if looked == KEYS else None)


def experiments(connection: Connection, text: str, limit: int) -> Found:
    """Names of experiments."""
    return _by_name(connection, "SELECT name FROM experiments WHERE removed IS NULL", text, limit)


def models(connection: Connection, text: str, limit: int) -> Found:
    """Name and description of registered models, by either, or by an alias."""
    like = _inside(text)
    rows = connection.execute(
        "SELECT m.name, m.description FROM registered_models AS m WHERE m.removed IS NULL AND (lower(m.name)"
        " LIKE ? ESCAPE '\\' OR lower(m.description) LIKE ? ESCAPE '\\' OR EXISTS (SELECT 1 FROM model_aliases AS a"
        " WHERE a.model = m.id AND lower(a.alias) LIKE ? ESCAPE '\\')) ORDER BY m.changed DESC, m.name",
        (like, like, like),
    ).fetchall()
    return Found(rows[:limit], len(rows))


def data_sets(connection: Connection, text: str, limit: int) -> Found:
    """Names of data sets."""
    return _by_name(connection, "SELECT name FROM data_versions GROUP BY name ORDER BY max(made) DESC", text, limit)


def environments_with(connection: Connection, text: str, limit: int) -> Found:
    """Environments by the beginning of their digest, or by a package in them (`numpy`, `numpy==2.1.0`): digest, and
    the package as it is there."""
    digits = text.lower().removeprefix("b3:")
    rows: list[Any] = []
    if len(digits) >= SHORTEST and set(digits) <= HEX:
        rows += connection.execute(
            "SELECT DISTINCT environment, '' FROM runs"
            " WHERE environment >= ? AND environment < ? AND environment <> ''",
            (f"b3:{digits}", f"b3:{digits}g"),
        ).fetchall()
    name, exactly, version = text.partition("==")
    name = name.strip().lower().replace("_", "-")
    which = ("name = ?", (name,)) if exactly else ("name >= ? AND name < ?", (name, name + LAST))
    rows += connection.execute(
        f"SELECT environment, name || ' ' || version FROM environment_packages WHERE {which[0]} AND name <> ''"
        " AND version >= ? AND version < ? ORDER BY name, version, environment",
        (*which[1], version.strip(), version.strip() + LAST),
    ).fetchall()
    return Found(rows[:limit], len(rows))


def machines(connection: Connection, text: str, limit: int) -> Found:
    """Names of the machines on which bis ran something."""
    # Only its own runs have a host: each name is found by the one before it.
    following = "SELECT min(r.host) FROM runs AS r WHERE r.host <> ''"
    every = (
        f"WITH RECURSIVE known (name) AS ({following} UNION ALL SELECT ({following} AND r.host > known.name) FROM known"
        " WHERE known.name IS NOT NULL) SELECT name FROM known WHERE name IS NOT NULL"
    )
    return _by_name(connection, every, text, limit)


def commits(connection: Connection, text: str, limit: int) -> Found:
    """Commits that begin so: revision, and how many runs had it."""
    digits = text.lower()
    if len(digits) < SHORTEST or not set(digits) <= HEX:
        return Found([], 0)
    rows = connection.execute(
        "SELECT revision, count(*) FROM run_commits WHERE revision >= ? AND revision < ? GROUP BY revision",
        (digits, digits + "g"),
    ).fetchall()
    return Found(rows[:limit], len(rows))


def contents(connection: Connection, text: str, limit: int) -> Found:
    """Files by the beginning of their digest: digest, and how many runs made or read it."""
    digits = text.lower().removeprefix("b3:")
    if len(digits) < SHORTEST or not set(digits) <= HEX:
        return Found([], 0)
    start = digits[:DIGITS]
    rows = connection.execute(
        "SELECT digest, count(*) FROM (SELECT digest, run FROM run_outputs WHERE digest >= ? AND digest < ?"
        " UNION ALL SELECT digest, run FROM data_used WHERE digest >= ? AND digest < ?) AS files GROUP BY digest",
        (start, start + "g", start, start + "g"),
    ).fetchall()
    return Found(rows[:limit], len(rows))


def files(connection: Connection, text: str, limit: int) -> Found:
    """Files that the newest runs of bis made or read, by a part of their path or the beginning of their digest."""
    word, looked, found = text.lower(), 0, dict[tuple[str, str], File]()
    digits = word.removeprefix("b3:")
    start = f"b3:{digits}" if len(digits) >= SHORTEST and set(digits) <= HEX else "\0"
    for run in _records(connection):
        looked += 1
        for path, digest, made in _files(run):
            if word in path.lower() or digest.startswith(start):
                found.setdefault((path, digest), File(path, digest, run.id, run.name, made))
    return Found(list(found.values())[:limit], len(found), looked if _are_more(connection, looked) else None)


def uploads(connection: Connection, text: str, limit: int) -> Found:
    """Files that clients uploaded, by a part of their path: path and size."""
    rows = connection.execute(
        "SELECT path, size FROM (SELECT path, size FROM artifacts ORDER BY path LIMIT ?) AS uploads"
        " WHERE lower(path) LIKE ? ESCAPE '\\'",
        (UPLOADS, _inside(text)),
    ).fetchall()
    return Found(rows[:limit], len(rows), UPLOADS if _more(connection, "artifacts", UPLOADS) else None)


# -- how it is asked -------------------------------------------------------------------------------------------------


def _inside(text: str) -> str:
    """A pattern of LIKE that holds a word anywhere, in small letters."""
    plain = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    for sign in "\\%_":
        plain = plain.replace(sign, "\\" + sign)
    return f"%{plain}%"


def _by_name(connection: Connection, names: str, text: str, limit: int) -> Found:
    rows = connection.execute(
        f"SELECT name FROM ({names}) AS named WHERE lower(name) LIKE ? ESCAPE '\\'", (_inside(text),)
    ).fetchall()
    return Found([name for (name,) in rows[:limit]], len(rows))


def _count(connection: Connection, where: str, bound: Sequence[Any]) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM runs WHERE {where}", tuple(bound)).fetchall()
    return int(count)


def _more(connection: Connection, table: str, than: int) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {table} LIMIT 1 OFFSET ?", (than,)).fetchall())


def _runs(connection: Connection, seqs: Sequence[int], limit: int) -> list[Named]:
    return list(_named(connection, seqs).values())[:limit]


def _named(connection: Connection, seqs: Sequence[int]) -> dict[int, Named]:
    """Those that are there, in the order that was given."""
    found: dict[int, Named] = {}
    for seq in seqs:
        asked = "SELECT id, name, status, started FROM runs WHERE seq = ? AND removed = ''"
        for row in connection.execute(asked, (seq,)).fetchall():
            found[seq] = Named(*row)
    return found


def _keys(connection: Connection, table: str, only: str) -> Iterator[str]:
    """The names of all params or tags; with `only`, that one, if there is one. Each is one step in an index."""
    at, sign = only, ">=" if only else ">"
    for _ in range(KEYS):
        ((name,),) = connection.execute(f"SELECT min(key) FROM {table} WHERE key {sign} ?", (at,)).fetchall()
        if name is None or (only and name != only):
            return
        yield name
        at, sign = name, ">"


def _values(connection: Connection, table: str, key: str, start: str, limit: int) -> tuple[list[Value], int]:
    where = f"key = ? AND value >= ? AND value < ? AND run NOT IN {REMOVED}"
    bound = (key, start, start + LAST)
    rows = connection.execute(
        f"SELECT value, count(*) FROM {table} WHERE {where} GROUP BY value ORDER BY value LIMIT ?", (*bound, limit)
    ).fetchall()
    total = len(rows)
    if total == limit:
        asked = f"SELECT count(DISTINCT value) FROM {table} WHERE {where}"
        ((total,),) = connection.execute(asked, bound).fetchall()
    return [Value(key, value, runs) for value, runs in rows], total


def _owners(connection: Connection, table: str, key: str) -> int:
    asked = f"SELECT count(*) FROM {table} WHERE key = ? AND run NOT IN {REMOVED}"
    ((count,),) = connection.execute(asked, (key,)).fetchall()
    return int(count)


class _Output(msgspec.Struct, frozen=True):
    path: str
    digest: str = ""


class _Facts(msgspec.Struct, frozen=True):
    inputs: tuple[_Output, ...] = ()


class _Part(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()


class _Parts(msgspec.Struct, frozen=True):
    data: _Part = _Part()


class _Run(msgspec.Struct):
    """A run of which nothing is made but its files."""

    id: str
    name: str
    parts: _Parts = _Parts()
    outputs: tuple[_Output, ...] = ()


_decoder: Final = msgspec.json.Decoder(_Run, strict=False)


def _records(connection: Connection) -> Iterator[_Run]:
    """The newest runs of bis, as far as there is time for."""
    asked = (
        "SELECT seq, name FROM runs WHERE tracked = 0 AND removed = '' AND NOT environment = ''"
        " ORDER BY started DESC, seq DESC LIMIT ?"
    )
    read, newest = 0, connection.execute(asked, (RECORDS,)).fetchall()
    for name, content in (one for at in range(0, len(newest), SOME) for one in _contents(connection, newest, at)):
        whole = unpack(content)
        read += len(whole)
        if read > BYTES:
            return
        try:
            run = _decoder.decode(whole)
        except (msgspec.MsgspecError, ValueError):
            continue
        run.name = name
        yield run


def _contents(connection: Connection, runs: Sequence[tuple[int, str]], at: int) -> list[tuple[str, bytes]]:
    """Name and record of some of them, in their order."""
    some = runs[at : at + SOME]
    asked = f"SELECT seq, content FROM runs WHERE seq IN ({', '.join('?' * len(some))})"
    found = dict(connection.execute(asked, [seq for seq, _ in some]).fetchall())
    return [(name, found[seq]) for seq, name in some]


def _are_more(connection: Connection, looked: int) -> bool:
    asked = "SELECT count(*) FROM (SELECT 1 FROM runs WHERE environment <> '' LIMIT ?) AS these"
    ((there,),) = connection.execute(asked, (RECORDS + 1,)).fetchall()
    return int(there) > RECORDS or looked < _own(connection)


def _own(connection: Connection) -> int:
    return _count(connection, "environment <> '' AND tracked = 0 AND removed = ''", ())


def _files(run: _Run) -> Iterator[tuple[str, str, bool]]:
    for output in run.outputs:
        yield output.path, output.digest, True
    for input in run.parts.data.facts.inputs:
        yield input.path, input.digest, False
