"""Now, for the engineer on call: what is live, what changed last, what went wrong, and what to type."""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

from bis.errors import NotFound
from bis.ledger import history, lately, registry
from bis.ledger.connection import Connection
from bis.ledger.lately import Doubt, Failed
from bis.ledger.moments import NEVER
from bis.nouns.model import CHAMPION, Event
from bis.server.desk import Desk
from bis.server.pages import machines, models
from bis.server.pages.clock import until
from bis.server.pages.machines import Machine
from bis.server.pages.models import Meant
from bis.server.pages.page import Page, Table

EVENTS: Final = 10
TROUBLES: Final = 5


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    asof: str = ""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A version that an alias means."""

    model: str
    meant: Meant
    run: str
    """The name of the run that made it; empty where it is not recorded here."""
    back: int | None
    """The version that the alias would mean after a rollback."""
    rollback: str
    """The command; empty where there is nothing to roll back to, or where another moment is looked at."""
    look: list[str]
    """Commands that tell more."""


class Now(msgspec.Struct, kw_only=True):
    asof: str
    live: list[Live]
    models: int
    """That are registered, in use or not."""
    events: list[Event]
    failed: list[Failed]
    doubts: list[Doubt]
    drifted: list[Machine]
    looked: int
    """Newest runs among which those that failed were looked for."""


async def now(desk: Desk, asked: Asked) -> Now:
    moment = until(asked.asof)
    lines = (await models.models(desk, models.Asked(asof=asked.asof))).models
    hosts = (await machines.machines(desk, machines.Asked(asof=asked.asof))).machines

    def ask(connection: Connection) -> Now:
        return Now(
            asof=asked.asof,
            live=[_live(connection, line.name, meant, moment) for line in lines for meant in line.aliases],
            models=len(lines),
            events=history.newest(connection, until=moment, limit=EVENTS),
            failed=lately.failed(connection, until=moment, limit=TROUBLES),
            doubts=lately.doubts(connection, until=moment, limit=TROUBLES),
            drifted=[one for one in hosts if one.standing == "drifted"],
            looked=lately.NEAR,
        )

    return await desk.search(ask)


def _live(connection: Connection, model: str, meant: Meant, moment: int) -> Live:
    back = _back(connection, model, meant.alias) if moment == NEVER else None
    names = connection.execute("SELECT name FROM runs WHERE id = ?", (meant.run,)).fetchall()
    name, alias = shlex.quote(model), "" if meant.alias == CHAMPION else f" --alias {shlex.quote(meant.alias)}"
    look = [f"bis model history {name}"]
    if back is not None:
        look.append(f"bis model diff {shlex.quote(f'{model}/{back}')} {shlex.quote(f'{model}/{meant.number}')}")
    if names:
        look.append(f"bis repeat {meant.run}")
    return Live(
        model=model,
        meant=meant,
        run=names[0][0] if names else "",
        back=back,
        rollback=f"bis model rollback {name}{alias}" if back is not None else "",
        look=look,
    )


def _back(connection: Connection, model: str, alias: str) -> int | None:
    try:
        found = registry.version_before(connection, registry.get(connection, model), alias)
    except NotFound:
        return None
    return found.number if found else None


def table(found: Now) -> Table:
    return ("model", "alias", "version", "verdict", "since", "by", "rollback"), (
        (one.model, one.meant.alias, one.meant.number, one.meant.verdict, one.meant.since, one.meant.by, one.rollback)
        for one in found.live
    )


PAGES: Final = (Page("/now", "now", Asked, now, table),)
