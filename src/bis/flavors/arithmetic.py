"""What fitted estimators of scikit-learn and XGBoost compute, without what they ask about their input before: for the
rows of one request, that takes thirty times as long as the sums of a linear model, and as long as those of a booster.

The sums are those of the estimators, in the same order and of the same types, so that the answers are the same bits.
That is proved against the model itself before they are used, and holds for rows that are as they should be: with a
fraction of 64 bits, of as many columns as the model was fitted with, finite. All else is asked of the model itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .values import Array

Sums = Callable[[Array], Any]
"""Of rows; None for those that the model itself is to be asked."""
PROBES = (1, 2, 65)
"""Rows with which it is proved."""


def sums_of(model: Any) -> Sums | None:
    """What `model.predict` computes; None for a model that is not among those that are known here, or for which it
    would not be the same."""
    steps = [step for _, step in model.steps] if _kind(model) == "Pipeline" else [model]
    columns = getattr(steps[0], "n_features_in_", 0)
    try:
        making = [MADE[group][_kind(step)] for group, step in zip(["step"] * (len(steps) - 1) + ["last"], steps)]
        parts = [make(step) for make, step in zip(making, steps)]
    except (KeyError, AttributeError, TypeError, ValueError, IndexError):
        return None

    def sums(rows: Array) -> Any:
        if rows.dtype != np.float64 or rows.ndim != 2 or rows.shape[1] != columns or not rows.flags.c_contiguous:
            return None
        if not len(rows):
            return None
        for part in parts:
            if not np.isfinite(rows).all():
                return None
            rows = part(rows)
            if rows is None:
                return None
        return rows

    return sums if columns and _is_proved(model, sums, columns) else None


def boosted_sums_of(model: Any) -> Sums | None:
    """The same, of an estimator of XGBoost around a booster."""
    kind = type(model).__name__
    if type(model).__module__ != "xgboost.sklearn" or kind not in ("XGBClassifier", "XGBRegressor"):
        return None
    try:
        booster, columns, missing = model.get_booster(), model.n_features_in_, model.missing
        range, objective = model._get_iteration_range(None), str(model.objective)
        classes = model.n_classes_ if kind == "XGBClassifier" else 0
    except (AttributeError, TypeError, ValueError):
        return None
    if objective == "multi:softmax" or getattr(model, "n_targets_", 1) not in (None, 1):
        return None

    def sums(rows: Array) -> Any:
        if rows.dtype != np.float64 or rows.ndim != 2 or rows.shape[1] != columns or not rows.flags.c_contiguous:
            return None
        if not np.isfinite(rows).all():
            return None
        found = booster.inplace_predict(rows, iteration_range=range, missing=missing, validate_features=False)
        if not classes:
            return found
        return found.argmax(axis=1) if found.ndim > 1 else (found > 0.5).astype(np.intp)

    return sums if columns and _is_proved(model, sums, columns) else None


def _kind(model: Any) -> str:
    """The name of a class of scikit-learn; empty for any other, those that are derived from them too."""
    return type(model).__name__ if type(model).__module__.partition(".")[0] == "sklearn" else ""


def _is_proved(model: Any, sums: Sums, columns: int) -> bool:
    """Whether the model says the same, bit for bit, of rows that were drawn around those that it was fitted with."""
    scaler = model.steps[0][1] if hasattr(model, "steps") else None
    chance = np.random.default_rng(columns)
    for rows in PROBES:
        drawn = chance.normal(size=(rows, columns)) * 3
        spread, centre = getattr(scaler, "scale_", None), getattr(scaler, "mean_", None)
        drawn = drawn * (1.0 if spread is None else spread) + (0.0 if centre is None else centre)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                right, found = model.predict(drawn.copy()), sums(drawn)
            except Exception:  # a model may raise what it likes; then it is asked itself
                return False
        same = type(right) is type(found) and right.dtype == found.dtype and right.shape == found.shape
        if not same or right.tolist() != found.tolist():
            return False
    return True


# -- steps -------------------------------------------------------------------------------------------------------


def _standard_scaler(step: Any) -> Sums:
    mean = step.mean_ if step.with_mean else None
    scale = step.scale_ if step.with_std else None

    def sums(rows: Array) -> Array:
        found = rows.copy()
        if mean is not None:
            found -= mean
        if scale is not None:
            found /= scale
        return found

    return sums


def _min_max_scaler(step: Any) -> Sums:
    scale, least, bounds = step.scale_, step.min_, step.feature_range

    def sums(rows: Array) -> Array:
        found = rows * scale
        found += least
        return np.clip(found, *bounds, out=found) if step.clip else found

    return sums


def _scores(model: Any) -> Sums:
    weights, intercept = model.coef_.T if model.coef_.ndim == 2 else model.coef_, model.intercept_
    return lambda rows: rows @ weights + intercept


def _linear_classifier(model: Any) -> Sums:
    scores_of, classes = _scores(model), model.classes_

    def sums(rows: Array) -> Array:
        scores = scores_of(rows)
        if scores.ndim == 1 or scores.shape[1] == 1:
            places = (scores.reshape(-1) > 0).astype(np.intp)
        else:
            places = scores.argmax(axis=1)
        found: Array = classes.take(places, axis=0)
        return found

    return sums


def _mean_of_trees(model: Any) -> Sums:
    """Of what each tree says of the rows, added up in their order."""
    trees = [each.tree_ for each in model.estimators_]
    (width,) = {tree.value.shape[2] for tree in trees}
    if model.n_outputs_ != 1:
        raise ValueError

    def sums(rows: Array) -> Any:
        with np.errstate(over="ignore"):
            narrow = rows.astype(np.float32)
        if not np.isfinite(narrow).all():
            return None
        found = np.zeros((len(rows), width))
        for tree in trees:
            found += tree.predict(narrow)
        found /= len(trees)
        return found

    return sums


def _forest_of_classes(model: Any) -> Sums:
    mean_of, classes = _mean_of_trees(model), model.classes_
    # Before 1.3 trees hold counts, of which scikit-learn takes the shares; rows that were drawn may not tell.
    if not all(np.allclose(each.tree_.value.sum(axis=2), 1.0) for each in model.estimators_):
        raise ValueError

    def sums(rows: Array) -> Any:
        shares = mean_of(rows)
        return None if shares is None else classes.take(shares.argmax(axis=1), axis=0)

    return sums


def _forest_of_numbers(model: Any) -> Sums:
    mean_of = _mean_of_trees(model)

    def sums(rows: Array) -> Any:
        means = mean_of(rows)
        return None if means is None else means[:, 0]

    return sums


MADE: dict[str, dict[str, Callable[[Any], Sums]]] = {
    "step": {"StandardScaler": _standard_scaler, "MinMaxScaler": _min_max_scaler},
    "last": {
        **dict.fromkeys(("LogisticRegression", "SGDClassifier", "LinearSVC", "Perceptron"), _linear_classifier),
        **dict.fromkeys(("LinearRegression", "Ridge", "Lasso", "ElasticNet", "SGDRegressor", "LinearSVR"), _scores),
        **dict.fromkeys(("RandomForestClassifier", "ExtraTreesClassifier"), _forest_of_classes),
        **dict.fromkeys(("RandomForestRegressor", "ExtraTreesRegressor"), _forest_of_numbers),
    },
}
