"""Who is at work on a store. Each writer holds the lock of a file of its own below `writers/`, which ends with it.

A writer relies on what it found in the store and does not put again. So nothing is deleted that a living writer may
have found before it was marked as going.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from bis.store.packs import lock

FOLDER: Final = "writers"


class Session:
    """One writer, from its first question to its end."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    @property
    def name(self) -> str:
        return self._path.name

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


def begin(store: Path) -> Session | None:
    """None where nothing can be written: then nothing can be deleted by others of this machine, either."""
    folder = store / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        alive(store)  # removes what killed writers left
        while True:
            path = folder / f"{os.getpid()}-{os.urandom(6).hex()}"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            lock(fd)
            if os.fstat(fd).st_nlink:
                return Session(path, fd)
            os.close(fd)  # somebody took it for that of a dead one, between its creation and its lock
    except OSError:
        return None


def alive(store: Path) -> dict[str, float]:
    """The writers that live, each with the time when it began. Files of others are removed."""
    found: dict[str, float] = {}
    try:
        paths = list((store / FOLDER).iterdir())
    except FileNotFoundError:
        return found
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if not _is_dead(path):
                found[path.name] = path.stat().st_mtime
    return found


def _is_dead(path: Path) -> bool:
    """Its file is removed, where that may be done. Of whom nothing can be known may live."""
    try:
        fd = _open(path)
    except PermissionError:
        return False
    try:
        dead = lock(fd)
        if dead:
            with contextlib.suppress(OSError):
                path.unlink()
        return dead
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)  # network file systems lock nothing else
    except FileNotFoundError:
        raise
    except OSError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
