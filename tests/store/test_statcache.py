"""The stat cache: never a stale digest, and an unchanged file is not read again."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bis.digest import Digest, digest_bytes, digest_file, unspell
from bis.store import statcache
from bis.store.statcache import COARSE_NS, DECODER, EARLIEST, IN_A_ROW, StatCache, believed, open_cache

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
    for wait, enough in ((0, False), (1_000_000, False), (COARSE_NS + 1_000_000, True)):
        with open_cache(None, lambda wait=wait: changed + wait) as cache:  # type: ignore[misc]
            learn(cache, file)
            assert knows(cache, file) == enough


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
        ((content,),) = connection.execute("SELECT files FROM files").fetchall()
        digest = bytes.fromhex(digest_bytes(b"1,2,3\n").removeprefix("b3:"))
        assert digest in content
        connection.execute("UPDATE files SET files = ?", (content.replace(digest, bytes(32)),))
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert not knows(cache, file)


def test_a_cache_in_the_layout_of_before_is_forgotten_and_not_misread(file: Path, tmp_path: Path) -> None:
    status = file.stat()
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    with closing(sqlite3.connect(tmp_path / "cache.db")) as connection, connection:
        connection.execute("CREATE TABLE files (path BLOB PRIMARY KEY, status BLOB, digest BLOB, sum BLOB)")
        row = (os.fsencode(file), b"%d %d %d %d %d" % numbers, bytes(32), bytes(8))
        connection.execute("INSERT INTO files VALUES (?, ?, ?, ?)", row)
        connection.execute("PRAGMA user_version = 2")
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert not knows(cache, file)
        assert learn(cache, file) == digest_bytes(b"1,2,3\n")
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert knows(cache, file)


def rows(cache: Path) -> list[int]:
    """How many files each row holds."""
    with closing(sqlite3.connect(cache)) as connection:
        found = connection.execute("SELECT files FROM files ORDER BY folder, first").fetchall()
    return [len(DECODER.decode(files)) for (files,) in found]


def test_many_files_of_a_folder_share_a_row_and_one_more_joins_it(tmp_path: Path) -> None:
    names = [f"f{number:04}" for number in range(0, 2 * IN_A_ROW, 2)]
    for name in names:
        (tmp_path / name).write_text(name)
    with open_cache(tmp_path / "cache.db", later) as cache:
        for name in names:
            learn(cache, tmp_path / name)
    assert rows(tmp_path / "cache.db") == [IN_A_ROW]
    (tmp_path / "f0001").write_text("between")
    (tmp_path / "a").write_text("before all others")
    with open_cache(tmp_path / "cache.db", later) as cache:
        learn(cache, tmp_path / "f0001")
        cache.save()
        learn(cache, tmp_path / "a")
    assert rows(tmp_path / "cache.db") == [IN_A_ROW // 2 + 2, IN_A_ROW // 2]
    with open_cache(tmp_path / "cache.db", later) as cache:
        assert all(knows(cache, tmp_path / name) for name in (*names, "f0001", "a"))


def test_one_file_of_a_large_folder_is_found_and_noted_without_the_others(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    status, digest = (tmp_path / "x").stat(), digest_bytes(b"x")
    with open_cache(tmp_path / "cache.db", later) as cache:
        cache.remember_files(str(tmp_path), [(f"{n:05}", status, digest) for n in range(20 * IN_A_ROW)], later())
    with open_cache(tmp_path / "cache.db", later) as cache:
        touched: list[str] = []
        assert cache._connection
        cache._connection.set_trace_callback(touched.append)
        assert cache.recall([(str(tmp_path / "07777"), status)]) == [digest]
        assert len(touched) == 2
        cache.remember(str(tmp_path / "07777"), status, digest, later())
        cache.save()
        assert sum(statement.startswith("INSERT") for statement in touched) == 1


def test_a_time_that_no_number_holds_is_not_remembered(file: Path) -> None:
    status = list(file.stat())
    early = os.stat_result(status, {"st_mtime_ns": EARLIEST - 1, "st_ctime_ns": OLD})
    with open_cache(None, later) as cache:
        cache.remember(str(file), early, digest_bytes(b"1,2,3\n"), later())
        assert cache.recall([(str(file), early)]) == [None]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([f"n{n}" for n in range(40)] + ["é", "\0ff"]), st.binary(max_size=1))))
def test_what_was_noted_last_is_found_however_the_rows_were_split(told: list[dict[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statcache, "IN_A_ROW", 4)
        path = Path(folder) / "file"
        path.write_text("x")
        status = path.stat()
        expected: dict[str, Digest] = {}
        for files in told:
            with open_cache(Path(folder) / "cache.db", later) as cache:
                digests = {name: digest_bytes(content) for name, content in files.items()}
                cache.remember_files("/data", [(name, status, digest) for name, digest in digests.items()], later())
            expected |= digests
        with open_cache(Path(folder) / "cache.db", later) as cache:
            asked = [(f"/data/{unspell(name)}", status) for name in expected]
            assert cache.recall(asked) == list(expected.values())
            whole = cache.files_in(["/data", "/other"]).get("/data", {})
        assert {name: believed(known, status) for name, known in whole.items()} == expected
        if told:
            assert all(0 < count <= 4 for count in rows(Path(folder) / "cache.db"))


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

    @rule()
    def look_at_all(self) -> None:
        """As a folder is taken: all files are asked for, and noted, at once."""
        looked = self.cache.now()
        known = self.cache.files_in([str(self.folder)]).get(str(self.folder), {})
        fresh = []
        for name in ("a", "b", "c"):
            if (self.folder / name).exists():
                status, digest = (self.folder / name).stat(), digest_file(self.folder / name)
                assert believed(known.get(name), status) in (None, digest)
                fresh.append((name, status, digest))
        self.cache.remember_files(str(self.folder), fresh, looked)

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
