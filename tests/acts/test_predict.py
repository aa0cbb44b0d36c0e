"""`bis predict` as a user types it: recorded, repeated from the store, gone on with, refused in words."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Run

Bis = Callable[..., "subprocess.CompletedProcess[str]"]

SAVE = """
import json, pathlib
import numpy, skops.io
from sklearn.linear_model import LogisticRegression

rows = numpy.random.default_rng(1).normal(size=(90, 2))
model = LogisticRegression().fit(rows, (rows[:, 0] - rows[:, 1] > 0).astype("int64"))
folder = pathlib.Path("model")
folder.mkdir()
skops.io.dump(model, folder / "model.skops")
inputs = [{"type": "double", "name": name, "required": True} for name in ("age", "income")]
flavors = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
described = {"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}}
(folder / "MLmodel").write_text(json.dumps(described))
"""
TRAIN = """
import random
import joblib
from sklearn.linear_model import LogisticRegression

rows = [[float(place % 7), float(place % 5)] for place in range(100)]
model = LogisticRegression(C=random.uniform(1, 2)).fit(rows, [int(age > income) for age, income in rows])
joblib.dump(model, "model.joblib")
"""


@pytest.fixture
def ready(project: Path, models_python: Path) -> list[str]:
    """The words for a scoring of rows.csv in a project with a model."""
    (project / "save.py").write_text(SAVE)
    subprocess.run([models_python, "save.py"], cwd=project, check=True)
    rows = "".join(f"{place},{place % 7 - 3.0},{place % 5 - 2.0}\n" for place in range(5000))
    (project / "rows.csv").write_text(f"id,age,income\n{rows}")
    named = ["predict", "./model", "--input", "rows.csv", "--output", "scores.csv"]
    return [*named, "--python", str(models_python), "--keep", "id", "--json"]


def test_a_scoring_is_a_run_that_bis_repeats_from_the_store_alone(
    bis: Bis, project: Path, ready: list[str], last: Callable[[], Run], identical: Callable[..., dict[str, Any]]
) -> None:
    done = bis(*ready)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["run"], told["rows"], told["rejected"]) == ("predict-1", 5000, 0)
    run = last()
    inputs = {row["path"] for row in run.parts["data"].facts["inputs"] if row["read"]}
    assert {"rows.csv", "model/model.skops"} <= inputs
    assert "scores.csv" in {output.path for output in run.outputs}
    assert not [finding for finding in run.findings if finding.blocks]
    for name in ("rows.csv", "scores.csv", "model/model.skops", "model/MLmodel", "save.py"):
        (project / name).unlink()
    identical(bis("repeat", "predict-1", "--json"))


def test_lineage_leads_from_the_rows_to_the_predictions(bis: Bis, ready: list[str]) -> None:
    assert bis(*ready).returncode == 0
    assert "predict-1" in bis("lineage", "rows.csv").stdout
    assert "rows.csv" in bis("lineage", "scores.csv").stdout
    assert "model/model.skops" in bis("lineage", "scores.csv").stdout


def test_lineage_of_a_version_tells_the_predictions_that_were_made_with_it(
    bis: Bis, project: Path, training_python: Path
) -> None:
    (project / "train.py").write_text(TRAIN)
    (project / "rows.csv").write_text("age,income\n1.0,2.0\n3.0,-1.0\n")
    python = str(training_python)
    for words in (
        ("run", "--", python, "train.py"),
        ("predict", "train-1", "--input", "rows.csv", "--output", "before.csv", "--python", python),
        ("model", "register", "churn", "train-1", "--alias", "champion"),
        ("run", "--", python, "train.py"),
        ("model", "register", "churn", "train-3", "--alias", "champion"),
        ("predict", "models:/churn@champion", "--input", "rows.csv", "--output", "scores.csv", "--python", python),
    ):
        done = bis(*words)
        assert done.returncode == 0, done.stderr
    assert _reached(bis, "models:/churn/2") == ["run predict-4", "predictions scores.csv 2 rows"]
    assert _reached(bis, "models:/churn/1") == ["run predict-2", "predictions before.csv 2 rows"]


def _reached(bis: Bis, model: str) -> list[str]:
    """Runs and predictions that came of it."""
    found = json.loads(bis("lineage", model, "--json").stdout)["lineage"]["reached"]
    nodes = [node for node in found if node["kind"] == "run"]
    nodes = [one for node in nodes for one in (node, *node.get("children", ()))]
    return [f"{one['kind']} {one['name']}" + (f" {one['detail']}" if one["kind"] != "run" else "") for one in nodes]


def test_killed_it_goes_on_and_of_other_rows_it_begins_anew_only_when_told(
    bis: Bis, project: Path, variables: dict[str, str], ready: list[str]
) -> None:
    assert bis(*ready, "--batch", "2").returncode == 0
    whole = (project / "scores.csv").read_bytes()
    (project / "scores.csv").unlink()
    asked = [sys.executable, "-m", "bis", *ready, "--batch", "2"]
    process = subprocess.Popen(asked, cwd=project, env=variables, stdout=subprocess.DEVNULL, start_new_session=True)
    work, patience = project / ".bis" / "predict", time.monotonic() + 60
    while not list(work.glob("*/0*-*.csv")) and time.monotonic() < patience:
        time.sleep(0.005)
    for pid in _below(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert list(work.glob("*/0*-*.csv"))
    assert not (project / "scores.csv").exists()
    rows = (project / "rows.csv").read_text()
    (project / "rows.csv").write_text(rows.replace("\n1,", "\n100001,"))
    refused = bis(*ready, "--batch", "2")
    assert refused.returncode == 2
    assert "another input" in refused.stderr
    assert "--restart" in refused.stderr
    (project / "rows.csv").write_text(rows)
    again = bis(*ready, "--batch", "2")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["resumed"]
    assert (project / "scores.csv").read_bytes() == whole
    assert not list(work.glob("*"))


def _below(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _below(int(child)))]


@pytest.mark.parametrize("output", [".", "kept", "save.py/", "Makefile"])
def test_what_no_scoring_wrote_is_never_lost_to_an_output(
    bis: Bis, project: Path, ready: list[str], output: str
) -> None:
    (project / "kept").mkdir()
    for name in ("kept/mine.txt", "kept/part-00000.csv", "Makefile"):
        (project / name).write_text("mine")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".bis" not in path.parts}
    done = bis(*["x" if word == "scores.csv" else word for word in ready], "--output", output, "--format", "csv")
    assert done.returncode == 2, done.stderr
    assert f"the predictions are not written to {output}: " in done.stderr
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_folder_of_an_earlier_output_is_replaced(bis: Bis, project: Path, ready: list[str]) -> None:
    asked = ["scores" if word == "scores.csv" else word for word in ready]
    for _ in range(2):
        assert bis(*asked, "--format", "csv").returncode == 0
        assert [path.name for path in (project / "scores").iterdir()] == ["part-00000.csv"]
        assert len((project / "scores" / "part-00000.csv").read_text().splitlines()) == 5001


def test_a_folder_that_is_called_like_a_file_is_said_to_be_one(bis: Bis, ready: list[str]) -> None:
    ready.remove("--json")
    done = bis(*["scores.parqet" if word == "scores.csv" else word for word in ready], "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert "scores.parqet/ is a folder: files are called .csv, .jsonl, .parquet or .arrow" in done.stderr
    done = bis(*["scores" if word == "scores.csv" else word for word in ready], "--format", "csv")
    assert "rows a second  scores/" in done.stderr
    assert "is a folder" not in done.stderr


def test_two_scorings_of_one_version_of_data_do_not_take_it_from_each_other(
    bis: Bis, project: Path, ready: list[str], variables: dict[str, str]
) -> None:
    assert bis("data", "add", "rows.csv", "--name", "rows").returncode == 0
    asked = ["data:/rows" if word == "rows.csv" else word for word in ready]
    first = [sys.executable, "-m", "bis", *asked, "--batch", "1"]
    with subprocess.Popen(first, cwd=project, env=variables, stderr=subprocess.PIPE, text=True) as process:
        patience = time.monotonic() + 60
        while not list((project / ".bis" / "predict").glob("*/0*-*.csv")) and time.monotonic() < patience:
            time.sleep(0.005)
        second = bis(*["other.csv" if word == "scores.csv" else word for word in asked])
        assert process.poll() is None, "the first one is still at it"
        assert second.returncode == 0, second.stderr
        again = bis(*asked)
        assert "another process is writing scores.csv now" in again.stderr
        _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    run = json.loads(bis("show", "predict-1", "--json").stdout)["run"]
    assert not [one["text"] for one in run["parts"]["data"].get("findings", ())]
    assert (project / "scores.csv").read_bytes() == (project / "other.csv").read_bytes()
    assert not list((project.parent / ".local" / "share" / "bis" / "inputs").iterdir())


def test_a_bad_row_is_named_and_skipping_goes_on_from_there(bis: Bis, project: Path, ready: list[str]) -> None:
    with (project / "rows.csv").open("a") as file:
        file.write("5000,secret,1.0\n")
    done = bis(*ready)
    assert done.returncode == 2
    assert "rows.csv, row 5001, column 'age': a value of the type double is expected" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    skipped = bis(*ready, "--on-error", "skip")
    assert skipped.returncode == 0, skipped.stderr
    told = json.loads(skipped.stdout)
    assert (told["rows"], told["rejected"], told["rejects"]) == (5000, 1, "scores.csv.rejects.jsonl")
