"""Triton's own client, unchanged, asks models that bis serves."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SCRIPT = """
import sys
import numpy
import tritonclient.http as triton

with triton.InferenceServerClient(sys.argv[1]) as client:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("boosted")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "bis"
    told = client.get_model_metadata("boosted")
    assert [one["name"] for one in told["inputs"]] == ["age", "income", "visits"], told
    assert {one["datatype"] for one in told["inputs"]} == {"FP64"}, told

    rows = numpy.array([[1, 2, 3], [-1, 0, 0.5]], dtype=numpy.float64)

    def asked(binary, packed=None, by_column=True):
        if by_column:
            inputs = [triton.InferInput(name, [2], "FP64") for name in ("age", "income", "visits")]
            for place, one in enumerate(inputs):
                one.set_data_from_numpy(numpy.ascontiguousarray(rows[:, place]), binary_data=binary)
        else:
            inputs = [triton.InferInput("rows", [2, 3], "FP64")]
            inputs[0].set_data_from_numpy(rows, binary_data=binary)
        wanted = [triton.InferRequestedOutput("predictions", binary_data=binary)]
        found = client.infer("boosted", inputs, outputs=wanted, request_id="7", request_compression_algorithm=packed)
        assert found.get_response()["id"] == "7"
        return found.as_numpy("predictions")

    first = asked(False)
    for one in (asked(True), asked(True, "gzip"), asked(False, "deflate"), asked(True, by_column=False)):
        assert one.dtype == first.dtype and (one == first).all(), (one, first)

    try:
        client.infer("boosted", [triton.InferInput("age", [1], "FP64").set_data_from_numpy(numpy.zeros(1))])
    except triton.InferenceServerException as error:
        assert "'income', 'visits'" in str(error), error
    else:
        raise AssertionError("columns are missing, and nobody said so")
    print(first.tolist())
"""
TEXT = """
import sys
import numpy
import tritonclient.http as triton

rows = {"town": numpy.array(["Ulm", "Bonn", "Zürich"], dtype=object), "age": numpy.array([3, -3, 0.5])}
with triton.InferenceServerClient(sys.argv[1], concurrency=4) as client:
    told = {one["name"]: one["datatype"] for one in client.get_model_metadata("named")["inputs"]}
    assert told == {"town": "BYTES", "age": "FP64"}, told

    def inputs(binary, rows=rows):
        found = [triton.InferInput(name, list(array.shape), told[name]) for name, array in rows.items()]
        for one, array in zip(found, rows.values()):
            one.set_data_from_numpy(array, binary_data=binary)
        return found

    known = {name: array[:2] for name, array in rows.items()}
    in_bytes, in_json = (client.infer("named", inputs(binary, known)) for binary in (True, False))
    assert in_bytes.as_numpy("predictions").tolist() == in_json.as_numpy("predictions").tolist() == [1, 0]
    waiting = [client.async_infer("named", inputs(place % 2 == 0, known), request_id=str(place)) for place in range(20)]
    for place, one in enumerate(waiting):
        found = one.get_result()
        assert found.get_response()["id"] == str(place)
        assert found.as_numpy("predictions").tolist() == [1, 0]
    try:
        client.infer("named", inputs(True))
    except triton.InferenceServerException as error:
        assert "Zürich" not in str(error) and "ValueError" in str(error), error
    else:
        raise AssertionError("the town is not known to the model")
"""


def test_triton_s_client_asks_in_json_and_in_bytes(
    served: Callable[..., Any], saved: Path, models_python: Path, of: Callable[..., Any]
) -> None:
    model = served("boosted", "--python", str(models_python), folder=saved, python=False)
    place = urlsplit(model.url).netloc
    done = subprocess.run([models_python, "-c", SCRIPT, place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(of(model.ask([1, 2, 3], [-1, 0, 0.5])))


def test_triton_s_client_sends_text_in_json_and_in_bytes_many_at_once(
    served: Callable[..., Any], saved: Path, models_python: Path
) -> None:
    model = served("named", "--python", str(models_python), folder=saved, python=False)
    place = urlsplit(model.url).netloc
    done = subprocess.run([models_python, "-c", TEXT, place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
