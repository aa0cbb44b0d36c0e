"""Which version of a registered model a person means."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bis.digest import readable
from bis.errors import NotFound
from bis.ledger import history, registry
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.moments import micros, stamp
from bis.ledger.refusals import NoSuch
from bis.ledger.runs import SqlLedger
from bis.nouns.model import Model, ModelVersion
from bis.nouns.reference import ModelReference
from bis.steps.home import Home


def resolve(connection: Connection, reference: ModelReference) -> ModelVersion:
    """Raises NotFound, with the nearest names."""
    name = reference.name
    if reference.moment:
        return _at_that_time(connection, reference)
    model = model_named(connection, name)
    if (which := reference.which) is not None:
        return registry.version(connection, name, which)
    if reference.alias:
        return registry.by_alias(connection, name, reference.alias)
    stage = registry.canonical_stage(reference.stage) if reference.stage else ""
    condition, values = ("m.name = ? AND v.stage = ?", (name, stage)) if stage else ("m.name = ?", (name,))
    for found in registry.versions(connection, condition, values, limit=1):
        return found
    where = f" in {stage}" if stage else ""
    raise NotFound(
        f"the model {readable(model.name)!r} has no version{where}", hint=f"bis model register {model.name} RUN"
    )


def _at_that_time(connection: Connection, reference: ModelReference) -> ModelVersion:
    model, moment = model_once(connection, reference.name), micros(reference.moment)
    which: registry.Which | None = reference.which
    if reference.alias:
        meant = history.version_meant(connection, model, reference.alias, moment)
        which = meant.record if meant else None
    elif which is None:
        stood = history.standing(connection, model, moment)
        which = stood.versions[-1] if stood and stood.versions else None
    if which is None:
        what = f"no version of {model.name!r}" + (f" was called {reference.alias!r}" if reference.alias else "")
        raise NotFound(f"{what} on {stamp(moment)}", hint=f"bis model history {model.name}")
    return registry.version(connection, model.name, which)


def model_named(connection: Connection, name: str) -> Model:
    """Raises NotFound, with the nearest names."""
    try:
        return registry.get(connection, name)
    except NoSuch as error:
        raise _nearest(connection, name) from error


def model_once(connection: Connection, name: str) -> Model:
    """As `model_named`; one that was removed or renamed is found, too, where no other has the name."""
    try:
        return registry.once(connection, name)
    except NoSuch as error:
        raise _nearest(connection, name) from error


def _nearest(connection: Connection, name: str) -> NotFound:
    from difflib import get_close_matches

    names = [model.name for model in registry.models(connection, limit=2000)]
    near = get_close_matches(name, names, 3)
    return NotFound(
        f"no registered model is called {readable(name)!r}",
        because=f"Names like it: {', '.join(map(readable, near))}." if near else "",
        hint=f"bis model show {near[0]}" if near else "bis model list" if names else "bis model register NAME RUN",
    )


def database_of(home: Home) -> Database:
    assert isinstance(home.ledger, SqlLedger)
    return home.ledger.database


def asking(home: Home) -> AbstractContextManager[Connection]:
    """For questions about models. Raises NotFound where there can be none yet."""
    database = database_of(home)
    if not database.there:
        raise NotFound("no models are registered here yet", hint="bis model register NAME RUN")
    return database.reading()
