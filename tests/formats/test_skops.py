"""skops: objects by value, whatever the addresses that name them."""

import io
import json
import zipfile

import numpy


def npy(array: numpy.ndarray) -> bytes:
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


def skops(base: int, coef: numpy.ndarray, names: list[str], order: str = "C", extra: bytes = b"") -> bytes:
    array = numpy.asfortranarray(coef) if order == "F" else coef
    schema = {
        "__class__": "LogisticRegression",
        "__module__": "sklearn.linear_model",
        "__loader__": "ObjectNode",
        "content": {
            "__class__": "dict",
            "__module__": "builtins",
            "__loader__": "DictNode",
            "content": {
                "C": {
                    "__class__": "str",
                    "__module__": "builtins",
                    "__loader__": "JsonNode",
                    "content": "1.0",
                    "__id__": base,
                },
                "coef_": {
                    "__class__": "ndarray",
                    "__module__": "numpy",
                    "__loader__": "NdArrayNode",
                    "type": "numpy",
                    "file": f"{base + 16}.npy",
                    "__id__": base + 16,
                },
                "names": {
                    "__class__": "set",
                    "__module__": "builtins",
                    "__loader__": "SetNode",
                    "content": [
                        {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": f'"{name}"'}
                        for name in names
                    ],
                    "__id__": base + 32,
                },
            },
            "__id__": base + 48,
        },
        "__id__": base + 64,
        "protocol": 2,
        "_skops_version": "0.16.0",
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as box:
        box.writestr(f"{base + 16}.npy", npy(array))
        if extra:
            box.writestr("extra", extra)
        box.writestr("schema.json", json.dumps(schema, indent=2 if order == "F" else None))
    return target.getvalue()


COEF = numpy.arange(6.0).reshape(2, 3)


def test_a_model_at_other_addresses_is_the_same(judge) -> None:
    found = judge(
        "model.skops", skops(140246310430320, COEF, ["a", "b"]), skops(139894546681936, COEF, ["b", "a"], "F")
    )
    assert (found.same, found.level, found.format) == (True, "meaning", "skops")
    assert {mask.rule for mask in found.masked} == {"address", "set order"}


def test_a_weight_a_word_and_a_member_count(judge) -> None:
    one = skops(140246310430320, COEF, ["a", "b"])
    nudged = COEF.copy()
    nudged[1, 0] += 1e-8
    found = judge("model.skops", one, skops(139894546681936, nudged, ["a", "b"]))
    assert (found.same, found.why.startswith("coef_: 1 of 6 values differ, first [1, 0]")) == (False, True)
    assert judge("model.skops", one, skops(139894546681936, COEF, ["a", "c"])).same is False
    assert judge("model.skops", one, skops(139894546681936, COEF, ["a", "b"], extra=b"more")).same is False


def plain(content: dict[str, int], **more: object) -> bytes:
    """A dict as skops writes one, and the types of its keys."""
    fact = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "protocol": 2, **more}
    values = {key: {"__loader__": "JsonNode", "content": str(value)} for key, value in content.items()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as box:
        box.writestr("schema.json", json.dumps({**fact, "content": values, "key_types": []}))
    return target.getvalue()


def test_the_keys_of_a_dict_count_with_their_order(judge) -> None:
    assert judge("m.skops", plain({"a": 1, "b": 2}), plain({"b": 2, "a": 1})).causes == ("order of keys",)
    assert judge("m.skops", plain({"types of keys": 1}), plain({"types of keys": 2})).same is False


def test_a_frozen_set_is_no_set(judge) -> None:
    one = skops(1000, numpy.zeros(2), ["a"])
    with zipfile.ZipFile(io.BytesIO(one)) as box:
        members = {name: box.read(name) for name in box.namelist()}
    members["schema.json"] = members["schema.json"].replace(b'"set"', b'"frozenset"')
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as box:
        for name, content in members.items():
            box.writestr(name, content)
    found = judge("m.skops", one, target.getvalue())
    assert (found.same, "set -> frozenset" in found.why) == (False, True)


def test_records_are_compared_without_their_gaps(judge) -> None:
    nodes = numpy.zeros(3, numpy.dtype([("left", "i4"), ("threshold", "f8")], align=True))
    other = numpy.frombuffer(bytearray([9]) * nodes.nbytes, nodes.dtype)
    other["left"], other["threshold"] = 0, 0
    found = judge("m.skops", skops(1000, nodes, ["a"]), skops(2000, other, ["a"]))
    assert found.same is True
    other["threshold"][1] = 0.5
    assert judge("m.skops", skops(1000, nodes, ["a"]), skops(2000, other, ["a"])).same is False
