"""The stat cache: never a stale digest, and an unchanged file is not read again."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bis.digest import Digest, digest_bytes, digest_file
from bis.store.statcache import COARSE_NS, StatCache, open_cache

OLD = 10**18
MUCH_LATER = 4 * 10**18


def learn(cache: StatCache, path: Path) -> Digest:
    """What a snapshot does with one file."""
    status = path.stat()
    (known,) = cache.recall([(str(path), status)])
    if known is None:
        looked = cache.now()
        known = digest_file(path)
        cache.remember(str(path), path.stat(), known, looked)
    return known


def knows(cache: StatCache, path: Path) -> bool:
    return cache.recall([(str(path), path.stat())]) != [None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("1,2,3\n")
    os.utime(path, ns=(OLD, OLD))
    return path


def later() -> int:
    return MUCH_LATER


def test_a_file_left_alone_is_known_when_the_cache_is_opened_again(file: Path, tmp_path: Path) -> None:
    with open_cache(tmp_path / "cache.db", later) as cache:
        digest = learn(cache, file)
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert cache.recall([(str(file), file.stat())]) == [digest]


def test_a_file_written_just_now_is_not_believed(file: Path) -> None:
    with open_cache(None) as cache:
        file.write_text("4,5,6\n")
        learn(cache, file)
        assert not knows(cache, file)


def test_a_file_is_believed_when_its_times_lie_a_tick_back(file: Path) -> None:
    changed = max(file.stat().st_mtime_ns, file.stat().st_ctime_ns)
    for wait, believed in ((0, False), (1_000_000, False), (COARSE_NS + 1_000_000, True)):
        with open_cache(None, lambda wait=wait: changed + wait) as cache:  # type: ignore[misc]
            learn(cache, file)
            assert knows(cache, file) == believed


@pytest.mark.parametrize("change", ["rewritten in place", "replaced", "time set back", "other mode"])
def test_a_change_is_seen_even_with_the_same_size_and_the_times_set_back(
    file: Path, change: str, tmp_path: Path
) -> None:
    with open_cache(None, later) as cache:
        learn(cache, file)
        assert knows(cache, file)
        if change == "rewritten in place":
            with file.open("r+") as opened:
                opened.write("9")
        elif change == "replaced":
            (tmp_path / "new").write_text("9,9,9\n")
            (tmp_path / "new").rename(file)
        else:
            file.chmod(0o600)
        os.utime(file, ns=(OLD, OLD))
        assert not knows(cache, file)


def test_only_regular_files_are_believed(file: Path, tmp_path: Path) -> None:
    with open_cache(None, later) as cache:
        learn(cache, file)
        (tmp_path / "link").symlink_to(file)
        assert cache.recall([(str(file), (tmp_path / "link").lstat())]) == [None]


def test_many_files_are_asked_for_at_once(tmp_path: Path) -> None:
    with open_cache(tmp_path / "cache.db", later) as cache:
        paths = [tmp_path / f"f{number}" for number in range(1200)]
        for path in paths:
            path.write_text(path.name)
            learn(cache, path)
    with open_cache(tmp_path / "cache.db", later) as cache:
        found = cache.recall([(str(path), path.stat()) for path in paths])
    assert found == [digest_bytes(path.name.encode()) for path in paths]


def test_odd_names_are_remembered(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n'"))
    path.write_text("x")
    with open_cache(tmp_path / "cache.db", later) as cache:
        learn(cache, path)
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert knows(cache, path)


@pytest.mark.parametrize("content", [b"no database", b"", b"SQLite format 3\0" + b"\1" * 5000])
def test_a_broken_cache_costs_time_only(file: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache.db").write_bytes(content)
    for _ in range(2):
        with open_cache(tmp_path / "cache.db", later) as cache:
            assert learn(cache, file) == digest_bytes(b"1,2,3\n")
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert knows(cache, file)


def test_a_row_that_was_mixed_up_is_not_believed(file: Path, tmp_path: Path) -> None:
    with open_cache(tmp_path / "cache.db", later) as cache:
        learn(cache, file)
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute("UPDATE files SET digest = ?", (bytes(32),))
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert not knows(cache, file)


def test_a_cache_that_another_process_is_writing_to_forgets(file: Path, tmp_path: Path) -> None:
    open_cache(tmp_path / "cache.db").close()
    with sqlite3.connect(tmp_path / "cache.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with open_cache(tmp_path / "cache.db", later) as cache:
            assert learn(cache, file) == digest_bytes(b"1,2,3\n")
        other.execute("ROLLBACK")
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert learn(cache, file) == digest_bytes(b"1,2,3\n")


def test_where_no_cache_can_be_made_work_goes_on(file: Path, tmp_path: Path) -> None:
    (tmp_path / "not-a-folder").touch()
    with open_cache(tmp_path / "not-a-folder" / "cache.db", later) as cache:
        assert learn(cache, file) == digest_bytes(b"1,2,3\n")


class Never(RuleBasedStateMachine):
    """Whatever is done to files, with the real clock of the real file system: a digest is right or not there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.cache = open_cache(self.folder / "cache.db")

    def teardown(self) -> None:
        self.cache.close()
        shutil.rmtree(self.folder)

    files = st.sampled_from(["a", "b", "c"])
    contents = st.sampled_from([b"1111", b"2222", b"3333", b"55555"])

    @rule(name=files, content=contents)
    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    @rule(name=files, content=contents)
    def write_in_place_and_set_the_time_back(self, name: str, content: bytes) -> None:
        path = self.folder / name
        if path.exists():
            before = path.stat()
            with path.open("r+b") as file:
                file.write(content)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(name=files, content=contents)
    def replace(self, name: str, content: bytes) -> None:
        (self.folder / "new").write_bytes(content)
        (self.folder / "new").rename(self.folder / name)

    @rule(name=files, other=files)
    def swap(self, name: str, other: str) -> None:
        if (self.folder / name).exists() and (self.folder / other).exists():
            (self.folder / name).rename(self.folder / "swap")
            (self.folder / other).exists() and (self.folder / other).rename(self.folder / name)
            (self.folder / "swap").rename(self.folder / other)

    @rule(name=files)
    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @rule(name=files, moment=st.sampled_from([0, OLD, 2 * OLD]))
    def touch(self, name: str, moment: int) -> None:
        if (self.folder / name).exists():
            os.utime(self.folder / name, ns=(moment, moment))

    @rule()
    def open_again(self) -> None:
        self.cache.close()
        self.cache = open_cache(self.folder / "cache.db")

    @invariant()
    def what_it_says_is_true(self) -> None:
        for name in ("a", "b", "c"):
            path = self.folder / name
            if path.exists():
                assert learn(self.cache, path) == digest_file(path)


class NeverCoarsely(Never):
    """As if the cache were opened long after: what is left is that a change shows in the status."""

    def __init__(self) -> None:
        super().__init__()
        self.cache.close()
        self.cache = open_cache(self.folder / "cache.db", later)


TestNever = Never.TestCase
TestNever.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
