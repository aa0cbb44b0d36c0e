"""Records of runs that are passed over, as each run has another one: a run is sealed once, and who writes a second
record of it, by mistake or on purpose, does not change what is known of it. Each function is one question or change
within the caller's transaction."""

from __future__ import annotations

from typing import NamedTuple

from bis.digest import Digest
from bis.ledger.connection import Connection


class OtherSeal(NamedTuple):
    record: Digest
    run: str
    """The id of the run that it claims to be of."""


def is_other(connection: Connection, run: str, record: str) -> bool:
    """Whether the run is known otherwise: by another record, or as one that a client logs, which has none."""
    found = connection.execute("SELECT record, tracked FROM runs WHERE id = ?", (run,)).fetchall()
    return any(tracked or known not in ("", record) for known, tracked in found)


def pass_over(connection: Connection, run: str, record: Digest) -> None:
    connection.execute(
        "INSERT INTO other_seals (record, run) VALUES (?, ?) ON CONFLICT (record) DO NOTHING", (record, run)
    )


def prefer(connection: Connection, run: str, record: Digest) -> None:
    """The record that counts from now on: who executed the run wrote it. The one that counted is passed over."""
    for (known,) in connection.execute("SELECT record FROM runs WHERE id = ?", (run,)).fetchall():
        if known not in ("", record):
            pass_over(connection, run, Digest(known))
    connection.execute("DELETE FROM other_seals WHERE record = ?", (record,))


def every(connection: Connection) -> list[OtherSeal]:
    """By run and record."""
    found = connection.execute("SELECT record, run FROM other_seals ORDER BY run, record").fetchall()
    return [OtherSeal(Digest(record), run) for record, run in found]
