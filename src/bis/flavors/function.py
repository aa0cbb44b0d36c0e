"""Any Python callable: it is handed the rows and answers. A pickle, with functions and classes of the script inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, pickled, version_of
from .values import Batch, Columns, Predictions

FILE = "python_model.pkl"


class Function:
    """A function, an object that can be called, or one with `predict`."""

    name = "python_function"

    def takes(self, model: object) -> bool:
        return callable(model) or callable(getattr(model, "predict", None))

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        if how.format not in ("", "cloudpickle"):
            raise Refused(f"a Python callable is saved as cloudpickle, not as {how.format}")
        pickled.dump(model, folder / FILE)
        return Saved(
            entry={},
            function={
                "loader_module": "mlflow.pyfunc.model",
                "python_model": FILE,
                "cloudpickle_version": version_of("cloudpickle"),
            },
            packages=("numpy", "cloudpickle"),
            warnings=(f"{FILE}: {pickled.WARNING}",),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Called:
        return Called(pickled.load(folder / str(entry.get("python_model") or FILE), how))

    def summary(self, model: Any) -> dict[str, Any]:
        kind = type(model)
        name = getattr(model, "__qualname__", "") or kind.__qualname__
        return {
            "kind": "function" if hasattr(model, "__code__") else kind.__qualname__,
            "name": f"{model.__module__}.{name}",
        }


class Called:
    """A callable that can be asked. It gets a data frame where it is asked by column."""

    wants_names = True
    rowwise = False
    """It may look at all rows at once: nobody knows."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        rows = batch.frame() if isinstance(batch, Columns) else batch.only if len(batch.arrays) == 1 else batch.arrays
        ask = self.model if callable(self.model) else self.model.predict
        found: Predictions = ask(rows, params) if params else ask(rows)
        return found
