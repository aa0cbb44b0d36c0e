"""Which other system tracks an input of a run, and as what: DVC, Git LFS, git-annex, Quilt, Kedro. Nothing is copied
for it.

A pointer says what should be there, not what is. A file is held against the hash of its pointer as long as this costs
little; a row whose hash was not looked at says so.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from bis.digest import Digest, readable, spell, unspell
from bis.errors import UsageError
from bis.foreign import annex, dvc, kedro, lfs, quilt
from bis.nouns.part import Finding
from bis.parts import Scene
from bis.parts.quilted import Packages, State
from bis.store import Store

MOST_READ = 256 << 20
"""So many bytes of a run's inputs are read once more to hold them against a pointer."""
CACHED = re.compile(r"/\.dvc/cache/(?:files/md5/)?([0-9a-f]{2})/([0-9a-f]{30})$")
_Out = tuple[Path, Path, dvc.Out]
"""Pointer, place, and what it says of it."""
NAMES = {"dvc": "DVC", "lfs": "Git LFS", "annex": "git-annex", "quilt": "Quilt", "kedro": "Kedro"}


def mark(rows: Iterable[dict[str, Any]], scene: Scene, store: Store) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The rows of inputs, those that another system tracks with `tracked`: `by`, what names the content there (`md5`,
    `sha256`, `key`, `version`, `package` with its `top` hash), `file` (the pointer), `inside` (the path in a folder or
    package that is tracked as one) and `state`; and findings on those that are not what their pointer says."""
    rows = list(rows)
    looking = _Looking(scene, store, rows)
    marked, findings = [], []
    for row in rows:
        told = looking.at(row)
        marked.append({**row, "tracked": told} if told else row)
        if told and told.get("state") == "changed":
            findings.append(_changed(row["path"], told))
    return marked, findings


def shown(row: dict[str, Any]) -> str:
    """What tracks an input, for a person."""
    told = row["tracked"]
    value = told.get("md5") or told.get("sha256") or ""
    package = f"{told.get('package', '')}@{told.get('top', '')[:8]}"
    name = package if told["by"] == "quilt" else value[:8] or told.get("version") or told.get("key", "")
    changed = ", changed since" if told.get("state") == "changed" else ""
    return f"{NAMES.get(told['by'], told['by'])} {readable(name)}{changed}"


def _changed(path: str, told: dict[str, Any]) -> Finding:
    pointer = told.get("file", "")
    hints = {"dvc": f"dvc status, then dvc commit or dvc checkout: {readable(pointer)}"}
    hints["quilt"] = f"quilt3 install {readable(told.get('package', ''))}, or build a new version of it"
    return Finding(
        code="pointer-differs",
        text=f"{readable(path)} is not what {readable(pointer) or NAMES[told['by']]} says: {shown({'tracked': told})}",
        hint=hints.get(told["by"], "git status"),
    )


class _Looking:
    """Looks at inputs one by one; what a folder says is read once."""

    def __init__(self, scene: Scene, store: Store, rows: Iterable[dict[str, Any]]) -> None:
        self._store = store
        self._top = scene.real(spell(str(scene.project)))
        self._scene = scene
        self._left = MOST_READ
        self._projects: dict[Path, Path | None] = {}
        self._pointers: dict[Path, tuple[dict[Path, _Out], list[_Out]]] = {}
        self._listings: dict[str, dict[str, str]] = {}
        self._patterns: dict[Path, list[tuple[Path, str]]] = {}
        share = scene.variables.get("XDG_DATA_HOME") or scene.home / ".local" / "share"
        self._packages = Packages(Path(share, "Quilt"), (Path(unspell(row["path"])) for row in rows))

    def at(self, row: dict[str, Any]) -> dict[str, str] | None:
        name = row["path"]
        place = self._scene.real(name) if name.startswith("/") else self._top / unspell(name)
        found = self._dvc(place, row) or self._annex(place) or self._quilt(place, row)
        return found or self._kedro(name) or self._lfs(place, row)

    # DVC

    def _dvc(self, place: Path, row: dict[str, Any]) -> dict[str, str] | None:
        cached = CACHED.search(os.fspath(place))
        if cached:
            value = cached[1] + cached[2]
            return {"by": "dvc", "md5": value, "state": self._md5(place, row, value, dvc.MD5)}
        project = self._project(place.parent)
        folder = place.parent
        while project is not None and folder.is_relative_to(project):
            files, folders = self._in(folder)
            found = files.get(place) or next((one for one in folders if place.is_relative_to(one[1])), None)
            if found is not None:
                return self._tracked(place, row, *found, project)
            folder = folder.parent
        return None

    def _tracked(
        self, place: Path, row: dict[str, Any], pointer: Path, out_place: Path, out: dvc.Out, project: Path
    ) -> dict[str, str]:
        told = {"by": "dvc", "file": self._named(pointer)}
        value = out.value
        if out.is_folder:
            inside = spell(place.relative_to(out_place).as_posix())
            told |= {"inside": inside, "folder": out.value}
            listing = self._listing(out, project)
            if listing is None:
                return {**told, "state": "unchecked"}
            value = listing.get(inside, "")
        state = self._md5(place, row, value, out.hash) if value else "changed"
        return {**told, "md5": value, "state": state}

    def _md5(self, place: Path, row: dict[str, Any], value: str, kind: str) -> State:
        return self._held(row, lambda: dvc.matches(lambda: self._open(row, place), value, kind))

    def _in(self, folder: Path) -> tuple[dict[Path, _Out], list[_Out]]:
        """What the pointers of one folder track: files by their place, and folders."""
        if folder not in self._pointers:
            files, folders = dict[Path, _Out](), list[_Out]()
            for pointer in [*sorted(folder.glob("*.dvc")), folder / dvc.LOCK]:
                for stage in dvc.stages_of(pointer) if pointer.is_file() else ():
                    for out in stage.outs:
                        place = Path(os.path.normpath(folder / stage.place(out)))
                        files.setdefault(place, (pointer, place, out))
                        folders += [(pointer, place, out)] if out.is_folder else []
            self._pointers[folder] = files, folders
        return self._pointers[folder]

    def _project(self, folder: Path) -> Path | None:
        """The DVC project around a folder."""
        if folder not in self._projects:
            here = folder / dvc.FOLDER
            up = self._project(folder.parent) if folder != folder.parent else None
            self._projects[folder] = folder if here.is_dir() else up
        return self._projects[folder]

    def _listing(self, out: dvc.Out, project: Path) -> dict[str, str] | None:
        """The files of a folder, by its listing in the cache or in a remote that is a folder; None when that is not
        there, or is not the one named."""
        if out.members:
            return {spell(member.path): member.value for member in out.members}
        if out.value not in self._listings:
            try:
                found = dvc.find_content(out.value, out.hash, dvc.read_config(project).roots)
                if found is None or not dvc.is_content(found, out.value, dvc.MD5):
                    return None
                members = dvc.read_listing(found.read_bytes())
            except (OSError, UsageError):
                return None
            self._listings[out.value] = {spell(member.path): member.value for member in members}
        return self._listings[out.value]

    # The others

    def _annex(self, place: Path) -> dict[str, str] | None:
        path = os.fspath(place.readlink() if place.is_symlink() else place)
        key = annex.key_of_link(path) if annex.OBJECTS in path else None
        return {"by": "annex", "key": spell(str(key))} if key else None

    def _quilt(self, place: Path, row: dict[str, Any]) -> dict[str, str] | None:
        def held(hash: quilt.Hash) -> State:
            if hash.type not in (quilt.PLAIN, quilt.CHUNKED):
                return "unchecked"
            return self._held(row, lambda: self._quilt_hash(place, row, hash.type) == hash)

        return self._packages.at(place, row["size"], held)

    def _quilt_hash(self, place: Path, row: dict[str, Any], kind: str) -> quilt.Hash | None:
        with self._open(row, place) as file:
            return quilt.hash_stream(file, row["size"], kind)

    def _kedro(self, name: str) -> dict[str, str] | None:
        version = kedro.version_of(name) if kedro.STAMP.search(name) else ""
        return {"by": "kedro", "version": version} if version else None

    def _lfs(self, place: Path, row: dict[str, Any]) -> dict[str, str] | None:
        """A content that Git LFS has, by its own hash; where attributes say that the file is one of its."""
        if row["path"].startswith("/") or not self._is_large(place) or row["size"] > self._left:
            return None
        self._left -= row["size"]
        try:
            with self._open(row, place) as file:
                pointer = lfs.point_at_stream(file)
        except OSError:  # recorded by reference, and gone by now
            return None
        objects = self._top / ".git" / "lfs" / "objects"
        if lfs.find_content(pointer, (objects,)) is None:
            return None
        return {"by": "lfs", "sha256": pointer.oid, "state": "same"}

    def _is_large(self, place: Path) -> bool:
        for folder, pattern in self._filtered(place.parent):
            inside = place.relative_to(folder).as_posix() if "/" in pattern else place.name
            if fnmatch.fnmatch(inside, pattern.lstrip("/")):
                return True
        return False

    def _filtered(self, folder: Path) -> list[tuple[Path, str]]:
        """Patterns for which the attributes of a folder, and of those around it, name the filter of Git LFS."""
        if folder not in self._patterns:
            path = folder / ".gitattributes"
            rows = [line.split() for line in path.read_text("utf-8", "replace").splitlines()] if path.is_file() else []
            own = [(folder, row[0]) for row in rows if "filter=lfs" in row[1:]]
            inside = folder != self._top and folder.is_relative_to(self._top)
            self._patterns[folder] = own + (self._filtered(folder.parent) if inside else [])
        return self._patterns[folder]

    # What all need

    def _held(self, row: dict[str, Any], check: Callable[[], bool]) -> State:
        if row["size"] > self._left:
            return "unchecked"
        self._left -= row["size"]
        try:
            return "same" if check() else "changed"
        except OSError:
            return "unchecked"

    def _open(self, row: dict[str, Any], place: Path) -> BinaryIO:
        """The bytes that the run read: as they were recorded, or, by reference, where they lie."""
        digest = Digest(row["digest"])
        return self._store.open(digest) if row.get("kept", True) and self._store.has(digest) else place.open("rb")

    def _named(self, path: Path) -> str:
        return spell(str(path.relative_to(self._top) if path.is_relative_to(self._top) else path))
