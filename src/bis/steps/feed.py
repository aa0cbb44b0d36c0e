"""Standard input: an ingredient like any other (`bis run -- train.py < rows.csv`, `zcat rows.gz | bis run -- …`).

A file is shared with the command and kept when the command has read from it. A pipe is passed on by a process of ours,
`inside/feeder.py`, which keeps what goes through.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import Digest
from bis.nouns.part import Finding
from bis.store import Store

STDIN = 0
FEEDER = Path(__file__).resolve().parent.parent / "inside" / "feeder.py"
FILE = "stdin"
GOING = 0.2
"""Seconds that a feeder may take to go, when the command has left nobody behind who reads on."""
PATIENCE = 5.0
"""Seconds to wait for a feeder that should answer at once."""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """What bis itself has as standard input, before the command starts. The position in a file is the command's too."""

    kind: str
    """`file`, `pipe`, `socket` or `other` (a terminal, nothing)."""
    position: int = 0


class Fed(msgspec.Struct, frozen=True, kw_only=True):
    """What a command read of a pipe."""

    size: int
    """Bytes; what was still in the pipe when the command ended does not count."""
    kept: bool
    """False: there was more of it than is kept, or no room."""


def look() -> Feed:
    try:
        mode = os.fstat(STDIN).st_mode
    except OSError:
        return Feed(kind="other")
    if stat.S_ISREG(mode):
        return Feed(kind="file", position=os.lseek(STDIN, 0, os.SEEK_CUR))
    if (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not _at_end():
        return Feed(kind="pipe" if stat.S_ISFIFO(mode) else "socket")
    return Feed(kind="other")


class Feeder:
    """A process that passes a pipe, or a file as a pipe, on to the command. `theirs` is the command's end."""

    def __init__(self, source: int, scratch: Path, limit: int) -> None:
        self._control, control = socket.socketpair()
        self.theirs, target = os.pipe()
        source = os.dup(source)  # 0 would be hidden by its own standard input
        words = [sys.executable, "-I", "-S", str(FEEDER), str(source), str(target), str(control.fileno())]
        with control:
            # In a group of its own: Ctrl-C is for the command, which may want to read on.
            self._process = subprocess.Popen(
                [*words, str(scratch / FILE), str(limit)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(source, target, control.fileno()),
                process_group=0,
            )
        os.close(source)
        os.close(target)

    def wait_until_ready(self) -> None:
        """What can be read at once, the command shall find when it looks."""
        self._hear()

    def ask(self) -> Fed:
        """What the command has read, now that it has ended. Something that it left behind may read on."""
        with self._control, contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
            said = self._hear()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GOING)
            if said:
                return Fed(size=said["passed"] - said["unread"], kept=said["kept"])
        return Fed(size=-1, kept=False)

    def _hear(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n") and select.select([self._control], [], [], PATIENCE)[0]:
            byte = self._control.recv(1)
            if not byte:
                break
            line += byte
        found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return found


def let_go() -> None:
    """Leave standard input to the feeder alone: when the command reads no more, its producer is to hear of it."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, STDIN)
    os.close(null)


def kept(feed: Feed, fed: Fed | None, store: Store, scratch: Path) -> Digest:
    """Keep what the command has read from a file or a pipe; the empty digest when it has read nothing."""
    copy = scratch / FILE
    if fed is not None:
        if not fed.kept or fed.size <= 0:
            return Digest("")
        os.truncate(copy, fed.size)
        return store.put_file(copy)
    if feed.kind != "file" or os.lseek(STDIN, 0, os.SEEK_CUR) == feed.position:
        return Digest("")
    with copy.open("wb") as out:
        position = feed.position
        while block := os.pread(STDIN, 1 << 20, position):
            out.write(block)
            position += len(block)
    return store.put_file(copy)


def findings(feed: Feed, fed: Fed | None) -> tuple[Finding, ...]:
    """What stands in the way of giving the same input again."""
    if fed is not None and not fed.kept and fed.size:
        much = f"{fed.size} bytes were read from it, more than is kept (limits.input_file)" if fed.size > 0 else ""
        text = f"standard input was a pipe, and what came through it is not recorded: {much or 'its feeder was killed'}"
    elif feed.kind == "socket":
        text = "standard input was a socket: what came through it was not recorded"
    else:
        return ()
    return (
        Finding(code="piped-input", text=text, hint="write it to a file first: bis run -- COMMAND < FILE", blocks=True),
    )


def _at_end() -> bool:
    """Whether a pipe has no writer any more and nothing in it."""
    poll = select.poll()
    poll.register(STDIN, select.POLLIN)
    return [events for _, events in poll.poll(0)] == [select.POLLHUP]
