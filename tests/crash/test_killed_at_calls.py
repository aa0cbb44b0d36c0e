"""Killed at a chosen system call, so that the short moments between two steps are hit as well as the long ones."""

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bis.acts.share import clone, pull, push
from bis.digest import Digest
from bis.store.local import open_store
from bis.store.sweep import verify

CALLS = ("rename", "fsync", "unlink", "pwrite64", "write", "ftruncate", "link", "fchmod", "mkdir")
"""What changes a disk."""


class Point(NamedTuple):
    call: str
    number: int
    """Of the calls of that name in one thread, from 1 on."""


class Strace:
    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder

    def bis(self, *words: str, killed_at: Point | None = None, at: Path | None = None) -> tuple[int, list[Point]]:
        """Its status, and the calls that it came to, in all its threads; `at`: in another folder than the project."""
        log = self.folder.parent / "calls"
        inject = ["-e", f"inject={killed_at.call}:signal=KILL:when={killed_at.number}"] if killed_at else []
        # What shares writes in threads; a command that is run is not to be killed, only bis.
        threads = ["-f"] if words[0] in ("push", "pull", "clone") else []
        command = [str(self.program), "-qq", *threads, "-o", str(log), "-e", f"trace={','.join(CALLS)}", *inject]
        done = subprocess.run(
            [*command, sys.executable, "-m", "bis", *words],
            cwd=at or self.folder,
            env={**os.environ, "HOME": str(self.folder.parent)},
            capture_output=True,
            check=False,
        )
        counts: Counter[tuple[str, str]] = Counter()
        found = []
        for thread, name in re.findall(r"^(\d* *)(\w+)\(", log.read_text(errors="replace"), re.MULTILINE):
            counts[thread, name] += 1
            found.append(Point(name, counts[thread, name]))
        return done.returncode, found


@pytest.fixture
def strace(project: Any, tool: Callable[[str], Path]) -> Strace:
    return Strace(tool("strace"), project.folder)


@pytest.fixture(params=[pytest.param(12, id="12"), pytest.param(500, id="500", marks=pytest.mark.slow)])
def points(request: pytest.FixtureRequest) -> Callable[[list[Point]], list[Point]]:
    """Some of the calls, half of them where something gets its name or loses it, and just before and after."""

    def choose(found: list[Point]) -> list[Point]:
        seed = random.SystemRandom().getrandbits(32)
        print("seed", seed)
        draw = random.Random(seed)
        turns = [at for at, point in enumerate(found) if point.call in ("rename", "unlink")]
        near = {at + step for at in turns for step in (-1, 0, 1, 2)}
        rare = [point for at, point in enumerate(found) if at in near]
        rest = [point for point in found if point not in rare]
        draw.shuffle(rare)
        draw.shuffle(rest)
        half: int = request.param // 2
        return rare[:half] + rest[: request.param - len(rare[:half])]

    return choose


@pytest.mark.timeout(3600)
def test_adding_data(project: Any, strace: Strace, points: Callable[[list[Point]], list[Point]]) -> None:
    before = project.write(0)
    first = project.add()
    project.write(1)
    status, found = strace.bis("data", "add", "data")
    assert status == 0
    for state, point in enumerate(points(found), start=2):
        content = project.write(state)
        status, _ = strace.bis("data", "add", "data", killed_at=point)
        assert project.is_sound(), point
        with project.home() as home:
            (newest, *_) = home.ledger.data.versions("data")
        if status == 0:
            assert project.has(newest, content), point
        assert project.has(project.add(), content), point
    assert project.has(first, before)


@pytest.mark.timeout(3600)
def test_collecting(project: Any, strace: Strace, points: Callable[[list[Point]], list[Point]]) -> None:
    def remove_one(state: int) -> tuple[Any, dict[str, Digest]]:
        """A version more, and the one before removed."""
        content = project.write(state)
        version = project.add()
        status, _ = strace.bis("data", "rm", f"data@v{version.version.number - 1}")
        assert status == 0
        return version, content

    project.write(0)
    project.add()
    remove_one(1)
    status, found = strace.bis("gc", "--now")
    assert status == 0
    for state, point in enumerate(points(found), start=2):
        version, content = remove_one(state)
        strace.bis("gc", "--now", killed_at=point)
        assert project.is_sound(), point
        assert project.has(version, content), point
        assert strace.bis("gc", "--now")[0] == 0, point
        assert project.is_sound(), point
        assert project.has(version, content), point
        assert not (project.folder / ".bis" / "store" / "doomed").exists()


@pytest.mark.timeout(3600)
def test_running_a_command(project: Any, strace: Strace, points: Callable[[list[Point]], list[Point]]) -> None:
    status, found = strace.bis("run", "--name", "alone", "--", "sh", "-c", "date > made.txt")
    assert status == 0
    for number, point in enumerate(points(found)):
        name = f"run-{number}"
        status, _ = strace.bis("run", "--name", name, "--", "sh", "-c", "date > made.txt", killed_at=point)
        assert project.is_sound(), point
        assert strace.bis("log")[0] == 0, point  # which seals what was lost
        with project.home() as home:
            known = {row.name: row.status for row in home.ledger.rows()}
            sealed = {row.name for row in home.ledger.rows() if row.record and home.store.has(row.record)}
        assert known["alone"] == "finished"
        assert status != 0 or known[name] == "finished", point
        assert known.keys() == sealed | {one for one, state in known.items() if state == "running"}, point
        assert strace.bis("run", "--", "sh", "-c", "true")[0] == 0, point
    assert project.is_sound()


@pytest.mark.timeout(3600)
def test_pushing(project: Any, strace: Strace, points: Callable[[list[Point]], list[Point]], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    project.write(0)
    project.add()
    status, first = strace.bis("push", str(shared))
    assert status == 0
    project.write(1)
    project.add()
    status, found = strace.bis("push", str(shared))
    assert status == 0
    chosen = [*((point, True) for point in points(first)[:4]), *((point, False) for point in points(found))]
    for state, (point, anew) in enumerate(chosen, start=2):
        content = project.write(state)
        version = project.add()
        if anew:
            shutil.rmtree(shared)  # the first push makes the store there, too
        strace.bis("push", str(shared), killed_at=point)
        assert not damage(shared), point
        with project.home() as home:
            push(home, str(shared), os.environ)
        other = cloned(project, shared)
        assert other.is_sound(), point
        assert other.has(version, content), point
        shutil.rmtree(other.folder)


@pytest.mark.timeout(3600)
def test_pulling(project: Any, strace: Strace, points: Callable[[list[Point]], list[Point]], tmp_path: Path) -> None:
    def one_more(state: int) -> tuple[Any, dict[str, Digest]]:
        """A version more, of which the remote knows."""
        content = project.write(state)
        version = project.add()
        with project.home() as home:
            push(home, str(tmp_path / "shared"), os.environ)
        return version, content

    one_more(0)
    other = cloned(project, tmp_path / "shared")
    one_more(1)
    status, found = strace.bis("pull", at=other.folder)
    assert status == 0
    for state, point in enumerate(points(found), start=2):
        version, content = one_more(state)
        strace.bis("pull", killed_at=point, at=other.folder)
        assert other.is_sound(), point
        with other.home() as home:
            pull(home, "", os.environ)
        assert other.is_sound(), point
        assert other.has(version, content), point


def cloned(project: Any, shared: Path) -> Any:
    there = type(project)(shared.parent / "clone")
    home, _ = clone(str(shared), there.folder, os.environ, seen_from=shared.parent)
    home.store.close()
    home.ledger.close()
    return there


def damage(folder: Path) -> list[str]:
    """What is damaged in a store. What was not sent yet may be missing."""
    if not (folder / "format").exists():
        return []
    with open_store(folder, create=False) as store:
        return [finding.text for finding in verify(store) if finding.code != "missing-object"]
