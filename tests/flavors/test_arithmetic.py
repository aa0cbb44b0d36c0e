"""Sums that stand for an estimator say what the estimator says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def told(ask: Callable[..., Any], models_python: Path) -> Any:
    return ask(models_python, "sums.py")


def test_the_answers_are_the_same_bits(told: Any) -> None:
    assert len(told["differing"]) == 26
    assert {name: count for name, count in told["differing"].items() if count} == {}


def test_what_is_not_known_is_asked_itself(told: Any) -> None:
    assert len(told["others"]) == 7
    assert {name for name, without in told["others"].items() if not without} == set()


def test_rows_that_are_not_as_they_should_be_are_answered_or_refused_by_the_model(told: Any) -> None:
    assert len(told["unusual"]) == 16
    assert {name for name, same in told["unusual"].items() if not same} == set()
