"""What every handler of the server is given: the ledger to ask and to change, the store, the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.group import Writer
from bis.server.shelf import Shelf
from bis.store.local import LocalStore

T = TypeVar("T")
P = ParamSpec("P")


class Desk:
    """One for the whole server. Changes go through one writer, many to a transaction; questions go to threads."""

    def __init__(self, database: Database, store: LocalStore, spool: Path) -> None:
        self.database = database
        self.store = store
        self.shelf = Shelf(store, spool)
        self.writer = Writer(database)

    @staticmethod
    def now() -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    async def write(self, change: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Make a change in the ledger, and wait until it is committed: it survives a kill then."""
        return await asyncio.wrap_future(self.writer.submit(lambda connection: change(connection, *values, **named)))

    async def keep(self, change: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `write`, and wait for the disk, too: it survives power loss then."""
        return await asyncio.wrap_future(
            self.writer.submit(lambda connection: change(connection, *values, **named), durable=True)
        )

    async def read(self, question: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Ask the ledger, in a thread."""

        def ask() -> T:
            with self.database.reading() as connection:
                return question(connection, *values, **named)

        return await asyncio.to_thread(ask)

    def close(self) -> None:
        self.shelf.close()
        self.writer.close()
        self.database.close()
