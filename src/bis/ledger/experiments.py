"""Experiments in the ledger. Each function is one question or change within the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bis.errors import AlreadyThere
from bis.ledger import changed, gone
from bis.ledger.connection import Connection
from bis.ledger.moments import stamp
from bis.ledger.refusals import NoSuch, Removed, StillThere
from bis.ledger.search import Ordering, Query, both
from bis.nouns.tracking import Experiment

COLUMNS: Final = "id, name, artifacts, made, changed, removed"


def create(connection: Connection, name: str, artifacts: str, tags: Mapping[str, str], now: int) -> int:
    """The id of a new experiment. Raises AlreadyThere."""
    _refuse_taken(connection, name)
    ((id,),) = connection.execute(
        "INSERT INTO experiments (name, artifacts, made, changed) VALUES (?, ?, ?, ?) RETURNING id",
        (name, artifacts, now, now),
    ).fetchall()
    id = gone.fresh(connection, "experiment", int(id))
    for key, value in tags.items():
        _put_tag(connection, id, key, value)
    return id


def found_or_made(connection: Connection, name: str, now: int, tags: Mapping[str, str] | None = None) -> int:
    """The id of the experiment of that name, a removed one, too; of a new one, with these tags, where there is none."""
    try:
        return find(connection, name).id
    except NoSuch:
        return create(connection, name, "", tags or {}, now)


def get(connection: Connection, id: int) -> Experiment:
    """A removed one, too. Raises NoSuch."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM experiments WHERE id = ?", (id,)).fetchall():
        return with_tags(connection, [row])[0]
    raise NoSuch("experiment", str(id))


def find(connection: Connection, name: str) -> Experiment:
    """By its name; a removed one, too. Raises NoSuch."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM experiments WHERE name = ?", (name,)).fetchall():
        return with_tags(connection, [row])[0]
    raise NoSuch("experiment", name)


def there(connection: Connection, id: int) -> Experiment:
    """One that is not removed. Raises NoSuch or Removed."""
    experiment = get(connection, id)
    if experiment.removed:
        raise Removed("experiment", str(id))
    return experiment


def search(
    connection: Connection,
    asked: Query,
    order: Ordering,
    *,
    limit: int,
    after: Sequence[Any] | None = None,
    removed: bool | None = False,
) -> tuple[list[Experiment], list[Any] | None]:
    """A page of experiments, and the place behind which the next one begins, if there is one. `removed` None: those
    that are removed, too. Raises BadToken for a place in another order."""
    view = {False: "removed IS NULL", True: "removed IS NOT NULL", None: ""}[removed]
    where = both(asked, Query(view, ()), Query("", ()) if after is None else order.after(after))
    rows = connection.execute(
        f"SELECT {COLUMNS}, {order.columns} FROM experiments{order.joins} WHERE {where.where or '1 = 1'}"
        f" ORDER BY {order.by} LIMIT ?",
        (*order.values, *where.values, limit + 1),
    ).fetchall()
    width = len(order.terms)
    place = list(rows[limit - 1][-width:]) if len(rows) > limit else None
    return with_tags(connection, [row[:-width] for row in rows[:limit]]), place


def rename(connection: Connection, id: int, name: str, now: int) -> None:
    """Raises NoSuch, Removed, or AlreadyThere."""
    if there(connection, id).name != name:
        _refuse_taken(connection, name)
        connection.execute("UPDATE experiments SET name = ?, changed = ? WHERE id = ?", (name, now, id))
        changed.runs(connection, "experiment = ?", id)


def remove(connection: Connection, id: int, now: int) -> None:
    """With the runs that clients logged in it. It can be restored, with those that went with it."""
    if get(connection, id).removed:
        raise NoSuch("experiment", str(id))
    connection.execute("UPDATE experiments SET removed = ?, changed = ? WHERE id = ?", (now, now, id))
    changed.runs(connection, "experiment = ? AND removed = ''", id)
    connection.execute(
        "UPDATE runs SET removed = ? WHERE experiment = ? AND tracked = 1 AND removed = ''", (stamp(now), id)
    )


def restore(connection: Connection, id: int, now: int) -> None:
    """With the runs that went with it; those that were removed before stay so."""
    removed = get(connection, id).removed
    if not removed:
        raise StillThere("experiment", str(id))
    connection.execute("UPDATE experiments SET removed = NULL, changed = ? WHERE id = ?", (now, id))
    changed.runs(connection, "experiment = ? AND removed = ?", id, stamp(removed))
    connection.execute(
        "UPDATE runs SET removed = '' WHERE experiment = ? AND tracked = 1 AND removed = ?", (id, stamp(removed))
    )


def set_tag(connection: Connection, id: int, key: str, value: str) -> None:
    """Raises NoSuch or Removed."""
    there(connection, id)
    _put_tag(connection, id, key, value)


def drop_tag(connection: Connection, id: int, key: str) -> None:
    """Raises NoSuch, for the tag as well, or Removed."""
    if key not in there(connection, id).tags:
        raise NoSuch("tag", key, f"experiment with id {id}")
    connection.execute("DELETE FROM experiment_tags WHERE experiment = ? AND key = ?", (id, key))


def with_tags(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Experiment]:
    """What rows of `COLUMNS` stand for."""
    tags: dict[int, dict[str, str]] = {row[0]: {} for row in rows}
    ids = list(tags)
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        asked = f"experiment IN ({', '.join('?' * len(some))})"
        found = connection.execute(f"SELECT experiment, key, value FROM experiment_tags WHERE {asked}", some)
        for id, key, value in found.fetchall():
            tags[id][key] = value
    return [
        Experiment(id=id, name=name, artifacts=artifacts, made=made, changed=changed, removed=removed, tags=tags[id])
        for id, name, artifacts, made, changed, removed in rows
    ]


def _refuse_taken(connection: Connection, name: str) -> None:
    for (removed,) in connection.execute("SELECT removed FROM experiments WHERE name = ?", (name,)).fetchall():
        state = "was removed, and can be restored" if removed else "is there already"
        raise AlreadyThere(f"an experiment called {name!r} {state}", hint="choose another name")


def _put_tag(connection: Connection, id: int, key: str, value: str) -> None:
    connection.execute(
        "INSERT INTO experiment_tags (experiment, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT (experiment, key) DO UPDATE SET value = excluded.value",
        (id, key, value),
    )
