"""Typing `bis evaluate`: versions of a model on versions of data, each cell a run that can be repeated."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Type = Callable[..., Any]
ROWS = [(18 + place % 60, place % 21) for place in range(200)]


def customers(years: float) -> str:
    """Who calls more often than their age, by so many years a call, leaves."""
    rows = "".join(f"{age},{calls},{int(calls > age / years)}\n" for age, calls in ROWS)
    return f"age,calls,churned\n{rows}"


TRAINING = """
import csv, json, sys
import joblib
from sklearn.ensemble import RandomForestClassifier

rows = list(csv.DictReader(open("customers.csv")))
questions = [[float(row["age"]), float(row["calls"])] for row in rows]
answers = [int(row["churned"]) for row in rows]
model = RandomForestClassifier(20, random_state=0).fit(questions, answers)
joblib.dump(model, "model.joblib")
json.dump({"accuracy": model.score(questions, answers)}, open("metrics.json", "w"))
"""
SCRIPT = """
import csv, json, sys
import joblib

model = joblib.load(sys.argv[1] + "/model.joblib")
rows = list(csv.DictReader(open(sys.argv[2])))
said = model.predict([[float(row["age"]), float(row["calls"])] for row in rows])
json.dump({"leavers": float(sum(said))}, open("metrics.json", "w"))
"""


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, bis: Type, training_python: Path) -> Path:
    """Two versions of a model, each trained on another version of the data, evaluated on both."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "bis.toml").write_text("")
    (folder / "train.py").write_text(TRAINING)
    for years in (5, 3):
        (folder / "customers.csv").write_text(customers(years))
        assert bis("data", "add", "customers.csv", "--name", "customers", folder=folder).status == 0
        assert bis("run", "--", str(training_python), "train.py", folder=folder).status == 0
        assert bis("model", "register", "churn", "@latest", folder=folder).status == 0
    return folder


@pytest.fixture(scope="session")
def table(evaluated: Path, bis: Type, training_python: Path) -> Any:
    words = ("models:/churn/*", "--data", "customers@*", "--target", "churned", "--python", str(training_python))
    done = bis("evaluate", *words, "--json", folder=evaluated)
    assert done.status == 0, done.err
    return done.json["cells"]


@pytest.fixture
def project(tmp_path: Path, table: Any, evaluated: Path) -> Path:
    return shutil.copytree(evaluated, tmp_path / "project", symlinks=True)


def test_a_model_is_good_on_its_own_data_and_worse_on_that_of_another_time(table: Any) -> None:
    found = {(cell["model"][-1], cell["data"][-1]): cell["metrics"] for cell in table}
    assert set(found) == {("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")}
    assert found["1", "1"]["accuracy"] == found["2", "2"]["accuracy"] == 1.0
    assert found["1", "2"]["accuracy"] < 0.9
    assert set(found["1", "2"]) == {"accuracy"}  # as the training run measured it


def test_others_are_told_where_they_are_asked_for_or_the_training_measured_none(
    project: Path, bis: Type, training_python: Path
) -> None:
    words = ("evaluate", "--data", "customers@v2", "--target", "churned", "--python", str(training_python), "--json")
    asked = bis(*words, "models:/churn/1", "--metrics", "auc,precision", folder=project)
    assert set(asked.json["cells"][0]["metrics"]) == {"auc", "precision"}, asked.err
    (project / "train.py").write_text(TRAINING.rpartition("json.dump")[0])
    assert bis("run", "--", str(training_python), "train.py", folder=project).status == 0
    silent = bis(*words, "@latest", folder=project)
    assert set(silent.json["cells"][0]["metrics"]) == {"accuracy", "auc", "f1", "log_loss"}, silent.err


def test_what_was_measured_when_a_model_was_saved_is_told_too(
    project: Path, bis: Type, training_python: Path, tmp_path: Path
) -> None:
    """`bis.save_model(…, metrics={…})`, wherever the run is that did it."""
    assert bis("model", "export", "models:/churn/1", str(tmp_path / "taken"), folder=project).status == 0
    about = tmp_path / "taken" / "bis.json"
    about.chmod(0o644)
    about.write_text(json.dumps({**json.loads(about.read_bytes()), "run": "", "metrics": {"val_auc": 0.9}}))
    described = tmp_path / "taken" / "MLmodel"
    described.write_text("".join(line for line in described.open() if not line.startswith("run_id")))
    words = ("--data", "customers@v2", "--target", "churned", "--python", str(training_python), "--trust", "--json")
    done = bis("evaluate", str(tmp_path / "taken"), *words, folder=project)
    assert set(done.json["cells"][0]["metrics"]) == {"auc"}, done.err


def test_lineage_of_a_version_tells_the_cells_that_asked_it(project: Path, table: Any, bis: Type) -> None:
    told = bis("lineage", "models:/churn/1", folder=project).out
    asked = {cell["run"][:8]: cell["model"] for cell in table}
    assert {run for run in asked if run in told} == {run for run, model in asked.items() if model == "models:/churn/1"}


def test_a_table_of_several_has_a_square_for_each_metric_and_one_of_the_runs(
    project: Path, table: Any, bis: Type, training_python: Path
) -> None:
    words = ("models:/churn/*", "--data", "customers@*", "--target", "churned", "--python", str(training_python))
    done = bis("evaluate", *words, folder=project)
    lines = done.out.splitlines()
    assert lines[0].split() == ["accuracy", "data:/customers@v1", "data:/customers@v2"]
    assert lines[1].split()[:2] == ["models:/churn/1", "1"]
    assert "evaluating" not in done.err  # all of it was known
    assert lines[-3].split() == ["run", "data:/customers@v1", "data:/customers@v2"]
    assert lines[-1].split() == ["models:/churn/2", *(cell["name"] for cell in table if cell["model"][-1] == "2")]


def test_numbers_of_a_metric_stand_below_one_another_with_as_many_digits_as_tell_them_apart(
    project: Path, bis: Type, training_python: Path
) -> None:
    words = ("models:/churn/*", "--data", "customers@v1", "--target", "churned", "--python", str(training_python))
    lines = bis("evaluate", *words, "--metrics", "accuracy,auc", folder=project).out.splitlines()
    at = lines[0].index("auc")
    cells = [line[at:].split()[0] for line in lines[1:]]
    assert all(len(cell) <= 8 for cell in cells), lines
    assert len({line[at:].index(".") if "." in line[at:] else len(cells[0]) for line in lines[1:]}) == 1, lines


def test_a_cell_is_a_run_that_repeats(project: Path, table: Any, bis: Type) -> None:
    done = bis("repeat", table[1]["run"], "--json", folder=project)
    assert done.status == 0, done.err
    outputs = done.json["verdicts"][0]["outputs"]
    assert {one["name"]: one["sameness"] for one in outputs}["metrics.json"] == "identical"


def test_what_was_evaluated_is_not_run_again_unless_asked(
    project: Path, table: Any, bis: Type, training_python: Path
) -> None:
    words = ("evaluate", "models:/churn/1", "--data", "customers@v1", "--target", "churned", "--json")
    words = (*words, "--python", str(training_python))
    (same,) = bis(*words, folder=project).json["cells"]
    assert (same["run"], same["known"]) == (table[0]["run"], True)
    (fresh,) = bis(*words, "--again", folder=project).json["cells"]
    assert fresh["run"] != table[0]["run"]
    assert fresh["metrics"] == table[0]["metrics"]


def test_what_is_missing_is_named_and_leaves_no_run(project: Path, bis: Type, training_python: Path) -> None:
    runs = len(bis("log", "--json", folder=project).json["runs"])
    words = ("evaluate", "models:/churn/1", "--data", "customers@v1", "--python", str(training_python))
    wrong = bis(*words, "--target", "left", folder=project)
    assert wrong.status == 2
    assert "has no column left" in wrong.err
    assert "It has age, calls, churned." in wrong.err
    unsaid = bis(*words, folder=project)
    assert unsaid.status == 2
    assert "which column of data/customers.csv is what the model should say?" in unsaid.err
    strange = bis(*words, "--target", "churned", "--metrics", "rmse", folder=project)
    assert strange.status == 2
    assert "known here are accuracy, f1, log_loss, auc" in strange.err
    assert len(bis("log", "--json", folder=project).json["runs"]) == runs
    assert bis(*words[:2], "--data", "custmers", folder=project).status == 3


def test_a_model_that_takes_other_columns_says_how_many(project: Path, bis: Type, training_python: Path) -> None:
    (project / "wide.csv").write_text("age,calls,town,churned\n1,2,3,0\n4,5,6,1\n")
    assert bis("data", "add", "wide.csv", folder=project).status == 0
    words = ("models:/churn/1", "--data", "wide", "--target", "churned", "--python", str(training_python))
    done = bis("evaluate", *words, folder=project)
    assert done.status == 2
    assert "the model takes 2 columns, and the data has 3 beside the target" in done.err


def test_a_script_says_itself_what_is_measured(project: Path, bis: Type, training_python: Path) -> None:
    (project / "evaluate.py").write_text(SCRIPT)
    words = ("models:/churn/1", "--data", "customers@v1", "--script", "evaluate.py", "--python", str(training_python))
    done = bis("evaluate", *words, "--json", folder=project)
    assert done.status == 0, done.err
    leavers = sum(int(calls > age / 5) for age, calls in ROWS)
    assert done.json["cells"][0]["metrics"] == {"leavers": leavers}


def test_the_run_of_a_cell_tells_what_it_is_of(project: Path, table: Any, bis: Type) -> None:
    shown = bis("show", table[1]["run"], "--json", folder=project).json
    assert (shown["tags"]["model"], shown["tags"]["data"]) == ("models:/churn/1", "data:/customers@v2")
    kept = json.dumps(shown["run"]["parts"]["data"]["facts"])
    assert "data/customers.csv" in kept
