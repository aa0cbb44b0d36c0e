"""ONNX, TensorBoard's events and TensorFlow's files, written here field by field."""

import struct

import numpy


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: object) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, numpy.float32):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx(
    weights: list[float], graph: str = "main", doc: str = "", op: str = "MatMul", order: tuple = ("a", "b")
) -> bytes:
    raw = numpy.array(weights, "<f4").tobytes()
    tensors = {
        "a": field(1, varint(len(weights))) + field(2, 1) + field(8, "a") + field(9, raw),
        "b": field(1, varint(2)) + field(2, 7) + field(7, varint(3) + varint(4)) + field(8, "b"),
    }
    node = field(1, "x") + field(1, "a") + field(2, "y") + field(4, op)
    body = field(1, node) + field(2, graph) + b"".join(field(5, tensors[name]) for name in order)
    return field(1, 8) + field(2, "skl2onnx") + field(6, doc) + field(7, body) + field(8, field(1, "") + field(2, 17))


def test_onnx_graphs_of_other_names(judge) -> None:
    one = onnx([1, 2, 3], "098f6bcd462144739ade4e832627b4f6", "from /home/ana/churn/net.py")
    other = onnx([1, 2, 3], "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a", "from /tmp/again/churn/net.py", order=("b", "a"))
    found = judge("m.onnx", one, other)
    assert (found.same, found.format, {mask.rule for mask in found.masked} >= {"id", "path"}) == (True, "ONNX", True)


def test_an_onnx_weight_and_an_operator_count(judge) -> None:
    found = judge("m.onnx", onnx([1, 2, 3]), onnx([1, 2, 3.5]))
    assert (found.same, "raw_data[0]: 1 of 3 values differ, first [2] 3.0 -> 3.5" in found.why) == (False, True)
    found = judge("m.onnx", onnx([1]), onnx([1], op="Gemm"))
    assert (found.same, "op_type[0]: 'MatMul' -> 'Gemm'" in found.why) == (False, True)
    found = judge("m.onnx", onnx([1]), onnx([1]) + field(99, b"\0\1"))
    assert found.same is False


def events(moment: float, loss: float, tag: str = "loss") -> bytes:
    value = field(1, tag) + field(2, numpy.float32(loss))
    start = field(2, field(1, field(1, "hparams") + field(2, field(3, field(5, moment + 1)))))
    records = [
        field(1, moment) + field(3, "brain.Event:2"),
        field(1, moment + 1) + field(2, 7) + field(5, field(1, value)),
        field(1, moment + 2) + field(5, field(1, field(1, "hp") + field(9, start[2:]))),
    ]
    return b"".join(struct.pack("<QI", len(record), 1) + record + b"\0\0\0\0" for record in records)


def test_events_but_for_their_times(judge) -> None:
    name = "runs/events.out.tfevents.1795348807.vm.1.0"
    found = judge(name, events(1_795_348_807.25, 0.5), events(1_795_446_003.5, 0.5))
    assert (found.same, found.format, [mask.rule for mask in found.masked]) == (True, "TensorBoard events", ["time"])
    found = judge(name, events(1_795_348_807.25, 0.5), events(1_795_446_003.5, 0.25))
    assert (found.same, "record 2 (step 7: loss)" in found.why, "0.5 -> 0.25" in found.why) == (False, True, True)
    assert judge(name, events(1_795_348_807.25, 0.5), events(1_795_446_003.5, 0.5, "lost")).same is False
    assert judge(name, events(1_795_348_807.25, 0.5), events(1_600_000_000.0, 0.5)).same is False
    whole = events(1_795_348_807.25, 0.5)
    assert judge(name, whole, whole[:-7]).same is False


def test_a_fingerprint_speaks_of_other_files(judge) -> None:
    old = field(1, 123456789) + field(2, 55) + field(6, field(1, 4)) + field(7, "401380385902025306")
    new = field(1, 987654321) + field(2, 55) + field(6, field(1, 4)) + field(7, "185457162394526197")
    found = judge("sm/fingerprint.pb", old, new)
    assert (found.same, {mask.rule for mask in found.masked}) == (True, {"id", "checksum of the files beside it"})
    assert judge("sm/fingerprint.pb", old, new.replace(field(6, field(1, 4)), field(6, field(1, 5)))).same is False


def test_a_graph_whose_objects_are_numbered_otherwise_says_so(judge) -> None:
    def graph(names: list[str], op: str = "Add") -> bytes:
        return field(1, 1) + b"".join(field(2, field(1, name) + field(2, op)) for name in names)

    found = judge("sm/saved_model.pb", graph(["dense/kernel", "dense/bias"]), graph(["dense/bias", "dense/kernel"]))
    assert (found.same, found.causes) == (False, ("object order",))
    found = judge("sm/saved_model.pb", graph(["dense/kernel"]), graph(["dense/kernel"], "Mul"))
    assert (found.same, found.causes) == (False, ())


def index(entries: dict[str, bytes]) -> bytes:
    """A TensorFlow table of one block."""
    data, last = b"", b""
    for key, value in sorted(entries.items()):
        name = key.encode()
        shared = next(
            (at for at, (one, two) in enumerate(zip(name, last, strict=False)) if one != two), min(len(name), len(last))
        )
        data += varint(shared) + varint(len(name) - shared) + varint(len(value)) + name[shared:] + value
        last = name
    block = data + struct.pack("<II", 0, 1)
    handle = varint(0) + varint(len(block))
    top = varint(0) + varint(1) + varint(len(handle)) + b"z" + handle + struct.pack("<II", 0, 1)
    at = len(block) + 5
    footer = (varint(0) + varint(0) + varint(at) + varint(len(top))).ljust(40, b"\0") + bytes.fromhex(
        "57fb808b247547db"
    )
    return block + b"\0crcs" + top + b"\0crcs" + footer


def entry(crc: int, offset: int, dtype: int = 1) -> bytes:
    return field(1, dtype) + field(4, offset) + field(5, 64) + varint(6 << 3 | 5) + struct.pack("<I", crc)


def test_a_checkpoint_index_tells_which_tensor_changed(judge) -> None:
    one = index({"variables/0": entry(1, 0), "variables/1": entry(2, 64)})
    found = judge("v/variables.index", one, index({"variables/0": entry(1, 64), "variables/1": entry(2, 0)}))
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["places in the data and packing of the table"])
    found = judge("v/variables.index", one, index({"variables/0": entry(1, 0), "variables/1": entry(3, 64)}))
    assert (found.same, found.why.startswith("variables/1: crc32c"), found.causes) == (False, True, ())
    found = judge("v/variables.index", one, index({"variables/0": entry(2, 0), "variables/1": entry(1, 64)}))
    assert (found.same, found.causes) == (False, ("object order",))


def test_checkpoint_data_in_another_order_is_different_with_its_cause(judge) -> None:
    name = "v/variables.data-00000-of-00001"
    old, new = bytes(range(200)), bytes(range(100, 200)) + bytes(range(100))
    found = judge(name, old, new)
    assert (found.same, found.causes) == (False, ("object order",))
    assert judge(name, old, old[:-1] + b"\0").causes == ()


def test_two_weights_of_one_name_both_count(judge) -> None:
    def twice(first: float) -> bytes:
        tensor = [
            field(5, field(1, varint(1)) + field(2, 1) + field(8, "w") + field(9, struct.pack("<f", value)))
            for value in (first, 0.5)
        ]
        return field(1, 8) + field(7, b"".join(tensor))

    assert judge("m.onnx", twice(1.0), twice(2.0)).same is False
