"""Which interpreter a command line means, told from files alone."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.parts.interpreter import describe, guess

BASE = os.path.realpath(sys.executable)


@pytest.fixture
def python(tmp_path: Path, make_environment: Callable[..., Path]) -> Path:
    return make_environment(tmp_path / "env")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["python", "train.py"],
        ["env", "A=1", "python3", "train.py"],
        ["env", "-u", "HOME", "--", "python", "train.py"],
        ["nohup", "python", "-u", "train.py"],
        ["timeout", "-k", "5", "10", "python", "train.py"],
        ["nice", "-n", "5", "taskset", "-c", "0", "python", "x.py"],
        ["uv", "run", "train.py"],
        ["poetry", "run", "python", "train.py"],
    ],
)
def test_wrappers_are_looked_through(tmp_path: Path, python: Path, words: list[str]) -> None:
    variables = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": "/", "VIRTUAL_ENV": str(tmp_path / "env")}
    found, certain = guess(words, tmp_path, variables)
    assert certain
    assert Path(found).parent == python.parent


def test_a_path_in_the_command_of_env_is_where_it_looks(tmp_path: Path, python: Path) -> None:
    found, _ = guess(["env", f"PATH={python.parent}", "python"], tmp_path, {"PATH": "/usr/bin"})
    assert found == str(python)


@pytest.mark.parametrize(
    "text",
    [
        "#!{python}\nimport x\n",
        "#!{python} -sP\nimport x\n",
        "#!/usr/bin/env python\nimport x\n",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'python' \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_the_first_lines_of_a_console_script_name_the_interpreter(tmp_path: Path, python: Path, text: str) -> None:
    tool = script(python.parent / "kedro", text.replace("{python}", str(python)))
    assert guess(["kedro", "run"], tmp_path, {"PATH": f"{python.parent}:/usr/bin"}) == (
        str(tool.parent / "python"),
        True,
    )


def test_the_environment_of_the_project_is_what_uv_runs(tmp_path: Path, make_environment: Callable[..., Path]) -> None:
    make_environment(tmp_path / "project" / ".venv")
    (tmp_path / "project" / "deep").mkdir()
    found, _ = guess(["uv", "run", "x.py"], tmp_path / "project" / "deep", {"PATH": "/usr/bin"})
    assert found == str(tmp_path / "project" / ".venv" / "bin" / "python")


def test_a_shell_is_guessed_to_use_the_python_on_path(tmp_path: Path, python: Path) -> None:
    assert guess(["bash", "-c", "python x"], tmp_path, {"PATH": f"{python.parent}:/bin"}) == (str(python), False)


def test_a_program_that_is_not_python_is_known_to_be_none(tmp_path: Path) -> None:
    assert guess(["ls"], tmp_path, {"PATH": "/usr/bin:/bin"}) == ("", True)
    assert guess(["no-such-program"], tmp_path, {"PATH": "/usr/bin"}) == ("", False)
    assert guess([], tmp_path, {}) == ("", False)


def test_scripts_that_start_each_other_end_the_search(tmp_path: Path) -> None:
    script(tmp_path / "a", f"#!{tmp_path}/b\n")
    script(tmp_path / "b", f"#!{tmp_path}/a\n")
    assert guess([str(tmp_path / "a")], tmp_path, {"PATH": "/usr/bin"}) == ("", False)


@pytest.mark.parametrize("how", ["file", "variable", "global"])
def test_a_shim_of_pyenv_is_looked_behind(tmp_path: Path, how: str) -> None:
    root = tmp_path / "pyenv"
    shim = script(root / "shims" / "python", "#!/usr/bin/env bash\nexec pyenv exec python\n")
    chosen = script(root / "versions" / "3.11.7" / "bin" / "python", "")
    script(root / "versions" / "3.12.0" / "bin" / "python", "")
    variables = {"PATH": f"{shim.parent}:/usr/bin:/bin", "PYENV_ROOT": str(root), "HOME": "/"}
    if how == "file":
        (tmp_path / ".python-version").write_text("3.11\n")
    elif how == "variable":
        variables["PYENV_VERSION"] = "3.11.7"
    else:
        (root / "version").write_text("3.11.7\n")
    assert guess(["python", "x.py"], tmp_path, variables)[0] == str(chosen)


def test_an_environment_of_conda_is_found_by_name(tmp_path: Path) -> None:
    python = script(tmp_path / "conda" / "envs" / "ml" / "bin" / "python", "")
    variables = {"PATH": "/usr/bin", "CONDA_EXE": str(tmp_path / "conda" / "bin" / "conda")}
    assert guess(["conda", "run", "-n", "ml", "python", "x.py"], tmp_path, variables) == (str(python), True)


def test_a_virtual_environment_is_described_from_its_files(tmp_path: Path, python: Path) -> None:
    found = describe(str(python), {}, tmp_path)
    assert found is not None
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.implementation == sys.implementation.name
    assert found.prefix == str(tmp_path / "env")
    assert found.base_prefix == str(Path(BASE).parent.parent)
    assert found.is_virtual
    assert found.path == (str(next((tmp_path / "env").glob("lib/*/site-packages"))),)
    assert f".{found.abi}.so" in "".join(map(str, Path(found.base_prefix).glob("lib/*/lib-dynload/*.so")))


def test_a_folder_that_a_pth_file_adds_is_on_the_path(tmp_path: Path, python: Path) -> None:
    site = next((tmp_path / "env").glob("lib/*/site-packages"))
    (tmp_path / "lib").mkdir()
    (site / "mine.pth").write_text(f"# a comment\nimport sys\n{tmp_path}/lib\n{tmp_path}/gone\n")
    found = describe(str(python), {"PYTHONPATH": str(tmp_path)}, tmp_path)
    assert found is not None
    assert found.path == (str(tmp_path), str(site), str(tmp_path / "lib"))


def test_what_is_not_python_is_not_described(tmp_path: Path) -> None:
    assert describe(shutil.which("ls") or "/bin/ls", {}, tmp_path) is None
    assert describe(str(tmp_path / "gone"), {}, tmp_path) is None
