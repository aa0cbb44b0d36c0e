"""The commands on a ledger that two projects share in a PostgreSQL database, each with its own store."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRAIN = """
import json, sys
rows = open("data.csv").read().split()
json.dump({"loss": float(sys.argv[1]) / len(rows)}, open("metrics.json", "w"))
"""


@pytest.fixture
def ledger(postgres: Any) -> str:
    """By the port, with the password in the URL."""
    url: str = postgres.url(postgres.database(), port=True, password=postgres.PASSWORD)
    return url


@pytest.fixture
def team(tmp_path: Path, ledger: str) -> tuple[Path, Path]:
    """The projects of Ana and Ben, who share the ledger."""
    folders = (tmp_path / "ana", tmp_path / "ben")
    for folder in folders:
        folder.mkdir()
        (folder / "bis.toml").write_text(f'ledger = "{ledger}"\n')
        (folder / "train.py").write_text(TRAIN)
        (folder / "data.csv").write_text("1\n2\n")
    return folders


def listed(answer: Any) -> set[str]:
    return {run["name"] for run in answer.json["runs"]}


def test_the_commands_work_as_on_a_file_and_show_the_runs_of_everybody(
    bis: Callable[..., Any], team: tuple[Path, Path], postgres: Any
) -> None:
    ana, ben = team
    run = ("run", "--", sys.executable, "train.py")
    first = bis(*run, "1", folder=ana)
    assert first.status == 0, first.err
    assert "is a new ledger" in first.err
    again = bis(*run, "2", folder=ben)
    assert again.status == 0, again.err
    assert "is a new ledger" not in again.err
    for folder in team:
        assert listed(bis("log", "--json", folder=folder)) == {"train-1", "train-2"}
    assert bis("show", "train-1", folder=ben).status == 0
    assert bis("tag", "train-1", "state=draft", folder=ana).status == 0
    tagged = bis("log", "--json", "-f", "tags.state = 'draft' AND metrics.loss < 1", folder=ben)
    assert listed(tagged) == {"train-1"}
    added = [bis("data", "add", "data.csv", folder=folder) for folder in team]
    assert [one.status for one in added] == [0, 0]
    repeated = bis("repeat", "train-2", folder=ben)
    assert repeated.status == 0, repeated.err
    assert "identical" in repeated.out
    secret = {postgres.PASSWORD, postgres.PASSWORD.replace(" ", "%20")}
    everything = first.out + first.err + bis("show", "train-1", folder=ana).out + bis("du", folder=ana).out
    assert not [word for word in secret if word in everything]


def test_what_lies_in_the_store_of_another_is_called_unchecked_and_is_not_deleted(
    bis: Callable[..., Any], team: tuple[Path, Path]
) -> None:
    ana, ben = team
    for folder in team:
        assert bis("run", "--", sys.executable, "train.py", "1", folder=folder).status == 0
    verified = bis("verify", "--json", folder=ana)
    assert verified.status == 0
    assert [finding["code"] for finding in verified.json["findings"]] == ["record-elsewhere"]
    assert bis("rm", "train-1", folder=ben).status == 0
    assert bis("gc", folder=ben).status == 0
    assert bis("rm", "--undo", "train-1", folder=ana).status == 0
    assert bis("repeat", "train-1", folder=ana).status == 0


def test_reindexing_adds_the_runs_of_a_store_and_removes_none(
    bis: Callable[..., Any], team: tuple[Path, Path], ledger: str
) -> None:
    ana, ben = team
    (ana / "bis.toml").write_text("")
    for folder in team:
        assert bis("run", "--name", folder.name, "--", sys.executable, "train.py", "1", folder=folder).status == 0
    (ana / "bis.toml").write_text(f'ledger = "{ledger}"\n')
    assert listed(bis("log", "--json", folder=ana)) == {"ben"}
    assert bis("reindex", "--json", folder=ana).json["added"] == 1
    assert bis("reindex", "--json", folder=ben).json["added"] == 0
    assert listed(bis("log", "--json", folder=ben)) == {"ana", "ben"}


def test_a_run_whose_ledger_cannot_be_reached_does_not_begin_and_leaves_no_home(
    bis: Callable[..., Any], tmp_path: Path
) -> None:
    place = "postgresql://ana:geheim@127.0.0.1:1/bis"
    done = bis("run", "--", "touch", "ran", folder=tmp_path, BIS_LEDGER=place)
    assert done.status == 125
    assert "B071" in done.err
    assert "geheim" not in done.out + done.err
    assert list(tmp_path.iterdir()) == []
