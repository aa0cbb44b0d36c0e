"""Every call of MLflow's API with values that nobody means: an answer in the 400s, and never a trace."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bis.errors import UsageError
from bis.ledger.filter import read_filter
from bis.ledger.grammar import EXPERIMENTS
from bis.server.app import MLFLOW
from bis.server.mlflow.endpoint import Endpoint, Refused
from bis.server.mlflow.graphql import read_question
from bis.server.mlflow.model_versions import _check_path

HOSTILE: tuple[Any, ...] = (
    *(
        "",
        "x" * 100_000,
        "'; DROP TABLE runs; --",
        "../../etc/passwd",
        "\x7f\u202e",
        "\U0001f3b5" * 300,
        "%s%n{0}",
        "0",
    ),
    *("-1", "metrics.a = ", "a" * 33, "ORDER BY 1", "\\", '"', "models:/x/1", "file:///etc/passwd", "1" * 400, "NaN"),
    *(-1, 0, 1, 1 << 31, 1 << 63, (1 << 63) - 1, 1 << 70, -(1 << 63), 1e308, 0.5, True, False, None),
    *([], {}, [[]], [{}], [None], [""], [1 << 70], {"key": None}, [{"key": "k", "value": []}], {"": {"": {}}}),
    [{"key": "k" * 300, "value": "v", "timestamp": -1, "step": 1 << 70}],
)


def called(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.version}/{endpoint.path}"


def ask(server: Any, endpoint: Endpoint, said: dict[str, Any]) -> Any:
    path = f"/api/{endpoint.version}/mlflow/{endpoint.path}"
    for name in ("model_id", "webhook_id", "experiment_id", "key", "tag_key", "run_id", "name"):
        path = path.replace(f"{{{name}}}", "m-0")
    if endpoint.method == "GET":
        query = {
            name: value if isinstance(value, (str, int, float)) else json.dumps(value) for name, value in said.items()
        }
        if len(str(query)) > 50_000:
            return server.http.request("GET", path, content=json.dumps(said))
        return server.http.get(path, params=query)
    return server.http.request(endpoint.method, path, content=json.dumps(said))


def fields(endpoint: Endpoint) -> Iterator[str]:
    for field in msgspec.structs.fields(endpoint.asked):
        yield field.encode_name


def hold(server: Any, endpoint: Endpoint, said: dict[str, Any]) -> None:
    answer = ask(server, endpoint, said)
    shown = (called(endpoint), str(said)[:200], answer.status_code, answer.text[:200])
    assert answer.status_code < 500 or answer.status_code == 501, shown
    assert "Traceback" not in answer.text, shown


@pytest.fixture(params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, serving: Callable[..., Any]) -> Any:
    """With something in it, so that more than a refusal for nothing is reached."""
    options: list[str] = []
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres")
        options = ["--ledger", postgres.url(postgres.database())]
    server = serving(*options)
    post = server.http.post
    run = post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    point = {"run_id": run, "key": "m", "value": 1, "timestamp": 1, "step": 1}
    assert post("/api/2.0/mlflow/runs/log-metric", json=point).status_code == 200
    assert post("/api/2.0/mlflow/registered-models/create", json={"name": "churn"}).status_code == 200
    made = post(
        "/api/2.0/mlflow/model-versions/create", json={"name": "churn", "source": f"runs:/{run}/m", "run_id": run}
    )
    assert made.status_code == 200
    server.known = {
        "run_id": run,
        "run_uuid": run,
        "metric_key": "m",
        "name": "churn",
        "version": "1",
        "experiment_id": "0",
        "experiment_ids": ["0"],
        "key": "k",
        "value": "v",
        "alias": "a",
        "stage": "Staging",
    }
    return server


def test_each_field_of_each_call_takes_whatever_comes(filled: Any) -> None:
    for endpoint in MLFLOW:
        known = {name: value for name, value in filled.known.items() if name in set(fields(endpoint))}
        hold(filled, endpoint, {})
        if endpoint.path.endswith(("delete", "rename")) or "webhook" in endpoint.path:
            known = {}  # what is there stays for the calls that follow
        for name in fields(endpoint):
            for value in HOSTILE:
                hold(filled, endpoint, {**known, name: value})
    assert filled.http.get("/health").text == "OK"
    assert "Traceback" not in filled.told


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.sampled_from(HOSTILE[:18]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def test_calls_with_all_their_fields_at_once_take_whatever_comes(filled: Any) -> None:
    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        endpoint = data.draw(st.sampled_from([one for one in MLFLOW if "webhook" not in one.path]))
        said = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(fields(endpoint), values)))
        hold(filled, endpoint, said)

    check()
    assert "Traceback" not in filled.told


def test_bodies_that_are_no_objects_are_refused_by_every_call(filled: Any) -> None:
    bodies = (b"[]", b"1", b'"{}"', b"null", b"\x00", b"{", b"\xff", b"{" * 5000, b'{"a":' * 3000, b"[" * 100_000)
    for endpoint in MLFLOW:
        if "{" in endpoint.path:
            continue
        for body in bodies:
            answer = filled.http.request(
                endpoint.method, f"/api/{endpoint.version}/mlflow/{endpoint.path}", content=body
            )
            assert answer.status_code < 500 or answer.status_code == 501, (
                called(endpoint),
                body[:20],
                answer.text[:200],
            )
    assert "Traceback" not in filled.told


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, for what is refused."""
    began = time.process_time()
    with pytest.raises((Refused, UsageError)):
        work()
    return time.process_time() - began


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda size: read_question("#" * size, {}), id="remarks"),
        pytest.param(lambda size: _check_path("s3://x/%" + "25" * size), id="encoded again and again"),
        pytest.param(lambda size: read_filter("(" * size, EXPERIMENTS), id="marks"),
    ],
)
def test_a_very_long_text_that_makes_no_sense_is_refused_soon(work: Callable[[int], object]) -> None:
    # Where the cost grows as the square of the text, this takes minutes, and one request holds up all others.
    assert seconds(lambda: work(2_000_000)) < 60


@pytest.mark.parametrize(
    "question",
    [
        "{mlflowGetRun(input: 007) {run {info {runId}}}}",
        '{mlflowGetRun(input: "\\q") {run {info {runId}}}}',
        '{mlflowGetRun(input: "text") {run {info {runId}}}}',
        "{mlflowGetRun(input: [1]) {run {info {runId}}}}",
        "#" * 100,
    ],
)
def test_a_question_in_graphql_that_makes_no_sense_is_told_so(server: Any, question: str) -> None:
    answer = server.http.post("/graphql", json={"query": question})
    assert answer.status_code == 200
    assert answer.json()["errors"]
    assert "Traceback" not in server.told


def test_what_is_said_of_an_upload_in_parts_has_an_end(server: Any) -> None:
    for call in ("create", "complete", "abort"):
        answer = server.http.post(f"/api/2.0/mlflow-artifacts/mpu/{call}/0", content=b" " * (5 << 20))
        assert answer.status_code == 400
        assert "larger than" in answer.text


def test_what_a_point_is_about_has_a_name_that_an_index_holds(filled: Any) -> None:
    """It would be found too long only when points are put together, and the run could not be ended any more."""
    run, point = filled.known["run_id"], {"key": "m", "value": 1, "timestamp": 2, "step": 2}
    for name in ("dataset_name", "dataset_digest", "model_id"):
        about = {**point, name: "".join(chr(97 + number * number % 26) for number in range(5000))}
        one = filled.http.post("/api/2.0/mlflow/runs/log-metric", json={"run_id": run, **about})
        several = filled.http.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": [point, about]})
        assert (one.status_code, several.status_code) == (400, 400), name
        assert "maximum length" in one.text
        assert "maximum length" in several.text


def test_names_have_lengths_that_both_databases_hold(filled: Any) -> None:
    long = "x" * 100_000
    run, model = filled.known["run_id"], filled.known["name"]
    for call, asked in (
        ("runs/create", {"experiment_id": "0", "run_name": long}),
        ("runs/create", {"experiment_id": "0", "user_id": long}),
        ("runs/update", {"run_id": run, "run_name": long}),
        ("registered-models/create", {"name": long}),
        ("registered-models/rename", {"name": model, "new_name": long}),
        ("model-versions/create", {"name": model, "source": f"models:/{long}"}),
    ):
        answer = filled.http.post(f"/api/2.0/mlflow/{call}", json=asked)
        assert (answer.status_code, "maximum length" in answer.text) == (400, True), call
