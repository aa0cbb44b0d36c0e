"""Runs that a client logged, at the command line: listed, shown, compared, tagged, removed, and not repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.ledger import artifacts, batches, experiments, locations, tracked
from bis.ledger.runs import open_ledger
from bis.nouns.artifact import path_of
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


def upload(project: Path, number: int, **files: bytes) -> None:
    """What a client uploads to the first or the second run, as `NAME.json`."""
    with (
        open_store(project / ".bis" / "store") as store,
        open_ledger(project / ".bis" / "ledger") as ledger,
        ledger.database.writing() as connection,
    ):
        folder = path_of(locations.of_run(connection, f"{number:032x}"))
        for name, content in files.items():
            artifacts.put(connection, f"{folder}/{name}.json", store.put_bytes(content), len(content), NOW)
        store.flush()


def test_artifacts_are_shown_and_compared_as_other_outputs(bis: Type, project: Path) -> None:
    upload(project, 1, weights=b'{"w": 1}', same=b'{"a": 1, "b": 2}', mine=b"{}")
    upload(project, 2, weights=b'{"w": 2}', same=b'{"b": 2, "a": 1}', more=b"[]")
    shown = bis("show", "first", folder=project).out
    assert "outputs         <artifacts>/mine.json" in shown
    found = bis("diff", "first", "second", "--json", folder=project).json
    assert {
        one["name"].removeprefix("<artifacts>/"): (one["sameness"], one.get("why", "")) for one in found["outputs"]
    } == {
        "weights.json": ("different", "w: 1 -> 2"),
        "same.json": ("equivalent", "the same values"),
        "mine.json": ("different", "not logged by the second run"),
        "more.json": ("different", "logged only by the second run"),
    }


def test_what_a_recorded_run_made_is_not_said_to_be_absent_from_one_of_a_client(bis: Type, project: Path) -> None:
    (project / "train.py").write_text(
        "import json\njson.dump({'loss': 1}, open('metrics.json', 'w'))\nopen('a.bin', 'w').write('x')\nprint('done')\n"
    )
    assert bis("run", "--name", "recorded", "--", "python3", "train.py", folder=project).status == 0
    upload(project, 1, extra=b"{}")
    for words in (("recorded", "first"), ("first", "recorded")):
        found = bis("diff", *words, "--json", folder=project).json
        seen = {one["name"]: one["sameness"] for one in found["outputs"]}
        assert seen == {
            "3 outputs of the " + ("first" if words[0] == "recorded" else "second") + " run": "not compared",
            "<artifacts>/extra.json": "different",
        }
        assert [one["name"] for one in found["changes"]["params"]] == ["argument 0", "depth", "lr"], "no seeds"
        assert found["same"] is False


def test_artifacts_that_lie_elsewhere_are_said_not_to_be_compared(bis: Type, project: Path) -> None:
    with open_ledger(project / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        connection.execute("UPDATE runs SET artifacts = 's3://lab/first' WHERE name = 'first'")
    told = bis("diff", "first", "second", folder=project).out
    assert "artifacts (those of first lie in s3://lab/first)" in told


def test_a_tag_keeps_those_that_the_client_set(bis: Type, project: Path) -> None:
    assert bis("tag", "first", "stage=final", folder=project).status == 0
    assert bis("note", "first", "the one", folder=project).status == 0
    assert names(bis, project, "-f", "tags.team = 'fraud' AND tags.stage = 'final' AND note = 'the one'") == ["first"]


def test_one_is_removed_and_taken_back(bis: Type, project: Path) -> None:
    assert bis("rm", "first", folder=project).status == 0
    assert names(bis, project) == ["second"]
    assert bis("rm", "--undo", "first", folder=project).status == 0
    assert names(bis, project) == ["second", "first"]


def test_status_compares_with_the_last_run_that_bis_itself_ran_here(bis: Type, project: Path) -> None:
    nothing = bis("status", folder=project)
    assert (nothing.status, "help: bis run -- COMMAND" in nothing.err) == (3, True)
    (project / "train.py").write_text("print('done')\n")
    for name in ("older", "recorded"):
        assert bis("run", "--name", name, "--", "python3", "train.py", folder=project).status == 0
    assert bis("repeat", "older", folder=project).status == 0
    with open_ledger(project / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        connection.execute("UPDATE runs SET started = ? WHERE tracked = 1", (4_000_000_000_000_000,))
    assert bis("show", "--json", folder=project).json["run"]["name"] in ("first", "second")
    told = bis("status", "--json", folder=project)
    assert (told.status, told.json["before"]["name"], told.json["same"]) == (0, "recorded", True)
    assert bis("rm", "recorded", folder=project).status == 0
    assert bis("status", "--json", folder=project).json["before"]["name"] == "older"


@pytest.mark.parametrize("words", [("repeat", "first"), ("restore", "first", "there"), ("status", "first")])
def test_what_bis_did_not_see_is_not_done_again(bis: Type, project: Path, words: tuple[str, ...]) -> None:
    refused = bis(*words, folder=project)
    assert refused.status == 4
    assert "first was logged by a client, not run by bis" in refused.err
