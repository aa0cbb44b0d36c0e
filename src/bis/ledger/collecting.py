"""What clients removed is deleted for good: found out in one question, then deleted in steps, each a change of its own,
so that nobody waits for long. What was restored in between stays.

The history of the registry stays, and `collected` remembers what is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from bis.ledger import artifacts, gone, model_events, points, registry
from bis.ledger.connection import Connection
from bis.ledger.moments import stamp
from bis.ledger.refusals import Kind
from bis.nouns.artifact import path_or_nothing
from bis.nouns.model import By, Model

STEP: Final = 50
"""Runs, models or experiments that are deleted in one change."""
OF_RUNS: Final = ("params", "tags", "run_datasets", "run_models", "data_used", "run_outputs", "run_commits")
"""Tables with a column `run` that has runs.seq; those of points are apart."""


class Version(msgspec.Struct, frozen=True):
    model: int
    number: int
    record: str


class Doomed(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed by a time, and that nothing needs which stays."""

    until: int
    """Microseconds since 1970 UTC."""
    runs: tuple[str, ...] = ()
    experiments: tuple[int, ...] = ()
    logged_models: tuple[str, ...] = ()
    models: tuple[int, ...] = ()
    versions: tuple[Version, ...] = ()
    """Of models that stay."""
    kept: int = 0
    """Runs and logged models that stay, as a registered version came from them."""
    folders: tuple[str, ...] = ()
    """Where their artifacts lie."""
    files: int = 0
    size: int = 0
    """Bytes of those."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.experiments or self.logged_models or self.models or self.versions)


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How much was, or would be, deleted for good."""

    runs: int = 0
    experiments: int = 0
    logged_models: int = 0
    models: int = 0
    versions: int = 0
    files: int = 0
    size: int = 0
    kept: int = 0


def counted(doomed: Doomed) -> Counted:
    return Counted(
        runs=len(doomed.runs),
        experiments=len(doomed.experiments),
        logged_models=len(doomed.logged_models),
        models=len(doomed.models),
        versions=len(doomed.versions),
        files=doomed.files,
        size=doomed.size,
        kept=doomed.kept,
    )


def doomed(connection: Connection, until: int, *, measured: bool = True) -> Doomed:
    """What was removed by then. What a version came from that stays, removed since or not at all, stays with it. Files
    are counted where they are to be `measured`."""
    models = _rows(connection, "SELECT id FROM registered_models WHERE removed <= ?", until)
    going = {id for (id,) in models}
    versions = [
        Version(model, number, record)
        for model, number, record in _rows(
            connection, "SELECT model, version, record FROM model_versions WHERE removed <= ?", until
        )
        if model not in going
    ]
    needed = _Needed(connection, going, versions)
    runs = _rows(
        connection,
        "SELECT id, experiment, artifacts FROM runs WHERE tracked = 1 AND removed <> '' AND removed <= ?",
        stamp(until),
    )
    logged = _rows(
        connection,
        "SELECT id, m.experiment, m.artifacts FROM logged_models AS m WHERE m.removed <= ? OR m.experiment IN"
        " (SELECT id FROM experiments WHERE removed <= ?)",
        until,
        until,
    )
    of_runs = {id: path_or_nothing(place) for id, _, place in runs}
    of_models = {id: path_or_nothing(place) for id, _, place in logged}
    gone_runs = [id for id, folder in of_runs.items() if not needed(id, folder)]
    gone_models = [id for id, folder in of_models.items() if not needed(id, folder)]
    folders = [*(of_runs[id] for id in gone_runs), *(of_models[id] for id in gone_models)]
    found = [_measured(connection, folder) for folder in folders if folder and measured]
    return Doomed(
        until=until,
        runs=tuple(gone_runs),
        experiments=tuple(_experiments(connection, until, set(gone_runs), set(gone_models))),
        logged_models=tuple(gone_models),
        models=tuple(sorted(going)),
        versions=tuple(versions),
        kept=len(of_runs) + len(of_models) - len(gone_runs) - len(gone_models),
        folders=tuple(filter(None, folders)),
        files=sum(files for files, _ in found),
        size=sum(size for _, size in found),
    )


def removed_and_needed(connection: Connection) -> list[str]:
    """Sealed runs that were removed, and that a version came from which is there or can be restored: somebody else may
    have registered it, whose change came with a pull."""
    needed = _Needed(connection, set(), ())
    removed = _rows(connection, "SELECT id FROM runs WHERE tracked = 0 AND removed <> ''")
    return [id for (id,) in removed if id in needed.ids]


class _Needed:
    """Whether a version that stays came from a run or a logged model, by its id or by where its files lie."""

    def __init__(self, connection: Connection, going: set[int], versions: Sequence[Version]) -> None:
        those = {one.record for one in versions}
        self.ids: set[str] = set()
        self.paths: set[str] = set()
        for model, record, run, logged, source, storage in _rows(
            connection, "SELECT model, record, run, logged_model, source, storage FROM model_versions"
        ):
            if model in going or record in those:
                continue
            self.ids |= {run, logged, *_ids(source), *_ids(storage)}
            self.paths |= {path_or_nothing(source), path_or_nothing(storage)}
        self.ids.discard("")
        self.folders = {above for path in self.paths for above in _upwards(path)}

    def __call__(self, id: str, folder: str) -> bool:
        return id in self.ids or folder in self.folders


def _ids(uri: str) -> tuple[str, ...]:
    """`runs:/ID/path` and `models:/ID` name a run and a logged model."""
    scheme, colon, rest = uri.partition(":/")
    return (rest.lstrip("/").partition("/")[0],) if colon and scheme in ("runs", "models") else ()


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _experiments(connection: Connection, until: int, runs: set[str], models: set[str]) -> Iterator[int]:
    """Those of which nothing stays. The first one is always there."""
    for (id,) in _rows(connection, "SELECT id FROM experiments WHERE removed <= ? AND id <> 0", until):
        within = _rows(connection, "SELECT id FROM runs WHERE experiment = ?", id)
        saved = _rows(connection, "SELECT id FROM logged_models WHERE experiment = ?", id)
        if {run for (run,) in within} <= runs and {model for (model,) in saved} <= models:
            yield id


def _measured(connection: Connection, folder: str) -> tuple[int, int]:
    sizes = [one.size for one in artifacts.below(connection, folder)]
    return len(sizes), sum(sizes)


# -- deleting ----------------------------------------------------------------------------------------------------


def steps(doomed: Doomed) -> Iterator[Doomed]:
    """The same in parts, each for one change: what needs others before these."""
    until = doomed.until
    for some in _parts(doomed.models):
        yield Doomed(until=until, models=some)
    for versions in _parts(doomed.versions):
        yield Doomed(until=until, versions=versions)
    for runs in _parts(doomed.runs):
        yield Doomed(until=until, runs=runs)
    for models in _parts(doomed.logged_models):
        yield Doomed(until=until, logged_models=models)
    for experiments in _parts(doomed.experiments):
        yield Doomed(until=until, experiments=experiments)


def delete(connection: Connection, step: Doomed, by: By) -> None:
    """One step. What was restored meanwhile, or is needed since, stays."""
    again = step if step.models or step.versions else doomed(connection, step.until, measured=False)
    for id in step.models:
        _delete_model(connection, id, step.until, by)
    for version in step.versions:
        _delete_version(connection, version, step.until, by)
    _delete_runs(connection, sorted({*step.runs} & {*again.runs}), by.at)
    for model in sorted({*step.logged_models} & {*again.logged_models}):
        _delete_logged_model(connection, model, by.at)
    for experiment in {*step.experiments} & {*again.experiments}:
        connection.execute("DELETE FROM experiment_tags WHERE experiment = ?", (experiment,))
        _delete_datasets(connection, "experiment = ?", (experiment,))
        connection.execute("DELETE FROM experiments WHERE id = ?", (experiment,))
        gone.remember(connection, "experiment", str(experiment), by.at)


def _delete_runs(connection: Connection, ids: Sequence[str], now: int) -> None:
    for id in ids:
        ((seq, place),) = _rows(connection, "SELECT seq, artifacts FROM runs WHERE id = ?", id)
        used = [dataset for (dataset,) in _rows(connection, "SELECT dataset FROM run_datasets WHERE run = ?", seq)]
        points.remove(connection, seq)
        for table in OF_RUNS:
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (seq,))
        if used:
            _delete_datasets(connection, f"id IN ({_marks(used)})", used)
        connection.execute("DELETE FROM runs WHERE seq = ?", (seq,))
        _forget(connection, "run", id, place, now)
    if ids:
        connection.execute(f"DELETE FROM logged_model_metrics WHERE run IN ({_marks(ids)})", ids)


def _delete_datasets(connection: Connection, which: str, values: Sequence[Any]) -> None:
    """Those of them that no run read."""
    connection.execute(
        f"DELETE FROM tracked_datasets WHERE {which}"
        " AND NOT EXISTS (SELECT 1 FROM run_datasets AS used WHERE used.dataset = tracked_datasets.id)",
        values,
    )


def _delete_logged_model(connection: Connection, id: str, now: int) -> None:
    ((seq, place),) = _rows(connection, "SELECT seq, artifacts FROM logged_models WHERE id = ?", id)
    for table in ("logged_model_params", "logged_model_tags", "logged_model_metrics"):
        connection.execute(f"DELETE FROM {table} WHERE model = ?", (seq,))
    connection.execute("DELETE FROM run_models WHERE model = ?", (id,))
    connection.execute("DELETE FROM logged_models WHERE seq = ?", (seq,))
    _forget(connection, "logged model", id, place, now)


def _forget(connection: Connection, kind: Kind, id: str, place: str, now: int) -> None:
    if path := path_or_nothing(place):
        artifacts.remove(connection, path)
    gone.remember(connection, kind, id, now)


def _delete_model(connection: Connection, id: int, until: int, by: By) -> None:
    for name, made in _rows(
        connection, "SELECT name, made FROM registered_models WHERE id = ? AND removed <= ?", id, until
    ):
        model = Model(id=id, name=name, made=made, changed=by.at)
        for line in model_events.lines(connection, model):
            model_events.note(connection, model, "collected", by, line=line)


def _delete_version(connection: Connection, version: Version, until: int, by: By) -> None:
    for found, model in registry.removed_version(connection, version.record, until):
        model_events.note(connection, model, "collected", by, about=found)


def _parts(values: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(values), STEP):
        yield tuple(values[start : start + STEP])


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _rows(connection: Connection, statement: str, *values: Any) -> list[Any]:
    return connection.execute(statement, values).fetchall()
