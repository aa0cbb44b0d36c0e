"""Several runs are given a tag at once, or lose it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bis.errors import BisError, UsageError
from bis.ledger.connection import Connection
from bis.server.desk import Desk
from bis.server.native import changing
from bis.server.pages.charts import COMPARED, meant
from bis.server.pages.page import Action, Page
from bis.text import count

OFFERED: Final = 100
"""Tags that can be taken away with a click."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    run: Annotated[list[str], Meta(max_length=COMPARED)] = []


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that some of the runs have."""

    name: str
    runs: int


class Tags(msgspec.Struct, kw_only=True):
    runs: dict[str, str]
    """Names by their ids."""
    tags: list[Tagged]
    """Those of most of the runs first."""


async def tags(desk: Desk, asked: Asked) -> Tags:
    return await desk.read(_tags, await meant(desk, asked.run) if asked.run else [])


def _tags(connection: Connection, ids: Sequence[str]) -> Tags:
    if not ids:
        return Tags(runs={}, tags=[])
    marks = ", ".join("?" * len(ids))
    names = dict(connection.execute(f"SELECT id, name FROM runs WHERE id IN ({marks})", tuple(ids)).fetchall())
    found = connection.execute(
        "SELECT t.key, count(*) FROM tags AS t JOIN runs AS r ON r.seq = t.run"
        f" WHERE r.id IN ({marks}) GROUP BY t.key ORDER BY 2 DESC, 1 LIMIT {OFFERED}",
        tuple(ids),
    ).fetchall()
    return Tags(runs={id: names[id] for id in ids}, tags=[Tagged(name=name, runs=runs) for name, runs in found])


class Said(msgspec.Struct, forbid_unknown_fields=True):
    runs: str
    """Ids, with spaces between them."""
    tag: str = ""
    value: str = ""
    untag: str = ""


async def say(desk: Desk, asked: Said) -> tuple[str, dict[str, Any]]:
    """Raises UsageError, which says how far it came."""
    if not asked.tag and not asked.untag:
        raise UsageError("nothing was said", hint="write the name of a tag, and its value")
    ids = list(dict.fromkeys(asked.runs.split()))
    if not 0 < len(ids) <= COMPARED:
        raise UsageError(f"1 to {COMPARED} runs are tagged at once, and {len(ids)} are named")
    having = await desk.read(_having, ids, asked.untag) if asked.untag else ids
    for done, id in enumerate(having):
        changed = changing.ChangedRun(
            id=id,
            tags={asked.tag: asked.value} if asked.tag else {},
            untag=[asked.untag] if asked.untag else [],
        )
        try:
            await changing.change_run(desk, changed)
        except BisError as error:
            raise UsageError(
                f"{count(done, 'run')} of {len(having)} changed, and then not: {error.what}", hint=error.hint
            ) from error
    return "/", {"run": ids}


def _having(connection: Connection, ids: Sequence[str], tag: str) -> list[str]:
    marks = ", ".join("?" * len(ids))
    asked = f"SELECT r.id FROM runs AS r JOIN tags AS t ON t.run = r.seq WHERE r.id IN ({marks}) AND t.key = ?"
    return [id for (id,) in connection.execute(asked, (*ids, tag)).fetchall()]


PAGES: Final = (Page("/tag", "tag", Asked, tags),)
ACTIONS: Final[tuple[Action, ...]] = (Action("/tag", Said, say),)
