"""Runs side by side: two in all detail, as `bis diff` tells it; more of them as a table of what differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta

from bis.acts.explain import difference, told
from bis.digest import short
from bis.ledger.runs import SqlLedger
from bis.ledger.runs import told as params_of
from bis.nouns.part import PartKind
from bis.nouns.reference import parse
from bis.nouns.run import Run
from bis.server.desk import Desk
from bis.server.pages.charts import STYLES
from bis.server.pages.clock import here
from bis.server.pages.page import Page, Table

MOST: Final = 100
"""Runs that one page compares."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    run: Annotated[list[str], Meta(max_length=MOST)] = []
    all: bool = False
    """Also what is the same."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is compared."""

    id: str
    name: str
    status: str
    started: str
    ended: str
    tracked: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of all the runs."""

    name: str
    values: tuple[str | None, ...]
    same: bool


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one kind: parts, params, metrics, outputs."""

    name: str
    rows: tuple[Row, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.same)


class Comparison(msgspec.Struct, kw_only=True):
    asked: Asked
    runs: list[Head]
    groups: list[Group]
    difference: dict[str, Any] | None = None
    """Of two runs: what `bis diff --json` says."""


async def compare(desk: Desk, asked: Asked) -> Comparison:
    return await desk.shelf.work(lambda: _compared(desk, asked))


def _compared(desk: Desk, asked: Asked) -> Comparison:
    ledger = SqlLedger(desk.database, False)
    runs = [ledger.find(parse(name, here())) for name in asked.run]
    runs = list({run.id: run for run in runs}.values())
    found = Comparison(asked=asked, runs=list(map(head, runs)), groups=_groups(runs))
    if len(runs) == 2 and desk.home is not None:
        found.difference = told(difference(runs[0], runs[1], desk.home))
    return found


def head(run: Run) -> Head:
    return Head(id=run.id, name=run.name, status=run.status, started=run.started, ended=run.ended, tracked=run.tracked)


def _groups(runs: Sequence[Run]) -> list[Group]:
    """What differs first, in each."""
    parts = [(kind, [_told(run, kind) for run in runs]) for kind in _KINDS]
    digests = {kind: {part.digest if (part := run.parts.get(kind)) else None for run in runs} for kind in _KINDS}
    groups = [
        Group(
            name="parts",
            rows=_sorted(Row(name=kind, values=tuple(values), same=len(digests[kind]) < 2) for kind, values in parts),
        ),
        _group("params", [params_of(run) for run in runs]),
        _group("metrics", [{name: repr(value) for name, value in run.metrics.items()} for run in runs]),
        _group("outputs", [{output.path: output.digest for output in run.outputs if output.digest} for run in runs]),
    ]
    return [group for group in groups if group.rows]


def _told(run: Run, kind: PartKind) -> str | None:
    part = run.parts.get(kind)
    return f"{short(part.digest)}  {part.summary}" if part else None


_KINDS: Final[tuple[PartKind, ...]] = get_args(PartKind)


def _group(name: str, sides: Sequence[dict[str, str]]) -> Group:
    names = dict.fromkeys(key for side in sides for key in side)
    values = {key: tuple(side.get(key) for side in sides) for key in names}
    return Group(
        name=name, rows=_sorted(Row(name=key, values=some, same=len(set(some)) < 2) for key, some in values.items())
    )


def _sorted(found: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(
        sorted((row for row in found if any(value is not None for value in row.values)), key=lambda row: row.same)
    )


def table(found: Comparison) -> Table:
    titles = ["kind", "name", *(run.name for run in found.runs)]
    shown = ((group, row) for group in found.groups for row in group.rows if found.asked.all or not row.same)
    return titles, ([group.name, row.name, *("" if one is None else one for one in row.values)] for group, row in shown)


PAGES: Final = (Page("/compare", "compare", Asked, compare, table, styles=STYLES),)
