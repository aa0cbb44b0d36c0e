"""One run: what went in, what came out, whether it repeats, and what is not known of it."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.errors import UsageError
from bis.ledger import tracked
from bis.ledger.runs import SqlLedger
from bis.server.desk import Desk
from bis.server.native import changing
from bis.server.native.looking import One
from bis.server.pages.charts import Charts, of_run
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Action, Page, Table
from bis.server.pages.usage import Used, usage_of
from bis.steps.known import Known, known


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    """Its id, the beginning of it, or a name."""


class OneRun(Known, kw_only=True):
    usage: list[Used]
    """What it used of the machine, over time."""
    charts: Charts


async def run(desk: Desk, asked: Asked) -> OneRun:
    return await desk.shelf.work(lambda: _run(desk, asked))


def _run(desk: Desk, asked: Asked) -> OneRun:
    ledger = SqlLedger(desk.database, False)
    found = known(ledger, run_meant(ledger, asked.id), desk.home)
    with desk.database.reading() as connection:
        charts = of_run(connection, tracked.get(connection, found.run.id))
    usage = usage_of(found.run, desk.home.store) if desk.home else []
    return OneRun(**msgspec.structs.asdict(found), usage=usage, charts=charts)


def table(found: OneRun) -> Table:
    return ("path", "digest", "size"), ((one.path, one.digest, one.size) for one in found.run.outputs)


# -- what is said of it later ----------------------------------------------------------------------------------------


class Said(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    note: str = ""
    tag: str = ""
    value: str = ""
    untag: str = ""
    name: str = ""


async def say(desk: Desk, asked: Said) -> str:
    """A note, a tag or another name. Raises UsageError for nothing."""
    if not (asked.note or asked.tag or asked.untag or asked.name):
        raise UsageError("nothing was said", hint="write a note, or a tag and its value")
    tags = {asked.tag: asked.value} if asked.tag else {}
    untag = [asked.untag] if asked.untag else []
    changed = changing.ChangedRun(id=asked.id, note=asked.note, tags=tags, untag=untag, name=asked.name)
    await changing.change_run(desk, changed)
    return f"/runs/{asked.id}"


class Removed(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    undo: bool = False


async def remove(desk: Desk, asked: Removed) -> str:
    await (changing.restore_run if asked.undo else changing.remove_run)(desk, One(asked.id))
    return f"/runs/{asked.id}"


PAGES: Final = (Page("/runs/{id}", "run", Asked, run, table),)
ACTIONS: Final[tuple[Action, ...]] = (
    Action("/runs/{id}/say", Said, say),
    Action("/runs/{id}/remove", Removed, remove),
)
