"""The example of a model, as its page shows it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bis.serving.page import laid_out


def test_an_example_is_laid_out_as_people_edit_it_a_row_on_a_line() -> None:
    rows = [[19, 7312.41, None, "Köln"], [24, 32380.65, 0, "Ulm"], [44, 22014.51, 4, "Rom"], [1, 2.0, 3, "Bonn"]]
    example = {"dataframe_split": {"columns": ["age", "income", "calls", "town"], "data": rows}}
    text = laid_out(example)
    assert json.loads(text) == example
    assert '\n      [19, 7312.41, null, "Köln"],\n' in text
    assert len(text.splitlines()) == 11
    assert laid_out({"inputs": [[1, 2], [3, 4]]}) == '{"inputs": [[1, 2], [3, 4]]}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
        max_leaves=40,
    )
)
def test_whatever_an_example_is_it_means_the_same_when_it_is_laid_out(value: Any) -> None:
    assert json.loads(laid_out(value)) == value


def test_half_a_letter_stays_named() -> None:
    assert laid_out({"inputs": ["\ud800"]}).encode() == b'{"inputs": ["\\ud800"]}'
