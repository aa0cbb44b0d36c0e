"""A model as a folder that knows what it is: the MLmodel layout, which MLflow reads, with what bis adds to it.

Written where the model was trained, with what is known then; the seal of its run adds the lock of the environment and
what the run was made of (`docs/howto/models.md`).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.digest import Digest, canonical, digest_value
from bis.flavors.signature import Signature, spell
from bis.nouns.model import ABOUT, MODEL_SCHEMA

SHOWN: Final = 5
"""Rows of an example that are kept."""
WRITTEN_BY: Final = frozenset(
    "sklearn_version xgb_version lgb_version pytorch_version keras_version tf_version onnx_version cloudpickle_version"
    " python_version env code config run_id loader_module".split()
)
"""Keys of flavors that say who wrote a model and where, and nothing of what it is."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What `bis.json` holds."""

    format: str = MODEL_SCHEMA
    identity: Digest
    """The same for the same model, however often and wherever it is saved."""
    flavor: str
    files: dict[str, Digest]
    """Of the model itself: path -> what it means (`formats.meaning`)."""
    summary: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    run: str = ""
    parts: dict[str, Digest] = {}
    """Of the run that made it: kind of part -> its digest."""


def write(
    model: Any,
    folder: Path,
    *,
    example: Any = None,
    signature: Signature | None = None,
    format: str = "",
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, Any] | None = None,
) -> About:
    """Write a model below an empty folder. `example`: rows that it understands, from which its signature is told if
    none is given; `params`: what a prediction can be asked with beside rows, with defaults.
    Raises bis.flavors.Refused for what cannot be saved, ValueError for an example that makes no sense."""
    from bis.flavors import Loading, Saving
    from bis.flavors.inferring import infer
    from bis.flavors.kinds import flavor_of
    from bis.flavors.values import batch_of
    from bis.formats.meaning import meaning
    from bis.steps.requiring import pinned

    folder.mkdir(parents=True, exist_ok=True)
    batch = None if example is None else batch_of(example)
    rows = None if batch is None else batch.part(slice(SHOWN))
    flavor = flavor_of(model)
    saved = flavor.save(model, folder, Saving(format=format, example=rows))
    beside = {folder / name for name in saved.beside}
    payload = sorted(path for path in folder.rglob("*") if path.is_file() and path not in beside)
    entries: dict[str, Any] = {flavor.name: saved.entry} if saved.entry else {}
    entries["python_function"] = {
        **saved.function,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": platform.python_version(),
    }
    if signature is None and batch is not None and rows is not None:
        _write_mlmodel(folder, {"flavors": entries})  # MLflow's own loader reads it
        predictor = flavor.load(folder, saved.entry or saved.function, Loading(trust=True))
        signature = infer(example, predictor.predict(rows, params or {}), params)
    files = {path.relative_to(folder).as_posix(): meaning(path) for path in payload}
    spelled = spell(signature) if signature else None
    size = sum(path.stat().st_size for path in payload)
    about = About(
        identity=identity(files, spelled, {flavor.name: saved.entry, "python_function": saved.function}),
        flavor=flavor.name,
        files=files,
        summary={**flavor.summary(model), "size": size},
        metrics=dict(metrics or {}),
        warnings=saved.warnings,
    )
    pickles = [path for path in payload if path.suffix in (".pkl", ".pickle", ".joblib")]
    _write_requirements(folder, pinned(saved.packages, pickles))
    information = _write_example(folder, rows) if rows is not None else None
    (folder / ABOUT).write_bytes(canonical(about) + b"\n")
    document: dict[str, Any] = {
        "flavors": entries,
        "metadata": {"bis": {"identity": about.identity}},
        "model_size_bytes": size,
        "model_uuid": about.identity.removeprefix("b3:")[:32],
    }
    if spelled:
        document["signature"] = spelled
    if information:
        document["saved_input_example_info"] = information
    _write_mlmodel(folder, document)
    return about


def identity(files: Mapping[str, Digest], signature: Mapping[str, Any] | None, flavors: Mapping[str, Any]) -> Digest:
    """What a model is: its files by their meaning, its signature, and how it is loaded."""
    kept = {name: {key: entry[key] for key in entry.keys() - WRITTEN_BY} for name, entry in flavors.items() if entry}
    return digest_value({"files": dict(files), "signature": signature or {}, "flavors": kept})


def _write_mlmodel(folder: Path, document: Mapping[str, Any]) -> None:
    import yaml

    (folder / "MLmodel").write_text(yaml.safe_dump(dict(document), sort_keys=True, allow_unicode=True), "utf-8")


def _write_requirements(folder: Path, pins: list[str]) -> None:
    """As MLflow reads them: pip's list, and what makes an environment of it."""
    import yaml

    version = platform.python_version()
    (folder / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins))
    python = {"python": version, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(python, sort_keys=False))
    conda = {
        "name": "model",
        "channels": ["conda-forge"],
        "dependencies": [f"python={version}", "pip", {"pip": pins}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))


def _write_example(folder: Path, rows: Any) -> dict[str, Any]:
    """Some rows, as a client sends them; returns what MLmodel says of it."""
    from bis.flavors.values import Columns

    if isinstance(rows, Columns):
        cells = [[_plain(rows.column(name)[row]) for name in rows.names] for row in range(rows.rows)]
        kept: Any = {"columns": list(rows.names), "data": cells}
        sent, about = {"dataframe_split": kept}, {"type": "dataframe", "pandas_orient": "split"}
    else:
        named = {name: array.tolist() for name, array in rows.arrays.items()}
        kept = named[""] if list(named) == [""] else named
        sent, about = {"inputs": kept}, {"type": "ndarray"}
    (folder / "input_example.json").write_text(json.dumps(kept))
    (folder / "serving_input_example.json").write_text(json.dumps(sent, indent=2))
    return {**about, "artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it."""
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    found = value.item() if hasattr(value, "item") else value
    if isinstance(found, float) and found != found:
        return None
    return found if isinstance(found, (str, int, float, bool, list, dict, type(None))) else str(found)
