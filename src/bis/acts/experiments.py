"""Experiments from the shell: make, rename and remove them, move runs into them; and give a run another name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bis.digest import readable
from bis.errors import NotFound
from bis.ledger import experiments, grammar
from bis.ledger.connection import Connection
from bis.ledger.moments import micros
from bis.ledger.refusals import NoSuch, Removed
from bis.ledger.search import Query, compile_order
from bis.nouns.annotation import Annotation
from bis.nouns.run import Run, check_name
from bis.nouns.tracking import Experiment, check_experiment_name
from bis.steps.annotations import keep
from bis.steps.here import now, user_here
from bis.steps.home import Home
from bis.steps.models import database_of

ALL = 1 << 30


class Counted(NamedTuple):
    """An experiment, and how many runs are in it."""

    experiment: Experiment
    runs: int


def all_of(home: Home, *, removed: bool = False) -> list[Counted]:
    """Those that are there, or those that were removed, by name."""
    if not database_of(home).there:
        return []
    with database_of(home).reading() as connection:
        order = compile_order(["name"], grammar.EXPERIMENTS)
        found, _ = experiments.search(connection, Query("", ()), order, limit=ALL, removed=removed)
        asked = "SELECT experiment, count(*) FROM runs WHERE removed = '' GROUP BY experiment"
        counts = dict(connection.execute(asked).fetchall())
        return [Counted(one, counts.get(one.id, 0)) for one in found]


def find(home: Home, name: str) -> Experiment:
    """A removed one, too. Raises NotFound, with the nearest names."""
    with database_of(home).reading() as connection:
        return named(connection, name)


def create(home: Home, name: str) -> Experiment:
    """Raises AlreadyThere, UsageError for what cannot be a name."""
    check_experiment_name(name)
    with database_of(home).writing() as connection:
        return experiments.get(connection, experiments.create(connection, name, "", {}, micros(now())))


def rename(home: Home, name: str, new: str) -> Experiment:
    """Its runs go with it. Raises NotFound, AlreadyThere, Removed."""
    check_experiment_name(new)
    with database_of(home).writing() as connection:
        place = named(connection, name)
        experiments.rename(connection, place.id, new, micros(now()))
        return experiments.get(connection, place.id)


def remove(home: Home, name: str, *, undo: bool = False) -> Experiment:
    """With the runs that clients logged in it; or take that back. Those that bis recorded stay, and name it."""
    with database_of(home).writing() as connection:
        place = named(connection, name)
        (experiments.restore if undo else experiments.remove)(connection, place.id, micros(now()))
        return experiments.get(connection, place.id)


def move(home: Home, runs: Sequence[Run], name: str) -> Experiment:
    """Move runs into an experiment; artifacts stay where they are. Of a sealed run it is said beside the record, so
    that `bis reindex` brings it back. Raises NotFound, Removed."""
    with database_of(home).reading() as connection:
        place = named(connection, name)
    if place.removed:
        raise Removed("experiment", name)
    for run in runs:
        said = Annotation(run=run.id, made=now(), user=user_here(), experiment=place.name)
        keep(said, home.store, home.ledger)
    return place


def rename_run(home: Home, run: Run, name: str) -> Run:
    """Its record keeps the name that it had. Raises UsageError for what cannot be a name."""
    check_name(name, f"bis rename {run.id[:8]} baseline")
    keep(Annotation(run=run.id, made=now(), user=user_here(), name=name), home.store, home.ledger)
    return msgspec.structs.replace(run, name=name)


def named(connection: Connection, name: str) -> Experiment:
    """A removed one, too. Raises NotFound, with the nearest names."""
    try:
        return experiments.find(connection, name)
    except NoSuch:
        from difflib import get_close_matches

        names = [row[0] for row in connection.execute("SELECT name FROM experiments LIMIT 2000").fetchall()]
        near = get_close_matches(name, names, 3)
        raise NotFound(
            f"no experiment is called {readable(name)!r}",
            because=f"Names like it: {', '.join(map(readable, near))}." if near else "",
            hint=f"bis experiment create {readable(name)}",
        ) from None
