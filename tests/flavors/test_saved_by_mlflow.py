"""Models that MLflow saved, of its versions 2 and 3: read, described and asked as its own loader does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OLD = Path(__file__).resolve().parent / "fixtures" / "mlflow-2.22"
OF_MLFLOW_2 = (
    *("sklearn", "sklearn-pickle", "xgboost", "xgboost-json", "lightgbm", "lightgbm-estimator"),
    *("script", "loader"),
)
OF_MLFLOW_3 = (
    *("sklearn-skops", "sklearn-cloudpickle", "sklearn-pickle", "xgboost-ubj", "xgboost-json", "xgboost-booster"),
    *("lightgbm-estimator", "lightgbm-booster"),
    *("function-code", "function-script", "function-loader"),
)
HEAVY = ("torch-pt2", "torch-pickle")
SAFE = {
    *("2 xgboost", "2 xgboost-json", "2 lightgbm", "3 sklearn-skops", "3 xgboost-ubj", "3 xgboost-json"),
    *("3 xgboost-booster", "3 lightgbm-estimator", "3 lightgbm-booster", "3 torch-pt2"),
}
CASES = [
    *(f"2 {name}" for name in OF_MLFLOW_2),
    *(f"3 {name}" for name in OF_MLFLOW_3),
    *(pytest.param(f"3 {name}", marks=pytest.mark.slow) for name in HEAVY),
]


@pytest.fixture
def told(request: pytest.FixtureRequest, ask: Callable[..., Any]) -> Any:
    version, name = request.param.split()
    heavy = name in HEAVY
    python = request.getfixturevalue("heavy_python" if heavy else "models_python")
    found = ask(python, "saved.py", str(OLD) if version == "2" else "heavy" if heavy else "light")
    assert "failed" not in found[name], found[name].get("failed")
    return {**found[name], "name": request.param}


every_model = pytest.mark.parametrize("told", CASES, indirect=True)


@every_model
def test_it_predicts_what_mlflow_predicts_bit_for_bit(told: Any) -> None:
    """Where it was asked here: what is in files was computed on another machine, perhaps."""
    assert told["same"] == ""


@every_model
def test_it_is_served_with_the_same_answers(told: Any) -> None:
    """Rows that come as JSON lie otherwise in memory than a data frame does, and may be summed in another order."""
    served, expected = (np.asarray(told[key]) for key in ("served", "expected"))
    assert np.allclose(served, expected, rtol=1e-6 if told["name"].startswith("2 ") else 1e-12)


@every_model
def test_what_runs_code_is_opened_for_whoever_trusts_it_alone(told: Any) -> None:
    assert bool(told["refused"]) == (told["name"] not in SAFE)


@every_model
def test_its_summary_says_what_it_is(told: Any) -> None:
    kinds = {"sklearn": "LinearRegression", "xgboost": "XGBRegressor", "lightgbm": "LGBMRegressor"}
    kind = kinds.get(told["flavor"])
    assert told["summary"]["architecture"]
    assert kind is None or told["summary"]["kind"] in (kind, "Booster")
    if told["flavor"] in ("xgboost", "lightgbm"):
        assert told["summary"]["trees"] == 3
