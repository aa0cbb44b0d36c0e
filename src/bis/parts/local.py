"""Packages that no index has: editable installs, local folders and wheels, checkouts. Their files go into the store.

    local:NAME       the source tree of an editable install, by the rules of its version control, without build output
    installed:NAME   the files that the install put into the site folder
    wheel:NAME       the wheel it was installed from (a blob), while it is still there and proved to be that wheel

An editable install whose source lies in the project has no source tree here: that is code.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path

import msgspec

from bis.digest import Digest, readable, spell, unspell
from bis.errors import BisError
from bis.nouns.part import Finding
from bis.parts import Scene
from bis.parts.installed import Installed, all_rows, record_digest, rows_of
from bis.parts.secret import is_secret_file
from bis.parts.vcs import look
from bis.store import Store
from bis.store.snapshot import put_paths

LOCAL = frozenset(("editable", "project", "folder", "archive", "vcs"))
NO_SOURCE = (
    *(".git", ".hg", ".svn", ".bis", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".nox", ".eggs"),
    *("build", "dist", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints", ".cache"),
)
IGNORED_YET_IMPORTED = (".py", ".so", ".pyd", ".dylib")
"""Of the files that version control ignores, those with these endings can be imported: versions, extensions."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into the store of the local packages."""

    packages: tuple[Installed, ...]
    """All packages; those with a source tree now name it, those with a proved wheel its hash."""
    trees: dict[str, Digest] = {}
    findings: tuple[Finding, ...] = ()


def keep(packages: Sequence[Installed], scene: Scene, store: Store) -> Kept:
    """Put what only this machine has into the store. A source that is gone becomes a Finding."""
    trees: dict[str, Digest] = {}
    notes: list[Finding] = []
    answer = []
    for package in packages:
        if package.origin in LOCAL:
            package = _keep_one(package, scene, store, trees, notes)
        answer.append(package)
    return Kept(packages=tuple(answer), trees=trees, findings=tuple(notes))


def _keep_one(
    package: Installed, scene: Scene, store: Store, trees: dict[str, Digest], notes: list[Finding]
) -> Installed:
    try:
        if package.origin == "archive" and (wheel := _proved_wheel(package, scene)):
            path, sha256 = wheel
            trees[f"wheel:{package.name}"] = store.put_file(path)
            return msgspec.structs.replace(package, sha256=sha256)
        if package.proof == "record":
            trees[f"installed:{package.name}"] = _installed_files(package, scene, store, notes)
        if package.origin == "editable":
            tree = _source(package, scene, store, notes)
            trees[f"local:{package.name}"] = tree
            return msgspec.structs.replace(package, tree=tree)
    except (OSError, BisError) as error:
        text = f"the files of {package.name} {package.version} could not be kept: {error}"
        notes.append(Finding(code="local-not-kept", text=text, hint="a repeat will need them where they are now"))
    return package


# -- wheels ------------------------------------------------------------------------------------------------------


def _proved_wheel(package: Installed, scene: Scene) -> tuple[Path, str] | None:
    """The wheel that a package was installed from, when it is still there and its RECORD is the installed one."""
    path = scene.real(package.source) if package.source else None
    if path is None or path.suffix != ".whl" or not path.is_file():
        return None
    if path.stat().st_size > scene.settings.limits.input_file and not scene.settings.copy_data:
        return None
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
            rows = list(rows_of(archive.read(name), name.partition("/")[0]))
    except (zipfile.BadZipFile, StopIteration, KeyError):
        return None
    if record_digest(rows) != package.record:
        return None
    with open(path, "rb") as file:
        return path, file_digest(file, "sha256").hexdigest()


# -- installed files ---------------------------------------------------------------------------------------------


def _installed_files(package: Installed, scene: Scene, store: Store, notes: list[Finding]) -> Digest:
    site = scene.real(package.site)
    record = (site / unspell(package.info) / "RECORD").read_bytes()
    limit = scene.settings.limits.input_file
    pairs = [
        (path, site / unspell(path))
        for path, _ in all_rows(record)
        if not path.startswith(("../", "/")) and not path.endswith(".pyc") and (site / unspell(path)).is_file()
    ]
    return put_paths(pairs, store, scene.cache, keep=lambda _, status: status.st_size <= limit, notes=notes)


# -- sources -----------------------------------------------------------------------------------------------------


def _source(package: Installed, scene: Scene, store: Store, notes: list[Finding]) -> Digest:
    folder = scene.real(package.source)
    if not folder.is_dir():
        raise FileNotFoundError(f"its source {readable(package.source)} is gone")
    tracked, others = _listed(folder, scene.variables)
    secrets = {path for path in tracked | others if is_secret_file(path, scene.settings.secrets)}
    limit = scene.settings.limits.untracked_file

    def small_or_tracked(path: str, status: os.stat_result) -> bool:
        return path in tracked or status.st_size <= limit

    pairs = [(path, folder / unspell(path)) for path in sorted((tracked | others) - secrets)]
    return put_paths(pairs, store, scene.cache, keep=small_or_tracked, modes="exec", notes=notes)


def _listed(folder: Path, variables: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """(files that version control knows, other files of the source), relative and spelled."""
    everything = set(_walk(folder))
    checkout = look(folder, variables)
    if checkout.system == "none":
        return set(), everything
    tracked, untracked = set(checkout.tracked), set(checkout.untracked)
    imported = {path for path in everything if path.endswith(IGNORED_YET_IMPORTED) or ".egg-info/" in path}
    return tracked & _there(folder, tracked), (untracked & everything) | (imported - tracked)


def _there(folder: Path, paths: set[str]) -> set[str]:
    return {path for path in paths if _is_file(folder / unspell(path))}


def _is_file(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in NO_SOURCE and not os.path.exists(f"{root}/{name}/pyvenv.cfg")
        )
        below = os.path.relpath(root, folder)
        start = "" if below == "." else below + "/"
        for name in files:
            if not fnmatch.fnmatch(name, "*.py[co]") and _is_file(Path(root, name)):
                yield spell(start + name)
