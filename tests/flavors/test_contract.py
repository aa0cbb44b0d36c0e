"""What every flavor promises, held for real models of real frameworks."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bis.acts.models import Asking, compared, import_
from bis.flavors import FRAMEWORKS, kinds
from bis.nouns.model import By
from bis.settings import Settings
from bis.steps.home import open_home

LIGHT = (
    *("sklearn-pipeline", "sklearn-by-name", "sklearn-array", "sklearn-forest", "sklearn-boosted"),
    *("sklearn-cloudpickle", "sklearn-pickle", "sklearn-xgboost", "sklearn-lightgbm"),
    *("xgboost-estimator", "xgboost-json", "xgboost-booster"),
    *("lightgbm-estimator", "lightgbm-booster", "lightgbm-categories", "lightgbm-pickle"),
    *("onnx-converted", "onnx-two-inputs", "function-object", "function-plain", "function-mlflow"),
)
HEAVY = (
    *("torch-pt2", "torch-two-inputs", "torch-pickle", "torch-moody", "torch-script", "torch-weights"),
    *("keras-sequential", "keras-two-inputs", "tensorflow-module"),
)
CASES = [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)]
SAFE_WITHOUT_TRUST = {
    *("sklearn-pipeline", "sklearn-array", "sklearn-forest", "sklearn-boosted", "sklearn-xgboost", "sklearn-lightgbm"),
    *("xgboost-estimator", "xgboost-json", "xgboost-booster"),
    *("lightgbm-estimator", "lightgbm-booster", "lightgbm-categories", "onnx-converted", "onnx-two-inputs"),
    *("torch-pt2", "torch-two-inputs", "keras-sequential", "keras-two-inputs"),
}
BY_NAME = {"sklearn-by-name", "lightgbm-categories"}
"""They are handed data frames."""
FILES_ALONE = {"sklearn-xgboost", "onnx-converted", "function-object", "function-plain", "function-mlflow"}
"""What they have learned is told by their files as a whole."""


@pytest.fixture
def told(request: pytest.FixtureRequest, ask: Callable[..., Any]) -> Any:
    """What was found out of a case."""
    name = request.param
    if name in LIGHT:
        found = ask(request.getfixturevalue("models_python"), "light.py")
    else:
        found = ask(request.getfixturevalue("heavy_python"), "heavy.py")
    assert "failed" not in found[name], found[name].get("failed")
    return {**found[name], "name": name, "folder": found["folder"] / name}


every_flavor = pytest.mark.parametrize("told", CASES, indirect=True)


@every_flavor
def test_a_model_that_was_loaded_predicts_what_the_framework_predicted_bit_for_bit(told: Any) -> None:
    assert told["repeated"] == "", "the framework does not repeat its own predictions"
    assert told["same"] == ""


def test_a_model_says_how_probable_its_answers_are_or_that_it_does_not(
    ask: Callable[..., Any], models_python: Path
) -> None:
    found = ask(models_python, "light.py")
    said = {name: found[name]["probable"] for name in LIGHT if found[name]["probable"] is not None}
    classify = {name for name, words in said.items() if not words}
    assert {"sklearn-pipeline", "sklearn-forest", "xgboost-estimator", "lightgbm-estimator"} <= classify
    assert said["xgboost-json"] == "XGBRegressor has no method predict_proba; it can be asked for predict"
    assert said["xgboost-booster"] == "Booster has no method predict_proba; it can be asked for predict"
    assert "no method predict_proba" in said["sklearn-array"]


@every_flavor
def test_a_model_saved_twice_is_one_and_after_one_weight_changed_another(told: Any) -> None:
    first, second, changed = told["identities"]
    assert first == second
    assert changed != first


@every_flavor
def test_the_released_mlflow_reads_it_and_predicts_the_same(told: Any) -> None:
    read = told["read_by_mlflow"]
    assert read
    assert {way: difference for way, difference in read.items() if difference} == {}


@every_flavor
def test_what_differs_between_two_is_told_by_its_place_and_how_far(told: Any, tmp_path: Path) -> None:
    """Of a function, which file of it; nothing is said of one that was saved twice."""
    site = Asking(home=open_home(tmp_path, Settings()), folder=tmp_path, variables={}, now=datetime.now(UTC))
    first, other = (import_(told["folder"] / which, which, By("ana", 0), site).version for which in ("one", "other"))
    found = compared(first, other, site.home)
    assert not found.same
    told_how_far = [one.name for one in found.tensors if one.apart and one.apart.furthest > 0]
    trees = found.trees is not None and found.trees.differ
    if told["name"] in FILES_ALONE:
        assert found.files
    else:
        assert bool(told_how_far) != trees
    again = compared(first, import_(told["folder"] / "two", "two", By("ana", 0), site).version, site.home)
    assert again.same
    assert (again.tensors, again.files, again.params) == ((), (), ())


@every_flavor
def test_only_a_reader_who_trusts_it_opens_what_can_run_code(told: Any) -> None:
    if told["name"] in SAFE_WITHOUT_TRUST:
        assert told["refused"] == ""
        assert told["warnings"] == []
    else:
        assert told["refused"]
    if told["pickle"]:
        assert told["warnings"], "its owner is not told"


@every_flavor
def test_a_summary_tells_what_the_model_is(told: Any) -> None:
    summary = told["summary"]
    assert summary["kind"]
    assert summary["architecture"]
    assert summary["size"] > 0
    assert isinstance(summary.get("hyperparameters", {}), dict)
    name = told["name"]
    if not name.startswith(("function", "sklearn-xgboost", "sklearn-lightgbm")):
        assert summary["parameter_count"] > 0
    if name.startswith(("xgboost", "lightgbm")):
        assert (summary["trees"], summary["iterations"]) == (4, 4)
    if name.startswith(("torch", "keras", "onnx", "tensorflow")):
        assert summary["layers"]


@every_flavor
def test_the_requirements_name_the_framework_at_its_version(told: Any) -> None:
    package = {
        "sklearn": "scikit-learn",
        "xgboost": "xgboost-cpu",
        "onnx": "onnxruntime",
        "function": "cloudpickle",
        "tensorflow": "tensorflow-cpu",
    }
    framework = told["name"].split("-")[0]
    names = [line.partition("==")[0] for line in told["requirements"]]
    assert package.get(framework, framework) in names
    assert "numpy" in names
    assert "pytest" not in names
    if told["name"] in BY_NAME:
        assert "pandas" in names
    for step in ("xgboost", "lightgbm"):
        if told["name"] == f"sklearn-{step}":
            assert package.get(step, step) in names


def test_parameters_are_counted(ask: Callable[..., Any], models_python: Path) -> None:
    found = ask(models_python, "light.py")
    counted = {name: found[name]["summary"]["parameter_count"] for name in ("sklearn-pipeline", "onnx-two-inputs")}
    assert counted == {"sklearn-pipeline": 5, "onnx-two-inputs": 4}


@every_flavor
def test_a_model_has_the_same_identity_in_another_process(
    told: Any, ask: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    """Where sets have another order, and addresses are others."""
    light = told["name"] in LIGHT
    python = request.getfixturevalue("models_python" if light else "heavy_python")
    other = ask(python, "light.py" if light else "heavy.py", seed="7")
    assert other[told["name"]].get("identities") == told["identities"]


def test_whoever_cannot_import_the_flavors_knows_their_names() -> None:
    assert [kinds.flavor(name).name for name in kinds.FLAVORS] == [*FRAMEWORKS, "python_function"]
