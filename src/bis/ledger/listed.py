"""Lists of runs for people: a page of them in any order, how many there are, and what they can be asked for.

A list leaves few runs out, removed ones and those of `bis repeat`: how many are in it is what all of them are less
those, so that no run is looked at to be counted, and most filters are answered by their indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bis.ledger import Row, searching, tracked
from bis.ledger.connection import Connection
from bis.ledger.filter import read_filter
from bis.ledger.grammar import OF_RUNS, RUNS
from bis.ledger.search import Query, both, compile_filter, compile_order, compiled
from bis.ledger.searching import Known
from bis.nouns.tracking import Point

EXPERIMENT: Final = "(SELECT e.name FROM experiments AS e WHERE e.id = runs.experiment)"
PLACED: Final = f"CASE WHEN tracked = 1 OR experiment <> 0 THEN coalesce({EXPERIMENT}, '') ELSE '' END"
"""The name of the experiment that a run was logged or moved to."""
COLUMNS: Final = f"runs.seq, tracked, runs.name, {PLACED}, brief, note, verdict, record, removed"
EACH: Final = RUNS._replace(each=True)
GONE: Final = Query("removed <> ''", ())
NAMES: Final = 1000
"""Names of metrics, params or tags that are looked for at most."""

_row: Final = msgspec.json.Decoder(Row, strict=False)


class View(NamedTuple):
    """Which runs are meant, before any filter."""

    experiment: int | None = None
    removed: bool | None = False
    """None: whether they were removed or not."""
    repeats: bool = False
    """Whether those of `bis repeat` are meant, too."""
    until: int | None = None
    """Only those that had started by then."""

    @property
    def where(self) -> Query:
        return both(
            Query({False: "removed = ''", True: "removed <> ''", None: ""}[self.removed], ()),
            Query("" if self.repeats else "repeats = ''", ()),
            self._bounds(""),
        )

    def _bounds(self, sign: str) -> Query:
        """With a `+` as the sign no index is used for them."""
        return both(
            Query("", ()) if self.experiment is None else Query(f"{sign}experiment = ?", (self.experiment,)),
            Query("", ()) if self.until is None else Query(f"{sign}started <= ?", (self.until,)),
        )

    @property
    def is_plain(self) -> bool:
        """Whether it is all runs but those that few lists show."""
        return self.experiment is None and self.until is None and not self.removed

    @property
    def apart(self) -> Query:
        """As `where`, of a plain view, for rows that only say which run it is: by those that are not meant."""
        conditions = [GONE.where] if self.removed is False else []
        conditions += [] if self.repeats else ["repeats <> ''"]
        others = " UNION ALL ".join(f"SELECT seq FROM runs WHERE {condition}" for condition in conditions)
        return Query(f"runs.seq NOT IN ({others})" if others else "", ())

    @property
    def left_out(self) -> list[Query]:
        """Of those that are within it: conditions of which each run that is not meant has one."""
        # Found by the indexes of what is left out, not among all that are within it.
        within = self._bounds("+")
        found = [both(GONE, within)] if self.removed is False else []
        if not self.repeats:
            there = Query("removed = ''" if found else "", ())
            found.append(both(Query("repeats <> ''", ()), there, within))
        return found


def rows(
    connection: Connection,
    filter: str,
    order: Sequence[str],
    *,
    limit: int,
    view: View,
    after: Sequence[Any] | None = None,
    known: Known | None = None,
) -> tuple[list[Row], list[Any] | None]:
    """A page of runs, and the place behind which the next one begins. Raises Unfit for the filter or the order."""
    found, place = searching.page(
        connection,
        COLUMNS,
        compile_filter(filter),
        compile_order(order),
        limit=limit,
        after=after,
        view=view._replace(experiment=None).where,
        each=compile_filter(filter, EACH),
        among=None if view.experiment is None else [view.experiment],
        known=known,
    )
    return with_facts(connection, found), place


def by_id(connection: Connection, id: str) -> Row | None:
    """Removed or not."""
    found = connection.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (id,)).fetchall()
    return with_facts(connection, found)[0] if found else None


def with_facts(connection: Connection, found: Sequence[tuple[Any, ...]]) -> list[Row]:
    """What rows of `COLUMNS` stand for."""
    tags = tracked.texts(connection, "tags", [seq for seq, *_ in found])
    logged = [seq for seq, is_tracked, *_ in found if is_tracked]
    params, metrics = tracked.texts(connection, "params", logged), tracked.newest(connection, logged)
    known = {seq: (params.get(seq, {}), {point.key: point.value for point in metrics.get(seq, ())}) for seq in logged}
    made = []
    for seq, _, name, experiment, brief, note, verdict, record, removed in found:
        row = msgspec.structs.replace(
            _row.decode(brief),
            name=name,
            tags=tags.get(seq, {}),
            note=note,
            verdict=verdict,
            record=record,
            experiment=experiment,
            removed=removed,
        )
        if seq in known:
            row = msgspec.structs.replace(row, params=known[seq][0], metrics=known[seq][1])
        made.append(row)
    return made


def points_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[Point]]:
    """The newest point of each metric of some runs, by their ids."""
    if not ids:
        return {}
    asked = f"SELECT seq, id FROM runs WHERE id IN ({', '.join('?' * len(ids))})"
    seqs = dict(connection.execute(asked, tuple(ids)).fetchall())
    return {seqs[seq]: points for seq, points in tracked.newest(connection, list(seqs)).items()}


# -- how many ------------------------------------------------------------------------------------------------------


def count(connection: Connection, view: View, filter: str = "") -> int:
    """How many runs of a view match. Raises Unfit."""
    asked = compile_filter(filter)
    if view.removed or not is_owned(asked):
        return _counted(connection, both(view.where, asked))
    each = compile_filter(filter, EACH)
    return _within(connection, view, asked, filter) - sum(
        _counted(connection, both(left_out, each)) for left_out in view.left_out
    )


def is_owned(asked: Query) -> bool:
    """Whether it asks for nothing but what runs own: metrics, params and tags."""
    return not asked.where or asked.where == f"{RUNS.row} IN ({asked.owners})"


def _within(connection: Connection, view: View, asked: Query, filter: str) -> int:
    """How many match, those among them that are left out."""
    near = view._replace(removed=None, repeats=True).where
    if asked.where and not near.where:
        return _owning(connection, filter)
    return _counted(connection, both(near, asked))


def _owning(connection: Connection, filter: str) -> int:
    """How many runs own all that a filter asks for. Where it asks for several things, those that own the rarest one
    are looked at."""
    comparisons = read_filter(filter, RUNS)
    sets = [compiled([comparison], RUNS) for comparison in comparisons]
    many = [_rows(connection, one.owners, one.values) for one in sets]
    rarest = many.index(min(many))
    if len(sets) == 1:
        return many[0]
    others = compiled([*comparisons[:rarest], *comparisons[rarest + 1 :]], EACH)
    own = sets[rarest]
    asked = f"SELECT 1 FROM (SELECT run AS seq FROM ({own.owners}) AS own) AS runs WHERE {others.where}"
    return _rows(connection, asked, (*own.values, *others.values))


def _rows(connection: Connection, asked: str, values: Sequence[Any]) -> int:
    ((found,),) = connection.execute(f"SELECT count(*) FROM ({asked}) AS these", tuple(values)).fetchall()
    return int(found)


def _counted(connection: Connection, where: Query) -> int:
    condition = f" WHERE {where.where}" if where.where else ""
    ((found,),) = connection.execute(f"SELECT count(*) FROM runs{condition}", where.values).fetchall()
    return int(found)


# -- what there is to ask for --------------------------------------------------------------------------------------


def names(connection: Connection, limit: int = NAMES) -> dict[str, list[str]]:
    """The names of metrics, params and tags that any run has, sorted: each is found by the one before it."""
    return {
        entity: [
            key
            for (key,) in connection.execute(
                f"WITH RECURSIVE known (key) AS (SELECT min(key) FROM {keyed.table} UNION ALL"
                f" SELECT (SELECT min(t.key) FROM {keyed.table} AS t WHERE t.key > known.key) FROM known"
                " WHERE known.key IS NOT NULL) SELECT key FROM known WHERE key IS NOT NULL LIMIT ?",
                (limit,),
            ).fetchall()
        ]
        for entity, keyed in OF_RUNS.items()
    }
