"""What is reachable: everything that a record needs, and nothing else."""

import random
from pathlib import Path

import pytest

from bis.digest import Digest, canonical, digest_bytes
from bis.errors import Damaged, NotFound
from bis.nouns.dataset import DataVersion
from bis.nouns.part import Part
from bis.nouns.run import Output, Run, Usage
from bis.store.local import LocalStore, raw_of
from bis.store.mark import reachable
from bis.store.snapshot import snapshot

LOOSE = digest_bytes(b"nowhere")


def names(*digests: Digest) -> set[bytes]:
    return {raw_of(digest) for digest in digests}


def table(seed: int, edited: int = 0) -> bytes:
    """A table of some megabytes; with `edited`, a version of it in which every so many-th row differs."""
    draw = random.Random(seed)
    rows = [f"{number},{draw.random()},{draw.random()}\n" for number in range(60_000)]
    if edited:
        rows[::edited] = [f"{number},edited,{number}\n" for number in range(0, len(rows), edited)]
    return "".join(rows).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "one.txt").write_text("one")
    (tmp_path / "data" / "sub" / "two.txt").write_text("two")
    (tmp_path / "data" / "sub" / "link").symlink_to("two.txt")
    return tmp_path / "data"


def test_a_tree_needs_the_files_and_folders_in_it(store: LocalStore, folder: Path) -> None:
    tree = snapshot(folder, store)
    store.put_bytes(b"something else")
    store.flush()
    sub = snapshot(folder / "sub", store)
    assert reachable(store, [tree]) == names(tree, sub, digest_bytes(b"one"), digest_bytes(b"two"))


def test_what_a_tree_only_refers_to_is_not_needed(store: LocalStore, folder: Path) -> None:
    tree = snapshot(folder, store, keep=lambda path, status: path != "one.txt")
    store.flush()
    assert raw_of(digest_bytes(b"one")) not in reachable(store, [tree])


def test_a_run_needs_its_parts_its_outputs_and_its_logs(store: LocalStore, folder: Path) -> None:
    tree, lock = snapshot(folder, store), store.put_bytes(b"lock")
    model, log, stdin, samples = (store.put_bytes(text) for text in (b"model", b"log", b"stdin", b"samples"))
    run = Run(
        id="7f3a00000000",
        name="train-1",
        command=("x",),
        started="2026-05-03T00:00:00Z",
        status="finished",
        parts={"environment": Part(kind="environment", digest=LOOSE, trees={"local": tree, "lock": lock})},
        outputs=(
            Output(path="model", digest=model, size=5),
            Output(path="huge", digest=LOOSE, size=5, kept=False),
            Output(path="link", digest=LOOSE, size=5, target="model"),
        ),
        lines=log,
        stdin=stdin,
        usage=Usage(samples=samples),
    )
    record = store.put_bytes(canonical(run), "record")
    store.flush()
    found = reachable(store, [record])
    assert found == names(record, lock, model, log, stdin, samples) | reachable(store, [tree])


def test_a_version_of_data_needs_its_tree(store: LocalStore, folder: Path) -> None:
    tree = snapshot(folder, store)
    version = DataVersion(name="customers", number=1, made="2026-05-03T00:00:00Z", tree=tree, content=tree)
    record = store.put_bytes(canonical(version), "record")
    store.flush()
    assert reachable(store, [record]) == names(record) | reachable(store, [tree])


def test_large_content_needs_its_pieces_and_what_they_differ_from(store: LocalStore) -> None:
    before = store.put_bytes(table(1))
    store.flush()
    after = store.put_bytes(table(1, edited=100))
    other = store.put_bytes(table(2))
    store.flush()
    found = reachable(store, [after])
    pieces = store.needs(raw_of(after))
    bases = {base for piece in pieces & store.composed() for base in store.needs(piece)}
    assert bases
    assert found == names(after) | pieces | bases
    assert raw_of(before) not in found
    assert not found & store.needs(raw_of(other))


def test_what_is_known_already_is_not_looked_at_again(store: LocalStore, folder: Path) -> None:
    tree = snapshot(folder, store)
    store.flush()
    assert reachable(store, [tree], names(tree)) == names(tree)


def test_what_cannot_be_followed_is_an_error(store: LocalStore, folder: Path) -> None:
    with pytest.raises(NotFound):
        reachable(store, [LOOSE])
    version = DataVersion(name="customers", number=1, made="2026-05-03T00:00:00Z", tree=LOOSE, content=LOOSE)
    without_tree = store.put_bytes(canonical(version), "record")
    strange = store.put_bytes(b"no json", "record")
    store.flush()
    with pytest.raises(NotFound):
        reachable(store, [without_tree])
    with pytest.raises(Damaged, match=r"record .* cannot be read"):
        reachable(store, [strange])
