"""Typing `bis model`: what each command says, and with which exit status."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.digest import digest_bytes
from bis.ledger import artifacts, tracked
from bis.ledger.runs import open_ledger

Type = Callable[..., Any]
TRAINING = """
import json, sys
json.dump({"rmse": float(sys.argv[1])}, open("metrics.json", "w"))
open("model.bin", "w").write("weights " + sys.argv[1])
"""


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory, bis: Type, training_python: Path) -> Path:
    """Three runs, of which the last two are equally good, registered as versions 1 to 3; 1 is champion."""
    folder = tmp_path_factory.mktemp("registered")
    (folder / "bis.toml").write_text("")
    (folder / "train.py").write_text(TRAINING)
    for rmse in ("0.5", "0.4", "0.4"):
        assert bis("run", "--", str(training_python), "train.py", rmse, folder=folder).status == 0
    for number in (1, 2, 3):
        assert bis("model", "register", "churn", f"train-{number}", folder=folder).status == 0
    assert bis("model", "promote", "churn/1", folder=folder).status == 0
    return folder


@pytest.fixture
def project(tmp_path: Path, registered: Path) -> Path:
    """A copy of that, to change."""
    return shutil.copytree(registered, tmp_path / "project", symlinks=True)


@pytest.fixture
def model(project: Path, bis: Type) -> Type:
    """`model("show", "churn")`: bis model show churn, in that project."""
    return lambda *words, **options: bis("model", *words, folder=project, **options)


def champion(model: Type) -> int:
    number: int = model("alias", "churn", "--json").json["aliases"]["champion"]
    return number


def actions(model: Type) -> list[str]:
    return [event["action"] for event in model("history", "churn", "--json").json["events"]]


def test_a_version_leads_to_its_run_and_all_that_went_in(model: Type) -> None:
    told = model("show", "churn@champion", "--json").json
    assert (told["version"]["reference"], told["run"]["name"]) == ("models:/churn/1", "train-1")
    assert told["version"]["source"] == f"runs:/{told['run']['id']}/model.bin"
    assert told["run"]["metrics"] == {"rmse": 0.5}
    assert set(told["parts"]) == {"code", "data", "environment", "infrastructure", "machine", "params"}
    page = model("show", "churn@champion").out
    assert all(word in page for word in ("train-1", "environment", "machine", "rmse  0.5"))


def test_a_better_version_is_promoted_and_an_equal_one_is_not(model: Type) -> None:
    assert model("promote", "churn/2", "--better", "metrics.rmse:lower").status == 0
    refused = model("promote", "churn/3", "--better", "metrics.rmse:lower")
    assert (refused.status, champion(model)) == (1, 2)
    assert "models:/churn/3 has 0.4, the champion models:/churn/2 has 0.4" in refused.err
    assert actions(model)[:2] == ["refused", "alias"]
    assert model("promote", "churn/1", "--better", "rmse:higher").status == 0


def test_what_cannot_be_compared_is_not_better(model: Type) -> None:
    refused = model("promote", "churn/2", "--better", "auc:higher", "--json")
    assert (refused.status, champion(model)) == (1, 1)
    assert refused.json["error"]["code"] == "B070"
    assert "no metric auc" in refused.json["error"]["because"]


def test_a_promotion_can_want_a_repeat_and_tags(project: Path, model: Type, bis: Type) -> None:
    wanted = ("promote", "churn/2", "--repeat", "equivalent", "--tagged", "reviewed=yes")
    refused = model(*wanted)
    assert refused.status == 1
    assert "train-2 was never repeated" in refused.err
    assert "models:/churn/2 has no tag reviewed" in refused.err
    assert champion(model) == 1
    bis("repeat", "train-2", folder=project)
    assert model("register", "churn", "train-2", "--tag", "reviewed=yes").status == 0
    done = model("promote", "churn/4", "--repeat", "equivalent", "--tagged", "reviewed=yes", "--json")
    assert done.status == 0, done.err
    assert [check["holds"] for check in done.json["checks"]] == [True, True]


def test_the_conditions_of_the_settings_hold_for_every_promotion(project: Path, model: Type) -> None:
    (project / "bis.toml").write_text('[promotion.champion]\nbetter = ["metrics.rmse:lower"]\n')
    assert model("promote", "churn/2").status == 0
    assert model("promote", "churn/3").status == 1
    assert model("promote", "churn/3", "--to", "challenger").status == 0
    (project / "bis.toml").write_text('[promotion.champion]\nbeter = ["metrics.rmse:lower"]\n')
    wrong = model("promote", "churn/2")
    assert wrong.status == 2
    assert "Did you mean better?" in wrong.err


def test_a_forced_promotion_says_why_and_what_did_not_hold(model: Type) -> None:
    words = ("promote", "churn/3", "--tagged", "reviewed", "--force")
    assert model(*words).status == 2
    assert champion(model) == 1
    assert model(*words, "--reason", "the old one is broken").status == 0
    assert champion(model) == 3
    newest, noted = model("history", "churn", "--json").json["events"][:2]
    assert (newest["action"], newest["reason"]) == ("alias", "the old one is broken")
    assert noted["action"] == "forced"
    assert "has no tag reviewed (the old one is broken)" in noted["reason"]


def test_a_rollback_brings_the_version_before_back(model: Type) -> None:
    model("promote", "churn/2")
    done = model("rollback", "churn", "--reason", "it drifts")
    assert "churn@champion is churn/1 again  it was churn/2" in done.out
    assert model("history", "churn", "--json").json["events"][0]["reason"] == "it drifts"
    assert model("rollback", "churn").status == 3


def test_which_version_was_champion_on_a_date_is_known(model: Type) -> None:
    made = model("history", "churn", "--json").json["events"][0]["made"]
    model("promote", "churn/2")
    assert model("show", f"churn@champion@{{{made}}}", "--json").json["version"]["number"] == 1
    stood = model("show", "churn", "--on", made, "--json").json
    assert (stood["aliases"], stood["versions"]) == ({"champion": 1}, [1, 2, 3])
    early = model("show", "churn", "--on", "2020-01-01")
    assert early.status == 3
    assert "was not there" in early.err


def test_a_removed_version_and_model_come_back(model: Type) -> None:
    assert model("rm", "churn/1").status == 0
    assert model("show", "churn/1").status == 3
    assert model("rm", "--undo", "churn/1").status == 0
    assert model("alias", "churn/1", "champion").status == 0
    assert model("rm", "churn@champion").out == "removed  models:/churn/1  with champion\n"
    assert model("rm", "--undo", "churn/1").out == "back  models:/churn/1  with champion\n"
    assert model("show", "churn@champion").status == 0
    assert model("rm", "churn").status == 0
    assert model("show", "churn").status == 3
    assert "removed" in actions(model)
    assert model("rm", "--undo", "churn").status == 0
    assert len(model("list", "--json").json["models"][0]["versions"]) == 1


def test_a_run_that_a_registered_model_came_from_is_not_removed(project: Path, model: Type, bis: Type) -> None:
    refused = bis("rm", "train-2", folder=project)
    assert refused.status == 2
    assert "train-2 made the registered models:/churn/2" in refused.err
    assert model("rm", "churn/2").status == 0
    assert bis("rm", "train-2", folder=project).status == 0


def test_the_output_that_is_meant_must_be_known(project: Path, model: Type) -> None:
    missing = model("register", "churn", "train-1", "--path", "modle.bin")
    assert missing.status == 3
    assert "Names like it: model.bin" in missing.err
    assert model("register", "churn", "train-1", "--path", "metrics.json").status == 0


def test_what_a_client_logged_is_registered_by_its_name(project: Path, model: Type) -> None:
    with open_ledger(project / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        tracked.create(connection, "7" * 32, experiment=0, name="logged", user="", started=1, tags={})
        artifacts.put(connection, f"0/{'7' * 32}/artifacts/model/MLmodel", digest_bytes(b""), 0, 1)
    assert model("register", "churn", "logged", "--json").json["version"]["source"] == f"runs:/{'7' * 32}/model"
    missing = model("register", "churn", "logged", "--path", "modle")
    assert missing.status == 3
    assert "It has model." in missing.err
    made = model("register", "churn", "logged", "--path", "model", "--json").json["version"]
    assert (made["source"], made["run"]) == (f"runs:/{'7' * 32}/model", "7" * 32)
    with open_ledger(project / ".bis" / "ledger") as ledger, ledger.database.writing() as connection:
        connection.execute(
            "INSERT INTO logged_models"
            " (id, experiment, run, name, type, status, status_message, artifacts, made, changed)"
            " VALUES (?, 0, ?, 'best', '', 2, '', '', 1, 1)",
            (f"m-{'8' * 32}", "7" * 32),
        )
    for words in (("--path", "best"), ()):
        made = model("register", "churn", "logged", *words, "--json").json["version"]
        assert (made["source"], made["logged_model"]) == (f"models:/m-{'8' * 32}", f"m-{'8' * 32}")


def test_a_name_that_is_none_is_answered_with_the_nearest(model: Type) -> None:
    done = model("show", "chrun")
    assert done.status == 3
    assert "help: bis model show churn" in done.err
    assert model("alias", "churn/1", "v3").status == 2
    assert model("alias", "churn/1", "a b").status == 2
    assert model("alias", "churn", "--remove", "nothing").status == 3


def test_models_versions_and_aliases_are_completed(project: Path, bis: Type) -> None:
    def offered(incomplete: str) -> str:
        words = {"COMP_WORDS": f"bis model show {incomplete}", "COMP_CWORD": "3", "_BIS_COMPLETE": "bash_complete"}
        said: str = bis(folder=project, **words).out
        return said

    assert "churn" in offered("ch")
    assert "churn@champion" in offered("churn@")
    assert "churn/3" in offered("churn/")


def test_a_list_of_no_models_is_empty(tmp_path: Path, bis: Type) -> None:
    (tmp_path / "bis.toml").write_text("")
    bis("run", "--", "true", folder=tmp_path)
    assert json.loads(bis("model", "list", "--json", folder=tmp_path).out)["models"] == []
    assert bis("model", "history", "x", folder=tmp_path).status == 3


def test_conditions_that_are_enforced_hold_for_whoever_sets_the_alias(model: Type, project: Path) -> None:
    (project / "bis.toml").write_text('[promotion.champion]\nbetter = ["rmse:lower"]\nenforce = true\n')
    assert model("promote", "churn/2").status == 0
    refused = model("alias", "churn/3", "champion")
    assert (refused.status, champion(model)) == (1, 2)
    assert "rmse is lower than that of the champion: models:/churn/3 has 0.4" in refused.err
    assert actions(model)[0] == "refused"
    assert model("register", "churn", "train-1", "--alias", "champion").status == 1
    assert model("alias", "churn/3", "challenger").status == 0
    assert model("rollback", "churn").status == 0
    assert model("promote", "churn/3", "--force", "--reason", "we know").status == 0
