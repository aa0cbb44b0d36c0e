"""Who predicts: this process, or worker processes; `clusters` has those of other machines. A batch is handed over, and
its answer fetched later: whoever hands batches over in order and fetches them in that order has the answers in order.

A worker is told the model's folder and what MLmodel says of it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ...flavors import Loading, NoMethod, Predictor, kinds, method_of
from ...flavors.values import Array, Batch
from ..frames import Ended, Frames, framed
from ..lean import held_for_good, leanly
from . import Stop, why_not
from .packed import batch_packed, batch_unpacked, packed, unpacked
from .writing import columns_of


class Failed(Exception):
    """The model did not answer a batch. The text is the type of the error, and the lines that it came through."""


class Ticket(Protocol):
    def get(self) -> list[tuple[str, Array]]:
        """The columns of the answers. Raises Failed."""
        ...


class Pool(Protocol):
    @property
    def room(self) -> int:
        """Batches that may be with it."""
        ...

    def ask(self, batch: Batch) -> Ticket: ...
    def close(self) -> None: ...


class Asking:
    """A model that was loaded, and how it is to be asked."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        with held_for_good():
            self._predictor = _loaded(job)
        if job["method"]:
            _demand_method(self._predictor, job["method"])
        self._params = job["params"]
        self._names = job["outputs"]

    def __call__(self, batch: Batch) -> list[tuple[str, Array]]:
        try:
            return columns_of(self._predictor.predict(batch, self._params), self._names, batch.rows)
        except MemoryError:
            raise
        except Exception as error:
            raise Failed(_where(error)) from None


def _demand_method(predictor: Predictor, method: str) -> None:
    """Raises NoMethod where the model would answer something else."""
    if getattr(predictor, "asked_by_method", False):
        method_of(predictor.model, {"predict_method": method})
    elif method != "predict":
        raise NoMethod(f"models of its kind can be asked to predict, and not for {method}")


class Again(Exception):
    """A model that was loaded without pandas may need it: the whole process begins again, with pandas."""


def _loaded(job: Mapping[str, Any]) -> Predictor:
    """Without pandas where the model may do without: to import it takes longer than to score a million rows. Raises
    Again where that was wrong."""
    if not (job.get("lean") and "pandas" not in sys.modules):
        return _with_all(job)
    try:
        with leanly():
            found = _with_all(job, lean=True)
    except Exception as error:
        raise Again from error
    if found.wants_names:
        raise Again
    return found


def _with_all(job: Mapping[str, Any], *, lean: bool = False) -> Predictor:
    folder, flavors = Path(job["folder"]), job["flavors"]
    code = (flavors.get("python_function") or {}).get("code")
    if isinstance(code, str) and code:
        sys.path.insert(0, str(folder / code))
    how = Loading(trust=job["trust"], threads=job["threads"], alone=True, many=True, lean=lean)
    return kinds.load(folder, flavors, how)


def _where(error: BaseException) -> str:
    """What a model says of a failure may repeat what it was asked; the type and the lines do not."""
    import traceback

    steps = [f"{Path(step.filename).name}:{step.lineno}" for step in traceback.extract_tb(error.__traceback__)[-3:]]
    return f"{type(error).__name__} at {' < '.join(reversed(steps))}"


# -- here --------------------------------------------------------------------------------------------------------


class Done:
    """An answer that is there."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def get(self) -> list[tuple[str, Array]]:
        if isinstance(self._found, Exception):
            raise self._found
        found: list[tuple[str, Array]] = self._found
        return found


class Here:
    """This process."""

    room = 1

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._asking = Asking(job)

    def ask(self, batch: Batch) -> Done:
        try:
            return Done(self._asking(batch))
        except Failed as error:
            return Done(error)

    def close(self) -> None:
        pass


# -- worker processes --------------------------------------------------------------------------------------------


class Workers:
    """Processes of this interpreter, asked in turn: each has one batch at a time."""

    def __init__(self, job: Mapping[str, Any], number: int) -> None:
        self.room = number
        self._workers = [_Worker(job) for _ in range(number)]
        self._turn = 0
        for one in self._workers:
            one.ready()

    def ask(self, batch: Batch) -> Ticket:
        worker = self._workers[self._turn % len(self._workers)]
        self._turn += 1
        return worker.ask(batch)

    def close(self) -> None:
        for one in self._workers:
            one.close()


class _Worker:
    def __init__(self, job: Mapping[str, Any]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, sys.argv[0], "--worker", str(theirs.fileno())]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        self._frames = Frames(self._socket)
        self._socket.sendall(framed(dict(job)))
        self._waiting: _Waiting | None = None

    def ready(self) -> None:
        head, _ = self._next()
        if "again" in head:
            raise Again
        if "failed" in head:
            raise Stop(**head["failed"], status=4)

    def ask(self, batch: Batch) -> _Waiting:
        if self._waiting is not None:
            self._waiting.fetch()
        head, bodies = batch_packed(batch)
        try:
            self._socket.sendall(framed(head, *bodies))
        except OSError:
            raise self._lost() from None
        self._waiting = _Waiting(self)
        return self._waiting

    def answer(self) -> Any:
        self._waiting = None
        return answer_of(*self._next())

    def close(self) -> None:
        self._socket.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self) -> tuple[Any, bytes]:
        try:
            return self._frames.next()
        except (Ended, OSError):
            raise self._lost() from None

    def _lost(self) -> Stop:
        try:
            status: Any = self._process.wait(5)
        except subprocess.TimeoutExpired:
            status = "unknown"
        return lost(status)


def answer_of(head: Any, body: bytes) -> list[tuple[str, Array]] | Exception:
    """What a worker said of a batch."""
    if "full" in head:
        return MemoryError()
    return Failed(head["failed"]) if "failed" in head else unpacked(head["answers"], body)


def lost(status: Any) -> Stop:
    """What is said when a worker is gone."""
    return Stop(
        f"a worker ended in the middle of its work (status {status})", hint="the same command goes on", status=4
    )


class _Waiting:
    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._found: list[tuple[str, Array]] | BaseException | None = None

    def fetch(self) -> None:
        if self._found is None:
            self._found = self._worker.answer()

    def get(self) -> list[tuple[str, Array]]:
        self.fetch()
        if isinstance(self._found, BaseException):
            raise self._found
        assert self._found is not None
        return self._found


def work(descriptor: int) -> None:
    """One worker: it loads the model that the first frame names, and answers until the other side is gone, or has asked
    nothing for as long as the frame says. A folder that was made for it goes with it."""
    os.dup2(2, 1)
    connection = socket.socket(fileno=descriptor)
    frames = Frames(connection)
    job: Mapping[str, Any] = {}
    try:
        job = frames.next()[0]
        connection.settimeout(job.get("idle"))
        asking = _asking(job, connection)
        while asking:
            head, body = frames.next()
            connection.sendall(_answered(asking, batch_unpacked(head, body)))
    except (Ended, ConnectionError, socket.timeout):
        pass
    finally:
        if "remove" in job:
            shutil.rmtree(job["remove"], ignore_errors=True)


def _asking(job: Mapping[str, Any], connection: socket.socket) -> Asking | None:
    """The model; None where it cannot be loaded, which the other side is told."""
    try:
        found = Asking(job)
    except Again:
        connection.sendall(framed({"again": True}))
        return None
    except Exception as error:
        connection.sendall(framed({"failed": why_not(error)}))
        return None
    connection.sendall(framed({"ready": True}))
    return found


def _answered(asking: Asking, batch: Batch) -> bytes:
    try:
        heads, bodies = packed(asking(batch))
        return framed({"answers": heads}, *bodies)
    except Failed as error:
        return framed({"failed": str(error)})
    except MemoryError:
        return framed({"full": True})
