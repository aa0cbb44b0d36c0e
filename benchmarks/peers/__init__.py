"""Systems that keep versions of data, each driven as its users drive it. One module for each; `known` names them."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import ClassVar

from measure import Command

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("bis", "dvc", "git-lfs", "git-annex", "restic", "borg", "quilt")
STEPS = ("add", "status", "re-add", "verify", "push", "push again", "pull", "restore")


class Peer:
    """One system at work in the folder `place`, whose folder `work` has the `data`. A step is the commands that a user
    types for it, or None where the system has no such thing."""

    name = ""
    program = ""
    notes: ClassVar[dict[str, str]] = {}
    """What a step does instead of copying bytes and proving them. Such a row is not compared with one that does."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.work, self.data = place / "work", place / "work" / "data"
        self.remote, self.fresh, self.out = place / "remote", place / "fresh", place / "out"
        self.home = place / "home"
        for folder in (self.work, self.home):
            folder.mkdir(parents=True)

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be run here; empty when it can."""
        return "" if shutil.which(cls.program) else f"{cls.program} is not installed"

    @property
    def variables(self) -> dict[str, str]:
        """A home of its own: nothing of the user's is read or changed."""
        return {**os.environ, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}

    def command(self, *words: str | Path, folder: Path | None = None) -> Command:
        return Command([str(word) for word in words], folder or self.work, self.variables)

    def begin(self) -> list[Command]:
        """Before anything is measured; the data are not there yet."""
        return []

    def add(self) -> list[Command] | None: ...

    def status(self) -> list[Command] | None: ...

    def verify(self) -> list[Command] | None: ...

    def push(self) -> list[Command] | None: ...

    def pull(self) -> list[Command] | None:
        """Bring data and files to a place that has neither, `fresh`."""

    def restore(self) -> list[Command] | None:
        """Put the files back from the local store; they are gone from `work`."""

    def stored(self) -> list[Path]:
        """Where what it keeps lies."""
        return []

    def pulled(self) -> Path:
        return self.fresh / "data"

    def restored(self) -> Path:
        return self.data


class GitPeer(Peer):
    """What works in a Git repository."""

    def begin(self) -> list[Command]:
        return [
            self.command("git", "config", "--global", "user.name", "Bench"),
            self.command("git", "config", "--global", "user.email", "bench@example.org"),
            self.command("git", "config", "--global", "init.defaultBranch", "main"),
            self.command("git", "config", "--global", "gc.auto", "0"),
            self.command("git", "config", "--global", "safe.directory", "*"),
            self.command("git", "init", "-q"),
        ]


def load(name: str) -> type[Peer]:
    module = importlib.import_module(f"peers.{name.replace('-', '_')}")
    found: type[Peer] = module.PEER
    return found
