"""Keras: models as `.keras`, which holds no code unless a layer of the script is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, Untrusted, below, class_names, pickled, version_of
from .values import Batch, Columns, Predictions

FILE = "data/model.keras"
CUSTOM = ("custom_objects.cloudpickle", "global_custom_objects.cloudpickle")
"""Where MLflow keeps classes of a script."""


class Keras:
    """Functional, sequential and own models of Keras, whichever of the frameworks computes them."""

    name = "keras"

    def takes(self, model: object) -> bool:
        return any(name.startswith(("keras.", "keras.src.")) and name.endswith(".Model") for name in class_names(model))

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        import keras

        if how.format not in ("", "keras"):
            raise Refused(f"a model of Keras is saved as keras, not as {how.format}")
        (folder / "data").mkdir()
        model.save(folder / FILE)
        backend = keras.backend.backend()
        package = "tensorflow-cpu" if backend == "tensorflow" and not version_of("tensorflow") else backend
        return Saved(
            entry={
                "data": "data",
                "keras_version": keras.__version__,
                "keras_backend": backend,
                "save_exported_model": False,
            },
            function={"loader_module": "mlflow.keras"},
            packages=("keras", "numpy", package),
            warnings=_own_layers(model),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Network:
        if entry.get("save_exported_model"):
            raise Refused("it is a SavedModel that Keras exported, which the flavor tensorflow reads")
        data = below(folder, entry.get("data"), "data")
        return Network(load_file(data, how))

    def summary(self, model: Any) -> dict[str, Any]:
        return summary_of(model)


def load_file(data: Path, how: Loading) -> Any:
    """What lies in a folder `data` as Keras or MLflow left it there. Raises Refused."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    known: dict[str, Any] = {}
    for name in CUSTOM:
        if (data / name).is_file():
            known.update(pickled.load(data / name, how))
    files = [data] if data.is_file() else [data / name for name in ("model.keras", "model.h5", "model")]
    file = next((one for one in files if one.exists()), files[0])
    if file.suffix == ".h5" and not how.trust:
        raise Untrusted(f"{file.name} is not opened: layers in HDF5 may hold code")
    try:
        return keras.saving.load_model(file, custom_objects=known, compile=False, safe_mode=not how.trust)
    except ValueError as error:
        if "safe_mode" in str(error) or "unsafe" in str(error):
            raise Untrusted(f"{file.name} is not opened: a layer of it holds code") from error
        raise


class Network:
    """A model of Keras that can be asked."""

    wants_names = False
    rowwise = True

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        rows = batch.matrix() if isinstance(batch, Columns) else batch.only if len(batch.arrays) == 1 else batch.arrays
        found = self.model.predict(rows, verbose=0)
        if isinstance(found, (list, tuple)):
            return {f"output_{place}": one for place, one in enumerate(found)}
        answers: Predictions = found
        return answers


def _own_layers(model: Any) -> tuple[str, ...]:
    """Of layers whose code is not in the file: they are told."""
    strange = sorted(
        {
            f"{type(layer).__module__}.{type(layer).__qualname__}"
            for layer in (model, *model._flatten_layers(include_self=False))
            if type(layer).__module__.split(".")[0] not in ("keras", "tensorflow")
        }
    )
    if not strange:
        return ()
    return (f"{', '.join(strange)}: the code is not in the model, and must be importable where it is loaded",)


def summary_of(model: Any) -> dict[str, Any]:
    layers = [
        {"name": layer.name, "kind": type(layer).__name__, "parameters": int(layer.count_params())}
        for layer in model.layers
    ]
    optimizer = getattr(model, "optimizer", None)
    found = {
        "kind": type(model).__name__,
        "architecture": " > ".join(layer["kind"] for layer in layers),
        "parameter_count": int(model.count_params()),
        "layers": layers[:1000],
        "hyperparameters": {},
    }
    if optimizer is not None:
        kept = (bool, int, float, str)
        config = optimizer.get_config()
        found["hyperparameters"] = {
            f"optimizer.{key}": float(value) if hasattr(value, "dtype") else value
            for key, value in config.items()
            if isinstance(value, kept) or (hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0)
        }
    return found
