"""XGBoost: boosters and the estimators around them, in its own UBJSON, which holds no code."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import Loading, Refused, Saved, Saving, below, from_package, method_of, version_of
from .arithmetic import boosted_sums_of
from .bases import bases_alone
from .sklearn import summary_of
from .values import Batch, Columns, Predictions

FORMATS = ("ubj", "json")
BOOSTER = "xgboost.core.Booster"
PARAMS = {"predict": ("output_margin", "iteration_range"), "predict_proba": ("iteration_range",)}
"""What each method can be asked with; a signature may have others, which the model does not know."""


class XGBoost:
    """Boosters, and XGBClassifier and the like."""

    name = "xgboost"

    def takes(self, model: object) -> bool:
        return from_package(model, "xgboost") and hasattr(model, "save_model")

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        format = how.format or "ubj"
        if format not in FORMATS:
            raise Refused(f"a model of XGBoost is saved as {' or '.join(FORMATS)}, not as {format}")
        file = f"model.{format}"
        model.save_model(folder / file)
        kind = type(model)
        return Saved(
            entry={
                "code": None,
                "data": file,
                "model_class": f"{kind.__module__}.{kind.__qualname__}",
                "model_format": format,
                "xgb_version": version_of("xgboost") or version_of("xgboost-cpu"),
            },
            function={"loader_module": "mlflow.xgboost", "data": file},
            packages=(
                "xgboost" if version_of("xgboost") else "xgboost-cpu",
                "numpy",
                *(() if _bare(model) else ("scikit-learn",)),
            ),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Boosted:
        with bases_alone() if how.lean else contextlib.nullcontext():
            model = _loaded(folder, entry, how.threads)
        if how.lean and not _bare(model):  # what it cannot do without, it is to miss now
            model.predict(np.zeros((1, model.get_booster().num_features())))
        return Boosted(model, few=how.alone and not how.many)

    def summary(self, model: Any) -> dict[str, Any]:
        booster = model if _bare(model) else model.get_booster()
        about = {"kind": "Booster", "hyperparameters": _config(booster)} if _bare(model) else summary_of(model)
        rounds, trees = int(booster.num_boosted_rounds()), booster.get_dump(with_stats=False)
        return {
            **about,
            "architecture": f"{about['kind']}: {len(trees)} trees in {rounds} rounds",
            "trees": len(trees),
            "iterations": rounds,
            "features": int(booster.num_features()),
            "parameter_count": sum(tree.count("\n") for tree in trees),
        }


def _loaded(folder: Path, entry: Mapping[str, Any], threads: int) -> Any:
    import xgboost

    named = str(entry.get("model_class") or BOOSTER)
    module, _, name = named.rpartition(".")
    if module.split(".")[0] != "xgboost" or not hasattr(xgboost, name):
        raise Refused(f"{named} is no class of XGBoost")
    model = getattr(xgboost, name)()
    model.load_model(below(folder, entry.get("data"), "model.ubj"))
    if threads:
        model.set_param({"nthread": threads}) if _bare(model) else model.set_params(n_jobs=threads)
    return model


class Boosted:
    """A booster, or an estimator around one, that can be asked without a data frame."""

    wants_names = False
    rowwise = True
    asked_by_method = True

    def __init__(self, model: Any, *, few: bool = False) -> None:
        """`few`: it is to be asked with few rows at a time, many times."""
        self.model = model
        self.names = None if not _bare(model) else model.feature_names
        self._sums: Any = None
        self._unproved = few and not _bare(model)

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        """By the method that `predict_method` among the params names; else `predict`."""
        method = method_of(self.model, params)
        rows = batch.matrix() if isinstance(batch, Columns) else batch.only
        if self._unproved:  # not as it is loaded, which may be without pandas: the model may ask for that
            self._sums, self._unproved = boosted_sums_of(self.model), False
        if self._sums is not None and not params and (summed := self._sums(rows)) is not None:
            return cast("Predictions", summed)
        if not _bare(self.model):
            taken = {key: params[key] for key in PARAMS[method] if key in params}
            found: Predictions = getattr(self.model, method)(rows, **taken)
            return found
        answers: Predictions = self.model.inplace_predict(rows, validate_features=False)
        return answers


def _bare(model: Any) -> bool:
    return not hasattr(model, "get_booster")


def _config(booster: Any) -> dict[str, Any]:
    """What a booster was trained with, as far as it remembers."""
    import json

    learner = json.loads(booster.save_config()).get("learner") or {}
    told = {**(learner.get("learner_train_param") or {}), **(learner.get("learner_model_param") or {})}
    return {key: value for key, value in told.items() if isinstance(value, (bool, int, float, str))}
