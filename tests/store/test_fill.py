"""Many small files are put into folders in few steps, whole, and never over what is there."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bis.digest import Digest, spell
from bis.errors import Damaged, KeepingError, NotFound
from bis.nouns.tree import Entry, Leaf
from bis.store import fill as module
from bis.store.fill import fill
from bis.store.local import SMALL, LocalStore, open_store
from bis.store.naming import rename_new
from bis.store.packs import HEAD
from bis.store.snapshot import restore, snapshot


def leaf(store: LocalStore, path: str, content: bytes, mode: int = 0o644) -> Leaf:
    name = path.rpartition("/")[2]
    return Leaf(path=path, entry=Entry(name=name, kind="file", digest=store.put_bytes(content), mode=mode))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the system was asked for what."""
    counts = dict.fromkeys(("open", "pread", "write", "fstat", "fchmod"), 0)

    def counted(name: str) -> None:
        inner = getattr(os, name)

        def call(*args: object, **named: object) -> object:
            counts[name] += 1
            return inner(*args, **named)

        monkeypatch.setattr(os, name, call)

    for name in counts:
        counted(name)
    return counts


def test_a_thousand_files_are_read_at_once_and_each_is_opened_and_written_once(
    store: LocalStore, tmp_path: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = [leaf(store, f"many/{number}", f"file {number}".encode()) for number in range(1000)]
    store.flush()
    asked: list[str] = []
    renamed: list[str] = []

    def rename(old: str, new: str) -> None:
        renamed.append(new)
        rename_new(old, new)

    monkeypatch.setattr(module, "rename_new", rename)
    store.index._connection.set_trace_callback(asked.append)
    calls.update(dict.fromkeys(calls, 0))
    assert fill(store, leaves, tmp_path / "into") == []
    assert contents(tmp_path / "into") == {f"many/{number}": f"file {number}".encode() for number in range(1000)}
    assert calls["pread"] == 1
    assert calls["write"] == 1000 + 1  # what says whose drafts they are
    assert 1000 <= calls["open"] < 1010
    assert calls["fstat"] + calls["fchmod"] < 10
    assert len(asked) < 10
    assert renamed == [str(tmp_path / "into" / "many")]


def test_a_folder_that_cannot_be_filled_does_not_appear(store: LocalStore, tmp_path: Path) -> None:
    good = [leaf(store, f"good/{number}", bytes([number])) for number in range(3)]
    missing = Entry(name="x", kind="file", digest=Digest("b3:" + "0" * 64))
    with pytest.raises(NotFound):
        fill(store, [*good, leaf(store, "half/a", b"a"), Leaf(path="half/x", entry=missing)], tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["good"]


def test_what_is_there_is_not_overwritten_unless_it_is_asked_for(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "b").write_text("mine")
    leaves = [leaf(store, "a", b"A"), leaf(store, "b", b"B")]
    with pytest.raises(KeepingError, match="is there already"):
        fill(store, leaves, tmp_path / "into")
    assert contents(tmp_path / "into") == {"a": b"A", "b": b"mine"}
    fill(store, leaves, tmp_path / "into", over=True)
    assert contents(tmp_path / "into") == {"a": b"A", "b": b"B"}


def test_a_folder_that_somebody_makes_meanwhile_is_filled_beside_what_is_in_it(
    store: LocalStore, tmp_path: Path
) -> None:
    class Slow(LocalStore):
        def get_many(self, digests: list[Digest]) -> Iterator[tuple[Digest, bytes]]:  # type: ignore[override]
            (tmp_path / "into").mkdir()
            (tmp_path / "into" / "theirs").write_text("theirs")
            return super().get_many(digests)

    leaves = [leaf(store, "a", b"A")]
    store.flush()
    with Slow(store.path) as slow:
        assert fill(slow, leaves, tmp_path / "into") == []
    assert contents(tmp_path / "into") == {"a": b"A", "theirs": b"theirs"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".bis-")) == []


def test_more_files_than_appear_at_once_all_come(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    assert fill(store, [leaf(store, f"{number}", b"same") for number in range(10)], tmp_path / "into") == []
    assert contents(tmp_path / "into") == {f"{number}": b"same" for number in range(10)}


def test_modes_come_out_as_recorded_whatever_the_umask_says(store: LocalStore, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        fill(store, [leaf(store, f"{mode:o}", b"x", mode) for mode in (0o644, 0o755, 0o400, 0o666)], tmp_path / "into")
    finally:
        os.umask(before)
    for path in (tmp_path / "into").iterdir():
        assert f"{stat.S_IMODE(path.stat().st_mode):o}" == path.name


def test_large_files_links_and_what_is_elsewhere_are_left_to_the_caller(store: LocalStore, tmp_path: Path) -> None:
    large = leaf(store, "large", bytes(SMALL + 1))
    told = [
        Leaf(path="large", entry=Entry(name="large", kind="file", digest=large.entry.digest, size=SMALL + 1)),
        Leaf(path="lied", entry=Entry(name="lied", kind="file", digest=large.entry.digest, size=1)),
        Leaf(path="link", entry=Entry(name="link", kind="link", target="x")),
        Leaf(path="away", entry=Entry(name="away", kind="file", digest=store.put_bytes(b"y"), kept=False)),
    ]
    left = fill(store, [*told, leaf(store, "small", b"x")], tmp_path / "into")
    assert sorted(one.path for one in left) == ["away", "large", "lied", "link"]
    assert contents(tmp_path / "into") == {"small": b"x"}


def test_nothing_takes_no_room(store: LocalStore, tmp_path: Path) -> None:
    fill(store, [leaf(store, "zeros", bytes(SMALL)), leaf(store, "empty", b"")], tmp_path / "into")
    assert (tmp_path / "into" / "zeros").read_bytes() == bytes(SMALL)
    assert (tmp_path / "into" / "zeros").stat().st_blocks == 0
    assert (tmp_path / "into" / "empty").read_bytes() == b""


def test_a_folder_may_be_given_as_seen_from_here(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(store, [leaf(store, "x", b"x")], Path("here"))
    fill(store, [leaf(store, "y", b"y")], Path())
    assert contents(tmp_path / "here") == {"x": b"x"}
    assert (tmp_path / "y").read_bytes() == b"y"


def test_names_of_any_bytes_come_back(store: LocalStore, tmp_path: Path) -> None:
    path = spell(b"odd\xff\n")
    fill(store, [Leaf(path=path, entry=leaf(store, "x", b"x").entry)], tmp_path / "into")
    assert [os.fsencode(path.name) for path in (tmp_path / "into").iterdir()] == [b"odd\xff\n"]


def flip(pack: Path, at: int) -> None:
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)


def test_what_is_damaged_is_never_handed_out_and_another_copy_serves(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        digests = [store.put_bytes(f"content {number}".encode()) for number in range(3)]
        store.flush()
        (pack,) = store.packs.glob("*.pack")
    flip(pack, 8 + HEAD.size + 2)
    with open_store(tmp_path / "store") as store, pytest.raises(Damaged):
        list(store.get_many(digests))
    with open_store(tmp_path / "other") as other:
        other.put_bytes(b"content 0")
        other.flush()
        (whole,) = other.packs.glob("*.pack")
    whole.rename(tmp_path / "store" / "packs" / whole.name)
    with open_store(tmp_path / "store") as store:
        store.index.catch_up(sure=True)
        found = dict(store.get_many(digests))
    assert [found[digest] for digest in digests] == [f"content {number}".encode() for number in range(3)]


def test_no_flipped_bit_passes(store: LocalStore) -> None:
    expected = {store.put_bytes(content): content for content in (b"raw content", b"compressible " * 50)}
    store.flush()
    (pack,) = store.packs.glob("*.pack")
    intact = pack.read_bytes()
    end = len(intact) - 16 - 2 * HEAD.size
    for at in range(8, end):
        pack.chmod(0o644)
        pack.write_bytes(intact)
        flip(pack, at)
        with open_store(store.path) as again, contextlib.suppress(Damaged, NotFound):
            for digest, content in again.get_many(expected):
                assert expected[digest] == content


@pytest.mark.parametrize("content", [b"text " * 1000, b"short", bytes(range(256)) * 40])
def test_what_was_put_and_not_flushed_is_there_too(store: LocalStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    for number in range(5):
        (tmp_path / "data" / f"{number}").write_bytes(content + bytes([number]))
    restore(store, snapshot(tmp_path / "data", store), tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "data")
    store.flush()
    restore(store, snapshot(tmp_path / "data", store), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "data")
