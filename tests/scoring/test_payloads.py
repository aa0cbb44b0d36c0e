"""What `/invocations` takes and refuses. The statuses and codes are those of MLflow's own scoring server (3.17), asked
the same, but where a comment says otherwise."""

import base64
import contextlib
import io
import json
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.flavors.signature import Column, Param, Signature, Tensor
from bis.flavors.values import Columns, Tensors
from bis.scoring import Asked, Wrong, payloads, v1
from bis.scoring.written import plain

JSON = "application/json"
NUMBERS = Signature(
    (Column("age", "double"), Column("income", "double")),
    (),
    (Param("threshold", "double", 0.5), Param("n", "long", 1)),
)
MIXED = Signature((Column("age", "long"), Column("town", "string"), Column("member", "boolean", required=False)))
SECRET = 987654321.125


def read(body: Any, signature: Signature = NUMBERS, content_type: str = JSON) -> Asked:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return payloads.read(content_type, raw, signature)


def rows(asked: Asked) -> list[list[Any]]:
    batch = asked.batch
    if isinstance(batch, Columns):
        return [list(row) for row in zip(*(batch.column(name).tolist() for name in batch.names), strict=True)]
    found: list[list[Any]] = batch.only.tolist()
    return found


SAME = {
    "split": {"dataframe_split": {"columns": ["age", "income"], "data": [[1.5, 2], [3, 4]]}},
    "split with an index": {
        "dataframe_split": {"index": [7, 8], "columns": ["age", "income"], "data": [[1.5, 2], [3, 4]]}
    },
    "split in another order": {"dataframe_split": {"columns": ["income", "age"], "data": [[2, 1.5], [4, 3]]}},
    "split with more": {"dataframe_split": {"columns": ["age", "x", "income"], "data": [[1.5, "z", 2], [3, None, 4]]}},
    "split without names": {"dataframe_split": {"data": [[1.5, 2], [3, 4]]}},  # MLflow refuses it
    "records": {"dataframe_records": [{"age": 1.5, "income": 2}, {"income": 4, "age": 3}]},
    "instances": {"instances": [{"age": 1.5, "income": 2}, {"age": 3, "income": 4}]},
    "inputs by column": {"inputs": {"age": [1.5, 3], "income": [2, 4]}},
    "inputs by row": {"inputs": [{"age": 1.5, "income": 2}, {"age": 3, "income": 4}]},
}


@pytest.mark.parametrize("form", SAME)
def test_every_form_means_the_same_rows(form: str) -> None:
    assert rows(read(SAME[form])) == [[1.5, 2], [3, 4]]


def test_a_table_of_numbers_is_one_block() -> None:
    batch = read(SAME["split"]).batch
    assert isinstance(batch, Columns)
    assert batch.block is not None
    assert batch.block.dtype == np.float64


def test_csv_and_parquet_mean_the_same_rows() -> None:
    assert rows(read(b"age,income\n1.5,2\n3,4\n", content_type="text/csv")) == [[1.5, 2], [3, 4]]
    assert rows(read(b",income,age\n0,2,1.5\n1,4,3\n", content_type="text/csv; charset=UTF-8")) == [[1.5, 2], [3, 4]]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"age": [1.5, 3.0], "income": [2, 4]}), file)
    assert rows(read(file.getvalue(), content_type="application/vnd.apache.parquet")) == [[1.5, 2], [3, 4]]


def test_text_truth_values_and_gaps_stay_what_they_are() -> None:
    body = {"dataframe_split": {"columns": ["age", "town", "member"], "data": [[1, "true", True], [2, None, False]]}}
    assert rows(read(body, MIXED)) == [[1, "true", True], [2, None, False]]
    assert rows(read(b"age,town,member\n1,true,true\n2,,false\n", MIXED, "text/csv")) == [
        [1, "true", True],
        [2, None, False],
    ]


def test_whole_numbers_beside_fractions_lose_nothing() -> None:
    signature = Signature((Column("id", "long"), Column("x", "double")))
    body = {"dataframe_split": {"columns": ["id", "x"], "data": [[2**53 + 1, 0.5], [-(2**62) + 1, 1.5]]}}
    assert rows(read(body, signature)) == [[2**53 + 1, 0.5], [-(2**62) + 1, 1.5]]


def test_a_gap_among_numbers_is_nan() -> None:
    body = {"dataframe_split": {"columns": ["age", "income"], "data": [[None, 2.0], [1.0, 3.0]]}}
    (first, _) = rows(read(body))
    assert first[0] != first[0]


def test_bytes_come_in_base_64() -> None:
    signature = Signature((Column("picture", "binary"),))
    body = {"inputs": {"picture": [base64.b64encode(b"\x00\xff").decode()]}}
    assert rows(read(body, signature)) == [[b"\x00\xff"]]


def test_params_have_the_defaults_of_the_signature() -> None:
    assert read(SAME["split"]).params == {"threshold": 0.5, "n": 1}
    assert read({**SAME["split"], "params": {"threshold": 1}}).params == {"threshold": 1.0, "n": 1}


UNFIT, BAD = "INVALID_PARAMETER_VALUE", "BAD_REQUEST"
SPLIT = SAME["split"]
REFUSED: list[tuple[str, Any, str, str]] = [
    (JSON, b"{nope", BAD, "the body is no valid JSON at byte 1"),
    (JSON, b'{"a": "\xff"}', BAD, "no valid JSON"),
    (JSON, b"", BAD, "no valid JSON"),
    (JSON, [[1.5, 2]], BAD, "and is a list"),
    (JSON, b"3", BAD, "and is a number"),
    (JSON, {"x": 1}, BAD, "and has none of them"),
    (JSON, {**SPLIT, "inputs": [[1, 2]]}, BAD, "dataframe_split, inputs at once"),
    (JSON, {"dataframe_split": [1]}, BAD, "an object with columns and data"),
    (
        JSON,
        {"dataframe_split": {"columns": ["age", "income"], "data": [[1.5, 2], [SECRET]]}},
        BAD,
        "row 2 is to hold 2",
    ),
    (JSON, {"dataframe_split": {"columns": ["age", "income"], "data": 5}}, BAD, "a list of lists"),
    (JSON, {"dataframe_records": 5}, BAD, "a list of objects"),
    (JSON, {"dataframe_split": {"columns": ["age"], "data": [[SECRET]]}}, UNFIT, "the column 'income', which is not"),
    (JSON, {"dataframe_records": [{"age": SECRET}]}, UNFIT, "the column 'income', which is not there"),
    (JSON, {"instances": [[SECRET, 2]]}, UNFIT, "takes columns by name"),
    (JSON, {"inputs": [[SECRET, 2]]}, UNFIT, "takes columns by name"),
    (JSON, {"inputs": {"age": [SECRET], "income": [2, 3]}}, UNFIT, "several lengths: 'age' of 1, 'income' of 2"),
    # MLflow takes text that is a number, and truth values, for numbers
    (
        JSON,
        {"dataframe_records": [{"age": f"x{SECRET}", "income": 2}]},
        UNFIT,
        "'age' is to be of the type double, and",
    ),
    (JSON, {"dataframe_records": [{"age": True, "income": 2}]}, UNFIT, "double, and holds truth values"),
    (JSON, {**SPLIT, "params": [1]}, UNFIT, "params is to be an object"),
    (
        JSON,
        {**SPLIT, "params": {"threshold": f"x{SECRET}"}},
        UNFIT,
        "'threshold' is to be of the type double, and is text",
    ),
    (JSON, {**SPLIT, "params": {"n": SECRET}}, UNFIT, "of the type long, and is a number with a fraction"),
    (JSON, {**SPLIT, "params": {"zzz": 1}}, UNFIT, "no param 'zzz'; it has threshold, n"),  # MLflow ignores it
    ("text/csv", b"", BAD, "the CSV is empty"),
    ("text/csv", b"age,income\nx%f,2\n" % SECRET, BAD, "'age' is to be of the type double, and holds text"),
    ("text/csv", b"age,income\n1\n", BAD, "line 2 of the CSV has 1 cells"),
    ("text/csv", b"\xff\xfe", BAD, "not in UTF-8"),
    ("application/vnd.apache.parquet", b"x", BAD, "no Parquet file"),
]


@pytest.mark.parametrize(("content_type", "body", "code", "told"), REFUSED)
def test_a_refusal_names_what_is_wrong_and_holds_nothing_of_the_data(
    content_type: str, body: Any, code: str, told: str
) -> None:
    with pytest.raises(Wrong) as refused:
        read(body, content_type=content_type)
    answer = payloads.refusal(refused.value)
    assert answer.status == 400
    assert json.loads(answer.body)["error_code"] == code
    assert told in json.loads(answer.body)["message"]
    assert str(SECRET) not in answer.body.decode()


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("text/plain", "only supports the following content types"),
        ("", "only supports the following content types"),
        ("text/csv; charset=latin-1", "only supports UTF-8"),
        ("application/json; q=1", "Unrecognized content type parameters: q"),
    ],
)
def test_a_type_that_is_not_taken_is_refused_as_text(content_type: str, told: str) -> None:
    with pytest.raises(Wrong) as refused:
        read(SPLIT, content_type=content_type)
    answer = payloads.refusal(refused.value)
    assert (answer.status, answer.content_type) == (415, "text/plain")
    assert told in answer.body.decode()


def test_a_model_of_tensors_takes_nested_lists() -> None:
    signature = Signature((Tensor("", "float32", (-1, 2, 2)),))
    batch = read({"instances": [[[1, 2], [3, 4]]]}, signature).batch
    assert isinstance(batch, Tensors)
    assert batch.only.dtype == np.float32
    with pytest.raises(Wrong, match="to be of the shape"):
        read({"instances": [[1, 2]]}, signature)
    with pytest.raises(Wrong, match="several lengths"):
        read({"instances": [[[1, 2], [3]]]}, signature)


def test_v1_takes_columns_by_their_place() -> None:
    assert rows(v1.read(JSON, json.dumps({"instances": [[1.5, 2]]}).encode(), NUMBERS)) == [[1.5, 2]]
    asked = v1.read(JSON, json.dumps({"inputs": {"age": [1.5], "income": [2]}}).encode(), NUMBERS)
    assert json.loads(v1.answer(asked, np.array([7])).body) == {"outputs": [7]}
    with pytest.raises(Wrong) as refused:
        v1.read(JSON, b'{"instances": [[1.5]]}', NUMBERS)
    assert "2 columns" in json.loads(v1.refusal(refused.value).body)["error"]


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.array([[0.25, 0.75]]), [[0.25, 0.75]]),
        (np.array([1.0, np.nan, np.inf]), [1.0, None, None]),
        (np.array(["a", None], dtype=object), ["a", None]),
        (np.array(["2026-01-02", "NaT"], dtype="datetime64[ns]"), ["2026-01-02T00:00:00.000000000", None]),
        ({"label": np.array([1]), "score": np.array([0.5])}, {"label": [1], "score": [0.5]}),
        ([{"text": "x", "raw": b"\x00"}, (1, 2)], [{"text": "x", "raw": "AA=="}, [1, 2]]),
        (np.float32(0.5), 0.5),
    ],
)
def test_predictions_are_json_that_every_client_reads(found: Any, written: Any) -> None:
    answer = payloads.answer(read(SPLIT), found)
    assert json.loads(answer.body, parse_constant=pytest.fail) == {"predictions": written}
    assert plain(found) == written


CELLS = st.one_of(
    st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.text(max_size=5), st.booleans(), st.none()
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_a_table_without_a_signature_comes_through_as_it_is(table: list[tuple[Any, Any]]) -> None:
    body = {"dataframe_split": {"columns": ["a", "b"], "data": table}}
    found = rows(read(body, Signature()))
    for row, wanted in zip(found, table, strict=True):
        for cell, want in zip(row, wanted, strict=True):
            assert cell == want
            assert isinstance(want, bool) == isinstance(cell, bool)


@given(st.one_of(st.recursive(CELLS, lambda inner: st.lists(inner, max_size=4), max_leaves=12), st.binary(max_size=60)))
def test_whatever_is_asked_is_read_or_refused(found: Any) -> None:
    bodies = [found] if isinstance(found, bytes) else [json.dumps({form: found}).encode() for form in payloads.FORMS]
    for body in bodies:
        for signature in (NUMBERS, MIXED, Signature(), Signature((Tensor("", "float32", (-1, 2)),))):
            with contextlib.suppress(Wrong):
                payloads.read(JSON, body, signature)
