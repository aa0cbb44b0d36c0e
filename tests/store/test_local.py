"""The store in a folder: what can go wrong with disks, processes and versions."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.digest import Digest, digest_bytes
from bis.errors import Damaged, KeepingError, NotFound
from bis.store import packs
from bis.store.local import LocalStore, open_store
from bis.store.sweep import verify

FORK = multiprocessing.get_context("fork")
MIB = 1 << 20


def blocking(store: LocalStore) -> list[str]:
    return [finding.text for finding in verify(store) if finding.blocks]


def the_pack(store: LocalStore) -> Path:
    (path,) = (path for path in store.packs.iterdir() if path.suffix == ".pack")
    return path


def change(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


# opening


def test_a_new_store_names_its_format(tmp_path: Path) -> None:
    open_store(tmp_path / "deep" / "store")
    assert (tmp_path / "deep" / "store" / "format").read_text() == "bis store 3\n"


def test_a_store_that_is_not_there_is_not_found_unless_it_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as error:
        open_store(tmp_path / "store", create=False)
    assert "bis run" in error.value.hint
    assert not (tmp_path / "store").exists()


def test_a_store_of_a_newer_bis_is_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path)
    (tmp_path / "format").write_text("bis store 7\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(KeepingError) as error:
        open_store(tmp_path)
    assert "format 7" in str(error.value)
    assert "up to 3" in str(error.value)
    assert error.value.code == "B053"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("text", ["", "bis store\n", "something else 1\n", "\0\0\0\0"])
def test_a_format_file_that_says_nothing_is_refused_with_what_it_should_say(tmp_path: Path, text: str) -> None:
    open_store(tmp_path)
    (tmp_path / "format").write_text(text)
    with pytest.raises(KeepingError) as error:
        open_store(tmp_path)
    assert error.value.code == "B054"
    assert "bis store 3" in str(error.value)


def test_a_folder_with_other_things_in_it_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(KeepingError, match=r"thesis\.tex") as error:
        open_store(tmp_path)
    assert error.value.code == "B054"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_making_a_store_that_was_interrupted_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "format.1234abcd").touch()
    assert open_store(tmp_path).put_bytes(b"x")


def test_a_store_cannot_be_made_where_one_may_not_write(plain_folder: Path, apart: Callable[..., Any]) -> None:
    plain_folder.chmod(0o555)
    name, code, text = apart(open_store, plain_folder / "store")
    plain_folder.chmod(0o755)
    assert (name, code) == ("KeepingError", "B051")
    assert "BIS_STORE" in text


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(
    plain_folder: Path, apart: Callable[..., Any]
) -> None:
    with open_store(plain_folder / "store") as store:
        digest = store.put_bytes(b"kept")
        store.flush()

    def read() -> bytes:
        return open_store(plain_folder / "store").get_bytes(digest)

    def write() -> Digest:
        return open_store(plain_folder / "store").put_bytes(b"more")

    for path in (store.packs, store.path):
        path.chmod(0o555)
    try:
        assert apart(read) == b"kept"
        assert apart(write)[:2] == ("KeepingError", "B051")
    finally:
        for path in (store.path, store.packs):
            path.chmod(0o755)


# the disk


def limit_files(size: int) -> Callable[[], None]:
    """Files cannot grow beyond `size`, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [3 * MIB, 7 * MIB], ids=["small", "large"])
def test_a_full_disk_loses_nothing_that_was_flushed_and_says_what_to_do(
    plain_folder: Path, apart: Callable[..., Any], size: int
) -> None:
    plain_folder.chmod(0o777)
    (plain_folder / "big").write_bytes(random.Random(0).randbytes(size))

    def work() -> tuple[str, list[str], bytes]:
        store = open_store(plain_folder / "store")
        kept = store.put_bytes(b"kept" * 100)
        store.flush()
        pending = store.put_bytes(b"pending")
        said = ""
        try:
            store.put_file(plain_folder / "big")
            store.flush()
        except KeepingError as error:
            said = f"{error.code} {error}"
        store.close()
        again = open_store(plain_folder / "store")
        assert again.get_bytes(kept) == b"kept" * 100
        assert not again.has(pending)
        return said, blocking(again), again.get_bytes(again.put_bytes(b"after"))

    said, damage, after = apart(work, before=limit_files(2 * MIB))
    assert said.startswith("B050")
    assert "free some room" in said
    assert damage == []
    assert after == b"after"


def test_what_did_not_fit_does_not_take_with_it_what_was_put_before(
    plain_folder: Path, apart: Callable[..., Any]
) -> None:
    plain_folder.chmod(0o777)
    (plain_folder / "big").write_bytes(random.Random(0).randbytes(7 * MIB))

    def work() -> bytes:
        store = open_store(plain_folder / "store")
        digest = store.put_bytes(b"small")
        with pytest.raises(KeepingError):
            store.put_file(plain_folder / "big")
        store.flush()
        return open_store(plain_folder / "store").get_bytes(digest)

    assert apart(work, before=limit_files(2 * MIB)) == b"small"


def test_a_flush_that_failed_for_lack_of_room_can_be_repeated(tmp_path: Path) -> None:
    """As on a disk that somebody then made room on."""

    def work(out: Any) -> None:
        store = open_store(tmp_path / "store")
        digest = store.put_bytes(random.Random(1).randbytes(2 * MIB))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
        failures = 0
        for _ in range(2):
            try:
                store.flush()
            except KeepingError:
                failures += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store.flush()
        out.send((failures, len(open_store(tmp_path / "store").get_bytes(digest))))

    here, there = FORK.Pipe()
    process = FORK.Process(target=work, args=(there,))
    process.start()
    process.join()
    assert here.recv() == (2, 2 * MIB)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount a small file system; see the tests with a file size limit"
)
def test_a_file_system_without_room_is_a_clear_error_and_no_damage(tmp_path: Path) -> None:
    def work(out: Any) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x44000, None):
            return out.send("no mount namespace")
        (tmp_path / "small").mkdir()
        if libc.mount(b"tmpfs", os.fsencode(tmp_path / "small"), b"tmpfs", 0, b"size=1m"):
            return out.send("no tmpfs")
        store = open_store(tmp_path / "small" / "store")
        kept = store.put_bytes(b"kept")
        store.flush()
        codes = set()
        for number in range(40):
            try:
                store.put_bytes(random.Random(number).randbytes(100_000))
                store.flush()
            except KeepingError as error:
                codes.add(error.code)
        store.close()
        again = open_store(tmp_path / "small" / "store")
        return out.send((codes, again.get_bytes(kept), blocking(again)))

    here, there = FORK.Pipe()
    process = FORK.Process(target=work, args=(there,))
    process.start()
    process.join()
    answer = here.recv()
    if isinstance(answer, str):
        pytest.skip(answer)
    assert answer == ({"B050"}, b"kept", [])


def test_a_disk_that_refuses_to_sync_is_never_taken_for_durable(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    store.put_bytes(b"x")
    monkeypatch.setattr(packs.os, "fsync", refuse)
    for _ in range(2):
        with pytest.raises(KeepingError):
            store.flush()
    monkeypatch.undo()
    with pytest.raises(KeepingError):
        store.flush()
    with pytest.raises(KeepingError):
        store.put_bytes(b"y")


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="this system syncs in one way only")
def test_what_a_disk_refuses_while_a_large_pack_is_written_is_not_forgotten_at_its_end(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    kept = store.put_bytes(b"kept")
    store.flush()
    monkeypatch.setattr(packs.os, "fdatasync", refuse)
    noise = random.Random(5).randbytes(packs.AHEAD + 3 * MIB)
    store.put_bytes(noise)
    with pytest.raises(KeepingError) as caught:
        store.flush()
    assert caught.value.code == "B052"
    monkeypatch.undo()  # the next sync of the same file would succeed, as the system tells its error once
    with pytest.raises(KeepingError):
        store.flush()
    assert len(list(store.packs.glob("*.pack"))) == 1
    with open_store(store.path) as again:
        assert again.get_bytes(kept) == b"kept"
        assert again.put_bytes(noise) == digest_bytes(noise)
        again.flush()
        assert verify(again) == []


def test_a_pack_is_on_disk_before_it_has_its_name_and_its_name_before_anybody_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, rename, add = os.fsync, Path.rename, store.index.add

    def fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").resolve()
        events.append(f"sync {'folder' if path.is_dir() else path.name[:4]}")
        sync(fd)

    def note_rename(path: Path, target: Path) -> Path:
        events.append(f"rename {path.name[:4]} to {target.suffix}")
        return rename(path, target)

    def note_add(name: str, *more: Any) -> None:
        events.append("index")
        add(name, *more)

    monkeypatch.setattr(packs.os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    monkeypatch.setattr(store.index, "add", note_add)
    store.put_bytes(b"x")
    assert events == []
    store.flush()
    assert events == ["sync tmp-", "rename tmp- to .pack", "sync folder", "index"]


# processes


def write_until_killed(folder: Path, journal: Path, seed: int) -> None:
    """Put and flush for ever; the digests of what was flushed go to the journal."""
    numbers = random.Random(seed)
    (folder.parent / f"big{seed}").write_bytes(numbers.randbytes(5 * MIB))
    store = open_store(folder)
    with journal.open("ab", buffering=0) as file:
        while True:
            digests = [
                store.put_bytes(numbers.randbytes(numbers.randrange(5000))) for _ in range(numbers.randrange(1, 20))
            ]
            if numbers.random() < 0.2:
                with (folder.parent / f"big{seed}").open("r+b") as big:
                    big.write(numbers.randbytes(100))
                digests.append(store.put_file(folder.parent / f"big{seed}"))
            store.flush()
            file.write("".join(f"{digest}\n" for digest in digests).encode())


def kill_writers(folder: Path, rounds: int, seed: int) -> None:
    numbers = random.Random(seed)
    journal = folder.parent / "journal"
    journal.touch()
    for number in range(rounds):
        writers = [FORK.Process(target=write_until_killed, args=(folder, journal, number * 2 + one)) for one in (0, 1)]
        for writer in writers:
            writer.start()
        time.sleep(numbers.uniform(0.02, 0.15))
        for writer in writers:
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        digests = [Digest(line) for line in journal.read_text().split("\n")[:-1]]
        with open_store(folder) as store:
            for digest in digests[-50:]:
                assert digest_bytes(store.get_bytes(digest)) == digest
    with open_store(folder) as store:
        for digest in digests:
            assert digest_bytes(store.get_bytes(digest)) == digest
        assert blocking(store) == []
        store.put_bytes(b"one more")
        assert len([path for path in store.packs.iterdir() if path.name.startswith("tmp-")]) == 1


def test_a_writer_killed_at_any_point_loses_nothing_that_it_flushed(tmp_path: Path) -> None:
    kill_writers(tmp_path / "store", 6, seed=1)


@pytest.mark.slow
def test_a_hundred_killed_writers_lose_nothing_that_they_flushed(tmp_path: Path) -> None:
    kill_writers(tmp_path / "store", 100, seed=2)


def test_many_writers_at_once_do_not_hinder_each_other(tmp_path: Path) -> None:
    def work(seed: int) -> None:
        numbers = random.Random(seed)
        with open_store(tmp_path / "store") as store:
            for _ in range(10):
                for _ in range(10):
                    store.put_bytes(b"%d" % numbers.randrange(200) * 100)
                store.flush()

    writers = [FORK.Process(target=work, args=(seed,)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    with open_store(tmp_path / "store") as store:
        expected = {digest_bytes(b"%d" % number * 100) for number in range(200)}
        assert set(store.list("blob")) <= expected
        assert len(set(store.list("blob"))) > 150
        assert blocking(store) == []


def test_threads_may_share_a_store(store: LocalStore) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        try:
            for number in range(60):
                content = b"%d" % numbers.randrange(300) * 500
                digest = store.put_bytes(content)
                assert store.get_bytes(digest) == content
                if number % 20 == seed:
                    store.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.flush()
    assert failures == []
    assert blocking(store) == []


def test_what_begins_a_new_pack_can_be_read_before_it_is_finished(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bis.store.local.PACK_SIZE", 10_000)
    contents = [os.urandom(4000) for _ in range(12)]
    for content in contents:
        digest = store.put_bytes(content)
        assert store.has(digest)
        assert store.get_bytes(digest) == content
    store.flush()
    assert len(list(store.packs.glob("*.pack"))) == 4


def test_what_a_dead_writer_left_is_removed_and_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    living = open_store(tmp_path)
    living.put_bytes(b"in the making")
    (tmp_path / "packs" / "tmp-dead").write_bytes(b"half a pack")
    other = open_store(tmp_path)
    other.put_bytes(b"other")
    other.flush()
    assert not (tmp_path / "packs" / "tmp-dead").exists()
    living.flush()
    assert other.get_bytes(digest_bytes(b"in the making")) == b"in the making"


def test_a_new_pack_that_a_sweep_takes_for_a_dead_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sweeps = list[Path](), list[threading.Thread]()
    plain_open = os.open

    def swept(path: Path, flags: int, mode: int = 0o777) -> int:
        """The sweep of another comes between the creation of the first file and its lock."""
        fd = plain_open(path, flags, mode)
        made.append(Path(path))
        if len(made) == 1:
            other = plain_open(path, os.O_RDWR)
            assert packs.lock(other)
            sweeps.append(threading.Thread(target=remove, args=(Path(path), other)))
            sweeps[0].start()
        return fd

    def remove(path: Path, fd: int) -> None:
        time.sleep(0.1)
        path.unlink()
        os.close(fd)

    monkeypatch.setattr(packs.os, "open", swept)
    path, fd = packs.create(tmp_path)
    monkeypatch.undo()
    sweeps[0].join()
    assert len(made) == 2
    assert path == made[1]
    packs.remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    os.close(fd)


# the index is a cache


def filled(path: Path) -> dict[Digest, bytes]:
    contents = [b"%d" % number * 50 for number in range(30)]
    with open_store(path) as store:
        found = {}
        for content in contents:
            found[store.put_bytes(content)] = content
            if len(found) % 10 == 0:
                store.flush()
    return found


def spoil_missing(index: Path) -> None:
    index.unlink()


def spoil_garbage(index: Path) -> None:
    index.write_bytes(b"no database at all" * 1000)


def spoil_middle(index: Path) -> None:
    content = bytearray(index.read_bytes())
    content[200:] = os.urandom(len(content) - 200)
    index.write_bytes(content)


def spoil_rows(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("DELETE FROM objects")


def spoil_places(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("UPDATE objects SET offset = offset + 7")


def spoil_version(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("PRAGMA user_version = 99")


def spoil_tables(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("DROP TABLE objects")


def spoil_folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


SPOILS = (
    *(spoil_missing, spoil_garbage, spoil_middle, spoil_rows, spoil_places, spoil_version, spoil_tables, spoil_folder),
)


@pytest.mark.parametrize("spoil", SPOILS)
def test_whatever_happens_to_the_index_costs_no_object(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    contents = filled(tmp_path)
    with sqlite3.connect(tmp_path / "index") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(tmp_path / "index")
    with open_store(tmp_path) as store:
        for digest, content in contents.items():
            assert store.get_bytes(digest) == content
        new = store.put_bytes(b"new")
        store.flush()
    assert open_store(tmp_path).get_bytes(new) == b"new"


def test_a_pack_that_the_index_does_not_know_is_found(tmp_path: Path) -> None:
    contents = filled(tmp_path / "a")
    open_store(tmp_path / "b").has(next(iter(contents)))
    for pack in (tmp_path / "a" / "packs").iterdir():
        pack.rename(tmp_path / "b" / "packs" / pack.name)
    with open_store(tmp_path / "b") as store:
        assert {digest: store.get_bytes(digest) for digest in contents} == contents


def test_content_of_a_pack_that_was_deleted_is_kept_again(store: LocalStore) -> None:
    digest = store.put_bytes(b"content")
    store.flush()
    the_pack(store).unlink()
    again = open_store(store.path)
    assert not again.has(digest)
    again.put_bytes(b"content")
    again.flush()
    assert open_store(store.path).get_bytes(digest) == b"content"


def test_content_of_a_pack_that_was_cut_short_is_kept_again(store: LocalStore) -> None:
    digest = store.put_bytes(b"content")
    store.flush()
    change(the_pack(store), the_pack(store).read_bytes()[:40])
    again = open_store(store.path)
    assert not again.has(digest)
    again.put_bytes(b"content")
    again.flush()
    assert open_store(store.path).get_bytes(digest) == b"content"


# damage


def flip(path: Path, at: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    change(path, bytes(content))


@pytest.mark.parametrize("content", [b"raw content", b"compressible " * 100], ids=["raw", "compressed"])
def test_damaged_content_is_never_handed_out(store: LocalStore, content: bytes) -> None:
    digest = store.put_bytes(content)
    store.flush()
    pack = the_pack(store)
    intact = pack.read_bytes()
    for at in range(len(packs.MAGIC), len(intact)):
        change(pack, intact)
        flip(pack, at)
        with open_store(store.path) as again, contextlib.suppress(Damaged, NotFound):
            assert again.get_bytes(digest) == content  # a bit that does not change the content


def test_a_list_that_is_not_what_the_name_of_its_pack_says_is_not_believed(store: LocalStore) -> None:
    digests = {store.put_bytes(content): content for content in (b"one", b"another")}
    store.flush()
    pack = the_pack(store)
    store.close()
    flip(pack, pack.stat().st_size - packs.END.size - packs.HEAD.size + 30)  # in the digest of the last object
    (store.path / "index").unlink()
    with open_store(store.path) as again:
        assert {digest: again.get_bytes(digest) for digest in digests} == digests


def test_damage_is_told_with_digest_pack_and_what_to_type(store: LocalStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"content")
    store.flush()
    flip(the_pack(store), len(packs.MAGIC) + packs.HEAD.size + 3)
    with pytest.raises(Damaged) as error:
        store.get_bytes(digest)
    assert digest in str(error.value)
    assert the_pack(store).name[:12] in str(error.value)
    assert error.value.hint == "bis verify"
    with pytest.raises(Damaged):
        store.get_file(digest, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_damaged_large_object_is_noticed_at_the_end_of_the_stream(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(5 * MIB))
    digest = store.put_file(tmp_path / "big")
    store.flush()
    flip(the_pack(store), 4 * MIB)
    with store.open(digest) as stream, pytest.raises(Damaged):
        stream.read()
    with pytest.raises(Damaged):
        store.get_file(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_copy_serves_when_the_first_is_damaged(tmp_path: Path) -> None:
    first, second = open_store(tmp_path), open_store(tmp_path)
    digest = first.put_bytes(b"content" * 10)
    second.put_bytes(b"content" * 10)
    second.put_bytes(b"other")
    first.flush()
    damaged = the_pack(first)
    second.flush()
    flip(damaged, packs.HEAD.size + len(packs.MAGIC) + 2)
    assert open_store(tmp_path).get_bytes(digest) == b"content" * 10


def test_damaged_content_that_verify_found_can_be_put_again(store: LocalStore) -> None:
    digest = store.put_bytes(b"content")
    store.flush()
    flip(the_pack(store), packs.HEAD.size + len(packs.MAGIC) + 2)
    assert blocking(store)
    assert store.put_bytes(b"content") == digest
    store.flush()
    assert open_store(store.path).get_bytes(digest) == b"content"


def test_a_pack_without_its_end_still_gives_what_it_has(tmp_path: Path) -> None:
    contents = filled(tmp_path)
    for pack in (tmp_path / "packs").iterdir():
        change(pack, pack.read_bytes()[:-700])
    (tmp_path / "index").unlink()
    with open_store(tmp_path) as store:
        there = {digest: content for digest, content in contents.items() if store.has(digest)}
        assert len(there) >= 20
        assert {digest: store.get_bytes(digest) for digest in there} == there
        assert len([text for text in blocking(store) if "cut short" in text]) == 3
