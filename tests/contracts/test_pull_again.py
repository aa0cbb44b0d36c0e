"""A pull that brings little looks for little, whatever lies here; and it brings the same when it looks for all."""

import os
from pathlib import Path

import pytest

from bis.acts.share import clone, pull, push
from bis.nouns.dataset import Held
from bis.settings import Settings
from bis.steps import meeting
from bis.steps.add_data import Adding, add
from bis.steps.bring import bring
from bis.steps.home import Home, open_home
from bis.steps.remotes import add as add_remote


def home_with_remote(tmp_path: Path) -> Home:
    (tmp_path / "ana").mkdir()
    home = open_home(tmp_path / "ana", Settings())
    add_remote("origin", str(tmp_path / "remote"), home.project, home.settings, seen_from=home.project)
    return home


def keep(home: Home, name: str, files: int) -> Held:
    folder = home.project / name
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.bin").write_bytes(os.urandom(2000))
    return add(Adding(path=folder), home).held


def copy_of(home: Home, held: Held) -> dict[str, bytes]:
    done = bring(held, "", home.project / "copy" / held.version.name, home)
    return {path.name: path.read_bytes() for path in done.into.iterdir()}


def here(home: Home, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home.project / name).iterdir()}


@pytest.mark.parametrize("few", [0, meeting.FEW], ids=["all are gone through", "each is looked for"])
def test_a_pull_brings_all_that_is_new_in_large_and_in_small_packs(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "FEW", few)
    ana = home_with_remote(tmp_path)
    many = keep(ana, "many", 2500)  # more than a small pack
    push(ana, "", {})
    bob, _ = clone(str(tmp_path / "remote"), tmp_path / "bob", {}, seen_from=tmp_path)
    assert copy_of(bob, many) == here(ana, "many")
    one = keep(ana, "one", 1)
    sent = push(ana, "", {})
    brought = pull(bob, "", {})
    assert (brought.objects, brought.records) == (sent.objects, 1)
    assert copy_of(bob, one) == here(ana, "one")


def test_a_pull_of_one_file_asks_for_the_places_of_few_objects(tmp_path: Path) -> None:
    ana = home_with_remote(tmp_path)
    keep(ana, "many", 300)
    push(ana, "", {})
    bob, _ = clone(str(tmp_path / "remote"), tmp_path / "bob", {}, seen_from=tmp_path)
    keep(ana, "one", 1)
    push(ana, "", {})
    asked: list[str] = []
    bob.store.index._connection.set_trace_callback(asked.append)
    assert pull(bob, "", {}).objects == 3
    places = [statement for statement in asked if "JOIN packs" in statement]
    assert places
    assert all("WHERE digest" in statement for statement in places)
