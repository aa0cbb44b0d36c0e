"""Writes the records of runs that have ended, some seconds later, in a thread that nobody waits for; those of changes
of the registry that could not be written when they were made; and those of runs of `bis run` that were lost."""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

import msgspec

from bis.errors import BisError
from bis.ledger.database import Database
from bis.ledger.runs import SqlLedger
from bis.steps.home import Home
from bis.steps.keeping import is_left, keep_some
from bis.steps.registering import are_left, keep_events
from bis.store.local import LocalStore

EVERY: Final = 5.0
"""Seconds between two looks; one is a question that an index answers."""
REST: Final = 0.2
"""Seconds between two batches, in which whoever logs has all of the processor."""

_log = logging.getLogger("bis.server")


class Keeper:
    """One for each server. It has connections of its own, to the ledger and to the store: what it relies on there ends
    with each look."""

    def __init__(self, database: Database, store: LocalStore, home: Home | None = None) -> None:
        """`home`: where `bis run` runs, whose lost runs are sealed."""
        self._database = database
        self._store = store
        self._home = home
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """What is not in a record yet will be with the next server, or with `bis gc`, `bis push` and `bis reindex`."""
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.wait(EVERY):
            try:
                self._look()
            except (BisError, OSError) as error:
                _log.warning("runs or changes of the registry could not be kept in the store: %s", error)
            except Exception:  # a fault of ours: the next look may go well, and without a thread there is none
                _log.exception("runs or changes of the registry could not be kept in the store")

    def _look(self) -> None:
        database, last = self._database.another(), 0
        try:
            self._recover(database)
            if not is_left(database) and not are_left(database):
                return
            with self._store.another() as store:
                keep_events(database, store)
                while not self._ending.is_set():
                    _, last = keep_some(database, store, last)
                    if not last or self._ending.wait(REST):
                        return
        finally:
            database.close()

    def _recover(self, database: Database) -> None:
        """Whoever looks at the pages is not told for ever that a run which was killed is running."""
        home = self._home
        if home is None or not home.live.is_dir() or not any(home.live.iterdir()):
            return
        from bis.steps.recover import recover_lost

        with self._store.another() as store:
            recover_lost(msgspec.structs.replace(home, store=store, ledger=SqlLedger(database, False)), os.environ)
