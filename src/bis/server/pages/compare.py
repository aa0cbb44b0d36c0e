"""Runs side by side: two in all detail, as `bis diff` tells it; more of them as a table of what differs."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bis.acts.explain import difference, told
from bis.errors import UsageError
from bis.ledger.runs import SqlLedger
from bis.nouns.reference import parse
from bis.server.desk import Desk
from bis.server.pages.charts import COMPARED, STYLES
from bis.server.pages.clock import here
from bis.server.pages.data_between import DataFile, data_between
from bis.server.pages.outputs_between import Looks, looks, printed_apart
from bis.server.pages.page import Page, Table
from bis.steps.abreast import Group, Head, Within, groups, head, within

MOST: Final = 100
"""Runs that are compared in all detail; of more, params and metrics are set against each other."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    run: Annotated[list[str], Meta(max_length=COMPARED)] = []
    all: bool = False
    """Also what is the same."""


class Comparison(msgspec.Struct, kw_only=True):
    asked: Asked
    runs: list[Head]
    groups: list[Group]
    within: list[Within] = []
    """Of more than two runs: what differs within their parts."""
    difference: dict[str, Any] | None = None
    """Of two runs: what `bis diff --json` says."""
    looks: Looks = Looks()
    """Of two runs: what of their outputs can be looked at."""
    printed: dict[str, str] = {}
    """Of two runs: what they printed, by stream, as a unified difference."""
    data: list[DataFile] = []
    """Of two runs: the files of data that differ, and what differs within them."""


async def compare(desk: Desk, asked: Asked) -> Comparison:
    return await desk.shelf.work(lambda: _compared(desk, asked))


def _compared(desk: Desk, asked: Asked) -> Comparison:
    if len(asked.run) > MOST:
        raise UsageError(f"{len(asked.run)} runs are named, and {MOST} are compared at most", hint="/overlay?run=…")
    ledger = SqlLedger(desk.database, False)
    runs = [ledger.find(parse(name, here())) for name in asked.run]
    runs = list({run.id: run for run in runs}.values())
    found = Comparison(asked=asked, runs=list(map(head, runs)), groups=groups(runs))
    if len(runs) == 2 and desk.home is not None:
        apart = difference(runs[0], runs[1], desk.home)
        found.difference, found.looks = told(apart), looks(apart.before, apart.after, apart.outputs)
        found.printed = printed_apart(apart.before, apart.after, desk.home)
        found.data = data_between(runs[0], runs[1], desk.home)
    elif desk.home is not None:
        found.within = within(runs, desk.home.store)
    return found


def onward(asked: Asked) -> tuple[str, dict[str, Any]] | None:
    """More runs than are compared in all detail."""
    return ("/overlay", {"run": asked.run}) if len(asked.run) > MOST else None


def table(found: Comparison) -> Table:
    titles = ["kind", "name", *(run.name for run in found.runs)]
    shown = ((group.name, row) for group in found.groups for row in group.rows if found.asked.all or not row.same)
    inside = ((group.name, row) for group in found.within for row in group.rows)
    rows = chain(shown, inside)
    return titles, ([kind, row.name, *("" if one is None else one for one in row.values)] for kind, row in rows)


PAGES: Final = (Page("/compare", "compare", Asked, compare, table, styles=STYLES, onward=onward),)
