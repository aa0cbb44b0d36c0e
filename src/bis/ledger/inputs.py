"""What runs read and made, as clients say: data sets that they describe, and logged models. Runs are named by their
seq; whether a run may be logged to is asked before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bis.ledger.connection import Connection
from bis.nouns.tracking import Described, UsedData, UsedModel

AT_ONCE: Final = 500
MOST: Final = 1000
"""Data sets in one answer."""
INPUT: Final = "input"
OUTPUT: Final = "output"


def add_datasets(connection: Connection, run: int, experiment: int, used: Sequence[UsedData]) -> None:
    """What a run is known to have read stays as it was said first."""
    for dataset, tags, context in used:
        connection.execute(
            "INSERT INTO run_datasets (run, dataset, context, tags) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (run, dataset) DO NOTHING",
            (run, _dataset_id(connection, experiment, dataset), context, json.dumps(tags)),
        )


def _dataset_id(connection: Connection, experiment: int, dataset: Described) -> int:
    """Of a data set in an experiment, where it is known by its name and digest from now on."""
    connection.execute(
        "INSERT INTO tracked_datasets (experiment, name, digest, source_type, source, schema, profile)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (experiment, name, digest) DO NOTHING",
        (experiment, *dataset),
    )
    ((id,),) = connection.execute(
        "SELECT id FROM tracked_datasets WHERE experiment = ? AND name = ? AND digest = ?",
        (experiment, dataset.name, dataset.digest),
    ).fetchall()
    return int(id)


def add_models(connection: Connection, run: int, role: str, models: Sequence[UsedModel]) -> None:
    connection.executemany(
        "INSERT INTO run_models (run, model, role, step) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run, role, model, step) DO NOTHING",
        [(run, model.id, role, model.step) for model in models],
    )


def datasets_of(connection: Connection, runs: Sequence[int]) -> dict[int, list[UsedData]]:
    found: dict[int, list[UsedData]] = {}
    asked = (
        "SELECT d.run, d.tags, d.context, t.name, t.digest, t.source_type, t.source, t.schema, t.profile"
        " FROM run_datasets AS d JOIN tracked_datasets AS t ON t.id = d.dataset WHERE d.run"
    )
    for run, tags, context, *described in _of(connection, asked, runs, "ORDER BY d.run, t.id"):
        found.setdefault(run, []).append(UsedData(Described(*described), json.loads(tags), context))
    return found


def in_order(found: dict[int, list[UsedModel]]) -> dict[int, list[UsedModel]]:
    """The models that runs used or made as they are shown: by step."""
    return {run: sorted(models, key=lambda model: (model.step, model.id)) for run, models in found.items()}


def known_datasets(connection: Connection, experiments: Sequence[int]) -> list[tuple[int, str, str, str]]:
    """Those that runs of these experiments read: experiment, name, digest, and what for."""
    marks = ", ".join("?" * len(experiments))
    return connection.execute(
        "SELECT DISTINCT t.experiment, t.name, t.digest, d.context FROM tracked_datasets AS t"
        f" JOIN run_datasets AS d ON d.dataset = t.id WHERE t.experiment IN ({marks})"
        " ORDER BY t.experiment, t.name, t.digest, d.context LIMIT ?",
        (*experiments, MOST),
    ).fetchall()


def _of(connection: Connection, asked: str, runs: Sequence[int], order: str) -> Iterable[Any]:
    for start in range(0, len(runs), AT_ONCE):
        some = runs[start : start + AT_ONCE]
        yield from connection.execute(f"{asked} IN ({', '.join('?' * len(some))}) {order}", some).fetchall()
