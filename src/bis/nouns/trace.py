"""What a command touched while it ran."""

from __future__ import annotations

from typing import Literal

import msgspec

Mechanism = Literal["notify", "audit", "strace", "none"]


class Stat(msgspec.Struct, frozen=True, array_like=True):
    """What tells an unchanged file from a changed one without reading it."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0


GONE = frozenset("dm")
"""Letters after which nothing is at a path, unless it is written anew."""
REPLACED = frozenset("tdn")
"""Letters after which a path no longer holds the bytes from before the run."""
MADE = frozenset("fn")
"""Letters after which a folder holds what the run put there."""
WRITTEN = frozenset("wctn")
"""Letters by which a run gave a path new bytes."""
CHANGED = WRITTEN | GONE
"""Letters by which a run changed what is at a path."""


class Access(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a run did to one path."""

    path: str
    """Absolute, as the process saw it, spelled (`digest.spell`), `.` and `..` and links of folders resolved."""
    how: str
    """The letters of what was done, in the order of first occurrence: r read, w written, c created,
    t truncated, l listed, f made (a folder), x executed, d deleted, m moved away, n moved to here, a looked for and
    absent."""
    before: Stat | None = None
    """The file at its first opening; None when it was not there."""
    preimage: str = ""
    """Where the bytes were kept that the file had before the run first wrote to it (a path in the scratch folder)."""

    @property
    def was_read(self) -> bool:
        """Read, executed, written into, or given another name, with content that came from before the run: not emptied,
        removed or replaced before. A log that a run appends to holds at its end what it held before."""
        if self.before is None:
            return False
        for letter in self.how:
            if letter in REPLACED:
                return False
            if letter in "rx" or (letter == "w" and self.before.size) or (letter == "m" and "l" not in self.how):
                return True
        return False

    @property
    def was_listed(self) -> bool:
        """Its names were read, and it is not the run that had made the folder or moved it there."""
        before, listed, _ = self.how.partition("l")
        return bool(listed) and MADE.isdisjoint(before)

    @property
    def was_removed(self) -> bool:
        """A file from before the run that was deleted or moved away. Something new may have come in its place."""
        return self.before is not None and "l" not in self.how and not GONE.isdisjoint(self.how)

    @property
    def was_written(self) -> bool:
        return not WRITTEN.isdisjoint(self.how)


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One program that the command executed. A fork without exec is not listed."""

    pid: int
    parent: int = 0
    executable: str = ""
    argv: tuple[str, ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything seen, and how much could be seen."""

    mechanism: Mechanism
    complete: bool
    """True: every opening of a file by every process was seen. False: `limits` says what was not."""
    limits: tuple[str, ...] = ()
    accesses: tuple[Access, ...] = ()
    since_ns: int = 0
    """When the command began, in nanoseconds since 1970; 0: not known."""
    processes: tuple[Process, ...] = ()
    connections: tuple[str, ...] = ()
    """Addresses that were connected to: `tcp:127.0.0.1:8080`, `udp:10.0.0.2:53`, `unix:/run/x.sock`."""
