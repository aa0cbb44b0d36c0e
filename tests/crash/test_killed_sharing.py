"""Sharing, killed (-9) at random moments: both stores are sound, and the same command, given again, ends the work."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bis.acts.share import clone, mend, pull, push
from bis.errors import UsageError
from bis.settings import load_settings
from bis.store.local import open_store
from bis.store.packs import SUFFIX
from bis.store.sweep import verify


class Remote:
    """A folder that projects share through; it is a store, which can be looked at as any other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def url(self) -> str:
        return str(self.folder)

    def push(self, project: Any) -> Any:
        with project.home() as home:
            return push(home, self.url, os.environ)

    def pull(self, project: Any) -> Any:
        with project.home() as home:
            return pull(home, self.url, os.environ)

    def mend(self, project: Any) -> Any:
        """As `bis verify --repair` does: look, then bring what was found damaged."""
        with project.home() as home:
            verify(home.store)
            return mend(home, self.url, os.environ)

    def clone(self, project: Any) -> Any:
        home, shared = clone(self.url, project.folder, os.environ, seen_from=project.folder.parent)
        home.store.close()
        home.ledger.close()
        return shared

    def is_sound(self) -> bool:
        if not (self.folder / "format").exists():
            return True  # nothing was ever sent
        with open_store(self.folder, create=False) as store:
            found = verify(store)
        # What a push that was killed has sent so far may need what it had not sent yet.
        left = [finding for finding in found if finding.code != "missing-object"]
        print(*(finding.text for finding in left), sep="\n")
        return not left


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "shared")


@pytest.fixture
def other(project: Any, tmp_path: Path) -> Any:
    """A second project, of somebody else."""
    return type(project)(_made(tmp_path / "other"))


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_pushing(project: Any, other: Any, remote: Remote, killer: Any, rounds: int) -> None:
    for state in range(rounds):
        if state % 50 == 0 and state:
            project.start_anew()
            shutil.rmtree(remote.folder, ignore_errors=True)
        content = project.write(state)
        newest = project.add()
        killer.run(lambda say: say(remote.push(project)))
        assert remote.is_sound()
        if state % 10 == 9:
            remote.push(project)
            into = type(project)(other.folder.parent / f"clone-{state}")
            remote.clone(into)
            assert into.is_sound()
            assert into.has(newest, content)
            shutil.rmtree(into.folder)
    assert killer.killed
    assert project.is_sound()


def test_pulling(project: Any, other: Any, remote: Remote, killer: Any, rounds: int) -> None:
    acknowledged = []
    for state in range(rounds):
        if state % 50 == 0 and state:
            for one in (project, other):
                one.start_anew()
            shutil.rmtree(remote.folder)
            acknowledged.clear()
        content = project.write(state)
        newest = project.add()
        remote.push(project)
        if killer.run(lambda say: say(remote.pull(other))):
            acknowledged.append((newest, content))
        assert other.is_sound()
        for version, files in acknowledged[-2:]:
            assert other.has(version, files)
        if state % 10 == 9:
            remote.pull(other)
            assert other.has(newest, content)
    assert killer.killed
    remote.pull(other)
    assert other.is_sound()
    assert other.has(newest, content)


def test_cloning(project: Any, other: Any, remote: Remote, killer: Any, rounds: int) -> None:
    versions = [(content, project.add()) for content in map(project.write, range(3))]
    remote.push(project)
    for number in range(rounds):
        into = type(project)(other.folder.parent / f"clone-{number}")
        killer.run(lambda say, into=into: say(remote.clone(into)))  # type: ignore[misc]
        if (into.folder / ".bis").exists():
            assert into.is_sound()
            with pytest.raises(UsageError, match="is there already") as refused:
                remote.clone(into)
            # What the refusal says to type.
            assert "bis pull" in str(refused.value)
            remote.pull(into)
        else:
            remote.clone(into)
        assert into.is_sound()
        for content, version in versions:
            assert into.has(version, content)
        shutil.rmtree(into.folder)
    assert killer.killed


def test_repairing(project: Any, remote: Remote, killer: Any, rounds: int) -> None:
    versions = [(content, project.add()) for content in map(project.write, range(3))]
    remote.push(project)
    packs = project.folder / ".bis" / "store" / "packs"
    for _ in range(rounds):
        for pack in killer.draw.sample(sorted(packs.glob(f"*{SUFFIX}")), 2):
            damage(pack, killer.draw.randrange(8, pack.stat().st_size))
        killer.run(lambda say: say(remote.mend(project)))
        remote.mend(project)
        assert project.is_sound()
        content, version = killer.draw.choice(versions)
        assert project.has(version, content)
    assert killer.killed
    for content, version in versions:
        assert project.has(version, content)


def damage(pack: Path, at: int) -> None:
    """One bit of it flips."""
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[at] ^= 1 << at % 8
    pack.write_bytes(data)


def test_a_clone_that_was_killed_before_it_named_its_remote_says_what_to_type(tmp_path: Path, remote: Remote) -> None:
    folder = _made(tmp_path / "clone")
    (folder / ".bis").mkdir()
    with pytest.raises(UsageError) as refused:
        clone(remote.url, folder, os.environ, seen_from=tmp_path)
    assert f"bis remote add origin {remote.url}; bis pull" in str(refused.value)
    assert load_settings(folder, {}).remotes == {}
