"""Work on many things by several threads, in bounded memory and with the answers in order.

Threads are enough: hashing, compressing, reading and writing let other threads run.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

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
                waiting.append(pool.submit(work, thing))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
