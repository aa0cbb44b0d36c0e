"""Runs that clients log come back from the store: after the ledger was lost, and in a clone."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bis.store.local import open_store

MLFLOW = "/api/2.0/mlflow"
ROOT = "/api/2.0/mlflow-artifacts/artifacts"


def bis(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "bis", "-C", folder, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def post(server: Any, what: str, **asked: Any) -> Any:
    answer = server.http.post(f"{MLFLOW}/{what}", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def a_run(server: Any) -> str:
    """In an experiment, with points, a data set, a file, and a model with a file."""
    experiment = post(server, "experiments/create", name="fraud", tags=[{"key": "team", "value": "risk"}])
    info = post(server, "runs/create", experiment_id=experiment["experiment_id"], run_name="first")["run"]["info"]
    run = info["run_id"]
    points = [{"key": "loss", "value": 1 / (step + 1), "timestamp": 10 + step, "step": step} for step in range(900)]
    post(server, "runs/log-batch", run_id=run, metrics=points, params=[{"key": "lr", "value": "0.1"}])
    post(server, "runs/log-batch", run_id=run, metrics=[{"key": "auc", "value": "NaN", "timestamp": 5, "step": 0}])
    data = {"name": "iris", "digest": "d1", "source_type": "local", "source": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    post(server, "runs/log-inputs", run_id=run, datasets=[{"dataset": data, "tags": tags}])
    asked = {"experiment_id": experiment["experiment_id"], "name": "net", "source_run_id": run}
    model = post(server, "logged-models", **asked, params=[{"key": "depth", "value": "3"}])["model"]["info"]
    for uri in (info["artifact_uri"], model["artifact_uri"]):
        path = uri.partition(":/")[2]
        assert server.http.put(f"{ROOT}/{path}/model/weights.bin", content=uri.encode()).status_code == 200
    return str(run)


def end(server: Any, run: str) -> None:
    post(server, "runs/update", run_id=run, status="FINISHED", end_time=int(time.time() * 1000))


def seen(server: Any, run: str) -> dict[str, Any]:
    """All that a client sees of a run, and of the model that it saved."""
    http = server.http
    found: dict[str, Any] = http.get(f"{MLFLOW}/runs/get", params={"run_id": run}).json()["run"]
    experiment = found["info"].pop("experiment_id")
    above = http.get(f"{MLFLOW}/experiments/get", params={"experiment_id": experiment}).json()["experiment"]
    models = post(server, "logged-models/search", experiment_ids=[experiment])["models"]
    history = {
        key: http.get(f"{MLFLOW}/metrics/get-history", params={"run_id": run, "metric_key": key}).json()["metrics"]
        for key in ("loss", "auc")
    }
    model = models[0]["info"]
    files = [
        http.get(f"{ROOT}/{uri.partition(':/')[2]}/model/weights.bin").content
        for uri in (found["info"]["artifact_uri"], model["artifact_uri"])
    ]
    model.pop("experiment_id")
    for metric in found["data"]["metrics"]:
        metric["value"] = str(metric["value"])
    return {
        **found,
        "experiment": (above["name"], above.get("tags")),
        "history": json.dumps(history),
        "models": models,
        "files": files,
    }


def forget(folder: Path) -> None:
    for name in ("ledger", "ledger-wal", "ledger-shm"):
        (folder / ".bis" / name).unlink(missing_ok=True)


def test_a_lost_ledger_is_made_again_with_all_that_was_logged(serving: Callable[..., Any], tmp_path: Path) -> None:
    first = serving()
    run = a_run(first)
    end(first, run)
    before = seen(first, run)
    first.stop()
    bis(tmp_path, "reindex")
    forget(tmp_path)
    assert "1 run added" in bis(tmp_path, "reindex")
    again = serving()
    assert seen(again, run) == before
    bis(tmp_path, "verify")


def test_the_server_keeps_a_run_some_seconds_after_its_end_and_again_when_it_changes(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    server = serving()
    run = a_run(server)

    end(server, run)
    time.sleep(7)
    server.stop(9)
    forget(tmp_path)
    bis(tmp_path, "log")
    second = serving()
    assert seen(second, run)["info"]["status"] == "FINISHED"
    post(second, "runs/set-tag", run_id=run, key="stage", value="late")
    time.sleep(7)
    second.stop(9)
    forget(tmp_path)
    bis(tmp_path, "log")
    assert {"key": "stage", "value": "late"} in seen(serving(), run)["data"]["tags"]


def test_a_clone_has_the_runs_and_a_later_change_comes_with_pull(serving: Callable[..., Any], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    first = serving(folder=here)
    run = a_run(first)
    end(first, run)
    bis(here, "remote", "add", "origin", str(tmp_path / "remote"))
    bis(here, "push")
    subprocess.run(
        [sys.executable, "-m", "bis", "clone", str(tmp_path / "remote"), str(there)], check=True, capture_output=True
    )
    second = serving(folder=there)
    assert seen(second, run) == seen(first, run)
    post(first, "runs/set-tag", run_id=run, key="stage", value="late")
    post(second, "runs/update", run_id=run, run_name="renamed here, later")
    bis(here, "push")
    assert seen(second, run)["info"]["run_name"] == "renamed here, later"
    bis(there, "pull")
    assert seen(second, run)["info"]["run_name"] == "renamed here, later", "what was changed last says how it is"
    post(first, "runs/set-tag", run_id=run, key="stage", value="later")
    bis(here, "push")
    bis(there, "pull")
    assert seen(second, run) == seen(first, run)
    bis(there, "gc", "--now")
    shutil.rmtree(tmp_path / "remote")
    assert seen(second, run) == seen(first, run)


def test_what_was_deleted_for_good_does_not_come_back(serving: Callable[..., Any], tmp_path: Path) -> None:
    server = serving()
    run = a_run(server)
    end(server, run)
    bis(tmp_path, "reindex")
    post(server, "runs/delete", run_id=run)
    assert json.loads(bis(tmp_path, "gc", "--now", "--json"))["removed_by_clients"]["runs"] == 1
    server.stop()
    bis(tmp_path, "gc", "--now")
    bis(tmp_path, "reindex")
    assert serving().http.get(f"{MLFLOW}/runs/get", params={"run_id": run}).status_code == 404
    bis(tmp_path, "verify")


def test_a_run_under_way_is_left_alone(serving: Callable[..., Any], tmp_path: Path) -> None:
    server = serving()
    run = a_run(server)
    server.stop()
    bis(tmp_path, "reindex")
    forget(tmp_path)
    bis(tmp_path, "reindex")
    assert serving().http.get(f"{MLFLOW}/runs/get", params={"run_id": run}).status_code == 404


def registered(server: Any) -> dict[str, Any]:
    """All that a client sees of a registered model, and what happened to it."""
    asked = {"name": "churn"}
    versions = server.http.get(f"{MLFLOW}/model-versions/search").json()["model_versions"]
    events = server.http.get("/api/bis/1/models/churn/history").json()
    return {"model": server.http.get(f"{MLFLOW}/registered-models/get", params=asked).json(), **events, "all": versions}


def test_what_was_told_of_the_registry_is_there_after_a_kill_and_the_loss_of_the_ledger(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "bis.toml").write_text("webhooks_anywhere = true\n")
    server = serving()
    webhook = {"name": "w", "url": "http://127.0.0.1:9/", "secret": "a very secret word"}
    post(server, "registered-models/create", name="churn", tags=[{"key": "team", "value": "risk"}])
    assert server.http.post(
        f"{MLFLOW}/webhooks", json={**webhook, "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]}
    ).is_success
    for number in (1, 2, 3):
        tags = [{"key": "n", "value": str(number)}]
        post(server, "model-versions/create", name="churn", source=f"s3://bucket/{number}", tags=tags)
    post(server, "registered-models/alias", name="churn", alias="champion", version="1")
    post(server, "model-versions/transition-stage", name="churn", version="2", stage="Production")
    assert server.http.request("DELETE", f"{MLFLOW}/model-versions/delete", json={"name": "churn", "version": "3"})
    post(server, "registered-models/alias", name="churn", alias="champion", version="2")
    before = registered(server)
    server.stop(9)
    forget(tmp_path)
    bis(tmp_path, "reindex")
    again = serving()
    assert registered(again) == before
    assert [event["action"] for event in before["events"]][:4] == ["alias", "removed", "stage", "alias"]
    assert not again.http.get(f"{MLFLOW}/webhooks").json().get("webhooks")
    assert "a very secret word" not in all_of_store(tmp_path)


def all_of_store(folder: Path) -> str:
    """Every record in it, as text."""
    with open_store(folder / ".bis/store") as store:
        return "".join(store.get_bytes(digest).decode() for digest in store.list("record"))


def test_a_server_and_a_clone_bring_their_changes_of_a_model_together(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    first = serving(folder=here)
    post(first, "registered-models/create", name="churn")
    post(first, "model-versions/create", name="churn", source="s3://bucket/1")
    subprocess.run([sys.executable, "-m", "bis", "clone", first.url, str(there)], check=True, capture_output=True)
    second = serving(folder=there)
    assert registered(second) == registered(first)
    post(second, "model-versions/create", name="churn", source="s3://bucket/theirs")
    post(first, "model-versions/create", name="churn", source="s3://bucket/ours")
    bis(there, "push")
    bis(there, "pull")
    assert registered(second) == registered(first)
    answer = first.http.get(f"{MLFLOW}/model-versions/get", params={"name": "churn", "version": "2"})
    assert answer.status_code == 400
    assert "2 versions of the model 'churn' are called 2" in answer.json()["message"]
