"""Drafts: what is being put into somebody's folder and is not whole yet.

They lie in a folder of their own beside their place, with a file in it that says so and that is locked while their
maker lives. So what a killed command left can be told from what another one is writing, and from what bis did not make.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import Final

from bis.store.packs import lock

PREFIX: Final = ".bis-"
NAME: Final = re.compile(r"\.bis-[0-9a-f]{16}")
MAKER: Final = "maker"
"""The file that is locked."""
LONG_AGO: Final = 24 * 3600.0
"""Seconds."""
SAID: Final = (
    b"bis is writing here; when it was killed, the next command that writes here, or bis clean, removes this.\n"
)


@contextlib.contextmanager
def drafting(near: str) -> Iterator[str]:
    """A new folder in the folder `near`, gone afterwards with what is still in it."""
    folder = f"{near}/{PREFIX}{os.urandom(8).hex()}"
    os.mkdir(folder)  # noqa: PTH102 - on a hot path
    with made(folder):
        yield folder


@contextlib.contextmanager
def made(folder: str) -> Iterator[int]:
    """Say in a new folder that bis made it, hold the lock of who lives, and remove all afterwards. Yields the
    descriptor of that lock."""
    fd = -1
    try:
        fd = os.open(f"{folder}/{MAKER}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if lock(fd):  # where nothing can be locked, nobody could tell whether we live: it is not for others to remove
            os.write(fd, SAID)
        yield fd
    finally:
        _remove(folder)
        if fd >= 0:
            os.close(fd)


def is_name(name: str) -> bool:
    """Whether a folder of drafts may be called so; so may one that bis did not make."""
    return NAME.fullmatch(name) is not None


def left_in(folder: str, names: re.Pattern[str] = NAME) -> list[str]:
    """The drafts in this very folder whose maker is dead; or what else lies there in that way, by its names."""
    try:
        with os.scandir(folder) as entries:
            found = [one.path for one in entries if names.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [path for path in found if _of_the_dead(path) or _is_begun(path)]


def remove_left(folder: str) -> None:
    """Remove the drafts in this very folder whose maker is dead."""
    for path in left_in(folder):
        remove(path)


def remove(path: str) -> bool:
    """Remove one folder of drafts; False where its maker lives, bis did not make it, or this user may not."""
    with _held(path) as dead:
        if dead:
            _remove(path)
    if not dead and _is_begun(path):
        _remove(path)
        dead = True
    return dead and not os.path.lexists(path)


def _is_begun(path: str) -> bool:
    """Whether its maker was killed before it had said so: with nothing in it, or nothing in the one file, nothing is
    lost; and it is so old that none is meant who is about to say it."""
    maker = f"{path}/{MAKER}"
    try:
        names = os.listdir(path)  # noqa: PTH208
        is_old = os.lstat(path).st_mtime < time.time() - LONG_AGO
        return is_old and (not names or (names == [MAKER] and _is_empty(maker)))
    except OSError:
        return False


def _is_empty(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_mtime < time.time() - LONG_AGO


def _of_the_dead(path: str) -> bool:
    with _held(path) as dead:
        return dead


@contextlib.contextmanager
def _held(path: str) -> Iterator[bool]:
    """Take the place of its maker; False where there is one, or bis did not make the folder."""
    fd = -1
    try:
        fd = os.open(f"{path}/{MAKER}", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        yield os.read(fd, len(SAID) + 1) == SAID and lock(fd)
    except OSError:
        if fd >= 0:
            raise
        yield False
    finally:
        if fd >= 0:
            os.close(fd)


def _remove(folder: str) -> None:
    """What says that bis made it goes last: killed half-way, the rest is found again; and so is what cannot go."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208
            if name != MAKER:
                discard(f"{folder}/{name}")
        if any(name != MAKER for name in os.listdir(folder)):  # noqa: PTH208
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{MAKER}")  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106


def discard(path: str) -> None:
    """Remove a folder with all that is in it, or a file; nothing where there is nothing."""
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        from shutil import rmtree

        rmtree(path, ignore_errors=True)
        if os.path.isdir(path):  # noqa: PTH112
            _open_up(path)
            rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108


def _open_up(path: str) -> None:
    """What a run could only read was restored so, and nothing can be removed from such a folder."""
    for top, names, _ in os.walk(path):
        for one in (top, *(f"{top}/{name}" for name in names)):
            with contextlib.suppress(OSError):
                if not os.path.islink(one):  # noqa: PTH114
                    os.chmod(one, 0o700)  # noqa: PTH101
