"""What every store promises, whatever lies behind it. A new store is one more parameter of the fixture `again`."""

import io
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest, digest_bytes
from bis.errors import KeepingError, NotFound
from bis.store import Store
from bis.store.bucket import open_bucket_store
from bis.store.local import open_store

LARGE = 6 << 20
"""More than is held in memory at once."""
ABSENT = Digest("b3:" + "0" * 64)


@pytest.fixture(params=["local", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs", "az"))])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens one and the same store, each time anew; one in a bucket by another machine."""
    if request.param == "local":
        return lambda: open_store(tmp_path / "store")
    place = request.getfixturevalue(request.param)
    machines = itertools.count(1)

    def opened() -> Store:
        found = open_bucket_store(place.url, tmp_path / "store" / str(next(machines)), place.variables)
        found.prepare()
        return found

    return opened


@pytest.fixture
def store(again: Callable[[], Store]) -> Store:
    return again()


def large(seed: int, *, text: bool = False) -> bytes:
    numbers = random.Random(seed)
    if text:
        return b"".join(b"%d,%d\n" % (number, numbers.getrandbits(20)) for number in range(LARGE // 12))
    return numbers.randbytes(LARGE)


def test_bytes_come_back_under_the_digest_of_their_content(store: Store) -> None:
    digest = store.put_bytes(b"weights")
    assert digest == digest_bytes(b"weights")
    assert store.has(digest)
    assert store.get_bytes(digest) == b"weights"
    assert store.size(digest) == 7


def test_the_empty_blob_is_a_blob(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert store.put_bytes(b"") == store.put_file(tmp_path / "empty")
    store.flush()
    assert store.get_bytes(digest_bytes(b"")) == b""
    assert store.open(digest_bytes(b"")).read() == b""


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=300) | st.binary(max_size=20).map(lambda piece: piece * 500), max_size=8))
def test_any_bytes_come_back_before_and_after_flush(store: Store, contents: list[bytes]) -> None:
    digests = [store.put_bytes(content) for content in contents]
    assert [store.get_bytes(digest) for digest in digests] == contents
    store.flush()
    assert [store.get_bytes(digest) for digest in digests] == contents


@pytest.mark.parametrize("text", [True, False], ids=["compressible", "random"])
def test_a_large_file_comes_back(store: Store, tmp_path: Path, text: bool) -> None:
    content = large(1, text=text)
    (tmp_path / "file").write_bytes(content)
    digest = store.put_file(tmp_path / "file")
    assert digest == digest_bytes(content)
    assert store.open(digest).read() == content
    store.flush()
    assert store.get_bytes(digest) == content
    assert store.size(digest) == len(content)
    with store.open(digest) as stream:
        assert stream.read(10) == content[:10]
        assert stream.read() == content[10:]
    store.get_file(digest, tmp_path / "back", 0o640)
    assert (tmp_path / "back").read_bytes() == content


def test_what_was_flushed_is_there_for_whoever_opens_the_store_next(again: Callable[[], Store]) -> None:
    first = again()
    digests = [first.put_bytes(b"%d" % number, "blob") for number in range(100)]
    first.flush()
    second = again()
    assert [second.get_bytes(digest) for digest in digests] == [b"%d" % number for number in range(100)]


def test_what_one_opener_flushes_the_other_finds(again: Callable[[], Store]) -> None:
    reader, writer = again(), again()
    assert not reader.has(digest_bytes(b"news"))
    digest = writer.put_bytes(b"news")
    writer.flush()
    assert reader.get_bytes(digest) == b"news"
    assert digest in set(reader.list("blob"))


def test_flush_with_nothing_put_does_nothing(store: Store) -> None:
    store.flush()
    store.flush()


def test_what_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    assert not store.has(ABSENT)
    for ask in (store.get_bytes, store.open, store.size, lambda digest: store.get_file(digest, tmp_path / "x")):
        with pytest.raises(NotFound) as error:
            ask(ABSENT)  # type: ignore[operator]
        assert ABSENT in str(error.value)
        assert error.value.hint
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("nonsense", ["", "b3:", "b3:12", "md5:" + "0" * 64, "b3:" + "g" * 64])
def test_what_is_no_digest_is_not_there(store: Store, nonsense: str) -> None:
    assert not store.has(Digest(nonsense))
    with pytest.raises(NotFound):
        store.get_bytes(Digest(nonsense))


def test_kinds_are_listed_apart(store: Store) -> None:
    blob, tree, record = store.put_bytes(b"1"), store.put_bytes(b"2", "tree"), store.put_bytes(b"3", "record")
    for _ in range(2):
        assert (list(store.list("blob")), list(store.list("tree")), list(store.list("record"))) == (
            [blob],
            [tree],
            [record],
        )
        store.flush()


def test_a_record_whose_bytes_are_already_kept_as_a_blob_is_listed_as_a_record(store: Store) -> None:
    digest = store.put_bytes(b'{"schema":"x"}')
    store.put_bytes(b'{"schema":"x"}', "record")
    store.flush()
    assert list(store.list("record")) == [digest]
    assert store.get_bytes(digest) == b'{"schema":"x"}'


def test_a_file_that_is_not_as_expected_is_refused(store: Store, tmp_path: Path) -> None:
    for name, content in (("small", b"now"), ("large", large(2))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(KeepingError, match="expected") as error:
            store.put_file(tmp_path / name, expected=digest_bytes(b"before"))
        assert error.value.code == "B055"
        assert not store.has(digest_bytes(content))
    store.put_bytes(b"before")
    with pytest.raises(KeepingError):
        store.put_file(tmp_path / "small", expected=digest_bytes(b"before"))
    assert store.put_file(tmp_path / "small", expected=digest_bytes(b"now"))


def test_a_file_that_cannot_be_read_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(KeepingError, match="absent") as error:
        store.put_file(tmp_path / "absent")
    assert error.value.code == "B059"
    with pytest.raises(KeepingError):
        store.put_file(tmp_path)


def test_getting_a_file_never_overwrites(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"new")
    (tmp_path / "mine").write_text("work")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "link"):
        with pytest.raises(KeepingError) as error:
            store.get_file(digest, tmp_path / name)
        assert error.value.code == "B057"
    assert (tmp_path / "mine").read_text() == "work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "mine", "store"]


def test_a_restored_file_has_the_mode_asked_for_whatever_the_umask(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"#!/bin/sh\n")
    before = os.umask(0o077)
    try:
        store.get_file(digest, tmp_path / "script", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o755


def test_a_stream_can_be_read_in_any_pieces(store: Store, tmp_path: Path) -> None:
    content = large(3)
    (tmp_path / "file").write_bytes(content)
    digest = store.put_file(tmp_path / "file")
    stream, pieces, numbers = store.open(digest), io.BytesIO(), random.Random(0)
    while piece := stream.read(numbers.randrange(1, 1 << 21)):
        pieces.write(piece)
    assert pieces.getvalue() == content
