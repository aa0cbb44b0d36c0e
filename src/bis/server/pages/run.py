"""One run: what went in, what came out, whether it repeats, and what is not known of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bis.acts.data import versions_with
from bis.errors import UsageError
from bis.ledger import tracked
from bis.ledger.connection import Connection
from bis.ledger.moments import micros
from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run
from bis.server.desk import Desk
from bis.server.native import changing
from bis.server.native.looking import One
from bis.server.pages.charts import Charts, of_run
from bis.server.pages.data_between import Place, places_of
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Action, Page, Table
from bis.server.pages.usage import Used, usage_of
from bis.steps.abreast import Head, head
from bis.steps.home import Home
from bis.steps.known import Known, known

INPUTS: Final = 100
"""Files that went in, of which it is said where they are kept."""
COMMON: Final = {
    "command": "command_key = (SELECT command_key FROM runs WHERE id = ?) AND record <> '' AND repeats = ''",
    "experiment": "experiment = (SELECT experiment FROM runs WHERE id = ?) AND tracked = 1",
    "": "id <> ? AND repeats = '' AND (tracked = 0 OR parent = '')",
}
"""What a run has in common with those that it is compared with, and which of them are meant."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    """Its id, the beginning of it, or a name."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file that went in."""

    path: str
    size: int
    digest: str
    how: str
    """How it came to be known: declared, read, …"""
    kept: bool
    places: list[Place]
    """Versions of data that hold it."""


class OneRun(Known, kw_only=True):
    before: Head | None
    """The run before it, of the same command or experiment where there is one."""
    common: str
    """What it has in common with that: command, experiment or nothing."""
    judged: bool
    """Whether it is a repeat, and there is a verdict on it."""
    inputs: list[Input]
    """The first of them."""
    inputs_there: int
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
        before, common = _before(connection, found.run)
    inputs = _inputs(found.run)
    return OneRun(
        **msgspec.structs.asdict(found),
        before=head(ledger.get(before)) if before else None,
        common=common,
        judged=any(one.again == found.run.id for one in ledger.verdicts(found.run.repeats or "")),
        inputs=_kept(inputs[:INPUTS], desk.home),
        inputs_there=len(inputs),
        usage=usage_of(found.run, desk.home.store) if desk.home else [],
        charts=charts,
    )


def _before(connection: Connection, run: Run) -> tuple[str, str]:
    """The id of the run that it is probably compared with, and what they have in common; empty where there is none."""
    for common in ("experiment" if run.tracked else "command", ""):
        found = connection.execute(
            f"SELECT id FROM runs WHERE {COMMON[common]} AND started < ? AND removed = ''"
            " ORDER BY started DESC, seq DESC LIMIT 1",
            (run.id, micros(run.started)),
        ).fetchall()
        if found:
            return found[0][0], common
    return "", ""


def _inputs(run: Run) -> list[dict[str, Any]]:
    """Those that were read, or said to be."""
    part = run.parts.get("data")
    rows = part.facts.get("inputs", ()) if part else ()
    return [row for row in rows if row.get("digest") and (row.get("read") or row.get("how") == "declared")]


def _kept(rows: list[dict[str, Any]], home: Home | None) -> list[Input]:
    known = versions_with({row["digest"] for row in rows if row["size"]}, home) if home and rows else {}
    return [
        Input(
            path=row["path"],
            size=row["size"],
            digest=row["digest"],
            how=row.get("how", ""),
            kept=row.get("kept", True),
            places=places_of(known.get(row["digest"], ())),
        )
        for row in rows
    ]


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
