"""Registered models come back after the ledger was lost, and go where the store goes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
TRAINING = """
import json, random, sys
json.dump({"rmse": float(sys.argv[1])}, open("metrics.json", "w"))
open("model.bin", "wb").write(random.Random(sys.argv[1]).randbytes(1 << 20))
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, bis: Type) -> Path:
    """A project with two runs, of which the first is registered and champion."""
    folder = tmp_path_factory.mktemp("shared models")
    (folder / "ana").mkdir()
    (folder / "ana/bis.toml").touch()
    (folder / "ana/train.py").write_text(TRAINING)
    ana = folder / "ana"
    for rmse in ("0.5", "0.4"):
        assert bis("run", "--", "python3", "train.py", rmse, folder=ana).status == 0
    assert bis("model", "register", "churn", "train-1", "--tag", "reviewed=yes", "-m", "first", folder=ana).status == 0
    assert bis("model", "promote", "churn/1", "--reason", "the only one", folder=ana).status == 0
    return folder


@pytest.fixture
def place(begun: Path, tmp_path: Path, bis: Type) -> Path:
    """A copy of that, to change, which is pushed to a remote."""
    place = shutil.copytree(begun, tmp_path / "place", symlinks=True)
    assert bis("remote", "add", "origin", "../remote", folder=place / "ana").status == 0
    assert bis("push", folder=place / "ana").status == 0
    return place


@pytest.fixture
def both(place: Path, bis: Type) -> tuple[Type, Type]:
    """What Ana types, and what Bo types in his clone."""
    assert bis("clone", "remote", "bo", folder=place).status == 0
    one = lambda *words, **options: bis(*words, folder=place / "ana", **options)  # noqa: E731
    return one, lambda *words, **options: bis(*words, folder=place / "bo", **options)


def forget(folder: Path) -> None:
    for name in ("ledger", "ledger-wal", "ledger-shm"):
        (folder / ".bis" / name).unlink(missing_ok=True)


def seen(type_: Type, name: str = "churn") -> dict[str, Any]:
    """All that the shell tells of a model."""
    told = {
        "model": type_("model", "show", name, "--json").json,
        "history": type_("model", "history", name, "--json").json,
        "now": type_("model", "show", name, "--on", "now", "--json").json,
    }
    told["now"].pop("moment")
    return told


def test_a_lost_ledger_is_made_again_with_the_registry_as_it_was(place: Path, bis: Type) -> None:
    ana = lambda *words: bis(*words, folder=place / "ana")  # noqa: E731
    assert ana("model", "register", "churn", "train-2", "--alias", "challenger").status == 0
    assert ana("model", "promote", "churn/2").status == 0
    assert ana("model", "register", "old", "train-1").status == 0
    assert ana("model", "rm", "old").status == 0
    before, old = seen(ana), ana("model", "history", "old", "--json").json
    forget(place / "ana")
    assert ana("reindex").status == 0
    assert seen(ana) == before
    assert ana("model", "history", "old", "--json").json == old
    assert ana("model", "show", "old").status == 3
    assert ana("model", "rollback", "churn").status == 0
    assert ana("model", "show", "churn@champion", "--json").json["version"]["number"] == 1
    assert ana("verify").status == 0


def test_a_clone_has_the_registry_and_what_is_new_travels_both_ways(both: tuple[Type, Type]) -> None:
    ana, bo = both
    assert seen(bo) == seen(ana)
    assert bo("model", "alias", "churn/1", "tried", "--reason", "by Bo").status == 0
    pushed = bo("push")
    assert ": 1 object" in pushed.out
    assert pushed.out.endswith(", 1 record\n")
    assert ": 1 object" in ana("pull").out
    assert seen(ana) == seen(bo)
    assert ana("model", "rm", "churn").status == 0
    assert ana("push").status == 0
    assert bo("pull").status == 0
    assert bo("model", "show", "churn").status == 3
    assert bo("model", "history", "churn").out.count("removed") == 1


def test_two_who_registered_apart_have_both_and_must_say_which_they_mean(both: tuple[Type, Type], place: Path) -> None:
    ana, bo = both
    assert ana("model", "register", "churn", "train-2", "--alias", "champion").status == 0
    assert bo("model", "register", "churn", "train-1", "--alias", "champion").status == 0
    for command in ("push", "pull"):
        assert ana(command).status == 0
        assert bo(command).status == 0
    assert ana("pull").status == 0
    assert seen(ana) == seen(bo)
    assert bo("model", "show", "churn@champion", "--json").json["run"]["name"] == "train-1", "the later one wins"
    refused = ana("model", "show", "churn/2")
    assert refused.status == 2
    told = refused.err
    ids = [ana("show", f"train-{number}", "--json").json["run"]["id"][:8] for number in (1, 2)]
    assert "2 versions of the model 'churn' are called 2" in told
    assert all(f"run {id}" in told for id in ids)
    exact = next(line.split()[0] for line in told.splitlines() if ids[1] in line)
    assert exact in ana("model", "show", "churn").out.replace("2 (", "churn").replace(")", "")
    assert ana("model", "show", exact, "--json").json["run"]["name"] == "train-2"
    assert ana("model", "promote", exact, "--reason", "better").status == 0
    assert ana("model", "show", "churn@champion", "--json").json["run"]["name"] == "train-2"
    other = next(line.split()[0] for line in told.splitlines() if ids[0] in line and "churn@" in line)
    assert ana("model", "rm", other).status == 0
    assert ana("model", "show", "churn/2", "--json").json["run"]["name"] == "train-2"
    forget(place / "ana")
    assert ana("reindex").status == 0
    assert ana("model", "show", "churn/2", "--json").json["run"]["name"] == "train-2"


def test_a_run_that_another_removed_stays_whole_while_a_version_came_from_it(
    both: tuple[Type, Type], place: Path
) -> None:
    ana, bo = both
    assert ana("model", "register", "churn", "train-2").status == 0
    assert bo("rm", "train-2").status == 0
    for type_ in (ana, bo, ana):
        assert type_("push").status == 0
        assert type_("pull").status == 0
    assert ana("gc", "--now").status == 0
    id = ana("model", "show", "churn/2", "--json").json["version"]["run"]
    assert ana("rm", "--undo", id).status == 0
    assert ana("restore", id, str(place / "back"), "--outputs").status == 0
    assert (place / "back/model.bin").read_bytes() == (place / "ana/model.bin").read_bytes()
    assert ana("model", "rm", "churn/2").status == 0
    assert ana("rm", id).status == 0
    assert ana("gc", "--now").status == 0
    assert ana("gc", "--now").status == 0
    assert "it cannot be taken back" in ana("rm", "--undo", id).err


def test_what_was_deleted_for_good_stays_deleted_after_the_ledger_was_lost(place: Path, bis: Type) -> None:
    ana = lambda *words: bis(*words, folder=place / "ana")  # noqa: E731
    assert ana("model", "rm", "churn").status == 0
    assert ana("gc", "--now").status == 0
    before = ana("model", "history", "churn", "--json").json
    assert before["events"][0]["action"] == "collected"
    forget(place / "ana")
    assert ana("reindex").status == 0
    assert ana("model", "history", "churn", "--json").json == before
    assert ana("model", "rm", "--undo", "churn").status == 3
    assert ana("model", "register", "churn", "train-2", "--json").json["version"]["number"] == 2


def test_where_the_store_cannot_be_written_it_is_said_and_the_change_is_kept_later(place: Path, bis: Type) -> None:
    ana = lambda *words: bis(*words, folder=place / "ana")  # noqa: E731
    packs, aside = place / "ana/.bis/store/packs", place / "aside"
    packs.rename(aside)
    packs.touch()
    failed = ana("model", "alias", "churn/1", "tried")
    assert failed.status == 5
    assert "1 change of the registry could not be kept in the store" in failed.err
    assert "In the ledger it is made." in failed.err
    packs.unlink()
    aside.rename(packs)
    assert ana("model", "alias", "churn/1", "again").status == 0
    forget(place / "ana")
    assert ana("reindex").status == 0
    assert ana("model", "alias", "churn", "--json").json["aliases"] == {"again": 1, "champion": 1, "tried": 1}
