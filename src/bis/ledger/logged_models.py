"""Models that runs saved, in the ledger. Each function is one question or change within the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bis.ledger import changed, experiments
from bis.ledger.connection import Connection
from bis.ledger.filter import Field, Order, read_order
from bis.ledger.grammar import LOGGED_MODELS, Grammar
from bis.ledger.numbers import as_read, as_stored
from bis.ledger.refusals import NoSuch
from bis.ledger.search import Ordering, Query, Term, both, compile_filter, one_of, ordering
from bis.ledger.tracked import below
from bis.nouns.tracking import LoggedModel, Measured, Point, usual_place

COLUMNS: Final = "seq, id, experiment, run, name, type, status, status_message, artifacts, made, changed, removed"
PENDING: Final = 1
AT_ONCE: Final = 500


class OnData(NamedTuple):
    """A data set that metrics were measured on; what is empty is not asked for."""

    name: str
    digest: str = ""


class By(NamedTuple):
    """What models are ordered by: an attribute, or the newest value of a metric, on some data set or on any."""

    field: str
    falling: bool = False
    on: OnData = OnData("")


def create(
    connection: Connection,
    id: str,
    *,
    experiment: int,
    name: str,
    run: str,
    type: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    now: int,
) -> LoggedModel:
    """A model that is being saved. Raises NoSuch or Removed for the experiment."""
    place = experiments.there(connection, experiment)
    artifacts = below(place.artifacts or usual_place(experiment), "models", id, "artifacts")
    ((seq,),) = connection.execute(
        "INSERT INTO logged_models (id, experiment, run, name, type, status, status_message, artifacts, made, changed)"
        " VALUES (?, ?, ?, ?, ?, ?, '', ?, ?, ?) RETURNING seq",
        (id, experiment, run, name, type, PENDING, artifacts, now, now),
    ).fetchall()
    _put(connection, "logged_model_params", seq, params)
    _put(connection, "logged_model_tags", seq, tags)
    changed.of_models(connection, [id])
    return get(connection, id)


def get(connection: Connection, id: str, *, removed: bool = False) -> LoggedModel:
    """With `removed`, a removed one, too. Raises NoSuch."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM logged_models WHERE id = ?", (id,)).fetchall():
        if removed or row[-1] is None:
            return with_facts(connection, [row])[0]
    raise NoSuch("logged model", id)


def add_params(connection: Connection, id: str, params: Mapping[str, str]) -> None:
    """Raises NoSuch."""
    _put(connection, "logged_model_params", seq_of(connection, id), params)
    changed.of_models(connection, [id])


def finish(connection: Connection, id: str, status: int, now: int) -> LoggedModel:
    """Say that a model is saved, or that it could not be. Raises NoSuch."""
    connection.execute(
        "UPDATE logged_models SET status = ?, changed = ? WHERE seq = ?", (status, now, seq_of(connection, id))
    )
    changed.of_models(connection, [id])
    return get(connection, id)


def remove(connection: Connection, id: str, now: int) -> None:
    """Raises NoSuch."""
    connection.execute(
        "UPDATE logged_models SET removed = ?, changed = ? WHERE seq = ?", (now, now, seq_of(connection, id))
    )
    changed.of_models(connection, [id])


def set_tags(connection: Connection, id: str, tags: Mapping[str, str]) -> None:
    """Raises NoSuch."""
    _put(connection, "logged_model_tags", seq_of(connection, id), tags)
    changed.of_models(connection, [id])


def drop_tag(connection: Connection, id: str, key: str) -> None:
    """Raises NoSuch, for the tag as well."""
    seq = seq_of(connection, id)
    if not connection.execute("SELECT 1 FROM logged_model_tags WHERE model = ? AND key = ?", (seq, key)).fetchall():
        raise NoSuch("tag", key, f"model with ID '{id}'")
    connection.execute("DELETE FROM logged_model_tags WHERE model = ? AND key = ?", (seq, key))
    changed.of_models(connection, [id])


def measure(connection: Connection, run: str, points: Sequence[Point]) -> None:
    """Keep the points that are about models. Models that are not known are passed over: the points stay with the
    run."""
    about: dict[str, list[Measured]] = {}
    for point in points:
        if point.model:
            about.setdefault(point.model, []).append(Measured(point, run))
    ids = list(about)
    for start in range(0, len(ids), AT_ONCE):
        some = one_of("id", ids[start : start + AT_ONCE])
        asked = f"SELECT id, seq FROM logged_models WHERE {some.where}"
        for id, seq in connection.execute(asked, some.values).fetchall():
            put_measured(connection, seq, about[id])
    changed.of_models(connection, ids)


def put_measured(connection: Connection, seq: int, measured: Iterable[Measured]) -> None:
    """Add points to a model (`logged_models.seq`). Of those of one metric, run, data set, moment and step the greatest
    value is kept; NaN stands where zero would."""
    rows: dict[tuple[Any, ...], tuple[float | None, str]] = {}
    for point, run in measured:
        place = (run, point.key, *(point.dataset or ("", "")), point.step, point.moment)
        value = as_stored(point.value)
        if place not in rows or (value[0] or 0.0) > (rows[place][0] or 0.0):
            rows[place] = value
    connection.executemany(
        "INSERT INTO logged_model_metrics (model, run, key, dataset, digest, step, moment, value, flag)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, key, moment, step, run, dataset, digest) DO UPDATE"
        " SET value = excluded.value, flag = excluded.flag"
        " WHERE coalesce(excluded.value, 0) > coalesce(logged_model_metrics.value, 0)",
        [(seq, *place, *value) for place, value in rows.items()],
    )


def search(
    connection: Connection,
    experiments: Sequence[int],
    *,
    filter: str = "",
    on: Sequence[OnData] = (),
    order: Sequence[By] = (),
    limit: int,
    after: Sequence[Any] | None = None,
) -> tuple[list[LoggedModel], list[Any] | None]:
    """A page of models that are there, and the place behind which the next one begins, if there is one. Only metrics
    measured `on` these data sets are compared. Raises Unfit, or BadToken for a place in another order."""
    grammar = _measured_on(on)
    where = both(
        one_of("experiment", experiments),
        Query("removed IS NULL", ()),
        compile_filter(filter, grammar),
        _on_any(on),
    )
    by = _ordering(order, grammar)
    if after is not None:
        where = both(where, by.after(after))
    rows = connection.execute(
        f"SELECT {COLUMNS}, {by.columns} FROM logged_models{by.joins} WHERE {where.where} ORDER BY {by.by} LIMIT ?",
        (*by.values, *where.values, limit + 1),
    ).fetchall()
    width = len(by.terms)
    place = list(rows[limit - 1][-width:]) if len(rows) > limit else None
    return with_facts(connection, [row[:-width] for row in rows[:limit]]), place


def with_facts(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[LoggedModel]:
    """What rows of `COLUMNS` stand for."""
    seqs = [row[0] for row in rows]
    params, tags = (_texts(connection, f"logged_model_{table}", seqs) for table in ("params", "tags"))
    metrics = _metrics(connection, {row[0]: row[1] for row in rows})
    return [
        LoggedModel(
            id=id,
            experiment=experiment,
            run=run,
            name=name,
            type=type,
            status=status,
            status_message=message,
            artifacts=artifacts,
            made=made,
            changed=changed,
            removed=removed,
            params=params.get(seq, {}),
            tags=tags.get(seq, {}),
            metrics=tuple(metrics.get(seq, ())),
        )
        for seq, id, experiment, run, name, type, status, message, artifacts, made, changed, removed in rows
    ]


def seq_of(connection: Connection, id: str) -> int:
    """Of a model, removed or not. Raises NoSuch."""
    for (seq,) in connection.execute("SELECT seq FROM logged_models WHERE id = ?", (id,)).fetchall():
        return int(seq)
    raise NoSuch("logged model", id)


def _put(connection: Connection, table: str, seq: int, values: Mapping[str, str]) -> None:
    connection.executemany(
        f"INSERT INTO {table} (model, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT (model, key) DO UPDATE SET value = excluded.value",
        [(seq, key, value) for key, value in values.items()],
    )


def _measured_on(on: Sequence[OnData]) -> Grammar:
    """The language in which metrics are those that were measured on these data sets."""
    if not on:
        return LOGGED_MODELS
    some = _datasets(on)
    metrics = LOGGED_MODELS.keyed["metrics"]._replace(where=some.where, values=some.values)
    return LOGGED_MODELS._replace(keyed={**LOGGED_MODELS.keyed, "metrics": metrics})


def _on_any(on: Sequence[OnData]) -> Query:
    some = _datasets(on)
    return Query(f"seq IN (SELECT model FROM logged_model_metrics WHERE {some.where})" if on else "", some.values)


def _datasets(on: Sequence[OnData]) -> Query:
    """A condition on the data set of a metric."""
    either = " OR ".join(
        " AND ".join(f"{column} = ?" for column, value in zip(("dataset", "digest"), data, strict=True) if value)
        for data in on
    )
    return Query(f"({either})", tuple(value for data in on for value in data if value))


def _ordering(order: Sequence[By], grammar: Grammar) -> Ordering:
    """As `search.ordering`, with the newest of the values that a metric of a model has."""
    joins: list[str] = []
    values: list[Any] = []
    terms: list[Term] = []
    for number, (name, falling, on) in enumerate(order):
        field = _field(name, grammar)
        if field.entity != "metrics":
            terms += ordering([Order(field, falling)], grammar._replace(ties=())).terms
            continue
        some = _datasets([on]) if any(on) else Query("1 = 1", ())
        joins.append(
            f" LEFT JOIN (SELECT model, value, flag, row_number() OVER (PARTITION BY model ORDER BY moment DESC,"
            f" step DESC) AS place FROM logged_model_metrics WHERE key = ? AND {some.where}) AS by{number}"
            f" ON by{number}.model = seq AND by{number}.place = 1"
        )
        values += [field.key, *some.values]
        terms += [
            Term(f"CASE WHEN by{number}.value IS NULL THEN 1 ELSE 0 END", False),
            Term(f"coalesce(by{number}.value, 0.0)", falling),
        ]
    known = {term.column for term in terms}
    terms += [Term(column, falling) for column, falling in grammar.ties if column not in known]
    return Ordering("".join(joins), tuple(values), tuple(terms))


def _field(name: str, grammar: Grammar) -> Field:
    """Keys are written as they are: `metrics.my metric`."""
    entity, dot, key = name.partition(".")
    if dot and entity == "metrics":
        return Field("metrics", key)
    return read_order([name], grammar)[0].field


def _texts(connection: Connection, table: str, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for start in range(0, len(seqs), AT_ONCE):
        some = one_of("model", seqs[start : start + AT_ONCE])
        asked = f"SELECT model, key, value FROM {table} WHERE {some.where}"
        for model, key, value in connection.execute(asked, some.values).fetchall():
            found.setdefault(model, {})[key] = value
    return found


def _metrics(connection: Connection, ids: Mapping[int, str]) -> dict[int, list[Measured]]:
    found: dict[int, list[Measured]] = {}
    seqs = list(ids)
    for start in range(0, len(seqs), AT_ONCE):
        some = one_of("model", seqs[start : start + AT_ONCE])
        rows = connection.execute(
            "SELECT model, run, key, value, flag, step, moment, dataset, digest FROM logged_model_metrics"
            f" WHERE {some.where} ORDER BY model, key, moment, step",
            some.values,
        ).fetchall()
        for model, run, key, value, flag, step, moment, name, digest in rows:
            dataset = (name, digest) if name else None
            point = Point(key, as_read(value, flag), moment, step, ids[model], dataset)
            found.setdefault(model, []).append(Measured(point, run))
    return found
