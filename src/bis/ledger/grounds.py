"""What runs stood on: environments, and machines with their systems. Each function is one question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from bis.ledger.connection import Connection

NEAR: Final = 1000
"""Verdicts, the newest, among which those of all hosts are looked for at once."""


class Ground(NamedTuple):
    """Something that several runs stood on, with the newest of them."""

    name: str
    """The digest of an environment, or the name of a host."""
    runs: int
    first: int
    """Start of the first run, and below, of the last: microseconds since 1970 UTC."""
    last: int
    newest: str
    """Id of a run."""


class Proof(NamedTuple):
    """A repeat that was judged."""

    sameness: str
    again: str
    """Its id."""
    made: int


class Room(NamedTuple):
    """A system on a machine, as it was for some runs."""

    infrastructure: str
    machine: str
    runs: int
    first: int
    last: int
    newest: str


def environments(connection: Connection, *, limit: int, until: int) -> list[Ground]:
    """Those that runs had, the last used one first."""
    found = connection.execute(
        "SELECT environment, count(*), min(started), max(started) FROM runs"
        " WHERE environment <> '' AND removed = '' AND started <= ? GROUP BY environment"
        " ORDER BY 4 DESC, 1 LIMIT ?",
        (until, limit),
    ).fetchall()
    return [
        Ground(digest, runs, first, last, _newest(connection, "environment", digest, last))
        for digest, runs, first, last in found
    ]


def environments_there(connection: Connection, *, until: int) -> int:
    """How many there are."""
    ((count,),) = connection.execute(
        "SELECT count(DISTINCT environment) FROM runs WHERE environment <> '' AND removed = '' AND started <= ?",
        (until,),
    ).fetchall()
    return int(count)


def environments_like(connection: Connection, beginning: str) -> list[str]:
    """The digests that begin so, up to some."""
    end = beginning + "g"  # behind every hexadecimal digit
    found = connection.execute(
        "SELECT DISTINCT environment FROM runs WHERE environment >= ? AND environment < ? LIMIT 10", (beginning, end)
    ).fetchall()
    return [digest for (digest,) in found]


def of_environment(connection: Connection, digest: str, *, limit: int) -> tuple[int, list[str]]:
    """How many runs had it, and the ids of the newest. Removed ones are among them only where there are no others."""
    for where in ("environment = ? AND environment <> '' AND removed = ''", "environment = ? AND environment <> ''"):
        ((count,),) = connection.execute(f"SELECT count(*) FROM runs WHERE {where}", (digest,)).fetchall()
        if count:
            break
    found = connection.execute(
        f"SELECT id FROM runs WHERE {where} ORDER BY started DESC, seq DESC LIMIT ?", (digest, limit)
    ).fetchall()
    return int(count), [id for (id,) in found]


def hosts(connection: Connection, *, limit: int, each: int, until: int) -> list[tuple[Ground, list[Room]]]:
    """Machines on which bis ran something, the last used one first, each with how it was, the newest first."""
    found: dict[str, list[_Counted]] = {}
    for one in _counted(connection, "", (), until):
        found.setdefault(one.host, []).append(one)
    order = sorted(found, key=lambda host: (-found[host][0].last, host))
    return [
        (_together(connection, host, found[host]), _rooms(connection, found[host][:each])) for host in order[:limit]
    ]


def rooms(connection: Connection, host: str, *, limit: int, until: int) -> list[Room]:
    """How a machine was, the newest first."""
    return _rooms(connection, _counted(connection, " AND host = ?", (host,), until)[:limit])


def proofs(connection: Connection, hosts: Sequence[str], *, until: int) -> dict[str, Proof]:
    """The newest verdict on a repeat that ran there, by host."""
    asked = "SELECT r.host, v.sameness, v.again, v.made FROM {} AS v CROSS JOIN runs AS r WHERE r.id = v.again{}"
    newest = "(SELECT sameness, again, made FROM verdicts WHERE made <= ? ORDER BY made DESC LIMIT ?)"
    rows = connection.execute(asked.format(newest, " ORDER BY v.made"), (until, NEAR)).fetchall()
    found = {host: Proof(*proof) for host, *proof in rows}
    are_more = connection.execute("SELECT 1 FROM verdicts LIMIT 1 OFFSET ?", (NEAR,)).fetchall()
    for host in hosts if are_more else ():
        if host not in found:
            of_host = " AND r.host = ? AND v.made <= ? ORDER BY v.made DESC LIMIT 1"
            for _, *proof in connection.execute(asked.format("verdicts", of_host), (host, until)).fetchall():
                found[host] = Proof(*proof)
    return found


class _Counted(NamedTuple):
    """A room, before any of its runs is looked at."""

    host: str
    infrastructure: str
    machine: str
    runs: int
    first: int
    last: int


def _counted(connection: Connection, some: str, values: tuple[str, ...], until: int) -> list[_Counted]:
    """The newest first."""
    found = connection.execute(
        "SELECT host, infrastructure, machine, count(*), min(started), max(started) FROM runs"
        f" WHERE host <> ''{some} AND infrastructure <> '' AND removed = '' AND started <= ?"
        " GROUP BY host, infrastructure, machine ORDER BY 6 DESC, 2, 3, 1",
        (*values, until),
    ).fetchall()
    return [_Counted(*row) for row in found]


def _rooms(connection: Connection, counted: Sequence[_Counted]) -> list[Room]:
    return [Room(*one[1:], _newest_in(connection, one)) for one in counted]


def _newest_in(connection: Connection, room: _Counted) -> str:
    ((id,),) = connection.execute(
        "SELECT id FROM runs WHERE host = ? AND host <> '' AND infrastructure = ? AND machine = ? AND started = ?"
        " AND removed = '' ORDER BY seq DESC LIMIT 1",
        (room.host, room.infrastructure, room.machine, room.last),
    ).fetchall()
    return str(id)


def _together(connection: Connection, host: str, rooms: Sequence[_Counted]) -> Ground:
    runs, first = sum(room.runs for room in rooms), min(room.first for room in rooms)
    return Ground(host, runs, first, rooms[0].last, _newest_in(connection, rooms[0]))


def _newest(connection: Connection, column: str, value: str, started: int) -> str:
    ((id,),) = connection.execute(
        f"SELECT id FROM runs WHERE {column} = ? AND started = ? AND removed = '' ORDER BY seq DESC LIMIT 1",
        (value, started),
    ).fetchall()
    return str(id)
