"""What went wrong lately. Each function is one question, which looks at so many of the newest."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.ledger.connection import Connection

NEAR: Final = 5000
"""Runs, or verdicts, that are looked at."""


class Failed(msgspec.Struct, frozen=True):
    id: str
    name: str
    status: str
    exit: int | None
    ended: int
    """When; of a lost one, when it began."""
    user: str


class Doubt(msgspec.Struct, frozen=True):
    """A repeat that did not give the same."""

    run: str
    """Id of what was repeated."""
    name: str
    again: str
    sameness: str
    made: int


def failed(connection: Connection, *, until: int, limit: int) -> list[Failed]:
    """The newest runs that did not finish."""
    newest = (
        "SELECT seq, status, started FROM runs WHERE started <= ? AND removed = ''"
        " ORDER BY started DESC, seq DESC LIMIT ?"
    )
    # Which they are stands in an index: those alone are read.
    some = (
        f"SELECT seq AS found FROM ({newest}) AS newest WHERE status IN ('failed', 'lost', 'interrupted')"
        " ORDER BY started DESC, seq DESC LIMIT ?"
    )
    found = connection.execute(
        f"SELECT id, name, status, exit, coalesce(ended, started), username FROM ({some}) AS these CROSS JOIN runs"
        " WHERE seq = found ORDER BY started DESC, seq DESC",
        (until, NEAR, limit),
    ).fetchall()
    return [Failed(*row) for row in found]


def doubts(connection: Connection, *, until: int, limit: int) -> list[Doubt]:
    """The newest verdicts that are neither identical nor equivalent."""
    newest = "SELECT run, again, sameness, made FROM verdicts WHERE made <= ? ORDER BY seq DESC LIMIT ?"
    found = connection.execute(
        f"SELECT v.run, r.name, v.again, v.sameness, v.made FROM ({newest}) AS v JOIN runs AS r ON r.id = v.run"
        " WHERE v.sameness NOT IN ('identical', 'equivalent') ORDER BY v.made DESC LIMIT ?",
        (until, NEAR, limit),
    ).fetchall()
    return [Doubt(*row) for row in found]
