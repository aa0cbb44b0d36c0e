"""`bis gc`: delete from the store what nothing needs any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from bis.steps.home import Home
from bis.steps.removals import of_clients, under_way
from bis.steps.shallow import demand_whole
from bis.store.collect import Collected
from bis.store.collect import collect as sweep


def collect(
    home: Home,
    *,
    now: datetime,
    grace: timedelta,
    at_once: bool = False,
    dry: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Collected:
    """Delete what no run, verdict, annotation, version of data or uploaded artifact needs, in two phases (see
    `store/collect.py`). Runs and versions that were removed need nothing any more; runs under way need what was
    captured of them."""
    demand_whole(home, "be collected")
    also = under_way(home)
    named = partial(of_clients, home)
    return sweep(home.store, now=now, grace=grace, at_once=at_once, dry=dry, also=also, named=named, progress=progress)
