"""Runs that clients log, as records in the store: which have changed since, what a record says of one, and taken back
from a record. Each function is one question or change within the caller's transaction.

`runs.kept` is the digest of the newest record of a run. It is empty while something of the run is in no record, and
begins with a hyphen while somebody writes one: who changes the run meanwhile empties it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bis.digest import Digest
from bis.errors import NotFound
from bis.ledger import artifacts, experiments, gone, inputs, logged_models, points, tracked
from bis.ledger.connection import Connection
from bis.ledger.moments import micros, stamp
from bis.nouns.artifact import path_or_nothing
from bis.nouns.tracked import File, Measure, ModelAt, Read, SavedModel, Tracked
from bis.nouns.tracking import Described, Measured, Point, TrackedRun, UsedData, UsedModel

NOT_KEPT: Final = "tracked = 1 AND kept < 'b' AND status <> 'running'"
"""As the index has it."""
STALE: Final = 600_000_000
"""Microseconds after which whoever writes a record is taken for killed."""
PAGE: Final = 4096


def are_there(connection: Connection, now: int, after: int) -> bool:
    """Whether there is something to claim."""
    asked = f"SELECT 1 FROM runs WHERE {NOT_KEPT} AND (kept = '' OR kept < ?) AND seq > ? LIMIT 1"
    return bool(connection.execute(asked, (f"-{now - STALE:020}", after)).fetchall())


def claim(connection: Connection, token: str, now: int, after: int, limit: int) -> list[tuple[int, str]]:
    """Runs that have ended and of which something is in no record, from `after` on: seq and id. They are the caller's,
    by a token, until somebody changes them."""
    stale = f"-{now - STALE:020}"
    found = connection.execute(
        f"SELECT seq, id FROM runs WHERE {NOT_KEPT} AND (kept = '' OR kept < ?) AND seq > ? ORDER BY seq LIMIT ?",
        (stale, after, limit),
    ).fetchall()
    connection.executemany("UPDATE runs SET kept = ? WHERE seq = ?", [(token, seq) for seq, _ in found])
    return [(int(seq), str(id)) for seq, id in found]


def token(now: int, name: str) -> str:
    return f"-{now:020}-{name}"


def note(connection: Connection, seq: int, of: str, value: Tracked, record: Digest | None) -> None:
    """A record of a claimed run is in the store; None: it could not be written, and the claim is given back."""
    if record:
        remember(connection, value, record)
    connection.execute("UPDATE runs SET kept = ? WHERE seq = ? AND kept = ?", (record or "", seq, of))


def remember(connection: Connection, value: Tracked, record: Digest) -> None:
    connection.execute(
        "INSERT INTO tracked_records (record, run, made) VALUES (?, ?, ?) ON CONFLICT (record) DO NOTHING",
        (record, value.id, micros(value.made)),
    )


def newest(connection: Connection, id: str) -> Digest:
    """The newest record of a run; empty where something of it is in none."""
    for (kept,) in connection.execute("SELECT kept FROM runs WHERE id = ?", (id,)).fetchall():
        return Digest(kept if not kept.startswith("-") else "")
    return Digest("")


# -- from the ledger ---------------------------------------------------------------------------------------------


def facts(connection: Connection, id: str, now: int) -> Tracked:
    """What a record says of a run, but for its history. Raises NoSuch."""
    run = tracked.get(connection, id)
    above = experiments.get(connection, run.experiment)
    ((parent, remark),) = connection.execute("SELECT parent, note FROM runs WHERE id = ?", (id,)).fetchall()
    saved = connection.execute("SELECT id FROM logged_models WHERE run = ? ORDER BY seq", (id,)).fetchall()
    return Tracked(
        id=id,
        made=stamp(now),
        name=run.name,
        experiment=above.name,
        experiment_tags=above.tags,
        user=run.user,
        status=run.status,
        started=stamp(run.started),
        ended="" if run.ended is None else stamp(run.ended),
        params=run.params,
        tags=run.tags,
        metrics={point.key: point.value for point in run.metrics},
        inputs=_inputs(run),
        used=tuple(ModelAt(id=one.id, step=one.step) for one in run.used),
        saved=tuple(ModelAt(id=one.id, step=one.step) for one in run.made),
        models=tuple(_model(connection, model) for (model,) in saved),
        place=run.artifacts,
        artifacts=_files(connection, run.artifacts),
        parent=parent,
        note=remark,
        removed=run.removed,
        hidden=bool(run.removed),
    )


def _inputs(run: TrackedRun) -> tuple[Read, ...]:
    return tuple(Read(**used.dataset._asdict(), context=used.context, tags=used.tags) for used in run.datasets)


def _model(connection: Connection, id: str) -> SavedModel:
    model = logged_models.get(connection, id, removed=True)
    return SavedModel(
        id=id,
        name=model.name,
        type=model.type,
        status=model.status,
        status_message=model.status_message,
        made=stamp(model.made),
        changed=stamp(model.changed),
        removed="" if model.removed is None else stamp(model.removed),
        params=model.params,
        tags=model.tags,
        metrics=tuple(
            Measure(run=run, key=at.key, value=at.value, step=at.step, moment=at.moment, dataset=at.dataset)
            for at, run in model.metrics
        ),
        place=model.artifacts,
        artifacts=_files(connection, model.artifacts),
    )


def _files(connection: Connection, place: str) -> tuple[File, ...]:
    if not (folder := path_or_nothing(place)):
        return ()
    return tuple(
        File(path=one.path[len(folder) + 1 :], digest=one.digest, size=one.size)
        for one in artifacts.below(connection, folder)
    )


def every_point(connection: Connection, seq: int) -> Iterator[Point]:
    """All points of a run, by time."""
    keys = [point.key for point in points.newest(connection, seq)]
    return heapq.merge(*(_of_key(connection, seq, key) for key in keys), key=lambda point: point.moment)


def _of_key(connection: Connection, seq: int, key: str) -> Iterator[Point]:
    last: Point | None = None
    while some := points.history(connection, seq, key, limit=PAGE, after=last):
        yield from some
        last = some[-1]


# -- into the ledger ---------------------------------------------------------------------------------------------


def take(connection: Connection, value: Tracked, record: Digest) -> bool:
    """Note a record. Whether it says how the run is now: it is newer than others, and nothing was logged here that is
    in none. What was deleted for good does not come back."""
    known = connection.execute(
        "SELECT made, record FROM tracked_records WHERE run = ? AND record <> ?"
        " ORDER BY made DESC, record DESC LIMIT 1",
        (value.id, record),
    ).fetchall()
    remember(connection, value, record)
    try:
        gone.refuse(connection, "run", value.id)
    except NotFound:
        return False
    rows = connection.execute("SELECT kept, tracked FROM runs WHERE id = ?", (value.id,)).fetchall()
    if rows and (not rows[0][1] or rows[0][0] < "b" or (known and tuple(known[0]) > (micros(value.made), record))):
        return False
    _put(connection, value, record)
    return True


def _put(connection: Connection, value: Tracked, record: Digest) -> None:
    experiment = _experiment(connection, value)
    row = {
        **tracked.EMPTY,
        **tracked.facts(
            value.id,
            value.name,
            value.user,
            micros(value.started),
            micros(value.ended) if value.ended else None,
            value.status,
        ),
        "id": value.id,
        "experiment": experiment,
        "tracked": 1,
        "artifacts": value.place,
        "parent": value.parent,
        "note": value.note,
        "removed": value.removed,
        "kept": record,
    }
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "id")
    ((seq,),) = connection.execute(
        f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed} RETURNING seq", row
    ).fetchall()
    for table in ("params", "tags", "run_datasets", "run_models"):
        connection.execute(f"DELETE FROM {table} WHERE run = ?", (seq,))
    tracked.put_params(connection, seq, value.id, value.params)
    tracked.put_tags(connection, seq, value.tags)
    inputs.add_datasets(connection, seq, experiment, [_used(one) for one in value.inputs])
    inputs.add_models(connection, seq, inputs.INPUT, [UsedModel(one.id, one.step) for one in value.used])
    inputs.add_models(connection, seq, inputs.OUTPUT, [UsedModel(one.id, one.step) for one in value.saved])
    _put_files(connection, value.id, value.place, value.artifacts, micros(value.made))
    for model in value.models:
        _put_model(connection, value, experiment, model)


def _used(one: Read) -> UsedData:
    described = Described(one.name, one.digest, one.source_type, one.source, one.schema, one.profile)
    return UsedData(described, one.tags, one.context)


def _experiment(connection: Connection, value: Tracked) -> int:
    """By its name; it is made where there is none, at the time of its first run."""
    return experiments.found_or_made(connection, value.experiment, micros(value.started), value.experiment_tags)


def _put_files(connection: Connection, id: str, place: str, files: Sequence[File], now: int) -> None:
    """In place of those that were there. A record speaks of its own folder alone, which has its id in its path."""
    folder = path_or_nothing(place)
    if folder and id in folder.split("/"):
        artifacts.remove(connection, folder)
        for file in files:
            artifacts.put(connection, f"{folder}/{file.path}", file.digest, file.size, now)


def _put_model(connection: Connection, value: Tracked, experiment: int, model: SavedModel) -> None:
    """A record speaks of the models of its own run alone: those of another one stay as they are."""
    row: dict[str, Any] = {
        "id": model.id,
        "experiment": experiment,
        "run": value.id,
        "name": model.name,
        "type": model.type,
        "status": model.status,
        "status_message": model.status_message,
        "artifacts": model.place,
        "made": micros(model.made),
        "changed": micros(model.changed),
        "removed": micros(model.removed) if model.removed else None,
    }
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "id")
    found = connection.execute(
        f"INSERT INTO logged_models ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}"
        " WHERE logged_models.run = excluded.run RETURNING seq",
        row,
    ).fetchall()
    if not found:
        return
    ((seq,),) = found
    for table, values in (("logged_model_params", model.params), ("logged_model_tags", model.tags)):
        connection.execute(f"DELETE FROM {table} WHERE model = ?", (seq,))
        connection.executemany(
            f"INSERT INTO {table} (model, key, value) VALUES (?, ?, ?)", [(seq, *pair) for pair in values.items()]
        )
    connection.execute("DELETE FROM logged_model_metrics WHERE model = ?", (seq,))
    logged_models.put_measured(
        connection,
        seq,
        [Measured(Point(at.key, at.value, at.moment, at.step, model.id, at.dataset), at.run) for at in model.metrics],
    )
    _put_files(connection, model.id, model.place, model.artifacts, micros(value.made))
