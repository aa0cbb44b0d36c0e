"""One evaluation: a model is asked about all rows of some files, and what it says is held against a column of theirs.

The files are read some rows at a time. What came out is written into the current folder: `metrics.json`, and
`evaluation.json`, which says of what they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..flavors import Loading, Refused, Untrusted, kinds
from ..flavors import signature as signatures
from ..flavors.checking import Mismatch, check
from ..flavors.signature import Column, Signature
from ..flavors.values import Array, Batch, Columns
from . import TRUST
from .bulk import Stop, reading
from .bulk.kinds import KINDS, kind_of
from .bulk.reading import Bad
from .metrics import CLASSIFICATION, MORE_CLASSIFICATION, MORE_REGRESSION, REGRESSION, Classified, Measured, chosen
from .tabular import column_of, with_types

REFUSED = 65
"""The exit status where what was asked makes no sense: nothing was evaluated."""
TASKS = ("classification", "regression")


def main(words: Sequence[str]) -> int:
    asked = _asked(words)
    try:
        told, about = evaluate(asked)
    except Stop as stop:
        for name, text in (("error", stop.what), ("because", stop.because), ("hint", stop.hint)):
            if text:
                print(f"{name}: {text}", file=sys.stderr)
        return REFUSED
    except Refused as error:
        return refused(error)
    Path("metrics.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    Path("evaluation.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    for name, value in told.items():
        print(f"{name} {value!r}")
    return 0


def refused(error: Refused) -> int:
    """Tell why a model is not loaded. Returns the exit status."""
    print(f"error: {error}" + (f"\nhint: {TRUST}" if isinstance(error, Untrusted) else ""), file=sys.stderr)
    return REFUSED


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluate", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--described", required=True, help="what its MLmodel says, as JSON")
    parser.add_argument("--data", required=True, help="a file, or a folder of them")
    parser.add_argument("--target", default="")
    parser.add_argument("--metrics", default="")
    parser.add_argument("--declared", default="", help="those that are meant where they can be told")
    parser.add_argument("--task", default="")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--trust", action="store_true")
    return parser.parse_args(words)


def evaluate(asked: argparse.Namespace) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics, and what they are of. Raises Stop."""
    described = json.loads(Path(asked.described).read_text("utf-8"))
    signature = signatures.read(described.get("signature"))
    asking = Asking(Path(asked.model), described, signature, asked.trust)
    target, metrics = asked.target, None
    left_out = 0
    for chunk in chunks(asked.data, asked.batch, signature):
        target = target or _target(chunk, asking.names, asked.data)
        true, batch = _parted(chunk, target, asking.names, asked.data)
        there = _there(true)
        if not there.all():
            left_out += int((~there).sum())
            true, batch = _typed(true[there]), _some(batch, there)
        if not len(true):
            continue
        said, probabilities = asking.ask(batch)
        metrics = metrics or _metrics(asked.task or asking.task(true, said), asking, said)
        metrics.take(*asking.fitted(metrics, true, said, probabilities))
    if metrics is None:
        raise Stop(f"{asked.data} has no rows" + (f" with a value in {target}" if left_out else ""))
    names = tuple(filter(None, asked.metrics.split(",")))
    usual = metrics.told()
    all_told = {**usual, **metrics.more()}
    declared = tuple(name for name in asked.declared.split(",") if name in all_told)
    told = chosen(all_told, names or declared) if names or declared else usual
    _demand(names, told, metrics)
    task = TASKS[0] if isinstance(metrics, Classified) else TASKS[1]
    about = {"task": task, "target": target, "rows": metrics.rows, "left_out": left_out, "notes": metrics.notes}
    return told, about


def _demand(names: Sequence[str], told: Mapping[str, float], metrics: Classified | Measured) -> None:
    """Raises Stop for a metric that cannot be told."""
    known = CLASSIFICATION + MORE_CLASSIFICATION if isinstance(metrics, Classified) else REGRESSION + MORE_REGRESSION
    for name in names:
        if name not in told:
            why = "the model gives no probabilities" if name in known else f"known here are {', '.join(known)}"
            raise Stop(f"the metric {name} cannot be told: {why}", hint=f"--metrics {','.join(told) or known[0]}")


# -- rows --------------------------------------------------------------------------------------------------------


def _files(data: str) -> list[str]:
    path = Path(data)
    if path.is_file():
        return [data]
    found = sorted(str(one) for one in path.rglob("*") if one.is_file() and kind_of(one.name))
    if not found:
        raise Stop(f"{data} has no files of rows", f"Known are {', '.join(KINDS)}.")
    return found


def chunks(data: str, batch: int, signature: Signature) -> Iterator[Columns]:
    try:
        for file in _files(data):
            for chunk in reading.opened(file, "", batch, signature).chunks():
                yield chunk.columns(None)
    except Bad as bad:
        raise Stop(f"{data} cannot be read: {bad}" + (f", in the column {bad.column}" if bad.column else "")) from None


def _target(chunk: Columns, names: Sequence[str], data: str) -> str:
    """The only column that the model does not take."""
    left = [name for name in chunk.names if name not in names] if names else []
    if len(left) == 1:
        return left[0]
    known = f"Columns that the model does not take: {', '.join(left) or 'none'}." if names else ""
    told = known or f"Columns: {', '.join(chunk.names)}."
    raise Stop(
        f"which column of {data} is what the model should say?",
        told,
        f"--target {(left or chunk.names)[-1]}",  # where most tables have it
    )


def _parted(chunk: Columns, target: str, names: Sequence[str], data: str) -> tuple[Array, Columns]:
    """What is true, and what the model is asked. Raises Stop for what is not there."""
    if target not in chunk.names:
        raise Stop(f"{data} has no column {target}", f"It has {', '.join(chunk.names)}.", f"--target {chunk.names[-1]}")
    if missing := [name for name in names if name not in chunk.names]:
        several = f"the columns {', '.join(missing)}" if len(missing) > 1 else f"the column {missing[0]}"
        raise Stop(f"the model takes {several}, which {data} has not", f"It has {', '.join(chunk.names)}.")
    wanted = list(names) or [name for name in chunk.names if name != target]
    return chunk.column(target), chunk.chosen(wanted)


def _there(values: Array) -> Array:
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    if values.dtype == object:
        return np.array([value is not None and value == value and value != "" for value in values.tolist()], dtype=bool)
    return np.ones(len(values), dtype=bool)


def _typed(values: Array) -> Array:
    """Numbers that stood among gaps, as numbers."""
    return column_of(values.tolist()) if values.dtype == object else values


def _some(batch: Columns, there: Array) -> Columns:
    block = None if batch.block is None else batch.block[there]
    return Columns(batch.names, block, tuple(array[there] for array in batch.arrays))


# -- the model ---------------------------------------------------------------------------------------------------


class Asking:
    """A model that was loaded, and how it is asked for labels, numbers and probabilities."""

    def __init__(self, folder: Path, described: Mapping[str, Any], signature: Signature, trust: bool) -> None:
        flavors = described.get("flavors") or {}
        code = (flavors.get("python_function") or {}).get("code")
        if isinstance(code, str) and code:
            sys.path.insert(0, str(folder / code))
        self._signature = signature
        self._predictor = kinds.load(folder, flavors, Loading(trust=trust))
        self.model = self._predictor.model
        self.names = _names(signature, self._predictor)
        classes = getattr(self.model, "classes_", None)
        able = hasattr(self.model, "predict_proba") and getattr(classes, "ndim", 1) == 1
        self.classes = list(classes) if classes is not None and able else None

    def ask(self, batch: Columns) -> tuple[Array, Array | None]:
        """What it says, and its probabilities where it has them. Raises Stop for rows that it does not take."""
        taken: Batch = batch
        try:
            taken = check(self._signature, with_types(self._signature, batch))
        except Mismatch as error:
            raise Stop(str(error)) from None
        wanted = getattr(self.model, "n_features_in_", None)
        if not self.names and wanted is not None and wanted != len(batch.names):
            raise Stop(
                f"the model takes {wanted} columns, and the data has {len(batch.names)} beside the target",
                f"They are {', '.join(batch.names)}.",
            )
        said = _array(self._predictor.predict(taken, {}))
        return said, self.probabilities(taken)

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Any:
        """As a request asks it."""
        return self._predictor.predict(batch, params)

    def probabilities(self, batch: Batch) -> Array | None:
        """Of each class, in their order; None of a model that does not tell them."""
        if self.classes is None:
            return None
        if type(self._predictor).__name__ == "Estimator":
            return _array(self._predictor.predict(batch, {"predict_method": "predict_proba"}))
        rows = batch.matrix() if isinstance(batch, Columns) else batch.only
        return _array(self.model.predict_proba(rows))

    def task(self, true: Array, said: Array) -> str:
        """Told by the model where it knows classes, else by what is true."""
        if self.classes is not None or said.dtype.kind in "OUS" or true.dtype.kind in "OUSb":
            return TASKS[0]
        kind = getattr(self.model, "_estimator_type", "")
        if kind in ("classifier", "regressor"):
            return TASKS[0] if kind == "classifier" else TASKS[1]
        bounded = said.dtype.kind == "f" and len(said) and float(said.min()) >= 0 and float(said.max()) <= 1
        return TASKS[0] if bounded and set(np.unique(true).tolist()) <= {0, 1} else TASKS[1]

    def fitted(
        self, metrics: Classified | Measured, true: Array, said: Array, probabilities: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """As metrics take it: what is a probability by itself says the more probable label, too."""
        if isinstance(metrics, Measured) or probabilities is not None or said.dtype.kind != "f" or self.classes:
            return true, said, probabilities
        flat = said.reshape(len(said), -1)
        if flat.shape[1] == 1 and float(flat.min()) >= 0 and float(flat.max()) <= 1:
            return true, (flat[:, 0] > 0.5).astype(np.int64), np.concatenate([1 - flat, flat], axis=1)
        if flat.shape[1] > 1:
            return true, flat.argmax(axis=1), flat
        return true, said, None


def _metrics(task: str, asking: Asking, said: Array) -> Classified | Measured:
    if task == TASKS[1]:
        return Measured()
    width = said.shape[1] if said.ndim > 1 else 2
    own = said.dtype.kind == "f" and asking.classes is None
    return Classified(asking.classes if not own else list(range(max(width, 2))))


def _names(signature: Signature, predictor: Any) -> tuple[str, ...]:
    """Of the columns that the model takes; empty where it knows them by place alone."""
    told = [one.name for one in signature.inputs if isinstance(one, Column) and one.name]
    model = predictor.model
    known = told or getattr(predictor, "_order", None) or getattr(model, "feature_names_in_", None)
    if known is None:
        known = getattr(model, "feature_names", None)
    return tuple(map(str, known)) if known is not None and not callable(known) else ()


def _array(predictions: Any) -> Array:
    if isinstance(predictions, Mapping):
        predictions = next(iter(predictions.values()))
    if hasattr(predictions, "to_numpy"):
        predictions = predictions.to_numpy()
    found: Array = np.asarray(predictions)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
