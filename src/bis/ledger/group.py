"""Many small changes of the ledger, one transaction: a thread of its own writes what gathered while it wrote before.

Who waits for a change waits for the commit that holds it. A change that fails takes back what it did, and nothing else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from bis.ledger.connection import Connection
from bis.ledger.database import Database

T = TypeVar("T")

MOST: Final = 512
"""Changes in one transaction, so that the first of them does not wait for long."""


class _Change(NamedTuple):
    apply: Callable[[Connection], Any]
    durable: bool
    done: Future[Any]


class Writer:
    """The one that writes to a ledger for all threads of this process. Others may write beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, apply: Callable[[Connection], T], *, durable: bool = False) -> Future[T]:
        """Make a change soon. Its result is there when it is committed: it survives a kill then and, when it is
        `durable`, power loss."""
        done: Future[T] = Future()
        self._changes.put(_Change(apply, durable, done))
        return done

    @property
    def waiting(self) -> int:
        """Changes that were submitted and are not looked at yet."""
        return self._changes.qsize()

    def close(self) -> None:
        """Write what was submitted, and end."""
        self._changes.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._changes.get()) is not None:
            changes, last = [first], False
            while len(changes) < MOST and not self._changes.empty():
                following = self._changes.get()
                if following is None:
                    last = True
                    break
                changes.append(following)
            self._commit(changes)
            if last:
                return

    def _commit(self, changes: list[_Change]) -> None:
        results: list[tuple[_Change, Any, BaseException | None]] = []
        try:
            with self._database.writing(durable=any(change.durable for change in changes)) as connection:
                for change in changes:
                    results.append((change, *_applied(connection, change)))
        except BaseException as error:  # nothing of it was committed: whoever waits is told
            for change in changes:
                change.done.set_exception(error)
            return
        for change, result, trouble in results:
            if trouble is None:
                change.done.set_result(result)
            else:
                change.done.set_exception(trouble)


def _applied(connection: Connection, change: _Change) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT change")
    try:
        result = change.apply(connection)
    except Exception as error:
        connection.execute("ROLLBACK TO change")
        connection.execute("RELEASE change")
        return None, error
    connection.execute("RELEASE change")
    return result, None
