"""Packs that are open for reading. They stay so for as long as their store: objects are read by the thousand."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bis.errors import Damaged
from bis.store.trouble import shown, trouble

MOST: Final = 256
"""So many stay open; others are closed when they were read."""


class OpenPacks:
    """Those of one folder. Any thread may read, also while another lets go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        self._stale: list[int] = []

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[int]:
        """A pack to read from. Raises Damaged where it is gone."""
        fd, stays = self._open.get(name, -1), True
        if fd < 0:
            fd = open_pack(self._folder / name)
            with self._lock:
                stays = name not in self._open and len(self._open) < MOST
                if stays:
                    self._open[name] = fd
        try:
            yield fd
        finally:
            if not stays:
                os.close(fd)

    def let_go(self, name: str) -> None:
        """Open a pack anew when it is next read: another file may have taken its place. Some thread may still read this
        one, so it is closed with the others."""
        with self._lock:
            if name in self._open:
                self._stale.append(self._open.pop(name))

    def close(self) -> None:
        with self._lock:
            for fd in (*self._open.values(), *self._stale):
                os.close(fd)
            self._open.clear()
            self._stale.clear()


def open_pack(path: Path) -> int:
    """A descriptor of its own. Raises Damaged where it is gone, KeepingError where it cannot be read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(f"the pack {shown(path)} is gone") from None
    except OSError as error:
        raise trouble(error, "read", path) from error
