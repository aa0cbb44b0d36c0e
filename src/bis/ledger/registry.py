"""The model registry in the ledger. Each function is one question or change within the caller's transaction, and no
change is made without its entry in the history (`ledger/history.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bis.errors import AlreadyThere, NotFound, UsageError
from bis.ledger import gone, history
from bis.ledger.connection import Connection
from bis.ledger.moments import shown_time
from bis.ledger.refusals import Collected, NoSuch
from bis.nouns.model import ACTIVE, STAGES, By, Model, ModelVersion, is_model_name

MODEL: Final = "m.id, m.name, m.description, m.made, m.changed, m.removed"
VERSION: Final = (
    "m.name, v.version, v.description, v.username, v.stage, v.source, v.storage, v.run, v.run_link, v.logged_model,"
    " v.status, v.status_message, v.made, v.changed, v.removed, v.model"
)
VERSIONS: Final = "model_versions v JOIN registered_models m ON m.id = v.model"
THERE: Final = "m.removed IS NULL AND v.removed IS NULL"
AT_ONCE: Final = 500


class NoModel(NoSuch):
    """No registered model has that name."""

    def __init__(self, name: str) -> None:
        super().__init__("registered model", name, hint="bis model list")


class NoVersion(NoSuch):
    """A registered model has no such version."""

    def __init__(self, name: str, number: int | str) -> None:
        super().__init__("model version", str(number), name, hint=f"bis model show {name}")
        self.what = f"the model {name!r} has no version {number}"


class NoAlias(NoSuch):
    """A registered model has no such alias."""

    def __init__(self, name: str, alias: str) -> None:
        super().__init__("alias", alias, name, hint=f"bis model alias {name}")
        self.what = f"no version of the model {name!r} is called {alias!r}"


# -- models ------------------------------------------------------------------------------------------------------


def create(
    connection: Connection, name: str, by: By, description: str = "", tags: Mapping[str, str] | None = None
) -> Model:
    """A new registered model. Raises AlreadyThere. Where one of that name was removed, its numbers stay given."""
    _check_name(connection, name)
    given = _given(connection, name)
    ((id,),) = connection.execute(
        "INSERT INTO registered_models (name, description, versions, made, changed) VALUES (?, ?, ?, ?, ?)"
        " RETURNING id",
        (name, description, given, by.at, by.at),
    ).fetchall()
    id = gone.fresh(connection, "registered model", int(id))
    model = Model(id=id, name=name, description=description, made=by.at, changed=by.at)
    history.note(connection, model, "created", by, after=description)
    for key, value in (tags or {}).items():
        _put_tag(connection, model, None, key, value, by)
    return get(connection, name)


def get(connection: Connection, name: str) -> Model:
    """Raises NoModel."""
    found = models(connection, "m.name = ?", (name,), limit=1)
    if not found:
        raise NoModel(name)
    return found[0]


def once(connection: Connection, name: str) -> Model:
    """The model of that name, else the one that was removed or renamed last and had it; one that was collected, too, as
    far as its history tells. Raises NoModel."""
    if found := models(connection, "m.name = ?", (name,), limit=1):
        return found[0]
    for (id,) in connection.execute(
        "SELECT model FROM registry_events WHERE name = ? ORDER BY seq DESC LIMIT 1", (name,)
    ).fetchall():
        rows = connection.execute(f"SELECT {MODEL} FROM registered_models m WHERE m.id = ?", (id,)).fetchall()
        return _models(connection, rows)[0] if rows else history.forgotten(connection, id, name)
    raise NoModel(name)


def models(
    connection: Connection,
    where: str = "TRUE",
    values: Sequence[Any] = (),
    *,
    order: str = "m.name",
    limit: int = history.NEVER,
    offset: int = 0,
) -> list[Model]:
    """Those that are there, by a condition over `registered_models m`."""
    rows = connection.execute(
        f"SELECT {MODEL} FROM registered_models m WHERE m.removed IS NULL AND {where} ORDER BY {order}"
        " LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return _models(connection, rows)


def rename(connection: Connection, name: str, new: str, by: By) -> Model:
    """Raises NoModel and AlreadyThere. Its history goes on under the new name."""
    model = get(connection, name)
    if new == name:
        return model
    _check_name(connection, new)
    given = _given(connection, new)
    connection.execute(
        "UPDATE registered_models SET name = ?, changed = ?, versions = CASE WHEN versions < ? THEN ? ELSE versions END"
        " WHERE id = ?",
        (new, by.at, given, given, model.id),
    )
    connection.execute("UPDATE model_versions SET changed = ? WHERE model = ?", (by.at, model.id))
    history.note(connection, model, "renamed", by, before=name, after=new)
    return get(connection, new)


def describe(connection: Connection, name: str, text: str, by: By) -> Model:
    model = get(connection, name)
    connection.execute(
        "UPDATE registered_models SET description = ?, changed = ? WHERE id = ?", (text, by.at, model.id)
    )
    history.note(connection, model, "described", by, before=model.description, after=text)
    return get(connection, name)


def set_tag(connection: Connection, name: str, key: str, value: str, by: By) -> None:
    _put_tag(connection, get(connection, name), None, key, value, by)


def delete_tag(connection: Connection, name: str, key: str, by: By) -> None:
    """A tag that is not there is no error."""
    model = get(connection, name)
    if key in model.tags:
        connection.execute("DELETE FROM registered_model_tags WHERE model = ? AND key = ?", (model.id, key))
        history.note(connection, model, "untagged", by, key=key, before=model.tags[key])


def remove(connection: Connection, name: str, by: By) -> Model:
    """The model with its versions is not found any more; its history, and what is needed to restore it, stay."""
    model = get(connection, name)
    connection.execute("UPDATE registered_models SET removed = ?, changed = ? WHERE id = ?", (by.at, by.at, model.id))
    history.note(connection, model, "removed", by)
    return model


def restore(connection: Connection, name: str, by: By) -> Model:
    """Take back the newest removal of a model of that name. Raises NoModel and AlreadyThere."""
    if models(connection, "m.name = ?", (name,), limit=1):
        raise AlreadyThere(f"a model called {name!r} is there", hint=f"bis model show {name}")
    found = connection.execute(
        "SELECT id, made, changed FROM registered_models WHERE name = ? AND removed IS NOT NULL"
        " ORDER BY removed DESC, id DESC LIMIT 1",
        (name,),
    ).fetchall()
    for id, made, changed in found:
        connection.execute("UPDATE registered_models SET removed = NULL, changed = ? WHERE id = ?", (by.at, id))
        model = Model(id=id, name=name, made=made, changed=changed)
        history.note(connection, model, "restored", by)
        return get(connection, name)
    _was_collected(connection, name, None)
    raise NoModel(name)


# -- versions ----------------------------------------------------------------------------------------------------


def add_version(
    connection: Connection,
    name: str,
    by: By,
    *,
    source: str,
    storage: str = "",
    run: str = "",
    run_link: str = "",
    logged_model: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """The next version of a model, with a number that was never given under that name. Raises NoModel."""
    model = get(connection, name)
    # The row is locked until the commit, also where others write at the same time: no number is given twice.
    ((number,),) = connection.execute(
        "UPDATE registered_models SET versions = versions + 1, changed = ? WHERE id = ? RETURNING versions",
        (by.at, model.id),
    ).fetchall()
    connection.execute(
        "INSERT INTO model_versions (model, version, description, username, stage, source, storage, run, run_link,"
        " logged_model, status, status_message, made, changed)"
        " VALUES (?, ?, ?, ?, 'None', ?, ?, ?, ?, ?, 'READY', '', ?, ?)",
        (model.id, number, description, by.user, source, storage, run, run_link, logged_model, by.at, by.at),
    )
    history.note(connection, model, "created", by, version=number, after=source)
    for key, value in (tags or {}).items():
        _put_tag(connection, model, number, key, value, by)
    return version(connection, name, number)


def version(connection: Connection, name: str, number: int) -> ModelVersion:
    """Raises NoVersion, also where there is no such model."""
    if abs(number) < history.NEVER:
        for found in versions(connection, "m.name = ? AND v.version = ?", (name, number), limit=1):
            return found
    raise NoVersion(name, number)


def versions(
    connection: Connection,
    where: str = "TRUE",
    values: Sequence[Any] = (),
    *,
    order: str = "v.version DESC",
    limit: int = history.NEVER,
    offset: int = 0,
) -> list[ModelVersion]:
    """Those that are there, by a condition over `model_versions v` and `registered_models m`."""
    rows = connection.execute(
        f"SELECT {VERSION} FROM {VERSIONS} WHERE {THERE} AND {where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return _versions(connection, rows)


def latest(connection: Connection, models: Sequence[Model]) -> dict[str, list[ModelVersion]]:
    """The newest version of each model in each stage: name -> versions."""
    found: dict[str, list[ModelVersion]] = {model.name: [] for model in models}
    for some in _parts([model.id for model in models]):
        rows = connection.execute(
            f"SELECT {VERSION} FROM {VERSIONS} JOIN (SELECT model, max(version) AS version FROM model_versions"
            f" WHERE model IN ({_marks(some)}) AND removed IS NULL GROUP BY model, stage) newest"
            " ON newest.model = v.model AND newest.version = v.version ORDER BY v.model, v.version",
            some,
        ).fetchall()
        for one in _versions(connection, rows):
            found[one.name].append(one)
    return found


def describe_version(connection: Connection, name: str, number: int, text: str, by: By) -> ModelVersion:
    old = version(connection, name, number)
    model = _touch(connection, name, number, by, description=text)
    history.note(connection, model, "described", by, version=number, before=old.description, after=text)
    return version(connection, name, number)


def set_version_tag(connection: Connection, name: str, number: int, key: str, value: str, by: By) -> None:
    version(connection, name, number)
    _put_tag(connection, get(connection, name), number, key, value, by)


def delete_version_tag(connection: Connection, name: str, number: int, key: str, by: By) -> None:
    """A tag that is not there is no error."""
    old = version(connection, name, number)
    if key in old.tags:
        model = get(connection, name)
        connection.execute(
            "DELETE FROM model_version_tags WHERE model = ? AND version = ? AND key = ?", (model.id, number, key)
        )
        history.note(connection, model, "untagged", by, version=number, key=key, before=old.tags[key])


def set_stage(
    connection: Connection, name: str, number: int, stage: str, by: By, *, archive: bool = False
) -> ModelVersion:
    """Move a version to a stage; with `archive`, those that are in it go to Archived. Raises UsageError for a stage
    that there is not, and for one from which nothing can be archived."""
    wanted = canonical_stage(stage)
    if archive and wanted not in ACTIVE:
        raise UsageError(f"nothing is archived from the stage {wanted}", hint=f"one of {', '.join(ACTIVE)}")
    version(connection, name, number)
    others = versions(connection, "m.name = ? AND v.stage = ? AND v.version <> ?", (name, wanted, number))
    for other in others if archive else ():
        _move(connection, other, "Archived", by)
    model = _move(connection, version(connection, name, number), wanted, by)
    connection.execute("UPDATE registered_models SET changed = ? WHERE id = ?", (by.at, model.id))
    return version(connection, name, number)


def canonical_stage(text: str) -> str:
    """A stage whatever the case of its letters. Raises UsageError."""
    for stage in STAGES:
        if text.lower() == stage.lower():
            return stage
    raise UsageError(f"there is no stage {text!r}", hint=f"one of {', '.join(STAGES)}")


def remove_version(connection: Connection, name: str, number: int, by: By) -> ModelVersion:
    """The version is not found any more, and no alias means it; its number stays given."""
    old = version(connection, name, number)
    for alias in old.aliases:
        delete_alias(connection, name, alias, by)
    model = _touch(connection, name, number, by, removed=by.at)
    connection.execute("UPDATE registered_models SET changed = ? WHERE id = ?", (by.at, model.id))
    history.note(connection, model, "removed", by, version=number)
    return old


def restore_version(connection: Connection, name: str, number: int, by: By) -> ModelVersion:
    """Take the removal of a version back; aliases do not come back. Raises NoModel and NoVersion."""
    model = get(connection, name)
    found = connection.execute(
        "UPDATE model_versions SET removed = NULL, changed = ? WHERE model = ? AND version = ? AND removed IS NOT NULL"
        " RETURNING version",
        (by.at, model.id, number),
    ).fetchall()
    if not found:
        _was_collected(connection, name, number)
        raise NoVersion(name, number)
    history.note(connection, model, "restored", by, version=number)
    return version(connection, name, number)


# -- aliases -----------------------------------------------------------------------------------------------------


def set_alias(connection: Connection, name: str, alias: str, number: int, by: By) -> None:
    """Let an alias mean this version, and no other. Raises NoVersion."""
    version(connection, name, number)
    _point(connection, get(connection, name), alias, number, by, back=False)


def delete_alias(connection: Connection, name: str, alias: str, by: By) -> None:
    """An alias that is not there is no error. Raises NoModel."""
    model = get(connection, name)
    if alias in model.aliases:
        connection.execute("DELETE FROM model_aliases WHERE model = ? AND alias = ?", (model.id, alias))
        number = model.aliases[alias]
        history.note(connection, model, "unaliased", by, version=number, key=alias, before=str(number))


def by_alias(connection: Connection, name: str, alias: str) -> ModelVersion:
    """Raises NoModel and NoAlias."""
    model = get(connection, name)
    if alias not in model.aliases:
        raise NoAlias(name, alias)
    return version(connection, name, model.aliases[alias])


def alias_at(connection: Connection, name: str, alias: str, moment: int) -> int | None:
    """The number of the version that an alias meant at a time, in microseconds; None when it meant none. The model is
    the one that has that name, or had it last. Raises NoModel."""
    return history.version_meant(connection, once(connection, name), alias, moment)


def rollback(connection: Connection, name: str, alias: str, by: By) -> tuple[int, int]:
    """Let an alias mean the version again that it meant before: a change of its own, in the history as such. Done
    twice, it goes two back. Returns the number from before and that of now. Raises NotFound where there was none
    before that is still there."""
    model = get(connection, name)
    moves = history.alias_moves(connection, model, alias)
    now = model.aliases.get(alias, 0)
    for number in history.meant_before(moves):
        if number != now and versions(connection, "v.model = ? AND v.version = ?", (model.id, number), limit=1):
            _point(connection, model, alias, number, by, back=True)
            return now, number
    raise NotFound(
        f"{alias!r} of the model {name!r} meant no other version before that is still there",
        because=f"It means version {now}." if now else f"No version of {name!r} is called {alias!r}.",
        hint=f"bis model history {name}",
    )


# -- within ------------------------------------------------------------------------------------------------------


def _check_name(connection: Connection, name: str) -> None:
    if not is_model_name(name):
        raise UsageError(
            f"a model cannot be called {name!r}",
            because="Its name stands in references and paths: no / and no :, and not . or .. alone.",
            hint="bis model register churn RUN",
        )
    if models(connection, "m.name = ?", (name,), limit=1):
        raise AlreadyThere(f"a model called {name!r} is there already", hint=f"bis model show {name}")


def _given(connection: Connection, name: str) -> int:
    """The highest number that a version was given under a name, whatever has become of it."""
    ((given,),) = connection.execute(
        "SELECT max(given) FROM (SELECT coalesce(max(versions), 0) AS given FROM registered_models WHERE name = :name"
        " UNION ALL SELECT coalesce(max(version), 0) FROM registry_events WHERE name = :name) AS known",
        {"name": name},
    ).fetchall()
    return int(given)


def _was_collected(connection: Connection, name: str, number: int | None) -> None:
    """Raises Collected for a model or version that `bis gc` deleted."""
    same = "version IS NULL" if number is None else "version = ?"
    for (made,) in connection.execute(
        f"SELECT made FROM registry_events WHERE name = ? AND action = 'collected' AND {same}"
        " ORDER BY seq DESC LIMIT 1",
        (name,) if number is None else (name, number),
    ).fetchall():
        when = shown_time(made)
        raise (
            Collected("registered model", name, when)
            if number is None
            else Collected("model version", str(number), when, name)
        )


def _point(connection: Connection, model: Model, alias: str, number: int, by: By, *, back: bool) -> None:
    before = model.aliases.get(alias)
    if before == number:
        return
    connection.execute(
        "INSERT INTO model_aliases (model, alias, version) VALUES (?, ?, ?)"
        " ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version",
        (model.id, alias, number),
    )
    action: Any = "rolled back" if back else "alias"
    words = {"before": "" if before is None else str(before), "after": str(number)}
    history.note(connection, model, action, by, version=number, key=alias, **words)


def _move(connection: Connection, old: ModelVersion, stage: str, by: By) -> Model:
    model = _touch(connection, old.name, old.number, by, stage=stage)
    if old.stage != stage:
        history.note(connection, model, "stage", by, version=old.number, before=old.stage, after=stage)
    return model


def _touch(connection: Connection, name: str, number: int, by: By, **values: Any) -> Model:
    model = get(connection, name)
    settings = "".join(f", {key} = :{key}" for key in values)
    connection.execute(
        f"UPDATE model_versions SET changed = :at{settings} WHERE model = :model AND version = :number",
        {"at": by.at, "model": model.id, "number": number, **values},
    )
    return model


def _put_tag(connection: Connection, model: Model, number: int | None, key: str, value: str, by: By) -> None:
    table, where = "registered_model_tags", "model"
    bound: tuple[int, ...] = (model.id,)
    if number is not None:
        table, where, bound = "model_version_tags", "model, version", (model.id, number)
    own = " AND ".join(f"{column} = ?" for column in where.split(", "))
    old = connection.execute(f"SELECT value FROM {table} WHERE {own} AND key = ?", (*bound, key)).fetchall()
    if old == [(value,)]:
        return
    connection.execute(
        f"INSERT INTO {table} ({where}, key, value) VALUES ({'?, ' * len(bound)}?, ?)"
        f" ON CONFLICT ({where}, key) DO UPDATE SET value = excluded.value",
        (*bound, key, value),
    )
    before = old[0][0] if old else ""
    history.note(connection, model, "tagged", by, version=number, key=key, before=before, after=value)


def _models(connection: Connection, rows: Sequence[Any]) -> list[Model]:
    ids = [row[0] for row in rows]
    tags: dict[int, dict[str, str]] = {}
    aliases: dict[int, dict[str, int]] = {}
    for some in _parts(ids):
        for model, key, value in connection.execute(
            f"SELECT model, key, value FROM registered_model_tags WHERE model IN ({_marks(some)}) ORDER BY model, key",
            some,
        ).fetchall():
            tags.setdefault(model, {})[key] = value
        for model, alias, number in connection.execute(
            f"SELECT model, alias, version FROM model_aliases WHERE model IN ({_marks(some)}) ORDER BY model, alias",
            some,
        ).fetchall():
            aliases.setdefault(model, {})[alias] = number
    names = ("id", "name", "description", "made", "changed", "removed")
    return [
        Model(**dict(zip(names, row, strict=True)), tags=tags.get(row[0], {}), aliases=aliases.get(row[0], {}))
        for row in rows
    ]


def _versions(connection: Connection, rows: Sequence[Any]) -> list[ModelVersion]:
    """Versions with their tags and aliases; the last column is the id of the model."""
    names = tuple(name for name in ModelVersion.__struct_fields__ if name not in ("tags", "aliases"))
    tags: dict[tuple[int, int], dict[str, str]] = {}
    aliases: dict[tuple[int, int], list[str]] = {}
    wanted = {(row[-1], row[1]) for row in rows}
    for some in _parts(sorted(wanted)):
        pairs = ", ".join(["(?, ?)"] * len(some))
        bound = [value for pair in some for value in pair]
        for model, number, key, value in connection.execute(
            f"SELECT model, version, key, value FROM model_version_tags WHERE (model, version) IN (VALUES {pairs})",
            bound,
        ).fetchall():
            tags.setdefault((model, number), {})[key] = value
    for some in _parts(sorted({model for model, _ in wanted})):
        for model, number, alias in connection.execute(
            f"SELECT model, version, alias FROM model_aliases WHERE model IN ({_marks(some)})", some
        ).fetchall():
            aliases.setdefault((model, number), []).append(alias)
    return [
        ModelVersion(
            **dict(zip(names, row[:-1], strict=True)),
            tags=dict(sorted(tags.get((row[-1], row[1]), {}).items())),
            aliases=tuple(sorted(aliases.get((row[-1], row[1]), ()))),
        )
        for row in rows
    ]


def _parts(values: Sequence[Any]) -> Iterable[Any]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
