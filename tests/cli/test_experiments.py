"""Typing `bis experiment` and `bis rename`: runs of clients and recorded ones, moved, renamed, and back again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.ledger import experiments, tracked
from bis.ledger.runs import open_ledger

Type = Callable[..., Any]
CLIENTS = "0" * 31 + "1"


@pytest.fixture
def project(tmp_path: Path, bis: Type, training_python: Path) -> Path:
    """A recorded run, `sealed`, and one that a client logged, `logged`, in the experiment `old`."""
    (tmp_path / "bis.toml").write_text("")
    assert bis("run", "--name", "sealed", "--", str(training_python), "-c", "1", folder=tmp_path).status == 0
    with open_ledger(tmp_path / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        old = experiments.create(connection, "old", "", {}, 1)
        tracked.create(connection, CLIENTS, experiment=old, name="logged", user="ada", started=2, tags={})
    return tmp_path


@pytest.fixture
def typed(project: Path, bis: Type) -> Type:
    return lambda *words, **options: bis(*words, folder=project, **options)


def names(typed: Type, *words: str) -> list[str]:
    return sorted(run["name"] for run in typed("log", "--json", *words).json["runs"])


def counts(typed: Type) -> dict[str, int]:
    return {one["name"]: one["runs"] for one in typed("experiment", "list", "--json").json["experiments"]}


def test_runs_of_both_kinds_are_moved_and_found_by_their_experiment(typed: Type, project: Path) -> None:
    assert typed("experiment", "create", "it's new").status == 0
    assert typed("experiment", "move", "sealed", "logged", "it's new").status == 0
    assert names(typed, "--experiment", "it's new") == ["logged", "sealed"]
    assert names(typed, "--experiment", "it's new", "-f", "experiment = 'old'") == []
    assert counts(typed) == {"Default": 0, "it's new": 2, "old": 0}
    assert typed("show", "sealed", "--json").json["experiment"] == "it's new"
    assert typed("experiment", "move", "sealed", "Default").status == 0
    assert names(typed, "--experiment", "Default") == ["sealed"]


def test_what_was_said_of_a_recorded_run_comes_back_with_reindex(typed: Type, project: Path) -> None:
    typed("experiment", "create", "new")
    typed("experiment", "move", "sealed", "new")
    assert typed("rename", "sealed", "base").status == 0
    assert typed("verify", "--json").json["findings"] == []
    for file in (project / ".bis").glob("ledger*"):
        file.unlink()
    assert typed("reindex").status == 0
    assert names(typed, "--experiment", "new") == ["base"]
    assert typed("show", "base", "--json").json["run"]["name"] == "base"
    assert typed("verify").status == 0


def test_a_run_of_a_client_is_renamed_too(typed: Type) -> None:
    assert typed("rename", "logged", "base", "--json").json["name"] == "base"
    assert names(typed) == ["base", "sealed"]
    wrong = typed("rename", "base", "a/b")
    assert (wrong.status, "cannot be the name of a run" in wrong.err) == (2, True)


def test_an_experiment_takes_its_runs_along_and_brings_them_back(typed: Type) -> None:
    typed("experiment", "move", "sealed", "old")
    assert typed("experiment", "rm", "old").status == 0
    assert (names(typed), counts(typed)) == (["sealed"], {"Default": 0})
    refused = typed("experiment", "move", "sealed", "old")
    assert (refused.status, "was removed" in refused.err) == (2, True)
    assert typed("experiment", "create", "old").status == 2
    removed = typed("experiment", "list", "--removed", "--json").json["experiments"]
    assert [one["name"] for one in removed] == ["old"]
    assert typed("experiment", "rm", "--undo", "old").status == 0
    assert names(typed, "--experiment", "old") == ["logged", "sealed"]


def test_an_experiment_is_renamed_and_a_wrong_name_is_told(typed: Type) -> None:
    assert typed("experiment", "rename", "old", "churn").status == 0
    assert names(typed, "--experiment", "churn") == ["logged"]
    for words in (("rename", "churm", "x"), ("rm", "churm"), ("move", "logged", "churm")):
        wrong = typed("experiment", *words)
        assert (wrong.status, "Names like it: churn" in wrong.err) == (3, True), words
    assert typed("experiment", "create", " ").status == 2
