"""Many small files put into folders, each in few steps.

The files of a folder are written as drafts beside it, under their own names, and appear when they are whole: together
with their folder where there was none, else one by one. Objects are read in the order in which they lie in the store.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bis.digest import Digest, unspell
from bis.nouns.tree import Entry, Leaf
from bis.store import Store
from bis.store.drafts import discard, drafting, remove_left
from bis.store.local import SMALL
from bis.store.naming import rename_new
from bis.store.new_file import HOLE, ZEROS, taken
from bis.store.trouble import trouble

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
    with _Beside() as beside:
        for folder in sorted(folders, key=_depth):  # each before those in it, and those in one folder in a row
            left = _fill_one(store, os.fspath(into / unspell(folder)), folders[folder], over, beside)
            others += [Leaf(path=f"{folder}/{name}".lstrip("/"), entry=entry) for name, entry in left]
    return others


def clear(leaves: Iterable[Leaf], into: Path) -> None:
    """Remove what killed commands left that were putting these leaves below `into`, or anything beside it."""
    remove_left(os.fspath(into.parent))
    if os.path.lexists(into):
        remove_left(os.fspath(into))
        for leaf in leaves:
            if leaf.entry.kind == "tree":
                remove_left(os.fspath(into / unspell(leaf.path)))


def _depth(folder: str) -> tuple[int, str]:
    return (folder.count("/") + 1 if folder else 0, folder)


def _fill_one(
    store: Store, folder: str, files: list[tuple[str, Entry]], over: bool, beside: _Beside
) -> list[tuple[str, Entry]]:
    """Returns those that are larger than they were said to be."""
    left = []
    for start in range(0, len(files), AT_ONCE):
        with beside.new(folder) as fresh:
            names, more = _write_all(store, fresh, files[start : start + AT_ONCE])
            _appear(fresh, folder, names, over)
            left += more
    return left


class _Beside:
    """New folders for drafts, each on the file system of its place. Folders in a row that lie in one share the
    preparation."""

    def __init__(self) -> None:
        self._drafting = contextlib.ExitStack()
        self._near = self._drafts = ""
        self._made = 0

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, *_: object) -> None:
        self._drafting.close()

    @contextlib.contextmanager
    def new(self, folder: str) -> Iterator[str]:
        """Gone afterwards unless it was renamed."""
        near = folder if os.path.isdir(folder) else os.path.dirname(folder) or "."  # noqa: PTH112, PTH120
        if near != self._near:
            self._drafting.close()
            os.makedirs(near, exist_ok=True)  # noqa: PTH103
            self._drafts, self._near = self._drafting.enter_context(drafting(near)), near
        self._made += 1
        fresh = f"{self._drafts}/{self._made}"
        os.mkdir(fresh)  # noqa: PTH102
        try:
            yield fresh
        finally:
            discard(fresh)


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
        raise taken(f"{Path(fresh).parent.parent}/{error.filename}") from None
    except OSError as error:
        raise trouble(error, "write", Path(fresh).parent.parent) from error
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
            raise taken(f"{folder}/{name}") from None
