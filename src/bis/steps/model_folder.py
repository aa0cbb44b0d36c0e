"""A model's folder as it is read: what its MLmodel says of it, by whoever wrote it: MLflow 2 and 3, or bis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.errors import NotFound, UsageError, explains
from bis.flavors.signature import Signature, read
from bis.nouns.model import ABOUT

MLMODEL: Final = "MLmodel"
NO_MODEL = explains("B096", "A folder holds no model: the file MLmodel, which says how it is loaded, is not there.")


class ModelFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A model that lies in a folder."""

    folder: Path
    described: dict[str, Any]
    """MLmodel, of what JSON can hold."""
    signature: Signature
    identity: str = ""
    """What the model is, where bis saved it."""
    run: str = ""
    """The id of the run that made it, as the folder tells."""
    measured: tuple[str, ...] = ()
    """The metrics that came with it."""
    example: str = ""
    """A request that the model answers, as JSON; empty where it has none."""

    @property
    def flavors(self) -> dict[str, Any]:
        found: dict[str, Any] = self.described["flavors"]
        return found

    @property
    def flavor(self) -> str:
        """The most telling one."""
        return next((name for name in self.flavors if name != "python_function"), "python_function")


def read_folder(folder: Path) -> ModelFolder:
    """Raises NotFound where there is no model, UsageError for an MLmodel that makes no sense."""
    described = _described(folder)
    try:
        signature = read(described.get("signature"))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the signature of the model in {folder} makes no sense: {error}") from None
    about = _about(folder)
    metrics = about.get("metrics")
    return ModelFolder(
        folder=folder,
        described=described,
        signature=signature,
        identity=str(about.get("identity") or ""),
        run=str(about.get("run") or described.get("run_id") or ""),
        measured=tuple(metrics) if isinstance(metrics, dict) else (),
        example=_example(folder, described),
    )


def _described(folder: Path) -> dict[str, Any]:
    import yaml

    file = folder / MLMODEL
    try:
        text = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"there is no model in {folder}",
            because=f"It would have a file {MLMODEL}, as bis.save_model and MLflow write it.",
            hint="bis serve models:/NAME@champion, a run, or a folder with that file",
            code=NO_MODEL,
        ) from None
    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or not isinstance(found.get("flavors"), dict):
        raise UsageError(f"{file} names no flavors, and so not how the model is loaded")
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def _about(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / ABOUT).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _example(folder: Path, described: dict[str, Any]) -> str:
    """As it would be sent; of a model that has none, or one that is no request, nothing."""
    named = (described.get("saved_input_example_info") or {}).get("serving_input_path")
    if not isinstance(named, str) or ".." in named or named.startswith("/"):
        return ""
    try:
        text = (folder / named).read_text("utf-8")
        return text if isinstance(json.loads(text), dict) else ""
    except (OSError, ValueError):
        return ""
