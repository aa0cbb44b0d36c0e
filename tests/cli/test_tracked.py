"""Runs that a client logged, at the command line: listed, shown, compared, tagged, removed, and not repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.ledger import batches, experiments, tracked
from bis.ledger.runs import open_ledger
from bis.nouns.tracking import Point
from bis.store.local import open_store

Type = Callable[..., Any]
NOW = 1_790_000_000_000_000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two runs of a client, in an experiment of their own."""
    (tmp_path / "bis.toml").write_text("")
    open_store(tmp_path / ".bis" / "store").close()
    with open_ledger(tmp_path / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        churn = experiments.create(connection, "churn", "", {}, NOW)
        for number, name in enumerate(("first", "second"), start=1):
            id, loss, params = f"{number:032x}", [Point("loss", 1 / number)], {"lr": "0.1", "depth": str(number)}
            tracked.create(
                connection, id, experiment=churn, name=name, user="ada", started=NOW + number, tags={"team": "fraud"}
            )
            batches.log(connection, id, loss, params)
            tracked.update(connection, id, status="finished", ended=NOW + 4_000_000)
    return tmp_path


def names(bis: Type, project: Path, *words: str) -> list[str]:
    return [run["name"] for run in bis("log", "--json", *words, folder=project).json["runs"]]


def test_they_are_listed_and_found_by_what_was_logged(bis: Type, project: Path) -> None:
    assert names(bis, project, "-f", "metrics.loss < 0.8 AND params.depth = 2 AND tags.team = 'fraud'") == ["second"]
    assert names(bis, project, "--sort", "metrics.loss") == ["second", "first"]
    (first,) = bis("log", "--json", "-f", "run_name = 'first'", folder=project).json["runs"]
    assert (first["params"], first["metrics"]) == ({"lr": "0.1", "depth": "1"}, {"loss": 1.0})


def test_they_are_shown_with_their_experiment_and_without_what_nobody_saw(bis: Type, project: Path) -> None:
    shown = bis("show", "first", folder=project).out
    for words in (
        "finished in 4.0s",
        "experiment      churn",
        "depth  1",
        "loss  1\n",
        "team=fraud",
        "a client logged it",
    ):
        assert words in shown
    for words in ("bis repeat", "wrote no file", "--no-seed"):
        assert words not in shown
    assert bis("show", "first", "--json", folder=project).json["experiment"] == "churn"


def test_two_of_them_are_compared_by_params_and_metrics(bis: Type, project: Path) -> None:
    told = bis("diff", "first", "second", folder=project).out
    assert "depth  1 -> 2" in told
    assert "loss  1  -> 0.5" in told
    assert "lr" not in told
    assert "not compared: code" in told


def test_a_tag_keeps_those_that_the_client_set(bis: Type, project: Path) -> None:
    assert bis("tag", "first", "stage=final", folder=project).status == 0
    assert bis("note", "first", "the one", folder=project).status == 0
    assert names(bis, project, "-f", "tags.team = 'fraud' AND tags.stage = 'final' AND note = 'the one'") == ["first"]


def test_one_is_removed_and_taken_back(bis: Type, project: Path) -> None:
    assert bis("rm", "first", folder=project).status == 0
    assert names(bis, project) == ["second"]
    assert bis("rm", "--undo", "first", folder=project).status == 0
    assert names(bis, project) == ["second", "first"]


@pytest.mark.parametrize("words", [("repeat", "first"), ("restore", "first", "there")])
def test_what_bis_did_not_see_is_not_done_again(bis: Type, project: Path, words: tuple[str, ...]) -> None:
    refused = bis(*words, folder=project)
    assert refused.status == 4
    assert "first was logged by a client, not run by bis" in refused.err
