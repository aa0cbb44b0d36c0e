"""Data that the trace saw being read, with the bytes that it had when it was first opened, and what is never kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bis.digest import keyed_digest, readable, spell, unspell
from bis.nouns.part import Finding
from bis.nouns.trace import Access, Stat
from bis.nouns.tree import Leaf
from bis.parts import Scene
from bis.parts.beforehand import LISTED, Input
from bis.parts.origin import is_data, is_lock, models_brought, sorter
from bis.parts.programs import recogniser
from bis.parts.secret import holds_secret, is_secret_file


def discovered(
    scene: Scene, expected: Mapping[str, Input], before: Mapping[str, Leaf], findings: list[Finding]
) -> Iterator[Input]:
    """What the trace saw being read, each with the bytes that it had when it was first opened."""
    assert scene.trace is not None
    chosen, brought = _chooser(scene), models_brought(scene)
    written = {access.path for access in scene.trace.accesses if access.was_written}
    read: set[str] = set()
    for access in scene.trace.accesses:
        is_brought = access.path.startswith(brought) and scene.real(access.path).is_file()
        if not (access.was_read or is_brought) or not chosen(access):
            continue
        name = scene.named(access.path)
        read.add(name)
        how = expected[name].how if name in expected else "discovered"
        if access.preimage and not is_brought:  # what was asked for then lies where another answer lay before
            yield Input(name=name, place=Path(unspell(access.preimage)), how=how)
        elif not is_brought and (access.was_written or any(letter in access.how for letter in "dm")):
            if name in before:
                yield Input(name=name, place=None, how=how)
            else:
                findings.append(_overwritten(name))
        else:
            place = scene.real(access.path)
            if not is_brought:
                findings += _trouble(access, name, place)
            yield Input(name=name, place=place, how=how)
    for name, place in _beside(scene, written):
        if name not in expected and name not in read:
            yield Input(name=name, place=place, how="listed", read=False)


def _chooser(scene: Scene) -> Callable[[Access], bool]:
    origin = sorter(scene)
    is_program = recogniser(scene, origin)
    top = spell(str(scene.project))

    def chosen(access: Access) -> bool:
        where = origin(access.path)
        if where not in ("project", "outside", "temporary") or _is_secret(access.path, scene):
            return False
        if where != "project" and is_lock(access):  # a project may itself lie among temporary files
            return False
        if is_program(access):
            return False
        size = access.before.size if access.before else 0
        name = access.path[len(top) + 1 :]
        # What an earlier run made is left out of the code, whatever its name.
        return where != "project" or name in scene.known_outputs or is_data(name, size)

    return chosen


def _overwritten(name: str) -> Finding:
    return Finding(
        code="input-overwritten",
        text=f"{readable(name)} was read and then changed or removed by the run; its content from before was not kept",
        hint=f'declare it, so that it is recorded before each run: data = ["{readable(name)}"] in bis.toml',
        blocks=True,
    )


def _trouble(access: Access, name: str, place: Path) -> Iterator[Finding]:
    """What is wrong with a file whose bytes of the time must now be taken from where it lies."""
    try:
        status = place.stat()
    except OSError as error:
        text = f"{readable(name)} was read and cannot be read any more ({error.strerror})"
        yield Finding(code="input-vanished", text=text, blocks=True)
        return
    if access.before and not _unchanged(access.before, status):
        text = f"{readable(name)} changed while the run read it; the record holds it as it is now"
        yield Finding(code="input-changed", text=text, hint="run again when nothing else writes to it", blocks=True)


def _unchanged(before: Stat, status: os.stat_result) -> bool:
    return (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _beside(scene: Scene, written: set[str]) -> Iterator[tuple[str, Path]]:
    """Data files that lie in a folder whose listing the run read: which names there are can steer a run, too."""
    assert scene.trace is not None
    origin = sorter(scene)
    top = spell(str(scene.project))
    for access in scene.trace.accesses:
        if "l" not in access.how or access.path == top or origin(access.path) != "project":
            continue
        files = _files_in(scene.real(access.path))
        for file, size in files if len(files) <= LISTED else ():
            path = f"{access.path}/{spell(file.name)}"
            name = scene.named(path)
            if path in written or name in scene.known_outputs or _is_secret(path, scene):
                continue
            if is_data(name, size):
                yield name, file


def _files_in(folder: Path) -> list[tuple[Path, int]]:
    """The files of a folder and their sizes, without those that cannot be looked at (a link that leads to itself)."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_file():
                        found.append((Path(entry.path), entry.stat().st_size))
    except OSError:
        pass
    return found


def secrets(scene: Scene) -> Iterator[dict[str, str]]:
    """Files that were read and whose content is nobody's business: path and keyed digest."""
    assert scene.trace is not None
    origin = sorter(scene)
    for access in scene.trace.accesses:
        if access.was_read and origin(access.path) in ("project", "outside") and _is_secret(access.path, scene):
            try:
                content = scene.real(access.path).read_bytes()
            except OSError:
                continue
            yield {"path": scene.named(access.path), "digest": keyed_digest(scene.key, content.hex())}


def _is_secret(path: str, scene: Scene) -> bool:
    secrets = scene.settings.secrets
    return is_secret_file(path, secrets) and holds_secret(path, scene.real(path), secrets)
