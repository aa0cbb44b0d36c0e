"""Relay: the command's output, into files first and then on to where bis' own goes; and the keys typed, to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import time
from pathlib import Path

CHUNK = 1 << 16
PIPE_ROOM = 1 << 20
AT_ONCE = 4096
"""What a pipe that is ready takes without blocking."""
INDEX_EVERY_NS = 5_000_000
"""Chunks closer together than this share an entry of the time index."""


class Stream:
    """One of the command's outputs."""

    def __init__(self, letter: str, source: int, file: Path, onward: int | None) -> None:
        self.letter = letter
        self.source = source
        self.offset = 0
        self.trouble = ""
        self.open = True
        self._onward = onward
        self._regular = onward is not None and _is_regular(onward)
        self._last_ns = -INDEX_EVERY_NS
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, PIPE_ROOM)

    def take(self, index: int) -> bool:
        """Move what is there; False at the end. It is on disk before it is passed on."""
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a terminal whose other side is closed
            data = b""
        if not data:
            self.open = False
            return False
        self._keep(data, index)
        self._pass_on(data)
        return True

    def _keep(self, data: bytes, index: int) -> None:
        now = time.time_ns()
        try:
            if now - self._last_ns >= INDEX_EVERY_NS:
                self._last_ns = now
                os.write(index, b"%d %b %d\n" % (now, self.letter.encode(), self.offset))
            rest = memoryview(data)
            while rest:
                written = os.write(self._file, rest)
                self.offset += written
                rest = rest[written:]
        except OSError as error:
            self.trouble = f"output could not be kept: {error.strerror}"

    def _pass_on(self, data: bytes) -> None:
        """A reader that has gone away (`| head`) ends the passing on, not the command."""
        rest = memoryview(data)
        while rest and self._onward is not None:
            try:
                if self._regular or self._ready(self._onward):
                    rest = rest[os.write(self._onward, rest if self._regular else rest[:AT_ONCE]) :]
            except BlockingIOError:
                continue
            except OSError:
                self._onward = None

    def _ready(self, onward: int) -> bool:
        poll = select.poll()
        poll.register(onward, select.POLLOUT)
        return bool(poll.poll(500))

    def silence(self) -> None:
        """Pass nothing on any more."""
        self._onward = None

    def close(self) -> None:
        self.open = False
        os.close(self._file)


def _is_regular(number: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:
        return False


class Keys:
    """What is typed at bis, for the command."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.pending = b""
        self.open = True
        os.set_blocking(target, False)

    def take(self) -> bytes:
        """What was typed, put into `pending`."""
        try:
            data = os.read(self.source, 1024)
        except OSError:
            data = b""
        self.open = bool(data)
        self.pending += data
        return data

    def give(self) -> None:
        try:
            self.pending = self.pending[os.write(self.target, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self.pending, self.open = b"", False
