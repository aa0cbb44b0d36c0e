"""The server's own API: what it answers, and that it is as its description says, whatever is asked."""

import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bis.server.native.routes import CALLS

PRINTS = """
import bis
open("model.bin", "w").write("weights")
for step, loss in enumerate((0.5, 0.25)):
    bis.log(step=step, loss=loss)
"""
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
    for body in (
        b"{",
        b"[]",
        b'{"name": 7}',
        b'{"nmae": "x"}',
        b'{"name": "a\\u0000"}',
        b"[" * 10_000,
        b'{"name": "\xff"}',
    ):
        assert server.http.post(f"{API}/experiments", content=body).status_code == 400, body
    other = server.http.post(f"{API}/runs")
    assert (other.status_code, "GET" in other.headers["allow"]) == (405, True)
    assert server.http.get("/nothing").json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_a_backslash_before_u0000_is_text_and_no_nul(server: Any) -> None:
    path = "C:\\u0000\\data"
    for root, said in ((API, {"name": "own", "tags": {"path": path}}), (MLFLOW, {"name": path})):
        address = f"{root}/experiments" + ("/create" if root == MLFLOW else "")
        assert server.http.post(address, json=said).status_code == 200, root
    own = server.http.get(f"{API}/experiments", params={"filter": "name = 'own'"}).json()["experiments"]
    assert own[0]["tags"]["path"] == path
    assert server.http.post(f"{API}/experiments", json={"name": f"{path}\0"}).status_code == 400


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


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """The id of a run that bis recorded in the folder that is served."""
    (tmp_path / "bis.toml").write_text("")
    words = [sys.executable, "-m", "bis", "run", "--json", "--name", "sealed", "--", sys.executable, "-c", PRINTS]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    id: str = json.loads(done.stdout)["run"]["id"]
    return id


def test_runs_of_both_kinds_are_changed_removed_and_restored(recorded: str, server: Any) -> None:
    place = server.http.post(f"{API}/experiments", json={"name": "churn", "tags": {"team": "a"}}).json()
    assert server.http.post(f"{API}/experiments", json={"name": "churn"}).status_code == 409
    for id in (recorded, logged(server, "run", "1", [1.0])):
        said = {"name": "base", "note": "good", "experiment": place["id"], "tags": {"a": "1", "b": "2"}}
        changed = server.http.patch(f"{API}/runs/{id}", json=said).json()
        assert (changed["name"], changed["experiment"]) == ("base", place["id"])
        assert changed["tags"].items() >= {"a": "1", "b": "2"}.items()
        untagged = server.http.patch(f"{API}/runs/{id}", json={"untag": ["b"]}).json()
        assert (untagged["tags"]["a"], "b" in untagged["tags"], untagged["name"]) == ("1", False, "base")
        assert server.http.patch(f"{API}/runs/{id}", json={"name": "a/b"}).status_code == 400
        assert server.http.patch(f"{API}/runs/{id}", json={"experiment": 99}).status_code == 404
        assert server.http.delete(f"{API}/runs/{id}").json()["removed"]
        assert not server.http.post(f"{API}/runs/{id}/restore").json()["removed"]
    found = server.http.get(f"{API}/runs", params={"filter": "experiment = 'churn' AND note = 'good'"}).json()["runs"]
    assert sorted(run["sealed"] for run in found) == [False, True]


def test_the_files_of_a_recorded_run_are_there_wherever_it_is_moved(recorded: str, server: Any) -> None:
    asked = {"name": "bucket", "artifact_location": "s3://bucket/churn"}
    id = int(server.http.post(f"{MLFLOW}/experiments/create", json=asked).json()["experiment_id"])
    assert server.http.patch(f"{API}/runs/{recorded}", json={"experiment": id}).json()["experiment"] == id
    files = server.http.get(f"{API}/runs/{recorded}/files").json()["files"]
    assert "model.bin" in [file["name"] for file in files]
    place = server.http.get(f"{MLFLOW}/runs/get", params={"run_id": recorded}).json()["run"]["info"]["artifact_uri"]
    path = place.removeprefix("mlflow-artifacts:/")
    assert server.http.get(f"/api/2.0/mlflow-artifacts/artifacts/{path}/model.bin").text == "weights"


def test_experiments_are_changed_removed_and_restored(server: Any) -> None:
    id = server.http.post(f"{API}/experiments", json={"name": "old"}).json()["id"]
    changed = server.http.patch(f"{API}/experiments/{id}", json={"name": "new", "tags": {"a": "1"}}).json()
    assert (changed["name"], changed["tags"]) == ("new", {"a": "1"})
    assert server.http.patch(f"{API}/experiments/{id}", json={"untag": ["x"]}).status_code == 404
    assert server.http.delete(f"{API}/experiments/{id}").json()["removed"] > 0
    assert server.http.patch(f"{API}/experiments/{id}", json={"name": "x"}).status_code == 400
    assert server.http.post(f"{API}/experiments/{id}/restore").json()["removed"] is None


def test_a_model_is_registered_promoted_and_rolled_back(recorded: str, server: Any) -> None:
    http = server.http
    assert http.post(f"{API}/models", json={"name": "churn", "description": "who leaves"}).status_code == 200
    for number in (1, 2):
        made = http.post(f"{API}/models/churn/versions", json={"run": recorded, "tags": {"n": str(number)}}).json()
        assert (made["number"], made["source"]) == (number, f"runs:/{recorded}/model.bin")
    assert http.put(f"{API}/models/churn/aliases/champion", json={"version": 1}).json()["number"] == 1
    then = time.time_ns() // 1000
    refused = http.post(f"{API}/models/churn/promote", json={"version": 2, "tags": ["reviewed"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "B070")
    assert http.patch(f"{API}/models/churn/versions/2", json={"tags": {"reviewed": "yes"}}).status_code == 200
    done = http.post(f"{API}/models/churn/promote", json={"version": 2, "tags": ["reviewed"], "reason": "why"}).json()
    assert (done["before"], done["version"]["aliases"], done["checks"][0]["holds"]) == (1, ["champion"], True)
    at = http.get(f"{API}/models/churn/aliases/champion", params={"at": then}).json()
    assert (at["number"], http.get(f"{API}/models/churn/aliases/champion").json()["number"]) == (1, 2)
    assert http.post(f"{API}/models/churn/rollback", json={}).json()["number"] == 1
    events = http.get(f"{API}/models/churn/history").json()["events"]
    assert [event["action"] for event in events[:4]] == ["rolled back", "alias", "tagged", "refused"]
    assert http.delete(f"{API}/models/churn/aliases/champion").json()["aliases"] == {}
    assert http.delete(f"{API}/models/churn/versions/2").status_code == 200
    assert http.get(f"{API}/models/churn/versions/2").status_code == 404
    assert http.post(f"{API}/models/churn/versions/2/restore").json()["number"] == 2
    assert http.patch(f"{API}/models/churn", json={"rename": "growth"}).json()["name"] == "growth"
    assert http.delete(f"{API}/models/growth").status_code == 200
    assert http.post(f"{API}/models/growth/restore").json()["name"] == "growth"


def test_lineage_goes_both_ways_and_opens_no_file_of_the_server(recorded: str, server: Any) -> None:
    server.http.post(f"{API}/models/churn/versions", json={"run": recorded})
    both = server.http.get(f"{API}/lineage", params={"of": "models:/churn/1"}).json()
    assert (both["thing"]["kind"], both["made_of"][0]["kind"]) == ("model version", "run")
    up = server.http.get(f"{API}/lineage", params={"of": recorded}).json()
    assert [node["name"] for node in up["reached"]] == ["models:/churn/1"]
    for text in ("/etc/passwd", "bis.toml", "../" * 9 + "etc/passwd"):
        assert server.http.get(f"{API}/lineage", params={"of": text}).status_code == 404


def test_a_history_has_every_point_page_by_page_also_of_a_recorded_run(recorded: str, server: Any) -> None:
    id = logged(server, "run", "1", [float(number) for number in range(5)])
    asked: dict[str, Any] = {"metric": "loss", "limit": 3}
    first = server.http.get(f"{API}/runs/{id}/history", params=asked).json()
    rest = server.http.get(f"{API}/runs/{id}/history", params={**asked, "after": first["next"]}).json()
    assert [point["value"] for point in first["points"] + rest["points"]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert rest["next"] == ""
    assert server.http.get(f"{API}/runs/{id}/history", params={"metric": "none"}).status_code == 404
    for what in ("history", "chart"):
        points = server.http.get(f"{API}/runs/{recorded}/{what}", params={"metric": "loss"}).json()["points"]
        assert [point["value"] for point in points] == [0.5, 0.25], what


def test_whatever_is_asked_the_answer_is_as_described(recorded: str, server: Any) -> None:
    run = logged(server, "run", "0.1", [1.0, 2.0])
    server.http.post(f"{API}/models/churn/versions", json={"run": recorded})
    described = schemathesis.openapi.from_url(f"{server.url}{API}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == len(CALLS)
    not_all_text = {"/runs", "/runs/{id}/chart", "/runs/{id}/history", "/experiments", "/experiments/{id}"}
    for operation in operations:
        hold(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        if operation.method in ("post", "put", "patch") or operation.path in not_all_text:
            hold(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        for id in (run, recorded) if operation.path.startswith("/runs/{id}") else ():
            hold(operation.as_strategy().map(functools.partial(of, id=id)), 20)
        if operation.path.startswith("/models/{name}"):
            hold(operation.as_strategy().map(functools.partial(of, name="churn")), 20)
    assert "Traceback" not in server.told


def hold(cases: Any, examples: int = 40) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def check(case: Any) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])  # a filter is text in a language of its own

    check()


def of(case: Any, **place: str) -> Any:
    """Of what is there, so that more than a refusal is looked at."""
    case.path_parameters.update(place)
    return case
