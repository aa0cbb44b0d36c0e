"""ONNX: graphs of operators, which hold no code; onnxruntime computes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, below, from_package, version_of
from .values import Array, Batch, Columns, Predictions

FILE = "model.onnx"
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
AT_ONCE = 1 << 30
"""Bytes up to which a graph and its weights are one file; protobuf ends at twice that."""
OPTIONS = ("inter_op_num_threads", "intra_op_num_threads")
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({name})": name for name in "int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()},
}


class ONNX:
    """What the package `onnx` calls a ModelProto."""

    name = "onnx"

    def takes(self, model: object) -> bool:
        return from_package(model, "onnx") and hasattr(model, "graph") and hasattr(model, "opset_import")

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        import onnx

        if how.format not in ("", "onnx"):
            raise Refused(f"a model of ONNX is saved as onnx, not as {how.format}")
        apart = model.ByteSize() > AT_ONCE
        onnx.save_model(model, str(folder / FILE), save_as_external_data=apart, location="model.onnx.data")
        return Saved(
            entry={
                "code": None,
                "data": FILE,
                "onnx_version": version_of("onnx"),
                "providers": list(PROVIDERS),
            },
            function={"loader_module": "mlflow.onnx", "data": FILE},
            packages=("onnx", "numpy", "onnxruntime"),
        )

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Session:
        import onnxruntime

        file = below(folder, entry.get("data"), FILE)
        options = onnxruntime.SessionOptions()
        for name, value in (entry.get("onnx_session_options") or {}).items():
            if name in OPTIONS and value:
                setattr(options, name, int(value))
        if how.threads:
            options.intra_op_num_threads = how.threads
        wanted = [name for name in _names(entry.get("providers")) if name in onnxruntime.get_available_providers()]
        chosen = wanted or ["CPUExecutionProvider"]
        return Session(onnxruntime.InferenceSession(str(file), providers=chosen, sess_options=options), file)

    def summary(self, model: Any) -> dict[str, Any]:
        nodes = Counter(node.op_type for node in model.graph.node)
        weights = [_product(one.dims) for one in model.graph.initializer]
        known = {one.name for one in model.graph.initializer}
        return {
            "kind": "ModelProto",
            "architecture": ", ".join(f"{count} {name}" for name, count in nodes.most_common(30)),
            "layers": len(model.graph.node),
            "parameter_count": sum(weights) + sum(map(_in_attributes, model.graph.node)),
            "inputs": [one.name for one in model.graph.input if one.name not in known],
            "outputs": [one.name for one in model.graph.output],
            "opset": {one.domain or "ai.onnx": int(one.version) for one in model.opset_import},
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
        }


def _names(providers: Any) -> list[str]:
    """As MLmodel has them: names, or names with options."""
    several = [providers] if isinstance(providers, str) else providers or PROVIDERS
    return [str(one[0] if isinstance(one, (list, tuple)) and one else one) for one in several]


def _product(sides: Any) -> int:
    found = 1
    for side in sides:
        found *= int(side)
    return found


def _in_attributes(node: Any) -> int:
    """Numbers that a node holds itself: coefficients and trees of models that were converted from scikit-learn."""
    if node.domain != "ai.onnx.ml":
        return 0
    return sum(len(one.floats) for one in node.attribute)


class Session:
    """A graph that can be asked."""

    wants_names = False

    def __init__(self, session: Any, file: Path) -> None:
        self.session = session
        self._file = file
        self._inputs = {one.name: one.type for one in session.get_inputs()}
        self._outputs = [one.name for one in session.get_outputs()]
        ends = [*session.get_inputs(), *session.get_outputs()]
        self.rowwise = all(one.shape and not isinstance(one.shape[0], int) for one in ends)

    @property
    def model(self) -> Any:
        """The graph, as the package `onnx` reads it; where that is not installed, the session."""
        try:
            import onnx
        except ImportError:
            return self.session
        return onnx.load(str(self._file))

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        """All that the graph gives, by name."""
        found = self.session.run(self._outputs, self._fed(batch))
        return {name: _array(value) for name, value in zip(self._outputs, found)}

    def _fed(self, batch: Batch) -> dict[str, Array]:
        names = list(self._inputs)
        if isinstance(batch, Columns):
            if len(names) == 1:
                given = {names[0]: batch.matrix()}
            else:
                shapes = {one.name: one.shape for one in self.session.get_inputs()}
                columns = {name: batch.column(name) for name in names}
                given = {n: one.reshape(-1, 1) if len(shapes[n] or ()) == 2 else one for n, one in columns.items()}
        elif len(batch.arrays) == 1 and len(names) == 1:
            given = {names[0]: batch.only}
        else:
            given = dict(batch.arrays)
        return {name: self._cast(name, array) for name, array in given.items()}

    def _cast(self, name: str, array: Array) -> Array:
        """Numbers with a fraction in the width that the graph wants, as MLflow has it; whole ones too, as JSON has none
        of a width."""
        dtype = DTYPES.get(self._inputs.get(name, ""))
        if dtype is None or array.dtype == dtype or array.dtype.kind not in "iuf":
            return array
        return array.astype(dtype)


def _array(value: Any) -> Any:
    """Sequences of mappings, as classifiers that were converted give them, stay lists."""
    return value if isinstance(value, list) or hasattr(value, "shape") else [value]
