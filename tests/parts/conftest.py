"""A scene to capture from: a real folder, a real store, a real cache."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bis.digest import spell
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Scene
from bis.settings import Limits, Settings
from bis.store.local import LocalStore, open_store
from bis.store.statcache import open_cache


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "store")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def scene(project: Path) -> Callable[..., Scene]:
    """Make a scene of `project`; keyword arguments are fields of Scene, or `limits=`."""

    def make(command: tuple[str, ...] = ("python", "train.py"), **fields: object) -> Scene:
        limits = fields.pop("limits", Limits())
        settings = fields.pop("settings", Settings(limits=limits))  # type: ignore[arg-type]
        given = {
            "project": project,
            "folder": project,
            "command": command,
            "variables": {"PATH": "/usr/bin:/bin", "HOME": str(project.parent)},
            "settings": settings,
            "home": project.parent,
            "key": b"key",
            "cache": open_cache(None),
        }
        return Scene(**{**given, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
def reading() -> Callable[..., Trace]:
    """A complete trace in which the given files were read, as they are now."""

    def make(*paths: Path, how: str = "r", preimage: str = "", complete: bool = True) -> Trace:
        accesses = []
        for path in paths:
            status = path.stat()
            before = Stat(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
            accesses.append(Access(path=spell(str(path)), how=how, before=before, preimage=preimage))
        return Trace(mechanism="notify", complete=complete, accesses=tuple(accesses))

    return make
