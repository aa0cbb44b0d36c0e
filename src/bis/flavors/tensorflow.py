"""TensorFlow: a `tf.Module` as a SavedModel, and what MLflow saved of Keras under this name.

A SavedModel is a program: operators of it can read and write files. It is opened for a reader who trusts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, Untrusted, below, class_names, version_of
from .keras import Network, load_file
from .values import Batch, Columns, Predictions

FOLDER = "tf2model"
WARNING = "a SavedModel is a program, which may read and write files: it is opened for whoever trusts it"


class TensorFlow:
    """What can be saved as a SavedModel."""

    name = "tensorflow"

    def takes(self, model: object) -> bool:
        return any(name.startswith("tensorflow.") and name.endswith(".Module") for name in class_names(model))

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        import tensorflow

        if how.format not in ("", "saved_model"):
            raise Refused(f"a module of TensorFlow is saved as saved_model, not as {how.format}")
        tensorflow.saved_model.save(model, str(folder / FOLDER))
        return Saved(
            entry={"code": None, "model_type": "tf2-module", "saved_model_dir": FOLDER},
            function={"loader_module": "mlflow.tensorflow"},
            packages=("tensorflow" if version_of("tensorflow") else "tensorflow-cpu", "numpy"),
            warnings=(f"{FOLDER}: {WARNING}",),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Any:
        if "saved_model_dir" not in entry:
            return Network(load_file(below(folder, entry.get("data"), "data"), how))
        place = below(folder, entry["saved_model_dir"])
        if not how.trust:
            raise Untrusted(f"{place.name} is not opened: {WARNING}")
        import tensorflow

        named = entry.get("signature_def_key")
        return Module(tensorflow.saved_model.load(str(place), tags=entry.get("meta_graph_tags")), named)

    def summary(self, model: Any) -> dict[str, Any]:
        variables = list(model.variables)
        return {
            "kind": type(model).__name__,
            "architecture": ", ".join(f"{one.name} {tuple(one.shape)}" for one in variables[:100]),
            "parameter_count": int(sum(int(one.shape.num_elements() or 0) for one in variables)),
            "layers": [{"name": one.name, "shape": [int(side) for side in one.shape]} for one in variables[:1000]],
            "hyperparameters": {},
        }


class Module:
    """A SavedModel that can be asked: by its call, or by its signature."""

    wants_names = False
    rowwise = False

    def __init__(self, model: Any, signature: str | None = None) -> None:
        self.model = model
        serving = model.signatures.get(signature or "serving_default") if hasattr(model, "signatures") else None
        self._ask: Any = model if callable(model) and signature is None else serving
        if self._ask is None:
            raise Refused("the SavedModel cannot be called and has no signature serving_default")
        self._named = self._ask is serving

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        import tensorflow

        if self._named:
            given = (
                {name: batch.column(name) for name in batch.names} if isinstance(batch, Columns) else dict(batch.arrays)
            )
            known = self._ask.structured_input_signature[1]
            if list(given) == [""] and len(known) == 1:
                given = {next(iter(known)): given[""]}
            found = self._ask(**{name: tensorflow.constant(array) for name, array in given.items()})
        elif not isinstance(batch, Columns) and len(batch.arrays) > 1:
            found = self._ask({name: tensorflow.constant(array) for name, array in batch.arrays.items()})
        else:
            rows = batch.matrix() if isinstance(batch, Columns) else batch.only
            found = self._ask(tensorflow.convert_to_tensor(rows))
        if isinstance(found, Mapping):
            return {str(name): value.numpy() for name, value in found.items()}
        if isinstance(found, (list, tuple)):
            return {f"output_{place}": one.numpy() for place, one in enumerate(found)}
        answers: Predictions = found.numpy()
        return answers
