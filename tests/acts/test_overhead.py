"""What `bis run` adds to a command, in counts that are equal on every machine; `benchmarks/overhead.py` has times."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

OBSERVED = """
import json, os, sys
from pathlib import Path

project, command = Path(sys.argv[1]), sys.argv[2:]
opened, synced, known = [], [], []
sys.addaudithook(lambda event, words: opened.append(os.fsdecode(words[0]))
                 if event == "open" and isinstance(words[0], (str, bytes)) else None)
sync = os.fsync
os.fsync = lambda number: (synced.append(number), sync(number))[1]

from bis.__main__ import main
from bis.acts.run import run

run(command, folder=project, variables=os.environ, started=lambda run: known.extend(sys.modules))
inside = [path for path in opened if path.startswith(f"{project}/") and not f"{path}/".startswith(f"{project}/.bis/")]
print(json.dumps({"modules": known, "syncs": len(synced), "opened": inside}))
"""
SEEN_LATER = {
    *("bis.parts.environment", "bis.parts.infrastructure", "bis.parts.machine", "bis.parts.requirements"),
    *("bis.steps.rebuild", "bis.steps.judge", "bis.steps.compare", "bis.formats.registry"),
}
"""Imported beside the command, or by other commands."""
SELDOM = {"asyncio", "concurrent.futures", "configparser", "difflib", "logging", "packaging", "tomllib", "uv", "yaml"}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the third run of a script in a Git repository did: the first two have made everything known."""
    project = tmp_path_factory.mktemp("project")
    (project / "train.py").write_text("print(len(open('data.csv').read()))\n")
    (project / "data.csv").write_text("a,b\n" * 1000)
    (project / ".gitignore").write_text("data.csv\n")
    for number in range(30):
        (project / f"step_{number}.py").write_text(f"STEP = {number}\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], cwd=project, check=True)
    _let_the_clock_tick(project)
    command = [sys.executable, "-c", OBSERVED, str(project), sys.executable, "train.py"]
    answers = [subprocess.run(command, cwd=project, check=True, capture_output=True) for _ in range(3)]
    told: dict[str, list[str]] = json.loads(answers[-1].stdout.splitlines()[-1])
    return told


def _let_the_clock_tick(project: Path) -> None:
    """What was written within the same tick of the clock as it was read is read again."""
    time.sleep(0.2)


def test_a_warm_run_reads_neither_data_nor_code_again(warm: dict[str, list[str]]) -> None:
    """But for settings, where there are any, and the script, which may name the packages that it needs."""
    assert {Path(path).name for path in warm["opened"]} <= {"bis.toml", "pyproject.toml", "uv.toml", "train.py"}


def test_the_command_waits_for_no_import_that_it_does_not_need(warm: dict[str, list[str]]) -> None:
    assert not (SEEN_LATER | SELDOM) & set(warm["modules"])


def test_the_command_waits_for_few_imports(warm: dict[str, list[str]]) -> None:
    assert len(warm["modules"]) <= 225


def test_a_warm_run_waits_for_the_disk_once(warm: dict[str, list[str]]) -> None:
    """One pack, for all that a run adds to the store: the file and its folder. SQLite's own are not counted."""
    assert warm["syncs"] <= 2
