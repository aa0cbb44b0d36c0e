"""Runs of environments that pipenv and poetry made, started by them and from within them. The real ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

Bis = Callable[..., subprocess.CompletedProcess[str]]

TRAINING = """
import json, random, sys
json.dump({"loss": random.random(), "prefix": sys.prefix}, open("result.json", "w"))
"""
PIPFILE = "[packages]\n"
PYPROJECT = """
[project]
name = "example"
version = "1.0"
requires-python = ">=3.11"
[tool.poetry]
package-mode = false
"""

BASE = Path(sys.base_prefix) / "bin"

pytestmark = pytest.mark.slow


@pytest.fixture
def launch(
    project: Path, variables: dict[str, str], lacking: Callable[[str, str], None]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call a launcher in the project as its user does: `launch("pipenv", "run", …)`. It is installed as by pipx."""

    def call(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        own = project.parent / ".local" / "share" / "pipx" / "venvs" / name
        link = project.parent / ".local" / "bin" / name
        uv = [str(find_uv_bin())]
        if not link.exists():
            subprocess.run([*uv, "venv", "-q", "--no-project", "-p", BASE / "python3", own], env=variables, check=True)
            install = [*uv, "pip", "install", "-q", "-p", own / "bin" / "python", name]
            if subprocess.run(install, env=variables, check=False, timeout=300).returncode:
                lacking(name, "It is installed from the index of packages, which did not answer.")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(own / "bin" / name)
        return subprocess.run(
            [name, *words],
            executable=link,
            cwd=project,
            env={**variables, "PATH": path(project)},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=300,
        )

    return call


def path(project: Path) -> str:
    return f"{project.parent}/.local/bin:{BASE}:/usr/bin:/bin"


@pytest.fixture(params=["pipenv", "poetry"])
def launcher(request: pytest.FixtureRequest, project: Path, launch: Callable[..., Any]) -> str:
    """A launcher whose environment of the project is made."""
    name = str(request.param)
    (project / "train.py").write_text(TRAINING)
    (project / {"pipenv": "Pipfile", "poetry": "pyproject.toml"}[name]).write_text(
        {"pipenv": PIPFILE, "poetry": PYPROJECT}[name]
    )
    made = launch(name, "install")
    assert made.returncode == 0, made.stdout + made.stderr
    return name


def test_a_command_that_a_launcher_starts_repeats(
    launcher: str, bis: Bis, identical: Callable[..., dict[str, Any]], project: Path, room: None, kernel_trace: None
) -> None:
    ran = bis("run", "--", launcher, "run", "python", "train.py", env={"PATH": path(project)})
    assert ran.returncode == 0, ran.stderr
    found = identical(bis("repeat", "@", "--json", env={"PATH": path(project)}))
    assert [part["sameness"] for part in found["parts"] if part["name"] == "environment"] == ["identical"]


def test_a_run_from_within_the_environment_of_a_launcher_repeats(
    launcher: str,
    launch: Callable[..., subprocess.CompletedProcess[str]],
    bis: Bis,
    identical: Callable[..., dict[str, Any]],
    project: Path,
    kernel_trace: None,
) -> None:
    # A program by its name: poetry takes options of what it starts for its own.
    bis_itself = project.parent / ".local" / "bin" / "bis"
    bis_itself.write_text(f'#!/bin/sh\nexec {sys.executable} -m bis "$@"\n')
    bis_itself.chmod(0o755)
    ran = launch(launcher, "run", "bis", "run", "--", "python", "train.py")
    assert ran.returncode == 0, ran.stderr
    found = identical(bis("repeat", "@", "--json", env={"PATH": path(project)}))
    assert [part["sameness"] for part in found["parts"] if part["name"] == "environment"] == ["identical"]
    assert "variables-not-kept" not in {finding["code"] for finding in found.get("findings", ())}
