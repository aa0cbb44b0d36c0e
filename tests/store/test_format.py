"""docs/format.md is held to the code: a store is read with nothing but what is written there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bis.digest import Digest
from bis.ledger.runs import decode_run
from bis.nouns.part import Finding, Part
from bis.nouns.run import Output, Run
from bis.nouns.tree import Entry
from bis.nouns.verdict import Verdict
from bis.store.local import LocalStore, open_store
from bis.store.packs import DELTA
from bis.store.snapshot import restore, walk
from bis.store.sweep import verify

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "format.md").read_text("utf-8")
FIXTURE = Path(__file__).parent / "fixtures" / "format-1"
TREE = Digest("b3:ba1ff229337171086e323e691fe01fe709f6f38827c79941d109f917a451b342")
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
    expected = {
        f"blob {store.put_bytes(b'')} 0",
        f"blob {store.put_bytes(b'raw')} 3",
        f"tree {store.put_bytes(b'compressible ' * 20, 'tree')} 260",
        f"record {store.put_bytes(b'{}', 'record')} 2",
        f"blob {store.put_file(tmp_path / 'large')} 6888890",
        f"blob {store.put_bytes(edited)} {len(edited)}",
    }
    store.flush()
    told = read(reader, store.path)
    assert {line for line in told if not line.startswith("chunk")} == expected
    assert DELTA in {place.item.method for digest in store.list("chunk") for place in store._places(digest)}


def test_a_store_of_version_1_is_one_of_version_2_once_it_is_written_to(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        store.get_bytes(TREE)
        assert (tmp_path / "store" / "format").read_text() == "bis store 1\n"
        store.put_bytes(b"new")
        store.flush()
    assert (tmp_path / "store" / "format").read_text() == "bis store 2\n"
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
        run = decode_run(store.get_bytes(RECORD))
        assert (run.name, run.exit, run.metrics, run.parts["code"].trees) == (
            "train-1",
            0,
            {"loss": 0.25},
            {"tree": TREE},
        )
        assert list(store.list("record")) == [RECORD]


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
