"""Fixtures for the steps."""

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.digest import spell
from bis.nouns.trace import Access
from bis.steps.execute import Execution, execute


class Supervised(msgspec.Struct, frozen=True):
    """A command that was executed in a project folder, and questions one asks about it."""

    execution: Execution
    project: Path

    def access(self, path: Path | str | bytes) -> Access | None:
        name = spell(os.fsencode(self.project.resolve() / os.fsdecode(path)))
        return next((each for each in self.execution.trace.accesses if each.path == name), None)

    def how(self, path: Path | str | bytes) -> str:
        """What was done to a path: letters, empty when it was not seen."""
        found = self.access(path)
        return found.how if found else ""

    def kept(self, path: Path | str) -> bytes | None:
        """What a file held before the command changed it."""
        found = self.access(path)
        return Path(found.preimage).read_bytes() if found and found.preimage else None

    @property
    def output(self) -> str:
        return self.execution.stdout.read_text("utf-8", "replace")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.csv").write_text("x,y\n1,2\n")
    return folder


@pytest.fixture
def supervise(tmp_path: Path, project: Path, tracing: str) -> Callable[..., Supervised]:
    """Execute a command (words) in the project, quietly. Options are those of `execute`."""
    runs = iter(range(100))

    def run(*command: str | Path, variables: dict[str, str] | None = None, **options: Any) -> Supervised:
        execution = execute(
            [str(word) for word in command],
            folder=project,
            variables={**os.environ, **(variables or {})},
            scratch=tmp_path / "scratch" / str(next(runs)),
            roots=(project,),
            **{"quiet": True, "tracing": tracing, **options},
        )
        return Supervised(execution, project)

    return run


@pytest.fixture
def run_python(supervise: Callable[..., Supervised], project: Path) -> Callable[..., Supervised]:
    """Execute Python source in the project."""

    def run(source: str, **options: Any) -> Supervised:
        (project / "train.py").write_text(textwrap.dedent(source))
        return supervise(sys.executable, "train.py", **options)

    return run
