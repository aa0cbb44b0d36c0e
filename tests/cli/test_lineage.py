"""Typing `bis lineage`: from data to the model in use, and back, over the runs between them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
PREPARE = "open('clean.csv', 'w').write(open('raw.csv').read() + '1,2\\n')"
TRAIN = "import sys; open('model.bin', 'w').write(open('clean.csv').read() + sys.argv[1])"
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, bis: Type, training_python: Path) -> Path:
    """raw.csv (data set `raw`) -> prepare-1 -> clean.csv -> train-2, train-3 -> versions 1 and 2, 2 is champion."""
    folder = tmp_path_factory.mktemp("lineage")
    (folder / "bis.toml").write_text("")
    (folder / "raw.csv").write_text("a,b\n")
    (folder / "prepare.py").write_text(PREPARE)
    (folder / "train.py").write_text(TRAIN)
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    typed = (
        ("data", "add", "raw.csv"),
        ("run", "--", str(training_python), "prepare.py"),
        ("run", "--", str(training_python), "train.py", "x"),
        ("run", "--", str(training_python), "train.py", "y"),
        ("model", "register", "churn", "train-2"),
        ("model", "register", "churn", "train-3", "--alias", "champion"),
    )
    for words in typed:
        done = bis(*words, folder=folder)
        assert done.status == 0, done.err
    return folder


@pytest.fixture
def lineage(project: Path, bis: Type) -> Callable[[str], dict[str, Any]]:
    def ask(thing: str) -> dict[str, Any]:
        done = bis("lineage", thing, "--json", folder=project)
        assert done.status == 0, done.err
        found: dict[str, Any] = done.json["lineage"]
        return found

    return ask


def names(nodes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Kind and name of every node below."""
    for node in nodes:
        yield node["kind"], node["name"]
        yield from names(node.get("children", []))


REACHED = [
    ("run", "train-3"),
    ("model version", "models:/churn/2"),
    ("alias", "models:/churn@champion"),
    ("run", "train-2"),
    ("model version", "models:/churn/1"),
]


def test_a_version_is_made_of_a_run_and_of_the_runs_that_made_its_data(lineage: Any) -> None:
    found = list(names(lineage("models:/churn@champion")["made_of"]))
    for one in (("run", "train-3"), ("data", "clean.csv"), ("run", "prepare-1"), ("data version", "raw@v1")):
        assert one in found
    assert {kind for kind, _ in found} >= {"code", "environment", "infrastructure", "machine", "params"}
    assert ("run", "train-2") not in found


def test_a_file_reached_the_runs_models_and_aliases_that_came_of_it(lineage: Any) -> None:
    assert list(names(lineage("raw.csv")["reached"])) == [("run", "prepare-1"), *REACHED]
    assert list(names(lineage("clean.csv")["reached"])) == REACHED
    assert list(names(lineage("data:/raw")["reached"])) == [("run", "prepare-1"), *REACHED]


def test_a_run_lies_between_what_it_read_and_what_came_of_it(lineage: Any) -> None:
    found = lineage("prepare-1")
    assert ("data version", "raw@v1") in list(names(found["made_of"]))
    assert list(names(found["reached"])) == REACHED


def test_a_commit_and_a_package_reached_all_runs_that_had_them(project: Path, lineage: Any, bis: Type) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=project, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert list(names(lineage(commit)["reached"]))[:5] == REACHED
    packages = [name for kind, name in names(_packages(bis, project)) if kind == "package"]
    assert list(names(lineage(packages[0])["reached"]))[:5] == REACHED
    name = packages[0].partition("==")[0]
    other = bis("lineage", f"{name.upper().replace('-', '_')}==0.0.0", folder=project)
    assert other.status == 3
    assert packages[0].partition("==")[2] in other.err


def _packages(bis: Type, project: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bis("lineage", "train-2", "--packages", "--json", folder=project).json["lineage"][
        "made_of"
    ]
    return found


def test_a_file_that_is_gone_is_known_by_the_name_that_it_had(project: Path, lineage: Any) -> None:
    content = (project / "clean.csv").read_text()
    (project / "clean.csv").unlink()
    try:
        found = lineage("clean.csv")
    finally:
        (project / "clean.csv").write_text(content)
    assert "not on this disk" in found["thing"]["detail"]
    assert list(names(found["reached"])) == REACHED


def test_a_file_is_known_by_its_content_under_any_name(project: Path, lineage: Any) -> None:
    (project / "copy.txt").write_text((project / "raw.csv").read_text())
    assert ("alias", "models:/churn@champion") in list(names(lineage("copy.txt")["reached"]))


def test_every_data_set_that_holds_a_file_is_told_and_a_run_by_the_name_that_it_has_now(
    project: Path, lineage: Any, bis: Type
) -> None:
    assert bis("data", "add", "raw.csv", "--name", "again", folder=project).status == 0
    assert bis("rename", "prepare-1", "cleaning", folder=project).status == 0
    found = list(names(lineage("raw.csv")["made_of"]))
    assert found == [("data version", "again@v1"), ("data version", "raw@v1")]
    found = list(names(lineage("models:/churn@champion")["made_of"]))
    assert ("run", "cleaning") in found
    assert ("run", "prepare-1") not in found
    assert bis("rename", "cleaning", "prepare-1", folder=project).status == 0
    assert bis("data", "rm", "again", folder=project).status == 0


def test_the_tree_is_indented_and_what_is_not_there_is_said(project: Path, bis: Type) -> None:
    lines = bis("lineage", "prepare-1", folder=project).out.splitlines()
    assert lines[lines.index("reached") + 1].startswith("  run  train-3")
    assert "    models:/churn/2" in lines
    assert "      models:/churn@champion" in lines
    nothing = bis("lineage", "nothing-like-it", folder=project)
    assert nothing.status == 3
    assert "Looked for a file, a run, a model" in nothing.err
