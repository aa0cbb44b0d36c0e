"""Data that is known before the run: inputs that it will read, and names that it will find."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.digest import readable, spell, unspell
from bis.nouns.part import Finding
from bis.parts import Scene
from bis.settings import FOLDER

LISTED: Final = 10_000
"""So many names of one folder are recorded; of a larger one only what is read."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is to be recorded: how records name it, and where its bytes of that time are now."""

    name: str
    place: Path | None
    """None: the run overwrote it; its bytes of that time are those recorded before the run."""
    how: str
    read: bool = True


def expected(scene: Scene, findings: list[Finding]) -> Iterator[Input]:
    """Inputs that are known before the run: declared in the settings, and read by the last run of the same command."""
    for name in scene.remembered:
        place = scene.real(name if name.startswith("/") else spell(str(scene.project / unspell(name))))
        if place.is_file():
            yield Input(name=name, place=place, how="remembered")
    top = scene.real(spell(str(scene.project)))
    for glob in scene.settings.data:
        files = [file for path in _meant(glob, top, scene) for file in _files(path)]
        for file in files:
            yield Input(name=_called(file, top, scene.outside), place=file, how="declared", read=False)
        if not files:
            findings.append(_absent(glob, scene))


def _called(file: Path, top: Path, outside: Path | None) -> str:
    if file.is_relative_to(top):
        return spell(str(file.relative_to(top)))
    return spell(str("/" / file.relative_to(outside)) if outside and file.is_relative_to(outside) else str(file))


def _meant(glob: str, top: Path, scene: Scene) -> list[Path]:
    """The files and folders of a declaration; none for what is no pattern. In a repeat those of the record: what lies
    at such paths on the machine is not what the command finds there."""
    start, pattern = top, glob
    if glob.startswith(("/", "~/", "../")):
        pattern = os.path.normpath(scene.project / (scene.home / glob[2:] if glob[0] == "~" else glob))
        own = f"{scene.project}/"
        if f"{pattern}/" == own:
            return [top]
        start = top if pattern.startswith(own) else scene.outside or Path("/")
        pattern = pattern.removeprefix(own)
        pattern = pattern.lstrip("/")
    try:
        found = sorted(start.glob(pattern)) if pattern else []
    except ValueError:  # `data/**x`
        return []
    return [Path(os.path.normpath(path)) for path in found]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name not in (FOLDER, ".git", ".hg", ".svn"))
            yield from (Path(folder, name) for name in sorted(names))


def _absent(glob: str, scene: Scene) -> Finding:
    return Finding(
        code="declared-absent",
        text=f"no file is meant by the declared data {readable(spell(glob))!r}",
        hint=f"data in bis.toml, or --data: files, folders or globs, relative to {readable(spell(str(scene.project)))}",
    )


def names_at_top(scene: Scene) -> list[dict[str, Any]]:
    """The project's own folder before the run. Its names are read by every interpreter that starts there, so which
    command looked at them is not known; a repeat finds them all, most of them without content."""
    found: list[dict[str, Any]] = []
    try:
        with os.scandir(scene.real(spell(str(scene.project)))) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                row = _there(spell(entry.name), Path(entry.path))
                if row and not (row["kind"] == "folder" and Path(entry.path, "pyvenv.cfg").exists()):
                    found.append(row)
    except OSError:
        return []
    return found if len(found) <= LISTED else []


def _there(name: str, path: Path) -> dict[str, Any] | None:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return {"path": name, "kind": "link", "target": spell(str(path.readlink()))}
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return {"path": name, "kind": "folder"}
    return {"path": name, "kind": "file", "size": status.st_size} if stat.S_ISREG(status.st_mode) else None
