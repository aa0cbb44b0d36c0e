"""Who predicts: this process, worker processes, Ray, Dask. A batch is handed over, and its answer fetched later:
whoever hands batches over in order and fetches them in that order has the answers in order.

A worker is told the model's folder and what MLmodel says of it. Machines elsewhere have neither: they are sent the
files of the model and of this package once, and load it once.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...flavors import Loading, Predictor, kinds
from ...flavors.values import Array, Batch
from ..frames import Ended, Frames, framed
from ..lean import without_pandas
from . import Stop
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
        self._predictor = _loaded(job)
        self._params = job["params"]
        self._names = job["outputs"]

    def __call__(self, batch: Batch) -> list[tuple[str, Array]]:
        try:
            return columns_of(self._predictor.predict(batch, self._params), self._names, batch.rows)
        except MemoryError:
            raise
        except Exception as error:
            raise Failed(_where(error)) from None


class Again(Exception):
    """A model that was loaded without pandas may need it: the whole process begins again, with pandas."""


def _loaded(job: Mapping[str, Any]) -> Predictor:
    """Without pandas where the model may do without: to import it takes longer than to score a million rows. Raises
    Again where that was wrong."""
    if not (job.get("lean") and "pandas" not in sys.modules):
        return _with_all(job)
    try:
        with without_pandas():
            found = _with_all(job)
    except Exception as error:
        raise Again from error
    if found.wants_names:
        raise Again
    return found


def _with_all(job: Mapping[str, Any]) -> Predictor:
    folder, flavors = Path(job["folder"]), job["flavors"]
    code = (flavors.get("python_function") or {}).get("code")
    if isinstance(code, str) and code:
        sys.path.insert(0, str(folder / code))
    how = Loading(trust=job["trust"], threads=job["threads"], alone=job.get("alone", True))
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
            raise Stop("the model cannot be loaded", head["failed"], status=4)

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
        head, body = self._next()
        if "full" in head:
            return MemoryError()
        return Failed(head["failed"]) if "failed" in head else unpacked(head["answers"], body)

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
    """One worker: it loads the model that the first frame names, and answers until the other side is gone."""
    os.dup2(2, 1)
    connection = socket.socket(fileno=descriptor)
    frames = Frames(connection)
    try:
        job = frames.next()[0]
        try:
            asking = Asking(job)
        except Again:
            connection.sendall(framed({"again": True}))
            return
        except Exception as error:
            connection.sendall(framed({"failed": f"{type(error).__name__}: {error}"}))
            return
        connection.sendall(framed({"ready": True}))
        while True:
            head, body = frames.next()
            try:
                heads, bodies = packed(asking(batch_unpacked(head, body)))
                connection.sendall(framed({"answers": heads}, *bodies))
            except Failed as error:
                connection.sendall(framed({"failed": str(error)}))
            except MemoryError:
                connection.sendall(framed({"full": True}))
    except (Ended, ConnectionError):
        pass


# -- many machines -----------------------------------------------------------------------------------------------


def shipped(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job with the files that it needs, for a machine that has none of them."""
    folder = Path(job["folder"])
    files = {os.fspath(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {**job, "files": files, "program": Path(sys.argv[0]).read_bytes(), "alone": False, "lean": False}


SETTLED = '''
def settled(job):
    """The model of a job that was sent here, loaded below a temporary folder."""
    import importlib, os, sys, tempfile
    top = tempfile.mkdtemp(prefix="bis-")
    program = os.path.join(top, "ask.pyz")
    with open(program, "wb") as file:
        file.write(job["program"])
    for name, content in job["files"].items():
        path = os.path.join(top, "model", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    if "_bis" not in sys.modules:
        sys.path.insert(0, program)
    pools = importlib.import_module("_bis.scoring.bulk.pools")
    return pools.Elsewhere({**job, "folder": os.path.join(top, "model")})
'''
"""Sent as text, so that nobody there needs this package to read what it is sent."""


class Elsewhere:
    """A model on another machine: bytes in, bytes out."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._asking = Asking(job)

    def __call__(self, head: str, body: bytes) -> tuple[str, bytes]:
        try:
            heads, bodies = packed(self._asking(batch_unpacked(json.loads(head), body)))
        except Failed as error:
            return json.dumps({"failed": str(error)}), b""
        return json.dumps({"answers": heads}), b"".join(bodies)


class _Far:
    def __init__(self, fetch: Callable[[], tuple[str, bytes]]) -> None:
        self._fetch = fetch

    def get(self) -> list[tuple[str, Array]]:
        head, body = self._fetch()
        told = json.loads(head)
        if "failed" in told:
            raise Failed(told["failed"])
        return unpacked(told["answers"], body)


def _sendable(batch: Batch) -> tuple[str, bytes]:
    head, bodies = batch_packed(batch)
    return json.dumps(head), b"".join(bodies)


class Ray:
    """Actors of Ray, each with the model, which it loads once. RAY_ADDRESS names the cluster; else one starts here."""

    def __init__(self, job: Mapping[str, Any], number: int) -> None:
        try:
            import ray
        except ImportError:
            raise _missing("ray") from None
        self._ray = ray
        ray.init(address=os.environ.get("RAY_ADDRESS") or None, log_to_driver=False, include_dashboard=False)
        given = ray.put(shipped(job))

        class Actor:
            def __init__(self, job: Any, text: str) -> None:
                names: dict[str, Any] = {}
                exec(text, names)
                self._asked = names["settled"](job)

            def ask(self, head: str, body: bytes) -> Any:
                return self._asked(head, body)

        Actor.__module__ = "__main__"
        self._actors = [ray.remote(Actor).remote(given, SETTLED) for _ in range(number)]
        self.room = 2 * number
        self._turn = 0

    def ask(self, batch: Batch) -> Ticket:
        actor = self._actors[self._turn % len(self._actors)]
        self._turn += 1
        answer = actor.ask.remote(*_sendable(batch))
        return _Far(lambda: self._ray.get(answer))

    def close(self) -> None:
        self._ray.shutdown()


class Dask:
    """Workers of Dask, each with the model, which it loads once. DASK_SCHEDULER_ADDRESS names the scheduler; else one
    starts here."""

    def __init__(self, job: Mapping[str, Any], number: int) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise _missing("distributed") from None
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        self._client = (
            Client(address)
            if address
            else Client(n_workers=number, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
        )
        names: dict[str, Any] = {}
        exec(DASK, names)
        self._ask = names["ask"]
        self._job = self._client.scatter(shipped(job), broadcast=True, hash=False)
        self.room = 2 * max(1, len(self._client.scheduler_info()["workers"]))

    def ask(self, batch: Batch) -> Ticket:
        answer = self._client.submit(self._ask, self._job, SETTLED, *_sendable(batch), pure=False)
        return _Far(answer.result)

    def close(self) -> None:
        self._client.close()


DASK = '''
def ask(job, text, head, body):
    """The model of this worker, which is loaded by the first batch."""
    import distributed
    worker = distributed.get_worker()
    with worker._lock if hasattr(worker, "_lock") else __import__("contextlib").nullcontext():
        models = worker.__dict__.setdefault("_bis_models", {})
        if id(job) not in models:
            names = {}
            exec(text, names)
            models[id(job)] = names["settled"](job)
    return models[id(job)](head, body)
'''


def _missing(package: str) -> Stop:
    return Stop(
        f"{package} is not in the environment of this model",
        hint=f"install it there, as on the machines that it asks: uv pip install --python PATH {package}",
        status=4,
    )
