"""The unchanged Python client of MLflow, in an environment of its own, against a real server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

V = "/api/2.0/mlflow"
AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server for the tests of this page, in whose project one run was recorded."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "train.py").write_text("import json\njson.dump({'loss': 0.25}, open('metrics.json', 'w'))\n")
    for words in (["init", "-q"], ["add", "train.py"], [*AUTHOR, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    bis = [sys.executable, "-m", "bis", "-C", str(folder)]
    subprocess.run([*bis, "run", "--name", "recorded", "--", sys.executable, "train.py", "--lr", "0.1"], check=True)
    process = subprocess.Popen([*bis, "server", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    yield process.stdout.readline().decode().split()[-1]
    process.terminate()
    assert process.wait(30) == 0
    assert b"Traceback" not in process.stdout.read()


@pytest.fixture
def client(running: str, clients: Path, tmp_path: Path) -> Callable[[str], Any]:
    """Runs lines of Python that use `mlflow`, and gives what they leave in `answer`. What the client prints that is a
    warning or an error fails the test."""

    def script(lines: str) -> Any:
        whole = (
            f"import json, mlflow\nmlflow.set_tracking_uri({running!r})\nclient = mlflow.MlflowClient()\n{lines}\n"
            "open('answer.json', 'w').write(json.dumps(answer))\n"
        )
        done = subprocess.run(
            [clients, "-W", "ignore", "-c", whole],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
            env={"PATH": "/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "answer.json").read_text()), done.stderr

    return script


def test_a_client_logs_and_finds_what_it_logged(client: Callable[[str], Any]) -> None:
    answer, said = client(
        "mlflow.set_experiment('first')\n"
        "with mlflow.start_run(run_name='parent', tags={'team': 'fraud'}) as parent:\n"
        "    mlflow.log_params({'lr': 0.1, 'depth': 3})\n"
        "    for step in range(3): mlflow.log_metric('loss', 1 / (step + 1), step=step)\n"
        "    with mlflow.start_run(nested=True) as child: mlflow.log_metric('loss', float('nan'))\n"
        "found = mlflow.search_runs(experiment_names=['first'], order_by=['metrics.loss'], output_format='list')\n"
        "run = client.get_run(parent.info.run_id)\n"
        "answer = {\n"
        "    'found': [one.info.run_name == 'parent' for one in found],\n"
        "    'params': run.data.params, 'name': run.data.tags['mlflow.runName'], 'status': run.info.status,\n"
        "    'history': [point.value for point in client.get_metric_history(run.info.run_id, 'loss')],\n"
        "    'children': [one.info.run_id == child.info.run_id for one in client.search_runs(\n"
        "        [run.info.experiment_id], f\"tags.`mlflow.parentRunId` = '{run.info.run_id}'\")],\n"
        "}"
    )
    assert answer == {
        "found": [True, False],
        "params": {"lr": "0.1", "depth": "3"},
        "name": "parent",
        "status": "FINISHED",
        "history": [1.0, 0.5, 1 / 3],
        "children": [True],
    }
    assert "WARNING" not in said


@pytest.mark.slow
def test_autologging_saves_a_model_that_is_loaded_again(client: Callable[[str], Any]) -> None:
    answer, said = client(
        "import logging; logging.getLogger('mlflow.sklearn').setLevel(logging.ERROR)\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "x, y = load_iris(return_X_y=True, as_frame=True)\n"
        "mlflow.set_experiment('automatic'); mlflow.sklearn.autolog()\n"
        "with mlflow.start_run() as run: model = LogisticRegression(max_iter=500).fit(x, y)\n"
        "run = client.get_run(run.info.run_id)\n"
        "(logged,) = mlflow.search_logged_models(output_format='list')\n"
        "again = mlflow.pyfunc.load_model(f'models:/{logged.model_id}')\n"
        "answer = {\n"
        "    'same': bool((again.predict(x) == model.predict(x)).all()), 'status': str(logged.status),\n"
        "    'iterations': run.data.params['max_iter'], 'score': run.data.metrics['training_score'] > 0.9,\n"
        "    'inputs': len(run.inputs.dataset_inputs), 'outputs': len(run.outputs.model_outputs),\n"
        "}"
    )
    assert answer == {
        "same": True,
        "status": "READY",
        "iterations": "500",
        "score": True,
        "inputs": 1,
        "outputs": 1,
    }
    assert "Error" not in said


def test_a_run_that_bis_recorded_is_read_by_clients_and_only_tags_of_it_change(client: Callable[[str], Any]) -> None:
    answer, _ = client(
        "(run,) = client.search_runs(['0'], \"run_name = 'recorded'\")\n"
        "said = []\n"
        "for change in (lambda: client.log_metric(run.info.run_id, 'loss', 1.0),\n"
        "               lambda: client.log_param(run.info.run_id, 'new', 1)):\n"
        "    try: change()\n"
        "    except mlflow.MlflowException as error: said.append([error.error_code, 'sealed' in str(error)])\n"
        "client.set_tag(run.info.run_id, 'stage', 'checked')\n"
        "client.delete_run(run.info.run_id)\n"
        "gone = [one.info.run_name for one in client.search_runs(['0'])]\n"
        "client.restore_run(run.info.run_id)\n"
        "again = client.get_run(run.info.run_id)\n"
        "answer = {'said': said, 'gone': gone, 'tag': again.data.tags['stage'], 'metrics': again.data.metrics,\n"
        "          'params': again.data.params['lr'], 'source': 'train.py' in again.data.tags['mlflow.source.name'],\n"
        "          'commit': len(again.data.tags['mlflow.source.git.commit']),\n"
        "          'status': again.info.status, 'stage': again.info.lifecycle_stage}"
    )
    assert answer == {
        "said": [["INVALID_PARAMETER_VALUE", True]] * 2,
        "gone": [],
        "tag": "checked",
        "metrics": {"loss": 0.25},
        "params": "0.1",
        "source": True,
        "commit": 40,
        "status": "FINISHED",
        "stage": "active",
    }


def test_a_traced_function_does_its_work_and_the_client_goes_on(client: Callable[[str], Any]) -> None:
    answer, said = client(
        "@mlflow.trace\n"
        "def double(x): return 2 * x\n"
        "answer = double(4)\n"
        "mlflow.flush_trace_async_logging()\n"
        "with mlflow.start_run(): mlflow.log_metric('loss', 1.0)\n"
    )
    assert answer == 8
    assert said.count("not supported by bis") <= 1


def test_what_bis_does_not_do_is_told_apart_from_what_nobody_does(running: str) -> None:
    traces = httpx.post(f"{running}/api/3.0/mlflow/traces", json={})
    assert (traces.status_code, traces.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    nothing = httpx.get(f"{running}/api/2.0/mlflow/no/such/thing")
    assert (nothing.status_code, nothing.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert httpx.get(f"{running}/ajax-api/3.0/mlflow/server-info").json()["workspaces_enabled"] is False


@pytest.mark.parametrize(
    ("call", "body", "said"),
    [
        ("runs/create", '{"experiment_id": "x"}', "Invalid experiment ID 'x'"),
        ("runs/create", '{"experiment_id": "99"}', "No Experiment with id=99 exists"),
        ("runs/set-tag", '{"run_id": 3, "key": "k"}', "Invalid value 3 for parameter 'run_id' supplied"),
        ("runs/set-tag", '{"run_id": null, "key": "k"}', "Missing value for required parameter 'run_id'"),
        ("runs/set-tag", '{"run_id": "none", "key": "k", "value": "\\ud800"}', "not valid JSON"),
        ("runs/search", '{"experiment_ids": ["0"], "filter": "metrics.x IS NULL"}', "IS NULL / IS NOT NULL is only"),
        ("runs/search", '{"experiment_ids": ["0"], "filter": "1; DROP TABLE runs"}', "Invalid clause(s) in filter"),
        ("runs/search", '{"experiment_ids": ["0"], "page_token": "garbage"}', "Invalid page token"),
        ("runs/search", '{"experiment_ids": ["0"], "max_results": 0}', "Invalid value 0 for parameter 'max_results'"),
        ("experiments/create", '{"name": "Default"}', "Experiment(name=Default) already exists"),
        ("experiments/search", '{"max_results": 50001}', "Invalid value 50001 for parameter 'max_results'"),
        ("logged-models", '{"experiment_id": "0", "name": "a/b"}', "Invalid model name ('a/b')"),
        ("runs/log-batch", '{"run_id": "x", "metrics": [{"key": "a", "value": 1}]}', "'metrics[0].timestamp'"),
        ("runs/outputs", '{"run_id": "x", "models": [{"model_id": "m", "step": 1e30}]}', "models[0].step"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_words_that_clients_look_for(
    running: str, call: str, body: str, said: str
) -> None:
    answer = httpx.post(f"{running}{V}/{call}", content=body)
    assert answer.status_code in (400, 404)
    assert said in answer.json()["message"]


def test_pages_ask_in_graphql(running: str) -> None:
    id = httpx.post(f"{running}{V}/runs/create", json={"experiment_id": "0", "run_name": "q"}).json()["run"]["info"]
    query = (
        "query Q($id: String!) { one: mlflowGetRun(input: {runId: $id}) { run { info { runName startTime }"
        " experiment { name } } } }"
    )
    answer = httpx.post(f"{running}/graphql", json={"query": query, "variables": {"id": id["run_id"]}}).json()
    run = answer["data"]["one"]["run"]
    assert (run["info"]["runName"], run["experiment"]["name"], answer["errors"]) == ("q", "Default", None)
    for wrong in ("{", "{ nothing { a } }", "{ mlflowGetRun(input: {runId: }) }", "{" + "a{" * 50):
        answer = httpx.post(f"{running}/graphql", json={"query": wrong})
        assert (answer.status_code, answer.json()["data"]) == (200, None)
        assert answer.json()["errors"]
