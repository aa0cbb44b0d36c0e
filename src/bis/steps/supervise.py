"""Supervise: what this process does while a command runs. It moves the output, passes signals on, and hears from the
tracer how the command ended."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import readable, spell
from bis.errors import BisError, Failure, NotFound, UsageError, explains
from bis.steps.feed import Fed, Feeder, let_go
from bis.steps.relay import PIPE_ROOM, Keys, Stream
from bis.steps.samples import Sampler
from bis.steps.terminal import (
    END_OF_INPUT,
    ENDING,
    INTERRUPT,
    STDIN,
    SUSPEND,
    Pty,
    Raw,
    Screen,
    Signals,
    controls,
    screen_here,
)
from bis.steps.trace import Tracer


class Stdin(msgspec.Struct, frozen=True, kw_only=True):
    """What a command has as standard input."""

    file: Path | None = None
    """None: what bis itself has."""
    piped: bool = False
    """Through a pipe that is kept."""
    limit: int = 1 << 30
    """Bytes of a pipe that are kept."""


CANNOT_EXECUTE = explains("B126", "The command is there, but the operating system cannot execute it.")
NO_COMMAND = explains("B127", "The command was looked for in PATH and is not there.")
NO_FOLDER = explains("B128", "The folder that the command is to run in is not there, or may not be entered.")

GRACE = 2.0
"""Seconds that children may hold the output open after the command has ended."""
QUIET_GRACE = 0.3
"""The same for children that hold nothing of ours."""
LAST_WORDS = 0.2
SAME_SIGNAL = 0.1
"""Seconds within which a signal that comes twice was sent to the process and to its group."""
NO_KEYS = re.compile(rb"[\x03\x1a]|\x1b\[[0-9;?]*[A-Za-z]")
"""What ends or stops a command, and what a terminal answers by itself: nothing that it would read as input."""
FILES = {"o": "stdout", "e": "stderr"}
LINES, SAMPLES = "lines", "samples"


class Supervision:
    """One command while it runs."""

    def __init__(
        self,
        tracer: Tracer,
        scratch: Path,
        quiet: bool,
        screen: Screen | None,
        stdin: Stdin = Stdin(),  # noqa: B008
    ) -> None:
        self._from = stdin
        self._feeder: Feeder | None = None
        self.fed: Fed | None = None
        """What the command read of a pipe."""
        self.keys_typed = 0
        self.tracer = tracer
        self.scratch = scratch
        self.child = 0
        self.ended: dict[str, Any] | None = None
        """How the command ended, once it has."""
        self.done: dict[str, Any] | None = None
        """The tracer's last word: the same, and what all children used."""
        self.tracer_alive = True
        self.failures: list[str] = []
        self.sampler: Sampler | None = None
        self.streams: list[Stream] = []
        here = Screen() if quiet else screen_here()
        self.screen = screen if screen is not None else here
        self._onward = not quiet
        self._pty = Pty(self.screen, like_ours=not quiet) if self.screen.any else None
        self._interactive = self._pty is not None and here.stdin and self.screen.stdin
        self._shared_group = self._pty is None and controls()
        self._signals = Signals(self._deliver, self._wanted_signals())
        self._leader = 0
        """The leader of the command's session, a process of ours."""
        self._interrupts = 0
        self._typed_interrupt = False
        self._last_signal = (0, 0.0)
        self._keys: Keys | None = None
        self._next_end = 0.0
        """When to say again at a terminal where nobody types that there is no more."""
        self._raw = Raw()
        self._index = -1
        self._given: list[int] = []
        """Descriptors that are the command's alone, once it has started."""

    def _wanted_signals(self) -> set[signal.Signals]:
        numbers = {*ENDING, signal.SIGCONT}
        if self._pty is not None:
            numbers.add(signal.SIGWINCH)
        if not self._shared_group:
            numbers.add(signal.SIGTSTP)
        return numbers

    def run(
        self,
        command: list[str],
        folder: Path,
        variables: dict[str, str],
        order: dict[str, Any],
        on_start: Callable[[int], None] | None,
    ) -> None:
        """From the start of the command to its end. Raises when it could not be started."""
        with self._signals:
            self._start(command, folder, variables, order)
            self.sampler = Sampler(self.tracer.pid, self.scratch / SAMPLES, without=self._leader)
            self.sampler.start()
            try:
                if on_start is not None:
                    on_start(self.child)
                if self._interactive:
                    self._raw.enter()
                self._attend()
            except Exception as error:
                # What bis cannot do is no reason to end a training.
                self.failures.append(f"bis failed while the command ran: {error!r}")
                self.tracer.leave_output_to_guard()
                self._wait_for_the_end()
            finally:
                self._raw.leave()

    # Starting

    def _start(self, command: list[str], folder: Path, variables: dict[str, str], order: dict[str, Any]) -> None:
        self.child = leader = int(self.tracer.facts["pid"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._index = os.open(self.scratch / LINES, flags, 0o600)
        inputs = self._wire()
        report, theirs = os.pipe()
        self._given.append(theirs)
        group = os.getpgrp() if self._shared_group else None
        self.tracer.watch({**order, "leads": self._pty is not None})
        self.tracer.keep_output(self.scratch, {each.letter: each.source for each in self.streams}, group)
        self.tracer.begin(
            {
                "folder": str(folder),
                "command": command,
                "variables": variables,
                "group": group or 0,
                "umask": _umask(),
            },
            [*inputs, theirs, *([self._pty.slave] if self._pty else [])],
        )
        self._let_go()
        with os.fdopen(report, "rb") as answer:
            said: dict[str, Any] = {}
            for line in answer:
                said.update(json.loads(line))
        self.child = int(said.get("pid", leader))
        self._leader = leader if leader != self.child else 0
        self.tracer.name_child(self.child)
        if "errno" in said:
            raise not_started(said, command, folder, variables)

    def _wire(self) -> list[int]:
        """The command's stdin, stdout and stderr; this side's ends become streams."""
        terminal = self._pty.slave if self._pty else -1
        inputs = [terminal if self._pty and self.screen.stdin else self._stdin()]
        taken = False
        for letter, number, wanted in (("o", 1, self.screen.stdout), ("e", 2, self.screen.stderr)):
            onward = number if self._onward and _is_open(number) else None
            if self._pty and wanted:
                inputs.append(terminal)
                if taken:
                    (self.scratch / FILES[letter]).write_bytes(b"")
                else:
                    self._stream(letter, self._pty.master, onward)
                taken = True
            else:
                source, target = os.pipe()
                self._given.append(target)
                inputs.append(target)
                self._stream(letter, source, onward)
        if self._pty and self._alone:
            os.set_blocking(self._pty.master, False)
        if self._interactive and self._pty:
            self._keys = Keys(STDIN, self._pty.master)
        return inputs

    @property
    def _alone(self) -> bool:
        """Whether the command has a terminal to read from at which nobody sits, as in a repeat."""
        return self._pty is not None and self.screen.stdin and self._from.file is not None

    def _stdin(self) -> int:
        if self._from.file is None and _is_open(STDIN):
            return self._fed_by(STDIN) if self._from.piped else STDIN
        source = os.open(self._from.file or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._given.append(source)
        return self._fed_by(source) if self._from.piped else source

    def _fed_by(self, source: int) -> int:
        self._feeder = Feeder(source, self.scratch, self._from.limit)
        self._given.append(self._feeder.theirs)
        if source == STDIN:
            let_go()
        self._feeder.wait_until_ready()
        return self._feeder.theirs

    def _stream(self, letter: str, source: int, onward: int | None) -> None:
        self.streams.append(Stream(letter, source, self.scratch / FILES[letter], onward))

    def _let_go(self) -> None:
        for number in self._given:
            os.close(number)
        self._given.clear()
        if self._pty:
            self._pty.close_slave()

    # While it runs

    def _attend(self) -> None:
        quiet_deadline = deadline = 0.0
        while True:
            moved = self._step(self._patience())
            if self.ended is None:
                if not self.tracer_alive:
                    self._ask_the_kernel()
                continue
            now = time.monotonic()
            if not deadline:
                deadline, quiet_deadline = now + GRACE, now + QUIET_GRACE
            over = self.done is not None or not self.tracer_alive
            if any(stream.open for stream in self.streams):
                if (over and not moved) or now > deadline:
                    break
            elif over or now > quiet_deadline:
                break
        self._wait_for_the_end()
        self._take_the_rest()

    def _patience(self) -> float:
        """Seconds to wait for something to happen."""
        if self.done is not None:
            return LAST_WORDS if any(stream.open for stream in self.streams) else 0.0
        return 0.1 if self.ended or not self.tracer_alive else 1.0

    def _step(self, waiting: float) -> bool:
        """Wait for something to do and do it; whether output moved."""
        if self._alone and time.monotonic() >= self._next_end:
            self._say_no_more()
        poll = select.poll()
        streams = {stream.source: stream for stream in self.streams if stream.open}
        for number in streams:
            poll.register(number, select.POLLIN)
        if self.tracer_alive and self.done is None:
            poll.register(self.tracer.control, select.POLLIN)
        if self._keys is not None and self._raw.active:
            if self._keys.pending:
                poll.register(self._keys.target, select.POLLIN | select.POLLOUT)
            elif self._keys.open:
                poll.register(self._keys.source, select.POLLIN)
        moved = False
        for number, events in poll.poll(int(waiting * 1000)):
            if number in streams:
                if events & ~select.POLLOUT:
                    moved = streams[number].take(self._index) or moved
                if events & select.POLLOUT and self._keys:
                    self._keys.give()
            elif number == self.tracer.control.fileno():
                self._hear()
            elif self._keys is not None:
                self._typed(self._keys.take())
        return moved

    def _say_no_more(self) -> None:
        """Ctrl-D, each second: a command that asks is answered with the end of input, and does not wait for ever."""
        self._next_end = time.monotonic() + 1.0
        if self._pty and self.ended is None:
            with contextlib.suppress(OSError):
                os.write(self._pty.master, bytes([END_OF_INPUT]))

    def _hear(self) -> None:
        """The next message of the tracer, or that it is gone."""
        message = self.tracer.receive()
        if message is None:
            self.tracer_alive = False
        while message is not None:
            self.ended = message.get("ended", self.ended)
            self.done = message.get("done", self.done)
            message = self.tracer.receive() if self.tracer.has_message else None

    def _ask_the_kernel(self) -> None:
        """The tracer was killed. The command has become our child, where the kernel can do that."""
        now = {"time_ns": time.time_ns()}
        try:
            pid, status = os.waitpid(self.child, os.WNOHANG)
        except ChildProcessError:
            if _is_running(self.child):
                time.sleep(0.05)
                return
            self.failures.append("the tracer was killed, and with it the knowledge of how the command ended")
            self.ended = {"exit": None, "signal": None, **now}
            return
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self.ended = {"exit": code if code >= 0 else None, "signal": -code if code < 0 else None, **now}

    def _wait_for_the_end(self) -> None:
        """Hear the tracer out. If the command has ended, what it has left behind is not waited for."""
        if self.ended is not None and self.done is None and self.tracer_alive:
            self.tracer.stop()
        while self.tracer_alive and self.done is None:
            self._hear()
        while self.ended is None:
            self._ask_the_kernel()
            time.sleep(0.05)

    def _take_the_rest(self) -> None:
        """What was written before the end of the tracer belongs to the command; a pipe holds no more than that."""
        for stream in self.streams:
            limit = stream.offset + PIPE_ROOM
            while stream.open and stream.offset < limit and _has_data(stream.source):
                stream.take(self._index)

    # Signals and keys

    @property
    def interrupted(self) -> bool:
        """Whether a person, or the system, wanted the command to end."""
        ended = self.ended or {}
        return self._interrupts > 0 or (self._typed_interrupt and ended.get("exit") != 0)

    def _deliver(self, number: int) -> None:
        if number == signal.SIGWINCH and self._pty:
            self._pty.follow()
        elif number == signal.SIGCONT:
            self._woken()
        elif number == signal.SIGTSTP:
            self._suspend()
        elif number in ENDING:
            self._interrupt(number)

    def _interrupt(self, number: int) -> None:
        """Pass a signal on. A person who repeats it means it more."""
        now = time.monotonic()
        if self._last_signal[0] == number and now - self._last_signal[1] < SAME_SIGNAL:
            return
        self._last_signal = (number, now)
        if self.ended is not None:
            for stream in self.streams:
                stream.silence()  # nobody wants to see the rest
            return
        self._interrupts += 1
        if number == signal.SIGINT and self._interrupts == 2:
            number = signal.SIGTERM
        elif number == signal.SIGINT and self._interrupts > 2:
            number = signal.SIGKILL
        elif self._shared_group and self.tracer.group_heard(number):
            return
        with contextlib.suppress(OSError):
            if self._pty and number in (signal.SIGINT, signal.SIGQUIT):
                # Typed at a terminal that is not ours to read: it would have gone to all of the group.
                os.killpg(self._pty.foreground() or self.child, number)
            else:
                os.kill(self.child, number)

    def _typed(self, data: bytes) -> None:
        assert self._keys is not None
        self.keys_typed += len(NO_KEYS.sub(b"", data))
        signals = self._pty is not None and self._pty.makes_signals()
        if signals and INTERRUPT in data:
            self._typed_interrupt = True
        if signals and SUSPEND in data:
            self._keys.pending = self._keys.pending.replace(bytes([SUSPEND]), b"")
            self._suspend()
        if self._keys.pending:
            self._keys.give()

    def _suspend(self) -> None:
        """Stop the command and this process, as the shell expects; go on with both when it says so."""
        group = (self._pty.foreground() if self._pty else 0) or self.child
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGSTOP)
        self._raw.leave()
        self._signals.stop_here()
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGCONT)
        self._woken()

    def _woken(self) -> None:
        if self._interactive and self.sampler is not None:
            self._raw.enter()
        if self._pty:
            self._pty.follow()

    def close(self) -> None:
        """Let go of everything. The files stay."""
        if self.sampler is not None:
            self.sampler.stop()
        self._let_go()
        if self._feeder is not None:
            self.fed = self._feeder.ask()
        for stream in self.streams:
            stream.close()
            if self._pty is None or stream.source != self._pty.master:
                os.close(stream.source)
            if stream.trouble:
                self.failures.append(stream.trouble)
        if self._pty:
            self._pty.close()
        if self._index >= 0:
            os.close(self._index)


def _umask() -> int:
    """This process' mask, without changing it where that can be avoided: threads may be making files."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        status = Path("/proc/self/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _has_data(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return any(events & select.POLLIN for _number, events in poll.poll(0))


def must_be_there(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
    """Raises what the start of a command would raise that is not there, before anything is said of it."""
    name = command[0]
    places = [""] if "/" in name else (variables.get("PATH") or os.defpath).split(os.pathsep)
    if folder.is_dir() and not any(os.path.lexists(folder / place / name) for place in places):
        raise not_started({"errno": errno.ENOENT, "step": "exec"}, [*command], folder, {**variables})


def not_started(trouble: dict[str, Any], command: list[str], folder: Path, variables: dict[str, str]) -> BisError:
    """Why a command could not be started, for the person who typed it."""
    number, name = int(trouble["errno"]), command[0]
    shown, reason = readable(spell(name)), os.strerror(number)
    if trouble["step"] == "folder":
        what = f"the folder {readable(spell(str(folder)))} cannot be entered: {reason}"
        return NotFound(what, hint="cd to a folder that is there, and bis run again", code=NO_FOLDER)
    file = folder / name
    if number in (errno.ENOENT, errno.ENOTDIR):
        because = f"PATH is {variables.get('PATH', os.defpath)}"
        if "/" in name:
            because = "the file is there; the interpreter that its first line names is not" if file.exists() else ""
        elif file.is_file():
            because = f"there is a file of that name in {readable(spell(str(folder)))}, which is not in PATH"
        return NotFound(f"there is no command {shown}", because=because, hint=_how_to_run(name, file), code=NO_COMMAND)
    if number in (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.ELIBBAD, errno.EPERM):
        hint = _how_to_run(name, file)
        return UsageError(f"{shown} cannot be executed: {reason}", hint=hint, code=CANNOT_EXECUTE)
    return Failure(f"{shown} could not be started: {reason}")


def _how_to_run(name: str, file: Path) -> str:
    shown = readable(spell(name))
    if file.is_file():
        if name.endswith(".py"):
            return f"bis run -- python {shown}"
        if name.endswith(".sh"):
            return f"bis run -- sh {shown}"
        if name.endswith(".ipynb"):
            return f"bis run {shown}"
        return f"chmod +x {shown}" if "/" in name else f"bis run -- ./{shown}"
    return "bis run -- python SCRIPT"
