"""XGBoost's UBJSON and LightGBM's text."""

import struct

import pytest


def packed(value: object, small: bool = True) -> bytes:
    """UBJSON, with lengths in the smallest or the largest type."""
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int):
        return b"l" + struct.pack(">i", value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + length(value, small) + value.encode()
    if isinstance(value, bytes):
        return b"[$d#" + length(value[::4], small) + value
    if isinstance(value, list):
        return b"[" + b"".join(packed(item, small) for item in value) + b"]"
    assert isinstance(value, dict)
    pairs = b"".join(length(key, small) + key.encode() + packed(item, small) for key, item in value.items())
    return b"{" + pairs + b"}"


def length(value: object, small: bool) -> bytes:
    count = len(value)  # type: ignore[arg-type]
    return b"i" + struct.pack(">b", count) if small else b"L" + struct.pack(">q", count)


def model(weight: float = 0.5, name: str = "binary") -> dict:
    leaves = struct.pack(">3f", 1.0, weight, -2.0)
    return {
        "learner": {"objective": name, "trees": [{"leaves": leaves, "deep": 3}], "score": 0.5, "n": None, "ok": True}
    }


def test_lengths_may_be_written_otherwise(judge) -> None:
    found = judge("m.ubj", packed(model()), packed(model(), small=False))
    assert (found.same, found.level, found.format) == (True, "meaning", "UBJSON")


def test_a_leaf_and_a_word_count(judge) -> None:
    found = judge("m.ubj", packed(model()), packed(model(0.25)))
    assert (found.same, "leaves: 1 of 3 values differ, first [1] 0.5 -> 0.25" in found.why) == (False, True)
    found = judge("m.ubj", packed(model()), packed(model(name="multi")))
    assert (found.same, found.why) == (False, "learner.objective: 'binary' -> 'multi'")


@pytest.mark.parametrize(
    "content", [b"{i\x01a[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff", b"{i\x7fa", b"{i\x01aX}", b"{i\x01aT", b"{$"]
)
def test_damage_is_no_crash(judge, content: bytes) -> None:
    assert judge("m.ubj", content, content + b"\0").same is False


LIGHTGBM = (
    "tree\nversion=v4\nnum_class=1\n\nTree=0\nleaf_value=0.5 -0.25\n\nparameters:\n[data: /home/ana/churn/x.csv]\n"
)


def test_lightgbm_counts_each_character_but_for_paths_of_the_run(judge) -> None:
    found = judge("model.txt", LIGHTGBM, LIGHTGBM.replace("/home/ana/churn", "/tmp/again/churn"))
    assert (found.same, found.format) == (True, "LightGBM")
    found = judge("model.txt", LIGHTGBM, LIGHTGBM.replace("-0.25", "-0.26"))
    assert (found.same, "leaf_value=0.5 -0.26" in found.why) == (False, True)
    assert judge("model.txt", LIGHTGBM + "[time: 1.2s]\n", LIGHTGBM + "[time: 1.3s]\n").same is False
