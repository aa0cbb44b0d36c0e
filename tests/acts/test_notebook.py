"""A notebook is recorded as a script is: executed in the project's own kernel, compared by sources and outputs."""

import json
import shutil
import subprocess
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Run

Bis = Callable[..., subprocess.CompletedProcess[str]]
Verdict = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]

CONVERT = ("--", "jupyter", "nbconvert", "--to", "notebook", "--execute", "nb.ipynb", "--output", "nb.executed.ipynb")
"""As people execute a notebook from a shell."""


def write(project: Path, *cells: str) -> None:
    told: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "source": cell,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "id": f"c{number}",
        }
        for number, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": told, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (project / "nb.ipynb").write_text(json.dumps(notebook))


def printed(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "".join("".join(item.get("text", "")) for cell in cells for item in cell["outputs"])


@pytest.mark.slow
@pytest.mark.parametrize("words", [("nb.ipynb",), CONVERT], ids=["bis run nb.ipynb", "nbconvert"])
def test_an_unseeded_notebook_is_recorded_and_repeats(
    words: Sequence[str], bis: Bis, project: Path, last: Callable[[], Run], verdict: Verdict, training_python: Path
) -> None:
    (project / "x.csv").write_text("1,2\n")
    write(project, "import sys, numpy as np\nprint(open('x.csv').read())", "print(sys.prefix, np.random.rand())")
    done = bis("run", *words, python=training_python)
    assert done.returncode == 0, done.stderr
    run = last()
    assert [row["path"] for row in run.parts["data"].facts["inputs"]] == ["x.csv"]
    assert "nb.executed.ipynb" in [output.path for output in run.outputs]
    assert str(training_python.parent.parent) in printed(project / "nb.executed.ipynb")
    assert run.chance.streams["numpy"] >= 1
    found = verdict(bis("repeat", "@", "--json", python=training_python))
    assert found["sameness"] == "equivalent", found
    (output,) = [one for one in found["outputs"] if one["name"] == "nb.executed.ipynb"]
    assert output["sameness"] == "equivalent"
    assert output["why"] == "the same sources and outputs"


@pytest.mark.slow
def test_a_cell_that_fails_is_the_runs_failure_and_its_notebook_is_kept(
    bis: Bis, project: Path, last: Callable[[], Run], training_python: Path
) -> None:
    write(project, "print('before')", "1 / 0", "print('after')")
    done = bis("run", "nb.ipynb", python=training_python)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert last().status == "failed"
    assert "before" in printed(project / "nb.executed.ipynb")


DISTRIBUTIONS = """
import importlib.metadata, json, re, sys
wanted, found = [sys.argv[1]], {}
while wanted:
    name = re.match("[A-Za-z0-9._-]+", wanted.pop())[0]
    if name not in found:
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = [[str(one.locate_file(file)), str(file)] for file in one.files if ".." not in file.parts]
        wanted += [more for more in one.requires or [] if "extra ==" not in more]
print(json.dumps(found))
"""
"""The files of a package and of all that it needs, wherever they are installed."""


def with_kernel_alone(folder: Path, training_python: Path) -> Path:
    """The interpreter of an environment that has ipykernel and what it needs, and nothing that executes notebooks."""
    told = subprocess.run([training_python, "-c", DISTRIBUTIONS, "ipykernel"], capture_output=True, check=True)
    found = json.loads(told.stdout)
    assert "nbclient" not in found
    base = subprocess.run(
        [training_python, "-c", "import os, sys; print(os.path.realpath(sys.executable))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for source, path in (pair for files in found.values() for pair in files):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_file():
            shutil.copy2(source, site / path)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_a_project_that_has_a_kernel_alone_is_helped_out_by_bis(
    bis: Bis, project: Path, last: Callable[[], Run], verdict: Verdict, training_python: Path, tmp_path: Path
) -> None:
    """What executes notebooks is then that of bis, and what executes their cells is the project's own."""
    python = with_kernel_alone(tmp_path / "env", training_python)
    (project / "x.csv").write_text("1,2\n")
    write(project, "import random, sys; print(open('x.csv').read())", "print(sys.prefix, random.random())")
    done = bis("run", "nb.ipynb", python=python)
    assert done.returncode == 0, done.stderr
    run = last()
    assert [row["path"] for row in run.parts["data"].facts["inputs"]] == ["x.csv"]
    assert str(tmp_path / "env") in printed(project / "nb.executed.ipynb")
    assert run.parts["environment"].facts["python"]["prefix"] == str(tmp_path / "env")
    assert run.chance.streams["random"] >= 1
    (project / "nb.executed.ipynb").unlink()
    found = verdict(bis("repeat", "@", "--json", python=python))
    assert found["sameness"] == "equivalent", found
    (output,) = [one for one in found["outputs"] if one["name"] == "nb.executed.ipynb"]
    assert output["why"] == "the same sources and outputs"


def test_what_a_notebook_needs_and_is_not_there_is_named(bis: Bis, project: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    missing = bis("run", "nb.ipynb", python=python)
    assert missing.returncode == 2
    assert "there is no notebook nb.ipynb" in missing.stderr
    write(project, "print(1)")
    done = bis("run", "nb.ipynb", python=python)
    assert done.returncode == 2
    assert "help: " in done.stderr
    assert f"{python} -m pip install ipykernel nbclient" in done.stderr
