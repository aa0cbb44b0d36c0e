"""One worker from the front's side: a process in the model's own interpreter, and the stream to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from bis.serving.asking import Answer, Asking

SCORING: Final = Path(__file__).resolve().parent.parent / "scoring"
"""What a worker's interpreter is started with."""
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables by which the libraries of models are told how many threads to use."""
LENGTHS: Final = 8
HEAD: Final = 4


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to hold, and what it may use."""

    folder: str
    description: dict[str, Any]
    """MLmodel, of what JSON can hold."""
    name: str
    version: str = ""
    trust: bool = False
    """Whether a pickle may be opened."""
    threads: int = 1
    cpus: tuple[int, ...] = ()
    """Numbers of the processors that it may run on; none: all."""
    memory: int = 0
    """Bytes; 0: as many as there are."""
    together: bool = True
    """Whether requests that wait may be predicted as one."""
    front: int = 0


class Started(msgspec.Struct, frozen=True):
    """A process that begins to load, and the front's end of the stream."""

    process: subprocess.Popen[bytes]
    socket: socket.socket


class Master(Protocol):
    """Whom a worker tells."""

    def is_ready(self, worker: Worker, told: Mapping[str, Any]) -> None: ...
    def has_failed(self, worker: Worker, why: str, hint: str) -> None: ...
    def has_answered(self, worker: Worker, asked: Sequence[Asking], answers: Sequence[Answer]) -> None: ...
    def is_gone(self, worker: Worker) -> None: ...


def start(python: Path, job: Job, variables: Mapping[str, str]) -> Started:
    """Start a worker, which loads its model from now on. Raises OSError where the interpreter cannot be started."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [os.fspath(python), os.fspath(SCORING), "--fd", str(theirs.fileno())],
                env=_variables(job, variables),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # the terminal's Ctrl-C is for the front, which lets it finish
            )
        except OSError:
            ours.close()
            raise
    ours.sendall(framed(msgspec.to_builtins(job)))
    return Started(process, ours)


def _variables(job: Job, variables: Mapping[str, str]) -> dict[str, str]:
    named = {name: str(job.threads) for name in THREADS if name not in variables}
    return {**variables, **named, "OMP_WAIT_POLICY": variables.get("OMP_WAIT_POLICY", "PASSIVE")}


def framed(head: Any, *bodies: bytes) -> bytes:
    """As `scoring.frames` has it."""
    text = msgspec.json.encode(head)
    size = sum(map(len, bodies))
    return b"".join((len(text).to_bytes(4, "little"), size.to_bytes(4, "little"), text, *bodies))


class Worker(asyncio.Protocol):
    """The stream to a worker. One batch at a time is with it."""

    def __init__(self, started: Started, master: Master) -> None:
        self.process, self._socket, self._master = started.process, started.socket, master
        self.asked: Sequence[Asking] = ()
        """The batch that is with it."""
        self.sent = 0.0
        """When that went to it."""
        self.ready = False
        self.began = time.perf_counter()
        self.proved = False
        """Whether it was ready once."""
        self.failure = ""
        self.late = False
        """Whether it was ended because it took too long."""
        self.stopping = False
        self.leaving = False
        """Whether it said that it ends by itself: its memory is used up."""
        self._transport: asyncio.WriteTransport | None = None
        self._read = bytearray()
        self._wanted = LENGTHS

    async def attach(self) -> None:
        """Listen to it, in the loop that is running."""
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        await loop.create_unix_connection(lambda: self, sock=self._socket)

    @property
    def busy(self) -> bool:
        return bool(self.asked)

    def ask(self, batch: Sequence[Asking]) -> None:
        self.asked, self.sent = batch, time.perf_counter()
        parts = [
            {
                "id": place,
                "form": one.form,
                "content_type": one.content_type,
                "length": len(one.body),
                "json_length": one.json_length,
            }
            for place, one in enumerate(batch)
        ]
        assert self._transport
        self._transport.write(framed({"do": "score", "parts": parts}, *(one.body for one in batch)))

    def stop(self) -> None:
        """It ends after what is with it."""
        self.stopping = True
        if self._transport and not self._transport.is_closing():
            self._transport.write(framed({"do": "stop"}))

    def kill(self) -> None:
        self.stopping = True
        if self.process.poll() is None:
            self.process.kill()

    def memory(self) -> int:
        """Bytes that it holds in memory; 0 where that cannot be known."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def ended(self) -> str:
        """How the process ended, in words."""
        status = self.process.poll()
        if status is None:
            return "it closed its stream"
        if status < 0:
            try:
                return f"it was ended by {signal.Signals(-status).name}"
            except ValueError:
                return f"it was ended by the signal {-status}"
        return "its memory was used up" if status == 3 else f"it ended with status {status}"

    # -- what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._read += data
        while len(self._read) >= self._wanted:
            head_size = int.from_bytes(self._read[:HEAD], "little")
            whole = LENGTHS + head_size + int.from_bytes(self._read[HEAD:LENGTHS], "little")
            if len(self._read) < whole:
                self._wanted = whole
                return
            head = json.loads(self._read[LENGTHS : LENGTHS + head_size])
            body = bytes(self._read[LENGTHS + head_size : whole])
            del self._read[:whole]
            self._wanted = LENGTHS
            self._told(head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._master.is_gone(self)

    def _told(self, head: Mapping[str, Any], body: bytes) -> None:
        if "answers" in head:
            asked, self.asked = self.asked, ()
            self.leaving = bool(head.get("last"))
            self.ready = self.ready and not self.leaving
            self._master.has_answered(self, asked, _answers(head["answers"], body))
        elif "ready" in head:
            self.ready = self.proved = True
            self._master.is_ready(self, head["ready"])
        elif "failed" in head:
            self.failure = head["failed"]
            self._master.has_failed(self, head["failed"], head["hint"])


def _answers(told: Sequence[Mapping[str, Any]], body: bytes) -> list[Answer]:
    found, begin = [], 0
    for one in told:
        end = begin + one["length"]
        part = body if len(told) == 1 else body[begin:end]
        retry = one["status"] == 503
        found.append(Answer(one["status"], one["content_type"], part, one["rows"], one["json_length"], retry))
        begin = end
    return found
