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
