"""The registry: same bytes first, bytes last, and no file that makes it fall over."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bis.formats
from bis.formats import Context
from bis.formats.registry import FORMATS, compare


def test_the_same_bytes_are_identical_whatever_they_are(judge) -> None:
    found = judge("x.bin", b"\0\1\2", b"\0\1\2")
    assert (found.same, found.level, found.why) == (True, "bytes", "the same bytes")


def test_unknown_bytes_are_different_and_say_where(judge) -> None:
    found = judge("x.bin", b"\0" * 5000 + b"a", b"\0" * 5000 + b"bc")
    assert (found.same, found.level, found.format) == (False, "none", "bytes")
    assert "5,001 -> 5,002 bytes" in found.why
    assert "first difference at byte 5,000" in found.why


def test_an_empty_file_is_not_the_same_as_any_other(judge) -> None:
    for content in ("x", "\n", "{}", b"\0"):
        assert judge("a.json", "", content).same is False or content == "\n"


def test_what_was_not_compared_by_meaning_says_why(judge) -> None:
    found = judge("a.png", b"\x89PNG\r\n\x1a\nrubbish", b"\x89PNG\r\n\x1a\nrubbish!")
    assert found.same is False
    assert "not compared as PNG" in found.why


def test_a_missing_file_is_an_error_and_not_a_difference(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(FileNotFoundError):
        compare("a", tmp_path / "a", tmp_path / "b", Context())


def test_each_format_has_a_name_of_its_own() -> None:
    names = [format.name for format in FORMATS]
    assert len(set(names)) == len(names)


def zipped(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in members.items():
            box.writestr(name.replace("__", "/"), content)
    return target.getvalue()


def tarred() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as box:
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        box.addfile(info, io.BytesIO(b"hello"))
    return target.getvalue()


def saved(array: numpy.ndarray) -> bytes:
    target = io.BytesIO()
    numpy.save(target, array, allow_pickle=True)
    return target.getvalue()


def database(folder: Path) -> bytes:
    path = folder / "made.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (a, b)")
        made.execute("INSERT INTO t VALUES (1, 'x')")
    made.close()
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small file of most formats, made with the standard library and NumPy."""
    model = {"weights": numpy.arange(6.0), "classes": {"a", "b"}, "deep": [[1, (2.5, None)]]}
    tensors = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return {
        "m.pkl": pickle.dumps(model),
        "old.pkl": pickle.dumps({"a": [1, 2.5, "x"]}, protocol=0),
        "a.npy": saved(numpy.arange(12).reshape(3, 4)),
        "o.npy": saved(numpy.array([1, "x", None], dtype=object)),
        "a.npz": zipped(**{"a.npy": saved(numpy.arange(3)), "b.npy": saved(numpy.arange(4.0))}),
        "c.pt": zipped(c__version=b"3", **{"c__data.pkl": pickle.dumps({"a": 1}, protocol=2)}),
        "m.skops": zipped(**{"schema.json": b'{"__loader__": "DictNode", "protocol": 2, "content": {}}'}),
        "b.zip": zipped(a=b"x", b=b"y"),
        "t.tar": tarred(),
        "t.tar.gz": gzip.compress(tarred()),
        "x.csv.bz2": bz2.compress(b"a,b\n1,2\n"),
        "x.json.xz": lzma.compress(b'{"a": 1}'),
        "m.joblib": zlib.compress(pickle.dumps(model)),
        "w.safetensors": len(tensors).to_bytes(8, "little") + tensors + b"\0" * 8,
        "m.ubj": b"{i\x01ai\x05i\x01b[$d#i\x02\0\0\0\0\0\0\0\0}",
        "lgb.txt": b"tree\nversion=v4\nnum_class=1\n",
        "n.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": "1", "outputs": []}], "nbformat": 4}).encode(),
        "m.onnx": b"\x08\x08\x12\x02sk\x3a\x04\x12\x02ab",
        "events.out.tfevents.1.vm.2.0": (9).to_bytes(8, "little") + b"\0\0\0\0\x09" + b"\0" * 8 + b"\0\0\0\0",
        "mlflow.db": database(tmp_path_factory.mktemp("made")),
        "a.json": b'{"a": [1, 2.50], "b": null}',
        "a.jsonl": b'{"a": 1}\n{"a": 2}\n',
        "a.yaml": b"a: &x [1, 2]\nb: *x\nc: !tag {d: e}\n",
        "a.toml": b"a = 1\n[b]\nc = 2.5\n",
        "a.csv": b'a,b\n1,"x, y"\n',
        "f.svg": b'<svg><path id="m0123456789"/></svg>',
        "f.pdf": b"%PDF-1.4\n/CreationDate (D:20261122120000Z)\nstream\nabc\nendstream\n",
        "page.html": b"<p>1</p>",
        "saved_model.pb": b"\x08\x01\x12\x04\x0a\x02ab",
        "fingerprint.pb": b"\x08\x01\x3a\x02ab",
        "v.index": b"\0" * 40 + bytes.fromhex("57fb808b247547db"),
        "MLmodel": b"run_id: 1\nflavors: {}\n",
    }


@pytest.mark.parametrize("size", [0, 1, 8, 40, 200])
def test_rubbish_is_compared_as_bytes_under_any_name(judge, samples: dict[str, bytes], size: int) -> None:
    for name in samples:
        assert judge(name, os.urandom(size) + b"\xff\0a", os.urandom(size) + b"\xff\0b").same is False


def test_a_file_that_is_cut_off_is_compared_and_never_the_same(judge, samples: dict[str, bytes]) -> None:
    whole = {name: content for name, content in samples.items() if name != "fingerprint.pb"}  # all of it is set aside
    for name, content in whole.items():
        for cut in {1, 2, len(content) // 2, len(content) - 1}:
            found = judge(name, content, content[:cut])
            assert found.same is False or content[cut:].strip(b"\0 \n") == b"", (name, cut)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_compared_and_no_format_falls_over(
    judge, samples: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(samples)))
    content = bytearray(samples[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    judge(name, samples[name], bytes(content))


def test_a_zip_bomb_is_not_unpacked(judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bis.formats, "UNPACKED", 1 << 20)
    bomb, other = zipped(a=bytes(8 << 20), b=b"x"), zipped(a=bytes(8 << 20), b=b"y")
    found = judge("x.zip", bomb, other)
    assert found.same is False
    assert "unpacks to more than" in found.why
    found = judge("x.gz", gzip.compress(bytes(8 << 20), mtime=1), gzip.compress(bytes(8 << 20), mtime=2))
    assert (found.same, "unpacks to more than" in found.why) == (False, True)


def test_containers_in_containers_end_somewhere(judge) -> None:
    old, new = b"a", b"b"
    for _ in range(12):
        old, new = gzip.compress(old, mtime=0), gzip.compress(new, mtime=0)
    assert judge("x.gz", old, new).same is False


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.ubj", "a.pkl", "a.ipynb"])
def test_very_deep_nesting_is_no_crash(judge, name: str) -> None:
    deep = {
        "a.json": (b"[" * 100_000 + b"]" * 100_000),
        "a.yaml": b"[" * 3000 + b"]" * 3000,
        "a.ubj": b"{i\x01a" + b"[" * 5000,
        "a.pkl": b"\x80\x04" + b"]" * 1 + b"\x85" * 200_000 + b".",
        "a.ipynb": b'{"cells": [' + b"[" * 50_000 + b"]" * 50_000 + b"]}",
    }[name]
    judge(name, deep, deep.replace(b"a", b"b", 1) + b" ")
