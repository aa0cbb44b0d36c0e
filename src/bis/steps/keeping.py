"""What is in the ledger first, into the store: runs that clients logged, when they have ended and again when something
of one has changed; and changes of the registry that could not be kept when they were made."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Final

import msgspec

from bis.digest import Digest, canonical
from bis.errors import NotFound
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run
from bis.nouns.tracked import Tracked
from bis.steps.home import Home
from bis.store.local import LocalStore

BATCH: Final = 50
"""Runs of which the records are made durable together."""


def keep_all(home: Home) -> int:
    """Write records of all runs that have ended and of which something is in none, and of all changes of the registry
    that are in none. Returns how many runs."""
    ledger = home.ledger
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return 0
    if ledger.database.ask("SELECT 1 FROM registry_events LIMIT 1"):
        from bis.steps.registering import keep_events

        keep_events(ledger.database, home.store, whole=True)
    if not ledger.database.ask("SELECT 1 FROM runs WHERE tracked = 1 LIMIT 1"):
        return 0  # as in most projects, whose commands are to import no more than they use
    done = 0
    last = 0
    while (batch := keep_some(ledger.database, home.store, last))[1]:
        last, done = batch[1], done + batch[0]
    return done


def newest_record(home: Home, run: Run) -> Digest:
    """Of a run that a client logged; empty where it is under way."""
    from bis.ledger import kept

    assert isinstance(home.ledger, SqlLedger)
    with home.ledger.database.reading() as connection:
        return kept.newest(connection, run.id)


def is_left(database: Database, after: int = 0) -> bool:
    """Whether something of a run that has ended is in no record."""
    from bis.ledger import kept

    with database.reading() as connection:
        return kept.are_there(connection, time.time_ns() // 1000, after)


def keep_some(database: Database, store: LocalStore, after: int = 0) -> tuple[int, int]:
    """As `keep_all`, for a batch of runs, from `after` on: how many, and where the next one begins; 0: there is none.
    Whoever logs waits for none of it, but for two short changes. Killed in between, others do it again some minutes
    later."""
    from bis.ledger import kept

    now = time.time_ns() // 1000
    own = kept.token(now, os.urandom(8).hex())
    if not is_left(database, after):
        return 0, 0
    with database.writing(durable=False) as connection:
        claimed = kept.claim(connection, own, now, after, BATCH)
    if not claimed:
        return 0, 0
    found: list[tuple[int, Tracked, Digest | None]] = []
    with database.reading() as connection:
        for seq, id in claimed:
            with suppress(NotFound):  # deleted for good meanwhile
                found.append((seq, *_put(connection, store, seq, id, now)))
    store.flush()
    with database.writing() as connection:
        for seq, value, record in found:
            kept.note(connection, seq, own, value, record)
    return sum(record is not None for _, _, record in found), claimed[-1][0]


def _put(connection: Connection, store: LocalStore, seq: int, id: str, now: int) -> tuple[Tracked, Digest | None]:
    """What is known of a run, and the record of it; none where a file of it is not in this store: a ledger that
    several share is kept where the files are."""
    from bis.ledger import kept

    value = kept.facts(connection, id, now)
    if not all(store.has(file.digest) for file in value.files):
        return value, None
    if value.metrics:
        value = msgspec.structs.replace(value, history=_put_history(connection, store, seq))
    return value, store.put_bytes(canonical(value), "record")


def _put_history(connection: Connection, store: LocalStore, seq: int) -> Digest:
    from bis.ledger import histories, kept
    from bis.store.temporary import temporary

    with temporary("history") as folder:
        file = folder / "points"
        with file.open("w", encoding="utf-8", newline="") as out:
            histories.write(out, kept.every_point(connection, seq))
        return store.put_file(file)
