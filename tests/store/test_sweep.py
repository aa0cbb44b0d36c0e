"""`bis verify` and `bis du` over a store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bis.digest import Digest, canonical, digest_bytes
from bis.nouns.part import Part
from bis.nouns.run import Output, Run, Usage
from bis.store import packs
from bis.store.local import LocalStore, open_store
from bis.store.snapshot import snapshot
from bis.store.sweep import room, verify

ABSENT = digest_bytes(b"nowhere")


def record(**fields: object) -> bytes:
    return canonical(
        Run(
            id="7f3a00000000",
            name="train-1",
            command=("x",),
            started="2026-05-03T00:00:00Z",
            status="finished",
            **fields,
        )  # type: ignore[arg-type]
    )


def only_pack(store: LocalStore) -> Path:
    (path,) = store.packs.glob("*.pack")
    path.chmod(0o644)
    return path


def said(store: LocalStore) -> list[str]:
    return [finding.text for finding in verify(store) if finding.blocks]


@pytest.fixture
def taken(store: LocalStore, tmp_path: Path) -> Digest:
    """A tree with a few files, compressed and not, in one pack."""
    (tmp_path / "src" / "sub").mkdir(parents=True)
    (tmp_path / "src" / "sub" / "small.py").write_text("x")
    (tmp_path / "src" / "table.csv").write_text("1,2,3\n" * 200)
    digest = snapshot(tmp_path / "src", store)
    store.flush()
    return digest


def test_a_whole_store_has_nothing_to_tell(store: LocalStore, taken: Digest) -> None:
    store.put_bytes(record(parts={"code": Part(kind="code", digest=ABSENT, trees={"tree": taken})}), "record")
    store.flush()
    seen: list[tuple[int, int]] = []
    assert verify(store, lambda done, total: seen.append((done, total))) == []
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in store.packs.glob("*.pack"))


def test_an_empty_store_is_whole(store: LocalStore) -> None:
    assert verify(store) == []


def silent_flips(store: LocalStore, bits: Callable[[int], range]) -> list[tuple[int, int]]:
    """The flipped bits of the only pack that nobody noticed."""
    pack = only_pack(store)
    intact = pack.read_bytes()
    silent = []
    for at in range(len(intact)):
        for bit in bits(at):
            pack.write_bytes(intact[:at] + bytes([intact[at] ^ 1 << bit]) + intact[at + 1 :])
            if not said(store):
                silent.append((at, bit))
    return silent


def test_a_flipped_bit_in_any_byte_of_a_pack_is_found(store: LocalStore, taken: Digest) -> None:
    assert silent_flips(store, lambda at: range(at % 8, at % 8 + 1)) == []


@pytest.mark.slow
def test_every_flipped_bit_of_a_pack_is_found(store: LocalStore, taken: Digest) -> None:
    assert silent_flips(store, lambda at: range(8)) == []


def test_a_pack_cut_anywhere_is_found(store: LocalStore, taken: Digest) -> None:
    pack = only_pack(store)
    intact = pack.read_bytes()
    for size in (0, 1, 7, 8, 60, len(intact) // 2, len(intact) - 17, len(intact) - 1):
        pack.write_bytes(intact[:size])
        assert any("cut short" in text for text in said(store)), size
    pack.write_bytes(intact + b"\0")
    assert said(store)
    pack.write_bytes(intact)
    assert said(open_store(store.path)) == []


def test_a_damaged_object_is_named_with_what_needs_it(store: LocalStore, taken: Digest) -> None:
    store.put_bytes(record(parts={"code": Part(kind="code", digest=ABSENT, trees={"tree": taken})}), "record")
    store.flush()
    small = digest_bytes(b"x")
    for pack in store.packs.glob("*.pack"):
        content = bytearray(pack.read_bytes())
        at = content.find(packs.MARK + bytes([1, 0]))
        if at >= 0 and small[3:] in content.hex():
            content[at + packs.HEAD.size] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(content)
    texts = said(store)
    assert any(text.startswith(f"blob {small[3:11]} is damaged") for text in texts)
    assert any("run train-1 (7f3a00000000): code tree/sub/small.py is missing" in text for text in texts)


def test_what_a_record_names_and_is_not_there_is_found(store: LocalStore) -> None:
    store.put_bytes(
        record(
            parts={"data": Part(kind="data", digest=ABSENT, trees={"inputs": ABSENT})},
            outputs=(
                Output(path="model.pkl", digest=ABSENT, size=1),
                Output(path="huge.bin", digest=ABSENT, size=1, kept=False),
                Output(path="link", digest=ABSENT, size=1, target="model.pkl"),
            ),
            usage=Usage(samples=ABSENT),
        ),
        "record",
    )
    store.flush()
    assert sorted(text.split(" is missing")[0] for text in said(store)) == [
        "run train-1 (7f3a00000000): data inputs",
        "run train-1 (7f3a00000000): output model.pkl",
        "run train-1 (7f3a00000000): usage",
    ]


def test_a_tree_that_no_record_names_is_looked_at_too(store: LocalStore, taken: Digest, tmp_path: Path) -> None:
    with open_store(tmp_path / "other") as other:
        other.put_bytes(store.get_bytes(taken), "tree")
        other.flush()
        texts = said(other)
    assert sorted(text.split(" is missing")[0] for text in texts) == [
        f"tree {taken[3:11]}/sub",
        f"tree {taken[3:11]}/table.csv",
    ]


def test_records_and_trees_that_cannot_be_read_are_named(store: LocalStore) -> None:
    store.put_bytes(b"no json", "record")
    store.put_bytes(b"no tree", "tree")
    store.put_bytes(b'{"schema":"bis.other/1"}', "record")
    store.flush()
    assert sorted(finding.code for finding in verify(store)) == ["strange-object", "strange-object"]


def test_what_is_no_pack_is_named(store: LocalStore) -> None:
    (store.packs / "tmp-1234").touch()
    (store.packs / "holiday.jpg").touch()
    assert sorted(finding.code for finding in verify(store)) == ["strange-file"]
    assert said(store) == []


def test_the_room_taken_is_told_by_kind_and_pack(store: LocalStore, taken: Digest) -> None:
    figures = room(store)
    assert figures.kinds["blob"].objects == 2
    assert figures.kinds["blob"].raw == 1201
    assert figures.kinds["blob"].stored < 1201
    assert figures.kinds["tree"].objects == 2
    assert [pack.objects for pack in figures.packs] == [4]
    in_packs = sum(path.stat().st_size for path in store.packs.iterdir())
    assert figures.packs[0].size == in_packs
    assert sum(kind.stored for kind in figures.kinds.values()) == in_packs - len(packs.MAGIC) - packs.END.size
    assert figures.size > in_packs
    assert figures.twice == figures.unfinished == 0


def test_what_is_stored_twice_counts_as_such(tmp_path: Path) -> None:
    one, two = open_store(tmp_path), open_store(tmp_path)
    for opened in (one, two):
        opened.put_bytes(b"content" * 3)
    one.flush()
    two.put_bytes(b"other")
    two.flush()
    assert room(two).twice == 21
    one.put_bytes(b"half a pack")
    assert room(two).unfinished >= 0
