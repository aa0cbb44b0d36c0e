"""The ledger follows the store where it can be behind."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bis.digest import Digest, canonical
from bis.errors import KeepingError, NotFound
from bis.ledger import sqlite
from bis.nouns.annotation import Annotation
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.home import Home, bring_up, open_home, provisional
from bis.steps.seal import seal

RUN = Run(id="a" * 12, name="train-1", command=("true",), started="2026-05-03T00:00:00.000000Z", status="finished")
OTHER = msgspec.structs.replace(RUN, id="b" * 12, name="train-2")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A project with one run."""
    made = open_home(tmp_path / "project", Settings())
    seal(RUN, made.store, made.ledger)
    return made


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The project lies on a network file system, and this is a machine of many."""
    monkeypatch.setattr(
        sqlite, "network_file_system", lambda folder: "nfs4" if folder.is_relative_to(tmp_path / "project") else ""
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))


def names(home: Home) -> list[str]:
    return [row.name for row in home.ledger.rows()]


def test_a_ledger_that_is_gone_is_made_anew(home: Home, project: Path) -> None:
    home.ledger.close()
    for file in (project / ".bis").glob("ledger*"):
        file.unlink()
    again = open_home(project, Settings(), create=False)
    assert names(again) == []
    assert bring_up(again) == ""
    assert names(again) == ["train-1"]


def test_a_ledger_that_is_there_is_left_alone(home: Home) -> None:
    home.store.put_bytes(canonical(OTHER), "record")
    home.store.flush()
    bring_up(home)
    assert names(home) == ["train-1"]


def test_a_shared_store_fills_no_ledger_by_itself(home: Home, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = open_home(tmp_path / "second", Settings(store=str(home.store.path)))
    bring_up(other, recording=True)
    assert names(other) == []


def test_where_nothing_was_recorded_no_ledger_is_made(project: Path) -> None:
    home = open_home(project, Settings())
    assert bring_up(home) == ""
    assert not list((project / ".bis").glob("ledger*"))


@pytest.mark.usefixtures("network")
def test_on_a_network_each_machine_takes_in_what_the_others_recorded(
    home: Home, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
    second = open_home(project, Settings())
    said = bring_up(second)
    assert "network file system (nfs4)" in said
    assert str(tmp_path / "machine-2") in said
    assert names(second) == ["train-1"]
    seal(OTHER, second.store, second.ledger)
    tag = Annotation(run=RUN.id, made=RUN.started, tags={"state": "final"})
    second.ledger.annotate(tag, second.store.put_bytes(canonical(tag), "record"))
    second.store.flush()
    # The first machine again.
    assert bring_up(home) == ""
    assert sorted(names(home)) == ["train-1", "train-2"]
    assert home.ledger.count("tags.state = 'final'") == 1


@pytest.mark.usefixtures("network")
def test_that_the_ledger_is_elsewhere_is_told_once(project: Path) -> None:
    home = open_home(project, Settings())
    assert bring_up(home) == ""
    assert "keeps its ledger in" in bring_up(home, recording=True)
    seal(RUN, home.store, home.ledger)
    assert bring_up(home, recording=True) == ""


def test_no_file_of_ours_has_a_suffix_that_a_script_looks_for(home: Home, project: Path) -> None:
    home.cache.save()
    assert {"ledger", "cache"} <= {path.name for path in (project / ".bis").iterdir()}
    assert list(project.rglob("*.db*")) == []


def test_files_that_had_a_suffix_are_given_their_new_names(home: Home, project: Path) -> None:
    home.ledger.close()
    home.cache.close()
    ours = [project / ".bis" / name for name in ("ledger", "cache", "store/index")]
    old = [path.rename(f"{path}.db") for path in ours if path.exists()]
    (project / ".bis" / "ledger.db-wal").write_bytes(b"")
    again = open_home(project, Settings(), create=False)
    assert names(again) == ["train-1"]
    assert len(old) == 3
    assert list(project.rglob("*.db*")) == []


RACE = """
import sys
from pathlib import Path
from bis.settings import Settings
from bis.steps.home import open_home, provisional
for turn in range(60):
    with provisional(open_home(Path(sys.argv[1]), Settings())) as home:
        if sys.argv[2] == "0" and turn == 30:
            home.store.put_bytes(b"kept")
            home.store.flush()
    del home
"""


# -- a home that was made for nothing ----------------------------------------------------------------------------


def test_a_home_that_was_made_for_what_failed_is_gone_again(project: Path) -> None:
    made = open_home(project, Settings())
    made.store.put_bytes(b"never durable")
    with pytest.raises(NotFound), provisional(made):
        made.store.get_bytes(Digest("b3:" + "0" * 64))
    assert list(project.iterdir()) == []


def test_so_is_one_whose_store_cannot_be_opened(project: Path) -> None:
    (project / "taken").write_text("")
    with pytest.raises(KeepingError):
        open_home(project, Settings(store="taken"))
    assert [path.name for path in project.iterdir()] == ["taken"]


@pytest.mark.parametrize("what", ["content", "fact", "run under way", "older"])
def test_a_home_that_holds_anything_or_is_older_stays(what: str, project: Path) -> None:
    if what == "older":
        open_home(project, Settings())
    home = open_home(project, Settings())
    with provisional(home):
        if what == "content":
            home.store.put_bytes(b"content")
            home.store.flush()
        elif what == "fact":
            seal(RUN, home.store, home.ledger)
        elif what == "run under way":
            (home.live / RUN.id).mkdir()
    assert (project / ".bis" / "key").exists()


def test_a_home_that_another_command_has_come_to_use_stays(project: Path) -> None:
    with provisional(open_home(project, Settings())):
        other = open_home(project, Settings())
    seal(RUN, other.store, other.ledger)
    assert names(open_home(project, Settings(), create=False)) == ["train-1"]


def test_whoever_opens_a_home_that_is_being_taken_away_makes_another(project: Path) -> None:
    """Many commands at once in a new project, of which all but one fail."""
    words = [sys.executable, "-c", RACE, str(project)]
    others = [subprocess.Popen([*words, str(number)], stderr=subprocess.PIPE, text=True) for number in range(8)]
    assert [process.communicate()[1] for process in others] == [""] * 8
    assert [
        bytes(home.store.get_bytes(digest))
        for home in [open_home(project, Settings(), create=False)]
        for digest in home.store.list("blob")
    ] == [b"kept"]
