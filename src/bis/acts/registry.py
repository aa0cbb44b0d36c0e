"""The registry from the shell: register a version of a model from a run, let aliases mean it, promote and roll back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bis.digest import readable
from bis.errors import NotFound, UsageError
from bis.ledger import history, locations, registry, tracked
from bis.ledger.connection import Connection
from bis.ledger.moments import micros
from bis.ledger.refusals import NoSuch
from bis.nouns.artifact import SCHEME, path_of
from bis.nouns.model import By, Event, Model, ModelVersion, Standing
from bis.nouns.reference import ModelReference
from bis.nouns.run import Run
from bis.nouns.tracking import TrackedRun
from bis.settings import Promotion
from bis.steps import promotion
from bis.steps.here import now, user_here
from bis.steps.home import Home
from bis.steps.model_identity import TAG as IDENTITY
from bis.steps.model_identity import identity_of
from bis.steps.model_place import files_at, files_of, untold
from bis.steps.models import asking, database_of, model_named, model_once, resolve
from bis.steps.promotion import Promoted
from bis.steps.recognising import Recognised, models_in
from bis.steps.registering import registering


class Shown(NamedTuple):
    """A registered model with its versions, and the runs that made them, as far as they are recorded here."""

    model: Model
    versions: list[ModelVersion]
    runs: dict[str, TrackedRun]
    """By id."""


class Made(NamedTuple):
    """What a version is made of."""

    version: ModelVersion
    run: TrackedRun | None
    """None: its run is not recorded here, or none is known."""
    record: Run | None
    """Of a sealed run."""


def by_here(reason: str = "") -> By:
    return By(user_here(), micros(now()), reason)


# -- looking -----------------------------------------------------------------------------------------------------


def models(home: Home) -> list[Shown]:
    """All registered models, by name, each with its newest versions by stage and those that aliases mean."""
    database = database_of(home)
    if not database.there:
        return []
    with database.reading() as connection:
        found = registry.models(connection)
        newest = registry.latest(connection, found)
        return [Shown(model, newest[model.name], {}) for model in found]


def show(home: Home, name: str) -> Shown:
    """Raises NotFound, with the nearest names."""
    with asking(home) as connection:
        model = model_named(connection, name)
        versions = registry.versions(connection, "m.name = ?", (name,))
        runs = _runs(connection, [one.run for one in versions])
        return Shown(model, versions, runs)


def standing(home: Home, name: str, moment: str) -> Standing:
    """How a model stood at a time. Raises NotFound where there was none."""
    with asking(home) as connection:
        model = model_once(connection, name)
        found = history.standing(connection, model, micros(moment))
        if found is None:
            raise NotFound(f"the model {readable(name)!r} was not there on {moment}", hint=f"bis model history {name}")
        return found


def find(home: Home, reference: ModelReference) -> ModelVersion:
    """The version that a person means; of a model as a whole, the newest. Raises NotFound."""
    with asking(home) as connection:
        return resolve(connection, reference)


def made_of(home: Home, version: ModelVersion) -> Made:
    """The run of a version, with its parts where it is sealed."""
    with asking(home) as connection:
        run = _runs(connection, [version.run]).get(version.run)
    return Made(version, run, home.ledger.get(version.run) if run and run.sealed else None)


def happened(home: Home, name: str, limit: int) -> list[Event]:
    """The history of a model, newest first; of one that was removed, too."""
    with asking(home) as connection:
        return history.events(connection, model_once(connection, name), limit=limit)


def _runs(connection: Connection, ids: Sequence[str]) -> dict[str, TrackedRun]:
    found = {}
    for id in dict.fromkeys(filter(None, ids)):
        try:
            found[id] = tracked.get(connection, id)
        except NoSuch:
            continue
    return found


# -- registering -------------------------------------------------------------------------------------------------


class Registered(NamedTuple):
    version: ModelVersion
    new: bool
    """Whether the model was made with it."""
    already: bool = False
    """The same model has been this version before: nothing was added."""


def register(
    home: Home,
    name: str,
    run: Run,
    path: str,
    by: By,
    *,
    description: str = "",
    tags: dict[str, str] | None = None,
    again: bool = False,
) -> Registered:
    """A version of `name` from what a run made: a file or folder of its outputs. A model that there is not yet is made
    with it. What is a version of it already is not made another, unless `again`: its tags are set on that one. Raises
    UsageError where it cannot be known which output is meant."""
    models = models_in(files_of(home, run), home.store)
    with database_of(home).reading() as connection:
        source = _source(connection, run, path, models)
        files = files_at(connection, source.storage) if source.storage else {}
    if files and not isinstance(files, Path):
        models = models_in(files, home.store)
    told, path = dict(tags or {}), path or source.path
    if found := next((one for one in models if one.path == source.path), None):
        with suppress(NotFound):  # it is not here as a whole: whoever has it may know what it is
            told |= {IDENTITY: identity_of(found, home.store)}
    known = "" if again else untold(home, name, told.get(IDENTITY, ""))
    with registering(home) as connection:
        if not again and (same := _same(connection, name, told.get(IDENTITY, ""), known)):
            for key, value in told.items():
                registry.set_version_tag(connection, name, same.record, key, value, by)
            return Registered(registry.version(connection, name, same.record), new=False, already=True)
        return Registered(*register_within(connection, name, run, path, by, description, told))


def _same(connection: Connection, name: str, identity: str, known: str) -> ModelVersion | None:
    """The newest version of a model that has this identity, or the record `known`."""
    if not identity:
        return None
    for one in registry.versions(connection, "m.name = ?", (name,)):
        if one.tags.get(IDENTITY) == identity or (known and one.record == known):
            return one
    return None


def register_within(
    connection: Connection,
    name: str,
    run: Run,
    path: str,
    by: By,
    description: str = "",
    tags: dict[str, str] | None = None,
) -> tuple[ModelVersion, bool]:
    """The version that is added, and whether its model is new; within a transaction. What it is is not looked at."""
    source = _source(connection, run, path)
    new = not registry.models(connection, "m.name = ?", (name,), limit=1)
    if new:
        registry.create(connection, name, by)
    added = registry.add_version(
        connection,
        name,
        by,
        source=source.uri,
        storage=source.storage,
        run=run.id,
        logged_model=source.logged_model,
        description=description,
        tags=tags,
    )
    return added, new


class _Source(NamedTuple):
    """Where a version is registered from."""

    uri: str
    storage: str = ""
    logged_model: str = ""
    path: str = ""
    """Below what the run made."""


def _source(connection: Connection, run: Run, path: str, models: Sequence[Recognised] = ()) -> _Source:
    """An output of a sealed run; of a run that a client logged, a logged model by its name, else an artifact. Without a
    path, the only one of the models that it made."""
    if run.outputs:
        path = models[0].path if not path and len(models) == 1 else path
        chosen = _output(run, path, models)
        return _Source(f"runs:/{run.id}/{chosen}", path=chosen)
    wanted = path.strip("/")
    logged = connection.execute(
        "SELECT id, name FROM logged_models WHERE run = ? AND removed IS NULL ORDER BY seq DESC", (run.id,)
    ).fetchall()
    meant = [id for id, name in logged if wanted in (name, id) or (not wanted and len(logged) == 1)]
    if meant:
        return _Source(f"models:/{meant[0]}", locations.of_model(connection, meant[0]), meant[0])
    chosen = _artifact(connection, run, models[0].path if not wanted and len(models) == 1 else wanted)
    return _Source(f"runs:/{run.id}/{chosen}", path=chosen)


def _output(run: Run, path: str, models: Sequence[Recognised] = ()) -> str:
    """The file or folder among the outputs of a run. Without a path, the only file that can be meant."""
    files = [path for path, output in locations.made(run).items() if not output.is_log]
    wanted = path.strip("/")
    if wanted:
        if any(file == wanted or file.startswith(f"{wanted}/") for file in files):
            return wanted
        from difflib import get_close_matches

        near = get_close_matches(wanted, files, 3)
        raise NotFound(
            f"{readable(run.name)} made nothing called {readable(wanted)}",
            because=f"Names like it: {', '.join(map(readable, near))}." if near else "",
            hint=f"bis show {run.id[:8]} --outputs",
        )
    likely = [one.path for one in models] or [file for file in files if not _is_metrics(file)]
    if len(likely) == 1:
        return likely[0]
    told = ", ".join(map(readable, likely[:5])) + (f", and {len(likely) - 5} more" if len(likely) > 5 else "")
    raise UsageError(
        f"which output of {readable(run.name)} is the model?",
        because=(f"It made the models {told}." if models else f"It made {told}.") if likely else "It made no files.",
        hint=f"--path {likely[0]}" if likely else f"bis show {run.id[:8]}",
    )


def _artifact(connection: Connection, run: Run, path: str) -> str:
    """A file or folder that a client logged. What lies elsewhere than with this ledger is not looked for."""
    if not path:
        raise UsageError(f"which artifact of {readable(run.name)} is the model?", hint="--path model")
    uri = locations.of_run(connection, run.id)
    if not uri.startswith(f"{SCHEME}:"):
        return path
    folder = path_of(uri)
    if not locations.listing(connection, f"{folder}/{path}"):
        try:
            locations.get(connection, f"{folder}/{path}")
        except NotFound:
            there = ", ".join(readable(one.name) for one in locations.listing(connection, folder))
            raise NotFound(
                f"{readable(run.name)} has no artifact {readable(path)}",
                because=f"It has {there}." if there else "It has none.",
                hint="--path PATH  names one",
            ) from None
    return path


def _is_metrics(file: str) -> bool:
    return file.rpartition("/")[2].startswith("metrics.")


# -- aliases -----------------------------------------------------------------------------------------------------


def alias(home: Home, reference: ModelReference, name: str, by: By) -> ModelVersion:
    """Let an alias mean this version, whatever the conditions of a promotion, unless the settings enforce them. Raises
    Refusal then."""
    check_alias(name)
    with registering(home) as connection:
        found = resolve(connection, reference)
        set_ = promotion.set_alias(connection, home.settings.promotion, found, name, by)
    return promotion.done(set_).version


def unalias(home: Home, model: str, alias: str, by: By) -> None:
    """Raises NotFound where there is no such alias."""
    with registering(home) as connection:
        if alias not in model_named(connection, model).aliases:
            raise registry.NoAlias(model, alias)
        registry.delete_alias(connection, model, alias, by)


def rollback(home: Home, model: str, alias: str, by: By) -> tuple[int, ModelVersion]:
    """The number that the alias meant, and the version that it means again."""
    with registering(home) as connection:
        model_named(connection, model)
        before, _ = registry.rollback(connection, model, alias, by)
        return before, registry.by_alias(connection, model, alias)


def remove(home: Home, reference: ModelReference, by: By, *, undo: bool = False) -> tuple[str, tuple[str, ...]]:
    """Remove a version, or a model with all of them; or take that back. Returns what it was, and which aliases of a
    version went or came back with it."""
    with registering(home) as connection:
        if not reference.is_version:
            if not undo:
                model_named(connection, reference.name)
            (registry.restore if undo else registry.remove)(connection, reference.name, by)
            return f"models:/{reference.name}", ()
        if undo and reference.which is None:
            raise UsageError(
                f"{reference.text!r} names no version by its number", hint=f"bis model rm --undo {reference.name}/3"
            )
        if undo:
            found = registry.restore_version(connection, reference.name, reference.which or 0, by)
        else:
            found = resolve(connection, reference)
            registry.remove_version(connection, found.name, found.record, by)
        return found.reference, found.aliases


def check_alias(text: str) -> None:
    """Raises UsageError for what could not be typed in a reference, or means something else there."""
    import re

    if not re.fullmatch(r"[\w-]{1,255}", text):
        raise UsageError(f"{text!r} cannot be an alias", because="Letters, digits, - and _.", hint="champion")
    if text.lower() == "latest" or re.fullmatch(r"[vV]\d+", text):
        raise UsageError(f"{text!r} means something else in references already", hint="champion")


# -- promotion ---------------------------------------------------------------------------------------------------


def promote(
    home: Home, reference: ModelReference, alias: str, asked: Promotion, by: By, *, force: bool = False
) -> Promoted:
    """Let an alias mean this version if all conditions hold (`steps/promotion.py`). Raises Refusal, with the values of
    both sides; that it was tried is in the history then."""
    check_alias(alias)
    with registering(home) as connection:
        found = resolve(connection, reference)
        done = promotion.promote(connection, home.settings.promotion, found, alias, asked, by, force=force)
    return promotion.done(done)
