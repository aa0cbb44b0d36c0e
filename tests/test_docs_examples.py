"""Every command that a page shows is run, page by page, in the project of `make demo`; what a page shows of an answer
is held against the answer."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```console\n(.*?)^```$", re.S | re.M)
PAGES = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "$ bis " in path.read_text("utf-8")
]
TYPED = ("$ bis ", "$ sed ")
PASSING = re.compile(r"bis  (?:rebuilding Python|installing|bringing)")
"""What is said only while nothing is in a cache."""
OF_THE_MACHINE = re.compile(r"(?:\w+ )?(?:when|infrastructure|machine|usage) ")


@pytest.fixture
def project(tmp_path: Path, training_python: Path) -> Path:
    """A committed training script, and data that Git does not keep."""
    folder = tmp_path / "cells"
    shutil.copytree(ROOT / "demo" / "project", folder)
    git = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    for words in (["init", "-q", "-b", "master"], ["add", "."], ["commit", "-q", "-m", "A training"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    subprocess.run([training_python, "prepare.py"], cwd=folder, check=True)
    return folder


def examples(page: Path) -> Iterator[tuple[str, list[str]]]:
    """What is typed, and what is shown of the answer."""
    for block in FENCE.findall(page.read_text("utf-8")):
        for command in re.split(r"^(?=\$ )", re.sub(r"\\\n\s*", "", block), flags=re.M):
            if command.startswith(TYPED):
                line, *shown = command.splitlines()
                yield line[2:], [one for one in shown if one not in ("", "…") and not PASSING.match(one)]


def shape(line: str) -> str:
    """A line without what is another from one run, or one machine, to the next."""
    line = re.sub(r"/\S*/", "/", line)
    line = re.sub(r"\b[0-9a-f]{4,64}\b", "0", line)
    line = re.sub(r"\b\d+[smhd](?= ago)|\b(?:\d+[dhm])?\d+(?:\.\d+)?[smh]\b", "0s", line)
    line = re.sub(r"[+-]?(?:\d+[.,])*\d+(?:e[+-]?\d+)?", "0", line)
    line = re.sub(r"\b0 [KMG]?i?B\b", "0 B", line)
    line = re.sub(r" +", " ", line).strip()
    return line.partition(" ")[0] if OF_THE_MACHINE.match(line) else line


def unanswered(shown: list[str], answer: str) -> list[str]:
    """The shown lines that the answer does not have, in their order."""
    ahead = iter([shape(line) for line in answer.splitlines()])
    return [line for line in shown if shape(line) not in ahead]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work_as_they_are_shown(page: Path, project: Path, training_python: Path) -> None:
    bis = shutil.which("bis", path=str(Path(sys.executable).parent))
    assert bis is not None
    (project.parent / "bin").mkdir()
    (project.parent / "bin" / "bis").symlink_to(bis)
    search = f"{project.parent / 'bin'}:{training_python.parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": search, "HOME": str(project.parent), "XDG_CACHE_HOME": str(project.parent / "c")}
    variables |= {"BIS_FORCE_TTY": "1", "COLUMNS": "110", "NO_COLOR": "1"}
    variables.pop("VIRTUAL_ENV", None)

    def type_(line: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", line], cwd=project, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return done.returncode, done.stdout

    found = list(examples(page))
    # The second one is better, so that it can be promoted.
    for rounds in (20, 100) if not found[0][0].startswith("bis run ") else ():
        status, said = type_(f"bis run -- python train.py --rounds {rounds}")
        assert status == 0, said
    for line, shown in found:
        status, said = type_(line)
        assert status in (0, 1), f"{line}\n{said}"
        assert not unanswered(shown, said), f"{line}\n{said}"
