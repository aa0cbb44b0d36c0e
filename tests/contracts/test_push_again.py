"""A push with nothing to do costs one listing, whatever the number of files, and is never wrong about that."""

import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bis.acts.collect import collect
from bis.acts.data import remove as hide
from bis.acts.share import Shared, clone, push
from bis.ledger.runs import SqlLedger, reindex
from bis.nouns.dataset import Held
from bis.settings import Settings
from bis.steps.add_data import Adding, add
from bis.steps.bring import bring
from bis.steps.home import Home, open_home
from bis.steps.remotes import add as add_remote

Make = Callable[..., Home]


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Make]:
    """`make_home("ana")`: a project of that name whose remote is the folder `remote`."""
    made: list[Home] = []

    def make(name: str) -> Home:
        (tmp_path / name).mkdir(exist_ok=True)
        home = open_home(tmp_path / name, Settings())
        add_remote("origin", str(tmp_path / "remote"), home.project, home.settings, seen_from=home.project)
        made.append(home)
        return home

    yield make
    for home in made:
        home.store.close()


def keep(home: Home, name: str, files: int = 3, text: str = "") -> Held:
    """A version of a data set of small files."""
    folder = home.project / name
    for number in range(files):
        (folder / str(number // 100)).mkdir(parents=True, exist_ok=True)
        (folder / str(number // 100) / f"{number}.txt").write_text(f"{name} {number} {text}\n")
    return add(Adding(path=folder), home).held


def counted(work: Callable[[], Shared]) -> tuple[Shared, int]:
    """What it answers, and how many functions are called for that."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        done = work()
    finally:
        sys.setprofile(None)
    return done, count


def steps(home: Home, what: tuple[Held, ...] = ()) -> int:
    """How many functions a push calls that has nothing to do."""
    shared, count = counted(lambda: push(home, "", {}, what=what))
    assert (shared.objects, shared.packs) == (0, 0)
    return count


def packs(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "remote" / "packs").glob("*.pack"))


def test_a_second_push_takes_as_many_steps_for_many_files_as_for_few(make_home: Make) -> None:
    home = make_home("ana")
    keep(home, "few", 10)
    push(home, "", {})
    steps(home)  # what is imported and opened once
    few = steps(home)
    held = keep(home, "many", 2_000)
    push(home, "", {})
    assert steps(home) <= few + 60
    assert steps(home, (held,)) <= few + 200


def test_a_push_of_a_version_that_is_there_looks_at_no_file_of_it(make_home: Make) -> None:
    home = make_home("ana")
    held = keep(home, "many", 2_000)
    push(home, "", {}, what=[held])
    keep(home, "other", 10)  # so that not all of the store is there
    assert steps(home, (held,)) < 1_000


def test_a_new_version_is_compared_alone(make_home: Make) -> None:
    home = make_home("ana")
    keep(home, "many", 2_000)
    push(home, "", {})
    keep(home, "new")
    shared, count = counted(lambda: push(home, "", {}))
    assert shared.objects == 3 + 2 + 1  # files, trees, the record
    assert count < 3_000


def test_a_pack_that_vanished_from_the_remote_is_sent_again(make_home: Make, tmp_path: Path) -> None:
    home = make_home("ana")
    held = keep(home, "first")
    push(home, "", {})
    push(home, "", {})
    (gone,) = packs(tmp_path)
    gone.unlink()
    assert push(home, "", {}, what=[held]).packs == 1
    assert packs(tmp_path) == [gone]
    gone.unlink()
    assert push(home, "", {}).packs == 1


def test_a_pack_that_was_cut_short_there_is_not_taken_for_one_that_serves(make_home: Make, tmp_path: Path) -> None:
    home = make_home("ana")
    keep(home, "first")
    push(home, "", {})
    (cut,) = packs(tmp_path)
    data = cut.read_bytes()
    cut.chmod(0o644)
    cut.write_bytes(data[:-10])
    shared = push(home, "", {})
    assert [finding.code for finding in shared.findings] == ["damaged-pack"]
    assert (shared.packs, cut.read_bytes()) == (1, data)
    assert push(home, "", {}).packs == 0


def test_what_a_collection_there_deleted_is_sent_again_when_it_is_wanted(make_home: Make, tmp_path: Path) -> None:
    ana = make_home("ana")
    first, second = keep(ana, "first"), keep(ana, "second")
    push(ana, "", {})
    # Somebody who records into the shared store itself removes a version and collects.
    (tmp_path / "ben").mkdir()
    ben = open_home(tmp_path / "ben", Settings(store=str(tmp_path / "remote")))
    assert isinstance(ben.ledger, SqlLedger)
    reindex(ben.store, ben.ledger)
    hide([one for one in ben.ledger.data.versions() if one.record == first.record], ben)
    collect(ben, now=datetime.now(UTC), grace=timedelta(0), at_once=True)
    ben.store.close()
    assert push(ana, "", {}).objects > 0
    assert push(ana, "", {}).objects == 0
    home, _ = clone(str(tmp_path / "remote"), tmp_path / "clone", {}, seen_from=tmp_path)
    assert bring(second, "", tmp_path / "out", home).written == 3
    home.store.close()


def test_what_others_push_in_between_disturbs_nothing(make_home: Make, tmp_path: Path) -> None:
    ana, ben = make_home("ana"), make_home("ben")
    keep(ana, "many", 500)
    push(ana, "", {})
    steps(ana)
    before = steps(ana)
    keep(ben, "other", 500)
    push(ben, "", {})
    assert steps(ana) <= before + 60


def test_a_remote_that_was_made_anew_gets_everything(make_home: Make, tmp_path: Path) -> None:
    home = make_home("ana")
    held = keep(home, "first")
    push(home, "", {})
    shutil.rmtree(tmp_path / "remote")
    assert push(home, "", {}, what=[held]).objects > 3
    shutil.rmtree(tmp_path / "remote")
    assert push(home, "", {}).objects > 3
