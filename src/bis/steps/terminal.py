"""Terminal: the user's, the one the command is given, and the signals that arrive meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import msgspec

STDIN, STDOUT, STDERR = 0, 1, 2
INTERRUPT, END_OF_INPUT, SUSPEND = 3, 4, 26
"""What Ctrl-C, Ctrl-D and Ctrl-Z are in a raw terminal."""
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Signals by which a person, or a system that shuts down, ends a command."""


class Screen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which of its streams the command has on a terminal, and how large that is."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    rows: int = 24
    columns: int = 80

    @property
    def any(self) -> bool:
        return self.stdout or self.stderr


def screen_here() -> Screen:
    """What bis itself was given."""
    onto = {name: _is_terminal(number) for number, name in enumerate(("stdin", "stdout", "stderr"))}
    rows, columns = next((_size(number) for number in (1, 2, 0) if _is_terminal(number)), (24, 80))
    return Screen(**onto, rows=rows or 24, columns=columns or 80)


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _size(number: int) -> tuple[int, int]:
    try:
        rows, columns = struct.unpack("HHHH", fcntl.ioctl(number, termios.TIOCGWINSZ, bytes(8)))[:2]
    except OSError:
        return 0, 0
    return rows, columns


class Pty:
    """A terminal for the command, as large as `screen` says; `like_ours`: set as the user's is."""

    def __init__(self, screen: Screen, like_ours: bool) -> None:
        self.master, self.slave = os.openpty()
        self.resize(screen.rows, screen.columns)
        for number in (STDIN, STDOUT, STDERR) if like_ours else ():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.slave, termios.TCSANOW, termios.tcgetattr(number))
                break

    def resize(self, rows: int, columns: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def follow(self) -> None:
        """Take over the size of the user's terminal."""
        here = screen_here()
        self.resize(here.rows, here.columns)

    def makes_signals(self) -> bool:
        """Whether a Ctrl-C typed now interrupts, rather than being read."""
        try:
            return bool(termios.tcgetattr(self.master)[3] & termios.ISIG)
        except termios.error:
            return False

    def foreground(self) -> int:
        """The process group that a Ctrl-C goes to; 0 when there is none."""
        try:
            return os.tcgetpgrp(self.master)
        except OSError:
            return 0

    def close_slave(self) -> None:
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def close(self) -> None:
        self.close_slave()
        os.close(self.master)


class Raw:
    """The user's terminal, passing every key through. Restored on the way out, whatever happens."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def enter(self) -> None:
        """Does nothing in the background: to change the terminal from there would stop us."""
        if self._before is not None or not is_foreground(STDIN):
            return
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(STDIN)
            tty.setraw(STDIN, termios.TCSADRAIN)

    def leave(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSADRAIN, before)

    @property
    def active(self) -> bool:
        return self._before is not None


def is_foreground(number: int) -> bool:
    """Whether this terminal is ours to read from and to be interrupted by."""
    try:
        return os.tcgetpgrp(number) == os.getpgrp()
    except OSError:
        return False


def controls() -> bool:
    """Whether some terminal sends its signals to our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_foreground(terminal)
    finally:
        os.close(terminal)


class Signals:
    """While it is open, signals do not end this process: each is handed to `deliver`, at once, even while a write
    blocks. What this process was started to ignore (`nohup`) stays ignored, here and in the command."""

    def __init__(self, deliver: Callable[[int], None], numbers: Iterable[signal.Signals]) -> None:
        self._deliver = deliver
        self._numbers = frozenset(numbers)
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, lambda number, _frame: self._deliver(number))
        return self

    def stop_here(self) -> None:
        """Stop this process, as Ctrl-Z does; returns when it is continued."""
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
