"""Fixtures that every test may use."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str, remedy: str) -> None:
    """Fail on CI, where a check that is skipped would pass for one that was made; elsewhere skip, loudly."""
    message = f"{what} is missing. {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    warnings.warn(message, stacklevel=2)
    pytest.skip(message)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def training_python() -> Path:
    """The interpreter of a user's environment: it has scikit-learn, pandas, joblib and ipykernel, and not bis.

    `make test` builds it at `.venv-training`; the variable BIS_TEST_TRAINING names another one.
    """
    chosen = os.environ.get("BIS_TEST_TRAINING")
    python = Path(chosen) if chosen else ROOT / ".venv-training" / "bin" / "python"
    if not python.exists():
        missing(f"the training environment ({python})", "Type `make .venv-training`.")
    return python


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Where a system tool is: `tool("strace")`. A missing one fails the test on CI and skips it elsewhere."""

    def find(name: str) -> Path:
        found = shutil.which(name)
        if found is None:
            missing(f"the system tool {name}", "Type `make system-packages` (as root), or install it yourself.")
        assert found is not None
        return Path(found)

    return find


def pytest_report_header() -> str:
    """Say in each report which interpreter and which training environment the tests use."""
    training = os.environ.get("BIS_TEST_TRAINING", str(ROOT / ".venv-training"))
    return f"bis: {sys.executable}; training environment: {training}"
