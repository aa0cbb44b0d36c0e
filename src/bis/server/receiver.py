"""What a script logs to MLflow while `bis run` runs it: an address for its client, and a server behind it.

The address costs a socket. Only when something connects to it is a process started that answers, with the connection
that waits; a script that never logs pays nothing for it. The address is on loopback and demands a token of this run.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bis.steps.home import Home

URI: Final = "MLFLOW_TRACKING_URI"
TOKEN: Final = "MLFLOW_TRACKING_TOKEN"
OWN_TOKEN: Final = "BIS_RECEIVER_TOKEN"
"""The variable in which the process that answers is told the token."""
PATIENCE: Final = 30.0
"""Seconds that it may take to write what it was sent, when the run has ended."""


class Receiver:
    """Waits for the clients of one run. `close` it when the run has ended: then all that was acknowledged is there."""

    def __init__(self, project: Path, run: str, variables: Mapping[str, str]) -> None:
        self._project, self._run = project, run
        self._token = os.urandom(32).hex()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = self._socket.getsockname()[1]
        self._closing, self._close = os.pipe()
        self._given = dict(variables)
        self._trouble, self._ending = "", False
        self._seen: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._wait, name="receiver", daemon=True)
        self._thread.start()

    @property
    def variables(self) -> dict[str, str]:
        """What the command is given, so that clients find it."""
        return {URI: f"http://127.0.0.1:{self._port}", TOKEN: self._token}

    @property
    def called(self) -> bool:
        """Whether anything connected."""
        return self._process is not None

    @property
    def trouble(self) -> str:
        """What the process said when it ended by itself."""
        return self._trouble

    @property
    def seen(self) -> tuple[str, ...]:
        """Ids of the runs that the clients were shown, and that were there before."""
        return self._seen

    def close(self) -> None:
        self._ending = True
        os.close(self._close)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        self._thread.join(PATIENCE)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._thread.join()
        os.close(self._closing)
        self._socket.close()

    def _wait(self) -> None:
        if not self._called():
            return
        try:
            self._answer()
        except OSError as error:
            self._trouble = f"nothing could be started that answers: {error}"
        # Nobody answers any more: clients are to hear of it at once.
        self._socket.close()

    def _called(self) -> bool:
        """Wait until something connects, or until the run has ended."""
        with selectors.DefaultSelector() as selector:  # not select.select: it takes no descriptor past 1023
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._closing, selectors.EVENT_READ)
            return any(key.fileobj is self._socket for key, _ in selector.select())

    def _answer(self) -> None:
        number = self._socket.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bis.server.receive", str(number), str(self._project), self._run],
            env={**self._given, OWN_TOKEN: self._token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(number,),
            # In a group of its own: Ctrl-C is for the command, which may have a last word.
            process_group=0,
        )
        if self._ending:  # it was not there to be told
            self._process.terminate()
        seen, said = self._process.communicate()
        self._seen = tuple(seen.decode(errors="replace").split())
        if self._process.returncode and not (self._ending and self._process.returncode == -signal.SIGTERM):
            self._trouble = (said.decode(errors="replace").strip().splitlines() or ["it was killed"])[-1]


def receive(home: Home, run: str, variables: Mapping[str, str]) -> Receiver | None:
    """Begin to receive for a run. None where the user's variables name a server already, or where nothing is installed
    that could answer: `bis[server]`."""
    if variables.get(URI) or not all(find_spec(name) for name in ("uvicorn", "starlette")):
        return None
    return Receiver(home.project, run, home.variables or os.environ)
