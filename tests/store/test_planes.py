"""Numbers are kept by the weight of their bytes, and as what is different from the version before."""

import contextlib
import io
import random
import shutil
import struct
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.digest import Digest, canonical, short
from bis.errors import Damaged, NotFound
from bis.nouns.dataset import DataVersion
from bis.store import assembly, chunks, deltas, planes, squeeze
from bis.store.collect import collect
from bis.store.local import LocalStore, open_store
from bis.store.packs import DELTA, PARTS, PLANES, Form, Item
from bis.store.snapshot import restore, snapshot
from bis.store.sweep import verify

ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 1 << 20
FILES = ("f32.safetensors", "bf16.safetensors", "f64.npy", "f16.npz", "f32.pkl", "f32.pt")


@pytest.fixture(scope="module")
def checkpoints(training_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of a real training, `1` and `2`, in all formats."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoints"
    subprocess.run([training_python, ROOT / "benchmarks" / "trained.py", folder], check=True)
    return folder


def weights(count: int, seed: int = 1, nudged: int = 0) -> bytes:
    """float32; nudged: each is a little other."""
    chance, other = random.Random(seed), random.Random(nudged)
    numbers = [chance.random() - 0.5 + (other.random() * 0.0005 if nudged else 0) for _ in range(count)]
    return struct.pack(f"<{count}f", *numbers)


def on_disk(store: LocalStore) -> int:
    store.flush()
    return sum(path.stat().st_size for path in store.packs.iterdir())


def pieces(store: LocalStore) -> dict[str, Item]:
    store.flush()
    return {digest: store._places(digest)[0].item for digest in store.list("chunk")}


def methods(store: LocalStore) -> Counter[int]:
    return Counter(item.method for item in pieces(store).values())


# whatever the bytes


@given(st.binary(max_size=300), st.integers(1, 9))
def test_planes_put_together_are_the_content(data: bytes, width: int) -> None:
    assert planes.read(planes.write(data, width), len(data)) == data
    in_planes = squeeze.unpack(planes.pack(data, width))
    assert in_planes == b"".join(data[at::width] for at in range(width))


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 9))
def test_a_difference_from_any_base_of_any_length_gives_the_content_again(data: bytes, base: bytes, width: int) -> None:
    change = planes.differing(data, base)
    assert change == bytes(map(int.__xor__, data, base)) + data[len(base) :]
    frame = planes.pack(change, width)
    delta = deltas.read(deltas.write(deltas.Delta((b"d" * 32,), frame, width)))
    assert (delta.bases, delta.width) == ((b"d" * 32,), width)
    assert deltas.apply(delta, base, len(data)) == data


@pytest.mark.parametrize("payload", [b"", b"\0", b"\4", b"\0" + squeeze.pack(b"x"), b"\4" + squeeze.pack(b"other")])
def test_what_are_no_planes_is_damaged(payload: bytes) -> None:
    with pytest.raises(Damaged):
        planes.read(payload, 4)


@pytest.mark.parametrize(
    "payload", [b"", b"\x80", b"\x81" + b"d" * 32, b"\x81" + b"d" * 32 + b"\0frame", b"\x82" + b"d" * 40]
)
def test_a_difference_cut_short_is_damaged(payload: bytes) -> None:
    with pytest.raises(Damaged):
        deltas.apply(deltas.read(payload), b"", 10)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 7),
    st.sampled_from("efd"),
    st.integers(0, 150_000),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 50), st.binary(max_size=50)), max_size=3),
)
def test_numbers_that_begin_anywhere_and_are_edited_come_back(
    store: LocalStore, start: int, kind: str, count: int, edits: list[tuple[float, int, bytes]]
) -> None:
    chance = random.Random(count)
    numbers = [chance.gauss(0, 1) for _ in range(count)]
    first = bytes(start) + struct.pack(f"<{count}{kind}", *numbers)
    second = bytes(start) + struct.pack(f"<{count}{kind}", *(number * 1.0001 for number in numbers))
    for place, gone, new in edits:
        at = int(place * len(second))
        second = second[:at] + new + second[at + gone :]
    digests = [store.put_bytes(data) for data in (first, second)]
    assert [store.get_bytes(digest) for digest in digests] == [first, second]
    store.flush()
    assert [open_store(store.path).get_bytes(digest) for digest in digests] == [first, second]


# what looks like numbers


@pytest.mark.parametrize("kind", "efdhiq")
@pytest.mark.parametrize("start", [0, 1, 3])
def test_numbers_of_every_width_are_known_wherever_the_first_begins(kind: str, start: int) -> None:
    chance = random.Random(5)
    numbers = [chance.gauss(0, 1) if kind in "efd" else int(abs(chance.gauss(0, 2000))) for _ in range(50_000)]
    data = b"#" * start + struct.pack(f"<50000{kind}", *numbers)
    assert planes.numbers(data)
    assert planes.best(data).width > 1


@pytest.mark.parametrize(
    "data",
    [
        random.Random(6).randbytes(300_000),
        (ROOT / "docs" / "format.md").read_bytes(),
        b"".join(b"%d,%d.%02d,customer %d\n" % (n, n * 7 % 1000, n % 100, n * 31 % 997) for n in range(20_000)),
        bytes(300_000),
        weights(1000),
    ],
    ids=["noise", "text", "table", "zeros", "a few numbers"],
)
def test_other_content_is_told_by_a_glimpse(data: bytes) -> None:
    assert not planes.numbers(data)


# real checkpoints


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_takes_less_than_compressed_and_the_next_one_much_less(
    store: LocalStore, checkpoints: Path, name: str, tmp_path: Path
) -> None:
    contents = [(checkpoints / number / name).read_bytes() for number in "12"]
    compressed = len(squeeze.pack(contents[1], 1))
    digests, sizes = [], [0]
    for number in "12":
        digests.append(store.put_file(checkpoints / number / name))
        sizes.append(on_disk(store))
    assert sizes[1] < 0.95 * compressed
    assert sizes[2] - sizes[1] < 0.65 * compressed
    assert {item.method for item in pieces(store).values()} <= {PLANES, DELTA}
    again = open_store(store.path)
    assert [again.get_bytes(digest) for digest in digests] == contents
    again.get_file(digests[1], tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == contents[1]
    assert verify(again) == []


def test_a_file_is_compared_with_what_lay_at_its_path_rather_than_with_one_of_its_size(
    store: LocalStore, tmp_path: Path
) -> None:
    for name, seed in (("first.npy", 1), ("second.npy", 2)):
        (tmp_path / name).write_bytes(weights(100_000, seed))
        store.put_file(tmp_path / name)
    before = on_disk(store)
    (tmp_path / "first.npy").write_bytes(weights(100_000, 1, nudged=3))
    store.put_file(tmp_path / "first.npy")
    assert on_disk(store) - before < 0.7 * 400_000


def test_the_next_checkpoint_costs_as_little_after_the_store_was_indexed_anew(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        store.put_bytes(weights(600_000))
        before = on_disk(store)
    (tmp_path / "store" / "index").unlink()
    with open_store(tmp_path / "store") as store:
        store.put_bytes(weights(600_000, nudged=1))
        assert on_disk(store) - before < 0.7 * 2_400_000


def test_weights_behind_a_layer_made_anew_are_still_kept_as_differences(store: LocalStore) -> None:
    store.put_bytes(weights(1_500_000))
    before = on_disk(store)
    store.put_bytes(weights(500_000, seed=9) + weights(1_500_000, nudged=1)[2_000_000:])
    assert on_disk(store) - before < 0.85 * 2_000_000 + 0.75 * 4_000_000


def test_a_window_that_moved_on_costs_what_is_new(store: LocalStore) -> None:
    """As long as before, and all in it elsewhere: it is cut by its own bytes, and shares the pieces."""
    measured = weights(2_000_000)
    store.put_bytes(measured[:6_000_000])
    before = on_disk(store)
    store.put_bytes(measured[4_000:6_004_000])
    assert on_disk(store) - before < 0.5 * 6_000_000


def test_a_file_that_grows_does_not_fall_into_small_pieces(store: LocalStore, tmp_path: Path) -> None:
    measured = weights(1_000_000)
    for size in range(2_000_000, 4_000_000, 100_000):
        (tmp_path / "measured.bin").write_bytes(measured[:size])
        digest = store.put_file(tmp_path / "measured.bin")
    found = store._from_any_copy(digest, assembly.list_of, lambda item: item.method == PARTS)
    assert min(part.size for part in found.parts[:-1]) >= chunks.MINIMUM
    assert store.get_bytes(digest) == measured[:size]
    assert on_disk(store) < 2 * 4_000_000


def test_what_did_not_change_in_a_checkpoint_is_kept_once(store: LocalStore) -> None:
    store.put_bytes(weights(1_500_000))
    before = on_disk(store)
    store.put_bytes(weights(1_500_000, nudged=1)[:400_000] + weights(1_500_000)[400_000:])
    assert on_disk(store) - before < 0.2 * 6_000_000


def test_a_row_of_checkpoints_is_read_over_few_differences(store: LocalStore) -> None:
    contents = [weights(80_000, nudged=number) for number in range(8)]
    digests = [store.put_bytes(content) for content in contents]
    assert max(item.depth for item in pieces(store).values()) == deltas.DEEPEST
    assert [open_store(store.path).get_bytes(digest) for digest in digests] == contents


def test_small_arrays_are_kept_in_planes_too(store: LocalStore) -> None:
    data = weights(10_000)
    digest = store.put_bytes(data)
    assert on_disk(store) < 0.9 * len(data)
    assert store._places(digest)[0].item.method == PLANES
    with store.open(digest) as stream:
        assert stream.read() == data


def test_a_cut_where_the_version_before_was_cut_gives_the_content(store: LocalStore) -> None:
    """Also where the version before was longer, or shorter, than what is there now."""
    contents = [weights(count, nudged=number) for number, count in enumerate((1_000_000, 300_000, 1_200_000))]
    digests = [store.put_bytes(content) for content in contents]
    assert [store.get_bytes(digest) for digest in digests] == contents
    for before in (chunks.Cut(2, None), chunks.Cut(chunks.MAXIMUM, None)):
        data = random.Random(1).randbytes(5 * MIB + 3)
        read = io.BytesIO(data).readinto
        cut = list(chunks.pieces(read, lambda at, view, size, one=before: one if not at else None))
        assert b"".join(piece.data for piece in cut) == data
        assert len(cut[0].data) == before.size


# damage, collecting


@pytest.fixture
def trained(store: LocalStore) -> list[bytes]:
    """Two checkpoints, kept in planes and as a difference."""
    contents = [weights(90_000), weights(90_000, nudged=1)]
    for content in contents:
        store.put_bytes(content)
    assert methods(store) == {PLANES: 1, DELTA: 1}
    return contents


def flip(store: LocalStore, method: int, part: float) -> None:
    """One bit of what is stored by this method."""
    ((digest, item),) = ((digest, item) for digest, item in pieces(store).items() if item.method == method)
    path = store.packs / store._places(digest)[0].pack  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    content[item.payload + int(part * (item.stored - 1))] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("part", [0, 0.00001, 0.3, 1])
@pytest.mark.parametrize("method", [PLANES, DELTA])
def test_a_flipped_bit_is_found_and_named(store: LocalStore, trained: list[bytes], method: int, part: float) -> None:
    flip(store, method, part)
    again = open_store(store.path)
    digests = [store.put_bytes(content) for content in trained]
    for digest, content in zip(digests, trained, strict=True):
        with contextlib.suppress(Damaged, NotFound):  # or some bit at the end that zstd does not look at
            assert again.get_bytes(digest) == content
    if part == 0.3:
        with pytest.raises(Damaged):
            again.get_bytes(digests[1])
    told = [finding.text for finding in verify(again)]
    harmed = short(digests[0] if method == PLANES else digests[1])
    assert any(text.startswith(f"chunk {harmed} is damaged in pack") for text in told)
    assert again.put_bytes(trained[0]) == digests[0]
    assert again.put_bytes(trained[1]) == digests[1]
    again.flush()
    assert [open_store(store.path).get_bytes(digest) for digest in digests] == trained


def test_planes_under_the_name_of_other_content_are_not_handed_out(store: LocalStore) -> None:
    told, true = weights(5000), weights(5000, nudged=1)
    store.keep("blob", blake3(told).digest(), len(told), Form(PLANES, planes.write(true, 4)))
    store.flush()
    with pytest.raises(Damaged):
        store.get_bytes(Digest("b3:" + blake3(told).hexdigest()))
    assert len(verify(store)) == 1


def test_what_a_checkpoint_differs_from_stays_when_its_version_goes(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for number, content in enumerate((weights(300_000), weights(300_000, nudged=1), weights(300_000, nudged=2))):
        (tmp_path / "model" / "model.npy").write_bytes(content)
        tree = snapshot(tmp_path / "model", store)
        if number:  # no record names the first
            version = DataVersion(name="model", number=number, made="2026-05-03T00:00:00Z", tree=tree, content=tree)
            store.put_bytes(canonical(version), "record")
        store.flush()
    deepest = max(item.depth for item in pieces(store).values())
    assert deepest == 2
    collect(store, now=datetime(2026, 5, 3, tzinfo=UTC), grace=timedelta(0), at_once=True)
    with open_store(store.path) as again:
        assert verify(again) == []
        restore(again, tree, tmp_path / "back")
    assert (tmp_path / "back" / "model.npy").read_bytes() == (tmp_path / "model" / "model.npy").read_bytes()


def test_a_store_of_checkpoints_is_whole_without_its_index(store: LocalStore, trained: list[bytes]) -> None:
    digests = [store.put_bytes(content) for content in trained]
    store.close()
    shutil.copytree(store.path / "packs", store.path.parent / "copied" / "packs")
    (store.path.parent / "copied" / "format").write_text("bis store 3\n")
    with open_store(store.path.parent / "copied") as copied:
        assert [copied.get_bytes(digest) for digest in digests] == trained
        assert verify(copied) == []
