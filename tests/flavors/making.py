"""What the contract of flavors holds of each model, told as JSON. Runs in the environments of models, where a test asks
about its results: `python light.py FOLDER` writes `told.json` and the models there."""

import copy
import dataclasses
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass
class Case:
    name: str
    model: Any
    rows: Any
    change: Callable[[Any], Any]
    """Changes one weight of a model."""
    ask: Callable[[Any, Any], Any] = lambda model, rows: model.predict(rows)
    format: str = ""
    pickle: bool = False
    """Whether only a reader who trusts it opens it."""
    params: Any = None
    asked_by_mlflow: bool = True
    """Whether mlflow's function can ask it as the framework does."""
    copied: Callable[[Any], Any] = copy.deepcopy
    mlflow: bool = True
    """Whether mlflow's own flavor reads it, too."""


def main(makers: dict[str, Callable[[], Any]]) -> None:
    folder = Path(sys.argv[1])
    wanted = sys.argv[2:] or list(makers)
    told = {}
    for name in wanted:
        for case in makers[name]():
            try:
                told[case.name] = _told(case, folder / case.name)
            except Exception:
                told[case.name] = {"failed": traceback.format_exc()}
    (folder / "told.json").write_text(json.dumps(told, default=str))


def _told(case: Case, folder: Path) -> dict[str, Any]:
    from bis.flavors import Loading, Refused, kinds
    from bis.flavors.checking import check, check_params
    from bis.flavors.signature import read
    from bis.flavors.values import batch_of
    from bis.steps.packaging import write

    expected = case.ask(case.model, case.rows)
    about = write(case.model, folder / "one", example=case.rows, format=case.format, params=case.params)
    again = write(case.model, folder / "two", example=case.rows, format=case.format, params=case.params)
    described = _described(folder / "one")
    signature = read(described["signature"])
    batch = check(signature, batch_of(case.rows))
    try:
        kinds.load(folder / "one", described["flavors"], Loading())
        refused = ""
    except Refused as error:
        refused = str(error)
    predictor = kinds.load(folder / "one", described["flavors"], Loading(trust=True))
    found = predictor.predict(batch, check_params(signature, {}))
    other = case.copied(case.model)
    case.change(other)
    changed = write(other, folder / "other", example=case.rows, format=case.format, params=case.params)
    return {
        "flavor": about.flavor,
        "same": difference(found, expected),
        "probable": _probable(case, predictor, batch),
        "model": type(predictor.model).__name__ == type(case.model).__name__ or type(predictor.model).__name__,
        "refused": refused,
        "pickle": case.pickle,
        "identities": [about.identity, again.identity, changed.identity],
        "summary": about.summary,
        "warnings": about.warnings,
        "files": about.files,
        "requirements": (folder / "one" / "requirements.txt").read_text().split(),
        "read_by_mlflow": _by_mlflow(case, folder / "one", expected),
        "repeated": difference(case.ask(case.model, case.rows), expected),
    }


def _probable(case: Case, predictor: Any, batch: Any) -> str | None:
    """How the probabilities differ from those of the framework; the words in which they are refused; or None where a
    question has other params."""
    from bis.flavors import NoMethod

    if case.params is not None or not getattr(predictor, "asked_by_method", False):
        return None
    try:
        found = predictor.predict(batch, {"predict_method": "predict_proba"})
    except NoMethod as error:
        return str(error)
    return difference(found, case.model.predict_proba(case.rows))


def _by_mlflow(case: Case, folder: Path, expected: Any) -> dict[str, str]:
    """What the released mlflow makes of it: by its own function, and by that of the flavor."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri(f"sqlite:///{folder.parent / 'mlflow.db'}")
    told = {}
    rows = case.rows.copy() if not isinstance(case.rows, dict) else case.rows
    loaded = mlflow.pyfunc.load_model(str(folder))
    if case.asked_by_mlflow:
        told["pyfunc"] = difference(loaded.predict(rows), expected)
    flavor = next((name for name in _described(folder)["flavors"] if name != "python_function"), "")
    if flavor and case.mlflow:
        loader = __import__(f"mlflow.{flavor}", fromlist=["load_model"])
        told["flavor"] = difference(case.ask(loader.load_model(str(folder)), case.rows), expected)
    return told


def difference(found: Any, expected: Any) -> str:
    """Empty where both are the same, bit for bit; of data frames, their values."""
    found, expected = _plain(found), _plain(expected)
    if isinstance(found, dict) and isinstance(expected, dict):
        if list(found) != list(expected):
            return f"{list(found)} for {list(expected)}"
        return "; ".join(filter(None, (difference(found[name], expected[name]) for name in found)))
    if isinstance(found, dict) or isinstance(expected, dict):
        return f"{type(found).__name__} for {type(expected).__name__}"
    if found.shape != expected.shape:
        return f"shape {found.shape} for {expected.shape}"
    if found.dtype != expected.dtype:
        return f"type {found.dtype} for {expected.dtype}"
    if found.dtype == object:
        return "" if found.tolist() == expected.tolist() else "other values"
    return "" if found.tobytes() == expected.tobytes() else f"values differ by {np.abs(found - expected).max()}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if hasattr(value, "detach"):
        return value.detach().numpy()
    if hasattr(value, "numpy"):
        return value.numpy()
    return np.asarray(value)


def _described(folder: Path) -> Any:
    import yaml

    return yaml.safe_load((folder / "MLmodel").read_text())
