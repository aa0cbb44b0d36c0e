"""What clients log, and the histories they read: over HTTP, as MLflow's clients spell it."""

import json
import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

V = "/api/2.0/mlflow"


@pytest.fixture
def run(server):
    """The id of a new run."""
    return server.http.post(f"{V}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]


@pytest.fixture
def log(server, run):
    """Log a batch to the run; the answer."""

    def log(**said):
        return server.http.post(f"{V}/runs/log-batch", content=json.dumps({"run_id": run, **said}))

    return log


def points(values, key="loss"):
    return [{"key": key, "value": value, "timestamp": 1000 + step, "step": step} for step, value in enumerate(values)]


def history(server, run, key="loss", **asked):
    answer = server.http.get(f"{V}/metrics/get-history", params={"run_id": run, "metric_key": key, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer, said, status=400, code="INVALID_PARAMETER_VALUE"):
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert said in answer.json()["message"]


def test_a_history_comes_in_pages_that_what_is_logged_meanwhile_does_not_move(server, run, log):
    log(metrics=points([1.0, 2.0, 3.0, 4.0, 5.0]))
    first = history(server, run, max_results=2)
    log(metrics=[{"key": "loss", "value": 0.0, "timestamp": 1, "step": 0}])
    second = history(server, run, max_results=2, page_token=first["next_page_token"])
    third = history(server, run, max_results=2, page_token=second["next_page_token"])
    seen = [point["value"] for page in (first, second, third) for point in page["metrics"]]
    assert seen == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert "next_page_token" not in third


def test_nan_and_infinities_are_taken_as_words_of_python_and_as_text(server, run, log):
    assert log(metrics=points([math.nan, math.inf, -math.inf])).status_code == 200
    assert log(metrics=points(["NaN", "Infinity", "-Infinity"], "text")).status_code == 200
    for key in ("loss", "text"):
        values = [float(point["value"]) for point in history(server, run, key)["metrics"]]
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, -math.inf]


def test_a_batch_with_a_bad_entry_is_refused_whole(server, run, log):
    bad = log(
        metrics=[*points([1.0]), {"key": "a/../b", "value": 1, "timestamp": 1}], params=[{"key": "p", "value": "1"}]
    )
    refused(bad, "metrics[1].name")
    log(params=[{"key": "p", "value": "1"}])
    refused(log(metrics=points([1.0]), params=[{"key": "p", "value": "2"}]), "Changing param values is not allowed")
    found = server.http.get(f"{V}/runs/get", params={"run_id": run}).json()["run"]["data"]
    assert "metrics" not in found
    assert found["params"] == [{"key": "p", "value": "1"}]


@pytest.mark.parametrize(
    ("kind", "most"), [("metrics", 1000), ("params", 100), ("tags", 100)], ids=["metrics", "params", "tags"]
)
def test_a_batch_holds_so_many(log, kind, most):
    entries = [{"key": f"k{number}", "value": "1", "timestamp": 1} for number in range(most + 1)]
    refused(log(**{kind: entries}), f"at most {most} {kind}")
    assert log(**{kind: entries[:most]}).status_code == 200


def test_the_newest_value_is_the_one_of_the_largest_step(server, run, log):
    log(metrics=points([1.0, 2.0, 3.0]))
    log(metrics=points([9.0]))
    (found,) = server.http.get(f"{V}/runs/get", params={"run_id": run}).json()["run"]["data"]["metrics"]
    assert found == {"key": "loss", "value": 3.0, "timestamp": 1002, "step": 2}


@pytest.mark.parametrize("step", [-(1 << 63), (1 << 63) - 1])
def test_steps_of_64_bits_come_back(server, run, log, step):
    log(metrics=[{"key": "loss", "value": 1, "timestamp": (1 << 63) - 1, "step": step}])
    assert history(server, run)["metrics"] == [{"key": "loss", "value": 1.0, "timestamp": (1 << 63) - 1, "step": step}]
    refused(log(metrics=[{"key": "loss", "value": 1, "timestamp": 1, "step": 1 << 63}]), "step")


def test_a_run_that_is_not_there_and_one_that_was_removed_say_so(server, run, log):
    said = {"run_id": "f" * 32, "key": "a", "value": 1, "timestamp": 1}
    refused(server.http.post(f"{V}/runs/log-metric", json=said), "f" * 32, 404, "RESOURCE_DOES_NOT_EXIST")
    server.http.post(f"{V}/runs/delete", json={"run_id": run})
    refused(log(metrics=points([1.0])), "must be in the 'active' state")


def test_many_who_log_at_once_lose_nothing(server, run):
    def write(number):
        said = {"run_id": run, "key": f"k{number % 4}", "value": number, "timestamp": number, "step": number}
        return server.http.post(f"{V}/runs/log-metric", json=said).status_code

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(write, range(640))) == {200}
    assert sum(len(history(server, run, f"k{number}")["metrics"]) for number in range(4)) == 640


def test_histories_of_several_runs_come_in_one_answer(server, run, log):
    other = server.http.post(f"{V}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    log(metrics=points([1.0, 2.0]))
    server.http.post(f"{V}/runs/log-batch", json={"run_id": other, "metrics": points([3.0])})
    asked = {"run_id": [run, other, "nobody"], "metric_key": "loss"}
    found = server.http.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=asked).json()["metrics"]
    assert sorted((point["run_id"], point["value"]) for point in found) == sorted(
        [(run, 1.0), (run, 2.0), (other, 3.0)]
    )


def test_a_chart_of_several_runs_keeps_their_spikes(server, run, log):
    log(metrics=points([100.0 if step == 7 else 1.0 for step in range(10)]))
    asked = {"run_ids": [run], "metric_key": "loss", "max_results": 5}
    found = server.http.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params=asked).json()["metrics"]
    assert [point["step"] for point in found] == [0, 2, 4, 6, 7, 8, 9]


def test_the_end_of_a_run_folds_its_points_and_changes_none(server, run, log):
    values = [float(step) for step in range(200)]
    for step in values:
        log(metrics=[{"key": "loss", "value": step, "timestamp": int(step), "step": int(step)}])
    before = history(server, run)
    server.http.post(f"{V}/runs/update", json={"run_id": run, "status": "FINISHED", "end_time": 5})
    with sqlite3.connect(server.folder / ".bis" / "ledger") as ledger:
        assert ledger.execute("SELECT count(*) FROM metric_tail").fetchone() == (0,)
        assert ledger.execute("SELECT sum(points) FROM metric_chunks").fetchone() == (200,)
    assert history(server, run) == before
    assert [point["value"] for point in before["metrics"]] == values
