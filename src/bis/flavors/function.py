"""Any Python callable: it is handed the rows and answers. A pickle, with functions and classes of the script inside;
and what MLflow saved of its PythonModel, as a pickle or as a script."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import MODELS, Loading, Refused, Saved, Saving, Untrusted, below, class_names, pickled, stand_in, version_of
from .beside import loader_of
from .values import Batch, Columns

FILE = "python_model.pkl"
PYTHON_MODEL = "mlflow.pyfunc.model.PythonModel"
SCRIPT = "it is a script, which is run to load it"


class Function:
    """A function, an object that can be called, one with `predict`, a PythonModel of MLflow."""

    name = "python_function"

    def takes(self, model: object) -> bool:
        return callable(model) or callable(getattr(model, "predict", None))

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        if how.format not in ("", "cloudpickle"):
            raise Refused(f"a Python callable is saved as cloudpickle, not as {how.format}")
        pickled.dump(model, folder / FILE)
        told: dict[str, Any] = {"python_model": FILE, "cloudpickle_version": version_of("cloudpickle")}
        beside: tuple[str, ...] = ()
        if PYTHON_MODEL in class_names(model):
            told["loader_module"] = MODELS[0]
        else:
            told["code"], beside, told["loader_module"] = loader_of("function", folder)
        return Saved(
            entry={},
            function=told,
            packages=("numpy", "pandas", "cloudpickle"),
            warnings=(f"{FILE}: {pickled.WARNING}",),
            beside=beside,
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Any:
        loader = str(entry.get("loader_module") or MODELS[0])
        if loader not in MODELS and "python_model" not in entry:
            return _by_module(folder, loader, entry, how)
        if loader in MODELS and stand_in.is_installed():
            return _by_module(folder, loader, entry, how)
        if loader not in MODELS:
            return Called(pickled.load(below(folder, entry.get("python_model"), FILE), how))
        return _without_mlflow(folder, entry, how)

    def summary(self, model: Any) -> dict[str, Any]:
        kind = type(model)
        name = getattr(model, "__qualname__", "") or kind.__qualname__
        fields = {} if hasattr(model, "__code__") else vars(model) if hasattr(model, "__dict__") else {}
        kept = (bool, int, float, str, type(None))
        return {
            "kind": "function" if hasattr(model, "__code__") else kind.__qualname__,
            "name": f"{model.__module__}.{name}",
            "architecture": _spelled(model),
            "hyperparameters": {key: value for key, value in list(fields.items())[:100] if isinstance(value, kept)},
        }


def _spelled(model: Any) -> str:
    asked = getattr(model, "predict", None) or model
    try:
        return f"{getattr(asked, '__name__', type(asked).__name__)}{inspect.signature(asked)}"
    except (TypeError, ValueError):
        return type(model).__qualname__


def _demand_trust(folder: Path, entry: Mapping[str, Any], how: Loading) -> None:
    if not how.trust:
        file = str(entry.get("python_model") or entry.get("model_code_path") or "the model")
        said = SCRIPT if entry.get("model_code_path") else pickled.WARNING
        raise Untrusted(f"{Path(file).name} is not opened: {said}")


def _by_module(folder: Path, loader: str, entry: Mapping[str, Any], how: Loading) -> Asked:
    """By the module that MLflow would ask, which is a module of mlflow or lies in the model's folder."""
    if not how.trust:
        raise Untrusted(f"it is loaded by the module {loader}, which runs code that whoever wrote the model chose")
    data = below(folder, entry["data"]) if entry.get("data") else folder
    try:
        module = importlib.import_module(loader)
    except ImportError as error:
        raise Refused(f"it is loaded by the module {loader}, which the environment of the model lacks") from error
    config = entry.get("config")
    model = module._load_pyfunc(str(data), config) if config else module._load_pyfunc(str(data))
    return Asked(model, str(entry.get("predict_fn") or "predict"))


def _without_mlflow(folder: Path, entry: Mapping[str, Any], how: Loading) -> Called:
    """A PythonModel where no mlflow is installed."""
    _demand_trust(folder, entry, how)
    artifacts = {str(name): str(below(folder, told["path"])) for name, told in (entry.get("artifacts") or {}).items()}
    with stand_in.standing_in() as kept:
        try:
            if script := entry.get("model_code_path"):
                model = _of_script(below(folder, Path(str(script)).name), kept)
            else:
                model = pickled.load(below(folder, entry.get("python_model"), FILE), how)
            context = stand_in.Context(artifacts, entry.get("config"))
            if hasattr(model, "load_context"):
                model.load_context(context)
        except (ImportError, AttributeError) as error:
            if "mlflow" not in str(error):
                raise
            raise Refused(f"it needs mlflow to be loaded, which its environment lacks ({error})") from error
    return Called(model, context)


def _of_script(path: Path, kept: stand_in.Finder) -> Any:
    import runpy

    runpy.run_path(str(path), run_name="code_model")
    if kept.model is None:
        raise Refused(f"{path.name} does not call mlflow.models.set_model")
    return kept.model


class Asked:
    """What MLflow loaded."""

    wants_names = True
    rowwise = False
    """It may look at all rows at once: nobody knows."""

    def __init__(self, model: Any, method: str) -> None:
        self._asked = model
        self._ask = getattr(model, method)

    @property
    def model(self) -> Any:
        """What is inside of what MLflow puts around it."""
        found = getattr(self._asked, "python_model", None)
        if found is None and hasattr(self._asked, "get_raw_model"):
            found = self._asked.get_raw_model()
        return getattr(found, "func", found) if found is not None else self._asked

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        takes = inspect.signature(self._ask).parameters
        found = self._ask(_rows(batch), dict(params)) if params and len(takes) > 1 else self._ask(_rows(batch))
        return _plain(found)


class Called:
    """A callable that can be asked. It gets a data frame where it is asked by column."""

    wants_names = True
    rowwise = False
    """It may look at all rows at once: nobody knows."""

    def __init__(self, model: Any, context: Any = None) -> None:
        self.model = getattr(model, "func", model) if isinstance(model, stand_in.FunctionModel) else model
        self._ask = stand_in.asked_of(model)
        self._context = context
        names = _arguments(self._ask)
        self._first = (context,) if names[:1] == ["context"] or (context is not None and len(names) > 2) else ()
        self._named = "params" in names
        self._as_list = _asks_for_list(self._ask, len(self._first))

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        rows = _rows(batch)
        if self._as_list and isinstance(batch, Columns):
            texts = [name for name in batch.names if batch.column(name).dtype == object]
            rows = batch.column((texts or batch.names)[0]).tolist()
        if not params:
            return _plain(self._ask(*self._first, rows))
        if self._named:
            return _plain(self._ask(*self._first, rows, params=dict(params)))
        return _plain(self._ask(*self._first, rows, params))


def _rows(batch: Batch) -> Any:
    return batch.frame() if isinstance(batch, Columns) else batch.only if len(batch.arrays) == 1 else batch.arrays


def _arguments(ask: Any) -> list[str]:
    try:
        return list(inspect.signature(ask).parameters)
    except (TypeError, ValueError):
        return []


def _asks_for_list(ask: Any, place: int) -> bool:
    """Whether its rows are to be a list of texts, as its hints say."""
    try:
        hints = [one.annotation for one in inspect.signature(ask).parameters.values()]
    except (TypeError, ValueError):
        return False
    return len(hints) > place and hints[place] in (list[str], typing.List[str], "list[str]", "List[str]")


def _plain(found: Any) -> Any:
    """Answers with a frame around them, as arrays by name; a series as one array."""
    if hasattr(found, "columns") and hasattr(found, "to_numpy"):
        return {str(name): found[name].to_numpy() for name in found.columns}
    if hasattr(found, "to_numpy"):
        return found.to_numpy()
    return found
