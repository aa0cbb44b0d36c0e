"""What every format promises. A new format is one more line in `FORMATS`, and here one more pair of files."""

import bz2
import gzip
import importlib
import importlib.util
import io
import json
import lzma
import pickle
import random
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest

from bis.formats import HEAD, Context, Format
from bis.formats.registry import FORMATS, compare
from bis.nouns.verdict import Comparison

Pair = tuple[str, bytes, bytes]
"""A name, a file, and the same file with one change that counts."""
LIBRARIES = {
    "image": "PIL",
    "zstandard": "backports.zstd",
    "lz4": "lz4",
    "HDF5": "h5py",
    "Parquet": "pyarrow",
    "Arrow": "pyarrow",
}
"""Formats that are read with a library which need not be there."""


def is_there(library: str) -> bool:
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


MISSING = {name for name, library in LIBRARIES.items() if not is_there(library)}
EMPTY_IS_TEXT = b"\0 \n\r\t"
"""What may be missing at an end without a difference in meaning."""
ALL_SET_ASIDE = {"SavedModel fingerprint", "process id file", "run name file"}
"""Formats of which all that a short file holds may be set aside: of a file cut off, only that it can be compared."""

OF_DIFFERENT_FILES = {"SavedModel", "checkpoint data"}
"""Formats that only say in what way two files differ."""


def of(file: str) -> Any:
    """The makers of files that the tests of one format have."""
    path = Path(__file__).parents[1] / "formats" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"makers_{file}", path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair(name: str, make: Callable[[Any], Any], one: Any = 1, other: Any = 2) -> Pair:
    first, second = (made.encode() if isinstance(made, str) else made for made in (make(one), make(other)))
    return name, first, second


def database(folder: Path, value: int) -> bytes:
    path = folder / f"{value}.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (a, b)")
        made.execute("INSERT INTO t VALUES (?, 'x')", (value,))
    made.close()
    return path.read_bytes()


def squeezed(library: str, value: int) -> bytes:
    packed: bytes = importlib.import_module(library).compress(b"a,b\n1,%d\n" % value)
    return packed


def image(value: int) -> bytes:
    pillow, target = importlib.import_module("PIL.Image"), io.BytesIO()
    pillow.fromarray(numpy.array([[0, 100 * value]], dtype="uint8")).save(target, "GIF")
    return target.getvalue()


def hdf5(folder: Path, value: int) -> bytes:
    import h5py

    with h5py.File(folder / f"{value}.h5", "w", track_order=True) as file:
        file.create_dataset("w", data=numpy.array([1.0, value]))
    return (folder / f"{value}.h5").read_bytes()


def columnar(kind: str, value: int) -> bytes:
    import pyarrow
    from pyarrow import feather, parquet

    target, table = io.BytesIO(), pyarrow.table({"a": [1, value], "b": ["x", "y"]})
    if kind == "Parquet":
        parquet.write_table(table, target)
    else:
        feather.write_feather(table, target, compression="uncompressed")
    return target.getvalue()


def weights(value: float) -> numpy.ndarray:
    made = numpy.arange(12, dtype="<f4")
    made[7] = value
    return made


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """By the name of a format: two small files of it."""
    folder = tmp_path_factory.mktemp("made")
    archives, arrays, boosting, figures = (of(f"test_{name}") for name in ("archives", "arrays", "boosting", "figures"))
    images, notebooks, protobufs, skops = (of(f"test_{name}") for name in ("images", "notebooks", "protobufs", "skops"))
    tensors, zipped, tarred = of("test_tensors"), archives.zipped, archives.tarred
    with pytest.MonkeyPatch.context() as patch:
        tensors.torch.__wrapped__(patch)
        kept = {"0": tensors.WEIGHTS.tobytes()}
        torch = [tensors.saved(tensors.model(lr=lr), kept) for lr in (0.1, 0.2)]
        legacy = [tensors.legacy("94046", weights(value)) for value in (1, 2)]
    script = "class A(Module):\n  a : Final[int] = {}\n  def forward(self): return 1\n".format
    keras = '{{"registered_name": null, "config": {{"units": {}}}}}'.format
    whole = {
        "npy": pair("a.npy", lambda value: arrays.npy(weights(value))),
        "PNG": pair("a.png", lambda value: images.png([bytes([value, 2, 3])], 1, 3)),
        "SVG": pair("a.svg", lambda x: figures.svg("8527bec4f9", "0123456789", x=x), "77.11", "77.12"),
        "PDF": pair("a.pdf", lambda text: figures.pdf("20261122120007Z", text, "ab12"), b"1 0 0 1 cm", b"1 0 0 2 cm"),
        "npz": pair("a.npz", lambda value: zipped({"a.npy": arrays.npy(weights(value))})),
        "skops": pair("a.skops", lambda value: skops.skops(1000, numpy.array([[1.0, value]]), ["a", "b"])),
        "PyTorch": ("a.pt", *torch),
        "PyTorch export": pair("a.pt2", lambda value: zipped({"m/model.json": b'{"a": %d}' % value})),
        "zip": pair("a.zip", lambda value: zipped({"a.txt": b"%d" % value})),
        "gzip": pair("a.csv.gz", lambda value: gzip.compress(b"a,b\n1,%d\n" % value)),
        "bzip2": pair("a.csv.bz2", lambda value: bz2.compress(b"a,b\n1,%d\n" % value)),
        "xz": pair("a.csv.xz", lambda value: lzma.compress(b"a,b\n1,%d\n" % value)),
        "zlib": pair("a.joblib", lambda value: zlib.compress(pickle.dumps({"a": value}))),
        "tar": pair("a.tar", lambda value: tarred({"a.txt": b"%d" % value})),
        "PyTorch (legacy)": ("a.pth", *legacy),
        "pickle": pair("a.pkl", lambda value: pickle.dumps({"w": weights(value), "deep": [(1, None)]})),
        "safetensors": pair("a.safetensors", lambda value: tensors.safetensors(["w", "mask"], weights(value), {})),
        "UBJSON": pair("a.ubj", lambda value: boosting.packed(boosting.model(float(value)))),
        "LightGBM": pair("a.txt", lambda value: boosting.LIGHTGBM.replace("0.5", str(value))),
        "TorchScript source": pair("code/__torch__/a.py", script),
        "SQLite": pair("a.db", lambda value: database(folder, value)),
        "TensorBoard events": pair(
            "events.out.tfevents.1795348807.vm.1.0", lambda loss: protobufs.events(1_795_348_807.25, float(loss))
        ),
        "ONNX": pair("a.onnx", lambda value: protobufs.onnx([1, 2, value])),
        "SavedModel": pair("saved_model.pb", lambda value: protobufs.field(1, value) + protobufs.field(2, "a")),
        "SavedModel fingerprint": pair("fingerprint.pb", lambda value: protobufs.field(6, protobufs.field(1, value))),
        "checkpoint index": pair(
            "variables.index", lambda value: protobufs.index({"variables/0": protobufs.entry(value, 0)})
        ),
        "checkpoint data": pair("v.data-00000-of-00001", lambda value: bytes([1, 2, value, 4])),
        "notebook": pair("a.ipynb", lambda value: json.dumps(written(notebooks, value))),
        "HTML": pair("a.html", "<p>{}</p>".format),
        "MLmodel": pair("MLmodel", "run_id: 1\nflavors: {{a: {}}}\n".format),
        "Keras metadata": pair("metadata.json", '{{"keras_version": "3.{}.0"}}'.format),
        "Keras config": pair("config.json", keras),
        "JSON": pair("a.json", '{{"a": [1, {}], "b": null}}'.format),
        "JSON lines": pair("a.jsonl", '{{"a": 1}}\n{{"a": {}}}\n'.format),
        "YAML": pair("a.yaml", "a: &x [1, {}]\nb: *x\n".format),
        "TOML": pair("a.toml", "a = 1\n[b]\nc = {}\n".format),
        "CSV": pair("a.csv", 'a,b\n1,"x, {}"\n'.format),
        "TSV": pair("a.tsv", "a\tb\n1\tx {}\n".format),
        "process id file": pair("a.pid", "{}\n".format, 12, "no id"),
        "run name file": pair("tags/mlflow.runName", "{}\n".format, "wistful-owl-7", "baseline"),
        "data as text": pair("a.svm", "1 1:0.5 2:{}\n".format),
        "text": pair("a.log", "epoch 1 loss 0.{}\n".format),
    }
    made: dict[str, tuple[str, Callable[[int], bytes]]] = {
        "image": ("a.gif", image),
        "zstandard": ("a.csv.zst", lambda value: squeezed("backports.zstd", value)),
        "lz4": ("a.csv.lz4", lambda value: squeezed("lz4.frame", value)),
        "HDF5": ("a.h5", lambda value: hdf5(folder, value)),
        "Parquet": ("a.parquet", lambda value: columnar("Parquet", value)),
        "Arrow": ("a.feather", lambda value: columnar("Arrow", value)),
    }
    return whole | {name: pair(*how) for name, how in made.items() if name not in MISSING}


def written(notebooks: Any, value: int) -> dict[str, Any]:
    cell = notebooks.code("print(x)", [notebooks.stream(f"{value}\n")])
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def judge(tmp_path: Path) -> Callable[[str, bytes, bytes], Comparison]:
    def run(name: str, before: bytes, after: bytes) -> Comparison:
        return compare(name, put(tmp_path / "before", before), put(tmp_path / "after", after), Context())

    return run


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


Judge = Callable[[str, bytes, bytes], Comparison]


@pytest.fixture(params=FORMATS, ids=lambda format: format.name)
def format(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    if found.name in MISSING:
        pytest.skip(f"{LIBRARIES[found.name]} is not installed")
    return found


def test_every_format_has_files_here(pairs: dict[str, Pair]) -> None:
    assert {format.name for format in FORMATS} - MISSING == pairs.keys()


def test_equal_bytes_are_identical(format: Format, pairs: dict[str, Pair], judge: Judge) -> None:
    name, one, _ = pairs[format.name]
    found = judge(name, one, one)
    assert (found.same, found.level) == (True, "bytes")


def test_a_file_means_the_same_as_itself(format: Format, pairs: dict[str, Pair], tmp_path: Path) -> None:
    """Asked of the format, not of the registry, which knows that from the bytes."""
    name, one, _ = pairs[format.name]
    assert format.recognises(name, one[:HEAD])
    if format.name in OF_DIFFERENT_FILES:
        pytest.skip("only asked when the bytes differ, and tells how")
    sides = put(tmp_path / "before", one), put(tmp_path / "after", one)
    found = format.compare(*sides, Context(name=name))
    assert found.same is True, found


def test_a_planted_change_is_never_the_same(format: Format, pairs: dict[str, Pair], judge: Judge) -> None:
    name, one, other = pairs[format.name]
    for found in (judge(name, one, other), judge(name, other, one)):
        assert (found.same, found.level) == (False, "none")
        assert found.why


def test_a_file_that_is_cut_off_is_compared_and_never_the_same(
    format: Format, pairs: dict[str, Pair], judge: Judge
) -> None:
    name, one, _ = pairs[format.name]
    for cut in sorted({0, 1, 2, len(one) // 3, len(one) // 2, len(one) - 9, len(one) - 1} & set(range(len(one)))):
        for found in (judge(name, one, one[:cut]), judge(name, one[:cut], one)):
            set_aside = format.name in ALL_SET_ASIDE or not one[cut:].strip(EMPTY_IS_TEXT)
            assert found.same is not True or set_aside, (cut, found)


def test_a_random_file_is_compared_and_never_the_same(format: Format, pairs: dict[str, Pair], judge: Judge) -> None:
    """Also one that begins as a file of the format does."""
    name, one, _ = pairs[format.name]
    numbers = random.Random(name)
    for size in (1, 40, 2000):
        for start in (b"", one[:4], one[:16], one[: len(one) // 2]):
            rubbish = start + b"\xff\0" + numbers.randbytes(size)
            assert judge(name, one, rubbish).same is not True
            assert judge(name, rubbish, one).same is not True


def test_a_flipped_bit_makes_no_format_fall_over(format: Format, pairs: dict[str, Pair], judge: Judge) -> None:
    name, one, _ = pairs[format.name]
    numbers = random.Random(name)
    for _ in range(30):
        content = bytearray(one)
        content[numbers.randrange(len(one))] ^= 1 << numbers.randrange(8)
        judge(name, one, bytes(content))
