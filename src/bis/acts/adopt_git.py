"""`bis import lfs` and `annex`: files of a Git repository through its history, with the contents that pointers name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bis.digest import readable, spell, unspell
from bis.errors import NotFound
from bis.foreign import annex, lfs
from bis.foreign.history import EXECUTABLE, LINK, Commit, History, Item
from bis.steps.add_data import source_of
from bis.steps.adopting import File, State
from bis.steps.home import Home
from bis.steps.taking import SHORT, Absent, Adopted, Progress, Taking, named, stem
from bis.store.trouble import shown


def adopt_lfs(path: Path, home: Home, variables: Mapping[str, str], prefix: str, progress: Progress) -> Adopted:
    """What lies at a path of a Git repository, through its history, each pointer with its content in its place."""

    def roots(history: History) -> tuple[Path, ...]:
        git = history.folder_of_git()
        own = history.setting("lfs.storage")
        return tuple(filter(None, (git / own / "objects" if own else None, git / "lfs" / "objects")))

    def resolve(item: Item, data: bytes, places: tuple[Path, ...]) -> Path | None:
        pointer = lfs.read_pointer(data) if item.mode != LINK else None
        if pointer is None:
            return None
        found = lfs.find_content(pointer, places)
        if found is None:
            raise Absent(f"sha256 {pointer.oid[:SHORT]} is not here: git lfs fetch --all")
        if not lfs.is_content(found, pointer):
            raise Absent(f"{shown(found)} holds other bytes than its hash says: git lfs fsck")
        return found

    return _adopt_git(path, home, variables, prefix, progress, roots, resolve, "Git LFS")


def adopt_annex(path: Path, home: Home, variables: Mapping[str, str], prefix: str, progress: Progress) -> Adopted:
    """As `adopt_lfs`, for git-annex and DataLad: links and unlocked files with the content of their keys."""

    def roots(history: History) -> tuple[Path, ...]:
        return (history.folder_of_git() / annex.OBJECTS,)

    def resolve(item: Item, data: bytes, places: tuple[Path, ...]) -> Path | None:
        key = annex.key_of_link(data.decode("utf-8", "replace")) if item.mode == LINK else annex.key_of_pointer(data)
        if key is None:
            return None
        found = annex.find_content(key, places)
        if found is None:
            raise Absent(f"{key} is not here: git annex get --all")
        proved = annex.is_content(found, key)
        if proved is not True:
            why = "does not say what the content is, so nothing proves it" if proved is None else "names other bytes"
            raise Absent(f"{key} {why}")
        return found

    return _adopt_git(path, home, variables, prefix, progress, roots, resolve, "git-annex")


Resolve = Callable[[Item, bytes, tuple[Path, ...]], Path | None]


class _Pointed:
    """What lies at a path of a Git repository, through time, with the contents that pointers stand for."""

    def __init__(self, history: History, roots: tuple[Path, ...], resolve: Resolve) -> None:
        self._history, self._roots, self._resolve = history, roots, resolve
        self._known: dict[str, Path | str | None] = {}

    def content(self, item: Item) -> Path | None:
        """The proved content of a pointer; None for a file that Git has itself. Raises Absent."""
        if item.id not in self._known:
            try:
                self._known[item.id] = self._resolve(item, self._history.read(item.id), self._roots)
            except Absent as absent:
                self._known[item.id] = str(absent)
        found = self._known[item.id]
        if isinstance(found, str):
            raise Absent(found)
        return found

    def is_pointer(self, item: Item) -> bool:
        """Whether its content is elsewhere, be it here or not."""
        try:
            return self.content(item) is not None
        except Absent:
            return True

    def file(self, path: str, item: Item) -> File:
        try:
            place = self.content(item)
        except Absent as absent:
            raise Absent(f"{readable(path)}: {absent}") from None
        if place is not None:
            return File(path=path, place=place, executable=item.mode == EXECUTABLE)
        data = self._history.read(item.id)
        if item.mode == LINK:
            return File(path=path, target=spell(data))
        return File(path=path, data=data, executable=item.mode == EXECUTABLE)


def _adopt_git(
    path: Path,
    home: Home,
    variables: Mapping[str, str],
    prefix: str,
    progress: Progress,
    roots: Callable[[History], tuple[Path, ...]],
    resolve: Resolve,
    system: str,
) -> Adopted:
    folder, only = (path, "") if path.is_dir() else (path.parent, spell(path.name))
    name = named(stem(path.name, bool(only)), prefix)
    taking = Taking(home, progress)
    with History(folder, variables) as history:
        if not history.is_there():
            raise NotFound(f"{shown(path)} lies in no Git repository with commits", hint=f"git -C {shown(folder)} log")
        pointed = _Pointed(history, roots(history), resolve)
        begun = False
        commits = history.commits((unspell(only) or ".",))
        taking.total = len(commits)
        for commit in commits:
            rows = {at: item for at, item in history.listing(commit.id).items() if not only or at == only}
            begun = begun or any(pointed.is_pointer(item) for item in rows.values())
            if begun and rows:
                make = partial(_git_state, name, commit, rows, pointed, bool(only), source_of(path, home))
                taking.take(f"{name} of {commit.id[:SHORT]}", make)
    if not begun:
        raise NotFound(
            f"{system} has nothing of {shown(path)} in any commit",
            hint=f"bis data add {shown(path)}  keeps it as it is now",
        )
    return taking.done()


def _git_state(
    name: str, commit: Commit, rows: Mapping[str, Item], pointed: _Pointed, single: bool, source: str
) -> State:
    return State(
        name=name,
        files=tuple(pointed.file(path, item) for path, item in rows.items()),
        single=single,
        made=commit.moment,
        user=spell(commit.author),
        message=spell(commit.message),
        source=source,
        metadata={"git.commit": commit.id},
    )
