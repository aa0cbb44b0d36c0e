"""Which run this process logs to: that of `bis run` around it, that of the process which started it, or one of its own.

A process writes a journal of its own, whatever it was forked from. Of processes that train one model together (ranks
of `torchrun`, MPI or Slurm) the first logs, and the others say nothing, unless `BIS_RANKS=all`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bis.nouns.logged import JOURNALS, File, Params, Saying, Tags, Values
from bis.steps.journal import create

RANKS: Final = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Variables in which launchers tell a process its rank."""


class Session:
    """Writes entries of this process to a folder of journals. `before`: what names of metrics and params begin with."""

    def __init__(self, folder: Path | None, before: str = "") -> None:
        self.folder = folder
        self._before = before
        self._append: Callable[[Saying], None] | None = None
        self._files = 0

    @property
    def muted(self) -> bool:
        """Whether nothing is logged: this process is not the one that speaks."""
        return self.folder is None

    def tell(self, entry: Saying) -> None:
        """Write an entry. It survives the death of this process when this returns."""
        if self._append is None:
            if self.folder is None:
                return
            with _lock:
                if self._append is None:
                    self._append = create(self.folder)[1]
        self._append(_prefixed(entry, self._before) if self._before else entry)

    def new_file(self) -> Path:
        """Where the content of an artifact is to be written."""
        assert self.folder is not None
        with _lock:
            self._files += 1
            return self.folder / f"content-{os.getpid()}-{self._files}"

    def forked(self) -> None:
        """This process is a copy of the one that has the journal."""
        self._append = None


_lock = threading.Lock()
STACK: Final[list[Session]] = []
"""The sessions of this process, the one that is logged to last."""


@contextmanager
def entered(inner: Session) -> Iterator[Session]:
    """Log to another for a while."""
    STACK.append(inner)
    try:
        yield inner
    finally:
        STACK.remove(inner)


def around() -> Path | None:
    """The folder of journals that this process was started with; None where it was started without."""
    folder = os.environ.get(JOURNALS, "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def speaks() -> bool:
    """Whether it is this process that logs, of those that train together."""
    if os.environ.get("BIS_RANKS") == "all":
        return True
    ranks = (os.environ.get(name, "") for name in RANKS)
    return all(rank in ("", "0") for rank in ranks)


def _prefixed(entry: Saying, before: str) -> Saying:
    match entry:
        case Values():
            return Values(entry.moment, entry.step, {before + key: value for key, value in entry.values.items()})
        case Params():
            return Params({before + key: value for key, value in entry.values.items()})
        case Tags():
            return Tags({before + key: value for key, value in entry.values.items()})
        case File():
            return File(before + entry.path, entry.content)
    return entry


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    for each in STACK:
        each.forked()


os.register_at_fork(after_in_child=_forked)
