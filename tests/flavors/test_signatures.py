"""The signature is told from rows as mlflow tells it, and what mlflow takes is taken, unless it would lose data."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.flavors.checking import Mismatch, check, check_params
from bis.flavors.inferring import infer
from bis.flavors.signature import Column, Param, Signature, Tensor, read, spell
from bis.flavors.values import Columns, Tensors, batch_of

OTHERWISE = {
    "frame of decimals": "mlflow gives up on all columns for one",
    "frame of mixed kinds": "mlflow gives up on all columns for one",
    "dict of lists": "a mapping of lists is columns",
    "dict of lists of lists": "a mapping of lists of numbers is tensors",
    "list of lists": "lists of numbers are an array",
    "dict of scalars": "an example has rows",
    "{'a': None}": "both refuse, in words of their own",
}


def test_a_signature_is_told_as_mlflow_tells_it(ask: Callable[..., Any], models_python: Path) -> None:
    found = ask(models_python, "signatures.py")["inferred"]
    assert len(found) > 250
    differing = {name for name, (theirs, ours) in found.items() if _parsed(theirs) != _parsed(ours)}
    unexplained = {name for name in differing if name.partition(": ")[2] not in OTHERWISE}
    assert {name: found[name] for name in unexplained} == {}


def _parsed(told: Any) -> Any:
    try:
        return json.loads(told)
    except (TypeError, ValueError):
        return told


def test_what_mlflow_takes_is_taken_with_the_same_values(ask: Callable[..., Any], models_python: Path) -> None:
    """Text, bytes and truth values alone are taken more strictly: mlflow lets any object pass for one of them."""
    found = ask(models_python, "signatures.py")["checked"]
    assert len(found) > 500
    refused = {name: ours for name, (theirs, _, own, ours) in found.items() if (theirs, own) == ("accepted", "refused")}
    strict = ("boolean <- ", "string <- ", "binary <- ", "double <- truth values with gaps")
    assert {name: told for name, told in refused.items() if not name.startswith(strict)} == {}
    both = {name: (theirs, ours) for name, (one, theirs, own, ours) in found.items() if one == own == "accepted"}
    other = {name: values for name, values in both.items() if values[0] != values[1] and not name.startswith("any <- ")}
    assert other == {}


def test_a_refusal_is_always_one_in_words(ask: Callable[..., Any], models_python: Path) -> None:
    found = ask(models_python, "signatures.py")["checked"]
    told = {name: text for name, (_, _, own, text) in found.items() if own == "refused"}
    assert len(told) > 200
    named = ("the column 'a'", "the tensor", "in the column 'a'", "of the column 'a'")
    unnamed = {name: text for name, text in told.items() if not any(one in text for one in named)}
    assert unnamed == {}
    assert {name: text for name, text in told.items() if not text.startswith("Mismatch: ")} == {}


@pytest.mark.parametrize("wanted", ["integer", "long", "float", "double", "boolean", "string", "binary", "datetime"])
@given(
    values=st.lists(
        st.one_of(
            st.integers(10**7, 10**25),
            st.floats(10**7, 10**9).map(lambda x: x + 0.123),
            st.text(st.characters(categories=["Nd"]), min_size=8, max_size=20),
            st.binary(min_size=8, max_size=20),
            st.lists(st.integers(10**7, 10**8), min_size=1, max_size=3),
            st.dictionaries(st.text("xyz", min_size=9), st.integers(10**7, 10**8), min_size=1, max_size=3),
            st.none(),
            st.dates(min_value=datetime.date(1971, 1, 1)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_refusal_names_the_column_and_the_types_and_never_a_value(wanted: str, values: list[Any]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    signature = Signature((Column("the_column", wanted),))
    try:
        check(signature, Columns(("the_column",), None, (array,)))
    except Mismatch as error:
        text = str(error)
        assert "'the_column'" in text
        assert f"of the type {wanted}" in text
        for value in values:
            for shown in (str(value), repr(value)):
                assert value is None or shown not in text
            if isinstance(value, dict):
                assert not any(key in text for key in value)


@given(st.recursive(st.integers(10**8, 10**9) | st.text("abc", min_size=12), lambda inner: st.lists(inner, max_size=3)))
def test_a_refusal_of_a_nested_value_never_repeats_it(value: Any) -> None:
    array = np.empty(1, dtype=object)
    array[:] = [value]
    wanted = {"type": "object", "properties": {"x": {"type": "long", "required": True}}}
    with pytest.raises(Mismatch, match="'the_column'") as told:
        check(Signature((Column("the_column", wanted),)), Columns(("the_column",), None, (array,)))
    assert not any(str(one) in str(told.value) for one in np.ravel(np.array(value, dtype=object)) if str(one))


@pytest.mark.parametrize(
    ("type", "value", "told"),
    [
        ({"type": "array", "items": {"type": "long"}}, 3, "the column 'a' is to be of the type array, and is a whole"),
        ({"type": "array", "items": {"type": "long"}}, [1, "x"], "an item of the column 'a' is to be of the type long"),
        ({"type": "object", "properties": {"x": {"type": "string"}}}, {}, "'x' in the column 'a' .*, and is not there"),
        ({"type": "object", "properties": {"x": {"type": "string"}}}, {"y": 1}, "it knows x"),
        ({"type": "map", "values": {"type": "double"}}, {"k": "v"}, "a value of the column 'a' .* double, and is text"),
    ],
)
def test_nested_values_are_checked_all_the_way_down(type: Any, value: Any, told: str) -> None:
    array = np.empty(1, dtype=object)
    array[:] = [value]
    with pytest.raises(Mismatch, match=told):
        check(Signature((Column("a", type),)), Columns(("a",), None, (array,)))


def test_params_have_defaults_and_types() -> None:
    signature = infer([1], None, {"alpha": 0.5, "names": ["x"], "deep": True})
    assert check_params(signature, {"alpha": 2}) == {"alpha": 2, "names": ["x"], "deep": True}
    for wrong in ({"alpha": "2"}, {"names": "x"}, {"names": [1]}, {"deep": 1}, {"alpha": True}):
        with pytest.raises(Mismatch, match="is to be of the type"):
            check_params(signature, wrong)
    with pytest.raises(Mismatch, match="the model has no param 'beta'; it has alpha, names, deep"):
        check_params(signature, {"beta": 1})


@given(
    st.lists(
        st.builds(
            Column,
            st.text(min_size=1, max_size=5),
            st.sampled_from(["long", "double", "string", "boolean", "datetime", "binary", "integer", "float", "any"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(
        st.builds(Tensor, st.text(max_size=4), st.sampled_from(["float32", "int64"]), st.just((-1, 3))), max_size=3
    ),
    st.lists(st.builds(Param, st.text(min_size=1), st.just("double"), st.floats(allow_nan=False)), max_size=3),
)
def test_a_signature_is_read_as_it_was_spelled(columns: Any, tensors: Any, params: Any) -> None:
    signature = Signature(tuple(columns), tuple(tensors), tuple(params))
    assert read(spell(signature)) == signature


def test_columns_come_in_the_order_of_the_signature_and_what_is_more_is_left_out() -> None:
    signature = Signature((Column("a", "double"), Column("b", "long"), Column("c", "string", required=False)))
    given = batch_of({"extra": [0, 0], "b": [1, 2], "a": [3, 4]})
    checked = check(signature, given)
    assert isinstance(checked, Columns)
    assert checked.names == ("a", "b")
    assert checked.column("a").tolist() == [3.0, 4.0]


def test_an_array_is_columns_by_their_place() -> None:
    signature = Signature((Column("a", "double"), Column("b", "double")))
    checked = check(signature, Tensors({"": np.array([[1, 2], [3, 4]])}))
    assert isinstance(checked, Columns)
    assert checked.column("b").tolist() == [2.0, 4.0]
    with pytest.raises(Mismatch, match="the model takes 2 columns"):
        check(signature, Tensors({"": np.ones((2, 3))}))
