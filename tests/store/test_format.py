"""docs/format.md is held to the code: a store is read with nothing but what is written there."""

import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bis.digest import Digest, decoded
from bis.nouns.part import Finding, Part
from bis.nouns.run import Output, Run
from bis.nouns.tree import Entry
from bis.nouns.verdict import Verdict
from bis.store import planes, squeeze
from bis.store.local import LocalStore, open_store
from bis.store.packs import DELTA, MAGICS, PLANES
from bis.store.snapshot import restore, walk
from bis.store.sweep import verify

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "format.md").read_text("utf-8")
FIXTURE = Path(__file__).parent / "fixtures" / "format-1"
SECOND = FIXTURE.with_name("format-2")
TREE = Digest("b3:ba1ff229337171086e323e691fe01fe709f6f38827c79941d109f917a451b342")
BEFORE = Digest("b3:a088d34717338016af46a1de5c218a4ed987c45722c96596bb9eac43e20856aa")
AFTER = Digest("b3:930d72c7da82f94b043a1c792a85affb8d8f8f7b5c702d6e63ea4cd89f6f558c")
RECORD = Digest("b3:f9ada6e6c10f050701ebb808bd1bdd3ab545d27bc4beabd056efa86b7559a8b0")


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """The program that the page shows."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.S | re.M)
    if sys.version_info >= (3, 14):
        program = program.replace("from backports import", "from compression import")
    (tmp_path / "reader.py").write_text(program)
    return tmp_path / "reader.py"


def read(reader: Path, store: Path) -> list[str]:
    """What that program prints of all packs of a store."""
    packs = sorted(store.glob("packs/*.pack"))
    done = subprocess.run([sys.executable, reader, *packs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_program_on_the_page_reads_what_bis_writes(reader: Path, store: LocalStore, tmp_path: Path) -> None:
    lines = [b"%d\n" % number for number in range(1_000_000)]
    (tmp_path / "large").write_bytes(b"".join(lines))
    edited = b"".join(b"edited\n" if number % 100 == 50 else line for number, line in enumerate(lines))
    numbers = list(map(random.Random(1).gauss, [0.0] * 100_000, [0.1] * 100_000))
    weights = b"head" + struct.pack("<100000f", *numbers)
    trained = b"Head" + struct.pack("<100000f", *(number * 1.001 for number in numbers))
    expected = {
        f"blob {store.put_bytes(b'')} 0",
        f"blob {store.put_bytes(b'raw')} 3",
        f"tree {store.put_bytes(b'compressible ' * 20, 'tree')} 260",
        f"record {store.put_bytes(b'{}', 'record')} 2",
        f"blob {store.put_file(tmp_path / 'large')} 6888890",
        f"blob {store.put_bytes(edited)} {len(edited)}",
    }
    first, second = map(store.put_bytes, (weights, trained))
    store.flush()
    told = read(reader, store.path)
    assert {line for line in told if not line.startswith("chunk")} == expected
    assert {f"chunk {digest} 400004" for digest in (first, second)} <= set(told)
    kept = {digest: store._places(digest)[0].item for digest in store.list("chunk")}
    assert DELTA in {item.method for digest, item in kept.items() if digest != second}
    assert (kept[first].method, kept[second].method, kept[second].depth) == (PLANES, DELTA, 1)


@pytest.mark.parametrize(("fixture", "tree", "version"), [(FIXTURE, TREE, 1), (SECOND, AFTER, 2)])
def test_an_older_store_is_one_of_version_3_once_it_is_written_to(
    fixture: Path, tree: Digest, version: int, tmp_path: Path
) -> None:
    shutil.copytree(fixture, tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        store.get_bytes(tree)
        assert (tmp_path / "store" / "format").read_text() == f"bis store {version}\n"
        store.put_bytes(b"new")
        store.flush()
    assert (tmp_path / "store" / "format").read_text() == "bis store 3\n"
    assert verify(open_store(tmp_path / "store")) == []


def test_the_program_on_the_page_reads_the_example(reader: Path) -> None:
    assert f"tree {TREE} 351" in read(reader, FIXTURE)


def test_a_store_of_version_1_can_be_read(tmp_path: Path) -> None:
    """Kept as it was written by the first bis. It may never be made anew."""
    (tmp_path / "store" / "packs").mkdir(parents=True)
    for path in FIXTURE.rglob("*"):
        if path.is_file():
            (tmp_path / "store" / path.relative_to(FIXTURE)).write_bytes(path.read_bytes())
    with open_store(tmp_path / "store", create=False) as store:
        assert verify(store) == []
        assert [leaf.path for leaf in walk(store, TREE)] == ["data/table.csv", "hello.txt", "link"]
        restore(store, TREE, tmp_path / "back")
        assert (tmp_path / "back" / "hello.txt").read_text() == "hello\n"
        run = decoded(store.get_bytes(RECORD), Run)
        assert (run.name, run.exit, run.metrics, run.parts["code"].trees) == (
            "train-1",
            0,
            {"loss": 0.25},
            {"tree": TREE},
        )
        assert list(store.list("record")) == [RECORD]


def test_a_store_of_version_2_can_be_read(reader: Path, tmp_path: Path) -> None:
    """Kept as it was written before there were planes: pieces, and differences. It may never be made anew."""
    shutil.copytree(SECOND, tmp_path / "store")
    with open_store(tmp_path / "store", create=False) as store:
        assert verify(store) == []
        assert DELTA in {place.item.method for digest in store.list("chunk") for place in store._places(digest)}
        for number, tree in enumerate((BEFORE, AFTER)):
            restore(store, tree, tmp_path / str(number))
    before, after = ((tmp_path / number / "table.csv").read_bytes().splitlines() for number in "01")
    assert len(before) == len(after) == 16000
    assert [number for number in range(16000) if before[number] != after[number]] == list(range(50, 16000, 800))
    assert f"tree {AFTER} 308" in read(reader, SECOND)


def test_no_flipped_bit_makes_the_pack_of_one_version_that_of_another() -> None:
    flipped = {
        magic[:at] + bytes([magic[at] ^ 1 << bit]) + magic[at + 1 :]
        for magic in MAGICS
        for at in range(8)
        for bit in range(8)
    }
    assert flipped.isdisjoint(MAGICS)
    assert all(repr(magic)[1:].replace("'", '"') in PAGE for magic in MAGICS)


def test_the_example_of_planes_is_what_bis_and_zstd_make_of_it() -> None:
    shown = dict(re.findall(r"^(object|planes|payload) +((?:[0-9a-f]{2} *)+)$", PAGE, re.M))
    data, in_planes, payload = (bytes.fromhex(shown[name]) for name in ("object", "planes", "payload"))
    assert struct.pack("<4f", 1, 2, 3, 4) == data
    assert planes.read(payload, len(data)) == data
    assert squeeze.unpack(payload[1:]) == in_planes


def test_the_example_on_the_page_is_what_the_file_holds() -> None:
    (pack,) = FIXTURE.glob("packs/*.pack")
    assert pack.name.startswith("dba152c4")
    lines = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} {1,2})+)", PAGE, re.M)
    assert len(lines) > 5
    for offset, shown in lines:
        content = bytes.fromhex(shown.replace(" ", ""))
        assert pack.read_bytes()[int(offset, 16) :].startswith(content)


@pytest.mark.parametrize("noun", [Entry, Run, Part, Output, Finding, Verdict])
def test_every_stored_field_is_named_on_the_page(noun: type[msgspec.Struct]) -> None:
    assert not [name for name in noun.__struct_fields__ if f"`{name}`" not in PAGE]
