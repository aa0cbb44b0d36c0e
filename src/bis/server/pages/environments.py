"""Environments: which there were, what is in one, which runs had it, and what is different in another."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.digest import PREFIX
from bis.errors import BisError, NotFound, UsageError
from bis.ledger import grounds
from bis.ledger.grounds import Ground
from bis.ledger.runs import SqlLedger
from bis.nouns.part import Change, Part
from bis.parts import environment as kind
from bis.parts import pylock
from bis.server.desk import Desk
from bis.server.pages.clock import until
from bis.server.pages.page import Page, Table
from bis.steps.abreast import Head, head

LISTED: Final = 100
RUNS: Final = 20


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    asof: str = ""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One environment, in a line."""

    digest: str
    summary: str
    runs: int
    first: int
    last: int
    newest: Head


class Environments(msgspec.Struct, kw_only=True):
    environments: list[Known]
    total: int


class One(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    against: str = ""
    """The digest of another one, which it is compared with."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    origin: str
    used: bool | None
    """Whether the newest run opened files of it; None: not known."""


class Environment(msgspec.Struct, kw_only=True):
    digest: str
    part: Part
    packages: list[Package]
    missing: str
    """Why the packages are not listed; empty where they are."""
    runs: list[Head]
    total: int
    others: list[Known]
    against: str = ""
    changes: list[Change] = []


async def environments(desk: Desk, asked: Asked) -> Environments:
    moment = until(asked.asof)

    def ask() -> Environments:
        with desk.database.reading() as connection:
            found = grounds.environments(connection, limit=LISTED, until=moment)
            total = grounds.environments_there(connection, until=moment)
        ledger = SqlLedger(desk.database, False)
        return Environments(environments=[_known(ledger, one) for one in found], total=total)

    return await desk.shelf.work(ask)


def _known(ledger: SqlLedger, ground: Ground) -> Known:
    run = ledger.get(ground.newest)
    part = run.parts.get("environment")
    return Known(
        digest=ground.name,
        summary=part.summary if part else "",
        runs=ground.runs,
        first=ground.first,
        last=ground.last,
        newest=head(run),
    )


async def environment(desk: Desk, asked: One) -> Environment:
    return await desk.shelf.work(lambda: _environment(desk, asked))


def _environment(desk: Desk, asked: One) -> Environment:
    ledger = SqlLedger(desk.database, False)
    digest = _meant(desk, asked.digest)
    with desk.database.reading() as connection:
        total, ids = grounds.of_environment(connection, digest, limit=RUNS)
        others = grounds.environments(connection, limit=LISTED, until=until(""))
    runs = [ledger.get(id) for id in ids]
    part = runs[0].parts["environment"]
    packages, missing = _packages(desk, part)
    found = Environment(
        digest=digest,
        part=part,
        packages=packages,
        missing=missing,
        runs=list(map(head, runs)),
        total=total,
        others=[_known(ledger, one) for one in others if one.name != digest],
    )
    if asked.against:
        found.against = _meant(desk, asked.against)
        with desk.database.reading() as connection:
            _, ids = grounds.of_environment(connection, found.against, limit=1)
        found.changes = kind.compare(ledger.get(ids[0]).parts["environment"], part, desk.store)
    return found


def _meant(desk: Desk, text: str) -> str:
    """The digest that begins so. Raises NotFound and UsageError."""
    beginning = text if text.startswith(PREFIX) else PREFIX + text
    with desk.database.reading() as connection:
        found = grounds.environments_like(connection, beginning)
    if not found:
        raise NotFound(f"no run had an environment {text!r}", hint="bis log --columns name,environment")
    if len(found) > 1:
        raise UsageError(f"several environments begin with {text!r}: {', '.join(found)}")
    return found[0]


def _packages(desk: Desk, part: Part) -> tuple[list[Package], str]:
    lock = part.trees.get("lock")
    if not lock:
        return [], "none were recorded"
    used = part.facts.get("used")
    try:
        text = desk.store.get_bytes(lock).decode()
        found = pylock.read(text).packages
    except (BisError, ValueError) as error:
        return [], f"their lock cannot be read: {error.what if isinstance(error, BisError) else error}"
    return [
        Package(
            name=one.name,
            version=one.version,
            origin=one.url or one.source or one.origin,
            used=one.name in used if isinstance(used, list) else None,
        )
        for one in found
    ], ""


def table(found: Environments) -> Table:
    return ("digest", "summary", "runs", "newest"), (
        (one.digest, one.summary, one.runs, one.newest.name) for one in found.environments
    )


def packages_table(found: Environment) -> Table:
    return ("name", "version", "origin", "used"), (
        (one.name, one.version, one.origin, "" if one.used is None else one.used) for one in found.packages
    )


PAGES: Final = (
    Page("/environments", "environments", Asked, environments, table),
    Page("/environments/{digest}", "environment", One, environment, packages_table),
)
