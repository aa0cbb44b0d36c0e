"""MLflow's clients in R and Java, by what they send: numbers as words, both names of a run, lists of what is there."""

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

V = "/api/2.0/mlflow"


@pytest.fixture
def r(server: Any) -> Callable[..., Any]:
    """Asks as the client in R does: each value of a body is text, each of a question stands in the URL."""

    def ask(verb: str, call: str, **said: Any) -> Any:
        headers = {"User-Agent": "mlflow-r-client/3.11.2", "Accept": "application/json, text/xml, application/xml, */*"}
        if verb == "GET":
            answer = server.http.get(f"{V}/{call}", params=said, headers=headers)
        else:
            answer = server.http.request(verb, f"{V}/{call}", json=_as_text(said), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def _as_text(value: Any) -> Any:
    """Numbers as R spells them."""
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    return value if isinstance(value, str) else f"{value:.15g}"


@pytest.fixture
def java(server: Any) -> Callable[..., Any]:
    """Asks as the client in Java does: protobuf's JSON, 64-bit numbers as text, the others as they are."""

    def ask(verb: str, call: str, body: str = "") -> Any:
        headers = {"User-Agent": "mlflow-java-client/3.11.2", "Content-Type": "application/json"}
        answer = server.http.request(verb, f"{V}/{call}", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


def test_a_client_in_r_logs_and_reads(r: Callable[..., Any]) -> None:
    experiment = r("POST", "experiments/create", name="forest", tags=[{"key": "a", "value": "b"}])["experiment_id"]
    made = r(
        "POST",
        "runs/create",
        experiment_id=experiment,
        user_id="ada",
        start_time=1700000000000,
        tags=[{"key": "mlflow.user", "value": "ada"}],
    )
    run = made["run"]["info"]["run_uuid"]
    both = {"run_uuid": run, "run_id": run}
    assert made["run"]["info"]["user_id"] == "ada"
    for step in (0, 100000, 200000):  # 100000 is "1e+05" there
        r("POST", "runs/log-metric", **both, key="loss", value=1 / (step + 1), timestamp=1700000000000, step=step)
    r("POST", "runs/log-metric", **both, key="odd", value="Infinity", timestamp=1700000000000, step=0)
    r("POST", "runs/log-parameter", **both, key="trees", value=100000)
    r("POST", "runs/set-tag", **both, key="team", value="fraud")
    batch = [{"key": "auc", "value": "NaN", "step": 3, "timestamp": 1700000000000}]
    r("POST", "runs/log-batch", run_id=run, metrics=batch, params=[{"key": "mtry", "value": 2}])
    r("POST", "runs/update", **both, status="FINISHED", end_time=1700000001000)

    found = r("GET", "runs/get", **both)["run"]
    assert (found["info"]["status"], found["info"]["end_time"]) == ("FINISHED", 1700000001000)
    assert {one["key"]: one["value"] for one in found["data"]["params"]} == {"trees": "100000", "mtry": "2"}
    assert {one["key"]: one["value"] for one in found["data"]["metrics"] if one["key"] != "loss"} == {
        "odd": "Infinity",
        "auc": "NaN",
    }
    history = r("GET", "metrics/get-history", **both, metric_key="loss", max_results=25000)
    assert [point["step"] for point in history["metrics"]] == [0, 100000, 200000]
    searched = r("POST", "runs/search", experiment_ids=[experiment], run_view_type="ACTIVE_ONLY", order_by=[])
    assert [one["info"]["run_uuid"] for one in searched["runs"]] == [run]
    assert "root_uri" in r("GET", "artifacts/list", **both)


def test_a_client_in_r_reads_models_and_changes_them(r: Callable[..., Any]) -> None:
    r("POST", "registered-models/create", name="forest", description="of trees")
    r("POST", "model-versions/create", name="forest", source="s3://models/forest", run_id="")
    r("PATCH", "registered-models/update", name="forest", description="of trees, anew")
    r("POST", "model-versions/transition-stage", name="forest", version=1, stage="Production")
    (found,) = r("POST", "registered-models/search", max_results=5, order_by=["name ASC"])["registered_models"]
    assert (found["description"], found["latest_versions"][0]["current_stage"]) == ("of trees, anew", "Production")
    (latest,) = r("GET", "registered-models/get-latest-versions", name="forest")["model_versions"]
    assert latest["version"] == "1"
    r("DELETE", "registered-models/delete", name="forest")


def test_what_is_empty_is_not_there_as_r_takes_an_empty_list_for_a_value(r: Callable[..., Any]) -> None:
    experiment = r("POST", "experiments/create", name="bare")["experiment_id"]
    assert "tags" not in r("GET", "experiments/get", experiment_id=experiment)["experiment"]
    run = r("POST", "runs/create", experiment_id=experiment)["run"]
    assert set(run["data"]) == {"tags"}  # its name
    assert (run["inputs"], run["outputs"]) == ({}, {})
    model = r("POST", "registered-models/create", name="bare")["registered_model"]
    assert not {"tags", "aliases", "latest_versions"} & set(model)


def test_a_client_in_java_logs_and_reads(java: Callable[..., Any]) -> None:
    experiment = java("POST", "experiments/create", '{\n  "name": "java"\n}')["experiment_id"]
    run = java(
        "POST",
        "runs/create",
        f'{{"experiment_id": "{experiment}", "user_id": "ada", "start_time": "1700000000000"}}',
    )["run"]["info"]["run_id"]
    for step in range(3):
        java(
            "POST",
            "runs/log-metric",
            f'{{"run_uuid": "{run}", "key": "loss", "value": {1 / (step + 1)}, "timestamp": "1700000000000",'
            f' "step": "{step}", "run_id": "{run}"}}',
        )
    java(
        "POST",
        "runs/log-batch",
        f'{{"run_id": "{run}", "metrics": [{{"key": "auc", "value": "NaN", "timestamp": "17", "step": "4"}}],'
        ' "params": [{"key": "depth", "value": "3"}], "tags": []}',
    )
    java("POST", "runs/update", f'{{"run_uuid": "{run}", "status": "KILLED", "end_time": "17", "run_id": "{run}"}}')
    found = java("GET", f"runs/get?run_uuid={run}&run_id={run}")["run"]
    assert found["info"]["status"] == "KILLED"
    first = java("GET", f"metrics/get-history?run_uuid={run}&run_id={run}&metric_key=loss&max_results=2")
    rest = java(
        "GET",
        f"metrics/get-history?run_id={run}&metric_key=loss&max_results=2&page_token={first['next_page_token']}",
    )
    assert [point["step"] for point in first["metrics"] + rest["metrics"]] == [0, 1, 2]
    page = java(
        "POST",
        "runs/search",
        f'{{"experiment_ids": ["{experiment}"], "filter": "metrics.loss < 1", "run_view_type": "ACTIVE_ONLY",'
        ' "max_results": 1000, "order_by": [], "page_token": ""}',
    )
    assert [one["info"]["run_id"] for one in page["runs"]] == [run]


def test_a_path_for_artifacts_is_the_same_folder_for_every_client(r: Callable[..., Any], tmp_path: Path) -> None:
    for number, (said, kept) in enumerate(
        (
            ("files", str(tmp_path / "files")),
            (f"{tmp_path}/files", f"{tmp_path}/files"),
            ("s3://bucket/files", "s3://bucket/files"),
            ("file:files", "file:files"),
        )
    ):
        made = r("POST", "experiments/create", name=f"at {number}", artifact_location=said)
        assert r("GET", "experiments/get", **made)["experiment"]["artifact_location"] == kept


def test_credentials_are_taken_as_both_send_them(serving: Callable[..., Any], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "bis", "-C", str(tmp_path), "server", "token", "add", "look", "--role", "reader"]
    token = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    server = serving()
    basic = base64.b64encode(f"ada:{token}".encode()).decode()
    for said, status in ((f"Basic {basic}", 200), (f"Bearer {token}", 200), ("Bearer none", 401), ("", 401)):
        headers = {"Authorization": said} if said else {}
        # A search changes nothing, however it is asked for.
        answer = httpx.post(f"{server.url}{V}/registered-models/search", json={"max_results": "5"}, headers=headers)
        assert answer.status_code == status
