"""The values of a metric, a param or a tag, one after the other in an order, each with the runs that have it.

Each value is found by one step in an index, however many runs have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bis.ledger.connection import Connection
from bis.ledger.search import First, Query

NUMBER, NOT_A_NUMBER, NOTHING = 0, 1, 2
"""What stands first in the place of a run: it has a number (or a text, where texts are ordered as such), another text
(or NaN), or nothing."""


class Rung(NamedTuple):
    """What some runs have in common."""

    place: tuple[Any, ...]
    """As the terms of the order say it, but for the ties."""
    having: Query
    """A condition on the runs that have it: they are looked up."""
    each: Query
    """The same, asked of each run by itself."""
    owners: Query | None
    """A SELECT of them; None for those that have nothing."""


def rungs(connection: Connection, first: First, since: Sequence[Any] | None = None) -> Iterator[Rung]:
    """In the order; from the place `since` on, which is the first of them."""
    stage = NUMBER if since is None else since[0]
    if since is not None:
        yield _rung(first, tuple(since))
    for one in (NUMBER, NOT_A_NUMBER):
        if stage == one:
            at = since if since is not None and since[0] == one else None
            while at := _next(connection, first, one, at):
                yield _rung(first, at)
        if stage <= one:
            stage = one + 1
    if since is None or since[0] != NOTHING:
        yield _rung(first, _nothing(first))


def _next(connection: Connection, first: First, stage: int, at: Sequence[Any] | None) -> tuple[Any, ...] | None:
    if first.keyed.kind == "number":
        return _next_number(connection, first, stage, at)
    if not first.by_number:
        return _next_text(connection, first, "", at) if stage == NUMBER else None
    if stage == NUMBER:
        return _next_of_both(connection, first, at)
    if at is None and not _has_texts(connection, first):
        return None
    return _next_text(connection, first, " AND number IS NULL", at)


def _next_number(connection: Connection, first: First, stage: int, at: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """Of a metric. All NaN are one."""
    if stage == NOT_A_NUMBER:
        asked = f"SELECT 1 FROM {first.keyed.table} WHERE key = ? AND value IS NULL LIMIT 1"
        there = at is None and connection.execute(asked, (first.key,)).fetchall()
        return (NOT_A_NUMBER, 0.0) if there else None
    return _next_text(connection, first, " AND value IS NOT NULL", at)


def _next_text(connection: Connection, first: First, some: str, at: Sequence[Any] | None) -> tuple[Any, ...] | None:
    behind = "" if at is None else f" AND value {first.behind} ?"
    found = connection.execute(
        f"SELECT value FROM {first.keyed.table} WHERE key = ?{some}{behind} ORDER BY value{first.way} LIMIT 1",
        (first.key,) if at is None else (first.key, at[-1]),
    ).fetchall()
    if not found:
        return None
    return (NOT_A_NUMBER, 0.0, found[0][0]) if first.by_number else (NUMBER, found[0][0])


def _next_of_both(connection: Connection, first: First, at: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """Of a param: by its number, and by how that is written."""
    behind = "" if at is None else f" AND (number, value) {first.behind} (?, ?)"
    found = connection.execute(
        f"SELECT number, value FROM {first.keyed.table} WHERE key = ? AND number IS NOT NULL{behind}"
        f" ORDER BY number{first.way}, value{first.way} LIMIT 1",
        (first.key,) if at is None else (first.key, *at[1:]),
    ).fetchall()
    return (NUMBER, *found[0]) if found else None


def _has_texts(connection: Connection, first: First) -> bool:
    """Whether any is no number: by how many there are, which indexes say."""
    source = f"FROM {first.keyed.table} WHERE key = ?"
    asked = f"SELECT (SELECT count(*) {source}) > (SELECT count(*) {source} AND number IS NOT NULL)"
    return bool(connection.execute(asked, (first.key, first.key)).fetchall()[0][0])


def _nothing(first: First) -> tuple[Any, ...]:
    if first.keyed.kind == "number":
        return NOTHING, 0.0
    return (NOTHING, 0.0, "") if first.by_number else (NOTHING, "")


def _rung(first: First, place: tuple[Any, ...]) -> Rung:
    keyed, key = first.keyed, first.key
    own = f"SELECT 1 FROM {keyed.table} AS own WHERE own.{keyed.owner} = runs.seq AND own.key = ?"
    if place[0] == NOTHING:
        some = f"(SELECT count(*) FROM runs) > (SELECT count(*) FROM {keyed.table} WHERE key = ?)"
        others = f"{some} AND runs.seq NOT IN (SELECT {keyed.owner} FROM {keyed.table} WHERE key = ?)"
        return Rung(place, Query(others, (key, key)), Query(f"NOT EXISTS ({own})", (key,)), None)
    has = _has(first, place)
    owners = Query(f"SELECT {keyed.owner} FROM {keyed.table} WHERE key = ? AND {has.where}", (key, *has.values))
    each = Query(f"EXISTS ({own} AND {has.where})", (key, *has.values))
    return Rung(place, Query(f"runs.seq IN ({owners.where})", owners.values), each, owners)


def _has(first: First, place: Sequence[Any]) -> Query:
    if first.by_number and place[0] == NUMBER:
        return Query("number = ? AND value = ?", (place[1], place[2]))
    if first.keyed.kind == "number" and place[0] == NOT_A_NUMBER:
        return Query("value IS NULL", ())
    return Query("value = ?", (place[-1],))
