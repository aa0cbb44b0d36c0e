"""`bis import`: what other systems keep becomes versions of data sets, with the history that it has there.

Every content is proved by the hash that its own system gives it before it is kept. What is missing or damaged is
named, and the rest is imported: a version is whole, or there is none.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import readable, spell, unspell
from bis.errors import NotFound, UsageError, counted
from bis.foreign import annex, croissant, dvc, kedro, lfs, not_understood, quilt
from bis.foreign.history import EXECUTABLE, LINK, Commit, History, Item
from bis.nouns.dataset import Held
from bis.nouns.reference import is_data_name
from bis.steps.add_data import source_of
from bis.steps.adopting import File, State, keep
from bis.steps.home import Home
from bis.steps.perform import user_here
from bis.store.trouble import shown

Progress = Callable[[str, int, int], None]
"""Told what is imported, how many states are done, and how many there are (0: not known)."""
SHORT = 8
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lz4")


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A version that could not be imported."""

    what: str
    """Spelled: `data/raw.csv of 1a2b3c4d`."""
    why: str


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did."""

    versions: tuple[Held, ...] = ()
    """The new ones, in the order in which they were kept."""
    known: int = 0
    """States that were there already, or had the content of the version before."""
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()


class _Absent(Exception):
    """Content that cannot be had, and why."""


class _Taking:
    """Keeps one state after the other, and what could not be kept."""

    def __init__(self, home: Home, progress: Progress) -> None:
        self._home, self._progress = home, progress
        self._versions: list[Held] = []
        self._known = 0
        self._missing: list[Missing] = []
        self._done = 0
        self.total = 0
        self.notes: list[str] = []

    def take(self, what: str, make: Callable[[], State]) -> None:
        """Keep the state that is made; one whose content cannot be had is noted under the name `what`."""
        self._progress(f"importing {readable(what)}", self._done, max(self.total, self._done))
        self._done += 1
        try:
            state = make()
        except _Absent as absent:
            self._missing.append(Missing(what=what, why=str(absent)))
            return
        held, new = keep(state, self._home)
        if new:
            self._versions.append(held)
        else:
            self._known += 1

    def done(self) -> Adopted:
        return Adopted(
            versions=tuple(self._versions),
            known=self._known,
            missing=tuple(self._missing),
            notes=tuple(dict.fromkeys(self.notes)),
        )


# DVC ---------------------------------------------------------------------------------------------------------------


class _Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """An output, and which file says that it is tracked."""

    out: dvc.Out
    pointer: str
    stage: dvc.Stage


def adopt_dvc(project: Path, home: Home, variables: Mapping[str, str], prefix: str, progress: Progress) -> Adopted:
    """Each commit in which an output changed becomes a version of the data set of that output, and what is pointed at
    but not committed yet becomes one, too. Content comes from the cache, and from remotes that are folders."""
    if not (project / dvc.FOLDER).is_dir():
        raise NotFound(f"{shown(project)} is no DVC project: it has no folder .dvc", hint="bis import dvc PROJECT")
    config = dvc.read_config(project)
    contents = _Contents(config)
    taking = _Taking(home, progress)
    far = ", ".join(remote.url for remote in config.remotes.values() if remote.folder is None)
    with History(project, variables) as history:
        changes = list(_dvc_changes(history, project, taking.notes)) if history.is_there() else []
        committed = _dvc_at(history, "HEAD", taking.notes, {}) if history.is_there() else {}
    now = _dvc_here(project, taking.notes)
    changes += [(None, place, tracked) for place, tracked in now.items() if _differs(tracked, committed.get(place))]
    names = _names({place: tracked.out.is_folder for _, place, tracked in changes}, prefix)
    taking.total = len(changes)
    for commit, place, tracked in changes:
        what = f"{place} of {commit.id[:SHORT]}" if commit else f"{place}, not committed"
        source = source_of(project / unspell(place), home)
        taking.take(what, partial(_dvc_state, names[place], commit, place, tracked, source, contents, project))
    done = taking.done()
    if done.missing and far:
        note = f"{far} was not asked, as it is no folder here: dvc fetch --all-commits, and import again"
        return msgspec.structs.replace(done, notes=(*done.notes, note))
    return done


def _dvc_changes(history: History, project: Path, notes: list[str]) -> Iterator[tuple[Commit | None, str, _Tracked]]:
    """The outputs that a commit has otherwise than each of its parents, oldest first."""
    memo: dict[str, Any] = {}
    for commit in history.commits(("*.dvc", "dvc.lock", "**/dvc.lock")):
        before = [_dvc_at(history, parent, notes, memo) for parent in commit.parents]
        for place, tracked in _dvc_at(history, commit.id, notes, memo).items():
            if all(_differs(tracked, outs.get(place)) for outs in before):
                yield commit, place, tracked


def _differs(tracked: _Tracked, other: _Tracked | None) -> bool:
    return other is None or (tracked.out.value, tracked.out.members) != (other.out.value, other.out.members)


def _dvc_at(history: History, commit: str, notes: list[str], memo: dict[str, Any]) -> dict[str, _Tracked]:
    """Place -> what a commit tracks there."""
    if commit in memo:
        found: dict[str, _Tracked] = memo[commit]
        return found
    listing = history.listing(commit)
    found = {}
    for path, item in listing.items():
        if not dvc.is_pointer(path) or item.mode == LINK:
            continue
        pipeline = listing.get(posixpath.join(posixpath.dirname(path), dvc.PIPELINE))
        key = f"{item.id} {pipeline.id if pipeline else ''}"
        if key not in memo:
            beside = history.read(pipeline.id).decode("utf-8", "replace") if pipeline else ""
            memo[key] = _stages(history.read(item.id).decode("utf-8", "replace"), path, beside, notes)
        found |= _places(path, memo[key], notes)
    memo[commit] = found
    return found


def _dvc_here(project: Path, notes: list[str]) -> dict[str, _Tracked]:
    """What is tracked now, committed or not."""
    found: dict[str, _Tracked] = {}
    for file in _pointers_below(project):
        path = file.relative_to(project).as_posix()
        beside = file.with_name(dvc.PIPELINE)
        pipeline = beside.read_text("utf-8", "replace") if beside.is_file() else ""
        found |= _places(path, _stages(file.read_text("utf-8", "replace"), path, pipeline, notes), notes)
    return found


def _pointers_below(project: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(project):
        hidden = [name for name in folders if name.startswith(".") or Path(folder, name, "pyvenv.cfg").exists()]
        folders[:] = sorted(set(folders) - set(hidden))
        for path in (Path(folder, name) for name in sorted(files) if dvc.is_pointer(name)):
            if path.is_file():
                yield path


def _stages(text: str, path: str, pipeline: str, notes: list[str]) -> list[dvc.Stage]:
    try:
        if posixpath.basename(path) == dvc.LOCK:
            return dvc.read_lock(text, path, pipeline)
        return [dvc.read_pointer(text, path)]
    except UsageError as error:
        notes.append(f"left out: {error.what}")
        return []


def _places(path: str, stages: Iterable[dvc.Stage], notes: list[str]) -> dict[str, _Tracked]:
    found = {}
    for stage in stages:
        for out in stage.outs:
            place = posixpath.normpath(posixpath.join(posixpath.dirname(path), stage.place(out)))
            if out.is_elsewhere or place.startswith("../"):
                notes.append(f"left out: {out.path} of {path} lies outside the project")
            elif out.cached:
                found[spell(place)] = _Tracked(out=out, pointer=path, stage=stage)
    return found


def _dvc_state(
    name: str, commit: Commit | None, place: str, tracked: _Tracked, source: str, contents: _Contents, project: Path
) -> State:
    out = tracked.out
    base = posixpath.basename(place)
    if out.is_folder:
        files = contents.folder(out, project / unspell(place))
    else:
        content = contents.file(out.value, out.hash, place, project / unspell(place))
        files = (File(path=base, place=content, executable=out.executable),)
    said = {"dvc.file": spell(tracked.pointer), f"dvc.{out.hash}": out.value}
    said |= {"dvc.stage": spell(tracked.stage.name)} if tracked.stage.name else {}
    said |= {"dvc.source": spell(tracked.stage.source)} if tracked.stage.source else {}
    said |= {"dvc.desc": spell(text)} if (text := out.description or tracked.stage.description) else {}
    said |= {"git.commit": commit.id} if commit else {}
    changed = (project / unspell(tracked.pointer)).stat().st_mtime if commit is None else 0.0
    return State(
        name=name,
        files=files,
        single=not out.is_folder,
        made=commit.moment if commit else datetime.fromtimestamp(changed, UTC),
        user=spell(commit.author) if commit else user_here(),
        message=spell(commit.message) if commit else "",
        source=source,
        metadata=said,
        checksums={dvc.MD5: out.value} if out.hash == dvc.MD5 and not out.is_folder else {},
    )


class _Contents:
    """The cache and the remotes of a DVC project, and its working files. Each content is proved once."""

    def __init__(self, config: dvc.Config) -> None:
        folders = [remote.folder for remote in config.remotes.values() if remote.folder is not None]
        self._roots = [config.cache, *folders]
        self._known: dict[tuple[str, str], Path | str] = {}

    def file(self, value: str, kind: str, name: str, working: Path) -> Path:
        """The proved content of a hash, which may still lie where it is worked with. Raises _Absent."""
        if not value:
            raise _Absent(f"no hash is recorded of {readable(name)}")
        if kind not in (dvc.MD5, dvc.OLD):
            raise _Absent(f"{readable(name)} is named by {kind}, which is not known here")
        if (value, kind) not in self._known:
            self._known[value, kind] = self._look(value, kind)
        found = self._known[value, kind]
        if isinstance(found, str) and working.is_file() and dvc.is_content(working, value, kind):
            found = self._known[value, kind] = working.resolve()
        if isinstance(found, str):
            raise _Absent(f"{readable(name)} ({kind} {value[:SHORT]}) {found}")
        return found

    def folder(self, out: dvc.Out, working: Path) -> tuple[File, ...]:
        members = list(out.members)
        if not members:
            listing = self.file(out.value, out.hash, "its listing", Path(os.devnull))
            members = dvc.read_listing(listing.read_bytes(), f"the listing {out.value}")
        files, absent = [], []
        for member in members:
            try:
                place = self.file(member.value, out.hash, spell(member.path), working / member.path)
                files.append(File(path=spell(member.path), place=place))
            except _Absent as why:
                absent.append(str(why))
        if absent:
            more = f", and {len(absent) - 1} other files of {len(members)}" if len(absent) > 1 else ""
            raise _Absent(f"{absent[0]}{more}")
        return tuple(files)

    def _look(self, value: str, kind: str) -> Path | str:
        """The first copy that is whole; else what is wrong."""
        damaged = ""
        for root in self._roots:
            place = dvc.find_content(value, kind, [root])
            if place is not None and dvc.is_content(place, value, kind):
                return place
            if place is not None:
                damaged = f"is damaged: {shown(place)} holds other bytes than its hash says"
        return damaged or "is neither in the cache nor in a remote that is a folder"


# Quilt -------------------------------------------------------------------------------------------------------------


def adopt_quilt(registry: Path, home: Home, names: Iterable[str], prefix: str, progress: Progress) -> Adopted:
    """Each version of each package of a registry in a folder, or of those named. Content comes from physical keys that
    are files here."""
    there = quilt.names(registry)
    wanted = list(names) or there
    for name in wanted:
        if name not in there:
            known = ", ".join(there) or "none"
            raise NotFound(
                f"{shown(registry)} has no package {name}", because=f"It has {known}.", hint="bis import quilt"
            )
    if not there:
        raise NotFound(
            f"{shown(registry)} is no registry of Quilt with packages in it",
            hint="name the folder that holds .quilt, for example ~/.local/share/Quilt/packages",
        )
    taking = _Taking(home, progress)
    for name in wanted:
        for version in quilt.versions(registry, name):
            make = partial(_quilt_state, registry, name, version, _named(name, prefix), home)
            taking.take(f"{name}@{version.top[:SHORT]}", make)
    return taking.done()


def _quilt_state(registry: Path, name: str, version: quilt.Version, called: str, home: Home) -> State:
    try:
        package = quilt.read_package(registry, version.top)
    except UsageError as error:
        raise _Absent(error.what) from None
    files = []
    for row in package.rows:
        places = [place for key in row.physical_keys if (place := quilt.local_path(key)) is not None]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise _Absent(f"{row.logical_key} is not here ({', '.join(row.physical_keys)})")
        proved = quilt.is_content(place, row)
        if proved is not True:
            kind = row.hash.type if row.hash else "none"
            why = f"cannot be proved: its hash is {kind}" if proved is None else "has other bytes than the package says"
            raise _Absent(f"{shown(place)} {why}")
        files.append(File(path=spell(row.logical_key), place=place.resolve()))
    if not files:
        raise _Absent("the package has no files")
    said = {spell(key): spell(_words(value)) for key, value in package.metadata.items()}
    made = version.made or datetime.fromtimestamp(
        (registry / quilt.ROOT / "packages" / version.top).stat().st_mtime, UTC
    )
    return State(
        name=called,
        files=tuple(files),
        made=made,
        message=spell(package.message),
        source=source_of(registry, home),
        metadata={**said, "quilt.package": name, "quilt.top": version.top},
    )


def _words(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# Kedro -------------------------------------------------------------------------------------------------------------


def adopt_kedro(project: Path, home: Home, prefix: str, progress: Progress) -> Adopted:
    """Each version of each versioned data set that a project's catalogs declare, or that has the layout of one; of a
    data set by itself, its own versions."""
    taking = _Taking(home, progress)
    found = {f"{project.name}": project} if kedro.versions(project) else {}
    if not found:
        found = {name: project / one.filepath for name, one in kedro.declared(project).items()}
        known = {path.resolve() for path in found.values()}
        others = [path for path in kedro.find_versioned(project) if path.resolve() not in known]
        found |= {str(path.relative_to(project)): path for path in others}
    if not any(kedro.versions(path) for path in found.values()):
        raise NotFound(
            f"no versioned data sets of Kedro are in {shown(project)}",
            because="They lie as PATH/VERSION/NAME, where NAME is the last word of PATH.",
            hint="bis import kedro PROJECT, or PROJECT/data/cars.csv",
        )
    for called, path in sorted(found.items()):
        for version in kedro.versions(path):
            taking.take(f"{called} {version}", partial(_kedro_state, called, path, version, prefix, home))
    return taking.done()


def _kedro_state(called: str, path: Path, version: str, prefix: str, home: Home) -> State:
    place = path / version / path.name
    files = tuple(_below(place)) if place.is_dir() else (File(path=spell(place.name), place=place.resolve()),)
    if not files:
        raise _Absent("the folder has no files")
    return State(
        name=_named(_stem(called, not place.is_dir()), prefix),
        files=files,
        single=not place.is_dir(),
        made=kedro.version_moment(version) or datetime.fromtimestamp(place.stat().st_mtime, UTC),
        source=source_of(path, home),
        metadata={"kedro.dataset": spell(called), "kedro.version": version},
    )


def _below(folder: Path) -> Iterator[File]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield File(path=spell(path.relative_to(folder).as_posix()), place=path.resolve())


# Git LFS and git-annex ---------------------------------------------------------------------------------------------


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
            raise _Absent(f"sha256 {pointer.oid[:SHORT]} is not here: git lfs fetch --all")
        if not lfs.is_content(found, pointer):
            raise _Absent(f"{shown(found)} holds other bytes than its hash says: git lfs fsck")
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
            raise _Absent(f"{key} is not here: git annex get --all")
        proved = annex.is_content(found, key)
        if proved is not True:
            why = "does not say what the content is, so nothing proves it" if proved is None else "names other bytes"
            raise _Absent(f"{key} {why}")
        return found

    return _adopt_git(path, home, variables, prefix, progress, roots, resolve, "git-annex")


Resolve = Callable[[Item, bytes, tuple[Path, ...]], Path | None]


class _Pointed:
    """What lies at a path of a Git repository, through time, with the contents that pointers stand for."""

    def __init__(self, history: History, roots: tuple[Path, ...], resolve: Resolve) -> None:
        self._history, self._roots, self._resolve = history, roots, resolve
        self._known: dict[str, Path | str | None] = {}

    def content(self, item: Item) -> Path | None:
        """The proved content of a pointer; None for a file that Git has itself. Raises _Absent."""
        if item.id not in self._known:
            try:
                self._known[item.id] = self._resolve(item, self._history.read(item.id), self._roots)
            except _Absent as absent:
                self._known[item.id] = str(absent)
        found = self._known[item.id]
        if isinstance(found, str):
            raise _Absent(found)
        return found

    def is_pointer(self, item: Item) -> bool:
        """Whether its content is elsewhere, be it here or not."""
        try:
            return self.content(item) is not None
        except _Absent:
            return True

    def file(self, path: str, item: Item) -> File:
        try:
            place = self.content(item)
        except _Absent as absent:
            raise _Absent(f"{readable(path)}: {absent}") from None
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
    name = _named(_stem(path.name, bool(only)), prefix)
    taking = _Taking(home, progress)
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


# Croissant ---------------------------------------------------------------------------------------------------------


def adopt_croissant(path: Path, home: Home, name: str, prefix: str, progress: Progress) -> Adopted:
    """The files that a description names and that lie beside it."""
    file = path / "croissant.json" if path.is_dir() else path
    if not file.is_file():
        raise NotFound(f"{shown(file)} is not there", hint="bis import croissant FOLDER/croissant.json")
    whole = croissant.read(file.read_text("utf-8", "replace"), str(file))
    taking = _Taking(home, progress)
    taking.notes += whole.notes

    def state() -> State:
        files, unproved = [], 0
        for one in whole.files:
            place = file.parent / croissant.local_place(one)
            if one.inside:
                continue
            if not croissant.local_place(one) or not place.is_file():
                raise _Absent(f"{one.path or one.url} is not here ({one.url})")
            if not (one.sha256 or one.md5):
                unproved += 1
            _prove(place, one)
            files.append(File(path=spell(one.path or place.name), place=place.resolve()))
        if not files:
            raise not_understood(str(file), "none of its files lies beside it")
        if unproved:
            told = counted(unproved, "file")
            taking.notes.append(f"kept without a checksum to hold against, as the description has none: {told}")
        said = {key: value for key in ("version", "license", "url") if (value := getattr(whole, key))}
        return State(
            name=_named(name or _stem(whole.name, False), prefix),
            files=tuple(files),
            made=_moment(whole.published) or datetime.fromtimestamp(file.stat().st_mtime, UTC),
            message=spell(whole.description),
            source=source_of(file, home),
            metadata={f"croissant.{key}": spell(value) for key, value in said.items()},
        )

    taking.take(whole.name, state)
    return taking.done()


def _prove(place: Path, one: croissant.File) -> None:
    if one.sha256 and lfs.point_at(place).oid != one.sha256:
        raise _Absent(f"{shown(place)} has another sha256 than the description says")
    if one.md5 and dvc.hash_file(place) != one.md5:
        raise _Absent(f"{shown(place)} has another md5 than the description says")


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# Names and places --------------------------------------------------------------------------------------------------


def _names(places: Mapping[str, bool], prefix: str) -> dict[str, str]:
    """Place -> name of its data set: its last word without suffixes, or, where two would be called alike, all of it."""
    short = {place: _stem(posixpath.basename(place), not folder) for place, folder in places.items()}
    taken = [*short.values()]
    return {
        place: _named(name if taken.count(name) == 1 else _stem(place, not places[place]), prefix)
        for place, name in short.items()
    }


def _stem(path: str, is_file: bool) -> str:
    folder, _, name = path.rpartition("/")
    if is_file:
        while Path(name).suffix in PACKED:
            name = Path(name).stem
        name = Path(name).stem
    return f"{folder}/{name}" if folder else name


def _named(name: str, prefix: str) -> str:
    """A name that a data set can have."""
    words = [re.sub(r"[^\w.+-]", "-", word).strip(".-+") for word in f"{prefix}/{name}".split("/")]
    called = "/".join(filter(None, words))
    if not is_data_name(called):
        raise UsageError(f"no name can be made of {name!r}", hint="--prefix NAME")
    return called
