"""Fixtures of the store's tests."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.errors import BisError
from bis.store.local import LocalStore, open_store

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with open_store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def plain_folder() -> Iterator[Path]:
    """A folder that every user may enter, for tests that give up being root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def apart() -> Callable[..., Any]:
    """Run a function in a process of its own, as an ordinary user when the tests run as root; its answer, or the
    BisError it raised."""

    def work(function: Callable[..., Any], *arguments: Any, before: Callable[[], None] = lambda: None) -> Any:
        here, there = FORK.Pipe()

        def child() -> None:
            import concurrent.futures.thread  # noqa: F401 - as nobody, what lies in root's home cannot be imported

            before()
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            try:
                there.send(function(*arguments))
            except BisError as error:
                there.send((type(error).__name__, error.code, str(error)))

        process = FORK.Process(target=child)
        process.start()
        there.close()
        try:
            return here.recv()
        finally:
            process.join()

    return work
