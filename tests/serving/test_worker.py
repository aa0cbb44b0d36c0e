"""A worker as the front sees it: a process in the model's environment, asked over its stream."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.scoring.frames import Frames, framed
from bis.serving.prepared import Prepared
from bis.serving.version import Version
from bis.serving.workers import Job, start
from bis.steps.model_folder import read_folder

NAMES = ["age", "income", "visits"]


class Asked:
    """A worker that is asked without a front."""

    def __init__(self, python: Path, folder: Path, variables: Mapping[str, str] = os.environ) -> None:
        job = Job(folder=os.fspath(folder), description=read_folder(folder).described, name="m", trust=True)
        self.process, self.socket = (begun := start(python, job, variables)).process, begun.socket
        self.frames = Frames(self.socket)
        self.told = self.frames.next()[0]

    def answers(self, *bodies: bytes, form: str = "invocations") -> list[tuple[int, bytes]]:
        parts = [
            {"id": place, "form": form, "content_type": "application/json", "length": len(body)}
            for place, body in enumerate(bodies)
        ]
        self.socket.sendall(framed({"do": "score", "parts": parts}, *bodies))
        head, body = self.frames.next()
        self.together = head["together"]
        found, begin = [], 0
        for one in head["answers"]:
            found.append((one["status"], body[begin : begin + one["length"]]))
            begin += one["length"]
        return found

    def close(self) -> int:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def worker(models_python: Path, saved: Path) -> Iterator[Callable[[str], Asked]]:
    """A worker for each of the models, started once."""
    started: dict[str, Asked] = {}

    def get(name: str) -> Asked:
        if name not in started:
            started[name] = Asked(models_python, saved / name)
        return started[name]

    yield get
    for one in started.values():
        assert one.close() == 0  # it ends when the front is gone


def split(rows: Any, columns: Any = NAMES) -> bytes:
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


ROW = st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3)
TABLE = st.lists(ROW, min_size=1, max_size=4)


@pytest.mark.parametrize("name", ["logistic", "forest", "boosted"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables=st.lists(TABLE, min_size=2, max_size=6))
def test_requests_that_go_together_are_answered_as_each_alone(
    name: str, tables: list[Any], worker: Callable[[str], Asked]
) -> None:
    model, bodies = worker(name), list(map(split, tables))
    together = model.answers(*bodies)
    assert model.together == len(bodies)
    assert together == [model.answers(body)[0] for body in bodies]


def test_a_bad_request_does_not_spoil_those_that_it_comes_with(worker: Callable[[str], Asked]) -> None:
    good = split([[1, 2, 3]])
    model, failing = worker("logistic"), split([[float("nan"), 2, 3]])  # which the model itself refuses
    found = model.answers(good, b"{nope", split([["x", 2, 3]]), good, failing, good)
    assert model.together == 4
    assert [status for status, _ in found] == [200, 400, 400, 200, 400, 200]
    assert found[0] == found[3] == found[5]


def test_all_protocols_go_together(worker: Callable[[str], Asked]) -> None:
    model = worker("boosted")
    ((_, one),) = model.answers(split([[1, 2, 3]]))
    ((_, two),) = model.answers(b'{"instances": [[1, 2, 3]]}', form="v1")
    inputs = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}
    ((_, three),) = model.answers(json.dumps(inputs).encode(), form="v2")
    (expected,) = json.loads(one)["predictions"]
    assert json.loads(two)["predictions"] == [expected]
    assert json.loads(three)["outputs"][0]["data"] == [expected]


@pytest.mark.slow
def test_the_answers_are_those_of_mlflow(models_python: Path, saved: Path, worker: Callable[[str], Asked]) -> None:
    asked = "import sys,json,pandas,mlflow;print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict("
    script = asked + "pandas.DataFrame([[1.,2.,3.],[-1.,0.,.5]],columns=['age','income','visits'])).tolist()))"
    for name in ("logistic", "forest", "boosted"):
        done = subprocess.run(
            [models_python, "-c", script, saved / name], capture_output=True, text=True, check=True
        ).stdout
        ((_, body),) = worker(name).answers(split([[1, 2, 3], [-1, 0, 0.5]]))
        assert json.loads(body)["predictions"] == json.loads(done)


def test_a_model_that_chooses_columns_by_name_gets_them_by_name(worker: Callable[[str], Asked]) -> None:
    model = worker("named")
    assert model.told["ready"]["proved"]
    ((_, one),) = model.answers(split([["Ulm", 3.0], ["Bonn", -3.0]], ["town", "age"]))
    ((_, two),) = model.answers(split([[3.0, "Ulm"], [-3.0, "Bonn"]], ["age", "town"]))
    assert json.loads(one)["predictions"] == json.loads(two)["predictions"] == [1, 0]


def test_what_a_model_can_do_without_is_not_imported(worker: Callable[[str], Asked]) -> None:
    maps = Path(f"/proc/{worker('logistic').process.pid}/maps")
    if not maps.exists():
        pytest.skip("what a process has loaded is not listed here")
    assert "/pandas/" not in maps.read_text()
    assert "/scipy/stats/" not in maps.read_text()
    assert "/pandas/" in Path(f"/proc/{worker('named').process.pid}/maps").read_text()
    assert "/sklearn/" not in Path(f"/proc/{worker('boosted').process.pid}/maps").read_text()


def test_a_model_that_needs_more_than_it_was_loaded_with_is_loaded_anew(
    models_python: Path, saved: Path, tmp_path: Path, worker: Callable[[str], Asked]
) -> None:
    """Here, an XGBoost that imports more of scikit-learn than others do."""
    (tmp_path / "xgboost.py").write_text(
        "import sklearn.preprocessing, sys\n"
        f"sys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['xgboost']\n"
        "import xgboost\n"
    )
    model = Asked(models_python, saved / "boosted", {**os.environ, "PYTHONPATH": str(tmp_path)})
    asked = split([[1, 2, 3], [-1, 0, 0.5]])
    assert model.answers(asked) == worker("boosted").answers(asked)
    assert "/sklearn/" in Path(f"/proc/{model.process.pid}/maps").read_text()
    assert model.close() == 0


@pytest.mark.parametrize(("own", "left"), [(True, False), (False, True)])
def test_what_is_compiled_is_kept_in_environments_that_bis_made(
    own: bool, left: bool, models_python: Path, saved: Path
) -> None:
    job = Job(folder=os.fspath(saved / "logistic"), description=read_folder(saved / "logistic").described, name="m")
    prepared = Prepared(version=Version(name="m"), job=job, python=models_python, cached=own)
    begun = prepared.begin({**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        place = Path(f"/proc/{begun.process.pid}/environ")
        if not place.exists():
            pytest.skip("what a process was started with is not listed here")
        assert "ready" in Frames(begun.socket).next()[0]
        assert (b"PYTHONDONTWRITEBYTECODE=1" in place.read_bytes().split(b"\0")) == left
    finally:
        begun.socket.close()
        begun.process.wait(20)


def test_a_folder_that_cannot_be_loaded_says_why(models_python: Path, saved: Path, tmp_path: Path) -> None:
    described = (saved / "logistic" / "MLmodel").read_text()
    (tmp_path / "MLmodel").write_text(described)
    (tmp_path / "model.skops").write_bytes(b"no zip")
    broken = Asked(models_python, tmp_path)
    assert "failed" in broken.told
    assert broken.process.wait(20) == 1
    broken.socket.close()
