"""What a script logs to MLflow while `bis run` runs it: an address for its client, and a server behind it when it calls.

The address costs a socket. Only when something connects to it is a process started that answers, with the connection
that waits; a script that never logs pays nothing for it. The address is on loopback and demands a token of this run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

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
        self._token = secrets.token_urlsafe(32)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closing, self._close = os.pipe()
        self._given = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._wait, name="receiver", daemon=True)
        self._thread.start()

    @property
    def variables(self) -> dict[str, str]:
        """What the command is given, so that clients find it."""
        return {URI: f"http://127.0.0.1:{self._socket.getsockname()[1]}", TOKEN: self._token}

    @property
    def called(self) -> bool:
        """Whether anything connected."""
        return self._process is not None

    def close(self) -> None:
        os.close(self._close)
        self._thread.join()
        os.close(self._closing)
        self._socket.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        ready, _, _ = select.select([self._socket, self._closing], [], [])
        if self._socket in ready:
            number = self._socket.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bis.server.receive", str(number), str(self._project), self._run],
                env={**self._given, OWN_TOKEN: self._token},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                # In a group of its own: Ctrl-C is for the command, which may have a last word.
                process_group=0,
            )


def receiver(project: Path, run: str, variables: Mapping[str, str]) -> Receiver | None:
    """An address for the MLflow clients of a run; None where the user has set one, or nothing is installed to answer."""
    if variables.get(URI) or not all(find_spec(name) for name in ("uvicorn", "starlette")):
        return None
    return Receiver(project, run, variables)
