"""scikit-learn: estimators and pipelines, as skops, or, where skops cannot hold them, as a pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from . import Loading, Refused, Saved, Saving, Untrusted, below, from_package, method_of, pickled, version_of
from .arithmetic import sums_of
from .values import Batch, Columns, Predictions

FORMATS = ("skops", "cloudpickle", "pickle")
KNOWN = ("sklearn", "xgboost", "lightgbm")
INNER = ("best_estimator_", "estimator_", "estimator", "regressor_", "final_estimator_")


class Sklearn:
    """What follows the protocol of scikit-learn and was written in it."""

    name = "sklearn"

    def takes(self, model: object) -> bool:
        return from_package(model, "sklearn") and hasattr(model, "get_params")

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        format = how.format or default_format()
        warnings: tuple[str, ...] = ()
        if format not in FORMATS:
            raise Refused(f"a model of scikit-learn is saved as {' or '.join(FORMATS)}, not as {format}")
        trusted: list[str] | None = None
        if format == "skops":
            file, trusted = "model.skops", save_skops(model, folder / "model.skops")
        else:
            file, format = "model.pkl", _dump(model, folder / "model.pkl", format)
            warnings = (
                f"{file}: {pickled.WARNING}" + ("" if version_of("skops") else "; with skops installed it needs none"),
            )
        return Saved(
            entry={
                "code": None,
                "pickled_model": file,
                "serialization_format": format,
                "sklearn_version": version_of("scikit-learn"),
                "skops_trusted_types": trusted or None,
            },
            function={"loader_module": "mlflow.sklearn", "model_path": file, "predict_fn": "predict"},
            packages=(
                *("scikit-learn", "numpy", "skops" if format == "skops" else "cloudpickle", *_steps_from(model)),
                *(("pandas",) if asks_by_name(model) else ()),  # it is handed a data frame
            ),
            warnings=warnings,
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Estimator:
        file = below(folder, entry.get("pickled_model"), "model.pkl")
        if entry.get("serialization_format") == "skops":
            return Estimator(load_skops(file, how), few=how.alone and not how.many)
        return Estimator(pickled.load(file, how, pickled.read_joblib), few=how.alone and not how.many)

    def summary(self, model: Any) -> dict[str, Any]:
        return summary_of(model)


class Estimator:
    """A fitted estimator that can be asked. One that needs no names forgets those that it was fitted with: it is handed
    its columns in their order, and would warn of each array. `few`: it is to be asked with few rows at a time, many
    times."""

    asked_by_method = True

    def __init__(self, model: Any, *, few: bool = False) -> None:
        self.model = model
        self.wants_names = asks_by_name(model)
        self.rowwise = is_known(model)
        self._order = None if self.wants_names else _taken_from(model)
        self._sums: Any = None
        self._unproved = few and not self.wants_names

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        """By the method that `predict_method` among the params names; else `predict`."""
        method = method_of(self.model, params)
        rows = self._rows(batch)
        if self._unproved:  # not as it is loaded, which may be without pandas: the model may ask for that
            self._sums, self._unproved = sums_of(self.model), False
        if self._sums is not None and method == "predict" and (summed := self._sums(rows)) is not None:
            return cast("Predictions", summed)
        found: Predictions = getattr(self.model, method)(rows)
        return found

    def _rows(self, batch: Batch) -> Any:
        if not isinstance(batch, Columns):
            return batch.only
        if self.wants_names:
            return batch.frame()
        if self._order and self._order != batch.names and set(self._order) <= set(batch.names):
            return batch.chosen(self._order).matrix()
        return batch.matrix()


def _taken_from(model: Any) -> tuple[str, ...] | None:
    """The names of the columns that a model was fitted with, which it and its steps forget."""
    names = getattr(model, "feature_names_in_", None)
    waiting, seen = [model], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not hasattr(one, "__dict__"):
            continue
        seen.add(id(one))
        vars(one).pop("feature_names_in_", None)
        waiting += [step for _, step in (*getattr(one, "steps", ()), *getattr(one, "transformer_list", ()))]
        waiting += [getattr(one, name) for name in INNER if hasattr(one, name)]
        several = getattr(one, "estimators_", ())
        waiting += several.ravel().tolist() if hasattr(several, "ravel") else list(several)
    return None if names is None else tuple(str(name) for name in names)


def default_format() -> str:
    """The safest that can be written here."""
    return "skops" if version_of("skops") else "cloudpickle"


def _dump(model: Any, path: Path, format: str) -> str:
    """Returns what it is: `cloudpickle` or `pickle`."""
    if format == "pickle":
        import pickle

        with path.open("wb") as file:
            pickle.dump(model, file)
        return "pickle"
    return pickled.dump(model, path)


def _steps_from(model: Any) -> tuple[str, ...]:
    """The distributions that steps of it are from."""
    found = {type(one).__module__.partition(".")[0] for one in parts_of(model)}
    names = {"lightgbm": "lightgbm", "xgboost": "xgboost" if version_of("xgboost") else "xgboost-cpu"}
    return tuple(names[name] for name in sorted(found & names.keys()))


def parts_of(model: Any) -> list[Any]:
    """The model and all estimators in it, each once."""
    waiting, found, seen = [model], [], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not hasattr(one, "get_params"):
            continue
        seen.add(id(one))
        found.append(one)
        waiting += [step for _, step in (*getattr(one, "steps", ()), *getattr(one, "transformer_list", ()))]
        waiting += [each[1] for each in (getattr(one, "transformers_", ()) or getattr(one, "transformers", ()))]
        waiting += [getattr(one, name) for name in INNER if hasattr(one, name)]
        several = getattr(one, "estimators_", ())
        waiting += several.ravel().tolist() if hasattr(several, "ravel") else list(several)
    return found


def save_skops(model: Any, path: Path) -> list[str]:
    """Returns the types that skops does not know by itself. Raises Refused where it cannot hold the model."""
    import skops.io

    try:
        skops.io.dump(model, path)
        return sorted(skops.io.get_untrusted_types(file=path))
    except Exception as error:  # skops raises what it likes for what it cannot write
        if path.exists():
            path.unlink()
        raise Refused(f"skops cannot hold it ({error}); save it with format='cloudpickle'") from error


def load_skops(path: Path, how: Loading) -> Any:
    """Raises Refused where the file names types that skops does not know, for a reader who does not trust it."""
    skops = _skops(how.alone)
    named = skops.get_untrusted_types(file=path)
    strange = [name for name in named if not _is_harmless(name)]
    if strange and not how.trust:
        raise Untrusted(f"{path.name} names types that skops does not know to be harmless: {', '.join(strange[:5])}")
    return skops.load(path, trusted=named)


def _skops(lean: bool) -> Any:
    """skops as it reads files. Where it is imported, it looks for the estimators of scikit-learn, which it trusts, by
    importing every module of that, and PyTorch with them: twice the memory and three times the time of all that a
    model needs. A lean one finds none, and `_is_harmless` says of each type that a file names what it would say. Then
    it asks every module for every ufunc, which a lean one has looked up."""
    import sys

    if lean and "skops.io" not in sys.modules:
        import sklearn.utils

        looked_for, taken_from = sklearn.utils.all_estimators, {}

        def none(*_: Any, **__: Any) -> list[Any]:
            """What it is asked for first."""
            utils = vars(sys.modules["skops.io._utils"])
            if "whichmodule" in utils:
                taken_from.update(utils)
                utils["whichmodule"] = _places_of_ufuncs(utils["whichmodule"])
            return []

        sklearn.utils.all_estimators = none
        try:
            import skops.io
        finally:
            sklearn.utils.all_estimators = looked_for
            if taken_from:
                vars(sys.modules["skops.io._utils"])["whichmodule"] = taken_from["whichmodule"]
    import skops.io

    return skops.io


def _places_of_ufuncs(looked_in: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """The same question, of which module something is, answered for ufuncs by one look at all modules."""
    import sys

    first: dict[tuple[str, int], str] = {}
    for place, module in list(sys.modules.items()):
        if place not in ("__main__", "__mp_main__"):
            for name, one in list(getattr(module, "__dict__", {}).items()):
                if isinstance(one, np.ufunc) and getattr(one, "__module__", None) is None:
                    first.setdefault((name, id(one)), place)
    return lambda one, name: first.get((name, id(one))) or looked_in(one, name)


def _is_harmless(name: str) -> bool:
    """Whether a type is a class of scikit-learn, or an estimator or a booster of XGBoost or LightGBM: making one of
    them and filling it runs nothing that its file chose. Functions are none, whoever wrote them."""
    import importlib

    module, _, kind = name.rpartition(".")
    package = module.partition(".")[0]
    if name == "collections.OrderedDict":
        return True
    if package not in KNOWN or ".tests" in module or ".externals" in module:
        return False
    try:
        from sklearn.base import BaseEstimator

        found = getattr(importlib.import_module(module), kind, None)
    except ImportError:
        return False
    if not isinstance(found, type) or found.__module__.partition(".")[0] != package:
        return False
    return package == "sklearn" or issubclass(found, BaseEstimator) or kind == "Booster"


def asks_by_name(model: Any) -> bool:
    """Whether it, or a step of it, may choose columns by name: the steps of a script may do anything."""
    if type(model).__name__ == "ColumnTransformer":
        chosen = [columns for _, _, columns in model.transformers]
        return any(isinstance(one, str) or callable(one) or _has_text(one) for one in chosen)
    if type(model).__module__.split(".")[0] not in KNOWN or type(model).__name__ == "FunctionTransformer":
        return True
    steps = [step for _, step in (*getattr(model, "steps", ()), *getattr(model, "transformer_list", ()))]
    inner = [getattr(model, name) for name in INNER if hasattr(model, name)]
    return any(asks_by_name(one) for one in (*steps, *inner) if hasattr(one, "get_params"))


def is_known(model: Any) -> bool:
    """Whether it and all its steps are of packages that treat each row by itself; those of a script may do anything."""
    if type(model).__module__.split(".")[0] not in KNOWN or type(model).__name__ == "FunctionTransformer":
        return False
    steps = [step for _, step in (*getattr(model, "steps", ()), *getattr(model, "transformer_list", ()))]
    steps += [one[1] for one in getattr(model, "transformers", ())]
    inner = [getattr(model, name) for name in INNER if hasattr(model, name)]
    return all(is_known(one) for one in (*steps, *inner) if hasattr(one, "get_params"))


def _has_text(columns: Any) -> bool:
    return isinstance(columns, (list, tuple)) and any(isinstance(one, str) for one in columns)


def summary_of(model: Any) -> dict[str, Any]:
    """Of any model that follows the protocol of scikit-learn."""
    steps = [{"name": name, "kind": type(step).__name__} for name, step in getattr(model, "steps", ())]
    final = model.steps[-1][1] if steps else model
    found: dict[str, Any] = {
        "kind": type(final).__name__,
        "architecture": " > ".join(step["kind"] for step in steps) or type(final).__name__,
        "hyperparameters": _plain(model.get_params(deep=True)),
    }
    if steps:
        found["steps"] = steps
    if count := _count(final):
        found["parameter_count"] = count
    trees = getattr(final, "estimators_", None)
    if trees is not None:
        found["trees"] = len(trees)
    if hasattr(final, "classes_"):
        found["classes"] = [str(one) for one in list(final.classes_)[:1000]]
    if hasattr(model, "n_features_in_"):
        found["features"] = int(model.n_features_in_)
    return found


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are values; an estimator among them is told by its own params."""
    kept = {
        key: value
        for key, value in params.items()
        if not hasattr(value, "get_params") and key not in ("steps", "memory")
    }
    return {
        key: value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)[:200]
        for key, value in kept.items()
    }


def _count(model: Any) -> int:
    """Numbers that were learned: of linear models and networks, their coefficients; of trees, their nodes."""
    arrays = [
        getattr(model, name)
        for name in ("coef_", "intercept_", "coefs_", "intercepts_", "cluster_centers_")
        if hasattr(model, name)
    ]
    several = [one for array in arrays for one in (array if isinstance(array, list) else [array])]
    nodes = [tree.tree_.node_count for tree in _trees(model)]
    return sum(int(getattr(one, "size", 1)) for one in several) + int(sum(nodes))


def _trees(model: Any) -> list[Any]:
    if hasattr(model, "tree_"):
        return [model]
    found = getattr(model, "estimators_", ())
    flat = found.ravel().tolist() if hasattr(found, "ravel") else list(found)
    return [tree for tree in flat if hasattr(tree, "tree_")]
