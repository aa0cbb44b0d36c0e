"""Many small files put into folders, each in few steps.

The files of a folder are written into one beside it, under their own names, and appear when they are whole: together
with their folder where there was none, else one by one. Objects are read in the order in which they lie in the store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bis.digest import Digest, unspell
from bis.errors import KeepingError
from bis.nouns.tree import Entry, Leaf
from bis.store import Store
from bis.store.local import HOLE, SMALL, ZEROS
from bis.store.naming import rename_new
from bis.store.trouble import IN_THE_WAY, shown, trouble

AT_ONCE: Final = 4096
"""So many files appear together, at most: what is killed has not worked for nothing."""


def fill(store: Store, leaves: Iterable[Leaf], into: Path, *, over: bool = False) -> list[Leaf]:
    """Put those of these leaves that are small files in the store below `into`, in folders that are made where they
    are missing; returns the others. Raises KeepingError where a name is taken, unless they go `over` what is there;
    what appeared until then stays. Raises OSError where the system refuses."""
    others: list[Leaf] = []
    folders: dict[str, list[tuple[str, Entry]]] = {}
    for leaf in leaves:
        if leaf.entry.kind == "file" and leaf.entry.kept and leaf.entry.size <= SMALL:
            folder, _, name = leaf.path.rpartition("/")
            folders.setdefault(folder, []).append((name, leaf.entry))
        else:
            others.append(leaf)
    for folder in sorted(folders):  # each before those in it
        left = _fill_one(store, os.fspath(into / unspell(folder)), folders[folder], over)
        others += [Leaf(path=f"{folder}/{name}".lstrip("/"), entry=entry) for name, entry in left]
    return others


def _fill_one(store: Store, folder: str, files: list[tuple[str, Entry]], over: bool) -> list[tuple[str, Entry]]:
    """Returns those that are larger than they were said to be."""
    left = []
    for start in range(0, len(files), AT_ONCE):
        with _beside(folder) as fresh:
            names, more = _write_all(store, fresh, files[start : start + AT_ONCE])
            _appear(fresh, folder, names, over)
            left += more
    return left


@contextlib.contextmanager
def _beside(folder: str) -> Iterator[str]:
    """A new folder on the same file system, gone afterwards unless it was renamed."""
    near = folder if os.path.isdir(folder) else os.path.dirname(folder) or "."  # noqa: PTH112, PTH120
    os.makedirs(near, exist_ok=True)  # noqa: PTH103
    fresh = f"{near}/.bis-{os.urandom(8).hex()}"
    os.mkdir(fresh)  # noqa: PTH102
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_all(store: Store, fresh: str, files: list[tuple[str, Entry]]) -> tuple[list[str], list[tuple[str, Entry]]]:
    """The names that were written, and the files that were not, as they are not small."""
    wanted: dict[Digest, list[tuple[str, int]]] = {}
    for name, entry in files:
        wanted.setdefault(entry.digest, []).append((unspell(name), entry.mode))
    names: list[str] = []
    sure: set[int] = set()
    folder = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for digest, data in store.get_many(list(wanted)):
            for name, mode in wanted.pop(digest):
                _write(folder, name, mode, data, sure)
                names.append(name)
    except FileExistsError as error:  # where a file system does not tell two names apart
        raise _taken(f"{os.path.dirname(fresh)}/{error.filename}") from None  # noqa: PTH120
    except OSError as error:
        raise trouble(error, "write", Path(fresh).parent) from error
    finally:
        os.close(folder)
    return names, [(name, entry) for name, entry in files if entry.digest in wanted]


def _write(folder: int, name: str, mode: int, data: bytes, sure: set[int]) -> None:
    """A new file, with a hole where it has nothing. `sure` are modes that the system gives as they are asked for."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    try:
        if mode not in sure:
            if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
                sure.add(mode)
            else:
                os.fchmod(fd, mode)
        if len(data) >= HOLE and data == ZEROS[: len(data)]:
            os.ftruncate(fd, len(data))
            return
        done = os.write(fd, data)
        while done < len(data):
            done += os.write(fd, data[done:])
    finally:
        os.close(fd)


def _appear(fresh: str, folder: str, names: list[str], over: bool) -> None:
    """Give the files in `fresh` their place in `folder`, which they make if it is not there."""
    if not os.path.lexists(folder):
        with contextlib.suppress(FileExistsError):  # somebody made it meanwhile
            rename_new(fresh, folder)
            return
    for name in names:
        if over:
            os.replace(f"{fresh}/{name}", f"{folder}/{name}")  # noqa: PTH105
            continue
        try:
            rename_new(f"{fresh}/{name}", f"{folder}/{name}")
        except FileExistsError:
            raise _taken(f"{folder}/{name}") from None


def _taken(path: str) -> KeepingError:
    what = f"{shown(path)} is there already and is not overwritten"
    return KeepingError(what, hint=f"mv {shown(path)} {shown(path)}.old", code=IN_THE_WAY)
