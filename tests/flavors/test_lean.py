"""A model that was loaded without what it hardly needs says what it says when everything is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(ask: Callable[..., Any], models_python: Path) -> dict[str, Any]:
    found: dict[str, Any] = ask(models_python, "leanly.py")
    return found


@pytest.fixture(scope="module")
def told(found: dict[str, Any]) -> dict[str, Any]:
    """Of each model."""
    return {name: one for name, one in found.items() if name not in ("folder", "ufuncs")}


def test_the_answers_are_the_same_bits(told: dict[str, Any]) -> None:
    assert len(told) == 31
    for how in ("lean", "many"):
        differing = [name for name, one in told.items() if one[how]["said"] != one["full"]["said"]]
        assert differing == []


def test_a_model_of_xgboost_is_asked_without_scikit_learn(told: dict[str, Any]) -> None:
    boosted = {name: one for name, one in told.items() if one["flavor"] == "xgboost"}
    assert len(boosted) == 15
    assert {name for name, one in boosted.items() if one["lean"]["with"] or one["many"]["with"]} == set()
    assert all("sklearn" in one["full"]["with"] for name, one in boosted.items() if name != "booster")


def test_the_statistics_of_scipy_are_imported_where_they_are_called(told: dict[str, Any]) -> None:
    estimators = {name: one for name, one in told.items() if one["flavor"] == "sklearn"}
    assert len(estimators) == 16
    called = {name for name, one in estimators.items() if "scipy.stats" in one["many"]["with"]}
    assert called == {"powers", "quantiles"}
    assert all("scipy.stats" in one["full"]["with"] for one in estimators.values())


def test_functions_have_the_same_names_in_skops(found: dict[str, Any]) -> None:
    lean, full = found["ufuncs"]
    assert lean == full
    assert all(len(names) > 10 for names in full)
