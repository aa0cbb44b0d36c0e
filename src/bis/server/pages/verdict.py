"""A verdict: whether a run came out the same when it was repeated, and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bis.errors import NotFound
from bis.ledger import points, tracked
from bis.ledger.connection import Connection
from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run
from bis.nouns.tracking import Point
from bis.nouns.verdict import Verdict
from bis.server.desk import Desk
from bis.server.pages.charts import STYLES
from bis.server.pages.meant import run_meant
from bis.server.pages.outputs_between import Looks, looks
from bis.server.pages.page import Page, Table
from bis.steps.abreast import Head, head

LOOKED_AT: Final = 200_000
"""Points of one metric that are compared one by one."""
AT_ONCE: Final = 4096
TAKEN: Final = ("code", "data", "params", "environment")
"""Parts that a repeat can take from another run."""
METRICS: Final = 50
"""Metrics whose points are compared."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    again: str
    """The run that the repeat made; of one that was repeated, its newest verdict is meant."""


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where the points of a metric begin to differ."""

    metric: str
    step: int | None
    """None: in none of the points that were looked at."""
    points: int
    """That were looked at."""
    before: float | None = None
    after: float | None = None
    whole: bool = True
    """Whether that were all."""


class Judgement(msgspec.Struct, kw_only=True):
    verdict: Verdict
    run: Head
    again: Head
    looks: Looks
    """What of the outputs can be looked at."""
    taken: dict[str, str]
    """Parts that were taken from elsewhere on purpose, and from where."""
    partings: list[Parting]
    unlooked: int
    """Metrics with a history whose points were not compared one by one."""
    others: int
    """Further verdicts on the same run."""
    next: list[str]
    """Commands to go on with."""


async def verdict(desk: Desk, asked: Asked) -> Judgement:
    def ask() -> Judgement:
        ledger = SqlLedger(desk.database, False)
        again = run_meant(ledger, asked.again)
        known = ledger.verdicts(again.repeats or again.id)
        found = next((one for one in known if one.again == again.id or not again.repeats), None)
        if found is None:
            raise NotFound(
                f"run {again.id} has no verdict: it is no repeat, or its comparison did not end",
                hint=f"bis repeat {again.repeats[:8] or again.id[:8]}",
            )
        run, again = ledger.get(again.repeats or again.id), ledger.get(found.again)
        with desk.database.reading() as connection:
            partings, unlooked = _partings(connection, run, again)
        return Judgement(
            verdict=found,
            run=head(run),
            again=head(again),
            looks=looks(run, again, found.outputs),
            taken={str(kind): source for kind, source in again.taken.items()},
            partings=partings,
            unlooked=unlooked,
            others=len(known) - 1,
            next=_next(found, run, again),
        )

    return await desk.shelf.work(ask)


def _next(verdict: Verdict, run: Run, again: Run) -> list[str]:
    if verdict.same:
        return [f"bis repeat {run.id[:8]}", f"bis restore {run.id[:8]}"]
    # One part at a time from where it came out otherwise: what then differs, too, is to blame.
    differ = [one.name for one in verdict.parts if one.sameness == "different" and one.name in TAKEN]
    commands = [f"bis repeat {run.id[:8]} --with {kind}={again.id[:8]}" for kind in differ]
    if not differ:  # then it may be chance
        commands = [f"bis repeat {run.id[:8]} --times 3"]
    return [*commands, f"bis diff {run.id[:8]} {again.id[:8]}"]


# -- points of metrics -----------------------------------------------------------------------------------------------


def _partings(connection: Connection, run: Run, again: Run) -> tuple[list[Parting], int]:
    """Of the metrics that both have, and how many are not looked at."""
    seqs = [tracked.seq_of(connection, one.id) for one in (run, again)]
    before, after = (points.counts(connection, seq) for seq in seqs)
    keys = sorted(key for key in before.keys() & after.keys() if max(before[key], after[key]) > 1)
    return [parting(connection, seqs, key) for key in keys[:METRICS]], len(keys[METRICS:])


def parting(connection: Connection, seqs: Sequence[int], key: str) -> Parting:
    """Where two histories part: both in the order in which they were logged, times left out."""
    marks: list[Point | None] = [None, None]
    looked = 0
    while looked < LOOKED_AT:
        pages = [
            points.history(connection, seq, key, limit=AT_ONCE, after=mark)
            for seq, mark in zip(seqs, marks, strict=True)
        ]
        for place in range(max(map(len, pages))):
            old, new = (page[place] if place < len(page) else None for page in pages)
            if old is None or new is None or (old.step, repr(old.value)) != (new.step, repr(new.value)):
                there = old or new
                assert there
                return Parting(
                    metric=key,
                    step=there.step,
                    points=looked + place + 1,
                    before=old.value if old else None,
                    after=new.value if new else None,
                )
        looked += len(pages[0])
        if len(pages[0]) < AT_ONCE:
            return Parting(metric=key, step=None, points=looked)
        marks = [page[-1] for page in pages]
    return Parting(metric=key, step=None, points=looked, whole=False)


def table(found: Judgement) -> Table:
    groups = (("part", found.verdict.parts), ("metric", found.verdict.metrics), ("output", found.verdict.outputs))
    return ("kind", "name", "sameness", "before", "after", "why"), (
        (kind, one.name, one.sameness, one.before, one.after, one.why) for kind, some in groups for one in some
    )


PAGES: Final = (Page("/verdicts/{again}", "verdict", Asked, verdict, table, styles=STYLES),)
