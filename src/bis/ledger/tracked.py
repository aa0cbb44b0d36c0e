"""Runs that clients log to, and sealed runs as such clients see them: each function is one question or change within
the caller's transaction.

The rows of a tracked run are its facts; when it has ended, `steps/keeping.py` writes them into the store, too. What
`bis run` sealed is shown beside, and refuses whatever would change what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bis.digest import canonical
from bis.errors import UsageError
from bis.ledger import Row, changed, experiments, gone, inputs, points, searching
from bis.ledger.connection import Connection
from bis.ledger.moments import EARLIEST, LATEST, stamp
from bis.ledger.numbers import as_number, as_read
from bis.ledger.refusals import NoSuch, ParamChanged, Removed, Sealed
from bis.ledger.search import Ordering, Query
from bis.nouns.run import Run, Status
from bis.nouns.tracking import Point, TrackedRun, UsedData, UsedModel, usual_place
from bis.store.squeeze import pack, unpack

COLUMNS: Final = (
    "seq, id, name, experiment, username, status, started, ended, artifacts, removed, command,"
    " CASE WHEN tracked = 1 THEN NULL ELSE content END"
)
AT_ONCE: Final = 500
PARAM, TAG, METRIC, MODEL, DATASET = range(5)
"""What a row tells of a run."""
OVER: Final[tuple[Status, ...]] = ("finished", "failed", "interrupted")


def create(
    connection: Connection,
    id: str,
    *,
    experiment: int,
    name: str,
    user: str,
    started: int,
    tags: Mapping[str, str],
    parent: str = "",
) -> TrackedRun:
    """A new run, which is under way; its id has 32 hexadecimal digits. `parent`: the run around it. Raises NoSuch or
    Removed for the experiment, UsageError for a time that no calendar has."""
    place = experiments.there(connection, experiment)
    row = {
        **facts(id, name, user, started, None, "running"),
        "id": id,
        "experiment": experiment,
        "tracked": 1,
        "artifacts": below(place.artifacts or usual_place(experiment), id, "artifacts"),
        **EMPTY,
        "parent": parent,
    }
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    ((seq,),) = connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks}) RETURNING seq", row).fetchall()
    put_tags(connection, seq, tags)
    return TrackedRun(
        id=id,
        name=name,
        experiment=experiment,
        user=user,
        status="running",
        started=started,
        artifacts=row["artifacts"],
        tags=dict(tags),
    )


def get(connection: Connection, id: str) -> TrackedRun:
    """A run, tracked or sealed, removed or not. Raises NoSuch."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (id,)).fetchall():
        return with_facts(connection, [row])[0]
    raise NoSuch("run", id)


def children(connection: Connection, id: str) -> list[TrackedRun]:
    """The runs that clients logged while the run was under way, in the order of their start."""
    asked = f"SELECT {COLUMNS} FROM runs WHERE parent = ? AND tracked = 1 AND removed = '' ORDER BY started, seq"
    return with_facts(connection, connection.execute(asked, (id,)).fetchall())


def seq_of(connection: Connection, id: str) -> int:
    """Of a run, tracked or sealed, removed or not. Raises NoSuch."""
    for (seq,) in connection.execute("SELECT seq FROM runs WHERE id = ?", (id,)).fetchall():
        return int(seq)
    raise NoSuch("run", id)


def loggable(connection: Connection, id: str) -> int:
    """The seq of a run that may be logged to, and is in no record as it will be. Raises NoSuch, Removed or Sealed."""
    found = connection.execute("SELECT seq, tracked, removed, kept FROM runs WHERE id = ?", (id,)).fetchall()
    if not found:
        raise NoSuch("run", id)
    ((seq, tracked, removed, kept),) = found
    if not tracked:
        raise Sealed(id)
    if removed:
        raise Removed("run", id)
    if kept:
        changed.runs(connection, "seq = ?", seq)
    return int(seq)


def update(
    connection: Connection, id: str, *, status: Status | None = None, ended: int | None = None, name: str = ""
) -> TrackedRun:
    """Say how a run stands now; what is not given stays. Raises NoSuch, Removed or Sealed."""
    seq = loggable(connection, id)
    run = get(connection, id)
    over = run.ended if ended is None else ended
    row = facts(id, name or run.name, run.user, run.started, over, status or run.status)
    changes = ", ".join(f"{column} = :{column}" for column in row)
    connection.execute(f"UPDATE runs SET {changes} WHERE seq = :seq", {**row, "seq": seq})
    if status in OVER:
        points.fold(connection, seq)
    return get(connection, id)


def move(connection: Connection, id: str, experiment: int) -> None:
    """Into another experiment; its artifacts stay where they are. Raises NoSuch, Removed or Sealed."""
    seq = loggable(connection, id)
    experiments.there(connection, experiment)
    connection.execute("UPDATE runs SET experiment = ? WHERE seq = ?", (experiment, seq))


def remove(connection: Connection, id: str, now: int) -> None:
    """It can be restored until the garbage is collected. Raises NoSuch or Sealed."""
    seq = _tracked(connection, id)
    connection.execute("UPDATE runs SET removed = ? WHERE seq = ? AND removed = ''", (stamp(now), seq))


def restore(connection: Connection, id: str) -> None:
    """Raises NoSuch or Sealed."""
    connection.execute("UPDATE runs SET removed = '' WHERE seq = ?", (_tracked(connection, id),))


def log_params(connection: Connection, id: str, params: Mapping[str, str]) -> None:
    """Raises ParamChanged for one that has another value already, and NoSuch, Removed or Sealed."""
    put_params(connection, loggable(connection, id), id, params)


def put_params(connection: Connection, seq: int, id: str, params: Mapping[str, str]) -> None:
    """As `log_params`, for a run that may be logged to."""
    if not params:
        return
    marks = ", ".join("?" * len(params))
    known = dict(
        connection.execute(
            f"SELECT key, value FROM params WHERE run = ? AND key IN ({marks})", (seq, *params)
        ).fetchall()
    )
    changes = [(key, known[key], value) for key, value in params.items() if known.get(key, value) != value]
    if changes:
        raise ParamChanged(id, changes)
    connection.executemany(
        "INSERT INTO params (run, key, value, number) VALUES (?, ?, ?, ?)",
        [(seq, key, value, as_number(value)) for key, value in params.items() if key not in known],
    )


def set_tags(connection: Connection, id: str, tags: Mapping[str, str]) -> None:
    """Raises NoSuch, Removed or Sealed."""
    put_tags(connection, loggable(connection, id), tags)


def put_tags(connection: Connection, seq: int, tags: Mapping[str, str]) -> None:
    """As `set_tags`, for a run that may be logged to."""
    if tags:
        connection.executemany(
            "INSERT INTO tags (run, key, value, number) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, number = excluded.number",
            [(seq, key, value, as_number(value)) for key, value in tags.items()],
        )


def drop_tag(connection: Connection, id: str, key: str) -> None:
    """Raises NoSuch, for the tag as well, Removed or Sealed."""
    seq = loggable(connection, id)
    if not connection.execute("SELECT 1 FROM tags WHERE run = ? AND key = ?", (seq, key)).fetchall():
        raise NoSuch("tag", key, f"run with id {id}")
    connection.execute("DELETE FROM tags WHERE run = ? AND key = ?", (seq, key))


def with_facts(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[TrackedRun]:
    """What rows of `COLUMNS` stand for, with their params, tags and newest metrics."""
    params: dict[int, dict[str, str]] = {}
    tags: dict[int, dict[str, str]] = {}
    metrics: dict[int, list[Point]] = {}
    models: dict[str, dict[int, list[UsedModel]]] = {inputs.INPUT: {}, inputs.OUTPUT: {}}
    using: set[int] = set()
    texts = (params, tags)
    for kind, run, key, text, value, step, moment in _all_of(connection, [row[0] for row in rows]):
        if kind < METRIC:
            some = texts[kind]
            if run in some:
                some[run][key] = text
            else:
                some[run] = {key: text}
        elif kind == METRIC:
            metrics.setdefault(run, []).append(Point(key, as_read(value, text), moment, step))
        elif kind == MODEL:
            models[text].setdefault(run, []).append(UsedModel(key, step))
        else:
            using.add(run)
    used, made = (inputs.in_order(models[role]) for role in (inputs.INPUT, inputs.OUTPUT))
    datasets = inputs.datasets_of(connection, sorted(using))
    return [
        TrackedRun(
            id=id,
            name=name,
            experiment=experiment,
            user=user,
            status=status,
            started=started,
            ended=ended,
            artifacts=artifacts,
            removed=removed,
            sealed=content is not None,
            command=command,
            commit=_commit(content) if content else "",
            params=params.get(seq, {}),
            metrics=tuple(metrics.get(seq, ())),
            tags=tags.get(seq, {}),
            datasets=tuple(datasets.get(seq, ())),
            used=tuple(used.get(seq, ())),
            made=tuple(made.get(seq, ())),
        )
        for seq, id, name, experiment, user, status, started, ended, artifacts, removed, command, content in rows
    ]


def search(
    connection: Connection,
    asked: Query,
    order: Ordering,
    *,
    limit: int,
    after: Sequence[Any] | None = None,
    removed: bool | None = False,
    each: Query | None = None,
    among: Sequence[int] | None = None,
) -> tuple[list[TrackedRun], list[Any] | None]:
    """As `searching.page`. `removed` None: those that are removed, too."""
    view = {False: Query("removed = ''", ()), True: Query("removed <> ''", ()), None: Query("", ())}[removed]
    rows, place = searching.page(
        connection, COLUMNS, asked, order, limit=limit, after=after, view=view, each=each, among=among
    )
    return with_facts(connection, rows), place


def log_inputs(connection: Connection, id: str, datasets: Sequence[UsedData], models: Sequence[UsedModel]) -> None:
    """Say what a run read. Raises NoSuch, Removed or Sealed."""
    seq = loggable(connection, id)
    ((experiment,),) = connection.execute("SELECT experiment FROM runs WHERE seq = ?", (seq,)).fetchall()
    inputs.add_datasets(connection, seq, experiment, datasets)
    inputs.add_models(connection, seq, inputs.INPUT, models)


def log_outputs(connection: Connection, id: str, models: Sequence[UsedModel]) -> None:
    """Say which models a run made. Raises NoSuch, Removed or Sealed."""
    inputs.add_models(connection, loggable(connection, id), inputs.OUTPUT, models)


def _all_of(connection: Connection, seqs: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    """What runs have in other tables, in one answer: a question may be a long way from it."""
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        where = f"WHERE run IN ({', '.join('?' * len(some))})"
        yield from connection.execute(
            f"SELECT {METRIC}, run, key, flag, value, step, moment FROM metrics {where}"
            f" UNION ALL SELECT {PARAM}, run, key, value, NULL, 0, 0 FROM params {where}"
            f" UNION ALL SELECT {TAG}, run, key, value, NULL, 0, 0 FROM tags {where}"
            f" UNION ALL SELECT {MODEL}, run, model, role, NULL, step, 0 FROM run_models {where}"
            f" UNION ALL SELECT {DATASET}, run, '', '', NULL, 0, 0 FROM run_datasets {where}",
            (*some, *some, *some, *some, *some),
        ).fetchall()


def texts(connection: Connection, table: str, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
    """Params or tags of runs, by key."""
    found: dict[int, dict[str, str]] = {}
    for run, key, value in _of(connection, f"SELECT run, key, value FROM {table}", seqs):
        found.setdefault(run, {})[key] = value
    return found


def newest(connection: Connection, seqs: Sequence[int]) -> dict[int, list[Point]]:
    """The newest point of each metric of runs."""
    found: dict[int, list[Point]] = {}
    for run, key, value, flag, step, moment in _of(
        connection, "SELECT run, key, value, flag, step, moment FROM metrics", seqs
    ):
        found.setdefault(run, []).append(Point(key, as_read(value, flag), moment, step))
    return found


def below(root: str, *names: str) -> str:
    """A place below another; the query and the fragment of a URI stay behind it."""
    if "://" not in root:
        return "/".join([root.rstrip("/"), *names])
    whole = urlsplit(root)
    return urlunsplit(whole._replace(path="/".join([whole.path.rstrip("/"), *names])))


EMPTY: Final = dict.fromkeys(
    (
        *("host", "command", "command_key", "folder", "project", "code", "data", "params", "environment"),
        *("infrastructure", "machine", "repeats", "parent"),
    ),
    "",
)


def facts(id: str, name: str, user: str, started: int, ended: int | None, status: Status) -> dict[str, Any]:
    """The columns that a run has from its beginning, and those that change with it."""
    if not all(EARLIEST <= time <= LATEST for time in (started, ended or 0)):
        raise UsageError(f"{started if ended is None else ended} µs since 1970 is no time that a run has")
    begun, done = stamp(started), "" if ended is None else stamp(ended)
    run = Run(id=id, name=name, command=(), user=user, started=begun, ended=done, status=status)
    row = Row(id=id, name=name, command=(), user=user, started=begun, ended=done, status=status)
    return {
        "name": name,
        "username": user,
        "status": status,
        "started": started,
        "ended": ended,
        "brief": canonical(row),
        "content": pack(canonical(run)),
    }


class _Facts(msgspec.Struct, frozen=True):
    revision: str = ""


class _Part(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()


class _Recorded(msgspec.Struct, frozen=True):
    """Of a record what is shown in lists of runs and has no column."""

    parts: dict[str, _Part] = {}


_recorded: Final = msgspec.json.Decoder(_Recorded, strict=False)


def _commit(content: bytes) -> str:
    try:
        part = _recorded.decode(unpack(content)).parts.get("code")
    except msgspec.MsgspecError:
        return ""
    return part.facts.revision if part else ""


def _tracked(connection: Connection, id: str) -> int:
    for seq, tracked in connection.execute("SELECT seq, tracked FROM runs WHERE id = ?", (id,)).fetchall():
        if not tracked:
            raise Sealed(id)
        changed.runs(connection, "seq = ?", seq)
        return int(seq)
    gone.refuse(connection, "run", id)
    raise NoSuch("run", id)


def _of(connection: Connection, statement: str, seqs: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        yield from connection.execute(f"{statement} WHERE run IN ({', '.join('?' * len(some))})", some).fetchall()
