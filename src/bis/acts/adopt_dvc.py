"""`bis import dvc`: outputs of a DVC project become versions of data sets, with the history that Git has of them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import readable, spell, unspell
from bis.errors import NotFound, UsageError
from bis.foreign import dvc
from bis.foreign.history import LINK, Commit, History
from bis.steps.add_data import source_of
from bis.steps.adopting import File, State
from bis.steps.far import Far, Kept
from bis.steps.here import user_here
from bis.steps.home import Home
from bis.steps.taking import SHORT, Absent, Adopted, Progress, Taking, names_for
from bis.store.crew import in_order
from bis.store.trouble import shown

NOWHERE = "is neither in the cache nor in a remote that could be asked"


class _Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """An output, and which file says that it is tracked."""

    out: dvc.Out
    pointer: str
    stage: dvc.Stage


def adopt_dvc(project: Path, home: Home, variables: Mapping[str, str], prefix: str, progress: Progress) -> Adopted:
    """Each commit in which an output changed becomes a version of the data set of that output, and what is pointed at
    but not committed yet becomes one, too. Content comes from the cache, from remotes that are folders, and what they
    lack from those on servers."""
    if not (project / dvc.FOLDER).is_dir():
        raise NotFound(f"{shown(project)} is no DVC project: it has no folder .dvc", hint="bis import dvc PROJECT")
    config = dvc.read_config(project)
    contents = _Contents(config, home)
    taking = Taking(home, progress)
    with History(project, variables) as history:
        changes = list(_dvc_changes(history, project, taking.notes)) if history.is_there() else []
        committed = _dvc_at(history, "HEAD", taking.notes, {}) if history.is_there() else {}
    now = _dvc_here(project, taking.notes)
    changes += [(None, place, tracked) for place, tracked in now.items() if _differs(tracked, committed.get(place))]
    names = names_for({place: tracked.out.is_folder for _, place, tracked in changes}, prefix)
    taking.total = len(changes)
    with contents:
        for commit, place, tracked in changes:
            what = f"{place} of {commit.id[:SHORT]}" if commit else f"{place}, not committed"
            source = source_of(project / unspell(place), home)
            taking.take(what, partial(_dvc_state, names[place], commit, place, tracked, source, contents, project))
    done = taking.done()
    if done.missing:
        hint = "dvc fetch --all-commits, and import again"
        told = [
            f"the remote {far.name} could not be asked: {far.trouble}; {hint}" for far in contents.far if far.trouble
        ]
        return msgspec.structs.replace(done, notes=(*done.notes, *told))
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
        files = (_file(base, contents.file(out, place, project / unspell(place)), executable=out.executable),)
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

    def __init__(self, config: dvc.Config, home: Home) -> None:
        self._roots = config.roots
        self._order = {name: [one.name for one in config.in_order(name)] for name in ("", *config.remotes)}
        self._far = {one.name: Far(one, home) for one in config.remotes.values() if one.folder is None}
        self._store = home.store
        self._known: dict[tuple[str, str], Path | Kept | str] = {}

    @property
    def far(self) -> list[Far]:
        """The remotes on servers."""
        return list(self._far.values())

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for far in self.far:
            far.close()

    def file(self, out: dvc.Out, name: str, working: Path, value: str = "") -> Path | Kept:
        """The proved content of an output, or of another hash beside it; it may still lie where it is worked with.
        Raises Absent."""
        value, kind = value or out.value, out.hash
        if not value:
            raise Absent(f"no hash is recorded of {readable(name)}")
        if kind not in (dvc.MD5, dvc.OLD):
            raise Absent(f"{readable(name)} is named by {kind}, which is not known here")
        self._look_here(value, kind, working)
        found = self._known[value, kind]
        if isinstance(found, str):
            found = self._known[value, kind] = self._ask(value, kind, out.remote, found)
        if isinstance(found, str):
            raise Absent(f"{readable(name)} ({kind} {value[:SHORT]}) {found or NOWHERE}")
        return found

    def folder(self, out: dvc.Out, working: Path) -> tuple[File, ...]:
        members = list(out.members)
        if not members:
            listing = self.file(out, "its listing", Path(os.devnull))
            data = self._store.get_bytes(listing.digest) if isinstance(listing, Kept) else listing.read_bytes()
            members = dvc.read_listing(data, f"the listing {out.value}")
        self._bring(members, out, working)
        files, absent = [], []
        for member in members:
            try:
                files.append(
                    _file(spell(member.path), self.file(out, spell(member.path), working / member.path, member.value))
                )
            except Absent as why:
                absent.append(str(why))
        if absent:
            more = f", and {len(absent) - 1} other files of {len(members)}" if len(absent) > 1 else ""
            raise Absent(f"{absent[0]}{more}")
        return tuple(files)

    def _bring(self, members: Iterable[dvc.Member], out: dvc.Out, working: Path) -> None:
        """What servers have of these is asked for, several at once."""
        if not self._far or out.hash not in (dvc.MD5, dvc.OLD):
            return
        for member in members:
            if dvc.HEX.fullmatch(member.value):
                self._look_here(member.value, out.hash, working / member.path)
        lacking = {
            member.value: found
            for member in members
            if isinstance(found := self._known.get((member.value, out.hash)), str)
        }
        at_once = min(far.at_once for far in self.far)
        asked = in_order(lambda value: self._ask(value, out.hash, out.remote, lacking[value]), lacking, at_once)
        self._known |= {(value, out.hash): found for value, found in zip(lacking, asked, strict=True)}

    def _look_here(self, value: str, kind: str, working: Path) -> None:
        if (value, kind) not in self._known:
            self._known[value, kind] = self._look(value, kind)
        found = self._known[value, kind]
        if isinstance(found, str) and working.is_file() and dvc.is_content(working, value, kind):
            self._known[value, kind] = working.resolve()

    def _look(self, value: str, kind: str) -> Path | str:
        """The first copy on this machine that is whole; else what is wrong with one, or nothing."""
        damaged = ""
        for root in self._roots:
            place = dvc.find_content(value, kind, [root])
            if place is not None and dvc.is_content(place, value, kind):
                return place
            if place is not None:
                damaged = f"is damaged: {shown(place)} holds other bytes than its hash says"
        return damaged

    def _ask(self, value: str, kind: str, named: str, wrong: str) -> Kept | str:
        """The content from the first server that has it whole; else what is wrong with a copy."""
        for name in self._order.get(named, self._order[""]):
            found = self._far[name].take(value, kind) if name in self._far else ""
            if isinstance(found, Kept):
                return found
            wrong = wrong or found
        return wrong


def _file(path: str, content: Path | Kept, *, executable: bool = False) -> File:
    if isinstance(content, Kept):
        return File(path=path, digest=content.digest, size=content.size, executable=executable)
    return File(path=path, place=content, executable=executable)
