"""A folder that did not change is not looked into again, and whatever changes is seen."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest
from bis.nouns.part import Finding
from bis.nouns.tree import Entry
from bis.store.folders import Seen
from bis.store.local import OFTEN, LocalStore, open_store
from bis.store.snapshot import _Taking, put_paths, snapshot, walk
from bis.store.statcache import Files, StatCache, open_cache

Take = Callable[[], Digest]
LATER = 3_000_000_000
"""Nanoseconds after which what was just written counts as settled."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "data"
    for name in ("a.csv", "deep/b.csv", "deep/er/c.csv", "other/d.csv"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "link").symlink_to("a.csv")
    (top / "empty").mkdir()
    return top


@pytest.fixture
def cache(tmp_path: Path) -> StatCache:
    """Its clock runs ahead, so that nothing is too young to be believed."""
    return open_cache(tmp_path / "cache.db", clock=lambda: time.time_ns() + LATER)


@pytest.fixture
def take(folder: Path, store: LocalStore, cache: StatCache) -> Take:
    return lambda: snapshot(folder, store, cache)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were looked at one by one."""
    seen: list[str] = []
    inner = _Taking.entries

    def note(taking: _Taking, place: str, below: str, files: list[Seen], remembered: Files) -> list[Entry]:
        seen.extend(f"{below}/{name}".lstrip("/") for name, _ in files)
        return inner(taking, place, below, files, remembered)

    monkeypatch.setattr(_Taking, "entries", note)
    return seen


def by_file(folder: Path, store: LocalStore) -> Digest:
    """The same tree, made of the files one by one, with nothing remembered."""
    return put_paths([(place.name, place) for place in folder.iterdir()], store, open_cache(None))


def test_a_folder_is_the_tree_of_its_files(folder: Path, store: LocalStore, take: Take) -> None:
    assert take() == by_file(folder, store)


def test_what_did_not_change_is_not_looked_at_again(take: Take, asked: list[str]) -> None:
    first = take()
    assert sorted(asked) == ["a.csv", "deep/b.csv", "deep/er/c.csv", "link", "other/d.csv"]
    asked.clear()
    assert take() == first
    assert asked == []


def test_what_is_remembered_serves_the_next_process(
    folder: Path, store: LocalStore, take: Take, asked: list[str], cache: StatCache, tmp_path: Path
) -> None:
    first = take()
    cache.close()
    asked.clear()
    assert snapshot(folder, store, open_cache(tmp_path / "cache.db")) == first
    assert asked == []


def test_a_thousand_files_cost_a_handful_of_questions(tmp_path: Path, store: LocalStore, cache: StatCache) -> None:
    for number in range(1000):
        (tmp_path / "many" / f"{number}").parent.mkdir(exist_ok=True)
        (tmp_path / "many" / f"{number}").write_text(f"{number}")
    asked: list[str] = []
    assert cache._connection
    for connection in (cache._connection, store.index._connection):
        connection.set_trace_callback(asked.append)
    snapshot(tmp_path / "many", store, cache)
    assert len([one for one in asked if "FROM files" in one]) < 4
    assert len([one for one in asked if one.startswith("INSERT INTO files")]) == 2
    assert len([one for one in asked if "FROM objects" in one]) < 2 * OFTEN  # then the index is read whole
    store.flush()
    (tmp_path / "many" / "7").write_text("other")
    asked.clear()
    digest = snapshot(tmp_path / "many", store, cache)
    assert len([one for one in asked if "FROM files" in one]) < 4 + 2 * 2
    assert len([one for one in asked if "FROM objects" in one]) < 8
    assert digest == by_file(tmp_path / "many", store)


def test_a_change_deep_below_is_seen_and_only_its_folder_is_read(
    folder: Path, store: LocalStore, take: Take, asked: list[str]
) -> None:
    take()
    asked.clear()
    (folder / "deep" / "er" / "c.csv").write_text("other")
    assert take() == by_file(folder, store)
    assert asked == ["deep/er/c.csv"]


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "a.csv").write_text("A.csv"),
        lambda top: (top / "a.csv").chmod(0o755),
        lambda top: (top / "a.csv").rename(top / "z.csv"),
        lambda top: (top / "deep").chmod(0o700),
        lambda top: (top / "deep" / "b.csv").unlink(),
        lambda top: (top / "empty" / "new").touch(),
        lambda top: (top / "empty").rmdir(),
        lambda top: shutil.rmtree(top / "deep"),
        lambda top: shutil.copy2(top / "other" / "d.csv", top / "x").replace(top / "other" / "d.csv"),
        lambda top: ((top / "link").unlink(), (top / "link").symlink_to("b.csv")),
        lambda top: ((top / "a.csv").unlink(), (top / "a.csv").mkdir()),
        lambda top: (top / "deep").rename(top / "deeper"),
    ],
)
def test_every_change_is_seen(folder: Path, store: LocalStore, take: Take, change: Callable[[Path], object]) -> None:
    take()
    change(folder)
    assert take() == by_file(folder, store)


def test_a_change_is_seen_though_size_and_times_are_set_back(folder: Path, store: LocalStore, take: Take) -> None:
    take()
    before = (folder / "a.csv").stat()
    (folder / "a.csv").write_text("A.csv")
    os.utime(folder / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert take() == by_file(folder, store)


def test_a_part_that_was_taken_alone_does_not_hide_its_change(
    folder: Path, store: LocalStore, cache: StatCache, take: Take
) -> None:
    take()
    (folder / "deep" / "b.csv").write_text("other")
    snapshot(folder / "deep", store, cache)
    assert take() == by_file(folder, store)


def test_a_file_written_just_now_is_not_believed(folder: Path, store: LocalStore, tmp_path: Path) -> None:
    now = open_cache(tmp_path / "cache.db")
    snapshot(folder, store, now)
    assert now.folders_below(os.path.realpath(folder), 0o666).keys() <= {os.path.realpath(folder / "empty")}


def test_a_store_without_the_tree_has_the_files_read(
    folder: Path, cache: StatCache, take: Take, asked: list[str], tmp_path: Path
) -> None:
    first = take()
    asked.clear()
    with open_store(tmp_path / "another") as another:
        assert snapshot(folder, another, cache) == first
        assert len(list(walk(another, first))) == 5
        assert all(another.has(leaf.entry.digest) for leaf in walk(another, first) if leaf.entry.kind == "file")
    assert len(asked) == 5


def test_without_a_store_the_digest_is_the_same(folder: Path, cache: StatCache, store: LocalStore) -> None:
    digest = snapshot(folder, None, cache)
    assert snapshot(folder, None, cache) == digest == by_file(folder, store)
    (folder / "deep" / "er" / "c.csv").write_text("changed")
    assert snapshot(folder, None, cache) == by_file(folder, store)


def test_a_folder_with_what_cannot_be_taken_says_so_each_time(
    folder: Path, store: LocalStore, cache: StatCache
) -> None:
    os.mkfifo(folder / "pipe")
    for _ in range(2):
        notes: list[Finding] = []
        snapshot(folder, store, cache, notes=notes)
        assert [note.code for note in notes] == ["not-a-file"]


NAMES = st.sampled_from(["a", "b", "c/a", "c/b", "c/d/a", "é", "x\ny"])
STEPS = st.lists(st.tuples(st.sampled_from(["write", "remove", "chmod"]), NAMES, st.binary(max_size=3)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_after_any_changes_it_is_the_tree_of_its_files(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    top = tmp_path_factory.mktemp("any")
    (top / "data").mkdir()
    cache = open_cache(top / "cache.db", clock=lambda: time.time_ns() + LATER)
    with open_store(top / "store") as store:
        for what, name, content in steps:
            place = top / "data" / name
            if what == "write":
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            elif what == "remove":
                place.unlink(missing_ok=True)
            elif place.exists():
                place.chmod(0o600 if len(content) > 1 else 0o644)
            assert snapshot(top / "data", store, cache) == by_file(top / "data", store)
