"""What every handler of the server is given: the ledger to ask and to change, the store, the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from bis.ledger import webhooks
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.group import Writer
from bis.server.hooks import Hooks
from bis.server.shelf import Shelf
from bis.store.local import LocalStore

T = TypeVar("T")
P = ParamSpec("P")

ASKING: Final[ContextVar[str]] = ContextVar("asking", default="")
"""Who asks in this request, for those that know it to set."""


class Desk:
    """One for the whole server. Changes go through one writer, many to a transaction; questions go to threads."""

    def __init__(self, database: Database, store: LocalStore, spool: Path, hooks: Hooks | None = None) -> None:
        self.database = database
        self.store = store
        self.shelf = Shelf(store, spool)
        self.writer = Writer(database)
        self.hooks = hooks or Hooks()

    @staticmethod
    def now() -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    @staticmethod
    def asking() -> str:
        """Who asks, as the history of the registry has it; empty where nobody has said."""
        return ASKING.get()

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

    async def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Let the webhooks that want to hear of an event be told of it, soon."""
        for webhook in await self.read(webhooks.told_of, event):
            self.hooks.put(webhook, event, data)

    def close(self) -> None:
        self.hooks.close()
        self.shelf.close()
        self.writer.close()
        self.database.close()
