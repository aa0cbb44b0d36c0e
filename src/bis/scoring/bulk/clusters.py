"""Batches predicted by many machines, of Ray or of Dask. They have neither the model nor this package: both are sent to
each of them once, and a process is started there that loads the model and is asked as the workers of this machine are.
So what other models did in a worker that lives for long, and what they left there, is nothing to this one.

Of Ray these are actors and not Ray Data, which has no source that one machine feeds batch by batch: it takes all rows
first, or reads the files on each machine, where other readers than those of `reading` tell types otherwise.

What runs in their processes is sent as text, so that nobody there needs this package to read what it is sent.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...flavors import Refused, held_together
from ...flavors.values import Array, Batch
from ..frames import LENGTHS, framed
from . import Stop, why_not
from .packed import batch_packed
from .pools import Ticket, answer_of, lost

IDLE = 600.0
"""Seconds after which a process that nobody asks ends where only that tells that whoever started it was killed."""
AGAIN = 3
"""Times that an actor of Ray is started again, and asked the same again, when its machine is lost."""
ENDING = 10.0
"""Seconds that actors have to clean up."""

ROOM = '''
import fcntl, os, re, shutil, tempfile

SAID = (
    b"bis is writing here; when it was killed, the next command that writes here, or bis clean, removes this.\\n"
)

class Room:
    """A temporary folder. `bis clean` removes it when nobody lives any more who has its lock."""

    def __init__(self, what):
        self.top = tempfile.mkdtemp(prefix="bis-%s-" % what)
        self.lock = os.open(os.path.join(self.top, "maker"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self.lock, SAID)
        except OSError:
            pass  # nobody can tell whether this lives, so nobody removes it

    def remove(self):
        cleared(self.top)
        if self.lock >= 0:
            os.close(self.lock)
        self.lock = -1

def cleared(top):
    """`maker` goes last: what is still written by those who are ending is found again."""
    try:
        for one in os.scandir(top):
            if one.is_dir(follow_symlinks=False):
                shutil.rmtree(one.path, ignore_errors=True)
            elif one.name != "maker":
                os.unlink(one.path)
        if os.listdir(top) == ["maker"]:
            shutil.rmtree(top)
    except OSError:
        pass

def rooms(what):
    """The folders of this user, each with its `maker`."""
    for one in os.scandir(tempfile.gettempdir()):
        if not re.fullmatch("bis-%s-[a-z0-9_]{8}" % what, one.name) or not one.is_dir(follow_symlinks=False):
            continue
        try:
            if one.stat(follow_symlinks=False).st_uid == os.getuid():
                yield one.path, os.open(os.path.join(one.path, "maker"), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            pass

def remove_left(what):
    """Where nobody types `bis clean`, the next one of its kind removes what the dead have left."""
    for top, maker in rooms(what):
        try:
            if os.read(maker, len(SAID) + 1) == SAID:
                fcntl.flock(maker, fcntl.LOCK_EX | fcntl.LOCK_NB)
                cleared(top)
        except OSError:
            pass  # it lives
        finally:
            os.close(maker)
'''

THERE = '''
import json, os, socket, struct, subprocess, sys

class Child:
    """A process of this machine with the model of a job: a frame in, a frame out."""

    def __init__(self, sent):
        remove_left("score")
        self.room = Room("score")
        top = self.room.top
        try:
            for name, content in sent["files"].items():
                path = os.path.join(top, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(content)
            self.socket, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, os.path.join(top, "score.pyz"), "--worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), self.room.lock),
                    cwd=top,
                    env=dict(os.environ, **sent["variables"]),
                )
        except OSError:
            self.room.remove()
            raise
        job = dict(sent["job"], folder=os.path.join(top, "model"), remove=top)
        answer = self.ask(self.framed(job))
        head = json.loads(answer[8 : 8 + struct.unpack("<II", answer[:8])[0]])
        why = head.get("failed") or {"what": "the model cannot be loaded", "because": "it ended"}
        self.refused = None if "ready" in head else self.framed({"unloadable": why})

    def framed(self, head):
        text = json.dumps(head).encode()
        return struct.pack("<II", len(text), 0) + text

    def ask(self, frame):
        try:
            self.socket.sendall(frame)
            lengths = self.exactly(8)
            return lengths + self.exactly(sum(struct.unpack("<II", lengths)))
        except (OSError, EOFError):
            self.close()
            return self.framed({"ended": self.process.returncode})

    def exactly(self, size):
        found = bytearray()
        while len(found) < size:
            some = self.socket.recv(min(size - len(found), 1 << 20))
            if not some:
                raise EOFError
            found += some
        return bytes(found)

    def close(self):
        self.socket.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.room.remove()
'''


def sent(job: Mapping[str, Any], idle: float | None) -> dict[str, Any]:
    """A job with the files that it needs, for a machine that has none of them; `idle`: seconds after which a process
    ends that nobody asks. Raises Stop where a link leads to what is no part of the model, and is nobody's to have."""
    folder = Path(job["folder"])
    try:
        held_together(folder)
    except Refused as error:
        raise Stop(**why_not(error), status=4) from None
    files = {f"model/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files["score.pyz"] = Path(sys.argv[0]).read_bytes()
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    # What one may do without is found out by starting anew, which nobody does there.
    return {"job": {**job, "lean": False, "idle": idle}, "files": files, "variables": threads}


def _defined(text: str) -> dict[str, Any]:
    """What a text defines, as of a script: so it is sent by its code, and not by its name."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(text, names)
    return names


def _room(what: str) -> Any:
    """A folder of this process, gone with it at the latest."""
    room = _defined(ROOM)["Room"](what)
    atexit.register(room.remove)
    return room


class _Far:
    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch

    def get(self) -> list[tuple[str, Array]]:
        frame = _fetched(self._fetch)
        head, body = _parted(frame)
        if "unloadable" in head:
            why = head["unloadable"]
            raise Stop(**{**why, "what": f"{why['what']} on a machine of the cluster"}, status=4)
        if "ended" in head:
            raise lost(head["ended"])
        found = answer_of(head, body)
        if isinstance(found, Exception):
            raise found
        return found


def _fetched(fetch: Callable[[], Any]) -> Any:
    """Raises Stop for what goes wrong between the machines."""
    try:
        return fetch()
    except Exception as error:
        raise _trouble(error) from error


def _trouble(error: Exception) -> Stop:
    told = " ".join(str(error).split())[:300]
    return Stop("the cluster does not answer", f"{type(error).__name__}: {told}", "the same command goes on", 4)


def _parted(frame: bytes) -> tuple[Any, bytes]:
    head, _ = LENGTHS.unpack(frame[: LENGTHS.size])
    behind = LENGTHS.size + head
    return json.loads(frame[LENGTHS.size : behind]), frame[behind:]


def _frame(batch: Batch) -> bytes:
    head, bodies = batch_packed(batch)
    return framed(head, *bodies)


class Ray:
    """Actors of Ray. RAY_ADDRESS names the cluster; else one starts here, with a token that nobody else knows. Ray ends
    an actor when the program is gone that started it, and so the process of the actor ends as well."""

    def __init__(self, job: Mapping[str, Any], number: int) -> None:
        files = sent(job, None)
        address = os.environ.get("RAY_ADDRESS")
        self._own = None if address else _room("ray")
        if self._own:
            # Else Ray leaves a token in the home folder, and tells its makers that it was used.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise _missing("ray") from None
        self._ray = ray
        own = {"_temp_dir": self._own.top, "include_dashboard": False} if self._own else {}
        _fetched(lambda: ray.init(address=address, log_to_driver=False, **own))
        given = ray.put(files)
        actor = ray.remote(max_restarts=AGAIN, max_task_retries=AGAIN, scheduling_strategy="SPREAD")
        there = actor(_defined(ROOM + THERE + RAY)["Actor"])
        self._actors = [there.remote(given) for _ in range(number)]
        self.room = 2 * number
        self._turn = 0

    def ask(self, batch: Batch) -> Ticket:
        actor = self._actors[self._turn % len(self._actors)]
        self._turn += 1
        answer = actor.ask.remote(_frame(batch))
        return _Far(lambda: self._ray.get(answer))

    def close(self) -> None:
        with contextlib.suppress(Exception):  # who is shut down is killed, and leaves what it had
            self._ray.get([one.close.remote() for one in self._actors], timeout=ENDING)
        self._ray.shutdown()
        if self._own:
            self._own.remove()


RAY = """
class Actor:
    def __init__(self, sent):
        self.child = Child(sent)

    def ask(self, frame):
        return self.child.refused or self.child.ask(frame)

    def close(self):
        self.child.close()
"""


class Dask:
    """Workers of Dask, each with as many processes as it has threads. DASK_SCHEDULER_ADDRESS names the scheduler; else
    one is in this process. Workers of a cluster outlive the scoring, and do not tell a process of theirs that it is
    gone; one that has ended is made again."""

    def __init__(self, job: Mapping[str, Any], number: int) -> None:
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        files = sent(job, IDLE if address else None)
        self._own = own = None if address else _room("dask")
        try:
            from distributed import Client
        except ImportError:
            raise _missing("distributed") from None
        self._cluster = _fetched(lambda: _alone(number, own.top)) if own else None
        self._client = _fetched(lambda: Client(self._cluster or address))
        self._there = _defined(ROOM + THERE + DASK)
        self._key = secrets.token_hex(8)
        self._job = _fetched(lambda: self._client.scatter(files, broadcast=True, hash=False))
        self.room = 2 * max(1, sum(self._client.nthreads().values()))

    def ask(self, batch: Batch) -> Ticket:
        answer = self._client.submit(self._there["ask"], self._job, self._key, _frame(batch), pure=False)
        return _Far(answer.result)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the cluster is gone; what is there ends by itself
            self._client.run(self._there["forget"], self._key)
        self._client.close()
        if self._cluster and self._own:
            self._cluster.close()
            self._own.remove()


def _alone(number: int, folder: str) -> Any:
    """A scheduler and a worker that no other user can reach: whoever reaches one has it run code as whoever started it.
    So both are threads of this process, and models are in processes of their own as ever. What still listens, on
    loopback, is where Dask tells how it fares, and that is told nobody."""
    import logging

    import dask
    from distributed import Scheduler, SpecCluster, Worker

    dask.config.set({f"distributed.{one}.http.routes": [] for one in ("scheduler", "worker")})
    inside = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    # Of memory it sees that of this whole process, which is bounded by the size of a batch.
    worker = {**inside, "nthreads": number, "local_directory": folder, "memory_limit": 0}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": inside},
        workers={0: {"cls": Worker, "options": worker}},
        silence_logs=logging.WARNING,
    )


DASK = '''
def ask(sent, key, frame):
    """By a process that nobody asks now, or one more."""
    import distributed
    free = distributed.get_worker().__dict__.setdefault("_bis_free", {}).setdefault(key, [])
    child = None
    while free and child is None:
        child = free.pop()
        child = child if child.process.poll() is None else None
    child = child or Child(sent)
    answer = child.refused or child.ask(frame)
    free.append(child)
    return answer

def forget(key, dask_worker):
    for child in dask_worker.__dict__.get("_bis_free", {}).pop(key, []):
        child.close()
'''


def _missing(package: str) -> Stop:
    return Stop(
        f"{package} is not in the environment of this model",
        hint=f"install it there, as on the machines that it asks: uv pip install --python PATH {package}",
        status=4,
    )
