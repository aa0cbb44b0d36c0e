"""Trace: start the small process that will be the command's parent, and read what it wrote down.

The tracer itself is `inside/tracer.py`. It is started before it is needed, so that its start overlaps with the
capture of the parts, and is told what to run once that is known.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import itertools
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bis.digest import spell
from bis.errors import Failure, UsageError
from bis.nouns.trace import Access, Process, Stat, Trace
from bis.settings import TRACES
from bis.steps.events import Heard

if TYPE_CHECKING:
    from bis.steps.strace import Told

INSIDE = Path(__file__).resolve().parent.parent / "inside"
FILE = "trace"
PREIMAGES = "preimages"
UNSEEN_INSIDE = (
    "only what Python itself opens by a path was seen, not what compiled libraries (pyarrow, h5py, XGBoost) open",
    "other programs, and interpreters older than 3.8 or started with -I, -S or -E, were not seen",
    "looking for a file that is not there was seen only where Python tried to open it",
)
UNSEEN_AFTERWARDS = ("what files held before the run changed them was not kept, nor always their state",)


class Tracer:
    """A tracer that waits for its order. Close it, whatever happens."""

    def __init__(self, pid: int, control: socket.socket, start: socket.socket, guard: socket.socket, mode: str) -> None:
        self.pid = pid
        self.mode = mode
        self.control = control
        self._start = start
        self._guard = guard
        self._inbox = b""
        self._heard = bytearray()
        self._facts: dict[str, Any] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What its trial found: `pid` of the process that will be the command, `mechanism`, `why` it is not better."""
        if self._facts is None:
            facts = self.receive()
            if facts is None:
                raise Failure("the tracer could not be started", hint="--trace audit, or --debug to see more")
            self._facts = facts
        return self._facts

    def watch(self, order: dict[str, Any]) -> None:
        """Tell it what to record, and where."""
        _send(self.control, {**order, "no_privileges": self.facts.get("no_privileges", False)})

    def keep_output(self, scratch: Path, streams: dict[str, int], group: int | None) -> None:
        """Give the guard the reading ends of the command's output, in case this process is killed. In `group`, which
        the command shares with us, it also hears what the command hears."""
        message = {"scratch": str(scratch), "streams": list(streams), "group": group}
        _send(self._guard, message, list(streams.values()))

    def group_heard(self, number: int) -> bool:
        """Whether a signal that has come just now went to the whole group: the guard, a member, says so."""
        limit = time.monotonic() + 0.1
        while (left := limit - time.monotonic()) > 0:
            if number in self._heard:
                self._heard.remove(number)
                return True
            if not select.select([self._guard], [], [], left)[0]:
                break
            heard = self._guard.recv(64)
            if not heard:
                break
            self._heard += heard
        return False

    def begin(self, order: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Start the command."""
        _send(self._start, order, descriptors)
        self._start.close()

    def name_child(self, pid: int) -> None:
        """Tell it which process is the command."""
        _send(self.control, {"child": pid})

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the tracer is gone. Waits."""
        while b"\n" not in self._inbox:
            try:
                piece = self.control.recv(1 << 16)
            except OSError:
                piece = b""
            if not piece:
                return None
            self._inbox += piece
        line, _, self._inbox = self._inbox.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def leave_output_to_guard(self) -> None:
        """The guard takes the command's output from now on."""
        self._guard.close()

    @property
    def has_message(self) -> bool:
        return b"\n" in self._inbox

    def stop(self) -> None:
        """The command is over and nothing more is waited for."""
        with contextlib.suppress(OSError):
            _send(self.control, {"stop": True})

    def close(self) -> None:
        """Let go. A command that has not begun never will; one that is running goes on."""
        with contextlib.suppress(OSError):
            _send(self._guard, {"over": True})
        for channel in (self.control, self._start, self._guard):
            channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(mode: str = "auto") -> Tracer:
    """Start a tracer. Returns at once; what its trial finds is known when `facts` is read."""
    if mode not in TRACES:
        raise UsageError(f"there is no way of tracing named {mode!r}", hint=f"one of {', '.join(TRACES)}")
    if mode == "full":
        from bis.steps import strace  # asked for seldom, and a command waits for what is imported above

        strace.check()
    pairs = [socket.socketpair() for _ in range(3)]
    (control, begin, guard), theirs = zip(*pairs, strict=True)
    try:
        for each in theirs:
            each.set_inheritable(True)
        numbers = ", ".join(str(each.fileno()) for each in theirs)
        kind = "notify" if mode in ("auto", "notify", "full") and sys.platform == "linux" else "none"
        code = f"import sys; sys.path.append({str(INSIDE)!r}); import tracer; tracer.main({numbers}, {kind!r})"
        # Inside another run: what is started here is ours, and that run leaves it to us.
        variables = {**os.environ, "BIS_INSIDE": ""}
        pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-E", "-c", code], variables)
    finally:
        for each in theirs:
            each.close()
    return Tracer(pid, control, begin, guard, mode)


def _send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    data = json.dumps(message).encode() + b"\n"
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with contextlib.suppress(BrokenPipeError):  # that the other side is gone is seen when its answer is missing
        if rest := data[channel.sendmsg([data], ancillary) :]:
            channel.sendall(rest)


# Reading


def finish(
    scratch: Path,
    facts: dict[str, Any],
    *,
    mode: str,
    since_ns: int,
    roots: tuple[Path, ...],
    events: Path | None,
    lost: str = "",
) -> Trace:
    """The Trace of a command that began at `since_ns` and has ended, from what was written below `scratch`, and where
    no system calls were traced from what the hooks wrote into `events`.

    `facts`: the tracer's; `lost`: why the record is known to be cut short.
    """
    gathered = _Gathered(scratch)
    whole = gathered.read(scratch / FILE)
    limits = [] if whole else [lost or "the tracer ended before the command did: what came after is not known"]
    if mode == "off":
        return Trace(mechanism="none", complete=False, limits=("nothing was traced, as asked for", *gathered.limits))
    if facts.get("mechanism") == "notify":
        if mode == "full":
            from bis.steps import strace

            gathered.absent(strace.absences(scratch / strace.FILE), roots)
        return Trace(
            mechanism="strace" if mode == "full" else "notify",
            complete=whole and not lost and not gathered.blind,
            since_ns=since_ns,
            limits=(*limits, *gathered.limits),
            accesses=gathered.accesses(),
            processes=tuple(gathered.processes),
            connections=tuple(sorted(gathered.connections)),
        )
    if "why" in facts:
        limits.append(f"system calls could not be traced: {facts['why']}")
    told = _told(scratch, mode, since_ns, events)
    return Trace(
        mechanism="strace" if mode == "full" else "audit",
        complete=False,
        since_ns=since_ns,
        limits=(*limits, *gathered.limits, *(UNSEEN_AFTERWARDS if mode == "full" else UNSEEN_INSIDE)),
        accesses=tuple(told.accesses()) if told else (),
        processes=tuple(told.processes) if told else (),
        connections=tuple(sorted(told.connections)) if told else (),
    )


def _told(scratch: Path, mode: str, since_ns: int, events: Path | None) -> Told | Heard | None:
    """What stands in for the notifications."""
    if mode == "full":
        from bis.steps import strace

        return strace.Told(scratch / strace.FILE, since_ns)
    return Heard(events, since_ns) if events else None


class _Seen:
    """What is known of one path while the record is read."""

    __slots__ = ("before", "letters", "preimage")

    def __init__(self) -> None:
        self.letters = ""
        self.before: Stat | None = None
        self.preimage = ""


class _Gathered:
    def __init__(self, scratch: Path) -> None:
        self.preimages = scratch / PREIMAGES
        self.seen: dict[bytes, _Seen] = {}
        self.names: dict[bytes, dict[bytes, None]] = {}
        """Folder -> the paths in it, of the first `filed` of `seen` and the folders above them."""
        self.filed = 0
        self.processes: list[Process] = []
        self.connections: set[str] = set()
        self.limits: list[str] = []
        self.blind = False

    def read(self, file: Path) -> bool:
        """Fold the tracer's record; True when it has an end."""
        whole = False
        for line in _lines(file):
            kind, rest = line[:1], line[2:]
            if kind == b"A":
                self._access(rest)
            elif kind == b"P":
                fields = json.loads(rest)
                self.processes.append(_process(fields["pid"], fields["parent"], fields["executable"], fields["argv"]))
            elif kind == b"M":
                fields = json.loads(rest)
                self._folder_moved(os.fsencode(fields["from"]), os.fsencode(fields["to"]))
            elif kind == b"C":
                self.connections.add(spell(rest))
            elif kind == b"L":
                self.limits.append(spell(rest))
                self.blind = self.blind or not rest.startswith((b"what ", b"only the first"))
            elif kind == b"E":
                whole = True
                left = json.loads(rest)["left"]
                if left:
                    self.blind = True
                    names = ", ".join(f"{name} ({pid})" for pid, name in left[:5])
                    many = "a process" if len(left) == 1 else f"{len(left)} processes"
                    self.limits.append(f"{many} went on after the command ended, unseen: {names}")
        return whole

    def _access(self, rest: bytes) -> None:
        letters, before, preimage, path = rest.split(b" ", 3)
        seen = self.seen.get(path)
        if seen is None:
            seen = self.seen[path] = _Seen()
            if before != b"-":
                seen.before = Stat(*map(int, before.split(b",")))
        if letters != b"-":
            seen.letters += "".join(letter for letter in letters.decode() if letter not in seen.letters)
        if preimage != b"-" and not seen.preimage:
            seen.preimage = str(self.preimages / preimage.decode())

    def _folder_moved(self, source: bytes, target: bytes) -> None:
        """All that lay below the source lies below the target now."""
        for path in self._below(source):
            self._mark(path, "m")
            self._mark(target + path[len(source) :], "n")
        for folder, _folders, files in os.walk(target):
            for name in files:
                path = folder + b"/" + name
                self._mark(path, "n")
                self._mark(source + path[len(target) :], "m")

    def _below(self, folder: bytes) -> list[bytes]:
        """The seen paths below a folder. What lies where is written down at the first move, as few runs have one."""
        for path in itertools.islice(self.seen, self.filed, None):
            while (parent := path.rpartition(b"/")[0]) and path not in (inside := self.names.setdefault(parent, {})):
                inside[path] = None
                path = parent
        self.filed = len(self.seen)
        found, ahead = list[bytes](), [folder]
        while ahead:
            inside = self.names.get(ahead.pop(), {})
            found += (path for path in inside if path in self.seen)
            ahead += inside
        return found

    def _mark(self, path: bytes, letter: str) -> None:
        seen = self.seen.setdefault(path, _Seen())
        if letter not in seen.letters:
            seen.letters += letter

    def absent(self, paths: Iterable[bytes], roots: tuple[Path, ...]) -> None:
        """Files that were looked for, below the roots, and were not there."""
        below = tuple(os.fsencode(os.path.realpath(root)) + b"/" for root in roots)
        for path in paths:
            if path.startswith(below) and path not in self.seen:
                self._mark(path, "a")

    def accesses(self) -> tuple[Access, ...]:
        return tuple(
            Access(path=spell(path), how=seen.letters, before=seen.before, preimage=spell(seen.preimage))
            for path, seen in sorted(self.seen.items())
            if seen.letters
        )


def _process(pid: int, parent: int, executable: str, argv: list[str]) -> Process:
    return Process(pid=pid, parent=parent, executable=spell(executable), argv=tuple(map(spell, argv)))


def _lines(file: Path) -> Iterator[bytes]:
    """The whole lines of a record, in bounded memory. A last one that was cut short is left out."""
    try:
        source = file.open("rb")
    except FileNotFoundError:
        return
    with source:
        rest = b""
        while block := source.read(1 << 20):
            *lines, rest = (rest + block).split(b"\0")
            yield from lines


def last_words(scratch: Path) -> str:
    """What a tracer that failed said last."""
    try:
        words = (scratch / "tracer-said").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    return words.rpartition("\n")[2]


def is_watched(scratch: Path) -> bool:
    """Whether a tracer still writes this record."""
    try:
        with (scratch / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
