"""The workers of one version of a model: who is free gets what waits. A lone request goes at once; what has come while
all were busy goes together, up to a bound."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bis.errors import CannotRepeat, explains
from bis.serving.asking import Answer, Asking, crowded, late, lost
from bis.serving.tally import Tally
from bis.serving.version import Version
from bis.serving.workers import Started, Worker

TOGETHER: Final = 64
"""Requests that go together."""
BYTES: Final = 4 << 20
"""Bytes of those: one that is larger goes alone."""
WAITING: Final = 1000
"""Requests that may wait."""
WAITING_BYTES: Final = 512 << 20
CALM: Final = (0.05, 0.5, 2.0, 5.0, 15.0, 30.0)
"""Seconds before a worker that died is started again: the first time, the second, …"""
STEADY: Final = 60.0
"""Seconds after which a worker that goes on is trusted again."""
GRACE: Final = 5.0
"""Seconds for a worker to end by itself."""
DOES_NOT_LOAD = explains("B097", "A model cannot be loaded, or does not answer the input example that it came with.")


class Team:
    """Workers that hold the same."""

    def __init__(
        self,
        version: Version,
        begin: Callable[[], Started],
        size: int,
        tally: Tally,
        *,
        together: int = TOGETHER,
        seconds: float = 60.0,
        memory: int = 0,
        loading: float = 600.0,
        say: Callable[[str], None] = lambda text: None,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        """`over`: what is done when all have ended."""
        self.version, self.size = version, size
        self.tally = tally
        self.waiting: deque[Asking] = deque()
        self.restarts = 0
        self.told: Mapping[str, Any] = {}
        """What the first worker said of the model."""
        self._begin, self._together, self._seconds, self._memory, self._say = begin, together, seconds, memory, say
        self._loading, self._over = loading, over
        self._bytes = 0
        self._workers: list[Worker] = []
        self._free: list[Worker] = []
        self._died: deque[float] = deque(maxlen=len(CALM))
        self._closing = False
        self._proved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- beginning and ending

    async def begin(self, started: Sequence[Started] = ()) -> None:
        """Start all workers (`started`: those that load already) and wait for one that can be asked. Raises
        CannotRepeat where the model cannot be loaded, or not in time; then all have ended."""
        try:
            for place in range(self.size):
                await self._attach(started[place] if place < len(started) else self._begin())
            await asyncio.wait_for(asyncio.shield(self._proved), self._loading)
        except TimeoutError:
            await self.close()
            why = f"it did not load within {self._loading:g} seconds"
            raise _does_not_load(self.version, why, "bis serve --load-timeout SECONDS  waits longer") from None
        except OSError as error:
            await self.close()
            raise CannotRepeat(f"a worker for {self.version.shown} cannot be started: {error}") from None
        except BaseException:
            await self.close()
            raise

    async def _attach(self, started: Started) -> None:
        worker = Worker(started, self)
        self._workers.append(worker)
        await worker.attach()

    async def drain(self) -> None:
        """Answer what waits and what is being answered, then end. What comes later is refused by whoever hands it."""
        self._empty.clear()
        if self.waiting or any(worker.busy for worker in self._workers):
            await self._empty.wait()
        await self.close()

    async def close(self) -> None:
        """End all workers: at once those that load, the others after what is with them."""
        self._closing = True
        for worker in list(self._workers):
            if worker.ready:
                worker.stop()
            else:
                worker.kill()
        until = time.monotonic() + GRACE
        while any(worker.process.poll() is None for worker in self._workers) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.process.wait()
        while self.waiting:
            asking = self.waiting.popleft()
            asking.tell(lost(asking.form), self.version)
        for task in self._tasks:
            task.cancel()
        if not self._proved.done():
            self._proved.cancel()
        self._empty.set()
        self._over()

    # -- asking

    @property
    def able(self) -> bool:
        """Whether a worker can be asked now."""
        return not self._closing and any(worker.ready for worker in self._workers)

    @property
    def busy(self) -> int:
        return sum(worker.busy for worker in self._workers)

    def put(self, asking: Asking) -> None:
        """It is answered, by a worker or with why not."""
        if self._free and not self.waiting:
            self._hand(self._free.pop(), [asking])
        elif self._closing or len(self.waiting) >= WAITING or self._bytes + len(asking.body) > WAITING_BYTES:
            asking.tell(crowded(asking.form), self.version)
        else:
            self.waiting.append(asking)
            self._bytes += len(asking.body)

    def take_over(self, other: Team) -> None:
        """What waits for another team waits for this one."""
        while other.waiting:
            asking = other.waiting.popleft()
            other._bytes -= len(asking.body)
            self.put(asking)

    def look(self) -> None:
        """Once in a while: tell those who waited too long, and end a worker that takes too long or too much."""
        now = time.perf_counter()
        while self.waiting and self.waiting[0].until < now:
            asking = self._next()
            asking.tell(late(asking.form), self.version)
        for worker in self._workers:
            if worker.busy and worker.asked[0].until < now and now - worker.sent > self._seconds:
                worker.late = True
                self._say(f"{self.version.shown}: a request took more than {self._seconds:g} s; its worker is ended")
                worker.kill()
            elif self._memory and worker.ready and worker.memory() > self._memory and not worker.stopping:
                self._say(f"{self.version.shown}: a worker uses more than {self._memory >> 20} MiB and is replaced")
                if worker in self._free:
                    self._free.remove(worker)
                worker.stop()
            elif self._proved.done() and not worker.proved and now - worker.began > self._loading:
                self._say(f"{self.version.shown}: a worker did not load within {self._loading:g} s and is ended")
                worker.kill()
        self._feed()

    def memory(self) -> int:
        return sum(worker.memory() for worker in self._workers)

    def _feed(self) -> None:
        while self._free and self.waiting:
            self._hand(self._free.pop(), self._batch())
        if not self.waiting and not self._empty.is_set() and not any(worker.busy for worker in self._workers):
            self._empty.set()

    def _batch(self) -> list[Asking]:
        found = [self._next()]
        size = len(found[0].body)
        while self.waiting and len(found) < self._together and not found[0].alone:
            size += len(self.waiting[0].body)
            if size > BYTES or self.waiting[0].alone:
                break
            found.append(self._next())
        return found

    def _next(self) -> Asking:
        asking = self.waiting.popleft()
        self._bytes -= len(asking.body)
        return asking

    def _hand(self, worker: Worker, batch: Sequence[Asking]) -> None:
        self.tally.handed(self.version, len(batch))
        worker.ask(batch)

    # -- what workers tell

    def is_ready(self, worker: Worker, told: Mapping[str, Any]) -> None:
        self.told = told
        if not told.get("rowwise"):
            self._together = 1
        if not self._proved.done():
            self._proved.set_result(None)
        self._free.append(worker)
        self._feed()

    def has_failed(self, worker: Worker, why: str, hint: str) -> None:
        if not self._proved.done():
            self._proved.set_exception(_does_not_load(self.version, why, hint))
        else:
            self._say(f"{self.version.shown}: a worker cannot load the model any more: {why}")

    def has_answered(self, worker: Worker, asked: Sequence[Asking], answers: Sequence[Answer]) -> None:
        for asking, answer in zip(asked, answers, strict=True):
            asking.tell(answer, self.version)
        if not worker.stopping and not worker.leaving:
            self._free.append(worker)
        self._feed()

    def is_gone(self, worker: Worker) -> None:
        with contextlib.suppress(ValueError):
            self._free.remove(worker)
        asked, worker.asked = worker.asked, ()
        task = asyncio.ensure_future(self._bury(worker, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, worker: Worker, asked: Sequence[Asking]) -> None:
        expected = worker.stopping
        self._give_up(worker, asked)
        until = time.monotonic() + GRACE
        while worker.process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(0.005)
        worker.kill()
        if self._closing:
            return
        self._workers.remove(worker)
        if not self._proved.done():
            self._proved.set_exception(_does_not_load(self.version, worker.ended()))
            return
        if not worker.failure and not expected:
            self._say(f"{self.version.shown}: a worker died ({worker.ended()}); another one starts")
        self._feed()
        await self._begin_another()

    def _give_up(self, worker: Worker, asked: Sequence[Asking]) -> None:
        """What was with a worker that died: one of several may be to blame, so that each is asked again, alone."""
        if len(asked) > 1 and not worker.late and not self._closing:
            for asking in reversed(asked):
                asking.alone = True
                self.waiting.appendleft(asking)
                self._bytes += len(asking.body)
            return
        for asking in asked:
            asking.tell(late(asking.form) if worker.late else lost(asking.form), self.version)

    async def _begin_another(self) -> None:
        """After a while that grows as long as workers die soon."""
        while True:
            now = time.monotonic()
            while self._died and now - self._died[0] > STEADY:
                self._died.popleft()
            await asyncio.sleep(CALM[min(len(self._died), len(CALM) - 1)])
            self._died.append(now)
            if self._closing:
                return
            self.restarts += 1
            try:
                await self._attach(self._begin())
            except OSError as error:
                self._say(f"{self.version.shown}: a worker cannot be started: {error}")
            else:
                return


def _does_not_load(version: Version, why: str, hint: str = "") -> CannotRepeat:
    return CannotRepeat(f"{version.shown} cannot be served", because=why, hint=hint, code=DOES_NOT_LOAD)
