"""Disks that are full, that lie, that may not be written to; and clocks that go backwards."""

import contextlib
import importlib
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bis.acts.collect import collect
from bis.acts.data import remove
from bis.digest import digest_file
from bis.errors import BisError, Damaged, KeepingError, NotFound
from bis.steps import add_data
from bis.store.local import LocalStore, open_store
from bis.store.sweep import verify
from bis.store.trouble import DISK_FULL

FORK = multiprocessing.get_context("fork")
NOW = datetime(2026, 5, 3, tzinfo=UTC)


def apart(work: Callable[[], Any]) -> Any:
    """What work answers, or the error it raised, in a process of its own."""
    here, there = FORK.Pipe()

    def child() -> None:
        try:
            there.send(work())
        except BisError as error:
            there.send((error.code, error.what, error.hint))

    process = FORK.Process(target=child)
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def is_version(answer: Any) -> bool:
    return hasattr(answer, "version")


# -- full


def limited(size: int, work: Callable[[], Any]) -> Callable[[], Any]:
    """Work that cannot make any file larger than this, as on a disk that is full."""

    def inner() -> Any:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        return work()

    return inner


def test_an_add_on_a_disk_that_is_full_at_any_write_is_an_error_and_loses_nothing(project: Any) -> None:
    before = project.write(0)
    first = project.add()
    after = project.write(1)
    answers = []
    for limit in range(0, 400_000, 3000):
        answers.append(apart(limited(limit, project.add)))
        assert project.is_sound()
        assert project.has(first, before)
        if is_version(answers[-1]):
            break
    said = [answer for answer in answers if not is_version(answer)]
    assert len(said) > 3
    assert {code for code, _, _ in said} == {DISK_FULL}, said
    assert all(hint for _, _, hint in said)
    assert is_version(answers[-1])
    assert project.has(answers[-1], after)


def test_a_collection_on_a_full_disk_is_an_error_and_loses_nothing(project: Any) -> None:
    kept = {}
    for state in range(3):
        kept[state] = project.write(state), project.add()
    with project.home() as home:
        remove([kept.pop(0)[1]], home)

    def work() -> str:
        with project.home() as home:
            collect(home, now=NOW, grace=timedelta(0), at_once=True)
        return "done"

    answers = []
    for limit in (0, 100, 1000, 10_000, 100_000, 300_000, 1 << 30):
        answers.append(apart(limited(limit, work)))
        assert project.is_sound()
        for content, version in kept.values():
            assert project.has(version, content)
    assert answers[0][0] == DISK_FULL
    assert answers[-1] == "done"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many KiB, where this machine lets us."""
    made: list[Path] = []

    def make(size: int) -> Path:
        place = tmp_path / f"disk-{size}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small disk")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", [256, 512, 800, 1200, 2000])
def test_a_store_on_a_disk_that_fills_up_keeps_what_it_acknowledged(
    small_disk: Callable[[int], Path], size: int
) -> None:
    place = small_disk(size) / "store"
    put, codes = {}, set()
    for number in range(40):
        content = os.urandom(number * 5000)
        with contextlib.suppress(KeepingError), open_store(place) as store:
            try:
                digest = store.put_bytes(content)
                store.flush()
                put[digest] = content
            except KeepingError as error:
                codes.add(error.code)
                raise
    assert codes == {DISK_FULL}
    assert put
    with open_store(place) as store:
        assert [finding.text for finding in verify(store)] == []
        for digest, content in put.items():
            assert store.get_bytes(digest) == content


# -- damaged


@pytest.fixture
def small_store(tmp_path: Path) -> tuple[LocalStore, dict[str, bytes]]:
    """A store of some KiB that has everything: pieces, a difference, blobs as they are and compressed, a tree."""
    block = random.Random(1133).randbytes(400)  # one that is cut, and compresses well when it is repeated
    table = block * 750
    edited = table[:100_000] + b"an edit" + table[100_007:]
    contents = {}
    store = open_store(tmp_path / "small")
    for content in (table, edited, b"as it is", b"compressed " * 20):
        contents[store.put_bytes(content)] = content
        store.flush()
    contents[store.put_bytes(b'{"entries":[],"schema":"bis.tree/1"}', "tree")] = b'{"entries":[],"schema":"bis.tree/1"}'
    store.flush()
    assert {place.item.method for place in store.index.copies()} == {0, 1, 2, 3}
    return store, contents


def unnoticed(store: LocalStore, contents: dict[str, bytes], step: int, bits: Callable[[int], range]) -> list[Any]:
    """The flipped bits, of every so many-th byte, that `verify` does not find and name, or that a reader is given."""
    silent = []
    for pack in sorted(store.packs.glob("*.pack")):
        pack.chmod(0o644)
        intact = pack.read_bytes()
        for at in range(0, len(intact), step):
            for bit in bits(at):
                pack.write_bytes(intact[:at] + bytes([intact[at] ^ 1 << bit]) + intact[at + 1 :])
                with open_store(store.path) as opened:
                    texts = [finding.text for finding in verify(opened)]
                    if not any(pack.name[:12] in text for text in texts) or not never_wrong(opened, contents):
                        silent.append((pack.name, at, bit))
        pack.write_bytes(intact)
    assert verify(store) == []
    return silent


def never_wrong(store: LocalStore, contents: dict[str, bytes]) -> bool:
    """Whether each object is handed out as it was, or not at all."""
    for digest, content in contents.items():
        with contextlib.suppress(Damaged, NotFound):
            if store.get_bytes(digest) != content:  # type: ignore[arg-type]
                return False
    return True


def test_a_flipped_bit_in_pieces_and_differences_is_found_and_named(
    small_store: tuple[LocalStore, dict[str, bytes]],
) -> None:
    store, contents = small_store
    size = sum(path.stat().st_size for path in store.packs.glob("*.pack"))
    assert unnoticed(store, contents, size // 300 + 1, lambda at: range(at % 8, at % 8 + 1)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_flipped_bit_is_found_and_named(small_store: tuple[LocalStore, dict[str, bytes]]) -> None:
    store, contents = small_store
    assert unnoticed(store, contents, 1, lambda at: range(8)) == []


def test_of_a_truncated_pack_what_is_whole_is_still_read_and_adding_again_mends_the_rest(project: Any) -> None:
    content = project.write(0)
    version = project.add()
    packs = sorted((project.folder / ".bis" / "store" / "packs").glob("*.pack"), key=lambda path: path.stat().st_size)
    packs[-1].chmod(0o644)
    with packs[-1].open("r+b") as file:
        file.truncate(packs[-1].stat().st_size // 2)
    assert not project.is_sound()
    with project.home() as home:
        readable = sum(home.store.has(digest) for digest in home.store.list("blob"))
        assert any("cut short" in finding.text for finding in verify(home.store))
        for digest in list(home.store.list("blob")):
            with contextlib.suppress(Damaged, NotFound):
                home.store.get_bytes(digest)
        assert readable
    with project.home() as home:
        add_data.add(add_data.Adding(path=project.data, name="again"), home)
    assert project.has(version, content)


# -- read-only


@pytest.fixture
def read_only(project: Any) -> Iterator[Any]:
    """A project with a version and a run, on a medium that is mounted read-only."""
    project.content = project.write(0)
    project.version = project.add()
    subprocess.run([sys.executable, "-m", "bis", "run", "--", "sh", "-c", "true"], cwd=project.folder, check=True)
    mounted = subprocess.run(["mount", "--bind", project.folder, project.folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a folder")
    subprocess.run(["mount", "-o", "remount,ro,bind", project.folder], check=True)
    yield project
    subprocess.run(["umount", "-l", project.folder], check=True)


def test_a_project_on_a_read_only_medium_can_be_read_listed_verified_and_restored_from(
    read_only: Any, tmp_path: Path
) -> None:
    def bis(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bis", "-C", str(read_only.folder), *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    with pytest.raises(OSError, match="Read-only"):
        (read_only.folder / "x").touch()
    for words in (
        ("log",),
        ("show",),
        ("verify",),
        ("du",),
        ("gc", "--dry-run"),
        ("data", "log"),
        ("data", "ls", "data"),
        ("data", "cat", "data/1.txt"),
        ("data", "get", "data", str(tmp_path / "got")),
        ("restore", "@latest", str(tmp_path / "restored")),
    ):
        done = bis(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert {path.name: digest_file(path) for path in (tmp_path / "got").iterdir()} == read_only.content
    for words in (("gc",), ("rm", "@latest"), ("data", "rm", "data")):
        done = bis(*words)
        assert (done.returncode, "Read-only" in done.stderr) == (5, True), (words, done.stderr)


def test_a_store_that_may_not_be_written_to_is_read_by_an_ordinary_user(project: Any) -> None:
    project.write(0)
    version = project.add()
    store = project.folder / ".bis" / "store"
    for path in (store / "packs", store):
        path.chmod(0o555)

    importlib.import_module("concurrent.futures.thread")  # an interpreter in root's home is closed to others later

    def work() -> Any:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        with open_store(store, create=False) as opened:
            return len(opened.get_bytes(version.version.tree)), verify(opened)

    # The folders above, which pytest makes for its user alone.
    top = Path(tempfile.gettempdir())
    for folder in (project.folder / ".bis", project.folder, *project.folder.parents):
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to(top) and folder != top:
            folder.chmod(folder.stat().st_mode | 0o055)
    size, findings = apart(work)
    assert size > 100
    assert findings == []
    for path in (store, store / "packs"):
        path.chmod(0o755)


# -- clocks


def test_a_clock_that_goes_backwards_between_two_adds_changes_neither_their_order_nor_what_is_found(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Earlier":  # type: ignore[override]
            return cls(2020, 1, 1, tzinfo=tz)

    first = project.write(0), project.add()
    second = project.write(1)
    for path in project.data.iterdir():
        os.utime(path, (0, 0))  # written by the clock of before, too
    with monkeypatch.context() as patch:
        patch.setattr(add_data, "datetime", Earlier)
        newest = project.add()
    assert newest.version.number == 2
    assert newest.version.made > first[1].version.made
    with project.home() as home:
        assert [one.version.number for one in home.ledger.data.versions("data")] == [2, 1]
    assert project.has(newest, second)
    assert project.has(first[1], first[0])
    assert project.is_sound()
