"""Execute: run a command under supervision, and leave a truthful account of it whatever happens.

Three things go on at once: the tracer (`steps/trace.py`, a process) is the command's parent and records what is
opened; this process moves the output (`steps/relay.py`) and passes signals on; a thread takes samples
(`steps/samples.py`). If this process is killed, the command goes on, and `recover` reads what was left.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import readable, spell
from bis.errors import BisError, Failure, NotFound, UsageError, explains
from bis.nouns.run import Usage
from bis.nouns.trace import Trace
from bis.steps import trace as tracing_step
from bis.steps.relay import Keys, Stream
from bis.steps.samples import Sampler, started_at
from bis.steps.terminal import ENDING, INTERRUPT, STDIN, SUSPEND, Pty, Raw, Screen, Signals, controls, screen_here
from bis.steps.trace import Tracer

CANNOT_EXECUTE = explains("B126", "The command is there, but the operating system cannot execute it.")
NO_COMMAND = explains("B127", "The command was looked for in PATH and is not there.")
NO_FOLDER = explains("B128", "The folder that the command is to run in is not there, or may not be entered.")

GRACE = 2.0
"""Seconds that children may hold the output open after the command has ended."""
QUIET_GRACE = 0.3
"""The same for children that hold nothing of ours."""
LAST_WORDS = 0.2
ORDER, END, SAMPLES = "order.json", "end.json", "samples.csv"
MACHINE_STATUS = {"o": "stdout", "e": "stderr"}


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a command, as it went."""

    started: str
    ended: str
    seconds: float
    exit: int | None
    """None when a signal ended it, or when nobody is left who could know."""
    signal: int | None
    trace: Trace
    usage: Usage
    samples_csv: Path | None
    stdout: Path
    """Raw bytes as produced. On a terminal both outputs are one, and `stderr` is empty."""
    stderr: Path
    lines: Path
    """When output came: a line `TIME_NS LETTER OFFSET` for each chunk, letter `o` or `e`."""
    interrupted: bool
    failure: str
    """What bis could not do or could not learn; empty when all is known."""
    screen: Screen = Screen()
    """Which streams were terminals, for a repeat that gives the same."""
    left: tuple[str, ...] = ()
    """Processes that went on after the command ended: `name (pid)`."""


def prepare(tracing: str = "auto") -> Tracer:
    """Start what will be the command's parent, so that its start overlaps with other work."""
    return tracing_step.start(tracing)


def execute(
    command: Sequence[str],
    *,
    folder: Path,
    variables: dict[str, str],
    scratch: Path,
    tracing: str = "auto",
    roots: tuple[Path, ...] = (),
    preimage_limit: int = 256 << 20,
    heartbeat: Path | None = None,
    wrapper: tuple[str, ...] = (),
    on_start: Callable[[int], None] | None = None,
    quiet: bool = False,
    screen: Screen | None = None,
    tracer: Tracer | None = None,
) -> Execution:
    """Run a command to its end.

    `roots`: folders below which absences are recorded and overwritten files kept. `wrapper`: a command that ends by
    executing the given one, and is not part of the trace. `quiet`: nothing of the output is passed on. `screen`: give
    the command terminals as it says, instead of what bis itself has. `tracer`: one from `prepare`; it is used up.
    Raises UsageError or NotFound when the command could not be started at all; nothing is left behind then.
    """
    with tracer or prepare(tracing) as ours:
        scratch.mkdir(parents=True, exist_ok=True)
        supervision = _Supervision(ours, scratch, quiet, screen)
        try:
            order = {
                "scratch": str(scratch),
                "roots": [os.path.realpath(root) for root in roots],
                "preimage_limit": preimage_limit,
                "command": list(command) if wrapper else None,
                "heartbeat": str(heartbeat) if heartbeat else None,
            }
            supervision.start([*wrapper, *command], folder, variables, order, heartbeat)
            if on_start is not None:
                on_start(supervision.child)
            supervision.attend()
        finally:
            supervision.close()
        return supervision.account(variables.get("BIS_INSIDE"))


class _Supervision:
    """One command while it runs."""

    def __init__(self, tracer: Tracer, scratch: Path, quiet: bool, screen: Screen | None) -> None:
        self.tracer = tracer
        self.scratch = scratch
        self.child = 0
        self.started_ns = 0
        self.began = 0.0
        self.ended: dict[str, Any] | None = None
        self.done: dict[str, Any] | None = None
        self.tracer_alive = True
        self.failure: list[str] = []
        self.interrupts = 0
        self.typed_interrupt = False
        self.last_signal = (0, 0.0)
        self.shared_group = False
        self.sampler: Sampler | None = None
        self.index = -1
        self.streams: list[Stream] = []
        self.keys: Keys | None = None
        self.raw = Raw()
        self.closing: list[int] = []
        """Descriptors that are the command's, once it has started."""
        here = Screen() if quiet else screen_here()
        self.screen = screen if screen is not None else here
        self.pty = Pty(self.screen) if self.screen.any else None
        self.passes_on = not quiet
        self.interactive = self.pty is not None and not quiet and here.stdin and self.screen.stdin

    # Starting

    def start(
        self,
        command: list[str],
        folder: Path,
        variables: dict[str, str],
        order: dict[str, Any],
        heartbeat: Path | None,
    ) -> None:
        self.child = int(self.tracer.facts["pid"])
        self.index = os.open(
            self.scratch / "lines", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        inputs = self._wire()
        report, theirs = os.pipe()
        self.closing.append(theirs)
        self.shared_group = self.pty is None and controls()
        self.started_ns, self.began = time.time_ns(), time.monotonic()
        self._write_order(command, folder)
        self.tracer.watch(order)
        self.tracer.keep_output(self.scratch, self._sources(), os.getpgrp() if self.shared_group else None)
        self.tracer.begin(
            {
                "folder": str(folder),
                "command": command,
                "variables": variables,
                "group": os.getpgrp() if self.shared_group else 0,
            },
            [*inputs, theirs, *([self.pty.slave] if self.pty else [])],
        )
        for number in self.closing:
            os.close(number)
        self.closing.clear()
        if self.pty:
            self.pty.close_slave()
        with os.fdopen(report, "rb") as answer:
            trouble = answer.read()
        if trouble:
            raise _not_started(json.loads(trouble), command, folder, variables)
        self.sampler = Sampler(self.tracer.pid, self.scratch / SAMPLES, heartbeat)
        self.sampler.start()

    def _wire(self) -> list[int]:
        """The command's stdin, stdout and stderr; this side's ends become streams."""
        inputs = [self.pty.slave if self.pty and self.screen.stdin and self.interactive else self._stdin()]
        for letter, number, wanted in (("o", 1, self.screen.stdout), ("e", 2, self.screen.stderr)):
            onward = number if self.passes_on and _is_open(number) else None
            if self.pty and wanted:
                inputs.append(self.pty.slave)
                if not any(stream.source == self.pty.master for stream in self.streams):
                    self._stream(letter, self.pty.master, onward)
                    continue
            else:
                source, target = os.pipe()
                self.closing.append(target)
                inputs.append(target)
                self._stream(letter, source, onward)
                continue
            (self.scratch / MACHINE_STATUS[letter]).write_bytes(b"")
        if self.interactive and self.pty:
            self.keys = Keys(STDIN, self.pty.master)
        return inputs

    def _stdin(self) -> int:
        if _is_open(STDIN):
            return STDIN
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.closing.append(null)
        return null

    def _stream(self, letter: str, source: int, onward: int | None) -> None:
        self.streams.append(Stream(letter, source, self.scratch / MACHINE_STATUS[letter], onward))

    def _sources(self) -> dict[str, int]:
        return {stream.letter: stream.source for stream in self.streams}

    def _write_order(self, command: list[str], folder: Path) -> None:
        """What `recover` needs if this process does not come to the end."""
        (self.scratch / ORDER).write_text(
            json.dumps(
                {
                    "command": command,
                    "folder": str(folder),
                    "started_ns": self.started_ns,
                    "mode": self.tracer.mode,
                    "facts": self.tracer.facts,
                    "screen": msgspec.to_builtins(self.screen),
                    "supervisor": {"pid": os.getpid(), "started": started_at(os.getpid())},
                }
            )
        )

    # While it runs

    def attend(self) -> None:
        """Move output, pass signals on, and wait for the end."""
        numbers = {*ENDING, signal.SIGCONT}
        if self.pty is not None:
            numbers.add(signal.SIGWINCH)
        if not self.shared_group:
            numbers.add(signal.SIGTSTP)
        self.signals = Signals(self._deliver, numbers)
        with self.signals:
            if self.interactive:
                self.raw.enter()
            try:
                self._loop()
            finally:
                self.raw.leave()

    def _loop(self) -> None:
        deadline = None
        while True:
            waiting = 0.1 if self.ended or not self.tracer_alive else 1.0
            if self.done is not None:
                waiting = 0.0 if not any(stream.open for stream in self.streams) else LAST_WORDS
            moved = self._step(waiting)
            if self.ended is None:
                if not self.tracer_alive:
                    self._ask_the_kernel()
                continue
            if deadline is None:
                deadline = time.monotonic() + GRACE
                quiet_deadline = time.monotonic() + QUIET_GRACE
            if not any(stream.open for stream in self.streams):
                if self.done is not None or not self.tracer_alive or time.monotonic() > quiet_deadline:
                    break
            elif (self.done is not None and not moved) or time.monotonic() > deadline:
                break
        self._finish_tracer()

    def _step(self, waiting: float) -> bool:
        """Wait for something to do and do it; whether output moved."""
        poll = select.poll()
        by_number = {stream.source: stream for stream in self.streams if stream.open}
        for number in by_number:
            poll.register(number, select.POLLIN)
        if self.tracer_alive and self.done is None:
            poll.register(self.tracer.control, select.POLLIN)
        if self.keys is not None and self.raw.active:
            if self.keys.pending:
                poll.register(self.keys.target, select.POLLIN | select.POLLOUT)
            elif self.keys.open:
                poll.register(self.keys.source, select.POLLIN)
        moved = False
        for number, events in poll.poll(int(waiting * 1000)):
            if number in by_number:
                if events & ~select.POLLOUT:
                    moved = by_number[number].take(self.index) or moved
                if events & select.POLLOUT and self.keys:
                    self.keys.give()
            elif number == self.tracer.control.fileno():
                self._hear()
            elif self.keys is not None:
                self._typed(self.keys.take())
        return moved

    def _hear(self) -> None:
        message = self.tracer.receive()
        while message is not None:
            self.ended = message.get("ended", self.ended)
            self.done = message.get("done", self.done)
            if not self.tracer.has_message:
                return
            message = self.tracer.receive()
        self.tracer_alive = False

    def _ask_the_kernel(self) -> None:
        """The tracer was killed. The command has become our child, if the kernel can do that."""
        try:
            pid, status = os.waitpid(self.child, os.WNOHANG)
        except ChildProcessError:
            if not os.path.exists(f"/proc/{self.child}/stat"):
                self.failure.append("the tracer was killed, and with it the knowledge of how the command ended")
                self.ended = {"exit": None, "signal": None, "time_ns": time.time_ns()}
            return
        if pid:
            code = os.waitstatus_to_exitcode(status)
            exit_, killed = (code, None) if code >= 0 else (None, -code)
            self.ended = {"exit": exit_, "signal": killed, "time_ns": time.time_ns()}

    def _finish_tracer(self) -> None:
        if self.tracer_alive and self.done is None:
            self.tracer.stop()
            while self.tracer_alive and self.done is None:
                self._hear()
        # What was written up to the end of the tracer is part of the record.
        for stream in self.streams:
            while stream.open and _has_data(stream.source) and stream.take(self.index):
                pass

    # Signals and keys

    def _deliver(self, number: int) -> None:
        if number == signal.SIGWINCH and self.pty:
            self.pty.follow()
        elif number == signal.SIGCONT:
            self._woken()
        elif number == signal.SIGTSTP:
            self._suspend()
        elif number in ENDING:
            self._interrupt(number)

    def _interrupt(self, number: int) -> None:
        """Pass a signal on. A person who repeats it means it more."""
        now = time.monotonic()
        if self.last_signal[0] == number and now - self.last_signal[1] < 0.1:
            return  # sent to the process and to its group
        self.last_signal = (number, now)
        self.interrupts += 1
        if self.ended is not None:
            for stream in self.streams:
                stream.silence()
            return
        if number == signal.SIGINT and self.interrupts == 2:
            number = signal.SIGTERM
        elif number == signal.SIGINT and self.interrupts > 2:
            number = signal.SIGKILL
        elif self.shared_group and self.tracer.group_heard(number):
            return
        self._send(number)

    def _send(self, number: int, group: bool = False) -> None:
        with contextlib.suppress(OSError):
            if group:
                os.killpg(self.child, number)
            else:
                os.kill(self.child, number)

    def _typed(self, data: bytes) -> None:
        assert self.keys is not None
        assert self.pty is not None
        if INTERRUPT in data and self.pty.makes_signals():
            self.typed_interrupt = True
        if SUSPEND in data and self.pty.makes_signals():
            self.keys.pending = self.keys.pending.replace(bytes([SUSPEND]), b"")
            self._suspend()
        if self.keys.pending:
            self.keys.give()

    def _suspend(self) -> None:
        """Stop the command and this process, as the shell expects; go on with both when it says so."""
        group = self.pty.foreground() if self.pty else self.child
        with contextlib.suppress(OSError):
            os.killpg(group or self.child, signal.SIGSTOP)
        self.raw.leave()
        self.signals.stop_here()
        with contextlib.suppress(OSError):
            os.killpg(group or self.child, signal.SIGCONT)
        self._woken()

    def _woken(self) -> None:
        if self.interactive:
            self.raw.enter()
        if self.pty:
            self.pty.follow()

    # The end

    def close(self) -> None:
        if self.sampler is not None:
            self.sampler.stop()
        for number in self.closing:
            os.close(number)
        for stream in self.streams:
            stream.close()
            if self.pty is None or stream.source != self.pty.master:
                os.close(stream.source)
        if self.pty:
            self.pty.close()
        if self.index >= 0:
            os.close(self.index)

    def account(self, inside: str | None) -> Execution:
        assert self.ended is not None
        lost = "" if self.tracer_alive else "the tracer was killed: what was opened after that is not known"
        self.failure += [stream.trouble for stream in self.streams if stream.trouble]
        ended = self.done or self.ended
        usage = _usage(ended, (ended["time_ns"] - self.started_ns) / 1e9, self.sampler)
        interrupted = self.interrupts > 0 or (self.typed_interrupt and ended["exit"] != 0)
        return _account(
            self.scratch,
            ended,
            self.started_ns,
            self.tracer.facts,
            self.tracer.mode,
            Path(inside) if inside else None,
            usage,
            interrupted,
            self.failure,
            self.screen,
            lost,
        )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _has_data(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return any(events & select.POLLIN for _number, events in poll.poll(0))


def _usage(ended: dict[str, Any], seconds: float, sampler: Sampler | None) -> Usage:
    sampled_peak, sampled_cpu = (sampler.peak_bytes, sampler.cpu_seconds) if sampler else (0, 0.0)
    return Usage(
        seconds=seconds,
        cpu_seconds=max(float(ended.get("cpu", 0.0)), sampled_cpu),
        peak_bytes=max(int(ended.get("peak", 0)), sampled_peak),
        read_bytes=int(ended.get("read", 0)),
        written_bytes=int(ended.get("written", 0)),
    )


def _account(
    scratch: Path,
    ended: dict[str, Any],
    started_ns: int,
    facts: dict[str, Any],
    mode: str,
    inside: Path | None,
    usage: Usage,
    interrupted: bool,
    failure: list[str],
    screen: Screen,
    lost: str,
) -> Execution:
    samples = scratch / SAMPLES
    return Execution(
        started=_written_out(started_ns),
        ended=_written_out(ended["time_ns"]),
        seconds=usage.seconds,
        exit=ended["exit"],
        signal=ended["signal"],
        trace=tracing_step.finish(scratch, facts, mode=mode, events=inside, lost=lost),
        usage=usage,
        samples_csv=samples if samples.exists() else None,
        stdout=scratch / "stdout",
        stderr=scratch / "stderr",
        lines=scratch / "lines",
        interrupted=interrupted,
        failure="; ".join(failure),
        screen=screen,
        left=tuple(f"{spell(name)} ({pid})" for pid, name in ended.get("left", ())),
    )


def _written_out(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _not_started(trouble: dict[str, Any], command: list[str], folder: Path, variables: dict[str, str]) -> BisError:
    number, shown = trouble["errno"], readable(spell(command[0]))
    reason = os.strerror(number)
    if trouble["step"] == "folder":
        return NotFound(
            f"the folder {readable(spell(str(folder)))} cannot be entered: {reason}",
            hint="bis run from a folder that is there",
            code=NO_FOLDER,
        )
    file = folder / command[0]
    if number in (errno.ENOENT, errno.ENOTDIR):
        if file.is_file() and "/" not in command[0]:
            return NotFound(
                f"there is no command {shown} in PATH, but a file of that name",
                hint=_how_to_run(command),
                code=NO_COMMAND,
            )
        because = "" if "/" in command[0] else f"PATH is {variables.get('PATH', os.defpath)}"
        if "/" in command[0] and file.exists():
            because = "the file is there; what its first line names as interpreter is not"
        return NotFound(
            f"there is no command {shown}", because=because, hint="bis run -- python SCRIPT", code=NO_COMMAND
        )
    if number in (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.ELIBBAD):
        return UsageError(f"{shown} cannot be executed: {reason}", hint=_how_to_run(command), code=CANNOT_EXECUTE)
    return Failure(f"{shown} could not be started: {reason}")


def _how_to_run(command: list[str]) -> str:
    name = command[0]
    if name.endswith(".py"):
        return f"bis run -- python {readable(spell(name))}"
    if name.endswith(".sh"):
        return f"bis run -- sh {readable(spell(name))}"
    return f"chmod +x {readable(spell(name))}"


# Afterwards


def recover(scratch: Path) -> Execution | None:
    """The account of a command whose supervisor was killed. None while it still runs, and where none was started."""
    try:
        order = json.loads((scratch / ORDER).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if tracing_step.is_watched(scratch):
        return None
    failure = ["bis was killed while the command ran"]
    try:
        ended = json.loads((scratch / END).read_text())
    except (FileNotFoundError, ValueError):
        failure.append("how the command ended is not known, as its tracer was killed too")
        ended = {"exit": None, "signal": None, "time_ns": _last_sign(scratch, order["started_ns"])}
    for name in MACHINE_STATUS.values():
        (scratch / name).touch()
    usage = _usage(ended, max(0.0, (ended["time_ns"] - order["started_ns"]) / 1e9), None)
    return _account(
        scratch,
        ended,
        order["started_ns"],
        order["facts"],
        order["mode"],
        None,
        usage,
        False,
        failure,
        msgspec.convert(order["screen"], Screen),
        "",
    )


def _last_sign(scratch: Path, started_ns: int) -> int:
    """When something was written last."""
    times = [(scratch / name).stat().st_mtime_ns for name in ("stdout", "stderr", "trace") if (scratch / name).exists()]
    return max([started_ns, *times])
