"""Pickles and joblib dumps: by value, and never run."""

import collections
import gzip
import io
import os
import pickle
import zlib
from datetime import datetime
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.formats import Context
from bis.formats.tally import Tally
from bis.formats.unpickle import read_pickle
from bis.formats.values import Walk


class Trap:
    """What a hostile pickle would do when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_pickle_is_read_and_never_run(judge, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    old, new = pickle.dumps([Trap(sprung), 1]), pickle.dumps([Trap(sprung), 2])
    found = judge("model.pkl", old, new)
    assert found.same is False
    assert "[1]: 1 -> 2" in found.why
    assert not sprung.exists()
    pickle.loads(old)
    assert sprung.exists(), "the trap works when it is loaded"


def test_another_command_in_a_pickle_is_a_difference(judge, tmp_path: Path) -> None:
    found = judge("model.pkl", pickle.dumps(Trap(tmp_path / "a")), pickle.dumps(Trap(tmp_path / "b")))
    assert found.same is False


@pytest.mark.parametrize("protocol", range(6))
def test_protocols_and_sharing_make_no_difference(judge, protocol: int) -> None:
    text, array = "a text", numpy.arange(6.0).reshape(2, 3)
    shared = {"a": [text, text], "b": (array, array), "n": 10**30, "f": 0.1, "x": b"\xff\0", "e": None, "t": True}
    apart = {**shared, "a": [text, "".join(list(text))], "b": (array, array.copy())}
    found = judge("m.pkl", pickle.dumps(shared, protocol), pickle.dumps(apart, protocol))
    assert (found.same, found.level, found.format) == (True, "meaning", "pickle")


def test_sets_have_no_order(judge) -> None:
    old = pickle.dumps({"alpha", "beta", "gamma"}, 4)
    new = (
        old.replace(b"\x8c\x05alpha", b"#").replace(b"\x8c\x05gamma", b"\x8c\x05alpha").replace(b"#", b"\x8c\x05gamma")
    )
    assert old != new
    found = judge("names.pkl", old, new)
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["set order"])
    assert judge("names.pkl", old, old.replace(b"beta", b"betb")).same is False


def test_an_array_in_fortran_order_holds_the_same(judge) -> None:
    array = numpy.arange(24.0).reshape(2, 3, 4)
    for protocol in (2, 4, 5):
        old, new = (pickle.dumps({"a": some}, protocol) for some in (array, numpy.asfortranarray(array)))
        assert judge("a.pkl", old, new).same is True
        assert (
            judge("a.pkl", old, pickle.dumps({"a": numpy.asfortranarray(array + (array == 7))}, protocol)).same is False
        )


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?", "U5", "S3", "M8[ns]", "c16", ">f4"])
def test_one_weight_is_named_with_its_place_and_distance(judge, dtype: str) -> None:
    old = numpy.arange(12).astype(dtype).reshape(3, 4)
    new = old.copy()
    new[1, 2] = numpy.arange(100, 101).astype(dtype)[0] if dtype != "?" else not old[1, 2]
    found = judge("m.pkl", pickle.dumps({"coef_": old}), pickle.dumps({"coef_": new}))
    assert found.same is False
    assert found.why.startswith("coef_: 1 of 12 values differ, first [1, 2]")


def test_a_volatile_attribute_is_set_aside_by_its_rule(judge) -> None:
    class Vectorizer:
        pass

    def dumped(number: int, words: int) -> bytes:
        made = collections.OrderedDict(_stop_words_id=number, words=words)
        return pickle.dumps(made)

    found = judge("v.pkl", dumped(140143554714816, 3), dumped(140673395627136, 3))
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["address"])
    assert judge("v.pkl", dumped(140143554714816, 3), dumped(140143554714816, 4)).same is False


def test_a_path_of_the_run_in_a_pickle_is_masked(judge) -> None:
    old, new = ({"file": f"{root}/train.py", "line": 3} for root in ("/home/ana/churn", "/tmp/again/churn"))
    found = judge("f.pkl", pickle.dumps(old), pickle.dumps(new))
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["path"])


def test_cycles_and_heaps_of_sharing_come_to_an_end(judge) -> None:
    loop: list = [1]
    loop.append(loop)
    wide: list = ["leaf"]
    for _ in range(60):
        wide = [wide, wide]
    found = judge("c.pkl", pickle.dumps([loop, wide], 2), pickle.dumps([loop, wide], 4))
    assert found.same is True
    other: list = ["loaf"]
    for _ in range(60):
        other = [other, other]
    assert judge("c.pkl", pickle.dumps(wide), pickle.dumps(other)).same is False


def test_the_order_of_keys_counts_and_has_a_cause(judge) -> None:
    found = judge("d.pkl", pickle.dumps({"a": 1, "b": 2}), pickle.dumps({"b": 2, "a": 1}))
    assert (found.same, found.causes) == (False, ("order of keys",))


class Set:
    """An object whose state is given by a function, as cloudpickle gives functions theirs."""

    def __init__(self, state: dict) -> None:
        self.state = state

    def __reduce__(self):
        return complex, (1, 2), self.state, None, None, setattr


def test_a_state_that_a_function_sets_counts(judge) -> None:
    found = judge("f.pkl", pickle.dumps([Set({"n": 1})]), pickle.dumps([Set({"n": 2})]))
    assert (found.same, found.why) == (False, "[0][1][0].n: 1 -> 2")


def test_several_pickles_in_one_file_all_count(judge) -> None:
    old = pickle.dumps(1) + pickle.dumps([2])
    assert judge("m.pkl", old, pickle.dumps(1, 2) + pickle.dumps([2], 2)).same is True
    assert judge("m.pkl", old, pickle.dumps(1) + pickle.dumps([3])).same is False
    assert judge("m.pkl", old, pickle.dumps(1)).same is False


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02(.",
        b"\x80\x02h\x05.",
        b"\x80\x04K\x01K\x02b.",
        b"\x80\x02cos\nsystem\n(S'echo hi'\ntRR.",
        b"\x80\x04" + b"2" * 50 + b".",
        b"\x80\x04\x82\x01.",
    ],
)
def test_a_damaged_pickle_is_compared_as_bytes(judge, content: bytes) -> None:
    assert judge("m.pkl", content, content + b"!").same is False


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=12,
)


@given(VALUES, st.integers(0, 5), st.integers(0, 5))
def test_any_value_is_the_same_under_any_two_protocols(value: object, one: int, other: int) -> None:
    tally = Tally(Context())
    Walk(Context(), tally).compare(_read(pickle.dumps(value, one)), _read(pickle.dumps(value, other)))
    assert not tally.count, tally.lines


@given(VALUES, VALUES)
def test_two_values_are_the_same_only_if_python_says_so(one: object, other: object) -> None:
    tally = Tally(Context())
    Walk(Context(), tally).compare(_read(pickle.dumps(one)), _read(pickle.dumps(other)))
    assert (tally.count == 0) == (repr(one) == repr(other))


def _read(data: bytes) -> object:
    return read_pickle(io.BytesIO(data), joblib=True)


SCRIPT = """
import os, pickle, joblib, numpy, pandas
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rng = numpy.random.default_rng(0)
X, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
forest = RandomForestClassifier(5, random_state=0).fit(X, y)
words = CountVectorizer(stop_words=["of", "to"]).fit(["the cost of it", "two of the two"])
order = numpy.asfortranarray if os.environ.get("FORTRAN") else numpy.ascontiguousarray
pipe[-1].coef_[0, 1] += float(os.environ.get("NUDGE", 0))
made = {"pipe": pipe, "X": order(X), "o": numpy.array(["a", None, 3], dtype=object), "names": {"ab", "cd", "ef", "gh"}}
for how in ("zlib", "gzip", "bz2", "lzma", "xz"):
    joblib.dump(made, how + ".joblib", compress=(how, 3))
joblib.dump(made, "plain.joblib")
joblib.dump(forest, "forest.joblib")
pickle.dump(words, open("words.pkl", "wb"))
frame = pandas.DataFrame({"a": range(5), "b": list("vwxyz"), "c": pandas.Categorical(list("uvuvu"))})
frame.loc[3, "a"] += int(os.environ.get("CELL", 0))
frame.to_pickle("frame.pkl")
frame.to_pickle("frame.pkl.gz")
"""
JOBLIBS = ["zlib.joblib", "gzip.joblib", "bz2.joblib", "lzma.joblib", "xz.joblib", "plain.joblib"]


def test_real_models_saved_twice_are_the_same_and_a_nudged_weight_is_seen(make, judge_files) -> None:
    one = make(SCRIPT, {"PYTHONHASHSEED": "1"})
    two = make(SCRIPT, {"PYTHONHASHSEED": "2", "FORTRAN": "1"})
    other = make(SCRIPT, {"PYTHONHASHSEED": "2", "FORTRAN": "1", "NUDGE": "1e-11", "CELL": "1"})
    for name in [*JOBLIBS, "forest.joblib", "words.pkl", "frame.pkl", "frame.pkl.gz"]:
        found = judge_files(one / name, two / name)
        assert found.same is True, (name, found)
    for name in [*JOBLIBS, "frame.pkl", "frame.pkl.gz"]:
        found = judge_files(two / name, other / name)
        assert found.same is False, name
        assert "1 of " in found.why, (name, found.why)
        assert ("coef_" in found.why) == name.endswith("joblib"), found.why
    assert judge_files(one / "plain.joblib", other / "plain.joblib").causes == ("float noise",)


def test_a_packed_joblib_dump_names_what_is_in_it(judge) -> None:
    old, new = ({"coef": numpy.array([1.0, 2.0])}, {"coef": numpy.array([1.0, 2.5])})
    for pack in (zlib.compress, gzip.compress):
        found = judge("m.joblib", pack(pickle.dumps(old)), pack(pickle.dumps(new)))
        assert (found.same, "coef: 1 of 2 values differ" in found.why) == (False, True)


NANOSECONDS = numpy.array([1], "M8[ns]")
ALMOST = [
    ({1, 2}, frozenset({1, 2})),
    ({0.0: "a"}, {-0.0: "a"}),
    ({1: "a"}, {True: "a"}),
    ([1], [1.0]),
    (["a"], [b"a"]),
    ([b"a"], [bytearray(b"a")]),
    ((1,), [1]),
    ([numpy.float64(0.5)], [0.5]),
    (numpy.array([1], "M8[s]"), numpy.array([1], "M8[ms]")),
    (numpy.array([1], "M8[25s]"), numpy.array([1], "M8[5s]")),
    (numpy.datetime64(1, "s"), numpy.datetime64(1, "ms")),
    (NANOSECONDS, NANOSECONDS.astype("M8[ns]") + 1),
    (numpy.zeros(2, [("a", "i4")]), numpy.zeros(2, [("b", "i4")])),
    (numpy.zeros(2, [("a", "i4"), ("b", "f8")]), numpy.array([(0, 0.0), (0, 1.0)], [("a", "i4"), ("b", "f8")])),
    (
        numpy.zeros(2, numpy.dtype("f8", metadata={"unit": "m"})),
        numpy.zeros(2, numpy.dtype("f8", metadata={"unit": "s"})),
    ),
    (numpy.ma.array([1, 2], mask=[0, 1]), numpy.ma.array([1, 2], mask=[1, 0])),
    (numpy.zeros((1, 1)), numpy.zeros((1, 1)).view(numpy.matrix)),
]


@pytest.mark.parametrize(("one", "other"), ALMOST)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_what_is_almost_equal_is_another_object(judge, one: object, other: object, protocol: int) -> None:
    found = judge("m.pkl", pickle.dumps([one], protocol), pickle.dumps([other], protocol))
    assert (found.same, found.format) == (False, "pickle")


def test_arrays_that_were_copied_to_be_pickled_are_the_same(judge) -> None:
    apart = numpy.arange(24.0).reshape(3, 8)[:, ::2]
    assert judge("m.pkl", pickle.dumps(apart, 5), pickle.dumps(apart.copy(), 5)).same is True


def test_what_the_memory_held_between_the_fields_of_records_is_no_value(judge) -> None:
    """Decision trees of scikit-learn are records with gaps."""

    def nodes(gap: int, threshold: float = 0.5) -> numpy.ndarray:
        found = numpy.frombuffer(bytearray([gap]) * 48, numpy.dtype([("left", "i4"), ("threshold", "f8")], align=True))
        found["left"], found["threshold"] = 1, threshold
        return found

    for protocol in (2, 4, 5):
        old, new, other = (pickle.dumps(some, protocol) for some in (nodes(0), nodes(255), nodes(0, 0.25)))
        assert judge("tree.pkl", old, new).same is True
        assert judge("tree.pkl", old, other).same is False


TREES = """
import copy, sys, joblib, numpy
from sklearn.tree import DecisionTreeClassifier
X = numpy.random.RandomState(0).rand(60, 3)
tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, X[:, 0] > 0.5)
other = copy.deepcopy(tree)
other.tree_.threshold[0] = numpy.nextafter(other.tree_.threshold[0], 2)
joblib.dump(tree, "tree.joblib"), joblib.dump(copy.deepcopy(tree), "again.joblib", protocol=4)
joblib.dump(other, "other.joblib")
joblib.dump(numpy.zeros((1, 1)), "array.joblib"), joblib.dump(numpy.matrix([[0.0]]), "matrix.joblib")
"""


def test_joblib_writes_records_and_other_classes_of_arrays(make, judge_files) -> None:
    folder = make(TREES, {})
    found = judge_files(folder / "tree.joblib", folder / "again.joblib")
    assert found.same is True  # by bytes, where the padding of records happens to be the same
    found = judge_files(folder / "tree.joblib", folder / "other.joblib")
    assert (found.same, found.format) == (False, "pickle")
    found = judge_files(folder / "array.joblib", folder / "matrix.joblib")
    assert (found.same, "numpy.ndarray -> numpy.matrix" in found.why) == (False, True)


def test_a_checksum_under_its_key_is_content_though_it_looks_like_an_id(judge) -> None:
    one, other = "098f6bcd462144739ade4e832627b4f6", "a7f35d1e22c84c0d9b1e6a5f7d3c2b1a"
    assert judge("m.pkl", pickle.dumps({"run": one}), pickle.dumps({"run": other})).same is True
    assert judge("m.pkl", pickle.dumps({"data_md5": one}), pickle.dumps({"data_md5": other})).same is False


def test_a_pickled_moment_is_a_time_like_any_other(judge) -> None:
    for protocol in (2, 4):
        run, again, other = (
            pickle.dumps({"acc": 0.9, "at": at, "day": at.date()}, protocol)
            for at in (datetime(2026, 11, 22, 12, 0, 7, 5), datetime(2026, 11, 23, 15, 0, 9), datetime(2020, 1, 2))
        )
        found = judge("m.pkl", run, again)
        assert (found.same, [(mask.rule, mask.count) for mask in found.masked]) == (True, [("time", 2)])
        assert judge("m.pkl", run, other).same is False


def test_a_message_that_holds_a_duration_is_a_difference_with_a_cause(judge) -> None:
    old, new = (pickle.dumps({"message": f"training took {seconds} s"}) for seconds in (0.25, 0.5))
    assert judge("m.pkl", old, new).causes == ("clock",)


def test_the_times_of_a_search_over_parameters_are_durations(judge) -> None:
    def search(times: list[float], scores: list[float]) -> bytes:
        return pickle.dumps({"mean_fit_time": numpy.array(times), "mean_test_score": numpy.array(scores)})

    found = judge("grid.pkl", search([0.1, 0.2], [0.9, 0.8]), search([0.3, 0.1], [0.9, 0.8]))
    assert (found.same, [(mask.rule, mask.count) for mask in found.masked]) == (True, [("duration", 2)])
    assert judge("grid.pkl", search([0.1, 0.2], [0.9, 0.8]), search([0.1, 0.2], [0.9, 0.7])).same is False
    assert judge("grid.pkl", search([0.1, 0.2], [0.9, 0.8]), search([0.1, 90000.5], [0.9, 0.8])).same is False
    assert judge("grid.pkl", search([0.1, 0.2], [0.9, 0.8]), search([0.1, numpy.nan], [0.9, 0.8])).same is False
