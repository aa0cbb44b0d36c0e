"""Many small changes of the ledger, one transaction: a thread of its own writes what gathered while it wrote before.

Who waits for a change waits for the commit that holds it. A change that fails takes back what it did, and nothing else:
most do not fail, so all are tried together first, and only where one has failed they are made again, each with a way
back. A change is therefore a function of the connection, which gives the same when it is called again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from bis.errors import KeepingError
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.store.trouble import BUSY

T = TypeVar("T")

Told = Callable[[Any, BaseException | None], None]
"""What is called, in the writer's thread, with the result of a change or with what went wrong."""

MOST: Final = 512
"""Changes in one transaction, so that the first of them does not wait for long."""
WAITING: Final = 4096
"""Changes that wait at most: whoever comes then is asked to come again."""


class Change(NamedTuple):
    """What is to be done (once or again), whether it must survive power loss, and who is told."""

    apply: Callable[[Connection], Any]
    durable: bool
    told: Told


class Writer:
    """The one that writes to a ledger for all threads of this process. Others may write beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._here: Database | None = None
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, apply: Callable[[Connection], T], *, durable: bool = False) -> Future[T]:
        """As `put`; the result is in the future."""
        done: Future[T] = Future()

        def told(result: Any, trouble: BaseException | None) -> None:
            done.set_exception(trouble) if trouble else done.set_result(result)

        self.put(apply, told, durable=durable)
        return done

    def now(self, changes: Sequence[Change]) -> bool:
        """Make small changes right here, in the caller's thread, and tell their results; False, and nothing is done,
        where somebody else writes to the ledger. It never waits for anybody. For one thread only, and for a file."""
        if self.waiting:
            return False
        try:
            if self._here is None:
                here = self._database.another()
                with here.reading() as connection:
                    connection.execute("PRAGMA busy_timeout = 0")
                self._here = here
            done = self._applied_all(self._here, changes, durable=False)
        except KeepingError as error:
            if error.code == BUSY:
                return False
            done = [(change, None, error) for change in changes]
        except BaseException as error:  # as in `_committed`
            done = [(change, None, error) for change in changes]
        for change, result, trouble in done:
            change.told(result, trouble)
        return True

    def put(self, apply: Callable[[Connection], Any], told: Told, *, durable: bool = False) -> None:
        """Make a change soon. Its result is told when it is committed: it survives a kill then and, when it is
        `durable`, power loss. Raises KeepingError where too many wait already."""
        if self.waiting >= WAITING:
            raise KeepingError(
                f"{WAITING} changes wait to be written to the ledger",
                because="They come faster than they can be written. Nothing of this one was kept.",
                hint="send it again in a moment",
                code=BUSY,
            )
        self._changes.put(Change(apply, durable, told))

    @property
    def waiting(self) -> int:
        """Changes that were submitted and are not looked at yet."""
        return self._changes.qsize()

    def close(self) -> None:
        """Write what was submitted, and end."""
        self._changes.put(None)
        self._thread.join()
        if self._here:
            self._here.close()

    def _work(self) -> None:
        while (first := self._changes.get()) is not None:
            changes, last = [first], False
            while len(changes) < MOST and not self._changes.empty():
                following = self._changes.get()
                if following is None:
                    last = True
                    break
                changes.append(following)
            for change, result, trouble in self._committed(changes):
                change.told(result, trouble)
            if last:
                return

    def _committed(self, changes: list[Change]) -> list[tuple[Change, Any, BaseException | None]]:
        """Each with its result, or with what went wrong: with it, or with all of them."""
        try:
            return self._applied_all(self._database, changes, durable=any(change.durable for change in changes))
        except BaseException as error:  # nothing of it was committed: whoever waits is told
            return [(change, None, error) for change in changes]

    def _applied_all(
        self, database: Database, changes: Sequence[Change], *, durable: bool
    ) -> list[tuple[Change, Any, BaseException | None]]:
        one_failed = False
        try:
            with database.writing(durable=durable) as connection:
                try:
                    return [(change, change.apply(connection), None) for change in changes]
                except Exception:
                    one_failed = True
                    raise
        except Exception:
            if not one_failed or len(changes) == 1:  # then it was the transaction
                raise
        with database.writing(durable=durable) as connection:
            return [(change, *self._applied(connection, change)) for change in changes]

    def _applied(self, connection: Connection, change: Change) -> tuple[Any, Exception | None]:
        connection.execute("SAVEPOINT change")
        try:
            result = change.apply(connection)
        except Exception as error:
            try:
                connection.execute("ROLLBACK TO change")
                connection.execute("RELEASE change")
            except Exception:  # a full disk or a lost connection took the whole transaction back: that is what is told
                raise error from None
            return None, self._database.told(error)
        connection.execute("RELEASE change")
        return result, None
