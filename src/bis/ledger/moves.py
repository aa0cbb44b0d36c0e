"""What changed between two moments: each kind of change as points in time. Each function is one question, and gives no
more than the newest that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bis.ledger.connection import Connection
from bis.ledger.history import MOVES
from bis.ledger.made import COMMIT

READ: Final = 10_000
"""Runs that are looked at, the newest in the window."""
NEWEST: Final = (
    "SELECT seq, started FROM runs WHERE started >= ? AND started <= ? AND removed = ''"
    " ORDER BY started DESC, seq DESC LIMIT ?"
)
HOSTS: Final = 200
AT_ONCE: Final = 500
SOURCES: Final = {
    "run_commits AS c ON c.run = r.seq": "c.revision",
    f"tags AS c ON c.run = r.seq AND c.key = '{COMMIT}'": "c.value",
}
"""Where it stands which commit a run had: what is joined, and the column."""


class Point(NamedTuple):
    made: int
    what: str
    """A revision, the digest of an environment or of a system."""
    before: str
    """What was there before, if anything."""
    run: str
    """Id of the first run that had it, and below, its name."""
    name: str
    host: str
    runs: int = 1


class Stood(NamedTuple):
    """On what a run stood."""

    made: int
    host: str
    environment: str
    system: str
    run: str
    name: str


def span(connection: Connection) -> tuple[int, int] | None:
    """The first and the last moment of which anything is known; None: nothing is."""
    moments: list[int] = []
    for table, column in (("runs", "started"), ("data_versions", "made"), ("registry_events", "made")):
        for function in ("min", "max"):
            ((found,),) = connection.execute(f"SELECT {function}({column}) FROM {table}").fetchall()
            moments += [] if found is None else [found]
    return (min(moments), max(moments)) if moments else None


def read_since(connection: Connection, since: int, until: int) -> int:
    """Where the part of a window begins of which the runs are looked at: later than it, where it has more of them."""
    newest = f"SELECT min(started), count(*) FROM ({NEWEST}) AS newest"
    ((first, count),) = connection.execute(newest, (since, until, READ + 1)).fetchall()
    return since if count <= READ else int(first) + 1


def commits(connection: Connection, since: int, until: int) -> list[Point]:
    """Commits, where they first were the code of a run, in the order of time: as a run of bis has it, or as a client
    says."""
    found: dict[str, tuple[int, int, int]] = {}
    for source, revision in SOURCES.items():
        asked = f"SELECT {revision}, r.started, r.seq FROM ({NEWEST}) AS r JOIN {source}"
        for commit, started, seq in connection.execute(asked, (since, until, READ)).fetchall():
            first, other, runs = found.get(commit, (started, seq, 0))
            found[commit] = (*min((first, other), (started, seq)), runs + 1)
    every = _runs_of(connection, list(found))
    # Where there are no others than those, none of them is looked at.
    new = {
        commit: one
        for commit, one in found.items()
        if one[2] == every[commit] or not _was_before(connection, commit, since)
    }
    named = _named(connection, [seq for _, seq, _ in new.values()])
    return sorted(Point(first, commit, "", *named[seq], runs) for commit, (first, seq, runs) in new.items())


def _runs_of(connection: Connection, commits: Sequence[str]) -> dict[str, int]:
    """How many runs there are of these commits, removed or not, whenever they began."""
    found = dict.fromkeys(commits, 0)
    for start in range(0, len(commits), AT_ONCE):
        some = commits[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        for commit, runs in connection.execute(
            f"SELECT revision, count(*) FROM run_commits WHERE revision IN ({marks}) GROUP BY revision UNION ALL"
            f" SELECT value, count(*) FROM tags WHERE key = '{COMMIT}' AND value IN ({marks}) GROUP BY value",
            (*some, *some),
        ).fetchall():
            found[commit] += runs
    return found


def _was_before(connection: Connection, commit: str, since: int) -> bool:
    had = "SELECT 1 FROM {} CROSS JOIN runs AS r WHERE r.seq = c.run AND {} AND r.started < ?"
    of_bis = had.format("run_commits AS c", "c.revision = ?")
    of_clients = had.format("tags AS c", f"c.key = '{COMMIT}' AND c.value = ?")
    asked = f"{of_bis} UNION ALL {of_clients} LIMIT 1"
    return bool(connection.execute(asked, (commit, since, commit, since)).fetchall())


def _named(connection: Connection, seqs: Sequence[int]) -> dict[int, tuple[str, str, str]]:
    """Id, name and host of runs."""
    found: dict[int, tuple[str, str, str]] = {}
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        asked = f"SELECT seq, id, name, host FROM runs WHERE seq IN ({', '.join('?' * len(some))})"
        found |= {seq: (id, name, host) for seq, id, name, host in connection.execute(asked, some).fetchall()}
    return found


def stood(connection: Connection, since: int, until: int) -> list[Stood]:
    """On what the runs of bis stood, in the order of time, each machine with its last run before them."""
    columns = "started, host, environment, infrastructure || machine, id, name"
    rows = connection.execute(
        f"SELECT {columns} FROM runs WHERE seq IN (SELECT seq FROM ({NEWEST}) AS newest) AND tracked = 0"
        " AND environment <> '' ORDER BY started, seq",
        (since, until, READ),
    ).fetchall()
    found = [Stood(*row) for row in rows]
    before: list[Stood] = []
    for host in list(dict.fromkeys(one.host for one in found))[:HOSTS]:
        asked = (
            f"SELECT {columns} FROM runs WHERE host = ? AND started < ? AND tracked = 0 AND removed = ''"
            " AND environment <> '' ORDER BY started DESC, seq DESC LIMIT 1"
        )
        before += [Stood(*row) for row in connection.execute(asked, (host, since)).fetchall()]
    return [*before, *found]


def changes(stood: list[Stood], column: str, since: int) -> list[Point]:
    """Where a machine went from one environment, or one system, to another. The first of a machine is a change, too."""
    last: dict[str, str] = {}
    found: list[Point] = []
    for one in stood:
        now: Any = getattr(one, column)
        before = last.get(one.host, "")
        if now and now != before and one.made >= since:
            found.append(Point(one.made, now, before, one.run, one.name, one.host))
        last[one.host] = now or before
    return found


def data(connection: Connection, since: int, until: int, limit: int) -> tuple[list[tuple[int, str, int]], int]:
    """Versions of data: when, the name, the number; the newest last, and how many there are."""
    rows = connection.execute(
        "SELECT made, name, number FROM data_versions WHERE made >= ? AND made <= ? ORDER BY made DESC, name LIMIT ?",
        (since, until, limit),
    ).fetchall()
    asked = "SELECT count(*) FROM data_versions WHERE made >= ? AND made <= ?"
    ((total,),) = connection.execute(asked, (since, until)).fetchall()
    return rows[::-1], total


def alias_moves_there(connection: Connection, since: int, until: int) -> int:
    """How many times an alias moved."""
    asked = f"SELECT count(*) FROM registry_events WHERE made >= ? AND made <= ? AND action IN {MOVES}"
    ((count,),) = connection.execute(asked, (since, until)).fetchall()
    return int(count)
