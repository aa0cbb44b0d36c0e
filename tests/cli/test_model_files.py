"""Models that a run wrote without saying so: listed, registered, laid out, each with what its run knows of it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bis.acts.registry import by_here, register_within
from bis.nouns.reference import parse
from bis.settings import load_settings
from bis.steps.home import open_home
from bis.steps.model_place import Placed, place
from bis.steps.registering import registering

Type = Callable[..., Any]
CUSTOMERS = "age,calls,churned\n" + "".join(
    f"{18 + place % 60},{place % 21},{int(place % 21 > (18 + place % 60) / 5)}\n" for place in range(200)
)
TRAINING = """
import csv, json, sys
import joblib
from sklearn.ensemble import RandomForestClassifier

rows = list(csv.DictReader(open("customers.csv")))
questions = [[float(row["age"]), float(row["calls"])] for row in rows]
answers = [int(row["churned"]) for row in rows]
model = RandomForestClassifier(int(sys.argv[1]), max_depth=3, random_state=0).fit(questions, answers)
joblib.dump(model, "model.joblib", compress=int(sys.argv[2]))
json.dump({"accuracy": model.score(questions, answers)}, open("metrics.json", "w"))
"""
SEVERAL = """
import shutil
shutil.copy("model.joblib", "second.joblib")
open("weights.pkl", "wb").write(b"\\x80\\x04K\\x01.")
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, bis: Type, training_python: Path) -> Path:
    """Two runs that write one model as other bytes, and one of a larger forest. Nothing is registered."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "bis.toml").write_text("")
    (folder / "train.py").write_text(TRAINING)
    (folder / "customers.csv").write_text(CUSTOMERS)
    assert bis("data", "add", "customers.csv", "--name", "customers", folder=folder).status == 0
    for words in (("20", "0"), ("20", "3"), ("30", "0")):
        done = bis("run", "--", str(training_python), "train.py", *words, folder=folder)
        assert done.status == 0, done.err
    return folder


@pytest.fixture
def project(tmp_path: Path, trained: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "project", symlinks=True)


def laid_out(project: Path, what: str, cache: Path) -> Placed:
    home = open_home(project, load_settings(project, {}), create=False)
    return place(what, datetime.now(UTC), project, lambda: home, cache)


def test_a_run_is_shown_with_the_models_that_it_wrote(project: Path, bis: Type) -> None:
    page = bis("show", "train-1", folder=project).out
    (line,) = [line for line in page.splitlines() if line.startswith("models")]
    assert "model.joblib" in line
    assert "sklearn RandomForestClassifier, 20 trees, " in line
    (told,) = bis("show", "train-1", "--json", folder=project).json["models"]
    assert (told["path"], told["flavor"], told["summary"]["trees"]) == ("model.joblib", "sklearn", 20)
    assert "pickle" in told["warnings"][0]


def test_registering_needs_no_path_where_one_model_is_there(project: Path, bis: Type) -> None:
    done = bis("model", "register", "churn", "train-1", "--json", folder=project)
    assert done.status == 0, done.err
    version = done.json["version"]
    assert version["source"].endswith("/model.joblib")
    assert version["tags"]["bis.identity"].startswith("b3:")


def test_one_model_in_two_files_of_other_bytes_is_one_version(project: Path, bis: Type) -> None:
    show = [bis("show", f"train-{number}", "--json", folder=project).json["run"]["outputs"] for number in (1, 2)]
    digests = [next(one["digest"] for one in outputs if one["path"] == "model.joblib") for outputs in show]
    assert digests[0] != digests[1]
    assert bis("model", "register", "churn", "train-1", folder=project).status == 0
    same = bis("model", "register", "churn", "train-2", "--tag", "seen=twice", "--alias", "champion", folder=project)
    assert same.status == 0, same.err
    assert "what train-2 made is churn/1 already" in same.out
    told = bis("model", "show", "churn/1", "--json", folder=project).json["version"]
    assert (told["tags"]["seen"], told["aliases"]) == ("twice", ["champion"])
    assert bis("model", "register", "churn", "train-3", "--json", folder=project).json["version"]["number"] == 2
    again = bis("model", "register", "churn", "train-2", "--again", "--json", folder=project).json
    assert (again["version"]["number"], again["already"]) == (3, False)


def test_what_a_client_registered_is_known_by_its_files(project: Path, bis: Type) -> None:
    """The server's API notes no identity: it does not look at files."""
    home = open_home(project, load_settings(project, {}), create=False)
    run = home.ledger.find(parse("train-1", datetime(2026, 1, 1)))
    with registering(home) as connection:
        made, _ = register_within(connection, "churn", run, "model.joblib", by_here())
    assert "bis.identity" not in made.tags
    same = bis("model", "register", "churn", "train-2", folder=project)
    assert "what train-2 made is churn/1 already" in same.out
    assert "bis.identity" in bis("model", "show", "churn/1", "--json", folder=project).json["version"]["tags"]
    assert bis("model", "register", "churn", "train-3", "--json", folder=project).json["version"]["number"] == 2


def test_where_several_models_were_written_the_question_names_them(
    project: Path, bis: Type, training_python: Path
) -> None:
    (project / "several.py").write_text(SEVERAL + TRAINING.replace('"model.joblib"', '"third.joblib"'))
    shutil.copy(project / "customers.csv", project / "again.csv")
    assert (
        bis("run", "--name", "several", "--", str(training_python), "several.py", "5", "0", folder=project).status == 0
    )
    refused = bis("model", "register", "churn", "several", folder=project)
    assert refused.status == 2
    assert "It made the models second.joblib, third.joblib." in refused.err  # and not the pickle of a number
    assert bis("model", "register", "churn", "several", "--path", "third.joblib", folder=project).status == 0


def test_a_single_file_is_laid_out_with_all_that_its_run_knows(project: Path, bis: Type, tmp_path: Path) -> None:
    assert bis("model", "register", "churn", "train-1", "-m", "the first", folder=project).status == 0
    placed = laid_out(project, "models:/churn/1", tmp_path / "one")
    about = json.loads((placed.folder / "bis.json").read_bytes())
    run = bis("show", "train-1", "--json", folder=project).json["run"]
    assert about["run"] == run["id"]
    assert about["parts"] == {kind: part["digest"] for kind, part in run["parts"].items()}
    assert (
        about["identity"]
        == bis("model", "show", "churn/1", "--json", folder=project).json["version"]["tags"]["bis.identity"]
    )
    assert "scikit-learn" in (placed.folder / "pylock.toml").read_text()
    assert "scikit-learn==" in (placed.folder / "requirements.txt").read_text()
    card = (placed.folder / "README.md").read_text()
    for word in (
        "# churn/1",
        "RandomForestClassifier, 20 trees",
        "the first",
        "accuracy",
        "data:/customers@v1",
        "pickle",
    ):
        assert word in card


def test_what_is_laid_out_is_the_same_each_time(project: Path, bis: Type, tmp_path: Path) -> None:
    assert bis("model", "register", "churn", "train-1", folder=project).status == 0
    one, other = (laid_out(project, "models:/churn/1", tmp_path / name).folder for name in ("one", "other"))
    assert one.name == other.name
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }


COEFFICIENTS = """
import csv, json, sys
import joblib
from sklearn.linear_model import Ridge

rows = list(csv.DictReader(open("customers.csv")))
questions = [[float(row["age"]), float(row["calls"])] for row in rows]
model = Ridge(alpha=float(sys.argv[1])).fit(questions, [float(row["churned"]) for row in rows])
joblib.dump(model, "line.joblib")
json.dump({"r2": model.score(questions, [float(row["churned"]) for row in rows])}, open("metrics.json", "w"))
"""


@pytest.fixture
def registered(project: Path, bis: Type) -> Path:
    """`churn/1` of 20 trees, `churn/2` of 30, `churn/3` the first again."""
    for words in (("train-1",), ("train-3",), ("train-2", "--again")):
        assert bis("model", "register", "churn", *words, folder=project).status == 0
    return project


def test_two_forests_differ_in_trees_hyperparameters_metrics_and_parts(registered: Path, bis: Type) -> None:
    done = bis("model", "diff", "churn/1", "churn/2", "--json", folder=registered)
    assert done.status == 1, done.err
    told = done.json
    assert [(one["name"], one["before"], one["after"]) for one in told["params"]] == [("n_estimators", "20", "30")]
    assert (told["trees"]["before"], told["trees"]["after"]) == (20, 30)
    assert told["trees"]["changed"] == 0  # the first twenty are the same
    assert {part["name"]: part["sameness"] for part in told["parts"]}["params"] == "different"
    assert told["predictions"] is None
    assert "--data FILE names rows" in told["unasked"]
    page = bis("model", "diff", "churn/1", "churn/2", folder=registered).out
    for line in ("another model", "20 -> 30 trees", "n_estimators  20  ->  30", "not compared: "):
        assert line in page


def test_one_model_in_two_versions_is_the_same_and_answers_alike(
    registered: Path, bis: Type, training_python: Path
) -> None:
    words = ("--data", "customers@v1", "--target", "churned", "--python", str(training_python), "--json")
    done = bis("model", "diff", "churn/1", "churn/3", *words, folder=registered)
    assert done.status == 0, done.err
    assert done.json["same"]
    assert (done.json["predictions"]["rows"], done.json["predictions"]["same"]) == (200, 200)
    assert bis("model", "diff", "churn/1", "churn/3", folder=registered).status == 0


def test_answers_to_rows_tell_models_apart(registered: Path, bis: Type, training_python: Path) -> None:
    words = ("--data", "customers.csv", "--target", "churned", "--python", str(training_python), "--json")
    told = bis("model", "diff", "churn/1", "churn/2", *words, folder=registered).json["predictions"]
    assert told["rows"] == 200
    assert 0 < told["same"] <= 200
    wrong = bis("model", "diff", "churn/1", "churn/2", *words[:2], *words[4:], folder=registered)
    assert wrong.status == 2
    assert "the model takes 2 columns, and the data has 3" in wrong.json["error"]["what"]


def test_the_probe_set_of_a_model_is_what_its_versions_are_asked_about(
    registered: Path, bis: Type, training_python: Path
) -> None:
    words = ("model", "diff", "churn/1", "churn/2", "--python", str(training_python))
    assert bis("model", "probe", "churn", "--json", folder=registered).json["data"] is None
    kept = bis("model", "probe", "churn", "customers", "--target", "churned", folder=registered)
    assert "churn is asked about customers@v1, without the column churned" in kept.out
    told = bis(*words, "--json", folder=registered).json
    assert (told["asked"], told["predictions"]["rows"]) == ("customers@v1", 200)
    assert 0 < told["predictions"]["probable_mean"] < told["predictions"]["probable"] < 1
    page = bis(*words, folder=registered).out
    assert " of 200 rows of customers@v1 alike; probabilities by 0." in page
    same = bis("model", "diff", "churn/1", "churn/3", *words[4:], folder=registered)
    assert "200 of 200 rows of customers@v1 alike; probabilities the same" in same.out
    assert bis("reindex", folder=registered).status == 0
    assert bis("model", "probe", "churn", "--json", folder=registered).json["target"] == "churned"
    assert bis("model", "probe", "churn", "--forget", folder=registered).status == 0
    assert "not compared" in bis(*words, folder=registered).out
    assert bis("model", "probe", "churn", "--forget", folder=registered).status == 2
    assert bis("model", "probe", "churn", "nothing", folder=registered).status == 3


def test_a_probe_set_that_does_not_fit_or_is_gone_keeps_nobody_from_comparing(
    registered: Path, bis: Type, training_python: Path
) -> None:
    words = ("model", "diff", "churn/1", "churn/2", "--python", str(training_python))
    (registered / "other.csv").write_text("a\n1\n")
    assert bis("data", "add", "other.csv", "--name", "other", folder=registered).status == 0
    assert bis("model", "probe", "churn", "other", folder=registered).status == 0
    page = bis(*words, folder=registered)
    assert page.status == 1
    assert "not compared on other@v1: the model takes 2 columns, and the data has 1" in page.out
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", registered / "bare"], check=True)
    page = bis(*words[:4], "--python", "bare", folder=registered)
    assert "a model cannot be asked in its environment: ModuleNotFoundError: No module named " in page.out
    assert bis("data", "rm", "other@v1", folder=registered).status == 0
    page = bis(*words, folder=registered)
    assert page.status == 1
    assert "the probe set of churn cannot be asked about: " in page.err


def test_coefficients_are_told_apart_by_how_far_they_are(project: Path, bis: Type, training_python: Path) -> None:
    (project / "line.py").write_text(COEFFICIENTS)
    for alpha in ("1", "1000"):
        assert bis("run", "--", str(training_python), "line.py", alpha, folder=project).status == 0
        assert bis("model", "register", "line", "@latest", folder=project).status == 0
    told = bis("model", "diff", "line/1", "line/2", "--json", folder=project).json
    tensors = {one["name"]: one["apart"] for one in told["tensors"]}
    assert tensors["coef_"]["differ"] == 2
    assert 0 < tensors["coef_"]["cosine"] <= 1
    assert [(one["before"], one["after"]) for one in told["params"] if one["name"] == "alpha"] == [("1.0", "1000.0")]


def test_a_version_is_shown_with_what_it_has_learned(registered: Path, bis: Type) -> None:
    told = bis("model", "show", "churn/1", "--json", folder=registered).json["model"]
    assert (told["words"], told["summary"]["hyperparameters"]["n_estimators"]) == (
        "RandomForestClassifier, 20 trees",
        20,
    )
    page = bis("model", "show", "churn/1", folder=registered).out
    assert "n_estimators" in page
    assert told["identity"] in page


def test_what_is_exported_is_imported_elsewhere_as_the_same_model(
    registered: Path, bis: Type, tmp_path: Path, training_python: Path
) -> None:
    done = bis("model", "export", "models:/churn/1", str(tmp_path / "out"), "--json", folder=registered)
    assert done.status == 0, done.err
    assert {"MLmodel", "README.md", "bis.json", "model.joblib", "pylock.toml"} <= set(done.json["files"])
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "bis.toml").write_text("")
    (elsewhere / "customers.csv").write_text(CUSTOMERS)
    assert bis("data", "add", "customers.csv", folder=elsewhere).status == 0
    made = bis("model", "import", str(tmp_path / "out"), "churn", "--json", folder=elsewhere)
    assert made.status == 0, made.err
    here = bis("model", "show", "churn/1", "--json", folder=registered).json["model"]["identity"]
    assert made.json["version"]["tags"]["bis.identity"] == here
    assert "is a pickle" in made.json["warnings"][0]
    assert bis("model", "import", str(tmp_path / "out"), "churn", "--json", folder=elsewhere).json["already"]
    assert bis("reindex", folder=elsewhere).status == 0
    words = ("models:/churn/1", "--data", "customers", "--target", "churned", "--python", str(training_python))
    refused = bis("evaluate", *words, folder=elsewhere)
    assert refused.status == 2
    assert "model.joblib is not opened: it is a pickle" in refused.err
    assert bis("evaluate", *words, "--trust", folder=elsewhere).status == 0


def test_a_folder_that_holds_something_is_not_exported_into(registered: Path, bis: Type) -> None:
    refused = bis("model", "export", "models:/churn/1", ".", folder=registered)
    assert refused.status == 2
    assert "is there already" in refused.err
    assert bis("model", "import", "nowhere", "churn", folder=registered).status == 3


READING = """
import sys
import joblib, numpy
import mlflow.pyfunc

rows = numpy.array([[30.0, 2.0], [70.0, 19.0], [25.0, 15.0]])
found = mlflow.pyfunc.load_model(sys.argv[1]).predict(rows)
assert found.tolist() == joblib.load(f"{sys.argv[1]}/model.joblib").predict(rows).tolist(), found
"""


def test_what_joblib_wrote_is_exported_so_that_mlflow_reads_it(
    registered: Path, bis: Type, tmp_path: Path, models_python: Path
) -> None:
    out = tmp_path / "out"
    done = bis("model", "export", "models:/churn/1", str(out), "--format", "mlflow", folder=registered)
    assert done.status == 0, done.err
    (tmp_path / "read.py").write_text(READING)
    read = subprocess.run([models_python, "read.py", out], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "bis.toml").write_text("")
    assert bis("model", "import", "nowhere", "churn", folder=elsewhere).status == 3
    assert not (elsewhere / ".bis").exists()
    made = bis("model", "import", str(out), "churn", "--json", folder=elsewhere)
    assert made.status == 0, made.err
    here = bis("model", "show", "churn/1", "--json", folder=registered).json["model"]["identity"]
    assert made.json["version"]["tags"]["bis.identity"] == here


NETWORKS = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras, tensorflow as tf, torch

shift = float(sys.argv[1])
torch.manual_seed(0)
net = torch.nn.Linear(3, 2)
with torch.no_grad():
    net.bias[0] += shift
torch.export.save(torch.export.export(net, (torch.zeros(2, 3),)), "net.pt2")
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="only")])
kernel, bias = model.get_weights()
model.set_weights([kernel, bias + [shift, 0]])
model.save("net.keras")

class Scaled(tf.Module):
    def __init__(self):
        self.factor = tf.Variable([2.0 + shift, 3.0], name="factor")

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def __call__(self, x):
        return x * self.factor

tf.saved_model.save(Scaled(), "scaled")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_networks_differ_in_the_tensors_that_differ_and_by_how_much(
    tmp_path: Path, bis: Type, heavy_python: Path
) -> None:
    (tmp_path / "bis.toml").write_text("")
    (tmp_path / "train.py").write_text(NETWORKS)
    for shift in ("0", "0.5"):
        done = bis("run", "--", str(heavy_python), "train.py", shift, folder=tmp_path)
        assert done.status == 0, done.err
        for path in ("net.pt2", "net.keras", "scaled"):
            name = path.replace(".", "-")
            done = bis("model", "register", name, "@latest", "--path", path, folder=tmp_path)
            assert done.status == 0, done.err
    for name, tensor in (("net-pt2", "bias"), ("net-keras", "layers/dense/vars/1"), ("scaled", "factor")):
        told = bis("model", "diff", f"{name}/1", f"{name}/2", "--json", folder=tmp_path).json
        assert [one["name"] for one in told["tensors"]] == [tensor], name
        assert told["tensors"][0]["apart"]["differ"] == 1
        assert told["tensors"][0]["apart"]["furthest"] == pytest.approx(0.5)
        assert not told.get("files")
