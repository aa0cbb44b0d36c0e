"""Formats: comparing two files by what they mean when their bytes differ.

One protocol, one module per format or close family, one ordered list in `registry`. A format never executes,
imports or follows anything that a file names: foreign files are read as data, in bounded memory and depth.
Nothing is set aside in silence: what a format leaves out of the comparison is counted, by rule, with an example.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from bis.nouns.verdict import Comparison

MIB = 1 << 20
HEAD = 8192
"""Bytes of a file that a format sees to recognise it."""
WHOLE = 512 * MIB
"""Largest file that a format reads whole into memory."""
PARSED = 64 * MIB
"""Largest document (JSON, YAML, a notebook) that is built as a tree of Python objects."""
UNPACKED = 4096 * MIB
"""Most bytes that one output may unpack to."""
MEMBERS = 200_000
DEPTH = 6
"""Containers within containers."""


class Unreadable(Exception):
    """A file is not what its name or first bytes promise, or is too large to be compared in this way: says why."""


class Budget:
    """How much may still be unpacked for one output, containers within containers together, so that a small file
    cannot fill the disk or the day."""

    def __init__(self) -> None:
        self.left = UNPACKED

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Unreadable(f"it unpacks to more than {UNPACKED >> 20:,} MiB")


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one of the two runs. Lists of the two sides pair up by position."""

    roots: tuple[str, ...] = ()
    """Absolute folders: the nth of one side stands for the nth of the other (project, environment, scratch folder)."""
    names: tuple[str, ...] = ()
    """Names that stand for each other exactly: the id of the run, the host."""
    started: float = 0.0
    """POSIX seconds; 0 for unknown. A date or an epoch number is a time of this run only within its window."""
    ended: float = 0.0


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison may know beside the two files."""

    before: Side = Side()
    after: Side = Side()
    slack: float = 120.0
    """Seconds by which a time may lie outside the window of its run."""
    tolerance: float = 0.0
    """Relative difference up to which two numbers of a metric file are called equivalent; 0: none."""
    name: str = ""
    """Of the output that is compared; `registry.compare` fills it in."""
    depth: int = 0
    """How many containers this file lies in."""
    budget: Budget = msgspec.field(default_factory=Budget)
    """Shared by all that lies in one output; `registry.compare` opens it."""

    def inside(self) -> Context:
        return msgspec.structs.replace(self, depth=self.depth + 1)


class Compare(Protocol):
    """What containers are handed to compare their members: `registry.compare`."""

    def __call__(self, name: str, before: Path, after: Path, context: Context) -> Comparison: ...


class Format(Protocol):
    """One way of understanding files."""

    @property
    def name(self) -> str:
        """As a verdict prints it: `PNG`, `pickle`, `text`."""
        ...

    def recognises(self, name: str, head: bytes) -> bool:
        """Whether a file of this name that begins with these bytes is likely to be of this format."""
        ...

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        """Compare two files whose bytes differ. Raises Unreadable when one of them cannot be understood."""
        ...
