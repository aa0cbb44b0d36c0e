"""Models among the files that a run made, whether it said so or not: folders with an MLmodel, and single files by name
and first bytes.

A file is read as data, never opened by its framework. What is found of one is enough to lay it out as a folder with an
MLmodel (`model_place`), so that it is served and asked like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.errors import BisError
from bis.formats import HEAD, Unreadable
from bis.formats.learned import Learned, learned
from bis.nouns.artifact import Artifact
from bis.nouns.model import ABOUT
from bis.store import Store
from bis.store.temporary import temporary

MLMODEL: Final = "MLmodel"
SAVED: Final = "saved_model.pb"
READ: Final = 64 << 20
"""Bytes of a file up to which its content is looked at when models are listed."""
SUFFIXES: Final = {
    ".skops": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".joblib": "sklearn",
    ".sav": "sklearn",
    ".ubj": "xgboost",
    ".xgb": "xgboost",
    ".json": "xgboost",
    ".lgb": "lightgbm",
    ".txt": "lightgbm",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".ckpt": "pytorch",
    ".safetensors": "pytorch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".onnx": "onnx",
}
"""Names that a model may have -> its framework, if it is one."""
BEGIN: Final = {
    "xgboost": (b'{"learner"', b"{L", b"{i\x07learner", b"{\n"),
    "lightgbm": (b"tree\nversion=", b"tree\r\nversion="),
    "pytorch": (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    "keras": (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"),
    "onnx": (b"\x08",),
}
"""How the files of a framework begin, where that says anything."""
ALONE: Final = "it holds weights alone, and not the model that they belong to"
PICKLE: Final = "it is a pickle: opening it runs code that whoever wrote it chose"


class Recognised(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run wrote."""

    path: str
    """Of its folder or file, below what the run made; empty: all of it."""
    flavor: str
    words: str = ""
    """`RandomForestClassifier, 20 trees`; empty where nothing more than its kind is known."""
    files: dict[str, Artifact]
    """Where each lies in the folder of the model -> what lies there."""
    flavors: dict[str, Any] = {}
    """As MLmodel is to have them; empty where the folder has an MLmodel, or where the model cannot be loaded."""
    described: bool = False
    """Whether its folder has an MLmodel."""
    cannot: str = ""
    """Why it cannot be loaded; empty: it can."""
    summary: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


def models_in(files: Mapping[str, Artifact], store: Store) -> list[Recognised]:
    """The models among files, by path; those in folders first. What is not in the store is known by its name alone."""
    folders = sorted(path.rpartition("/")[0] for path in files if path.rpartition("/")[2] == MLMODEL)
    found = [_described(folder, _below(files, folder), store) for folder in folders]
    left = {path: file for path, file in files.items() if not any(_is_below(path, folder) for folder in folders)}
    saved = sorted(path.rpartition("/")[0] for path in left if path.rpartition("/")[2] == SAVED)
    found += [_saved_model(folder, _below(left, folder)) for folder in saved]
    left = {path: file for path, file in left.items() if not any(_is_below(path, folder) for folder in saved)}
    return [*found, *filter(None, (model_file(path, file, store) for path, file in sorted(left.items())))]


def model_file(path: str, file: Artifact, store: Store, most: int = READ) -> Recognised | None:
    """The model that a single file is; None for one that is none."""
    name = path.rpartition("/")[2]
    framework = SUFFIXES.get(Path(name).suffix.lower())
    if framework is None:
        return None
    try:
        head = _head(file, store)
        if not _may_be(framework, head):
            return None
        inside = _inside(name, file, store) if file.size <= most else None
    except (Unreadable, BisError):
        return None  # damaged, or only its digest was kept
    return _of_file(path, name, file, framework, head, inside, looked=file.size <= most)


def _of_file(
    path: str, name: str, file: Artifact, framework: str, head: bytes, inside: Learned | None, *, looked: bool
) -> Recognised | None:
    if inside is None and looked and framework not in ("keras",):
        return None
    known = inside.framework if inside and inside.framework != "safetensors" else framework
    place, flavors, warnings = _layout(name, known, inside, head)
    cannot = ALONE if inside is not None and not inside.whole else ""
    return Recognised(
        path=path,
        flavor=known,
        words=inside.words if inside else "",
        files={place: file},
        flavors={} if cannot else flavors,
        cannot=cannot,
        summary=inside.summary() if inside else {},
        warnings=warnings,
    )


def _layout(
    name: str, framework: str, inside: Learned | None, head: bytes
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Where a file lies in a model's folder, the flavors of that, and what its owner should know."""
    suffix = Path(name).suffix.lower()
    if suffix == ".skops":
        entry = {"pickled_model": name, "serialization_format": "skops", "code": None}
        return name, {"sklearn": entry, **_function("mlflow.sklearn", model_path=name)}, ()
    if suffix in (".pkl", ".pickle", ".joblib", ".sav"):
        entry = {"pickled_model": name, "serialization_format": "joblib", "code": None}
        return name, {"sklearn": entry, **_function("mlflow.sklearn", model_path=name)}, (f"{name}: {PICKLE}",)
    if framework == "xgboost":
        kind = inside.kind if inside else "Booster"
        module = "xgboost.core" if kind == "Booster" else "xgboost.sklearn"
        entry = {"data": name, "model_class": f"{module}.{kind}", "model_format": suffix[1:], "code": None}
        return name, {"xgboost": entry, **_function("mlflow.xgboost", data=name)}, ()
    if framework == "lightgbm":
        entry = {"data": name, "model_class": "lightgbm.basic.Booster", "code": None}
        return name, {"lightgbm": entry, **_function("mlflow.lightgbm", data=name)}, ()
    if framework == "onnx":
        return name, {"onnx": {"data": name, "code": None}, **_function("mlflow.onnx", data=name)}, ()
    if framework == "keras":
        place = f"data/model{'.h5' if head.startswith(BEGIN['keras'][1]) else '.keras'}"
        return place, {"keras": {"data": "data", "code": None}, **_function("mlflow.keras", data="data")}, ()
    place = "data/model.pt2" if inside and inside.kind == "ExportedProgram" else "data/model.pth"
    warnings = () if place.endswith("pt2") else (f"{name}: {PICKLE}",)
    return (
        place,
        {"pytorch": {"model_data": "data", "code": None}, **_function("mlflow.pytorch", data="data")},
        warnings,
    )


def _function(loader: str, **words: str) -> dict[str, Any]:
    return {"python_function": {"loader_module": loader, **words}}


# -- folders -----------------------------------------------------------------------------------------------------


def _described(folder: str, files: dict[str, Artifact], store: Store) -> Recognised:
    """A folder that says itself what it is."""
    flavors = described_of(files, store).get("flavors")
    named = list(flavors) if isinstance(flavors, dict) else ["MLmodel"]
    about = about_of(files, store)
    told = about.get("summary")
    summary = told if isinstance(told, dict) and told else _read_summary(files, store)
    return Recognised(
        path=folder,
        flavor=next((name for name in named if name != "python_function"), named[0] if named else "MLmodel"),
        words=summary_words(summary),
        files=files,
        described=True,
        summary=summary,
        warnings=tuple(map(str, about.get("warnings") or ())),
    )


def _read_summary(files: Mapping[str, Artifact], store: Store) -> dict[str, Any]:
    """Of a model that says nothing of itself, as its largest file that is understood has it."""
    for name, file in sorted(files.items(), key=lambda one: -one[1].size):
        if Path(name).suffix.lower() in SUFFIXES and file.size <= READ:
            with suppress(Unreadable, BisError):
                if inside := _inside(name.rpartition("/")[2], file, store):
                    return inside.summary()
    return {}


def summary_words(summary: Mapping[str, Any]) -> str:
    """A summary in a few words, as `Learned.words`."""
    kind, trees, count = (summary.get(key) for key in ("kind", "trees", "parameter_count"))
    told = f"{trees:,} tree{'' if trees == 1 else 's'}" if isinstance(trees, int) and trees else ""
    if not told and isinstance(count, int) and count:
        told = f"{count:,} parameter{'' if count == 1 else 's'}"
    return ", ".join(filter(None, (str(kind or ""), told)))


def _saved_model(folder: str, files: dict[str, Artifact]) -> Recognised:
    place = "tfmodel"
    entry = {"saved_model_dir": place, "meta_graph_tags": ["serve"], "signature_def_key": "serving_default"}
    return Recognised(
        path=folder,
        flavor="tensorflow",
        words="SavedModel",
        files={f"{place}/{name}": file for name, file in files.items()},
        flavors={"tensorflow": {**entry, "code": None}, **_function("mlflow.tensorflow")},
        warnings=(f"{folder or '.'}: it holds a program of TensorFlow, which may read and write files",),
    )


def described_of(files: Mapping[str, Artifact], store: Store) -> dict[str, Any]:
    """The MLmodel of a folder; empty where it cannot be read."""
    import yaml

    try:
        told = yaml.load(store.get_bytes(files[MLMODEL].digest), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (BisError, yaml.YAMLError, ValueError, KeyError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def about_of(files: Mapping[str, Artifact], store: Store) -> dict[str, Any]:
    """The bis.json of a folder; empty where it has none."""
    try:
        found = json.loads(store.get_bytes(files[ABOUT].digest))
    except (KeyError, ValueError, BisError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _below(files: Mapping[str, Artifact], folder: str) -> dict[str, Artifact]:
    skip = len(folder) + 1 if folder else 0
    return {path[skip:]: file for path, file in files.items() if _is_below(path, folder)}


# -- files -------------------------------------------------------------------------------------------------------


def _head(file: Artifact, store: Store) -> bytes:
    with store.open(file.digest) as content:
        return content.read(HEAD)


def _may_be(framework: str, head: bytes) -> bool:
    """Whether the first bytes fit. Of a pickle they need not tell: only one that is read does."""
    begin = BEGIN.get(framework)
    if framework == "xgboost":
        return head[:1] == b"{" and b"learner" in head
    if begin is None or framework == "pytorch":
        return True
    return head.startswith(begin)


def _inside(name: str, file: Artifact, store: Store) -> Learned | None:
    with temporary("model") as folder:
        path = folder / "file"
        store.get_file(file.digest, path)
        return learned(path, name)
