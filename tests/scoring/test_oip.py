"""The Open Inference Protocol as it is written, both ways. `tests/serving` has Triton's own client."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from bis.flavors.signature import Column, Signature, Tensor
from bis.flavors.values import Columns, Tensors
from bis.scoring import Asked, Wrong, oip

COLUMNS = Signature((Column("age", "double"), Column("town", "string")))
NUMBERS = Signature((Column("age", "double"), Column("income", "double")))
TENSOR = Signature((Tensor("pixels", "float32", (-1, 2)),), (Tensor("label", "int64", (-1,)),))
NAMED = {"name": "churn", "version": "3"}


def read(head: Any, signature: Signature, *blobs: bytes) -> Asked:
    text = json.dumps(head).encode()
    return oip.read(text + b"".join(blobs), len(text) if blobs else -1, signature)


def test_a_tensor_comes_flat_or_nested() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        asked = read({"inputs": [{"name": "pixels", "shape": [2, 2], "datatype": "FP32", "data": data}]}, TENSOR)
        assert isinstance(asked.batch, Tensors)
        assert asked.batch.arrays["pixels"].tolist() == [[1, 2], [3, 4]]


def test_each_column_is_a_tensor() -> None:
    inputs = [
        {"name": "town", "shape": [2, 1], "datatype": "BYTES", "data": ["Ulm", "Bonn"]},
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
    ]
    batch = read({"inputs": inputs}, COLUMNS).batch
    assert isinstance(batch, Columns)
    assert batch.column("age").tolist() == [1.5, 2]
    assert batch.column("town").tolist() == ["Ulm", "Bonn"]


def test_all_columns_are_one_tensor_in_the_order_of_the_signature() -> None:
    batch = read({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}, NUMBERS).batch
    assert isinstance(batch, Columns)
    assert batch.column("income").tolist() == [2]


def test_binary_tensors_follow_the_head() -> None:
    numbers = np.array([1.5, 2.5], "<f8").tobytes()
    towns = b"".join(struct.pack("<I", len(town)) + town for town in (b"Ulm", "Köln".encode()))
    inputs = [
        {"name": "age", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": len(numbers)}},
        {"name": "town", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(towns)}},
    ]
    batch = read({"inputs": inputs}, COLUMNS, numbers, towns).batch
    assert isinstance(batch, Columns)
    assert batch.column("age").tolist() == [1.5, 2.5]
    assert batch.column("town").tolist() == ["Ulm", "Köln"]


def test_the_answer_names_the_model_and_repeats_the_id() -> None:
    head = {"id": "42", "inputs": [{"name": "pixels", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    answer = oip.answer(read(head, TENSOR), np.array([7]), NAMED, TENSOR)
    assert json.loads(answer.body) == {
        "model_name": "churn",
        "model_version": "3",
        "id": "42",
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}],
    }


def test_outputs_are_binary_where_they_are_asked_for_so() -> None:
    inputs = [{"name": "pixels", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]
    one = {"inputs": inputs, "outputs": [{"name": "label", "parameters": {"binary_data": True}}]}
    every = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    for head in (one, every):
        answer = oip.answer(read(head, TENSOR), np.array([7, 8]), NAMED, TENSOR)
        (told,) = json.loads(answer.body[: answer.json_length])["outputs"]
        assert told["parameters"] == {"binary_data_size": 16}
        assert np.frombuffer(answer.body[answer.json_length :], "<i8").tolist() == [7, 8]
    text = oip.answer(read(every, TENSOR), ["a", "bc"], NAMED, Signature())
    assert text.body[text.json_length :] == b"\x01\x00\x00\x00a\x02\x00\x00\x00bc"


PIXELS = {"name": "pixels", "shape": [1, 2], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ({}, "is to have inputs"),
        ({"inputs": [1]}, "is to have inputs"),
        ({"inputs": [{**PIXELS, "datatype": "FP8", "data": [1, 2]}]}, "one of the types BOOL"),
        ({"inputs": [{**PIXELS, "shape": [-1, 2], "data": [1, 2]}]}, "a list of whole numbers"),
        ({"inputs": [{**PIXELS, "data": [1, 2, 3]}]}, "came with 3 values"),
        ({"inputs": [{**PIXELS, "data": ["987654321", 2]}]}, "is to be of the type FP32, and holds something else"),
        ({"inputs": [{**PIXELS, "datatype": "INT8", "data": [987654321, 2]}]}, "numbers that INT8 cannot hold"),
        ({"inputs": [{**PIXELS, "data": [[1, 2], [3]]}]}, "several lengths"),
        ({"inputs": [{**PIXELS}]}, "has no data"),
        ({"inputs": [{**PIXELS, "parameters": {"binary_data_size": 8}}]}, "the body does not hold"),
        ({"inputs": [{**PIXELS, "shape": [1, 3], "data": [1, 2, 3]}]}, "to be of the shape (-1, 2)"),
    ],
)
def test_a_refusal_names_the_tensor_and_holds_nothing_of_the_data(head: Any, told: str) -> None:
    with pytest.raises(Wrong) as refused:
        read(head, TENSOR)
    message = json.loads(oip.refusal(refused.value).body)["error"]
    assert told in message
    assert "987654321" not in message


def test_what_belongs_to_no_tensor_is_refused() -> None:
    with pytest.raises(Wrong, match="3 bytes of the body belong to no tensor"):
        read({"inputs": [{**PIXELS, "data": [1, 2]}]}, TENSOR, b"abc")
    with pytest.raises(Wrong, match="larger than the body"):
        oip.read(b"{}", 7, TENSOR)


def test_an_output_that_there_is_not_is_refused() -> None:
    asked = read({"inputs": [{**PIXELS, "data": [1, 2]}], "outputs": [{"name": "nope"}]}, TENSOR)
    with pytest.raises(Wrong, match="it has 'label'"):
        oip.answer(asked, np.array([7]), NAMED, TENSOR)
