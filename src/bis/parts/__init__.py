"""The kinds of Part, and what they share: one protocol of three functions.

`capture`, `restore` and `compare` of each kind are all that `run`, `repeat`, `diff`, `status` and `why` need:
they are loops over `parts.kinds.KINDS`. A new ingredient is one new module here and one line there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bis.digest import spell, unspell
from bis.nouns.part import Change, Part, PartKind
from bis.nouns.trace import Trace
from bis.settings import Settings
from bis.store import Store
from bis.store.statcache import StatCache

if TYPE_CHECKING:
    from bis.parts.vcs import Asked


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one Python interpreter of the run said of itself, from the inside."""

    pid: int
    executable: str = ""
    prefix: str = ""
    base_prefix: str = ""
    version: str = ""
    """`3.11.7`."""
    path: tuple[str, ...] = ()
    """`sys.path`."""
    argv: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    """Everything else, by the hook that saw it: `pools` (thread pools), `simd`, `modules`, `entropy`, …"""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a capture may look at: handed in, never read from a global."""

    project: Path
    """The project's folder as the command sees it: absolute, links resolved."""
    folder: Path
    """Where the command runs."""
    command: tuple[str, ...]
    """argv as the operating system takes it (not spelled)."""
    variables: dict[str, str]
    """The command's environment variables."""
    forced: frozenset[str] = frozenset()
    """Names of variables that a repeat sets to force the recorded conditions: no params of it."""
    settings: Settings
    home: Path
    key: bytes = b""
    """Secret of this store: credentials are recorded only as digests made with it."""
    locate: Callable[[Path], Path] | None = None
    """For a command in a room of its own: where a path that it sees really is."""
    outside: Path | None = None
    """For a command in a room of its own: below it lie, at their paths, the files outside the project of the record."""
    own: tuple[str, ...] = ()
    """Folders (spelled) of bis itself, for this execution: nothing in them is an ingredient of the run."""
    restored: tuple[str, ...] = ()
    """For a repeat: folders and files (spelled, as the command sees them) that were put there from the record."""
    sealed: bool = False
    """For a repeat: what lies on the machine itself (`real` is the same path) was read-only to the command."""
    image: str = ""
    """For a repeat in the system of an image: which one, by its digest."""
    system: Path = Path("/")
    """Where the files of the system lie that the command sees: those of the image."""
    asked: Asked | None = None
    """What the version control was asked ahead, so that the answers come while other work is done."""
    cache: StatCache | None = None
    """Digests of unchanged files, so that they are not read again."""
    trace: Trace | None = None
    """None before the command ran."""
    reports: tuple[Report, ...] = ()
    known_outputs: frozenset[str] = frozenset()
    """Paths (spelled, relative to the project) that earlier runs wrote and nobody has changed since, and those that
    are inputs of the run on no other ground: data when they are read, never code."""
    remembered: tuple[str, ...] = ()
    """Inputs (spelled, relative or absolute) of the last run of the same command."""

    def real(self, path: str) -> Path:
        """Where a file that the command named by an absolute, spelled path is to be read from now."""
        here = Path(unspell(path))
        return self.locate(here) if self.locate else here

    def refused(self, path: str) -> bool:
        """Whether writing to an absolute, spelled path did not reach the machine, nor any other place."""
        return self.sealed and self.real(path) == Path(unspell(path))

    def named(self, path: str) -> str:
        """An absolute, spelled path as records name it: relative to the project when inside it."""
        project = spell(str(self.project))
        return path[len(project) + 1 :] if path.startswith(f"{project}/") else path


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is put back."""

    project: Path
    """The folder that stands for the project's."""
    outside: Path | None = None
    """Below it files of absolute paths outside the project are put (`outside/home/ana/x.csv`); None: they are left."""


class Kind(Protocol):
    """What a module of `parts` is."""

    KIND: PartKind

    def capture(self, scene: Scene, store: Store, earlier: Part | None = None) -> Part:
        """The ingredient as it is now. Called before the command starts, and again with the first answer as
        `earlier` when it has ended and `scene.trace` and `scene.reports` are there. Never raises for what it
        cannot find out: that becomes a Finding."""
        ...

    def restore(self, part: Part, place: Place, store: Store) -> None:
        """Put the ingredient back. Raises CannotRepeat, naming what is missing."""
        ...

    def compare(self, before: Part, after: Part, store: Store) -> list[Change]:
        """The differences; empty when the digests are equal."""
        ...
