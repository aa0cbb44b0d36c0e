"""A page of the runs that match, in an order, by the cheaper of several ways to find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bis.ledger.connection import Connection
from bis.ledger.search import Ordering, Query, both, one_of

FIRST: Final = 8
"""So many times the size of a page are looked at first, in the order that was asked for, unless too few of the sample
match."""
SAMPLE: Final = 64
FEW: Final = 1000
"""Experiments with fewer runs are searched run by run, whatever else the ledger holds."""
Rows = list[tuple[Any, ...]]


class Known(NamedTuple):
    """What is known of a search before it: how many runs match, and among how many."""

    matching: int
    among: int

    def met_soon(self, limit: int) -> bool:
        """Whether looking at one run after the other finds a page sooner than finding all that match."""
        return self.matching * self.matching > 2 * limit * self.among


def page(
    connection: Connection,
    columns: str,
    asked: Query,
    order: Ordering,
    *,
    limit: int,
    after: Sequence[Any] | None = None,
    view: Query,
    each: Query | None = None,
    among: Sequence[int] | None = None,
    known: Known | None = None,
) -> tuple[Rows, list[Any] | None]:
    """A page of runs, and the place behind which the next one begins, if there is one: runs that come meanwhile move
    nothing. `view`: which runs are meant at all. `each` asks the same as `asked`, of each run by itself: where a page
    is full of the first runs in the order, no others are looked at. `among`: runs of these experiments only. Raises
    BadToken for a place in another order."""
    rest = Query("", ()) if after is None else order.after(after)
    near = Query("", ()) if among is None else one_of("experiment", among)
    rows: Rows = []
    soon = known is not None and order.is_of_time and known.met_soon(limit)
    if each and (soon or (among is not None and _are_few(connection, near))):
        rows = _found(connection, columns, order, both(near, each, view, rest), limit)
    else:
        if each and order.first and after is None:
            rows = _among_first(connection, columns, order, order.first, both(near, each, view), limit)
        if len(rows) <= limit:
            # Runs that are known to match are looked up, not found again among those of the experiments.
            far = one_of("+experiment", among) if among is not None and asked.owners else near
            rows = _found(connection, columns, order, both(far, asked, view, rest), limit)
    width = len(order.terms)
    place = list(rows[limit - 1][-width:]) if len(rows) > limit else None
    return [row[:-width] for row in rows[:limit]], place


def _found(connection: Connection, columns: str, order: Ordering, where: Query, limit: int) -> Rows:
    return connection.execute(
        f"SELECT {columns}, {order.columns} FROM runs{order.joins} WHERE {where.where or '1 = 1'}"
        f" ORDER BY {order.by} LIMIT ?",
        (*order.values, *where.values, limit + 1),
    ).fetchall()


def _are_few(connection: Connection, near: Query) -> bool:
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM runs WHERE {near.where} LIMIT ?) AS these", (*near.values, FEW)
    ).fetchall()
    return bool(count < FEW)


def _among_first(connection: Connection, columns: str, order: Ordering, first: Query, where: Query, limit: int) -> Rows:
    """What matches among the first runs of an order; nothing where it is no whole page, or hardly will be one."""
    whole = both(Query("runs.seq = first.owner", ()), where)
    source = f"FROM ({first.where}) AS first CROSS JOIN runs"
    ((some,),) = connection.execute(
        f"SELECT count(*) {source} WHERE {whole.where}", (*first.values, SAMPLE, *whole.values)
    ).fetchall()
    if some * FIRST < SAMPLE // 2:
        return []
    return connection.execute(
        f"SELECT {columns}, {order.columns} {source}{order.joins} WHERE {whole.where} ORDER BY {order.by} LIMIT ?",
        (*first.values, FIRST * limit, *order.values, *whole.values, limit + 1),
    ).fetchall()
