"""Where a ledger is: a file, or a database of PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bis.ledger.database import Database
from bis.ledger.sqlite import SqliteDatabase

SCHEMES: Final = ("postgresql://", "postgres://")


def on_server(place: str) -> bool:
    """Whether this names a database of a server, not a file."""
    return place.startswith(SCHEMES)


def database_at(place: Path | str) -> Database:
    """Nothing is opened before the first question."""
    if isinstance(place, str) and on_server(place):
        from bis.ledger.postgres import PostgresDatabase

        return PostgresDatabase(place)
    return SqliteDatabase(Path(place))
