"""What runs stood on: environments, and machines with their systems. Each function is one question."""

from __future__ import annotations

from typing import NamedTuple

from bis.ledger.connection import Connection


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


def hosts(connection: Connection, *, limit: int, until: int) -> list[Ground]:
    """Machines on which bis ran something, the last used one first."""
    found = connection.execute(
        "SELECT host, count(*), min(started), max(started) FROM runs"
        " WHERE tracked = 0 AND infrastructure <> '' AND removed = '' AND started <= ? GROUP BY host"
        " ORDER BY 4 DESC, 1 LIMIT ?",
        (until, limit),
    ).fetchall()
    return [
        Ground(host, runs, first, last, _newest(connection, "host", host, last)) for host, runs, first, last in found
    ]


def rooms(connection: Connection, host: str, *, limit: int, until: int) -> list[Room]:
    """How a machine was, the newest first."""
    found = connection.execute(
        "SELECT infrastructure, machine, count(*), min(started), max(started) FROM runs"
        " WHERE host = ? AND tracked = 0 AND infrastructure <> '' AND removed = '' AND started <= ?"
        " GROUP BY infrastructure, machine ORDER BY 5 DESC, 1 LIMIT ?",
        (host, until, limit),
    ).fetchall()
    return [
        Room(system, machine, runs, first, last, _newest(connection, "infrastructure", system, last))
        for system, machine, runs, first, last in found
    ]


def proofs(connection: Connection, host: str, *, until: int) -> tuple[str, str, int] | None:
    """The newest verdict on a repeat that ran there: the word, the repeat's id, when."""
    found = connection.execute(
        "SELECT v.sameness, v.again, v.made FROM verdicts AS v JOIN runs AS r ON r.id = v.again"
        " WHERE r.host = ? AND v.made <= ? ORDER BY v.made DESC LIMIT 1",
        (host, until),
    ).fetchall()
    return (found[0][0], found[0][1], found[0][2]) if found else None


def _newest(connection: Connection, column: str, value: str, started: int) -> str:
    ((id,),) = connection.execute(
        f"SELECT id FROM runs WHERE {column} = ? AND started = ? AND removed = '' ORDER BY seq DESC LIMIT 1",
        (value, started),
    ).fetchall()
    return str(id)
