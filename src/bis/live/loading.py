"""Models that a script or a notebook loads: `bis.load_model("models:/churn@champion").predict(rows)`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bis.digest import digest_value, short
from bis.errors import NotFound, UsageError
from bis.live.saying import data
from bis.live.session import around
from bis.settings import FOLDER, find_project, load_settings
from bis.steps.model_folder import ModelFolder, read_folder
from bis.steps.model_place import Placed, data_folder, models_folder, place

if TYPE_CHECKING:
    from bis.flavors import Predictor
    from bis.flavors.signature import Signature
    from bis.flavors.values import Predictions
    from bis.steps.home import Home

LEDGER: Final = f"{FOLDER}/ledger"
WRITTEN_WITH: Final = {
    "sklearn_version": ("scikit-learn",),
    "xgb_version": ("xgboost", "xgboost-cpu"),
    "lgb_version": ("lightgbm",),
    "pytorch_version": ("torch",),
    "keras_version": ("keras",),
    "onnx_version": ("onnx",),
}
"""Key of a flavor in MLmodel -> the distributions whose version it tells."""


class LoadedModel:
    """A model that can be asked, with what is known of where it is from."""

    def __init__(self, placed: Placed, described: ModelFolder, predictor: Predictor) -> None:
        self.reference = placed.reference
        """As it was asked for."""
        self.name = placed.name
        self.version = placed.version
        """The number of the registered version that the reference meant; empty for another model."""
        self.run = placed.run or described.run
        """The id of the run that made it."""
        self.identity = described.identity
        """The same for the same model, however often it was saved; empty where bis did not save it."""
        self.folder = placed.folder
        """Where its files lie; they are not to be changed."""
        self.flavor = described.flavor
        self.signature: Signature = described.signature
        self.model: Any = predictor.model
        """What the framework itself made of the files: an estimator, a booster, a module."""
        self._ask = predictor.predict

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> Predictions:
        """One prediction for each row: an array, arrays by name, or a list. `rows`: a data frame, an array, or a
        mapping of columns. Raises ValueError for rows that do not fit the signature, in words that name the column."""
        from bis.flavors.checking import check, check_params
        from bis.flavors.values import batch_of

        known = self.signature
        asked = check_params(known, params or {}) if known.params else dict(params or {})
        return self._ask(check(known, batch_of(rows)), asked)

    def __repr__(self) -> str:
        number = f"/{self.version}" if self.version else ""
        return f"<bis model {self.name}{number}: {self.flavor} {type(self.model).__name__}>"


def load_model(reference: str | os.PathLike[str], *, trust: bool = False) -> LoadedModel:
    """Load a model into this process: `models:/churn@champion`, `models:/churn/3`, a run, `runs:/RUN/PATH`, or a folder
    that bis or MLflow wrote.

    It is loaded by the packages of this interpreter, and where these are not the versions that it was saved with, that
    is warned of; `bis serve` and `bis predict` make an environment for it. Opening a pickle runs code of whoever wrote
    it: one that a run of this project made is opened, another with `trust` alone.

    Raises bis.errors.NotFound for what is not there, UsageError for what cannot be loaded here, and says why.
    """
    placed = _placed(reference)
    described = read_folder(placed.folder)
    trusted = trust or placed.own
    predictor = _loaded(placed, described, trusted)
    for remark in _other_versions(described.flavors):
        warnings.warn(f"bis: {placed.reference} {remark}", RuntimeWarning, stacklevel=2)
    return LoadedModel(placed, described, predictor)


def _placed(reference: str | os.PathLike[str]) -> Placed:
    """A path that is one of Python's, and no text, is a folder."""
    text = reference if isinstance(reference, str) else os.fspath(Path(reference).absolute())
    if os.environ.get("BIS_RUN") and around():
        return _declared(text)
    return _found(text, models_folder(load_settings(find_project(Path.cwd()), os.environ), os.environ))


def _declared(text: str) -> Placed:
    """What it means now, declared as data of the run around this process, with the files of the model. In a repeat,
    which has no ledger, it means what it meant in the run."""
    project, below = find_project(Path.cwd()), data_folder(os.environ) / "models"
    meant = below / f"{short(digest_value([os.fspath(project), text]), 20)}.json"
    try:
        placed = _found(text, below)
    except NotFound:
        if (project / LEDGER).exists() or not meant.is_file():
            raise
        placed = msgspec.json.decode(meant.read_bytes(), type=Placed, dec_hook=lambda kind, value: kind(value))
    if placed.content:
        told = msgspec.json.encode(placed, enc_hook=os.fspath)
        if not meant.is_file() or meant.read_bytes() != told:
            draft = meant.with_name(f".{meant.name}-{os.getpid()}")
            draft.write_bytes(told)
            draft.replace(meant)
        data(meant)
        data(placed.folder)
    return placed


def _found(text: str, cache: Path) -> Placed:
    folder = Path.cwd()
    homes: list[Home] = []

    def home() -> Home:
        from bis.steps.home import open_home

        if not homes:
            project = find_project(folder)
            homes.append(open_home(project, load_settings(project, os.environ), create=False, variables=os.environ))
        return homes[0]

    try:
        return place(text, datetime.now(UTC), folder, home, cache)
    finally:
        for one in homes:
            one.ledger.close()


def _loaded(placed: Placed, described: ModelFolder, trusted: bool) -> Predictor:
    from bis.flavors import Loading, Refused
    from bis.flavors.kinds import load

    try:
        return load(placed.folder, described.flavors, Loading(trust=trusted))
    except Refused as error:
        hint = "" if trusted else "bis.load_model(…, trust=True), if you trust whoever made it"
        raise UsageError(f"{placed.reference} was not loaded: {error}", hint=hint) from error
    except ImportError as error:
        raise UsageError(
            f"{placed.reference} cannot be loaded here: {error}",
            because="It is loaded by the packages of this interpreter.",
            hint=f"pip install -r {placed.folder}/requirements.txt; or bis predict, which makes an environment for it",
        ) from error


def _other_versions(flavors: Mapping[str, Any]) -> list[str]:
    """What to say of packages that are here in another version than the model was saved with."""
    from bis.flavors import version_of

    found = []
    for entry in flavors.values():
        for key, names in WRITTEN_WITH.items():
            told = entry.get(key) if isinstance(entry, Mapping) else None
            here = next(filter(None, map(version_of, names)), "")
            if isinstance(told, str) and told and here and told != here:
                found.append(f"was saved with {names[0]} {told}, and is loaded by {here}: it may answer otherwise")
    return found
