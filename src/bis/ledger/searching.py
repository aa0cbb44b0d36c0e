"""A page of the runs that match, in an order, by the cheapest of several ways to find it.

Which runs are on it is found within indexes, as far as these say enough; then those runs alone are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bis.ledger.connection import Connection
from bis.ledger.rungs import NUMBER, Rung, rungs
from bis.ledger.search import Ordering, Query, both, one_of

FIRST: Final = 8
"""So many times the size of a page are looked at first, in the order that was asked for, unless too few of the sample
match."""
SAMPLE: Final = 64
FEW: Final = 1000
"""Experiments with fewer runs are searched run by run, whatever else the ledger holds."""
NEAR: Final = 4000
"""Runs that are looked at in the order of time for those that have a value, before all that have it are."""
RARE: Final = 500
"""Runs that have a value, which are looked up without looking at others first."""
STEPS: Final = 200
"""Values that are looked at one after the other, for one page."""
Rows = list[tuple[Any, ...]]


class Known(NamedTuple):
    """What is known of a search before it: how many runs match, and among how many."""

    matching: int
    among: int

    def met_soon(self, limit: int) -> bool:
        """Whether looking at one run after the other finds a page sooner than finding all that match."""
        return self.matching * self.matching > 2 * limit * self.among

    @property
    def are_many(self) -> bool:
        """Whether most values have some that match."""
        return self.matching * 8 > self.among


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
        rows = _found(connection, columns, order, both(near, each, view, rest), limit + 1)
    else:
        if each and order.first:
            rows = _by_value(connection, columns, order, both(near, each, view), limit + 1, after, rest, known)
        if len(rows) <= limit:
            # Runs that are known to match are looked up, not found again among those of the experiments.
            far = one_of("+experiment", among) if among is not None and asked.owners else near
            rows = _all(connection, columns, order, both(far, asked, view), limit + 1, after, rest)
    width = len(order.terms)
    place = list(rows[limit - 1][-width:]) if len(rows) > limit else None
    return [row[:-width] for row in rows[:limit]], place


def _found(connection: Connection, columns: str, order: Ordering, where: Query, count: int) -> Rows:
    """Which they are is asked first: it stands in indexes, mostly. What is shown of them is read afterwards."""
    names = [f"at{number}" for number in range(len(order.terms))]
    terms = ", ".join(f"{term.column} AS {name}" for term, name in zip(order.terms, names, strict=True))
    by = ", ".join(f"{name} DESC" if term.falling else name for term, name in zip(order.terms, names, strict=True))
    which = (
        f"SELECT runs.seq AS found, {terms} FROM runs{order.joins} WHERE {where.where or '1 = 1'} ORDER BY {by} LIMIT ?"
    )
    return connection.execute(
        f"SELECT {columns}, {', '.join(names)} FROM ({which}) AS these CROSS JOIN runs WHERE runs.seq = found"
        f" ORDER BY {by}",
        (*order.values, *where.values, count),
    ).fetchall()


def _all(
    connection: Connection,
    columns: str,
    order: Ordering,
    where: Query,
    count: int,
    after: Sequence[Any] | None,
    rest: Query,
) -> Rows:
    """From all that match; where they are ordered by a text that only some have, those that have it by themselves."""
    if not (stages := order.stages):
        if order.shared and (rows := _of_one_value(connection, columns, order, where, count, after)):
            return rows
        return _found(connection, columns, order, both(where, rest), count)
    rows = []
    falling = order.terms[0].falling
    for are_without in (not falling, falling):
        if len(rows) == count or (after is not None and are_without != (after[0] == "")):
            continue
        if are_without:
            rows += _without(connection, columns, order, where, count - len(rows), after)
        else:
            rows += _found(connection, columns, order, both(stages.having, where, rest), count - len(rows))
        after, rest = None, Query("", ())
    return rows


def _without(
    connection: Connection, columns: str, order: Ordering, where: Query, count: int, after: Sequence[Any] | None
) -> Rows:
    """Those that have no such text: all of them are the same in this."""
    assert order.stages
    if not connection.execute(order.stages.are_without).fetchall()[0][0]:
        return []
    others = Ordering(order.joins, order.values, order.terms[1:])
    rest = Query("", ()) if after is None else others.after(after[1:])
    rows = _found(connection, columns, others, both(order.stages.without, where, rest), count)
    width = len(others.terms)
    return [(*row[:-width], "", *row[-width:]) for row in rows]


def _of_one_value(
    connection: Connection, columns: str, order: Ordering, where: Query, count: int, after: Sequence[Any] | None
) -> Rows:
    """What has the first value of the order in common, in that of time; nothing where it is no whole page."""
    column, falling = order.terms[0]
    if after is None:
        extreme = f"SELECT {'max' if falling else 'min'}({column}) FROM runs WHERE {where.where or '1 = 1'}"
        ((value,),) = connection.execute(extreme, where.values).fetchall()
    else:
        value = after[0]
    others = Ordering(order.joins, order.values, order.terms[1:])
    rest = Query("", ()) if after is None else others.after(after[1:])
    rows = _found(connection, columns, others, both(Query(f"{column} = ?", (value,)), where, rest), count)
    width = len(others.terms)
    return [(*row[:-width], value, *row[-width:]) for row in rows] if len(rows) == count else []


def _are_few(connection: Connection, near: Query) -> bool:
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM runs WHERE {near.where} LIMIT ?) AS these", (*near.values, FEW)
    ).fetchall()
    return bool(count < FEW)


# -- by a value ----------------------------------------------------------------------------------------------------


def _by_value(
    connection: Connection,
    columns: str,
    order: Ordering,
    where: Query,
    count: int,
    after: Sequence[Any] | None,
    rest: Query,
    known: Known | None,
) -> Rows:
    """What matches, in the order of a metric, a param or a tag, where not all that match need to be looked at; fewer
    than `count` where that is not so."""
    assert order.first
    rows: Rows = []
    if order.first.keyed.kind == "number" and (after is None or after[0] == NUMBER):
        since = None if after is None else after[1]
        rows = _among_first(connection, columns, order, both(where, rest), count, since)
    if len(rows) < count and order.first.alone and known and known.are_many:
        rows = _up_the_rungs(connection, columns, order, where, count, after)
    return rows


def _among_first(
    connection: Connection, columns: str, order: Ordering, where: Query, count: int, since: float | None
) -> Rows:
    """What matches among the first runs of an order; nothing where it is no whole page, or hardly will be one."""
    assert order.first
    some, many = (order.first.owners(number, since) for number in (SAMPLE, FIRST * (count - 1)))
    whole = both(Query("runs.seq = first.owner", ()), where)
    source = f"CROSS JOIN runs{order.joins} WHERE {whole.where}"
    ((met,),) = connection.execute(
        f"SELECT count(*) FROM ({some.where}) AS first {source}", (*some.values, *order.values, *whole.values)
    ).fetchall()
    if met * FIRST < SAMPLE // 2:
        return []
    return connection.execute(
        f"SELECT {columns}, {order.columns} FROM ({many.where}) AS first {source} ORDER BY {order.by} LIMIT ?",
        (*many.values, *order.values, *whole.values, count),
    ).fetchall()


def _up_the_rungs(
    connection: Connection,
    columns: str,
    order: Ordering,
    where: Query,
    count: int,
    after: Sequence[Any] | None,
) -> Rows:
    """One value after the other, and those that have it in the order of time; nothing where that takes many steps."""
    assert order.first
    time = Ordering("", (), order.terms[-2:])
    since, rest = (None, Query("", ())) if after is None else (after[:-2], time.after(after[-2:]))
    rows: Rows = []
    for steps, rung in enumerate(rungs(connection, order.first, since)):
        if steps == STEPS:
            return []
        some = both(where, rest)
        found = _of_rung(connection, columns, time, rung, some, rest, count - len(rows))
        rows += [(*row[:-2], *rung.place, *row[-2:]) for row in found]
        if len(rows) >= count:
            break
        rest = Query("", ())
    return rows


def _of_rung(
    connection: Connection, columns: str, time: Ordering, rung: Rung, where: Query, rest: Query, count: int
) -> Rows:
    if not rung.owners or _are_more(connection, rung.owners, RARE):
        start, bound = _start_of_near(connection, rest)
        near = Query("runs.started >= ?", (start,)) if bound else Query("", ())
        found = _found(connection, columns, time, both(rung.each, near, where), count)
        if len(found) == count or not bound:
            return found
    return _found(connection, columns, time, both(rung.having, where), count)


def _are_more(connection: Connection, owners: Query, than: int) -> bool:
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM ({owners.where} LIMIT ?) AS these", (*owners.values, than + 1)
    ).fetchall()
    return bool(count > than)


def _start_of_near(connection: Connection, rest: Query) -> tuple[int, bool]:
    """When the run began that is the last to be looked at in the order of time, if there are so many."""
    where = f" WHERE {rest.where}" if rest.where else ""
    found = connection.execute(
        f"SELECT started FROM runs{where} ORDER BY started DESC, seq DESC LIMIT 1 OFFSET ?", (*rest.values, NEAR)
    ).fetchall()
    return (int(found[0][0]), True) if found else (0, False)
