"""Work on many things by several threads, in bounded memory and with the answers in order.

Threads are enough: hashing, compressing, reading and writing let other threads run.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")


def hands() -> int:
    """How many threads are worth while: the processors that this process may use, within reason."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 8)


def in_order(work: Callable[[T], R], things: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """`work` of each thing, in their order, done ahead by at most twice as many as there are `workers`. The first
    error of `things` or `work` is raised where its answer would stand, and nothing new is begun."""
    from concurrent.futures import ThreadPoolExecutor

    count = workers or hands()
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="bis") as pool:
        try:
            for thing in things:
                waiting.append(_begun(pool, work, thing))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _begun(pool: ThreadPoolExecutor, work: Callable[[T], R], thing: T) -> Future[R]:
    """While the interpreter ends, no pool takes anything any more: then it is done at once, by whoever asks for it."""
    from concurrent.futures import Future

    try:
        return pool.submit(work, thing)
    except RuntimeError:
        done: Future[R] = Future()
        try:
            done.set_result(work(thing))
        except Exception as error:
            done.set_exception(error)
        return done


class Behind(Generic[T]):
    """`work` of one thing after the other, by a thread of its own that may lag behind by `most` of them."""

    def __init__(self, work: Callable[[T], Any], most: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._work, self._most = work, most
        self._waiting: deque[Future[Any]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bis")

    def __enter__(self) -> Behind[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def do(self, thing: T) -> None:
        """Raises what an earlier thing raised."""
        self._waiting.append(_begun(self._pool, self._work, thing))
        self.catch_up(self._most)

    def catch_up(self, most: int = 0) -> None:
        """Return when no more than so many things are left to do."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()
