"""`bis gc`: delete from the store what nothing needs any more, and from the ledger what clients removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from bis.ledger.collecting import Counted, counted
from bis.nouns.model import By
from bis.steps.here import user_here
from bis.steps.home import Home
from bis.steps.keeping import keep_all
from bis.steps.removals import delete_for_good, of_clients, of_versions, removed_by_clients, under_way
from bis.steps.shallow import demand_whole
from bis.store.collect import Collected
from bis.store.collect import collect as sweep

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def collect(
    home: Home,
    *,
    now: datetime,
    grace: timedelta,
    at_once: bool = False,
    dry: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Collected, Counted]:
    """Delete what no run, verdict, annotation, version of data or uploaded artifact needs, in two phases (see
    `store/collect.py`). Runs and versions that were removed need nothing any more, unless a registered model came from
    them; runs under way need what was captured of them. What clients removed is in the ledger alone, and keeps its
    content until the time of grace has passed: then its rows go, and its content as any other.
    """
    demand_whole(home, "be collected")
    moment = (now - EPOCH) // timedelta(microseconds=1)
    removed = removed_by_clients(home, moment - (timedelta(0) if at_once else grace) // timedelta(microseconds=1))
    if not dry:
        keep_all(home)
    if removed and not dry:
        progress("deleting what clients removed")
        delete_for_good(home, removed, By(user_here(), moment))
    also = under_way(home)
    also += of_versions(home)
    named = partial(of_clients, home, frozenset(removed.folders) if dry else frozenset())
    done = sweep(
        home.store,
        now=now,
        grace=grace,
        at_once=at_once,
        dry=dry,
        also=also,
        named=named,
        without=removed.runs if dry else (),
        progress=progress,
    )
    return done, counted(removed)
