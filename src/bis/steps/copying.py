"""Packages copied out of the environment in which they were recorded, each file proved by its hash.

For machines that no index reaches: a cluster behind a wall, a build that was installed by hand and that no index has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from bis.digest import spell, unspell
from bis.parts.edited import matches
from bis.parts.installed import MADE_BY_INSTALLERS, Installed, all_rows, installed, record_digest, rows_of
from bis.parts.interpreter import Interpreter
from bis.steps.installing import put_scripts


def copy_proved(
    packages: Iterable[Installed], recorded: Interpreter, here: Interpreter, site: Path, edited: Collection[str] = ()
) -> list[Installed]:
    """Put those packages into `site` that still lie, whole and unchanged, on the path of the `recorded` interpreter.
    Returns them. One that was compiled for that interpreter is left where the one `here` could not load it.

    Every file is hashed as it was copied; of a package with one that is not as its RECORD says nothing is put there,
    and what is there stays. Files that were `edited` (spelled) are left out, as the caller puts their recorded content
    there.
    """
    folders = [Path(unspell(folder)) for folder in recorded.path]
    compiled = f".{recorded.abi}." if here.abi != recorded.abi else ""
    return [
        package
        for package in packages
        if package.proof == "record" and any(_copied(package, folder, site, edited, compiled) for folder in folders)
    ]


def _copied(package: Installed, old: Path, site: Path, edited: Collection[str], compiled: str) -> bool:
    info = unspell(package.info)
    try:
        record = (old / info / "RECORD").read_bytes()
    except OSError:
        return False
    rows = list(rows_of(record, info))
    if record_digest(rows) != package.record or (compiled and any(compiled in path for path, _ in rows)):
        return False
    wanted = {unspell(path): told for path, told in rows if path not in edited}
    room = site / f".copying-{package.name}"
    try:
        if not _all_copied(wanted, old, room):
            return False
        _take_away(package.name, site)
        for path in wanted:
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (room / path).replace(site / path)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    for name in MADE_BY_INSTALLERS:
        if (old / info / name).is_file():
            shutil.copyfile(old / info / name, site / info / name)
    _copy_beside(record, old, site)
    put_scripts(site, info)
    return True


def _all_copied(wanted: Mapping[str, str], old: Path, into: Path) -> bool:
    try:
        return all(_copy(old / path, into / path, told) for path, told in wanted.items())
    except OSError:
        return False


def _take_away(name: str, site: Path) -> None:
    """Another build of the same package, which an index had under the recorded version."""
    for other in installed([spell(os.fspath(site))])[0]:
        if other.name == name:
            info = unspell(other.info)
            rows = rows_of((site / info / "RECORD").read_bytes(), info)
            _remove((unspell(path) for path, _ in rows), site, info)


def _remove(paths: Iterable[str], site: Path, info: str) -> None:
    """With its dist-info: an empty one would say that the package is installed."""
    for path in paths:
        (site / path).unlink(missing_ok=True)
    shutil.rmtree(site / info, ignore_errors=True)


def _copy_beside(record: bytes, old: Path, site: Path) -> None:
    """What the wheel put elsewhere in the environment: programs and shared data. Those that an installer rewrote are
    left out; they are no part of what identifies a package."""
    for path, told in all_rows(record):
        place = Path(os.path.normpath(site / unspell(path)))
        if path.startswith("../") and told and place.is_relative_to(site.parents[2]):
            file = Path(os.path.normpath(old / unspell(path)))
            if not (file.is_file() and _copy(file, place, told)):
                place.unlink(missing_ok=True)


def _copy(file: Path, to: Path, told: str) -> bool:
    """The copy is what is hashed. A row without a hash is one that nobody can vouch for."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.unlink(missing_ok=True)
    shutil.copyfile(file, to)
    to.chmod(file.stat().st_mode & 0o777)
    return bool(told) and matches(to, told)
