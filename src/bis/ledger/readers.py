"""Questions to a ledger beside its writer: each thread that asks has a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from bis.errors import KeepingError
from bis.ledger.connection import Connection
from bis.ledger.database import NO_SERVER, Database

T = TypeVar("T")

ONE_VIEW: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
"""For PostgreSQL; SQLite's transactions have one view of the ledger always."""


class Asking:
    """A question on its way, which can be given up from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database: Database | None = None

    def at(self, database: Database | None) -> None:
        """Where it is asked now; None when it is answered."""
        with self._lock:
            self._database = database

    def give_up(self) -> None:
        """End it where it is asked: no question that comes behind it is meant."""
        with self._lock:
            if self._database is not None:
                self._database.interrupt()


class Readers:
    """The connections for questions, opened when a thread asks first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin = ONE_VIEW if database.path is None else "BEGIN"
        self._own = threading.local()
        self._all: list[Database] = []
        self._lock = threading.Lock()

    def ask(self, question: Callable[[Connection], T], asking: Asking | None = None) -> T:
        """The answer, in this thread. All that a question reads it reads of the ledger at one moment. It is asked
        again, once, when the connection to a server was lost meanwhile."""
        if asking is None:
            return self._twice(question)
        asking.at(self._mine())
        try:
            return self._twice(question)
        finally:
            asking.at(None)

    def _twice(self, question: Callable[[Connection], T]) -> T:
        try:
            return self._asked(question)
        except KeepingError as error:
            if error.code != NO_SERVER:
                raise
        return self._asked(question)

    def _asked(self, question: Callable[[Connection], T]) -> T:
        with self._mine().reading() as connection:
            connection.execute(self._begin)
            try:
                return question(connection)
            finally:
                connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            for database in self._all:
                database.close()
            self._all = []
            self._own = threading.local()

    def _mine(self) -> Database:
        found: Database | None = getattr(self._own, "database", None)
        if found is None:
            found = self._own.database = self._database.another()
            with self._lock:
                self._all.append(found)
        return found
