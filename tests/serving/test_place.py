"""What a model may be called, and what becomes of its files."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bis.digest import Digest
from bis.errors import BisError, NotFound, UsageError
from bis.nouns.artifact import Artifact
from bis.settings import Settings
from bis.steps.home import Home, open_home
from bis.steps.model_place import Placed, is_own, place

Place = Callable[[str], Placed]


@pytest.fixture
def placed(project: Path, tmp_path: Path) -> Place:
    """Places a model of the project."""

    def home() -> Home:
        return open_home(project, Settings(), create=False)

    return lambda text: place(text, datetime.now(UTC), project, home, tmp_path / "cache")


def test_a_run_a_path_in_it_and_a_version_are_the_same_model(placed: Place) -> None:
    version = placed("models:/churn/1")
    assert (version.name, version.version, version.own) == ("churn", "1", True)
    run = placed(version.run)
    assert run.run == version.run
    assert placed(f"runs:/{version.run}/model").folder == run.folder
    for one in (version, run):
        assert (one.folder / "model.pkl").read_bytes() == (run.folder / "model.pkl").read_bytes()
    assert placed("models:/churn/2").folder != version.folder


def test_a_folder_is_a_stranger_s(placed: Place, project: Path) -> None:
    found = placed("model")
    assert found.folder == project / "model"
    assert not found.own


def test_what_bis_did_not_see_a_run_make_is_a_stranger_s_though_it_names_the_run(placed: Place, project: Path) -> None:
    run = placed("models:/churn/1").run
    home = open_home(project, Settings(), create=False)
    output = next(one for one in home.ledger.get(run).outputs if one.path.endswith("model.pkl"))
    made, uploaded = (Artifact("model.pkl", digest, 1) for digest in (output.digest, Digest("b3:" + "0" * 64)))
    assert is_own(home, run, {"model.pkl": made})
    assert not is_own(home, run, {"model.pkl": uploaded})
    assert not is_own(home, run, {"model.pkl": made, "more.pkl": uploaded})
    assert not is_own(home, "nobody", {"model.pkl": made})


def test_files_that_were_damaged_in_the_cache_are_brought_anew(placed: Place) -> None:
    folder = placed("models:/churn/1").folder
    before = (folder / "model.pkl").read_bytes()
    (folder / "model.pkl").unlink()
    (folder / "model.pkl").write_bytes(before[:-1] + b"!")
    assert placed("models:/churn/1").folder == folder
    assert (folder / "model.pkl").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("models:/churm@champion", NotFound, "no registered model is called 'churm'"),
        ("models:/churn/99", NotFound, "no version 99"),
        ("./nowhere", NotFound, "there is no folder"),
        ("churn/9", NotFound, "there is no folder"),
        ("runs:/@latest/nowhere", NotFound, "has no model at nowhere"),
        ("models:/", UsageError, "is not a reference to a model"),
    ],
)
def test_what_is_not_there_is_named(placed: Place, text: str, error: type[BisError], told: str) -> None:
    with pytest.raises(error, match=told):
        placed(text)


@pytest.mark.parametrize("text", ["churn", "churn/1", "churn@champion"])
def test_a_registered_model_that_is_named_without_saying_so_is_known(
    placed: Place, text: str, alias: Callable[[str, int], None]
) -> None:
    alias("champion", 1)
    with pytest.raises(NotFound, match="is no run and no folder here, but a registered model") as told:
        placed(text)
    assert told.value.hint == f"models:/{text}  names it"
    assert "models:/churn/" in told.value.because
