"""Telling who looks at pages that the ledger has changed, for as long as they look.

One watch for all listeners of a process asks the ledger whether anybody has committed a change, and only while
somebody listens. What has changed is not said: who hears of it asks for the page again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import Final

from bis.errors import BisError
from bis.ledger.database import Database

EVERY: Final = 2.0
"""Seconds between two looks: a page is not asked for more often, however much is logged."""
QUIET: Final = 15.0
"""Seconds after which something is sent where nothing changes: who is gone is noticed so."""
LASTS: Final = 600.0
"""Seconds that somebody listens, and is let in again: by then a token that was removed is refused."""
MOST: Final = 200
"""Who listens at once; they are among the requests that the server has under way."""
AGAIN: Final = b"retry: 2000\n\n"

_log = logging.getLogger("bis.server")


class Live:
    """The editions of a ledger: another one each time that it is found changed."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database = database.another()
        self._threads = threads
        self._looking = threading.Lock()
        self._state = ""
        self._number = 0
        self._process = secrets.token_hex(4)
        self._listeners: set[asyncio.Event] = set()
        self._watch: asyncio.Task[None] | None = None
        self.ending = False
        """Whether nobody is told anything any more."""

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def full(self) -> bool:
        return self.listeners >= MOST

    async def edition(self) -> str:
        """Which one it is. What is read of the ledger afterwards is of this edition, or of a newer one."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.look)

    async def events(self, since: str) -> AsyncGenerator[bytes]:
        """A stream of server-sent events: `changed` with the edition as its id, at once where it is not that of
        `since`. It ends by itself after a while, and when the server does."""
        heard = asyncio.Event()
        self._listeners.add(heard)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look_again_and_again())
        loop = asyncio.get_running_loop()
        until = loop.time() + LASTS
        try:
            yield AGAIN
            await self.edition()
            while not self.ending and loop.time() < until:
                heard.clear()
                if since != (now := self._edition):
                    since = now
                    yield b"event: changed\nid: %s\ndata:\n\n" % now.encode()
                try:
                    await asyncio.wait_for(heard.wait(), QUIET)
                except TimeoutError:
                    yield b":\n\n"
        finally:
            self._listeners.discard(heard)
            if not self._listeners and self._watch:
                self._watch.cancel()
                self._watch = None

    def end(self) -> None:
        """Let all streams end."""
        self.ending = True
        self._tell()

    def close(self) -> None:
        self._database.close()

    @property
    def _edition(self) -> str:
        return f"{self._process}.{self._number}"

    def look(self) -> str:
        """As `edition`, in a thread that may wait for the ledger."""
        with self._looking:
            if (state := self._database.state()) != self._state:
                self._state = state
                self._number += 1
            return self._edition

    async def _look_again_and_again(self) -> None:
        before = ""
        while True:
            try:
                now = await self.edition()
            except BisError as error:  # whoever asks for the page is told
                _log.warning("the ledger does not say whether it has changed: %s", error)
                now = before
            if now != before:
                before = now
                self._tell()
            await asyncio.sleep(EVERY)

    def _tell(self) -> None:
        for heard in self._listeners:
            heard.set()
