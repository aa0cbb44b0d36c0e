"""What PostgreSQL says, in words for the person who has to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bis.errors import BisError, KeepingError, UsageError
from bis.ledger import database
from bis.ledger.database import NO_SERVER
from bis.ledger.postgres_url import SCHEMA_NAME, shown_url
from bis.store.trouble import BUSY, DISK_ERROR, DISK_FULL, NOT_WRITABLE

if TYPE_CHECKING:
    import psycopg


class Standing(NamedTuple):
    """How a user and the ledger stood to each other when the server spoke."""

    there: bool
    """Whether there is a ledger, as far as is known."""
    lost: bool = False
    user: str = "USER"
    database: str = "NAME"
    schema: str = SCHEMA_NAME


def said(error: psycopg.Error, place: str, standing: Standing) -> BisError:
    """What the server of a ledger said, as an error that says what to do."""
    state, text = error.sqlstate or "", _line(error)
    if state == "55P03":
        return KeepingError(
            f"another process has been writing to the ledger {place} for more than {database.PATIENCE:.0f} s",
            hint="SELECT * FROM pg_stat_activity names it (psql); then repeat the command",
            code=BUSY,
        )
    if state in ("42501", "25006"):
        return _forbidden(text, place, standing)
    if state in ("53100", "53200"):
        return KeepingError(
            f"no room to write the ledger {place}: {text}",
            because="Nothing half-written is kept.",
            hint="free some room on the server, then repeat the command",
            code=DISK_FULL,
        )
    if state in ("54000", "22003"):
        return UsageError(f"the ledger {place} cannot hold this: {text}", hint="choose a shorter or smaller value")
    if state in ("42P01", "42703", "3F000"):
        return KeepingError(
            f"tables of the ledger {place} are missing: {text}",
            because="Somebody removed or changed them. The sealed records in the store are not concerned.",
            hint="bring the database back from a copy (pg_restore), or name another one and `bis reindex`",
            code=DISK_ERROR,
        )
    if state.startswith(("08", "57P")) or (not state and standing.lost):
        return KeepingError(
            f"the connection to the ledger {place} was lost: {text}",
            because="Nothing of the change that was under way is kept.",
            hint="repeat the command",
            code=NO_SERVER,
        )
    return KeepingError(f"the ledger {place} cannot be used: {text}", hint="bis verify", code=DISK_ERROR)


def _forbidden(text: str, place: str, standing: Standing) -> KeepingError:
    if standing.there:
        because = "The database is read-only, or this user may not write to its tables."
        hint = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {standing.schema} TO {standing.user}"
    else:
        because = "The user has no right to create a schema and tables there."
        hint = f"GRANT CREATE ON DATABASE {standing.database} TO {standing.user}"
    return KeepingError(
        f"the ledger {place} cannot be written to: {text}", because=because, hint=hint, code=NOT_WRITABLE
    )


def unreachable(error: psycopg.OperationalError, facts: Mapping[str, Any]) -> KeepingError:
    """Why there is no connection. No word of it is the password."""
    place, text = shown_url(facts), _line(error)
    if secret := facts.get("password"):
        text = text.replace(secret, "…")
    because, hint = "", f"psql {place}"
    if "password" in text or "authentication" in text or "pg_hba" in text:
        because = "The server does not let this user in."
        hint = "PGPASSWORD, ~/.pgpass, or the password in the URL: postgresql://USER:PASSWORD@HOST/NAME"
    elif "database" in text and "does not exist" in text:
        because, hint = "The server has no such database.", f"createdb {facts.get('dbname', 'NAME')}"
    elif "slots" in text or "too many" in text:
        because, hint = "The server has no connection left.", "repeat the command later, or raise max_connections"
    elif "refused" in text or "No such file" in text or "timeout" in text or "resolve" in text or "translate" in text:
        because = "No server answers there."
    return KeepingError(f"the ledger {place} cannot be opened: {text}", because=because, hint=hint, code=NO_SERVER)


def _line(error: Exception) -> str:
    """What the server said, on one line, without the statement."""
    return " ".join(str(error).strip().partition("\nLINE ")[0].split())
