"""Files that bis writes into the folder `code` of a model which MLflow's own loaders do not know: MLflow puts that
folder on its path and asks the module there, with neither bis installed nor anything of it in the environment.

The text of a file never changes: another text has another number, as one process may load several models.
"""

from __future__ import annotations

from pathlib import Path

CODE = "code"

LOADERS = {
    "function": (
        "bis_function_1",
        '''"""How MLflow loads a Python callable that bis.save_model kept."""

import os
import pickle


def _load_pyfunc(path, model_config=None):
    with open(os.path.join(path, "python_model.pkl"), "rb") as file:
        return Model(pickle.load(file))


class Model:
    def __init__(self, model):
        self.model = model

    def get_raw_model(self):
        return self.model

    def predict(self, model_input, params=None):
        ask = getattr(self.model, "predict", None) or self.model
        return ask(model_input, params) if params else ask(model_input)
''',
    ),
    "joblib": (
        "bis_joblib_1",
        '''"""How MLflow loads a model that joblib wrote."""

import os

import joblib
import yaml


def _load_pyfunc(path, model_config=None):
    with open(os.path.join(path, "MLmodel"), encoding="utf-8") as file:
        told = yaml.safe_load(file)["flavors"]["python_function"]
    return joblib.load(os.path.join(path, told["model_path"]))
''',
    ),
    "torch": (
        "bis_torch_1",
        '''"""How MLflow loads a module of PyTorch that bis.save_model kept as weights beside its class."""

import importlib
import os


def _load_pyfunc(path, model_config=None):
    import yaml
    from mlflow.pytorch import _PyTorchWrapper
    from safetensors.torch import load_model

    with open(os.path.join(path, "MLmodel"), encoding="utf-8") as file:
        told = yaml.safe_load(file)["flavors"]["python_function"]
    module, _, kind = told["model_class"].rpartition(".")
    model = getattr(importlib.import_module(module), kind)(**(told.get("model_arguments") or {}))
    load_model(model, os.path.join(path, told["model_data"], "model.safetensors"))
    return _PyTorchWrapper(model.eval(), device="cpu")
''',
    ),
}

FILES = frozenset(f"{CODE}/{module}.py" for module, _ in LOADERS.values())


def loader_of(kind: str, folder: Path) -> tuple[str, tuple[str, ...], str]:
    """Write one into a model's folder. Returns the folder of code, the files that were written, and the name of the
    module."""
    module, text = LOADERS[kind]
    place = folder / CODE
    place.mkdir(exist_ok=True)
    (place / f"{module}.py").write_text(text)
    return CODE, (f"{CODE}/{module}.py",), module
