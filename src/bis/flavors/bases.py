"""What estimators of XGBoost have of scikit-learn: bases that hold their settings, and say of which kind they are.

XGBoost imports scikit-learn for them where it is installed. To predict, nothing else of that is needed, and it takes as
much memory as NumPy, SciPy's sparse matrices and XGBoost together, and four times as long to import. The estimators
are those of XGBoost all the same, and so is all that they compute.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, cast


class Settings:
    """Holds the settings that its `__init__` names."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        taken = inspect.signature(type(self).__init__).parameters.values()
        return {one.name: getattr(self, one.name) for one in taken if one.kind in kinds and one.name != "self"}


class Classifier:
    _estimator_type = "classifier"


class Regressor:
    _estimator_type = "regressor"


class Folds:
    """Of a cross validation, which is for training."""


def _is_classifier(estimator: Any) -> bool:
    return getattr(estimator, "_estimator_type", "") == "classifier"


KNOWN: dict[str, dict[str, Any]] = {
    "sklearn": {"__version__": ""},
    "sklearn.base": {
        "BaseEstimator": Settings,
        "ClassifierMixin": Classifier,
        "RegressorMixin": Regressor,
        "is_classifier": _is_classifier,
    },
    "sklearn.model_selection": {"StratifiedKFold": Folds},
}


@contextlib.contextmanager
def bases_alone() -> Iterator[None]:
    """In here `import sklearn` finds these, and nothing else of it; later it can be imported. Where it was imported
    before, that stays."""
    if "sklearn" in sys.modules:
        yield
        return
    loaded = cast("dict[str, Any]", sys.modules)
    for name, known in KNOWN.items():
        loaded[name] = types.ModuleType(name)
        vars(loaded[name]).update(known)
    try:
        yield
    finally:
        for name in KNOWN:
            del loaded[name]
