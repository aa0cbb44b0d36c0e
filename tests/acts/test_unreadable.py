"""A file that the run was not let read is told, with what to type, and a repeat is not let read it either."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bis as package
from bis.nouns.run import Run

NOBODY = 65534
Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]

READING = """
import os
print(os.listdir("data"))
for name in ("top.csv", "data/x.csv", "data/y.csv"):
    try:
        print(open(name).read())
    except OSError as error:
        print(error)
"""

LAUNCHER = """
import sys
sys.path += {paths!r}
import msgspec
sys.argv[0] = "bis"
from bis.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def project() -> Iterator[Path]:
    """An empty project in a home folder where any user can be: pytest keeps its own folders to who calls it."""
    with tempfile.TemporaryDirectory(prefix="bis-user-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "home" / "project"
        folder.mkdir(parents=True)
        yield folder


@pytest.fixture
def user_bis(bis: Bis, project: Path, variables: dict[str, str], lacking: Callable[[str, str], None]) -> Bis:
    """bis as somebody calls it whom the permissions of files bind; root is bound by none."""
    if os.getuid() != 0:
        return lambda *words: bis(*words, python=Path(sys.base_prefix) / "bin" / "python3")
    launcher = project.parents[1] / "launcher.py"
    paths = [str(Path(module.__file__ or "").parents[1]) for module in (package, msgspec)]
    launcher.write_text(LAUNCHER.format(paths=paths))
    pythons = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")

    def call(*words: str, python: str = "") -> subprocess.CompletedProcess[str]:
        _give(project.parent)
        return subprocess.run(
            [python or chosen, str(launcher), *words],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=project,
            env={**variables, "UV_CACHE_DIR": str(project.parent / "uv")},
            capture_output=True,
            text=True,
            check=False,
        )

    chosen = next((each for each in pythons if _works(call, each)), "")
    if not chosen:
        lacking(f"a Python {sys.version_info[0]}.{sys.version_info[1]} for all users", "Try /usr/bin/python3.")
    return call


def _give(home: Path) -> None:
    for path in (home, *home.rglob("*")):
        with suppress(FileNotFoundError):  # SQLite's files come and go
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def _works(call: Bis, python: str) -> bool:
    try:
        return call("--version", python=python).returncode == 0
    except OSError:
        return False


@pytest.fixture
def shut(project: Path) -> list[Path]:
    """Files that nobody may read, and a script that tries to."""
    (project / "a.py").write_text(READING)
    (project / "data").mkdir()
    files = [project / name for name in ("top.csv", "data/x.csv", "data/y.csv")]
    for file in files:
        file.write_text(f"{file.name}\n")
    files[0].chmod(0)
    files[1].chmod(0)
    return files[:2]


def test_an_unreadable_data_file_is_recorded_as_such_and_a_repeat_is_refused_it_too(
    user_bis: Bis, shut: list[Path], last: Callable[[], Run], verdict: Verdict
) -> None:
    done = user_bis("run", "--", "python3", "a.py")
    assert (done.returncode, done.stdout.count("Permission denied")) == (0, 2), done.stderr
    data = last().parts["data"]
    assert [row["path"] for row in data.facts["inputs"]] == ["data/y.csv"]
    told = {finding.text: finding.hint for finding in data.findings if finding.code == "unreadable"}
    assert told == {
        "data/x.csv cannot be read: Permission denied": "chmod u+r data/x.csv",
        "top.csv cannot be read: Permission denied": "chmod u+r top.csv",
    }
    assert "chmod u+r top.csv" in user_bis("show", "@").stdout
    for file in shut:
        file.chmod(0o600)  # what may be read today was not read then
    again = user_bis("repeat", "@", "--json")
    found = verdict(again)
    assert (again.returncode, [one["sameness"] for one in found["outputs"]]) == (0, ["identical"]), found
    assert {part["name"]: part["sameness"] for part in found["parts"]}["data"] == "identical", found["parts"]
    assert "not-recorded" not in [finding["code"] for finding in found["findings"]]


@pytest.mark.usefixtures("room")
def test_an_unreadable_file_outside_the_project_is_refused_to_a_repeat(
    user_bis: Bis, project: Path, verdict: Verdict
) -> None:
    outside = project.parent / "elsewhere" / "x.csv"
    outside.parent.mkdir()
    outside.write_text("1")
    outside.chmod(0)
    (project / "a.py").write_text(f"try: open({str(outside)!r})\nexcept OSError as error: print(error)")
    assert "Permission denied" in user_bis("run", "--", "python3", "a.py").stdout
    outside.chmod(0o600)
    found = verdict(user_bis("repeat", "@", "--json"))
    assert [one["sameness"] for one in found["outputs"]] == ["identical"], found


def test_a_file_that_the_run_read_and_then_shut_was_not_refused_to_it(
    user_bis: Bis, project: Path, last: Callable[[], Run]
) -> None:
    (project / "data").mkdir()
    (project / "data" / "x.csv").write_text("1")
    (project / "a.py").write_text("import os; print(open('data/x.csv').read()); os.chmod('data/x.csv', 0)")
    assert user_bis("run", "--", "python3", "a.py").stdout == "1\n"
    data = last().parts["data"]
    assert [finding.blocks for finding in data.findings if finding.code == "unreadable"] == [True]
    assert [row for row in data.facts["there"] if row.get("refused")] == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root reads what nobody may")
def test_who_may_read_what_the_run_was_refused_is_told_so(
    user_bis: Bis, bis: Bis, shut: list[Path], verdict: Verdict
) -> None:
    assert user_bis("run", "--", "python3", "a.py").returncode == 0
    assert shut
    found = verdict(bis("repeat", "@", "--json"))
    texts = [finding["text"] for finding in found["findings"] if finding["code"] == "not-recorded"]
    assert texts == [
        f"the repeat read {name}, which the run was refused, so that its content is not recorded"
        for name in ("data/x.csv", "top.csv")
    ]
    assert set(texts) <= set(found["causes"])
