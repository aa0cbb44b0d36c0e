"""Experiments in the ledger. Each function is one question or change within the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bis.errors import AlreadyThere, NotFound
from bis.ledger.connection import Connection
from bis.nouns.tracking import Experiment

COLUMNS: Final = "id, name, artifacts, made, changed, removed"


def create(connection: Connection, name: str, artifacts: str, tags: Mapping[str, str], now: int) -> int:
    """The id of a new experiment. Raises AlreadyThere."""
    for (removed,) in connection.execute("SELECT removed FROM experiments WHERE name = ?", (name,)).fetchall():
        state = "was removed" if removed else "is there already"
        raise AlreadyThere(f"an experiment called {name!r} {state}", hint="choose another name")
    ((id,),) = connection.execute(
        "INSERT INTO experiments (name, artifacts, made, changed) VALUES (?, ?, ?, ?) RETURNING id",
        (name, artifacts, now, now),
    ).fetchall()
    for key, value in tags.items():
        set_tag(connection, id, key, value)
    return int(id)


def get(connection: Connection, id: int) -> Experiment:
    """Raises NotFound."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM experiments WHERE id = ?", (id,)).fetchall():
        return _experiment(connection, row)
    raise NotFound(f"no experiment has the id {id}")


def set_tag(connection: Connection, id: int, key: str, value: str) -> None:
    connection.execute(
        "INSERT INTO experiment_tags (experiment, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT (experiment, key) DO UPDATE SET value = excluded.value",
        (id, key, value),
    )


def _experiment(connection: Connection, row: tuple[Any, ...]) -> Experiment:
    id, name, artifacts, made, changed, removed = row
    tags = dict(connection.execute("SELECT key, value FROM experiment_tags WHERE experiment = ?", (id,)).fetchall())
    return Experiment(id=id, name=name, artifacts=artifacts, made=made, changed=changed, removed=removed, tags=tags)
