"""A project whose processes are killed, whose disk is full, whose clock goes backwards; and what must then hold."""

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bis.digest import Digest, digest_file
from bis.nouns.dataset import Held
from bis.settings import load_settings
from bis.steps.add_data import Adding, add
from bis.steps.home import Home, open_home
from bis.store.snapshot import restore
from bis.store.sweep import verify

FORK = multiprocessing.get_context("fork")
Say = Callable[[object], None]
Work = Callable[[Say], None]


@pytest.fixture(
    params=[pytest.param(20, id="20"), pytest.param(500, id="500", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def rounds(request: pytest.FixtureRequest) -> int:
    """So many times something is killed."""
    found: int = request.param
    return found


class Killer:
    """Starts work in a process of its own and kills it at a random moment of the time that it takes."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.usual = 0.0
        self.killed = 0

    def run(self, work: Work) -> list[Any]:
        """What the work said until it ended, or was killed."""
        said, status, took = self._process(work, self.draw.uniform(0, 1.1 * self.usual) if self.usual else None)
        if self.usual == 0.0:
            assert status == 0, "not even alone does it work"
            self.usual = took
        self.killed += status == -signal.SIGKILL
        return said

    def _process(self, work: Work, moment: float | None) -> tuple[list[Any], int | None, float]:
        here, there = FORK.Pipe()
        process = FORK.Process(target=work, args=(there.send,))
        start = time.monotonic()
        process.start()
        there.close()
        process.join(moment)
        if process.is_alive():
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        said = []
        with contextlib.suppress(EOFError):
            while here.poll():
                said.append(here.recv())
        return said, process.exitcode, time.monotonic() - start


@pytest.fixture
def killer(request: pytest.FixtureRequest) -> Killer:
    """Each run of the tests kills at other moments; the seed is shown where one fails."""
    seed = random.SystemRandom().getrandbits(32)
    request.node.user_properties.append(("seed", seed))
    print("seed", seed)
    return Killer(seed)


def table(seed: int, edits: int = 0) -> str:
    """A table large enough to be cut into pieces. Each edit changes another hundredth of its rows."""
    draw = random.Random(seed)
    rows = [f"{number},{draw.random()}\n" for number in range(80_000)]
    for edit in range(edits):
        rows[edit::100] = [f"{number},edit {edit}\n" for number in range(edit, len(rows), 100)]
    return "".join(rows)


class Project:
    """A project, opened anew by each that uses it: what they share lies on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    def start_anew(self) -> None:
        """Forget all that was recorded: a look at everything takes the longer the more there is."""
        shutil.rmtree(self.folder / ".bis")

    @contextlib.contextmanager
    def home(self) -> Iterator[Home]:
        home = open_home(self.folder, load_settings(self.folder, {}))
        try:
            yield home
        finally:
            home.store.close()
            home.ledger.close()

    def write(self, state: int) -> dict[str, Digest]:
        """State after state of some data: a table with ever more edits, and small files of which some change."""
        self.data.mkdir(exist_ok=True)
        (self.data / "table.csv").write_text(table(1, state % 90))
        for number in range(20):
            (self.data / f"{number}.txt").write_text(f"{number} as of {state if number < 3 else 0}\n" * 50)
        return contents(self.data)

    def add(self, path: str = "data", name: str = "") -> Held:
        with self.home() as home:
            return add(Adding(path=self.folder / path, name=name), home).held

    def is_sound(self) -> bool:
        """Whether `bis verify` finds nothing; what it finds is shown."""
        with self.home() as home:
            found = verify(home.store)
        print(*(finding.text for finding in found), sep="\n")
        return not found

    def has(self, version: Held, expected: dict[str, Digest]) -> bool:
        """Whether a version is known, and comes back from the store byte for byte."""
        into = self.folder.parent / f"back-{os.urandom(4).hex()}"
        with self.home() as home:
            known = version.record in {one.record for one in home.ledger.data.versions()}
            restore(home.store, version.version.tree, into)
        same = contents(into) == expected
        shutil.rmtree(into)
        return known and same


def contents(folder: Path) -> dict[str, Digest]:
    """All files below, by the digests of their bytes: there are too many states to hold them."""
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")
