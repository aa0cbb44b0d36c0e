"""Which files the data part of each run holds, by digest, so that it can be asked which runs used a version of data.

Of a run with very many inputs the smallest 4,096 digests are noted: a sample that is the same whoever takes it, so
that a run which read a whole data set is found by any of them, and the table stays small. One that is not found by its
sample is looked through, one record at a time; runs that read the same inputs are looked through once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from bis.digest import Digest, short
from bis.ledger.connection import Connection
from bis.nouns.run import Run
from bis.store.squeeze import unpack

MOST: Final = 4096
DIGITS: Final = 24
AT_ONCE: Final = 1000


def put_used(connection: Connection, seq: int, run: Run) -> None:
    """Note the inputs of a run in place of those that it had."""
    part = run.parts.get("data")
    _put(connection, seq, part.facts.get("inputs", ()) if part else ())


def fill_used(connection: Connection) -> None:
    """Note the inputs of all runs of a ledger from before there was this table."""
    decoder = msgspec.json.Decoder(_Run, strict=False)
    for seq, content in connection.execute("SELECT seq, content FROM runs").fetchall():
        try:
            part = decoder.decode(unpack(content)).parts.get("data")
        except (msgspec.MsgspecError, ValueError):
            continue
        _put(connection, seq, part.facts.get("inputs", ()) if part else ())


def runs_with(connection: Connection, digests: Iterable[Digest]) -> set[int]:
    """The runs (`seq`) that hold one of these: all of them, whatever the number of their inputs."""
    wanted = sorted({short(digest, DIGITS) for digest in digests})
    found = _noted(connection, wanted)
    return found | _unnoted(connection, set(wanted), found) if wanted else found


class Users(NamedTuple):
    """Runs that hold some files, as far as that is noted."""

    total: int
    newest: list[str]
    """Ids, of some."""


def noted_users(connection: Connection, digests: Iterable[Digest], *, until: int, limit: int) -> Users:
    """The runs that began by then and of which it is noted that they hold one of these. No record is looked through:
    one of those that `sampled` counts may be missed."""
    seqs = sorted(_noted(connection, sorted({short(digest, DIGITS) for digest in digests})))
    found: list[tuple[int, int, str]] = []
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        asked = f"SELECT started, seq, id FROM runs WHERE seq IN ({', '.join('?' * len(some))}) AND started <= ?"
        found += connection.execute(asked, (*some, until)).fetchall()
    return Users(len(found), [id for _, _, id in sorted(found, reverse=True)[:limit]])


def sampled(connection: Connection) -> int:
    """How many runs have more inputs than are noted."""
    asked = "SELECT COUNT(*) FROM (SELECT run FROM data_used GROUP BY run HAVING COUNT(*) >= ?) AS many"
    ((count,),) = connection.execute(asked, (MOST,)).fetchall()
    return int(count)


def _noted(connection: Connection, wanted: list[str]) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        some += some[-1:] * (AT_ONCE - len(some))  # one statement for any number: it is prepared once
        asked = f"SELECT DISTINCT run FROM data_used WHERE digest IN ({', '.join('?' * AT_ONCE)})"
        found.update(run for (run,) in connection.execute(asked, some).fetchall())
    return found


def _unnoted(connection: Connection, wanted: set[str], found: set[int]) -> set[int]:
    """Of the runs of which a sample was noted and that were not found by it, those that hold one of these."""
    asked = "SELECT run FROM data_used GROUP BY run HAVING COUNT(*) >= ? ORDER BY run"
    sampled = [run for (run,) in connection.execute(asked, (MOST,)).fetchall() if run not in found]
    decoder = msgspec.json.Decoder(_Large, strict=False)
    holding: dict[str, bool] = {}
    more: set[int] = set()
    for run in sampled:
        row = connection.execute("SELECT content FROM runs WHERE seq = ?", (run,)).fetchone()
        try:
            part = decoder.decode(unpack(row[0])).parts.get("data") if row else None
        except (msgspec.MsgspecError, ValueError):
            continue
        if part is not None:
            if part.digest not in holding:
                some = (short(one.digest, DIGITS) for one in part.facts.inputs if one.digest)
                holding[part.digest] = not wanted.isdisjoint(some)
            more |= {run} if holding[part.digest] else set()
    return more


class _Input(msgspec.Struct, frozen=True):
    digest: Digest = Digest("")


class _Facts(msgspec.Struct, frozen=True):
    inputs: tuple[_Input, ...] = ()


class _LargePart(msgspec.Struct):
    digest: str = ""
    facts: _Facts = _Facts()


class _Large(msgspec.Struct):
    """A run of which nothing is made but the digests of its inputs."""

    parts: dict[str, _LargePart] = {}


class _Part(msgspec.Struct):
    facts: dict[str, Any] = {}


class _Run(msgspec.Struct):
    parts: dict[str, _Part] = {}


def _put(connection: Connection, seq: int, inputs: Iterable[Any]) -> None:
    digests = {short(row["digest"], DIGITS) for row in inputs if row.get("digest")}
    connection.execute("DELETE FROM data_used WHERE run = ?", (seq,))
    rows = [(digest, seq) for digest in sorted(digests)[:MOST]]
    connection.executemany("INSERT INTO data_used (digest, run) VALUES (?, ?)", rows)
