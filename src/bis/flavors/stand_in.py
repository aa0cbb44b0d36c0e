"""A stand-in for mlflow while a model is opened that MLflow saved, where mlflow itself is not installed.

A model of MLflow's PythonModel needs little of it: the class that it derives from, the context that it is handed, and,
if it is a script, `set_model`. mlflow is 60 packages and takes seconds to import.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any


class Context:
    """What a model is handed with each prediction."""

    def __init__(self, artifacts: dict[str, str], model_config: dict[str, Any] | None) -> None:
        self.artifacts = artifacts
        self.model_config = model_config


class PythonModel:
    """What a model derives from."""

    def load_context(self, context: Any) -> None:
        pass


class FunctionModel(PythonModel):
    """What MLflow makes of a function."""

    func: Any

    def predict(self, model_input: Any, params: Any = None) -> Any:
        return self.func(model_input)


class Absent:
    """Whatever else of mlflow a file names. It can be made and held, and not used."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__module__}.{type(self).__name__}.{name}: mlflow is not installed")


class Module(types.ModuleType):
    """A module of mlflow, with what is known of it, and something absent for each other name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (Absent,), {"__module__": self.__name__})
        setattr(self, name, found)
        return found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for mlflow and all modules below, and keeps what a script calls `set_model` with."""

    def __init__(self) -> None:
        self.model: Any = None
        self._known: dict[str, dict[str, Any]] = {
            "mlflow.pyfunc": {"PythonModel": PythonModel, "PythonModelContext": Context},
            "mlflow.pyfunc.model": {
                "PythonModel": PythonModel,
                "PythonModelContext": Context,
                "_FunctionPythonModel": FunctionModel,
            },
            "mlflow.models": {"set_model": self._set_model},
        }

    def _set_model(self, model: Any) -> None:
        self.model = model

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] != "mlflow":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        return Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(self._known.get(module.__name__, {}))


def is_installed() -> bool:
    """Whether there is an mlflow to import."""
    return "mlflow" in sys.modules or importlib.util.find_spec("mlflow") is not None


@contextlib.contextmanager
def standing_in() -> Iterator[Finder]:
    """In here `import mlflow` finds the stand-in."""
    finder = Finder()
    sys.meta_path.append(finder)
    try:
        for name in ("mlflow.pyfunc.model", "mlflow.models"):
            importlib.import_module(name)
        yield finder
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
            del sys.modules[name]


def asked_of(model: Any) -> Any:
    """How such a model is asked: without what MLflow put around its `predict` when it was written."""
    if isinstance(model, FunctionModel):
        return inspect.unwrap(model.func)
    method = getattr(type(model), "predict", None)
    if method is None or not isinstance(model, PythonModel):
        return getattr(model, "predict", None) or inspect.unwrap(model)
    return types.MethodType(inspect.unwrap(method), model)
