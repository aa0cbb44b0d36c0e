"""LightGBM: boosters in its own text, which holds no code; the estimators around them as those of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, below, from_package, method_of, pickled, version_of
from .sklearn import default_format, load_skops, save_skops, summary_of
from .values import Array, Batch, Columns, Predictions

FORMATS = ("lgb", "skops", "cloudpickle")
BOOSTER = "lightgbm.basic.Booster"


class LightGBM:
    """Boosters, and LGBMClassifier and the like."""

    name = "lightgbm"

    def takes(self, model: object) -> bool:
        return from_package(model, "lightgbm") and hasattr(model, "predict")

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        bare = _bare(model)
        format = how.format or ("lgb" if bare else default_format())
        if format not in FORMATS or bare != (format == "lgb"):
            allowed = FORMATS[0] if bare else " or ".join(FORMATS[1:])
            raise Refused(f"a {type(model).__name__} of LightGBM is saved as {allowed}, not as {format}")
        trusted: list[str] | None = None
        if bare:
            file = "model.lgb"
            model.save_model(str(folder / file))
        elif format == "skops":
            file = "model.skops"
            trusted = save_skops(model, folder / file)
        else:
            file, format = "model.pkl", pickled.dump(model, folder / "model.pkl")
        kind = type(model)
        return Saved(
            entry={
                "code": None,
                "data": file,
                "lgb_version": version_of("lightgbm"),
                "model_class": f"{kind.__module__}.{kind.__qualname__}",
                **({} if bare else {"serialization_format": format, "skops_trusted_types": trusted or None}),
            },
            function={"loader_module": "mlflow.lightgbm", "data": file},
            packages=(
                *("lightgbm", "numpy"),
                *(() if bare else ("scikit-learn", "skops" if format == "skops" else "cloudpickle")),
                *(("pandas",) if (model if bare else model.booster_).pandas_categorical else ()),
            ),
            warnings=(f"{file}: {pickled.WARNING}",) if file.endswith(".pkl") else (),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Boosted:
        import lightgbm

        file = below(folder, entry.get("data"), "model.lgb")
        if str(entry.get("model_class") or BOOSTER) == BOOSTER:
            return Boosted(lightgbm.Booster(model_file=str(file)), how.threads)
        if entry.get("serialization_format") == "skops":
            return Boosted(load_skops(file, how), how.threads)
        return Boosted(pickled.load(file, how, pickled.read_joblib), how.threads)

    def summary(self, model: Any) -> dict[str, Any]:
        bare = _bare(model)
        booster = model if bare else model.booster_
        about = {"kind": "Booster", "hyperparameters": _plain(model.params)} if bare else summary_of(model)
        each = booster.num_model_per_iteration()
        return {
            **about,
            "architecture": f"{about['kind']}: {booster.num_trees()} trees, {each} in each iteration",
            "trees": int(booster.num_trees()),
            "iterations": int(booster.num_trees() // max(each, 1)),
            "features": int(booster.num_feature()),
            "parameter_count": leaves(booster),
        }


def leaves(booster: Any) -> int:
    """Numbers that were learned: a threshold for each node, and a value for each leaf."""
    told = booster.model_to_string().splitlines()
    counts = [int(line.partition("=")[2]) for line in told if line.startswith("num_leaves=")]
    return sum(2 * count - 1 for count in counts)


class Boosted:
    """A booster, or an estimator around one, that can be asked. One that learned from categories of a data frame takes
    these by name."""

    rowwise = True
    asked_by_method = True

    def __init__(self, model: Any, threads: int = 0) -> None:
        self.model = model
        booster = model if _bare(model) else model.booster_
        self.wants_names = bool(booster.pandas_categorical)
        self._extra = {"num_threads": threads} if threads else {}
        self._named = not _bare(model) and booster.feature_name()[:1] != ["Column_0"]

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        """By the method that `predict_method` among the params names; else `predict`."""
        ask = getattr(self.model, method_of(self.model, params))
        if isinstance(batch, Columns) and self.wants_names:
            rows = _frame(batch)
        else:
            rows = _numbers(batch.matrix() if isinstance(batch, Columns) else batch.only)
        found: Predictions
        if not self._named:
            found = ask(rows, **self._extra)
            return found
        with warnings.catch_warnings():  # scikit-learn warns of each array that has no names
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            found = ask(rows, **self._extra)
        return found


def _numbers(rows: Array) -> Array:
    """Whole numbers as LightGBM takes them out of a data frame: of an array it would round the large ones."""
    return rows.astype("float64") if rows.dtype.kind in "iubO" else rows


def _frame(batch: Columns) -> Any:
    """With text as the categories that the model learned: LightGBM finds their numbers itself."""
    frame = batch.frame()
    for name, array in zip(batch.names, map(batch.column, batch.names)):
        if array.dtype == object:
            frame[name] = frame[name].astype("category")
    return frame


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    kept = (bool, int, float, str, type(None))
    return {key: value if isinstance(value, kept) else repr(value)[:200] for key, value in params.items()}


def _bare(model: Any) -> bool:
    return not hasattr(model, "get_params")
