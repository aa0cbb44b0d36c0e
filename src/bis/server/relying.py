"""Who pushes relies on what they were told that the store has, and does not send it: `bis gc` deletes nothing of that
before they have ended, or were silent for long.

Each is a writer of the store, with a file below `writers/` (see `store/writers.py`), which this process holds locked.
The time of the last access of the file says when they were last heard of, whichever worker heard of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final

from bis.errors import KeepingError
from bis.store import writers
from bis.store.trouble import BUSY

SILENCE: Final = 900.0
"""Seconds without a word, after which somebody is not there any more."""
LOOK: Final = 60.0
"""Seconds between looks at who is."""
MOST: Final = 200
"""At once."""

_NAME: Final = re.compile(r"\d+-[0-9a-f]{12}")


class Relying:
    """Those who were told what one store has, by this process. Used in its event loop."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._held: dict[str, writers.Session] = {}
        self._looking = False

    def begin(self) -> str:
        """Whose word counts from now on; empty where nothing can be written, and so nothing be deleted. Raises
        KeepingError where there are too many."""
        if len(self._held) >= MOST:
            self._look()
        if len(self._held) >= MOST:
            raise KeepingError(
                f"{MOST} people push to this server at once", hint="type the same command again, later", code=BUSY
            )
        session = writers.begin(self._store)
        if session is None:
            return ""
        self._held[session.name] = session
        self._look_later()
        return session.name

    def heard(self, name: str) -> None:
        """Somebody is there. Raises KeepingError when they were given up."""
        try:
            path = self._path(name)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except (OSError, ValueError):
            raise KeepingError(
                "nothing was heard of this push for too long, or the server was started anew",
                because="What it relied on there may have been deleted meanwhile. What has arrived is kept.",
                hint="type the same command again: it goes on where it stopped",
                code=BUSY,
            ) from None

    def end(self, name: str) -> None:
        if session := self._held.pop(name, None):
            session.end()
        else:
            with contextlib.suppress(OSError, ValueError):
                self._path(name).unlink()  # another worker holds it, and will see

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(name)
        return self._store / writers.FOLDER / name

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        self._look()
        if self._held:
            self._look_later()

    def _look(self) -> None:
        for name in list(self._held):
            try:
                gone = time.time() - self._path(name).stat().st_atime > SILENCE
            except OSError:
                gone = True
            if gone:
                self.end(name)
