"""Coroutines without a task: what waits for little costs little.

A task is begun in the next turn of the event loop, and looked after by it. Most calls of the server are answered in one
or two steps; these are done where the call came in, and behind what they wait for.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

Told = Callable[[Any, BaseException | None], None]
"""What is called once, with the result or with what went wrong."""


class Errand:
    """One coroutine on its way. It may wait for futures, and for whatever waits for futures in the end; it has no task
    of its own to ask for, so `asyncio.timeout` is not for it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], told: Told, context: contextvars.Context) -> None:
        self._coroutine, self._told, self._context = coroutine, told, context
        self._awaited: asyncio.Future[Any] | None = None

    def begin(self) -> bool:
        """Go as far as it gets; whether it waits now. Its end is told in any case, here or later."""
        self._context.run(self._step)
        return self._awaited is not None

    def cancel(self) -> None:
        """Let it end with CancelledError, where it waits."""
        if self._awaited is not None:
            self._awaited.cancel()

    def _go_on(self, _: asyncio.Future[Any]) -> None:
        self._awaited = None
        self._step()

    def _step(self) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self._told(end.value, None)
        except BaseException as error:
            self._told(None, error)
        else:
            if awaited is None:  # it gives way to others
                awaited = asyncio.get_running_loop().create_future()
                awaited.set_result(None)
            awaited._asyncio_future_blocking = False  # as a task does that has seen what it waits for
            self._awaited = awaited
            awaited.add_done_callback(self._go_on, context=self._context)
