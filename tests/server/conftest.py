"""A real server on loopback, and a plain HTTP client to talk to it with."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest


class Server:
    """A `bis server` process for a folder."""

    def __init__(self, folder: Path, *options: str, variables: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.told = ""
        """What it says, beside the answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bis", "-C", str(folder), "server", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._wait(r"(https?://\S+)")
        # Idle connections stay: where many threads share a client, it may close one that another was just given.
        kept = httpx.Limits(max_keepalive_connections=None, keepalive_expiry=None)
        self.http = httpx.Client(base_url=self.url, timeout=30, limits=kept)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told += line

    def _wait(self, pattern: str) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if found := re.search(pattern, self.told):
                return found[1]
            if self.process.poll() is not None:
                self._reader.join()
                break
            time.sleep(0.01)
        raise AssertionError(f"the server does not listen: {self.told}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(30)
        self._reader.join()
        return status


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test."""
    started: list[Server] = []

    def start(*options: str, folder: Path = tmp_path, variables: dict[str, str] | None = None) -> Server:
        started.append(Server(folder, *options, variables=variables))
        return started[-1]

    yield start
    for server in started:
        server.http.close()
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def server(serving: Callable[..., Server]) -> Server:
    """One, for an empty folder."""
    return serving()


@pytest.fixture
def many_files() -> Iterator[None]:
    """So many open files that the next has a number that `select` does not take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2200)), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for file in files:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
