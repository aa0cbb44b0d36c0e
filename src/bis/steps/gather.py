"""What a run's processes logged, gathered from their journals when it is sealed."""

from __future__ import annotations

import csv
import heapq
import json
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from bis.digest import Digest, spell
from bis.ledger.histories import COLUMNS
from bis.nouns.logged import ARTIFACTS, File, Logged, Params, Saying, Tags, Values
from bis.nouns.model import ABOUT
from bis.nouns.run import Output
from bis.steps.journal import entries, journals
from bis.steps.metrics import of_model
from bis.store import Store


def gather(folder: Path, store: Store) -> Logged:
    """Read the journals of a run and keep what they hold. What was cut short by a kill is left out."""
    newest: dict[str, tuple[int, int, float]] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    files: dict[str, Path] = {}
    history = folder / "history"
    with history.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(COLUMNS)
        for entry, beside in _in_order(folder):
            match entry:
                case Values():
                    for key, value in entry.values.items():
                        rows.writerow((key, entry.step, entry.moment, repr(value)))
                        before = newest.get(key)
                        if before is None or (entry.step, entry.moment) >= before[:2]:
                            newest[key] = (entry.step, entry.moment, value)
                case Params():
                    params |= entry.values
                case Tags():
                    tags |= entry.values
                case File():
                    files[entry.path] = beside / entry.content
    metrics = {key: value for key, (_, _, value) in newest.items()}
    return Logged(
        metrics={**metrics_of_models(files, metrics), **metrics},
        params=params,
        tags=tags,
        history=store.put_file(history) if newest else Digest(""),
        artifacts=tuple(_kept(name, path, store) for name, path in sorted(files.items()) if path.exists()),
    )


def metrics_of_models(files: Mapping[str, Path], logged: Mapping[str, float]) -> dict[str, float]:
    """What was measured of the models that a script saved, from artifacts by name, and is not logged. A name that means
    another value, of what was logged or of another model, has that of its model before it: `small:auc`."""
    found: dict[str, float] = {}
    for name, path in sorted(files.items()):
        model, file = posixpath.split(name)
        if file == ABOUT and path.exists():
            for key, value in _measured(path).items():
                known = {**found, **logged}.get(key)
                if known != value:
                    found[key if known is None else f"{model}:{key}"] = value
    return found


def _measured(path: Path) -> dict[str, float]:
    try:
        return of_model(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _in_order(folder: Path) -> Iterator[tuple[Saying, Path]]:
    """The entries of all journals: those of metrics by their moment, others where their journal has them."""
    streams = [_timed(path) for path in journals(folder)]
    for _, _, entry, beside in heapq.merge(*streams, key=lambda item: item[:2]):
        yield entry, beside


def _timed(path: Path) -> Iterator[tuple[int, str, Saying, Path]]:
    latest = 0
    for told in entries(path):
        latest = max(latest, getattr(told.entry, "moment", 0))
        yield latest, path.name, told.entry, path.parent


def _kept(name: str, path: Path, store: Store) -> Output:
    return Output(path=ARTIFACTS + spell(name), digest=store.put_file(path), size=path.stat().st_size)
