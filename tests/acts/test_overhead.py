"""What `bis run` adds to a command, in counts that are equal on every machine; `benchmarks/overhead.py` has times."""

import json
import os
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
SELDOM = {
    *("asyncio", "bz2", "concurrent.futures", "configparser", "difflib", "logging", "lzma", "packaging", "shutil"),
    *("tomllib", "uv", "yaml", "bis.steps.strace"),
}


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
    assert len(warm["modules"]) <= 230


def test_a_warm_run_waits_for_the_disk_once(warm: dict[str, list[str]]) -> None:
    """One pack, for all that a run adds to the store: the file and its folder. SQLite's own are not counted."""
    assert warm["syncs"] <= 2


NOT_LOOKED_WITH = {
    *("bis.steps.perform", "bis.steps.capture", "bis.steps.execute", "bis.steps.originals", "bis.steps.add_url"),
    *("bis.store.transfer", "bis.store.large", "bis.store.fill", "bis.steps.bring"),
    *("concurrent.futures", "ctypes", "hashlib", "shutil", "socket", "subprocess", "tempfile"),
}
NOT_SHARED_WITH = {
    *("bis.steps.perform", "bis.steps.capture", "bis.steps.execute", "bis.steps.originals", "bis.steps.add_url"),
    *("bis.store.remote.bucket", "bis.store.remote.clouds", "bis.store.remote.sftp"),
    *("configparser", "hashlib", "socket", "subprocess"),
}
LOADED = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a data set, and beside it a remote that has it."""
    top = tmp_path_factory.mktemp("shared")
    (top / "project" / "data").mkdir(parents=True)
    (top / "project" / "data" / "a.csv").write_text("a,b\n")
    for words in (["remote", "add", "origin", str(top / "remote")], ["data", "add", "data"], ["push"]):
        _modules_of(top / "project", *words)
    return top


def _modules_of(folder: Path, *words: str) -> set[str]:
    """What a command line has imported when it is done."""
    program = f"import sys; sys.argv[1:] = {list(words)!r}; from bis.__main__ import main; assert main() == 0{LOADED}"
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_to_look_at_data_imports_nothing_that_records_or_travels(shared: Path) -> None:
    modules = _modules_of(shared / "project", "data", "status", "data")
    assert not NOT_LOOKED_WITH & modules
    assert len(modules) <= 222


def test_to_get_data_imports_nothing_that_records_or_travels(shared: Path, tmp_path: Path) -> None:
    modules = _modules_of(shared / "project", "data", "get", "data", str(tmp_path / "out"))
    assert NOT_SHARED_WITH & modules == set()
    assert not {"bis.store.transfer", "concurrent.futures", "shutil", "tempfile"} & modules
    assert len(modules) <= 226


def test_to_pull_imports_the_kind_of_remote_that_is_asked(shared: Path, tmp_path: Path) -> None:
    modules = _modules_of(tmp_path, "clone", str(shared / "remote"), "fresh")
    assert NOT_SHARED_WITH & modules == set()
    assert len(modules) <= 249
