"""What every handler of the server is given: the ledger to ask and to change, the store, the clock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from bis.digest import Digest
from bis.errors import KeepingError
from bis.ledger import model_events, webhooks
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.group import Change, Writer
from bis.ledger.readers import Asking, Readers
from bis.server.hooks import Hooks
from bis.server.live import Live
from bis.server.shelf import Kept, Shelf
from bis.settings import Promotion
from bis.steps.home import Home
from bis.steps.registering import not_kept
from bis.store.local import LocalStore

T = TypeVar("T")
P = ParamSpec("P")

DEFAULT: Final = "Default"
"""The experiment that is always there."""
ASKING: Final[ContextVar[str]] = ContextVar("asking", default="")
"""Who asks in this request, for those that know it to set."""
TURN: Final = 64
"""Of so many small changes one is the writer's."""
READERS: Final = 4
"""Threads for questions: as many as a machine with some cores keeps busy, while Python runs in one of them."""
SEARCHERS: Final = 4
"""Threads for questions that may take long."""
AGAIN: Final = (1.0, 5.0, 0.0)
"""Seconds after each try to learn which webhooks are to be told."""

_log = logging.getLogger("bis.server")


class Desk:
    """One for the whole server. Changes go through one writer, many to a transaction; questions go to threads, which
    wait neither for it nor for each other, those that are answered at once never for others."""

    def __init__(
        self,
        database: Database,
        store: LocalStore,
        spool: Path,
        hooks: Hooks | None = None,
        around: str = "",
        home: Home | None = None,
    ) -> None:
        self.home = home
        """Of the project that is served, where all of it is."""
        self.around = around
        """The run whose clients are answered, where it is one run that they log for."""
        self.met: set[str] = set()
        """Names of experiments that its clients have made."""
        self.made: set[str] = set()
        """Ids of runs that they began."""
        self.seen: set[str] = set()
        """Ids of runs that were there before, and that they were shown."""
        self.database = database
        self.store = store
        self.shelf = Shelf(store, spool)
        self.writer = Writer(database)
        self._readers = Readers(database)
        self._threads = ThreadPoolExecutor(READERS, "ledger-reader")
        self._searching = ThreadPoolExecutor(SEARCHERS, "ledger-search")
        self.live = Live(database, self._threads)
        self._near = database.path is not None
        self._jotted: list[tuple[Callable[[Connection], Any], asyncio.Future[Any]]] = []
        self._jots = 0
        self._handing = threading.Lock()
        self._answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self.hooks = hooks or Hooks()
        self.points = 0
        """Of metrics, that were written since the server began."""

    @property
    def rules(self) -> Mapping[str, Promotion]:
        """What must hold before an alias means a version."""
        return self.home.settings.promotion if self.home else {}

    def is_news(self, experiment: str) -> bool:
        """Whether it is for the clients of one run to make the experiment, though it may be there: a repeat is told
        what the recorded run was told, when there was none yet."""
        return bool(self.around) and experiment not in self.met and experiment != DEFAULT

    def began(self, run: str) -> None:
        """Note that clients of one run began this one."""
        if self.around:
            self.made.add(run)

    def showed(self, *runs: str) -> None:
        """Note that clients of one run were shown these runs, by their ids: what they do may depend on them."""
        if self.around:
            self.seen |= {*runs} - self.made - {self.around, ""}

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
        return await self._changed(functools.partial(_called, change, values, named), durable=False)

    async def jot(self, change: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `write`, for what takes no time: a file takes it sooner than a thread takes over. What came in the same
        moment is written with it; where somebody else writes, the writer waits for them, and this server does not."""
        if not self._near:
            return await self.write(change, *values, **named)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jotted.append((functools.partial(_called, change, values, named), done))
        if len(self._jotted) == 1:
            loop.call_soon(self._write_jotted)
        return await done

    async def keep(self, change: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `write`, and wait for the disk, too: it survives power loss then."""
        return await self._changed(functools.partial(_called, change, values, named), durable=True)

    async def enter(self, change: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `keep`, for a change of the registry: it is in the store, too, and survives the loss of the ledger. Raises
        KeepingError where it is in the ledger alone; the keeper tries again."""
        result = await self._changed(functools.partial(_called, change, values, named), durable=True)
        if events := await self.read(model_events.waiting):
            try:
                async with self.shelf.kept_by(lambda: self._put(events)):
                    pass
            except KeepingError as error:
                raise not_kept(error, len(events)) from error
            await self.jot(model_events.kept, [record for record, _ in events])
        return result

    def _put(self, events: Sequence[tuple[Digest, bytes]]) -> Kept:
        """Some records; the last of them, as all are durable together."""
        digests = [self.store.put_bytes(content, "record") for _, content in events]
        return Kept(digests[-1], len(events[-1][1]))

    async def read(self, question: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Ask the ledger, in a thread."""
        ask = functools.partial(_called, question, values, named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._readers.ask, ask)

    async def search(self, question: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `read`, for what may look at much of the ledger: it waits for others of its kind, and nothing waits for it
        that is found at once. Where nobody waits for the answer any more, it is given up in the ledger, too."""
        loop, asking = asyncio.get_running_loop(), Asking()
        ask = functools.partial(_called, question, values, named)
        try:
            return await loop.run_in_executor(self._searching, self._readers.ask, ask, asking)
        except asyncio.CancelledError:
            loop.run_in_executor(None, asking.give_up)
            raise

    async def glance(self, question: Callable[Concatenate[Connection, P], T], *values: P.args, **named: P.kwargs) -> T:
        """As `read`, for what is found by its key: a file gives it sooner than a thread takes over. Only for questions
        that take no time however much the ledger holds: all others wait meanwhile."""
        if not self._near:
            return await self.read(question, *values, **named)
        return self._readers.ask(functools.partial(_called, question, values, named))

    async def _changed(self, change: Callable[[Connection], T], *, durable: bool) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self.writer.put(change, functools.partial(self._told, loop, done), durable=durable)
        return await done

    def _write_jotted(self) -> None:
        jotted, self._jotted = self._jotted, []
        self._jots += 1
        changes = [Change(change, False, functools.partial(_settle, done)) for change, done in jotted]
        # Now and then the writer has its turn, in whose thread the journal of the file is put into the file.
        if self._jots % TURN and self.writer.now(changes):
            return
        loop = asyncio.get_running_loop()
        for change, done in jotted:
            try:
                self.writer.put(change, functools.partial(self._told, loop, done))
            except KeepingError as error:
                _settle(done, None, error)

    def _told(
        self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], result: Any, trouble: BaseException | None
    ) -> None:
        with self._handing:
            first = not self._answers
            self._answers.append((done, result, trouble))
        if first:  # one call wakes the loop for all that one transaction held
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        with self._handing:
            answers, self._answers = self._answers, []
        for answer in answers:
            _settle(*answer)

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Let the webhooks that want to hear of an event be told of it, soon. It has happened, whatever comes of that:
        who made it happen is answered without waiting."""
        task = asyncio.get_running_loop().create_task(self._tell(event, data))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, event: str, data: Mapping[str, Any]) -> None:
        for pause in AGAIN:
            try:
                for webhook in await self.read(webhooks.told_of, event):
                    self.hooks.put(webhook, event, data)
                return
            except Exception as error:  # whatever it is, nobody waits for this
                trouble = error
            await asyncio.sleep(pause)
        _log.error("%s: no webhook was told of it, as the ledger does not say which want to be: %s", event, trouble)

    def close(self) -> None:
        self.hooks.close()
        self.shelf.close()
        self.writer.close()
        self._threads.shutdown()
        self.live.close()
        self._searching.shutdown()
        self._readers.close()
        self.database.close()


def _settle(done: asyncio.Future[Any], result: Any, trouble: BaseException | None) -> None:
    if done.done():  # whoever waited is gone
        return
    if trouble:
        done.set_exception(trouble)
    else:
        done.set_result(result)


def _called(function: Callable[..., T], values: tuple[Any, ...], named: dict[str, Any], connection: Connection) -> T:
    return function(connection, *values, **named)
