"""Large content: cut by itself, kept piece by piece, and as differences where edits are spread."""

import io
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest, digest_bytes
from bis.errors import Damaged
from bis.store import assembly, chunks, deltas
from bis.store.local import LocalStore, open_store
from bis.store.packs import DELTA, PARTS, Item
from bis.store.sweep import verify

MIB = 1 << 20


def table(rows: int, seed: int = 0, every: int = 0, edits: int = 1) -> bytes:
    """A CSV; with `every`, one row in so many is another one, drawn with the seed `edits`."""
    numbers, others = random.Random(seed), random.Random(edits)
    lines = ["id,a,b,c\n"]
    for number in range(rows):
        line = f"{number},{numbers.gauss(0, 1):.12f},{numbers.getrandbits(48):x},{numbers.random():.10f}\n"
        if every and number % every == 0:
            line = f"{number},{others.gauss(0, 1):.12f},{others.getrandbits(48):x},{others.random():.10f}\n"
        lines.append(line)
    return "".join(lines).encode()


def on_disk(store: LocalStore) -> int:
    store.flush()
    return sum(path.stat().st_size for path in store.packs.iterdir())


def items(store: LocalStore) -> list[Item]:
    store.flush()
    found = [store._places(digest) for kind in ("blob", "chunk") for digest in store.list(kind)]  # type: ignore[arg-type]
    return [place.item for places in found for place in places]


# cutting


def cut(data: bytes, block: int = 1 << 16) -> list[chunks.Piece]:
    file = io.BytesIO(data)
    return list(chunks.pieces(lambda into: file.readinto(into[:block])))


@pytest.mark.parametrize("size", [0, 1, chunks.MINIMUM, chunks.MINIMUM + 1, 5 * MIB, 17 * MIB + 3])
def test_pieces_put_together_are_the_content(size: int) -> None:
    data = random.Random(size).randbytes(size)
    pieces = cut(data)
    assert b"".join(piece.data for piece in pieces) == data
    assert all(len(piece.data) <= chunks.MAXIMUM for piece in pieces)
    assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]


def test_pieces_that_are_kept_stay_as_they_are_while_more_is_read() -> None:
    data = random.Random(4).randbytes(70 * MIB)
    assert b"".join(piece.data for piece in cut(data)) == data


def test_memory_for_cutting_is_used_again() -> None:
    data = random.Random(4).randbytes(200 * MIB)
    read = io.BytesIO(data).readinto
    tracemalloc.start()
    try:
        size = sum(len(piece.data) for piece in chunks.pieces(read))
        assert tracemalloc.get_traced_memory()[1] <= 4 * (chunks.BLOCK + chunks.MAXIMUM)
    finally:
        tracemalloc.stop()
    assert size == len(data)


def test_where_content_is_cut_does_not_depend_on_how_it_is_read() -> None:
    data = random.Random(1).randbytes(20 * MIB)
    assert cut(data, 1 << 16) == cut(data, 20 * MIB) == cut(data, 9 * MIB + 1)


def test_an_insertion_moves_the_cuts_near_it_and_no_others() -> None:
    data = random.Random(2).randbytes(20 * MIB)
    before, after = cut(data), cut(data[:100] + b"inserted" + data[100:])
    assert len({bytes(piece.data) for piece in after} - {bytes(piece.data) for piece in before}) <= 2


def test_without_the_compiled_cutter_pieces_are_equal_and_the_list_says_so(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_fast", lambda: None)
    data = random.Random(3).randbytes(3 * MIB + 5)
    digest = store.put_bytes(data)
    assert [len(piece.data) for piece in cut(data)] == [MIB, MIB, MIB, 5]
    assert store.get_bytes(digest) == data
    found = store._from_any_copy(digest, assembly.list_of, lambda item: item.method == PARTS)
    assert found.cutter == chunks.EQUAL


def test_a_list_of_pieces_can_be_read_back() -> None:
    parts = (chunks.Part(b"d" * 32, 7, b"anchor.."), chunks.Part(b"e" * 32, 9, b"another."))
    found = chunks.PartList(chunks.CONTENT_DEFINED, b"started.", parts)
    assert chunks.read_list(chunks.write_list(found)) == found
    assert list(found.boundaries()) == [
        (b"started.", None, b"d" * 32),
        (b"anchor..", b"d" * 32, b"e" * 32),
        (b"another.", b"e" * 32, None),
        (*chunks.spots(16, b"", 0), None, b"d" * 32),
        (*chunks.spots(16, b"", 7), None, b"e" * 32),
    ]
    with pytest.raises(Damaged):
        chunks.read_list(chunks.write_list(found)[:-1])


# what edits cost


def test_a_version_is_cut_anew_only_where_it_changed(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, file, cuts = random.Random(6).randbytes(40 * MIB), tmp_path / "file", list[int]()
    plain = chunks._fast() or chunks._equal

    def counting(view: memoryview) -> Iterator[int]:
        for size in plain(view):
            cuts.append(size)
            yield size

    monkeypatch.setattr(chunks, "_fast", lambda: counting)
    file.write_bytes(data)
    store.put_file(file)
    store.flush()
    first = len(cuts)
    changed = data[: 20 * MIB] + bytes(range(256)) + data[20 * MIB + 256 :]
    file.write_bytes(changed)
    digest = store.put_file(file)
    store.flush()
    assert first > 20
    assert len(cuts) - first <= 4
    store.get_file(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == changed


@pytest.mark.parametrize("pack", [True, False], ids=["next day", "at once"])
def test_versions_that_grow_shrink_and_move_come_back_and_cost_what_is_new(tmp_path: Path, pack: bool) -> None:
    data, more = random.Random(8).randbytes(9 * MIB), random.Random(9).randbytes(2 * MIB)
    versions = [
        data,
        data + more,
        data[: 5 * MIB],
        b"inserted" + data + more,
        data[: 4 * MIB] + more + data[6 * MIB :],
        data[:MIB] * 6,
        data + more,
    ]
    file, store, put = tmp_path / "file", open_store(tmp_path / "store"), dict[Digest, bytes]()
    for version in versions:
        file.write_bytes(version)
        put[store.put_file(file)] = version
        if pack:
            store.flush()
            store.close()
            store = open_store(tmp_path / "store")
    assert on_disk(store) < 24 * MIB
    assert verify(store) == []
    for number, (digest, version) in enumerate(put.items()):
        assert digest == digest_bytes(version)
        store.get_file(digest, tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}").read_bytes() == version
        assert store.get_bytes(digest) == version
    store.close()


def test_a_row_inserted_near_the_top_costs_next_to_nothing(store: LocalStore) -> None:
    data = table(200_000)
    store.put_bytes(data)
    before = on_disk(store)
    store.put_bytes(data[:1000] + b"\n-1,0.5,inserted,0.25\n" + data[1000:])
    assert on_disk(store) - before < 0.001 * len(data)


def test_one_row_in_a_hundred_edited_costs_less_than_a_hundredth(store: LocalStore) -> None:
    store.put_bytes(table(200_000))
    before = on_disk(store)
    edited = table(200_000, every=100)
    digest = store.put_bytes(edited)
    assert on_disk(store) - before < 0.01 * len(edited)
    assert open_store(store.path).get_bytes(digest) == edited


def test_the_same_edits_cost_as_little_after_the_store_was_indexed_anew(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        store.put_bytes(table(100_000))
        before = on_disk(store)
    (tmp_path / "store" / "index").unlink()
    edited = table(100_000, every=100)
    with open_store(tmp_path / "store") as store:
        store.put_bytes(edited)
        assert on_disk(store) - before < 0.01 * len(edited)


def test_a_row_of_versions_is_read_over_few_differences(store: LocalStore) -> None:
    contents = [table(40_000, every=100, edits=number) for number in range(8)]
    digests = [store.put_bytes(content) for content in contents]
    used = items(store)
    assert max(item.depth for item in used) == deltas.DEEPEST
    again = open_store(store.path)
    assert [again.get_bytes(digest) for digest in digests] == contents
    assert on_disk(store) < 0.8 * len(contents[0])


def test_content_that_resembles_nothing_is_kept_as_it_is(store: LocalStore) -> None:
    numbers = random.Random(5)
    first, second = numbers.randbytes(2 * MIB), numbers.randbytes(2 * MIB)
    store.put_bytes(first)
    store.put_bytes(first[:64] + second + first[-64:])
    assert all(item.method != DELTA for item in items(store))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3000), st.binary(max_size=2000)), max_size=6))
def test_whatever_is_edited_comes_back(store: LocalStore, edits: list[tuple[float, int, bytes]]) -> None:
    data = table(12_000)
    contents = [data]
    for place, gone, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
        contents.append(data)
    digests = [store.put_bytes(content) for content in contents]
    assert [store.get_bytes(digest) for digest in digests] == contents
    store.flush()
    assert [open_store(store.path).get_bytes(digest) for digest in digests] == contents


# damage


@pytest.fixture
def edited(store: LocalStore) -> tuple[Digest, Digest, bytes]:
    """Two versions of a table, the second kept as a difference, and what the second is."""
    content = table(60_000, every=100)
    first = store.put_bytes(table(60_000))
    store.flush()
    second = store.put_bytes(content)
    store.flush()
    return first, second, content


def flip_in_payload(store: LocalStore, wanted: Callable[[Item], bool]) -> None:
    for digest in store.list("chunk"):
        for place in store._places(digest):
            if wanted(place.item):
                path = store.packs / place.pack
                path.chmod(0o644)
                content = bytearray(path.read_bytes())
                content[place.item.payload + place.item.stored // 2] ^= 4
                path.write_bytes(content)
                return
    raise AssertionError("no such piece")


def test_a_difference_is_not_applied_to_a_damaged_base(store: LocalStore, edited: tuple[Digest, Digest, bytes]) -> None:
    flip_in_payload(store, lambda item: item.method != DELTA)
    again = open_store(store.path)
    for digest in edited[:2]:
        with pytest.raises(Damaged):
            again.get_bytes(digest)
    told = " ".join(finding.text for finding in verify(store))
    assert "is damaged in pack" in told
    assert "cannot be put together" in told


def test_a_damaged_difference_leaves_the_version_before_whole(
    store: LocalStore, edited: tuple[Digest, Digest, bytes]
) -> None:
    flip_in_payload(store, lambda item: item.method == DELTA)
    again = open_store(store.path)
    assert again.get_bytes(edited[0]) == table(60_000)
    with pytest.raises(Damaged):
        again.get_bytes(edited[1])
    assert [finding.code for finding in verify(store)].count("damaged") == 2


def test_what_verify_found_damaged_can_be_put_again(store: LocalStore, edited: tuple[Digest, Digest, bytes]) -> None:
    flip_in_payload(store, lambda item: item.method == DELTA)
    assert verify(store)
    assert store.put_bytes(edited[2]) == edited[1]
    store.flush()
    assert open_store(store.path).get_bytes(edited[1]) == edited[2]


# files


def test_holes_are_holes_again(store: LocalStore, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(40 * MIB)
        file.write(b"end")
    digest = store.put_file(tmp_path / "sparse")
    assert on_disk(store) < MIB
    store.get_file(digest, tmp_path / "back")
    assert (tmp_path / "back").stat().st_size == 40 * MIB + 3
    assert (tmp_path / "back").stat().st_blocks * 512 < 8 * MIB
    assert digest_bytes((tmp_path / "back").read_bytes()) == digest


HELD = """
import re, sys
from pathlib import Path
from bis.store.local import open_store
store = open_store(Path(sys.argv[1]) / "store")
digest = store.put_file(Path(sys.argv[1]) / "file")
store.flush()
store.get_file(digest, Path(sys.argv[1]) / "back")
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_a_file_of_any_size_is_kept_and_restored_in_bounded_memory(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        for seed in range(10):
            file.write(random.Random(seed).randbytes(40 * MIB))
    done = subprocess.run([sys.executable, "-c", HELD, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150 * 1024
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
