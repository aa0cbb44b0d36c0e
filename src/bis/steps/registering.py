"""Changes of the registry: made in the ledger, then kept in the store as records, before anybody is told that they are
made.

Killed between the two, the ledger has an event that is in no store yet, of which nobody was told: whoever changes the
registry next, collects, pushes or builds the ledger again writes it. So what was told is never lost with the ledger,
and as a record has the name of its content, nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bis.digest import Digest
from bis.errors import KeepingError, counted
from bis.ledger import model_events
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.steps.home import Home
from bis.steps.models import database_of
from bis.store.local import LocalStore


@contextmanager
def registering(home: Home) -> Iterator[Connection]:
    """A transaction that may change the registry; when it ends, what was changed is in the store, too. Raises
    KeepingError where it is not: the change is made all the same."""
    database = database_of(home)
    with database.writing() as connection:
        yield connection
    keep_events(database, home.store)


def keep_events(database: Database, store: LocalStore, *, whole: bool = False) -> int:
    """Write the events that may be in no store yet, or, if `whole`, all that are not in this one: others may share the
    ledger, and have stores of their own. Returns how many."""
    with database.reading() as connection:
        if whole:
            events = [one for one in model_events.everything(connection) if not store.has(one[0])]
        else:
            events = model_events.waiting(connection)
    if not events:
        return 0
    put_events(store, events)
    with database.writing(durable=False) as connection:
        model_events.kept(connection, [record for record, _ in events])
    return len(events)


def are_left(database: Database) -> bool:
    """Whether events may be in no store yet."""
    return bool(database.ask("SELECT 1 FROM registry_events WHERE kept = 0 LIMIT 1"))


def put_events(store: LocalStore, events: Sequence[tuple[Digest, bytes]]) -> None:
    """Make records durable. Raises KeepingError, which says that they are not."""
    try:
        for _, content in events:
            store.put_bytes(content, "record")
        store.flush()
    except KeepingError as error:
        raise not_kept(error, len(events)) from error


def not_kept(error: KeepingError, count: int) -> KeepingError:
    return KeepingError(
        f"{counted(count, 'change')} of the registry could not be kept in the store: {error.what}",
        because=f"In the ledger it is made. With the ledger alone it could be lost. {error.because}".strip(),
        hint=f"{error.hint}; then bis reindex keeps it" if error.hint else "bis reindex keeps it",
        code=error.code,
    )
