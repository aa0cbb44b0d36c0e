"""What was deleted for good, as far as somebody might want it back."""

from __future__ import annotations

from typing import Literal

from bis.ledger.connection import Connection
from bis.ledger.moments import shown_time
from bis.ledger.refusals import Collected, Kind


def remember(connection: Connection, kind: Kind, id: str, now: int) -> None:
    connection.execute(
        "INSERT INTO collected (kind, id, made) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO NOTHING", (kind, id, now)
    )


def fresh(connection: Connection, kind: Literal["experiment"], id: int) -> int:
    """The number of something new, which may get another one: SQLite gives that of what was deleted last again, by
    which it would be taken for the other by clients."""
    known = "SELECT max(CAST(id AS BIGINT)) FROM collected WHERE kind = ?"
    ((last,),) = connection.execute(known, (kind,)).fetchall()
    if last is None or last < id:
        return id
    connection.execute("UPDATE experiments SET id = ? WHERE id = ?", (last + 1, id))
    return int(last) + 1


def refuse(connection: Connection, kind: Kind, id: str) -> None:
    """Raises Collected where something was deleted for good."""
    asked = "SELECT made FROM collected WHERE kind = ? AND id = ?"
    for (made,) in connection.execute(asked, (kind, id)).fetchall():
        raise Collected(kind, id, shown_time(made))


def refuse_run(connection: Connection, start: str) -> None:
    """As `refuse`, for a run by the start of its id, 4 digits or more, where no other begins so."""
    first = start.lower()
    found = connection.execute(
        "SELECT id FROM collected WHERE kind = 'run' AND id >= ? AND id < ? LIMIT 2", (first, f"{first}g")
    ).fetchall()
    if len(start) >= 4 and len(found) == 1:
        refuse(connection, "run", found[0][0])
