"""What was built becomes a fact: kept in the store, then told to the ledger. Killed in between, `reindex` finds it."""

from __future__ import annotations

import msgspec

from bis.digest import canonical
from bis.ledger import built as rows
from bis.ledger.database import Database
from bis.ledger.runs import SqlLedger
from bis.nouns.built import Built
from bis.steps.home import Home


def keep(built: Built, home: Home) -> None:
    """Note that a thing was built; the same, built or sent once more, is no new fact."""
    database = _database(home)
    if database.there:
        with database.reading() as connection:
            known = rows.by_digest(connection, built.digest)
        if any(_timeless(one) == _timeless(built) for one in known):
            return
    record = home.store.put_bytes(canonical(built), "record")
    home.store.flush()
    with database.writing() as connection:
        rows.put(connection, built, record)


def built_of(home: Home, run: str) -> list[Built]:
    """All records of what was built of a run, by its id."""
    database = _database(home)
    if not database.there:
        return []
    with database.reading() as connection:
        return rows.of_run(connection, run)


def with_digest(home: Home, digest: str) -> list[Built]:
    """All records of a thing, oldest first."""
    database = _database(home)
    if not database.there:
        return []
    with database.reading() as connection:
        return rows.by_digest(connection, digest)


def images_of(home: Home, *, run: str, model: str, identity: str) -> list[Built]:
    """All records of images of a model, or, without one, of a run, oldest first."""
    database = _database(home)
    if not database.there:
        return []
    with database.reading() as connection:
        found = rows.of_either(connection, run, model)
    # A model is the same under whatever name; where that is not known, only what was built under its own counts.
    alike = [one for one in found if one.identity == identity and (identity or one.model == model)]
    return [one for one in alike if one.kind == "image"]


def _database(home: Home) -> Database:
    assert isinstance(home.ledger, SqlLedger)
    return home.ledger.database


def _timeless(built: Built) -> Built:
    return msgspec.structs.replace(built, made="", user="")
