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
    assert (found.same, found.format, "the extra 'formats' of bis" in found.why) == (False, "bytes", True)


def test_damage_is_no_crash(tmp_path: Path, judge_files) -> None:
    one = write(tmp_path / "one.h5")
    content = one.read_bytes()
    for number, cut in enumerate((9, 100, 900, len(content) - 1)):
        other = tmp_path / f"cut-{number}.h5"
        other.write_bytes(content[:cut])
        assert judge_files(one, other).same is False


def made(path: Path, fill) -> Path:
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = 1, 1
        fill(file)
    return path


def attribute(value, **how):
    return lambda file: file.attrs.create("a", value, **how)


def data(value, **how):
    return lambda file: file.create_dataset("d", data=value, **how)


def lists(kind: str):
    def fill(file) -> None:
        file.create_dataset("d", (1,), dtype=h5py.vlen_dtype(numpy.dtype(kind)))[0] = [1, 2]

    return fill


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (attribute(numpy.int32(1)), attribute(numpy.int64(1))),
        (attribute(numpy.float32(0.5)), attribute(numpy.float64(0.5))),
        (attribute(0.0), attribute(-0.0)),
        (attribute(numpy.bytes_("a")), attribute("a")),
        (attribute([1]), attribute(1)),
        (attribute(h5py.Empty("f4")), attribute(h5py.Empty("f8"))),
        (data([0, 1], dtype=h5py.enum_dtype({"A": 0, "B": 1})), data([0, 1], dtype=h5py.enum_dtype({"A": 1, "B": 0}))),
        (lists("i4"), lists("i8")),
        (lambda file: attribute(file["x"].ref)(file), lambda file: attribute(file["y"].ref)(file)),
        (
            lambda file: data([file["x"].ref], dtype=h5py.ref_dtype)(file),
            lambda file: data([file["y"].ref], dtype=h5py.ref_dtype)(file),
        ),
        (
            lambda file: attribute(data([1, 2, 3])(file).regionref[0:1])(file),
            lambda file: attribute(data([1, 2, 3])(file).regionref[1:2])(file),
        ),
    ],
)
def test_types_and_references_count(tmp_path: Path, judge_files, one, other) -> None:
    found = judge_files(made(tmp_path / "one.h5", one), made(tmp_path / "other.h5", other))
    assert (found.same, found.format) == (False, "HDF5")


def test_values_in_other_files_are_never_followed(tmp_path: Path, judge_files) -> None:
    """What such a file shows is on this machine, and not in the file."""
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(32))
    source = made(tmp_path / "source.h5", data(numpy.zeros(4)))

    def external(file) -> None:
        file.create_dataset("d", (4,), "f8", external=[(str(outside), 0, 32)])

    def virtual(file) -> None:
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource(str(source), "d", (4,))
        file.create_virtual_dataset("d", layout)

    for fill in (external, virtual):
        more = lambda file: (fill(file), file.create_dataset("e", data=numpy.zeros(9), chunks=(3,)))  # noqa: E731, B023
        less = lambda file: (fill(file), file.create_dataset("e", data=numpy.zeros(9)))  # noqa: E731, B023
        found = judge_files(made(tmp_path / "one.h5", more), made(tmp_path / "other.h5", less))
        assert (found.same, "lie in other files" in found.why) == (False, True)


def test_a_small_file_that_claims_to_be_huge_is_given_up(tmp_path: Path, judge_files) -> None:
    def huge(chunk: int):
        return lambda file: file.create_dataset("d", (1 << 40,), "f8", chunks=(chunk,))

    found = judge_files(made(tmp_path / "one.h5", huge(64)), made(tmp_path / "other.h5", huge(128)))
    assert (found.same, "says that it holds 1,099,511,627,776 values" in found.why) == (False, True)
