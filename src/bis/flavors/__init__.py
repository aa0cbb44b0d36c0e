"""Flavors: how the models of a framework are saved, loaded, asked and described.

One protocol, one module for each framework, one ordered list in `kinds`. What is here runs in the interpreter of the
model, from Python 3.9, where bis may not be installed: it imports the standard library, NumPy and the framework, and
nothing of bis but its neighbours, relatively, so that the package can be loaded from its folder under any name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .values import Batch, Predictions


class Refused(Exception):
    """A model that cannot be saved, or will not be loaded, in this way: says why, and what would do."""


class Untrusted(Refused):
    """A model that is loaded for a reader who trusts whoever made it, and for no other."""


class NoMethod(Refused):
    """A model that is asked for what models of its kind do not say."""


@dataclasses.dataclass(frozen=True)
class Saving:
    """How a model is to be saved."""

    format: str = ""
    """One of the formats of the flavor; empty: the safest that can hold the model."""
    example: Batch | None = None
    """Some rows that the model understands; a format that traces the model needs it."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """What was written."""

    entry: dict[str, Any]
    """Of the flavor, as MLmodel has it."""
    function: dict[str, Any]
    """The entry `python_function`, without its environment: how the unchanged MLflow loads it."""
    packages: tuple[str, ...]
    """The distributions without which it cannot be loaded."""
    warnings: tuple[str, ...] = ()
    """What its owner should know: that it is a pickle, that something was left out."""
    beside: tuple[str, ...] = ()
    """Files that help others to load it and say nothing of what it is."""


@dataclasses.dataclass(frozen=True)
class Loading:
    """How a model may be loaded."""

    trust: bool = False
    """Whether code that the file names may run: pickles, and types that its safe format does not know."""
    threads: int = 0
    """Threads of the framework for one prediction; 0: as the framework likes."""
    alone: bool = False
    """Whether nothing but this model is at work in the process, so that what it can do without need not be imported."""
    many: bool = False
    """Whether it is asked with many rows at a time, so that nothing need be prepared for questions of a few."""
    lean: bool = False
    """Whether what it was hardly ever seen to need need not be imported: if it fails for that, now or as it is asked a
    first time, it is loaded anew with all there is."""


class Predictor(Protocol):
    """A model that can be asked."""

    @property
    def model(self) -> Any:
        """What the framework itself made of the files."""
        ...

    @property
    def wants_names(self) -> bool:
        """Whether it needs its columns by name, in a data frame."""
        ...

    @property
    def rowwise(self) -> bool:
        """Whether the answer to a row depends on that row alone, so that rows of several requests can go together."""
        ...

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        """One prediction for each row of the batch, in its order."""
        ...


METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "transform")
"""What estimators can be asked for."""


def method_of(model: object, params: Mapping[str, Any]) -> str:
    """The method that `predict_method` among the params names; else `predict`. Raises NoMethod."""
    method = str(params.get("predict_method") or "predict")
    if method != "predict" and not (method in METHODS and hasattr(model, method)):
        known = ", ".join(one for one in METHODS if hasattr(model, one))
        raise NoMethod(f"{type(model).__name__} has no method {method}; it can be asked for {known}")
    return method


class Flavor(Protocol):
    """The models of one framework."""

    @property
    def name(self) -> str:
        """Its key in MLmodel."""
        ...

    def takes(self, model: object) -> bool:
        """Whether this is one of its models; told by the modules of its classes, nothing is imported."""
        ...

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        """Write the model below an empty folder. Raises Refused."""
        ...

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Predictor:
        """Raises Refused for what only a trusting reader opens."""
        ...

    def summary(self, model: Any) -> dict[str, Any]:
        """What the model is, in numbers and words that JSON can hold: `kind`, `hyperparameters`, `parameter_count`,
        `layers` or `trees`, as far as it has them."""
        ...


FRAMEWORKS = ("xgboost", "lightgbm", "sklearn", "onnx", "keras", "tensorflow", "pytorch")
"""The flavors that read models of a framework, of those in `kinds`."""
MODELS = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders.code_model")
"""Modules by which MLflow loads what can be loaded without it."""


def by_mlflow(flavors: Mapping[str, Any]) -> bool:
    """Whether a model is loaded by a module of mlflow itself, as no flavor reads it: Prophet, CatBoost and others."""
    entry = flavors.get("python_function")
    loader = str((entry.get("loader_module") if isinstance(entry, Mapping) else None) or MODELS[0])
    return loader.startswith("mlflow.") and loader not in MODELS and not any(name in flavors for name in FRAMEWORKS)


def below(folder: Path, named: Any, default: str = "") -> Path:
    """A file or folder of a model, by the name that its description gives it. Raises Refused for one that is not there,
    and for one that lies elsewhere, by its name or by a link."""
    name = str(named or default)
    root = folder.resolve()
    path = (root / name).resolve()
    if not name or root not in path.parents:
        raise Refused(f"its description names {name!r}, which is not below the model's folder")
    if not path.exists():
        raise Refused(f"{name} is not there")
    return path


def held_together(folder: Path) -> None:
    """Raises Refused for a folder with a link that leads out of it: what lies there is no part of the model."""
    root = folder.resolve()
    for path in root.rglob("*"):
        if path.is_symlink() and root not in path.resolve().parents:
            raise Refused(f"{path.relative_to(root).as_posix()!r} is a link to what is not in the model's folder")


LARGE, TIMES = 256 << 20, 100
"""Bytes that a packed file may always hold, and how many times its own size beyond them."""


def not_packed_to_burst(folder: Path) -> None:
    """Raises Untrusted for a zip in a folder that is small and would fill the memory of whoever opens it: what skops,
    Keras and PyTorch write is a zip."""
    import zipfile

    for path in sorted(folder.rglob("*")):
        if path.is_file() and zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    holds = sum(one.file_size for one in archive.infolist())
            except (zipfile.BadZipFile, ValueError):
                continue  # whoever reads it says how it is damaged
            if holds > max(LARGE, TIMES * path.stat().st_size):
                raise Untrusted(f"{path.name} is not opened: it unpacks to {holds >> 20:,} MiB, as few models do")


def class_names(model: object) -> tuple[str, ...]:
    """The classes of a model and their bases, with their modules: `sklearn.pipeline.Pipeline`."""
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__)


def from_package(model: object, *packages: str) -> bool:
    """Whether a class of the model, or a base of it, was written in one of these packages."""
    return any(name.split(".", 1)[0] in packages for name in class_names(model))


def version_of(distribution: str) -> str:
    """The version that is installed; empty where none is."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
