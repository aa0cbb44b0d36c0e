"""PyTorch's files and safetensors, written here opcode by opcode, as PyTorch is no part of the tests."""

import io
import json
import pickle
import struct
import sys
import types
import zipfile

import numpy
import pytest


class Storage:
    def __init__(self, key: str, kind: str, count: int, location: str = "cpu") -> None:
        self.id = ("storage", kind, key, location, count)


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple, stride: tuple) -> None:
        self.args = (storage, offset, shape, stride, False, {})

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, thing: object):
        if isinstance(thing, Storage):
            kind = getattr(sys.modules["torch"], thing.id[1])
            return (thing.id[0], kind, *thing.id[2:])
        return None


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the names that PyTorch's pickles hold, as long as a test writes one."""
    outer, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "BFloat16Storage"):
        setattr(outer, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*args: object) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", outer)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)


def pickled(value: object) -> bytes:
    target = io.BytesIO()
    Pickler(target, 2).dump(value)
    return target.getvalue()


def saved(value: object, storages: dict[str, bytes], root: str = "model", serialization: bytes = b"1") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as box:
        box.writestr(f"{root}/data.pkl", pickled(value))
        box.writestr(f"{root}/byteorder", b"little")
        for key, data in storages.items():
            box.writestr(f"{root}/data/{key}", data)
        box.writestr(f"{root}/version", b"3\n")
        box.writestr(f"{root}/.data/serialization_id", serialization)
    return target.getvalue()


WEIGHTS = numpy.arange(12, dtype="<f4")


def model(key: str = "0", lr: float = 0.1) -> dict:
    storage = Storage(key, "FloatStorage", 12)
    return {"weight": Tensor(storage, 0, (3, 4), (4, 1)), "turned": Tensor(storage, 0, (4, 3), (1, 4)), "lr": lr}


def test_a_checkpoint_of_another_name_holds_the_same(judge) -> None:
    one = saved(model(), {"0": WEIGHTS.tobytes()})
    other = saved(model("7"), {"7": WEIGHTS.tobytes()}, "best", b"2")
    found = judge("best.pt", one, other)
    assert (found.same, found.level, found.format) == (True, "meaning", "PyTorch")
    assert {mask.rule for mask in found.masked} >= {"name of the inner folder", "id of the file"}


def test_one_weight_is_named_with_how_far_it_is(judge) -> None:
    nudged = WEIGHTS.copy()
    nudged[6] += 0.25
    found = judge("m.pt", saved(model(), {"0": WEIGHTS.tobytes()}), saved(model(), {"0": nudged.tobytes()}))
    assert found.same is False
    assert "weight: 1 of 12 values differ, first [1, 2] 6.0 -> 6.25, largest absolute difference 0.25" in found.why
    assert "turned: 1 of 12 values differ, first [2, 1]" in found.detail


def test_a_learning_rate_and_a_shape_count(judge) -> None:
    one = saved(model(), {"0": WEIGHTS.tobytes()})
    assert "lr: 0.1 -> 0.2" in judge("m.pt", one, saved(model(lr=0.2), {"0": WEIGHTS.tobytes()})).why
    flat = {**model(), "weight": Tensor(Storage("0", "FloatStorage", 12), 0, (12,), (1,))}
    assert "shape" in judge("m.pt", one, saved(flat, {"0": WEIGHTS.tobytes()})).why


def test_the_stride_and_the_place_of_a_tensor_count(judge) -> None:
    turned = numpy.asfortranarray(WEIGHTS.reshape(3, 4)).tobytes("F")
    one = saved({"w": Tensor(Storage("0", "FloatStorage", 12), 0, (3, 4), (4, 1))}, {"0": WEIGHTS.tobytes()})
    other = saved({"w": Tensor(Storage("0", "FloatStorage", 12), 0, (3, 4), (1, 3))}, {"0": turned})
    found = judge("m.pt", one, other)
    assert (found.same, "values differ" in found.detail) == (False, False)
    elsewhere = Storage("0", "FloatStorage", 12, "cuda:0")
    other = saved({"w": Tensor(elsewhere, 0, (3, 4), (4, 1))}, {"0": WEIGHTS.tobytes()})
    assert "'cpu' -> 'cuda:0'" in judge("m.pt", one, other).why


def test_values_that_no_tensor_shows_are_no_part_of_it(judge) -> None:
    value = {"w": Tensor(Storage("0", "FloatStorage", 12), 2, (3,), (1,))}
    other = WEIGHTS.copy()
    other[0] = 99
    assert judge("m.pt", saved(value, {"0": WEIGHTS.tobytes()}), saved(value, {"0": other.tobytes()})).same is True
    other[3] = 99
    assert judge("m.pt", saved(value, {"0": WEIGHTS.tobytes()}), saved(value, {"0": other.tobytes()})).same is False


def test_bfloat16_is_measured(judge) -> None:
    value = {"w": Tensor(Storage("0", "BFloat16Storage", 2), 0, (2,), (1,))}
    found = judge("m.pt", saved(value, {"0": b"\x80\x3f\x00\x40"}), saved(value, {"0": b"\x80\x3f\x40\x40"}))
    assert "first [1] 2.0 -> 3.0, largest absolute difference 1" in found.why


def test_a_tensor_that_points_outside_its_storage_is_damage(judge) -> None:
    wild = {"w": Tensor(Storage("0", "FloatStorage", 12), 5, (1 << 40,), (1 << 20,))}
    found = judge("m.pt", saved(wild, {"0": WEIGHTS.tobytes()}), saved(wild, {"0": WEIGHTS.tobytes()[::-1]}))
    assert (found.same, "damaged tensor" in found.detail) == (False, True)


def legacy(key: str, weights: numpy.ndarray) -> bytes:
    value = {"w": Tensor(Storage(key, "FloatStorage", 12), 0, (3, 4), (4, 1))}
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return head + pickled(value) + pickle.dumps([key], 2) + struct.pack("<q", 12) + weights.tobytes()


def test_the_older_format_names_storages_by_address(judge) -> None:
    found = judge("m.pth", legacy("94046", WEIGHTS), legacy("94999", WEIGHTS))
    assert (found.same, found.format) == (True, "PyTorch (legacy)")
    nudged = WEIGHTS.copy()
    nudged[11] = -1
    found = judge("m.pth", legacy("94046", WEIGHTS), legacy("94999", nudged))
    assert (found.same, "1 of 12 values differ, first [2, 3]" in found.why) == (False, True)


class Packed:
    """What `pickle.dumps` writes of a tensor: PyTorch's own file, in its older format, as bytes."""

    def __init__(self, file: bytes) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return _load_from_bytes, (self.file,)


def _load_from_bytes(file: bytes) -> None:
    raise AssertionError("nothing of a pickle is called")


_load_from_bytes.__module__ = "torch.storage"


def test_a_plain_pickle_holds_tensors_as_files_of_the_older_format(judge, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = types.ModuleType("torch.storage")
    storage._load_from_bytes = _load_from_bytes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.storage", storage)
    nudged = WEIGHTS.copy()
    nudged[11] = -1
    one, same, other = (
        pickle.dumps({"net": Packed(legacy(key, weights))})
        for key, weights in (("94046", WEIGHTS), ("94999", WEIGHTS), ("94999", nudged))
    )
    assert judge("net.pkl", one, same).same is True
    found = judge("net.pkl", one, other)
    assert (found.same, "1 of 12 values differ" in found.why) == (False, True)


def test_torchscript_may_order_its_constants_otherwise(judge) -> None:
    def script(constants: list[str], body: str, debug: bytes) -> bytes:
        source = "class Linear(Module):\n" + "".join(f"  {name} : Final[int] = 3\n" for name in constants) + body
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as box:
            box.writestr("m/data.pkl", pickle.dumps({"a": 1}, 2))
            box.writestr("m/code/__torch__/linear.py", source)
            box.writestr("m/code/__torch__/linear.py.debug_pkl", debug)
            box.writestr("m/version", "3")
        return target.getvalue()

    one = script(["out_features", "in_features"], "  def forward(self): return 1\n", b"1")
    assert (
        judge("s.pt", one, script(["in_features", "out_features"], "  def forward(self): return 1\n", b"2")).same
        is True
    )
    assert (
        judge("s.pt", one, script(["in_features", "out_features"], "  def forward(self): return 2\n", b"2")).same
        is False
    )


def safetensors(order: list[str], weights: numpy.ndarray, metadata: dict[str, str]) -> bytes:
    data, header = b"", {"__metadata__": metadata}
    for name in order:
        part = weights.tobytes() if name == "w" else b"\1\0"
        kind, shape = ("F32", [3, 4]) if name == "w" else ("BOOL", [2])
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_safetensors_in_any_order(judge) -> None:
    one = safetensors(["w", "mask"], WEIGHTS, {"a": "1", "b": "2"})
    found = judge("m.safetensors", one, safetensors(["mask", "w"], WEIGHTS, {"b": "2", "a": "1"}))
    assert (found.same, found.format) == (True, "safetensors")
    nudged = WEIGHTS.copy()
    nudged[0] = 1e-9
    found = judge("m.safetensors", one, safetensors(["mask", "w"], nudged, {"a": "1", "b": "2"}))
    assert (found.same, "w: 1 of 12 values differ, first [0, 0] 0.0 -> 9.99" in found.why) == (False, True)
    found = judge("m.safetensors", one, safetensors(["w", "mask"], WEIGHTS, {"a": "1", "b": "3"}))
    assert (found.same, found.why) == (False, "metadata.b: '2' -> '3'")


def test_a_type_that_is_not_known_is_compared_by_every_byte(judge) -> None:
    """PyTorch writes its newer types as bytes without a type, and the type beside them."""
    kinds = {"uint16": 2, "float8_e4m3fn": 1, "kind_of_tomorrow": 2}

    def typed(name: str, data: bytes) -> bytes:
        class Newer(Tensor):
            def __reduce__(self):
                kind = getattr(sys.modules["torch"], name)
                return sys.modules["torch._utils"]._rebuild_tensor_v3, (*self.args, kind)

        for module, names in (("torch", [*kinds, "UntypedStorage"]), ("torch._utils", ["_rebuild_tensor_v3"])):
            for one in names:
                made = type(one, (), {"__module__": module, "__qualname__": one})
                setattr(sys.modules[module], one, made)
        count = len(data) // kinds[name]
        target = io.BytesIO()
        pickled = io.BytesIO()
        Pickler(pickled, 2).dump({"w": Newer(Storage("0", "UntypedStorage", len(data)), 0, (count,), (1,))})
        with zipfile.ZipFile(target, "w") as box:
            box.writestr("m/data.pkl", pickled.getvalue())
            box.writestr("m/data/0", data)
        return target.getvalue()

    data = bytes(range(8))
    for name in kinds:
        found = judge("m.pt", typed(name, data), typed(name, data[:-1] + b"x"))
        assert (found.same, found.format) == (False, "PyTorch"), name
    assert judge("m.pt", typed("float8_e4m3fn", data), typed("uint16", data)).same is False


def test_a_member_that_no_tensor_names_is_compared(judge) -> None:
    plain = saved(model(), {"0": WEIGHTS.tobytes()})

    def with_member(name: str, content: bytes) -> bytes:
        target = io.BytesIO(plain)
        with zipfile.ZipFile(target, "a") as box:
            box.writestr(name, content)
        return target.getvalue()

    for name in ("data/77", "extra.txt", "constants.pkl"):
        one, other = (with_member(f"model/{name}", content) for content in (b"1", b"2"))
        assert judge("m.pt", plain, one).same is False
        assert judge("m.pt", one, other).same is False


def test_types_that_safetensors_may_have_tomorrow_are_compared_by_name_and_bytes(judge) -> None:
    def tensor(kind: str, shape: list[int], data: bytes, behind: bytes = b"") -> bytes:
        header = json.dumps({"w": {"dtype": kind, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
        return struct.pack("<Q", len(header)) + header + data + behind

    one = tensor("F8_E5M2", [4], b"abcd")
    for other in (tensor("F8_E4M3", [4], b"abcd"), tensor("F8_E5M2", [2, 2], b"abcd"), tensor("F8_E5M2", [4], b"abce")):
        found = judge("m.safetensors", one, other)
        assert (found.same, found.format) == (False, "safetensors")
    hidden = tensor("U8", [4], b"abcd", b"x"), tensor("U8", [4], b"abcd", b"y")
    assert "do not fill the file" in judge("m.safetensors", *hidden).why
