"""The runs: a table of which every part is in its address, so that the address is the view."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bis.ledger import Row
from bis.ledger.runs import SqlLedger
from bis.server.desk import Desk
from bis.server.pages.page import Page, Table

AT_ONCE: Final = 50


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    filter: str = ""
    sort: str = ""
    """`metrics.auc`, or `-metrics.auc`: the largest first."""
    limit: Annotated[int, Meta(ge=1, le=500)] = AT_ONCE


class Runs(msgspec.Struct, kw_only=True):
    asked: Asked
    runs: list[Row]
    matching: int
    total: int


async def runs(desk: Desk, asked: Asked) -> Runs:
    def ask() -> Runs:
        ledger = SqlLedger(desk.database, False)
        order = [f"{asked.sort[1:]} DESC" if asked.sort.startswith("-") else asked.sort] if asked.sort else []
        return Runs(
            asked=asked,
            runs=ledger.rows(asked.filter, order, asked.limit),
            matching=ledger.count(asked.filter),
            total=ledger.count(),
        )

    return await desk.shelf.work(ask)


def rows(found: Runs) -> Table:
    return ("id", "name", "status", "started"), ((run.id, run.name, run.status, run.started) for run in found.runs)


PAGES: Final = (Page("/", "runs", Asked, runs, rows),)
