"""The server's own API: what it answers, and that it is as its description says, whatever is asked."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bis.server.native.looking import CALLS

API = "/api/bis/1"
MLFLOW = "/api/2.0/mlflow"


def logged(server: Any, name: str, lr: str, losses: list[float]) -> str:
    answer = server.http.post(f"{MLFLOW}/runs/create", json={"experiment_id": "0", "run_name": name, "start_time": 1})
    id: str = answer.json()["run"]["info"]["run_id"]
    metrics = [{"key": "loss", "value": loss, "timestamp": 1, "step": step} for step, loss in enumerate(losses)]
    batch = {"run_id": id, "params": [{"key": "lr", "value": lr}], "metrics": metrics}
    assert server.http.post(f"{MLFLOW}/runs/log-batch", json=batch).status_code == 200
    return id


def test_runs_are_found_with_the_filter_language_page_by_page(server: Any) -> None:
    ids = [logged(server, f"run{number}", str(number), [1.0, number / 10]) for number in range(5)]
    asked: dict[str, Any] = {"filter": "metrics.loss > 0.05", "order": "metrics.loss DESC", "limit": 3}
    first = server.http.get(f"{API}/runs", params=asked).json()
    assert [run["id"] for run in first["runs"]] == ids[:1:-1]
    rest = server.http.get(f"{API}/runs", params={**asked, "after": first["next"]}).json()
    assert ([run["id"] for run in rest["runs"]], rest["next"]) == ([ids[1]], "")
    assert rest["runs"][0]["params"] == {"lr": "1"}
    wrong = server.http.get(f"{API}/runs", params={**asked, "order": "metrics.loss", "after": first["next"]})
    assert wrong.status_code == 400
    one = server.http.get(f"{API}/runs/{ids[2]}").json()
    assert (one["name"], one["metrics"], one["sealed"]) == ("run2", {"loss": 0.2}, False)


def test_a_chart_has_all_values_also_those_that_json_has_no_words_for(server: Any) -> None:
    id = logged(server, "odd", "1", [1.0, 2.5])
    for step, value in enumerate(("NaN", "Infinity", "-Infinity"), start=2):
        point = {"run_id": id, "key": "loss", "value": value, "timestamp": 1, "step": step}
        assert server.http.post(f"{MLFLOW}/runs/log-metric", json=point).status_code == 200
    points = server.http.get(f"{API}/runs/{id}/chart", params={"metric": "loss"}).json()["points"]
    assert [point["value"] for point in points] == [1.0, 2.5, "NaN", "Infinity", "-Infinity"]
    assert [point["step"] for point in points] == [0, 1, 2, 3, 4]
    some = server.http.get(f"{API}/runs/{id}/chart", params={"metric": "loss", "first": 1, "last": 1}).json()["points"]
    assert [point["value"] for point in some] == [2.5]
    assert server.http.get(f"{API}/runs/{id}/chart", params={"metric": "none"}).status_code == 404


def test_what_is_wrong_is_told_with_a_code_and_what_to_do(server: Any) -> None:
    absent = server.http.get(f"{API}/runs/0000")
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "B003")
    odd = server.http.get(f"{API}/runs", params={"filter": "metrics.loss <"})
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "B002")
    for query in ({"limit": "0"}, {"limit": "x"}, {"unknown": "1"}, {"after": "garbage"}, {"limit": "1e9"}):
        assert server.http.get(f"{API}/runs", params=query).status_code == 400, query
    assert server.http.get(f"{API}/nothing/here").json()["error"]["hint"] == "GET /api/bis/1/openapi.json"
    assert server.http.get(f"{API}/data/a%0Ab").json()["error"]["code"] == "B003"
    other = server.http.post(f"{API}/runs")
    assert (other.status_code, "GET" in other.headers["allow"]) == (405, True)
    assert server.http.get("/nothing").json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_experiments_models_and_files_are_there(server: Any) -> None:
    server.http.post(f"{MLFLOW}/experiments/create", json={"name": "second"})
    found = server.http.get(f"{API}/experiments", params={"filter": "name = 'second'"}).json()["experiments"]
    assert [one["name"] for one in found] == ["second"]
    assert server.http.get(f"{API}/experiments/0").json()["name"] == "Default"
    assert server.http.get(f"{API}/experiments/99").status_code == 404
    server.http.post(f"{MLFLOW}/registered-models/create", json={"name": "churn"})
    assert [one["name"] for one in server.http.get(f"{API}/models").json()["models"]] == ["churn"]
    assert server.http.get(f"{API}/models/churn").json()["versions"] == []
    id = logged(server, "run", "1", [1.0])
    server.http.put(f"/api/2.0/mlflow-artifacts/artifacts/0/{id}/artifacts/dir/a.txt", content=b"12")
    assert server.http.get(f"{API}/runs/{id}/files").json()["files"] == [{"name": "dir", "folder": True, "size": None}]
    inner = server.http.get(f"{API}/runs/{id}/files", params={"path": "dir"}).json()["files"]
    assert inner == [{"name": "a.txt", "folder": False, "size": 2}]
    assert server.http.get(f"{API}/data").json() == {"versions": []}


def test_whatever_is_asked_the_answer_is_as_described(server: Any) -> None:
    id = logged(server, "run", "0.1", [1.0, 2.0])
    server.http.post(f"{MLFLOW}/registered-models/create", json={"name": "churn"})
    described = schemathesis.openapi.from_url(f"{server.url}{API}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == len(CALLS)
    for operation in operations:
        hold(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        if operation.path in (
            "/runs",
            "/runs/{id}/chart",
            "/experiments",
            "/experiments/{id}",
        ):  # not all is text there
            hold(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    hold(described["/runs/{id}/chart"]["GET"].as_strategy().map(lambda case: of_run(case, id)))
    assert "Traceback" not in server.told


def hold(cases: Any) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case: Any) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # a filter is text in a language of its own

    check()


def of_run(case: Any, id: str) -> Any:
    """Of a run that is there, so that more than a refusal is looked at."""
    case.path_parameters["id"] = id
    return case
