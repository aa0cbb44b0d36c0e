"""HDF5: Keras weights and other files of h5py."""

import json
import sys
from pathlib import Path

import numpy
import pytest

h5py = pytest.importorskip("h5py")


def write(
    path: Path, *, weight: float = 0.5, chunks: bool = False, backend: str = "tf", moment: bool = False, **more
) -> Path:
    with h5py.File(path, "w", track_order=False) as file:
        file.attrs["backend"] = backend
        file.attrs["model_config"] = json.dumps({"config": {"units": 16, "shared_object_id": 140568956906512 + chunks}})
        group = file.create_group("layers/dense")
        kernel = numpy.arange(12, dtype="f4").reshape(3, 4)
        kernel[1, 2] = weight
        group.create_dataset("kernel", data=kernel, chunks=(1, 4) if chunks else None, track_times=moment)
        group.create_dataset("names", data=["ä", "b"], dtype=h5py.string_dtype())
        group["again"] = h5py.SoftLink("/layers/dense/kernel")
        group["far"] = h5py.ExternalLink(more.get("far", "/etc/passwd"), "/x")
        group["loop"] = file["layers"]
    return path


def test_chunks_and_times_are_set_aside(tmp_path: Path, judge_files) -> None:
    one, other = write(tmp_path / "one.h5"), write(tmp_path / "other.h5", chunks=True, moment=True)
    found = judge_files(one, other)
    assert (found.same, found.level, found.format) == (True, "meaning", "HDF5")
    assert {mask.rule for mask in found.masked} == {"address", "layout of the file"}


def test_one_weight_an_attribute_and_a_link_count(tmp_path: Path, judge_files) -> None:
    one = write(tmp_path / "one.h5")
    found = judge_files(one, write(tmp_path / "a.h5", weight=0.5001))
    assert (found.same, found.why.startswith("/layers/dense/kernel: 1 of 12 values differ, first [1, 2]")) == (
        False,
        True,
    )
    found = judge_files(one, write(tmp_path / "b.h5", backend="torch"))
    assert (found.same, "backend: 'tf' -> 'torch'" in found.why) == (False, True)
    found = judge_files(one, write(tmp_path / "c.h5", far="/etc/shadow"))
    assert (found.same, "/etc/shadow" in found.why) == (False, True)


def test_without_h5py_it_says_what_to_install(tmp_path: Path, judge_files, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = write(tmp_path / "one.h5"), write(tmp_path / "other.h5", chunks=True)
    monkeypatch.setitem(sys.modules, "h5py", None)
    found = judge_files(one, other)
    assert (found.same, found.format, "pip install 'bis[formats]'" in found.why) == (False, "bytes", True)


def test_damage_is_no_crash(tmp_path: Path, judge_files) -> None:
    one = write(tmp_path / "one.h5")
    content = one.read_bytes()
    for number, cut in enumerate((9, 100, 900, len(content) - 1)):
        other = tmp_path / f"cut-{number}.h5"
        other.write_bytes(content[:cut])
        assert judge_files(one, other).same is False
