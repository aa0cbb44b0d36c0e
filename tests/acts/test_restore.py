"""A run goes back into a folder of its own, and nowhere else."""

from pathlib import Path

import msgspec
import pytest

from bis.acts.restore import restore
from bis.errors import CannotRepeat, NotFound, UsageError
from bis.nouns.part import Part
from bis.nouns.run import Output, Run
from bis.settings import Settings
from bis.steps.home import Home, open_home
from bis.store.snapshot import snapshot

STARTED = "2026-05-03T00:00:00.000000Z"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "project").mkdir()
    return open_home(tmp_path / "project", Settings())


@pytest.fixture
def run(home: Home) -> Run:
    """A run of one script, with an output."""
    (home.project / "code").mkdir()
    (home.project / "code" / "train.py").write_text("print(1)\n")
    tree = snapshot(home.project / "code", home.store)
    nothing = {"inputs": [], "secrets": []}
    parts = {kind: Part(kind=kind, digest=tree, facts=nothing) for kind in KINDS}
    parts["code"] = Part(kind="code", digest=tree, trees={"tree": tree})
    model = Output(path="out/model.bin", digest=home.store.put_bytes(b"weights"), size=7)
    home.store.flush()
    return Run(id="a" * 12, name="r", command=("x",), started=STARTED, status="finished", parts=parts, outputs=(model,))


KINDS = ("code", "data", "params", "environment", "infrastructure", "machine")


def outputs(run: Run, *paths: str, target: str = "") -> Run:
    (model,) = run.outputs
    return msgspec.structs.replace(
        run, outputs=tuple(msgspec.structs.replace(model, path=path, target=target) for path in paths)
    )


def test_code_and_outputs_are_put_into_a_new_folder(run: Run, home: Home, tmp_path: Path) -> None:
    done = restore(run, home, tmp_path / "new" / "past", outputs=True)
    assert (done.files, done.missing) == (2, ())
    assert (tmp_path / "new" / "past" / "out" / "model.bin").read_bytes() == b"weights"


def test_the_folder_may_be_told_from_where_one_is(
    home: Home, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.project)
    (tmp_path / "link").symlink_to("elsewhere")
    for into in ("../there", "../link"):
        done = restore(run, home, Path(into), outputs=True)
        assert done.missing == ()
        assert (tmp_path / into[3:] / "out" / "model.bin").read_bytes() == b"weights"


def test_only_what_was_asked_for_is_put_there(run: Run, home: Home, tmp_path: Path) -> None:
    assert restore(run, home, tmp_path / "past", outputs=True, only=["out"]).files == 1
    with pytest.raises(NotFound, match="nothing named nothing"):
        restore(run, home, tmp_path / "none", only=["nothing"])
    assert restore(run, home, tmp_path / "none", only=["*.py"]).files == 1


def test_a_file_is_no_folder(run: Run, home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for into in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="is not a folder"):
            restore(run, home, into)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_of_which_nothing_is_recorded_yet_cannot_be_restored(home: Home, tmp_path: Path) -> None:
    run = Run(id="a" * 12, name="r", command=("x",), started=STARTED, status="running")
    with pytest.raises(CannotRepeat, match="nothing of r is recorded yet"):
        restore(run, home, tmp_path / "past")
    assert not (tmp_path / "past").exists()


@pytest.mark.parametrize("path", ["../evil", "out/../../evil", "/../evil"])
def test_an_output_whose_name_leads_out_of_the_folder_is_left_out(
    path: str, run: Run, home: Home, tmp_path: Path
) -> None:
    """As in a record that somebody made to do harm."""
    done = restore(outputs(run, path), home, tmp_path / "past", outputs=True)
    assert "outside" in done.missing[0]
    assert not list(tmp_path.rglob("evil"))


def test_an_output_is_not_written_through_a_link_that_leads_out_of_the_folder(
    run: Run, home: Home, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = outputs(run, "out", target=str(tmp_path / "elsewhere")).outputs
    done = restore(msgspec.structs.replace(run, outputs=(*link, *run.outputs)), home, tmp_path / "past", outputs=True)
    assert "outside" in done.missing[0]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_artifacts_land_in_a_folder_of_theirs_and_can_be_named_as_they_are_listed(
    run: Run, home: Home, tmp_path: Path
) -> None:
    logged = outputs(run, "out/model.bin", "<artifacts>/churn/model.skops", "<artifacts>/notes.txt")
    done = restore(logged, home, tmp_path / "past", outputs=True)
    assert done.missing == ()
    assert (tmp_path / "past" / "artifacts" / "churn" / "model.skops").read_bytes() == b"weights"
    for name in ("<artifacts>/churn", "artifacts/churn"):
        restore(logged, home, tmp_path / name[:4], outputs=True, only=[name])
        (file,) = (path for path in (tmp_path / name[:4]).rglob("*") if path.is_file())
        assert file == tmp_path / name[:4] / "artifacts" / "churn" / "model.skops"


def test_an_artifact_takes_the_place_of_no_file_of_the_project(run: Run, home: Home, tmp_path: Path) -> None:
    done = restore(outputs(run, "<artifacts>/out", "artifacts/out/model.bin"), home, tmp_path / "past", outputs=True)
    assert "another file has its place" in done.missing[0]
    assert (tmp_path / "past" / "artifacts" / "out" / "model.bin").is_file()


@pytest.mark.parametrize("path", ["<artifacts>/../../evil", "<artifacts>//evil"])
def test_an_artifact_whose_name_leads_out_of_the_folder_is_left_out(
    path: str, run: Run, home: Home, tmp_path: Path
) -> None:
    done = restore(outputs(run, path), home, tmp_path / "past", outputs=True)
    assert "outside" in done.missing[0]
    assert not list(tmp_path.rglob("evil"))
