"""What repeats leave is found, and removed when nobody uses it."""

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.acts.clean import clean
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.here import now
from bis.steps.home import Home, open_home
from bis.steps.leftovers import (
    REPEAT,
    Leftover,
    all_in_use,
    held,
    in_use,
    leftovers,
    note_use,
    recover_repeats,
    remove,
    using,
)
from bis.steps.rebuild import MARKER, Rebuilt

LONG_AGO = 1_000_000_000.0


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with an environment, a source of an editable package, and what a killed builder left: all long ago."""
    made = tmp_path / "cache"
    for name in ("a" * 20, f".building-{'b' * 20}-17-dead", f"sources/{'c' * 20}"):
        (made / name / "lib").mkdir(parents=True)
        (made / name / "lib" / "code.py").write_text("x = 1\n" * 1000)
        if not name.startswith("sources/"):
            (made / name / MARKER).write_text("{}")
        for path in (made / name / MARKER, made / name):
            if path.exists():
                os.utime(path, (LONG_AGO, LONG_AGO))
    return made


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """A folder of a repeat that was killed, one that a person keeps, and a stranger's."""
    for name in (f"{REPEAT}7f3a-x/scratch", "bis-kept-1", "else"):
        (tmp_path / "tmp" / name).mkdir(parents=True)
        for path in (tmp_path / "tmp" / name, tmp_path / "tmp" / name.partition("/")[0]):
            os.utime(path, (LONG_AGO, LONG_AGO))
    return tmp_path / "tmp"


def names(found: tuple[Leftover, ...] | list[Leftover]) -> list[str]:
    return sorted(f"{one.what} {one.path.name[:12]}" for one in found)


def rebuilt(prefix: Path) -> Rebuilt:
    return Rebuilt(prefix=prefix, python=prefix / "bin" / "python", how="cached")


def test_environments_and_folders_of_killed_repeats_are_found(cache: Path, temporary: Path) -> None:
    found = leftovers(cache, temporary)
    assert names(found) == [
        "environment aaaaaaaaaaaa",
        f"repeat {REPEAT}7",
        "source cccccccccccc",
        "unfinished .building-bb",
    ]
    assert {one.used for one in found} == {LONG_AGO}
    assert all(one.size >= 6000 for one in found if one.what != "repeat")


def test_where_nothing_was_repeated_nothing_is_left(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "none", tmp_path / "nor this") == []


def test_what_nobody_used_is_removed_and_nothing_else(cache: Path, temporary: Path) -> None:
    done = clean(cache, temporary, unused_since=LONG_AGO)
    assert (len(done.removed), done.refused, done.kept) == (4, (), ())
    assert leftovers(cache, temporary) == []
    assert sorted(path.name for path in temporary.iterdir()) == ["bis-kept-1", "else"]


def test_a_dry_run_removes_nothing(cache: Path, temporary: Path) -> None:
    assert len(clean(cache, temporary, unused_since=LONG_AGO, dry=True).removed) == 4
    assert len(leftovers(cache, temporary)) == 4


def test_what_was_used_lately_is_kept(cache: Path, temporary: Path) -> None:
    with in_use(rebuilt(cache / ("a" * 20))):
        pass
    done = clean(cache, temporary, unused_since=LONG_AGO)
    assert names(done.kept) == ["environment aaaaaaaaaaaa"]
    assert (cache / ("a" * 20) / "lib" / "code.py").exists()


@pytest.mark.parametrize("folder", ["a" * 20, "sources/" + "c" * 20])
def test_an_environment_in_use_is_not_removed(folder: str, cache: Path, temporary: Path) -> None:
    with in_use(rebuilt(cache / ("a" * 20))), in_use(_with_source(cache)):
        (one,) = [one for one in leftovers(cache, temporary) if one.path == cache / folder]
        assert not remove(one)
        assert one.path.exists()
    assert remove(one)


def _with_source(cache: Path) -> Rebuilt:
    return msgspec.structs.replace(rebuilt(cache / ("a" * 20)), sources={"/old": str(cache / "sources" / ("c" * 20))})


def test_the_folder_of_a_repeat_under_way_is_not_removed(cache: Path, temporary: Path) -> None:
    folder = temporary / f"{REPEAT}7f3a-x"
    with held(folder):
        assert names(clean(cache, temporary, unused_since=LONG_AGO).refused) == [f"repeat {REPEAT}7"]
    assert folder.exists()


def test_a_folder_in_which_a_command_still_runs_is_not_removed(
    cache: Path, temporary: Path, supervised: Callable[[Path], None]
) -> None:
    """Its bis was killed, and the command was not."""
    scratch = temporary / f"{REPEAT}7f3a-x" / "scratch" / "abc"
    scratch.mkdir()
    supervised(scratch)
    (one,) = [one for one in leftovers(cache, temporary) if one.what == "repeat"]
    assert not remove(one)
    assert scratch.exists()


def test_what_could_not_be_read_of_a_lost_run_is_a_leftover_of_its_project(
    cache: Path, temporary: Path, tmp_path: Path, supervised: Callable[[Path], None]
) -> None:
    for name in ("old", "new", "alive"):
        (tmp_path / "own" / ".bis" / "unread" / name).mkdir(parents=True)
        (tmp_path / "own" / ".bis" / "unread" / name / "end").write_text("{}")
    supervised(tmp_path / "own" / ".bis" / "unread" / "alive")
    for path in (tmp_path / "own" / ".bis" / "unread").glob("[oa]*/**"):
        for one in (path, *path.glob("*")):
            os.utime(one, (LONG_AGO, LONG_AGO))
    done = clean(cache, temporary, tmp_path / "own", unused_since=LONG_AGO)
    assert [name for name in names(done.removed) if name.startswith("unread")] == ["unread old"]
    assert (names(done.refused), names(done.kept)) == (["unread alive"], ["unread new"])
    assert sorted(path.name for path in (tmp_path / "own" / ".bis" / "unread").iterdir()) == ["alive", "new"]


# -- scorings ----------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """What scorings had, long ago, and one model of today."""
    folder = tmp_path / "share" / "bis"
    for name in ("models/old/model.skops", "models/new/model.skops", "programs/score-1.pyz", "inputs/killed/x.csv"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
        for one in (path, *path.parents[:1]) if "new" not in name else ():
            os.utime(one, (LONG_AGO, LONG_AGO))
    return folder


def test_what_scorings_had_is_removed_unless_one_is_under_way(
    cache: Path, temporary: Path, tmp_path: Path, scored: Path
) -> None:
    with all_in_use(scored):
        done = clean(cache, temporary, None, [scored], unused_since=LONG_AGO)
        assert names(done.refused) == ["fetched killed", "model old", "program score-1.pyz"]
        assert (names(done.kept), (scored / "programs" / "score-1.pyz").exists()) == (["model new"], True)
    done = clean(cache, temporary, None, [scored], unused_since=LONG_AGO)
    assert names(done.removed) == ["fetched killed", "model old", "program score-1.pyz"]
    assert all(one.size >= 5000 for one in done.removed)
    assert sorted(path.name for path in scored.glob("*/*")) == ["new"]


def test_a_copy_of_a_model_stays_while_somebody_serves_it(
    cache: Path, temporary: Path, tmp_path: Path, scored: Path
) -> None:
    with using(scored / "models" / "old"):
        assert names(clean(cache, temporary, None, [scored], unused_since=LONG_AGO).kept) == ["model new", "model old"]
        tomorrow = (scored / "models" / "old").stat().st_mtime + 1e10
        done = clean(cache, temporary, None, [scored], unused_since=tomorrow)
        assert names(done.refused) == ["model old"]
    assert names(clean(cache, temporary, None, [scored], unused_since=tomorrow).removed) == ["model old"]
    assert not list((scored / "models").iterdir())


def test_images_and_bases_are_removed_unless_something_is_built_or_repeated(
    cache: Path, temporary: Path, tmp_path: Path
) -> None:
    own = tmp_path / "user" / "bis"
    for name in ("root-0b6f/root/etc/passwd", ".root-0b6f-dead/root/x", "base-bookworm-amd64.tar", "pulled/index.json"):
        path = own / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5000)
    for path in (own / "images").iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    everything = ["image .root-0b6f-d", "image base-bookwor", "image pulled", "image root-0b6f"]
    with all_in_use(own):
        assert names(clean(cache, temporary, None, [own], unused_since=LONG_AGO).refused) == everything
    note_use(own / "images" / "root-0b6f")
    done = clean(cache, temporary, None, [own], unused_since=LONG_AGO)
    assert (names(done.removed), names(done.kept)) == (everything[:3], everything[3:])
    assert sorted(path.name for path in (own / "images").iterdir()) == [".root-0b6f.used", "root-0b6f"]


def test_parts_of_a_scoring_are_removed_when_nobody_went_on_with_it(
    cache: Path, temporary: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    for name in ("given-up", "under-way"):
        folder = own / ".bis" / "predict" / name
        folder.mkdir(parents=True)
        for file in ("lock", "000000000-000000001-2-0.csv"):
            (folder / file).write_text("1\n")
        for path in (*folder.glob("*"), folder):
            os.utime(path, (LONG_AGO, LONG_AGO))
    with (own / ".bis" / "predict" / "under-way" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the program of a scoring has it
        done = clean(cache, temporary, own, unused_since=LONG_AGO)
    assert [name for name in names(done.removed) if name.startswith("scoring")] == ["scoring given-up"]
    assert names(done.refused) == ["scoring under-way"]
    assert [path.name for path in (own / ".bis" / "predict").iterdir()] == ["under-way"]


# -- repeats whose bis was killed --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "project").mkdir()
    return open_home(tmp_path / "project", Settings())


def repeat(home: Home, started: str, **fields: Any) -> Run:
    """A repeat that the ledger takes for under way."""
    known = {"id": "a" * 12, "name": "r-repeat", "command": ("x",), "host": socket.gethostname(), "repeats": "b" * 12}
    run = Run(**{**known, "started": started, "status": "running", **fields})
    home.ledger.begin(run)
    return run


def test_a_repeat_whose_bis_was_killed_is_sealed_as_lost(home: Home, temporary: Path) -> None:
    run = repeat(home, now())
    (temporary / f"{REPEAT}7f3a-x" / "scratch" / run.id).mkdir()
    (lost,) = recover_repeats(home, temporary)
    assert (lost.status, home.ledger.get(run.id).status) == ("lost", "lost")
    assert home.store.has(home.ledger.record(run.id))
    assert recover_repeats(home, temporary) == []


def test_a_repeat_under_way_is_left_alone(home: Home, temporary: Path, supervised: Callable[[Path], None]) -> None:
    run = repeat(home, now())
    scratch = temporary / f"{REPEAT}7f3a-x" / "scratch" / run.id
    scratch.mkdir()
    supervised(scratch)
    assert recover_repeats(home, temporary) == []
    assert home.ledger.get(run.id).status == "running"


def test_a_repeat_that_cannot_be_found_is_lost_when_the_machine_has_started_anew(home: Home, temporary: Path) -> None:
    repeat(home, now())
    assert recover_repeats(home, temporary) == []
    long_ago = repeat(home, "2001-01-01T00:00:00.000000Z", id="c" * 12)
    elsewhere = repeat(home, "2001-01-01T00:00:00.000000Z", id="d" * 12, host="another machine")
    repeat(home, "2001-01-01T00:00:00.000000Z", id="e" * 12, repeats="")  # a run, which has a folder of its own
    assert [run.id for run in recover_repeats(home, temporary)] == [long_ago.id]
    assert home.ledger.get(elsewhere.id).status == "running"


@pytest.fixture
def supervised() -> Callable[[Path], None]:
    """Let a scratch folder be that of this process."""
    from bis.steps.samples import started_at

    def note(scratch: Path) -> None:
        (scratch / "supervisor").write_text(f"{os.getpid()} {started_at(os.getpid())}")

    return note
