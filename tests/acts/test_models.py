"""Scripts that save models and load them: `bis.save_model`, `bis.load_model`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SAVING = """
import sys
import numpy, bis
from sklearn.linear_model import Ridge

rows = numpy.random.RandomState(1).rand(50, 3)
model = Ridge(alpha=float(sys.argv[1])).fit(rows, rows @ [1, 2, 3])
about = bis.save_model(model, "line", example=rows[:2], metrics={"r2": 0.9}, **dict(w.split("=") for w in sys.argv[2:]))
print(about and about.identity)
"""
LOADING = """
import sys
import numpy, bis

model = bis.load_model(sys.argv[1])
print(model.predict(numpy.eye(3)).tolist())
"""


@pytest.fixture
def python(models_python: Path) -> Path:
    return models_python


@pytest.fixture
def type_(bis: Any, project: Path, root: Path) -> Callable[..., Any]:
    """bis in the project, whose scripts find it, too; it must end well."""
    (project / "bis.toml").write_text("")
    (project / "save.py").write_text(SAVING)
    (project / "load.py").write_text(LOADING)

    def typed(*words: str, status: int = 0, **env: str) -> Any:
        done = bis(*words, env={"PYTHONPATH": str(root / "src"), **env})
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return typed


@pytest.fixture
def script(python: Path, project: Path, variables: dict[str, str], root: Path) -> Callable[..., Any]:
    """A script of the project without `bis run`."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        given = {**variables, "PYTHONPATH": str(root / "src"), **env}
        return subprocess.run([python, *words], cwd=project, env=given, capture_output=True, text=True, check=False)

    return run


def models(type_: Callable[..., Any], run: str = "@latest") -> list[Any]:
    return list(json.loads(type_("show", run, "--json").stdout)["models"])


def test_what_a_script_saves_under_bis_run_is_a_model_of_that_run(type_: Any, python: Path) -> None:
    type_("run", "--", str(python), "save.py", "1")
    (model,) = models(type_)
    assert (model["path"], model["flavor"], model["summary"]["kind"]) == ("line", "sklearn", "Ridge")
    type_("model", "register", "line", "save-1")
    told = json.loads(type_("model", "show", "line/1", "--json").stdout)
    assert told["version"]["source"].endswith("/line")
    assert told["model"]["identity"] == type_("show", "save-1", "--stdout").stdout.strip()
    type_("run", "--", str(python), "save.py", "1")
    assert "save-2 made is line/1 already" in type_("model", "register", "line", "save-2").stdout
    type_("run", "--", str(python), "save.py", "2")
    assert "models:/line/2" in type_("model", "register", "line", "save-3").stdout


def test_a_model_that_was_saved_repeats(type_: Any, python: Path, identical: Any) -> None:
    type_("run", "--", str(python), "save.py", "1", "format=pickle")
    assert "<artifacts>/line/model.pkl" in {
        one["name"] for one in identical(type_("repeat", "@latest", "--json"))["outputs"]
    }


SEVERAL = """
import numpy, bis
from sklearn.linear_model import Ridge

rows = numpy.random.RandomState(1).rand(50, 3)
for step, r2 in enumerate((0.1, 0.2)):
    bis.log(step=step, r2=r2)
bis.save_model(Ridge(alpha=1).fit(rows, rows[:, 0]), "small", metrics={"r2": 0.5, "rmse": 2.0, "gap": float("nan")})
bis.save_model(Ridge(alpha=9).fit(rows, rows[:, 0]), "large", metrics={"r2": 0.2, "rmse": 1.0})
"""
MEASURED = {"r2": 0.2, "rmse": 1.0, "small:r2": 0.5, "small:rmse": 2.0}


def test_what_was_measured_of_a_model_is_a_metric_of_its_run(type_: Any, python: Path, project: Path) -> None:
    done = type_("run", "--", str(python), "save.py", "1")
    assert "r2 0.9" in done.stderr
    assert [row["name"] for row in json.loads(type_("log", "-f", "metrics.r2 > 0.8", "--json").stdout)["runs"]]
    (project / "several.py").write_text(SEVERAL)
    type_("run", "--", str(python), "several.py")
    told = json.loads(type_("show", "@latest", "--json").stdout)["run"]["metrics"]
    assert told.pop("gap") == "NaN"
    assert told == MEASURED


PIPELINE = """
import numpy, bis
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rows = numpy.random.RandomState(1).rand(50, 3)
open("learned.csv").read()
bis.save_model(make_pipeline(StandardScaler(), Ridge(alpha=7)).fit(rows, rows[:, 0]), "piped", example=rows[:2])
"""


def test_the_card_and_the_page_say_first_what_people_look_for(type_: Any, python: Path, project: Path) -> None:
    (project / "piped.py").write_text(PIPELINE)
    (project / "learned.csv").write_text("a\n1\n")
    type_("data", "add", "learned.csv", "--name", "learned")
    type_("run", "--", str(python), "piped.py")
    type_("model", "register", "piped", "@latest")
    page = type_("model", "show", "piped").stdout
    assert "bis model show piped/1" in page
    page = type_("model", "show", "piped/1").stdout
    shown = page.splitlines()
    assert "architecture    StandardScaler > Ridge" in shown
    (first,) = [line for line in shown if line.startswith("hyperparameter")]
    assert "ridge__alpha" in first
    assert "float64, one for each row" in page
    assert "bis serve models:/piped/1" in page
    type_("model", "export", "models:/piped/1", "out")
    card = (project / "out" / "README.md").read_text()
    for line in (
        "| takes | float64, 3 for each row |",
        "| ridge__alpha | 7 |",
        "| architecture | StandardScaler > Ridge |",
        'bis.load_model("models:/piped/1").predict(rows)',
        "$ bis repeat piped-",
    ):
        assert line in card
    data = card.partition("## Data\n\n")[2].splitlines()
    assert data[0].startswith("- learned.csv")
    assert data[0].endswith("data:/learned@v1")


def test_each_of_several_models_of_a_run_has_its_own_metrics(type_: Any, python: Path, project: Path) -> None:
    (project / "several.py").write_text(SEVERAL)
    type_("run", "--", str(python), "several.py")
    for name in ("large", "small"):
        type_("model", "register", "line", "@latest", "--path", name)
    assert "rmse  2" in type_("model", "show", "line/2").stdout
    changes = json.loads(type_("model", "diff", "line/1", "line/2", "--json", status=1).stdout)["metrics"]
    assert [(one["name"], one["before"], one["after"]) for one in changes if one["name"] == "rmse"] == [
        ("rmse", "1.0", "2.0")
    ]
    type_("model", "promote", "line/1")
    refused = type_("model", "promote", "line/2", "--better", "metrics.rmse:lower", status=1)
    assert "models:/line/2 has 2.0, the champion models:/line/1 has 1.0" in refused.stderr
    type_("model", "promote", "line/2", "--better", "metrics.r2:higher")
    type_("model", "export", "models:/line/2", "small")
    assert "| rmse | 2 |" in (project / "small" / "README.md").read_text()
    type_("model", "import", "small", "elsewhere")
    assert "rmse  2" in type_("model", "show", "elsewhere/1").stdout


def test_without_bis_run_what_was_measured_of_a_model_is_told_too(script: Any, project: Path, type_: Any) -> None:
    (project / "several.py").write_text(SEVERAL)
    done = script("several.py")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(type_("log", "--json").stdout)["runs"]
    assert {key: value for key, value in row["metrics"].items() if key != "gap"} == MEASURED


def test_without_bis_run_it_is_an_artifact_of_a_run_of_its_own(type_: Any, script: Any) -> None:
    saved = script("save.py", "1")
    assert saved.returncode == 0, saved.stderr
    (row,) = json.loads(type_("log", "--json").stdout)["runs"]
    type_("model", "register", "line", row["name"], "--path", "line")
    told = json.loads(type_("model", "show", "line/1", "--json").stdout)
    assert told["model"]["identity"] == saved.stdout.strip()
    assert script("load.py", "models:/line/1").returncode == 0


def test_of_ranks_the_first_saves_the_model(type_: Any, python: Path, project: Path) -> None:
    (project / "ranks.py").write_text(
        "import os, subprocess, sys\n"
        "for rank in '210':\n"
        "    subprocess.run([sys.executable, 'save.py', rank], env={**os.environ, 'RANK': rank}, check=True)\n"
    )
    done = type_("run", "--", str(python), "ranks.py")
    assert done.stdout.splitlines()[:2] == ["None", "None"]
    (model,) = models(type_)
    assert model["summary"]["hyperparameters"]["alpha"] == 0.0


def test_processes_that_save_under_names_of_their_own_keep_them_all(type_: Any, python: Path, project: Path) -> None:
    (project / "pool.py").write_text(
        "import multiprocessing, numpy, bis\n"
        "from sklearn.linear_model import Ridge\n"
        "def save(alpha):\n"
        "    rows = numpy.random.RandomState(1).rand(50, 3)\n"
        "    bis.save_model(Ridge(alpha=alpha).fit(rows, rows[:, 0]), f'line-{alpha}')\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        pool.map(save, [1, 2, 3])\n"
    )
    type_("run", "--", str(python), "pool.py")
    assert [model["path"] for model in models(type_)] == ["line-1", "line-2", "line-3"]


def test_a_model_that_cannot_be_saved_ends_the_script(type_: Any, python: Path, project: Path) -> None:
    (project / "wrong.py").write_text("import bis\nbis.save_model(3, 'three')\n")
    done = type_("run", "--", str(python), "wrong.py", status=1)
    assert "three was not saved: int is no model of " in done.stderr + done.stdout


# -- loading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(type_: Any, python: Path) -> None:
    """`line/1`, the champion, and `line/2`; the latter is a pickle."""
    for words in (("1",), ("2", "format=cloudpickle")):
        type_("run", "--", str(python), "save.py", *words)
        type_("model", "register", "line", "@latest")
    type_("model", "alias", "line/1", "champion")


ASKING = """
import sys, warnings
import numpy, bis

model = bis.load_model(sys.argv[1])
print(repr(model), model.version, model.run, model.identity[:3], model.model.alpha, model.signature.inputs[0].shape)
print(model.predict(numpy.eye(3)).shape, model.predict([[1, 2, 3]]).shape)
for wrong in (numpy.eye(2), [["secret", 1, 2]]):
    try:
        model.predict(wrong)
    except ValueError as error:
        print(error)
"""


@pytest.mark.usefixtures("registered")
def test_any_reference_is_loaded_into_the_script(script: Any, project: Path, type_: Any) -> None:
    (project / "ask.py").write_text(ASKING)
    run = json.loads(type_("show", "save-1", "--json").stdout)["run"]["id"]
    type_("model", "export", "models:/line/1", "exported")
    for text, called in {
        "models:/line@champion": "line/1: sklearn Ridge> 1",
        "models:/line/1": "line/1: sklearn Ridge> 1",
        "runs:/save-1/line": "save-1: sklearn Ridge> ",
        "save-1": "save-1: sklearn Ridge> ",
        "./exported": "exported: sklearn Ridge> ",
    }.items():
        done = script("ask.py", text)
        assert done.returncode == 0, done.stderr
        first, second, *wrong = done.stdout.splitlines()
        assert first == f"<bis model {called} {run} b3: 1.0 (-1, 3)"
        assert second == "(3,) (1,)"
        assert wrong[0].startswith("the tensor is to be of the shape (-1, 3)")
        assert "secret" not in done.stdout


@pytest.mark.usefixtures("registered")
def test_what_bis_itself_does_to_load_a_model_is_no_ingredient_of_the_run(
    type_: Any, python: Path, project: Path
) -> None:
    for version in (1, 2):  # to bring the first makes the file that is locked to bring the second
        type_("run", "--", str(python), "load.py", f"models:/line/{version}")
    run = json.loads(type_("show", "@latest", "--json").stdout)["run"]
    inputs = [row["path"] for row in run["parts"]["data"]["facts"]["inputs"]]
    assert any(path.endswith("/MLmodel") for path in inputs)
    assert not [path for path in [*inputs, *(one["path"] for one in run["outputs"])] if path.endswith(".using")]


@pytest.mark.usefixtures("registered")
def test_a_pickle_is_opened_where_a_run_of_this_project_made_it_and_elsewhere_with_trust(
    script: Any, project: Path, type_: Any
) -> None:
    assert script("load.py", "models:/line/2").returncode == 0
    type_("model", "export", "models:/line/2", "exported")
    refused = script("load.py", "./exported")
    assert refused.returncode == 1
    assert "model.pkl is not opened: it is a pickle" in refused.stderr
    assert "trust=True" in refused.stderr
    (project / "trusting.py").write_text(LOADING.replace("sys.argv[1]", "sys.argv[1], trust=True"))
    assert script("trusting.py", "./exported").returncode == 0


@pytest.mark.usefixtures("registered")
def test_packages_that_are_not_here_or_of_another_version_are_told(script: Any, type_: Any, project: Path) -> None:
    type_("model", "export", "models:/line/1", "exported")
    described = (project / "exported" / "MLmodel").read_text()
    lines = ["sklearn_version: 0.0.1" if "sklearn_version" in one else one for one in described.splitlines()]
    other = "\n".join(f"    {line}" if line.startswith("sklearn_version") else line for line in lines)
    (project / "exported" / "MLmodel").write_text(other)
    done = script("load.py", "./exported")
    assert done.returncode == 0, done.stderr
    assert "was saved with scikit-learn 0.0.1, and is loaded by 1." in done.stderr
    done = script("-c", "import sys; sys.modules['sklearn'] = None; import bis; bis.load_model('models:/line/1')")
    assert done.returncode == 1
    assert "models:/line/1 cannot be loaded here: " in done.stderr
    assert "requirements.txt" in done.stderr


@pytest.mark.usefixtures("registered", "room")
def test_a_run_that_asked_for_an_alias_repeats_with_the_model_that_it_meant(
    type_: Any, python: Path, identical: Any
) -> None:
    first = type_("run", "--name", "first", "--", str(python), "load.py", "models:/line/1").stdout
    type_("run", "--name", "asking", "--", str(python), "load.py", "models:/line@champion")
    run = json.loads(type_("show", "first", "--json").stdout)["run"]
    inputs = {Path(one["path"]).name for one in run["parts"]["data"]["facts"]["inputs"]}
    assert {"model.skops", "MLmodel"} < inputs
    assert {one["path"] for one in run["outputs"]} <= {"<stdout>", "<stderr>"}
    assert not run["parts"]["data"].get("findings")
    type_("model", "alias", "line/2", "champion")
    assert type_("run", "--", str(python), "load.py", "models:/line@champion").stdout != first
    identical(type_("repeat", "asking", "--json"))
    assert "every output is the same, byte for byte" in type_("repeat", "first").stdout  # bis is no package here


@pytest.mark.parametrize("text", ["models:/nothing@champion", "./nowhere", "models:/line/7"])
@pytest.mark.usefixtures("registered")
def test_what_is_not_there_is_said_with_what_to_type_next(text: str, script: Any) -> None:
    done = script("load.py", text)
    assert done.returncode == 1
    assert "no " in done.stderr
    assert "Try: " in done.stderr
