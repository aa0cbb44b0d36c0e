"""Arrays: `.npy` and `.npz`."""

import io
import zipfile

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.formats.arrays import Array, _c_order, difference, itemsize


def npy(array: numpy.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    numpy.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "?", "U3", "S4", "c8", "M8[s]"])
def test_an_array_in_another_order_of_memory_is_the_same(judge, dtype: str) -> None:
    array = numpy.arange(24).astype(dtype).reshape(2, 3, 4)
    found = judge("a.npy", npy(array), npy(numpy.asfortranarray(array)))
    assert (found.same, found.level, found.format) == (True, "meaning", "npy")
    assert judge("a.npy", npy(array), npy(array, (2, 0))).same is True
    other = array.copy()
    other[1, 2, 3] = array[0, 0, 0] if dtype != "?" else not array[1, 2, 3]
    found = judge("a.npy", npy(array), npy(numpy.asfortranarray(other)))
    assert (found.same, "1 of 24 values differ, first [1, 2, 3]" in found.why) == (False, True)


def test_type_and_shape_count(judge) -> None:
    array = numpy.arange(6)
    assert "type <i8 -> <i4" in judge("a.npy", npy(array), npy(array.astype("i4"))).why
    assert "shape (6,) -> (2, 3)" in judge("a.npy", npy(array), npy(array.reshape(2, 3))).why


def test_the_last_bits_of_a_float_are_a_difference_with_a_cause(judge) -> None:
    old = numpy.linspace(1, 2, 100)
    new = old.copy()
    new[50] = numpy.nextafter(new[50], 2)
    found = judge("a.npy", npy(old), npy(new))
    assert (found.same, found.causes) == (False, ("float noise",))
    assert "largest absolute difference 2.22e-16" in found.why


def test_records_and_objects_are_compared(judge) -> None:
    record = numpy.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
    other = record.copy()
    other["b"][1] = 5
    assert judge("r.npy", npy(record), npy(other)).same is False
    objects = numpy.array(["a", 1, None], dtype=object)
    found = judge("o.npy", npy(objects), npy(numpy.array(["a", 2, None], dtype=object)))
    assert (found.same, "1 -> 2" in found.why) == (False, True)


def test_npz_members_are_arrays(judge) -> None:
    def npz(moment: int, **arrays: numpy.ndarray) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if moment > 2000 else zipfile.ZIP_STORED) as box:
            for name, array in arrays.items():
                info = zipfile.ZipInfo(f"{name}.npy", (moment, 1, 1, 0, 0, 0))
                box.writestr(info, npy(array), box.compression)
        return target.getvalue()

    x, y = numpy.arange(6.0).reshape(2, 3), numpy.arange(3)
    found = judge("a.npz", npz(1990, x=x, y=y), npz(2020, y=y, x=x))
    assert (found.same, found.format) == (True, "npz")
    found = judge("a.npz", npz(1990, x=x, y=y), npz(1990, x=x + 1e-3, y=y))
    assert (found.same, "x.npy: 6 of 6 values differ" in found.why) == (False, True)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.sampled_from(["u1", "i2", "f4", "f8", "S3"]))
def test_fortran_order_is_undone_as_numpy_does(shape: list[int], dtype: str) -> None:
    array = numpy.arange(numpy.prod(shape)).astype(dtype).reshape(shape)
    made = Array(array.dtype.str, shape, array.tobytes("F"), fortran=True)
    assert bytes(made.data) == array.tobytes("C")
    if array.size:
        assert _c_order(array.tobytes("F"), tuple(shape), array.itemsize) == array.tobytes("C")


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "bf16", "<i8", "<u2", "|b1", "<c8", "<U1", "|S2", "<M8[ns]"])
def test_values_that_differ_are_counted(dtype: str, old: bytes, new: bytes) -> None:
    count = 8 if dtype == "bf16" else 16 // numpy.dtype(dtype).itemsize
    found = difference(dtype, (count,), old, new)
    assert found.what.startswith(f"{found.number:,} of {count} value")
    if dtype[1] in "iuMSU" or dtype == "|b1":
        pieces = [[data[at : at + 16 // count] for at in range(0, 16, 16 // count)] for data in (old, new)]
        assert found.number == sum(one != other for one, other in zip(*pieces, strict=True))
    if old == new:
        assert found.number == 0


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i4", ">u2", "bf16", "<f16"])
def test_numpy_counts_as_this_module_does(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = numpy.random.default_rng(0)
    old = chance.integers(0, 256, 4096, dtype="u1").tobytes()
    new = bytearray(old)
    for at in chance.integers(0, 4096, 40):
        new[at] ^= 1 << int(chance.integers(8))
    count = 4096 // (itemsize(dtype) or 0)
    slow = difference(dtype, (count,), old, bytes(new))
    monkeypatch.setattr("bis.formats.arrays.LARGE", 0)
    fast = difference(dtype, (count,), old, bytes(new))
    assert fast == slow


def test_what_a_nan_carries_is_set_aside(judge) -> None:
    old = numpy.array([1.0, numpy.nan])
    new = old.copy()
    new.view("u8")[1] ^= 1
    found = judge("a.npy", npy(old), npy(new))
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["bits of NaN"])
    new[0] = -1.0
    assert judge("a.npy", npy(old), npy(new)).same is False


def test_zeros_of_another_sign_differ(judge) -> None:
    for dtype in ("f8", "c16"):
        zero = numpy.zeros(2, dtype)
        other = zero.copy()
        other.view("f8")[-1] = -0.0
        assert judge("a.npy", npy(zero), npy(other)).same is False


def test_each_array_that_was_saved_into_one_file_counts(judge) -> None:
    one, two, three = (npy(numpy.arange(4) + number) for number in range(3))
    found = judge("a.npy", one + two, one + three)
    assert (found.same, found.why.startswith("array 2: 4 of 4 values differ")) == (False, True)
    assert judge("a.npy", one + two, one).same is False
    assert judge("a.npy", one + b"note", one + b"nota").same is False
    assert judge("a.npy", one + two, npy(numpy.arange(4), (2, 0)) + two).same is True


def test_records_are_compared_without_their_gaps_in_any_order_of_memory(judge) -> None:
    kind = numpy.dtype([("Objects", "i4"), ("b", "f8", (2,)), ("c", [("d", "u1")])], align=True)
    array = numpy.zeros((2, 3), kind)
    other = numpy.frombuffer(bytearray([7]) * array.nbytes, kind).reshape(2, 3)
    for name in kind.names:
        other[name] = array[name]
    assert judge("r.npy", npy(array), npy(numpy.asfortranarray(other))).same is True
    other["b"][1, 2, 1] = -0.0
    assert judge("r.npy", npy(array), npy(other)).same is False


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000000000,)}",
        "{'descr': [('a', '<f8', (99999999999,))], 'fortran_order': True, 'shape': (99999999999,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 5000 + "}",
        "{'descr': (('<f8', 2), 3, 4), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    ],
)
def test_a_header_that_promises_too_much_is_damage(judge, header: str) -> None:
    start = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode()
    assert judge("a.npy", start + b"1", start + b"2").format == "bytes"
