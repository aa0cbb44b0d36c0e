"""What is put together from pieces is proved once, by its own digest, and a piece that is damaged is still named."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.digest import Digest, digest_bytes, short
from bis.errors import Damaged
from bis.store import chunks
from bis.store.index import Place
from bis.store.local import LocalStore, digest_of, open_store, raw_of
from bis.store.packs import PARTS, Form, Item
from bis.store.proofs import Wholes
from bis.store.sweep import verify

MIB = 1 << 20
NOISE = random.Random(7).randbytes(12 * MIB)


def put(store: LocalStore, data: bytes) -> Digest:
    digest = store.put_bytes(data)
    store.flush()
    return digest


def said(store: LocalStore) -> list[str]:
    return [finding.text for finding in verify(store)]


def bytes_read(work: Callable[[], object]) -> int:
    """By this process, whether from a disk or not."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = so_far()
    work()
    return so_far() - before


def piece_of(store: LocalStore, digest: Digest, number: int) -> Place:
    """A piece, and where it lies."""
    (place,) = store._places(digest)
    with store._reading(place) as fd:
        found = chunks.read_list(os.pread(fd, place.item.stored, place.item.payload))
    return store._places(digest_of(found.parts[number].digest))[0]


def flip(store: LocalStore, place: Place, at: int = 1000) -> None:
    path = store.packs / place.pack
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(place.item.payload + at)
        (byte,) = file.read(1)
        file.seek(place.item.payload + at)
        file.write(bytes([byte ^ 4]))


needs_counts = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")


@needs_counts
def test_verify_reads_a_large_file_once(store: LocalStore) -> None:
    put(store, NOISE)
    assert bytes_read(lambda: verify(store)) < len(NOISE) * 1.1


@needs_counts
def test_verify_reads_again_only_what_lies_behind_a_piece_that_lies_elsewhere(store: LocalStore) -> None:
    put(store, NOISE)
    put(store, NOISE[: 10 * MIB] + b"edited" + NOISE[10 * MIB :])
    assert bytes_read(lambda: verify(store)) < len(NOISE) * 1.6


@needs_counts
def test_a_restore_reads_a_large_file_once(store: LocalStore, tmp_path: Path) -> None:
    digest = put(store, NOISE)
    assert bytes_read(lambda: store.get_file(digest, tmp_path / "out")) < len(NOISE) * 1.1
    assert (tmp_path / "out").read_bytes() == NOISE


def test_a_large_file_across_packs_with_pieces_that_come_again_is_whole(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bis.store.local.PACK_SIZE", 3 * MIB)
    zeros = bytes(9 * MIB)
    contents = [NOISE + zeros + NOISE[: 5 * MIB] + zeros, zeros, NOISE[5 * MIB :] + NOISE[: 5 * MIB]]
    digests = [put(store, content) for content in contents]
    assert len(list(store.packs.glob("*.pack"))) > 4
    assert said(store) == []
    for number, digest in enumerate(digests):
        store.get_file(digest, tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == contents[number]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_damaged_piece_of_a_large_file_is_named_and_not_restored(
    store: LocalStore, tmp_path: Path, number: int
) -> None:
    digest = put(store, NOISE)
    place = piece_of(store, digest, number)
    flip(store, place)
    piece = short(digest_of(place.item.digest))
    with pytest.raises(Damaged) as caught:
        store.get_file(digest, tmp_path / "out")
    assert piece in str(caught.value)
    assert not (tmp_path / "out").exists()
    texts = said(store)
    assert f"chunk {piece} is damaged in pack {place.pack[:12]}" in texts
    assert any(text.startswith(f"blob {short(digest)} cannot be put together: ") for text in texts)


def test_another_copy_serves_for_a_damaged_piece(store: LocalStore, tmp_path: Path) -> None:
    digest = put(store, NOISE)
    piece = digest_of(piece_of(store, digest, 2).item.digest)
    with open_store(tmp_path / "other") as other:
        other.put_bytes(b"something else, for another name of the pack")
        put(other, NOISE)
        for path in other.packs.glob("*.pack"):
            (store.packs / path.name).write_bytes(path.read_bytes())
    store.index.rebuild()
    copies = store._places(piece)
    assert len(copies) == 2
    flip(store, copies[0])
    store.get_file(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == NOISE
    (text,) = said(store)
    assert text == f"chunk {short(piece)} is damaged in pack {copies[0].pack[:12]}"


def test_a_list_of_sound_pieces_that_are_not_the_content_is_found(store: LocalStore, tmp_path: Path) -> None:
    digest = put(store, NOISE)
    (place,) = store._places(digest)
    with store._reading(place) as fd:
        payload = os.pread(fd, place.item.stored, place.item.payload)
    found = chunks.read_list(payload)
    swapped = chunks.write_list(found._replace(parts=(found.parts[1], found.parts[0], *found.parts[2:])))
    other = digest_bytes(b"something else")
    store.keep("blob", raw_of(other), len(NOISE), Form(PARTS, swapped))
    store.flush()
    with pytest.raises(Damaged, match="do not match"):
        store.get_file(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (text,) = said(store)
    assert text.startswith(f"blob {short(other)} cannot be put together: ")


def test_pieces_of_two_versions_are_asked_for_in_an_order_that_suits_both() -> None:
    wholes = Wholes()
    for content in (b"abcf", b"xadef", b"abef"):
        parts = tuple(chunks.Part(bytes([letter]) * 32, 1, b"12345678") for letter in content)
        item = Item(content.ljust(32), 1, PARTS, len(content), 1, 0)
        wholes.expect(item, chunks.PartList("equal/1m", b"12345678", parts))
    order = bytes(digest[0] for digest in wholes.merged())
    assert sorted(order) == sorted(b"abcdefx"), "each once"
    assert all([*content] == [letter for letter in order if letter in content] for content in (b"abcf", b"xadef"))
