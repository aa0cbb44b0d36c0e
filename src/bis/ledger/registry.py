"""The model registry in the ledger. Each function is one question or change within the caller's transaction.

A change is an event (`ledger/model_events.py`), by which the tables are changed; none is made in another way.

A version is meant by its number or, where two people gave one number, by the record of the event that registered it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bis.digest import PREFIX, short
from bis.errors import AlreadyThere, NotFound, UsageError
from bis.ledger import history, model_events
from bis.ledger.connection import Connection
from bis.ledger.moments import NEVER, shown_time
from bis.ledger.refusals import Collected, NoSuch
from bis.nouns.model import ACTIVE, STAGES, Action, By, Model, ModelVersion, is_model_name

MODEL: Final = "m.id, m.name, m.description, m.made, m.changed, m.removed"
VERSION: Final = (
    "v.record, m.name, v.version, v.description, v.username, v.stage, v.source, v.storage, v.run, v.run_link,"
    " v.logged_model, v.status, v.status_message, v.made, v.changed, v.removed, v.model"
)
VERSIONS: Final = "model_versions v JOIN registered_models m ON m.id = v.model"
THERE: Final = "m.removed IS NULL AND v.removed IS NULL"
AT_ONCE: Final = 500
SHORTEST: Final = 4
"""Digits of a record that are enough to mean it."""
DIGITS: Final = frozenset("0123456789abcdef")
Which = int | str
"""Of the versions of a model: a number, or the first digits of a record behind `b3:`."""


class Place(NamedTuple):
    """Where a version stands among those of its model."""

    number: int
    made: int
    record: str


class NoModel(NoSuch):
    """No registered model has that name."""

    def __init__(self, name: str) -> None:
        super().__init__("registered model", name, hint="bis model list")


class NoVersion(NoSuch):
    """A registered model has no such version."""

    def __init__(self, name: str, number: int | str) -> None:
        super().__init__("model version", str(number), name, hint=f"bis model show {name}")
        self.what = f"the model {name!r} has no version {number}"


class SeveralVersions(UsageError):
    """What is typed means several versions: two people gave one number."""

    def __init__(self, name: str, which: Which, found: Sequence[ModelVersion]) -> None:
        told = [f"{one.exact}  {_from(one)}" for one in found]
        super().__init__(
            f"{len(found)} versions of the model {name!r} are called {which}",
            because="Their numbers were given apart from each other:\n" + "\n".join(told),
            hint=f"{found[0].exact}  means one; bis model rm {found[-1].exact}  removes one",
        )


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
    model_events.note(connection, None, "created", by, name=name, after=description)
    model = get(connection, name)
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
    limit: int = NEVER,
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
    for line in model_events.lines(connection, model):
        model_events.note(connection, model, "renamed", by, line=line, before=name, after=new)
    return get(connection, new)


def describe(connection: Connection, name: str, text: str, by: By) -> Model:
    model = get(connection, name)
    model_events.note(connection, model, "described", by, before=model.description, after=text)
    return get(connection, name)


def set_tag(connection: Connection, name: str, key: str, value: str, by: By) -> None:
    _put_tag(connection, get(connection, name), None, key, value, by)


def delete_tag(connection: Connection, name: str, key: str, by: By) -> None:
    """A tag that is not there is no error."""
    model = get(connection, name)
    if key in model.tags:
        model_events.note(connection, model, "untagged", by, key=key, before=model.tags[key])


def remove(connection: Connection, name: str, by: By) -> Model:
    """The model with its versions is not found any more; its history, and what is needed to restore it, stay."""
    model = get(connection, name)
    for line in model_events.lines(connection, model):
        model_events.note(connection, model, "removed", by, line=line)
    return model


def restore(connection: Connection, name: str, by: By) -> Model:
    """Take back the newest removal of a model of that name. Raises NoModel and AlreadyThere."""
    if models(connection, "m.name = ?", (name,), limit=1):
        raise AlreadyThere(f"a model called {name!r} is there", hint=f"bis model show {name}")
    found = connection.execute(
        f"SELECT {MODEL} FROM registered_models m WHERE name = :name AND removed ="
        " (SELECT max(removed) FROM registered_models WHERE name = :name) ORDER BY id",
        {"name": name},
    ).fetchall()
    removed = _models(connection, found)
    last = removed[-1:] if removed and not _went_together(connection, removed) else removed
    for model in last:
        model_events.note(connection, model, "restored", by)
    if last:
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
    # Who writes has the ledger to themselves until the commit: no number is given twice here.
    record = model_events.note(
        connection,
        model,
        "created",
        by,
        version=_given(connection, model) + 1,
        after=source,
        storage=storage,
        run=run,
        run_link=run_link,
        logged_model=logged_model,
        description=description,
    )
    made = version(connection, name, record)
    for key, value in (tags or {}).items():
        _put_tag(connection, model, made, key, value, by)
    return version(connection, name, record)


def version(connection: Connection, name: str, which: Which) -> ModelVersion:
    """Raises NoVersion, also where there is no such model, and SeveralVersions."""
    condition, values = _meant(which)
    found = versions(connection, f"m.name = ? AND {condition}", (name, *values))
    if len(found) > 1:
        raise SeveralVersions(name, which, found)
    for one in found:
        return one
    raise NoVersion(name, which)


def versions(
    connection: Connection,
    where: str = "TRUE",
    values: Sequence[Any] = (),
    *,
    order: str = "v.version DESC, v.made DESC, v.record",
    limit: int = NEVER,
    offset: int = 0,
) -> list[ModelVersion]:
    """Those that are there, by a condition over `model_versions v` and `registered_models m`."""
    rows = connection.execute(
        f"SELECT {VERSION} FROM {VERSIONS} WHERE {THERE} AND {where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return _versions(connection, rows)


def places(connection: Connection, model: Model) -> list[Place]:
    """Of all versions of a model that are there, in the order of `versions`: little, of which some can be chosen."""
    rows = connection.execute(
        f"SELECT v.version, v.made, v.record FROM {VERSIONS} WHERE {THERE} AND m.id = ?"
        " ORDER BY v.version DESC, v.made DESC, v.record",
        (model.id,),
    ).fetchall()
    return [Place(*row) for row in rows]


def latest(connection: Connection, models: Sequence[Model]) -> dict[str, list[ModelVersion]]:
    """The newest version of each model in each stage: name -> versions."""
    found: dict[str, list[ModelVersion]] = {model.name: [] for model in models}
    for some in _parts([model.id for model in models]):
        rows = connection.execute(
            f"SELECT {VERSION} FROM {VERSIONS} JOIN (SELECT record, row_number() OVER (PARTITION BY model, stage"
            " ORDER BY version DESC, made DESC, record) AS place FROM model_versions"
            f" WHERE model IN ({_marks(some)}) AND removed IS NULL) newest"
            " ON newest.record = v.record AND newest.place = 1 ORDER BY v.model, v.version",
            some,
        ).fetchall()
        for one in _versions(connection, rows):
            found[one.name].append(one)
    return found


def describe_version(connection: Connection, name: str, which: Which, text: str, by: By) -> ModelVersion:
    old, model = version(connection, name, which), get(connection, name)
    model_events.note(connection, model, "described", by, about=old, before=old.description, after=text)
    return version(connection, name, old.record)


def set_version_tag(connection: Connection, name: str, which: Which, key: str, value: str, by: By) -> None:
    of = version(connection, name, which)
    _put_tag(connection, get(connection, name), of, key, value, by)


def delete_version_tag(connection: Connection, name: str, which: Which, key: str, by: By) -> None:
    """A tag that is not there is no error."""
    old = version(connection, name, which)
    if key in old.tags:
        model_events.note(connection, get(connection, name), "untagged", by, about=old, key=key, before=old.tags[key])


def set_stage(
    connection: Connection, name: str, which: Which, stage: str, by: By, *, archive: bool = False
) -> ModelVersion:
    """Move a version to a stage; with `archive`, those that are in it go to Archived. Raises UsageError for a stage
    that there is not, and for one from which nothing can be archived."""
    wanted = canonical_stage(stage)
    if archive and wanted not in ACTIVE:
        raise UsageError(f"nothing is archived from the stage {wanted}", hint=f"one of {', '.join(ACTIVE)}")
    found = version(connection, name, which)
    others = versions(connection, "m.name = ? AND v.stage = ? AND v.record <> ?", (name, wanted, found.record))
    for other in others if archive else ():
        _move(connection, other, "Archived", by)
    _move(connection, found, wanted, by)
    return version(connection, name, found.record)


def canonical_stage(text: str) -> str:
    """A stage whatever the case of its letters. Raises UsageError."""
    for stage in STAGES:
        if text.lower() == stage.lower():
            return stage
    raise UsageError(f"there is no stage {text!r}", hint=f"one of {', '.join(STAGES)}")


def remove_version(connection: Connection, name: str, which: Which, by: By) -> ModelVersion:
    """The version is not found any more, and no alias means it; its number stays given."""
    old = version(connection, name, which)
    for alias in old.aliases:
        delete_alias(connection, name, alias, by)
    model_events.note(connection, get(connection, name), "removed", by, about=old)
    return old


def restore_version(connection: Connection, name: str, which: Which, by: By) -> ModelVersion:
    """Take the removal of a version back, with the aliases that it took, as far as no other version has got them since.
    Raises NoModel, NoVersion, SeveralVersions."""
    model = get(connection, name)
    condition, values = _meant(which)
    rows = connection.execute(
        f"SELECT {VERSION} FROM {VERSIONS} WHERE v.model = ? AND v.removed IS NOT NULL AND {condition}",
        (model.id, *values),
    ).fetchall()
    found = _versions(connection, rows)
    if len(found) > 1:
        raise SeveralVersions(name, which, found)
    if not found:
        if isinstance(which, int):
            _was_collected(connection, name, which)
        raise NoVersion(name, which)
    taken = history.taken_aliases(connection, model, found[0].record)
    model_events.note(connection, model, "restored", by, about=found[0])
    for alias in sorted(set(taken) - set(model.aliases)):
        set_alias(connection, name, alias, found[0].record, by)
    return version(connection, name, found[0].record)


def removed_version(connection: Connection, record: str, until: int) -> Iterator[tuple[ModelVersion, Model]]:
    """A version that was removed by a time, and its model; nothing where it is there."""
    rows = connection.execute(
        f"SELECT {VERSION} FROM {VERSIONS} WHERE v.record = ? AND v.removed <= ?", (record, until)
    ).fetchall()
    for one in _versions(connection, rows):
        owners = connection.execute(f"SELECT {MODEL} FROM registered_models m WHERE m.id = ?", (rows[0][-1],))
        yield one, _models(connection, owners.fetchall())[0]


# -- aliases -----------------------------------------------------------------------------------------------------


def set_alias(connection: Connection, name: str, alias: str, which: Which, by: By) -> None:
    """Let an alias mean this version, and no other. Raises NoVersion and SeveralVersions."""
    found = version(connection, name, which)
    _point(connection, get(connection, name), alias, found, by, back=False)


def delete_alias(connection: Connection, name: str, alias: str, by: By) -> None:
    """An alias that is not there is no error. Raises NoModel."""
    model = get(connection, name)
    if alias in model.aliases:
        old = by_alias(connection, name, alias)
        model_events.note(connection, model, "unaliased", by, about=old, key=alias, before=str(old.number))


def by_alias(connection: Connection, name: str, alias: str) -> ModelVersion:
    """Raises NoModel and NoAlias."""
    model = get(connection, name)
    for (record,) in connection.execute(
        "SELECT record FROM model_aliases WHERE model = ? AND alias = ?", (model.id, alias)
    ).fetchall():
        return version(connection, name, record)
    raise NoAlias(name, alias)


def rollback(connection: Connection, name: str, alias: str, by: By) -> tuple[int, int]:
    """Let an alias mean the version again that it meant before: a change of its own, in the history as such. Done
    twice, it goes two back. Returns the number from before and that of now. Raises NotFound where there was none
    before that is still there."""
    model = get(connection, name)
    now = by_alias(connection, name, alias) if alias in model.aliases else None
    if found := version_before(connection, model, alias):
        _point(connection, model, alias, found, by, back=True)
        return now.number if now else 0, found.number
    raise NotFound(
        f"{alias!r} of the model {name!r} meant no other version before that is still there",
        because=f"It means version {now.number}." if now else f"No version of {name!r} is called {alias!r}.",
        hint=f"bis model history {name}",
    )


def version_before(connection: Connection, model: Model, alias: str) -> ModelVersion | None:
    """The version that a rollback lets an alias mean again: the last one before that is still there; None: none is."""
    now = by_alias(connection, model.name, alias) if alias in model.aliases else None
    for record in history.meant_before(history.alias_moves(connection, model, alias)):
        found = versions(connection, "v.model = ? AND v.record = ?", (model.id, record), limit=1)
        if found and (now is None or record != now.record):
            return found[0]
    return None


# -- within ------------------------------------------------------------------------------------------------------


def _meant(which: Which) -> tuple[str, tuple[int | str, ...]]:
    """A condition over `model_versions v`."""
    if isinstance(which, int):
        return ("v.version = ?", (which,)) if abs(which) < NEVER else ("FALSE", ())
    digits = short(which, 64)
    if len(digits) < SHORTEST or not set(digits) <= DIGITS:
        return "FALSE", ()
    return "v.record >= ? AND v.record < ?", (f"{PREFIX}{digits}", f"{PREFIX}{digits}g")


def _check_name(connection: Connection, name: str) -> None:
    if not is_model_name(name):
        raise UsageError(
            f"a model cannot be called {name!r}",
            because="Its name stands in references and paths: no / and no :, and not . or .. alone.",
            hint="bis model register churn RUN",
        )
    if models(connection, "m.name = ?", (name,), limit=1):
        raise AlreadyThere(f"a model called {name!r} is there already", hint=f"bis model show {name}")


def _given(connection: Connection, model: Model) -> int:
    """The highest number that a version was given in this model or under its name, whatever has become of it."""
    ((given,),) = connection.execute(
        "SELECT max(given) FROM (SELECT coalesce(max(version), 0) AS given FROM registry_events WHERE model = ?"
        " UNION ALL SELECT coalesce(max(version), 0) FROM registry_events WHERE name = ?) AS known",
        (model.id, model.name),
    ).fetchall()
    return int(given)


def _went_together(connection: Connection, removed: Sequence[Model]) -> bool:
    """Whether these were one model when they were removed at one time, by one person."""
    marks = _marks(removed)
    found = connection.execute(
        f"SELECT DISTINCT username, reason FROM registry_events WHERE model IN ({marks}) AND version IS NULL"
        " AND action = 'removed' AND made = ?",
        (*(model.id for model in removed), removed[0].removed),
    ).fetchall()
    return len(found) == 1


def _from(one: ModelVersion) -> str:
    """Where a version comes from, for who must choose."""
    run = f"run {one.run[:8]}" if one.run else one.source
    return f"{run}, {shown_time(one.made)}" + (f", by {one.user}" if one.user else "")


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


def _point(connection: Connection, model: Model, alias: str, found: ModelVersion, by: By, *, back: bool) -> None:
    before = by_alias(connection, model.name, alias) if alias in model.aliases else None
    if before and before.record == found.record:
        return
    action: Action = "rolled back" if back else "alias"
    was = str(before.number) if before else ""
    model_events.note(connection, model, action, by, about=found, key=alias, before=was, after=str(found.number))


def _move(connection: Connection, old: ModelVersion, stage: str, by: By) -> None:
    if old.stage != stage:
        model = get(connection, old.name)
        model_events.note(connection, model, "stage", by, about=old, before=old.stage, after=stage)


def _put_tag(connection: Connection, model: Model, version: ModelVersion | None, key: str, value: str, by: By) -> None:
    has = (version or model).tags.get(key)
    if has != value:
        model_events.note(connection, model, "tagged", by, about=version, key=key, before=has or "", after=value)


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
    tags: dict[str, dict[str, str]] = {}
    aliases: dict[str, list[str]] = {}
    for some in _parts([row[0] for row in rows]):
        for record, key, value in connection.execute(
            f"SELECT record, key, value FROM model_version_tags WHERE record IN ({_marks(some)})", some
        ).fetchall():
            tags.setdefault(record, {})[key] = value
    for some in _parts(sorted({row[-1] for row in rows})):
        for alias, record in connection.execute(
            f"SELECT alias, record FROM model_aliases WHERE model IN ({_marks(some)})", some
        ).fetchall():
            aliases.setdefault(record, []).append(alias)
    return [
        ModelVersion(
            **dict(zip(names, row[:-1], strict=True)),
            tags=dict(sorted(tags.get(row[0], {}).items())),
            aliases=tuple(sorted(aliases.get(row[0], ()))),
        )
        for row in rows
    ]


def _parts(values: Sequence[Any]) -> Iterable[Any]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
