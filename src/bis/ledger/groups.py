"""Groups of runs: what they have in common, how many they are, and the least and the greatest of a metric in each.

Groups are counted within an index. What is least and greatest is found among the first and the last values of the
metric, where most groups have some of theirs; only those that have none there are looked through.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bis.errors import UsageError
from bis.ledger.connection import Connection
from bis.ledger.filter import Field, read_order
from bis.ledger.grammar import OF_RUNS, RUNS
from bis.ledger.listed import EACH, View, count, is_owned
from bis.ledger.search import Query, both, compile_filter

NEAR: Final = 10
"""Values of the metric that are looked at from either end, for each group, …"""
LEAST: Final = 200
"""… and so many at least."""
FEW: Final = 20_000
"""Runs of which each is looked at, rather than those."""
GROUPED: Final = ("part", "text", "status")
"""Kinds of attributes by which runs are grouped."""
Value = str | None


class Group(NamedTuple):
    """Runs that have one value in common."""

    value: Value
    """None: those that have none."""
    runs: int
    least: float | None
    greatest: float | None
    """Of the metric that was asked for; NaN is neither."""


class Grouped(NamedTuple):
    groups: list[Group]
    total: int
    """How many there are, those that are not shown among them."""


class Question(NamedTuple):
    """Which runs are grouped, and by what."""

    field: Field
    view: View
    filter: str
    metric: str

    @property
    def column(self) -> str:
        """Where it is an attribute."""
        return RUNS.attributes[self.field.key].column if self.field.entity == "attributes" else ""

    @property
    def joined(self) -> Query:
        """What is joined to the runs to have their value, which is `value` then."""
        if self.column:
            return Query("", ())
        table = OF_RUNS[self.field.entity].table
        return Query(f" LEFT JOIN {table} AS g ON g.run = runs.seq AND g.key = ?", (self.field.key,))

    @property
    def value(self) -> str:
        return f"nullif({self.column}, '')" if self.column else "g.value"

    @property
    def meant(self) -> Query:
        """A condition on rows of the runs themselves, each asked by itself."""
        return both(self.view.where, compile_filter(self.filter, EACH))

    @property
    def those(self) -> tuple[str, Query]:
        """What stands behind a table of some `seq`, to have these as runs, and a condition on those that are meant."""
        if not self.is_owned:
            return "these CROSS JOIN runs", both(Query("runs.seq = these.seq", ()), self.meant)
        return "runs", both(self.view.apart, compile_filter(self.filter, EACH))

    @property
    def is_owned(self) -> bool:
        """Whether it is answered by what runs own, and nothing needs to be asked of the runs themselves."""
        return not self.column and self.view.is_plain and is_owned(compile_filter(self.filter))

    @property
    def having(self) -> Query:
        """A table of those that have a value: `seq` and `value`."""
        asked = compile_filter(self.filter)
        if self.column:
            where = both(Query(f"{self.column} <> ''", ()), self.view.where, asked)
            return Query(f"SELECT seq, {self.column} AS value FROM runs WHERE {where.where}", where.values)
        where = asked
        if self.is_owned:
            where = both(self.view.apart, asked)
        elif (whole := both(self.view.where, asked)).where:
            where = Query(f"runs.seq IN (SELECT runs.seq FROM runs WHERE {whole.where})", whole.values)
        own = f"SELECT run AS seq, value FROM {OF_RUNS[self.field.entity].table} WHERE key = ?"
        found = f"SELECT seq, value FROM ({own}) AS runs WHERE {where.where or '1 = 1'}"
        return Query(found, (self.field.key, *where.values))


def groups(
    connection: Connection,
    by: str,
    metric: str,
    filter: str,
    *,
    view: View,
    limit: int,
    best: str = "",
) -> Grouped:
    """The runs of a view that match, by what they have in common: a part, a param, a tag or another text. `best`:
    `least` or `greatest`, by which the groups are ordered then, else by how many runs they have. Raises Unfit, and
    UsageError for what runs are not grouped by."""
    question = Question(grouped_by(by), view, filter, metric)
    counts, total = _counts(connection, question, limit)
    if best and total > len(counts):
        return _in_order_of(connection, question, best, limit)
    ranges = _ranges(connection, question, counts)
    found = [Group(value, runs, *map(_read, ranges.get(value, (None, None)))) for value, runs in counts]
    if best:
        found.sort(key=lambda group: _rank(group, best))
    return Grouped(found, total)


def grouped_by(by: str) -> Field:
    """Raises Unfit, and UsageError for what runs are not grouped by."""
    ((field, _),) = read_order([by], RUNS)
    kind = RUNS.attributes[field.key].kind if field.entity == "attributes" else ""
    if kind not in GROUPED and field.entity not in ("params", "tags"):
        raise UsageError(
            f"runs are not grouped by {by}",
            because="They are grouped by a part, by a param or a tag, and by what else is text.",
            hint="group=data, group=params.lr",
        )
    return field


# -- how many ------------------------------------------------------------------------------------------------------


def _counts(connection: Connection, question: Question, limit: int) -> tuple[list[tuple[Value, int]], int]:
    """The largest groups, and how many there are."""
    having = question.having
    found: list[tuple[Value, int]] = connection.execute(
        f"SELECT value, count(*) FROM ({having.where}) AS runs GROUP BY value ORDER BY 2 DESC, 1 LIMIT ?",
        (*having.values, limit),
    ).fetchall()
    total, runs = len(found), sum(runs for _, runs in found)
    if total == limit:
        total, runs = _of_all(connection, having, singly=found[0][1] == 1)
    if others := count(connection, question.view, question.filter) - runs:
        found, total = sorted([*found, (None, others)], key=_by_size)[:limit], total + 1
    return found, total


def _of_all(connection: Connection, having: Query, *, singly: bool) -> tuple[int, int]:
    """How many groups there are, and how many runs in them. `singly`: no two runs have one value in common."""
    each = f"SELECT {'1' if singly else 'count(*)'} AS runs FROM ({having.where}) AS runs"
    ((total, runs),) = connection.execute(
        f"SELECT count(*), sum(runs) FROM ({each}{'' if singly else ' GROUP BY value'}) AS groups", having.values
    ).fetchall()
    return int(total), int(runs)


def _by_size(one: tuple[Value, int]) -> tuple[int, bool, str]:
    value, runs = one
    return -runs, value is not None, value or ""


# -- what is least and greatest ------------------------------------------------------------------------------------


def _ranges(
    connection: Connection, question: Question, counts: Sequence[tuple[Value, int]]
) -> dict[Value, tuple[float | None, float | None]]:
    """Of the metric, by group, as it lies in the table."""
    values = [value for value, _ in counts]
    if sum(runs for _, runs in counts) <= FEW:
        return _looked_through(connection, question, values)
    near = max(LEAST, NEAR * len(values))
    least = {value: low for value, low, _ in _at_an_end(connection, question, "", near)}
    greatest = {value: high for value, _, high in _at_an_end(connection, question, " DESC", near)}
    missing = [value for value in values if value not in least or value not in greatest]
    found = {value: (least[value], greatest[value]) for value in values if value in least and value in greatest}
    return {**found, **_looked_through(connection, question, missing)}


def _at_an_end(connection: Connection, question: Question, way: str, near: int) -> list[tuple[Value, float, float]]:
    """The groups of which some are among the first values, with what is least and greatest there."""
    first = "SELECT run AS seq, value AS measured FROM metrics WHERE key = ? AND value IS NOT NULL"
    joined, (source, meant) = question.joined, question.those
    return connection.execute(
        f"SELECT {question.value}, min(measured), max(measured) FROM ({first} ORDER BY value{way} LIMIT ?) AS {source}"
        f"{joined.where} WHERE {meant.where or '1 = 1'} GROUP BY {question.value}",
        (question.metric, near, *joined.values, *meant.values),
    ).fetchall()


def _looked_through(
    connection: Connection, question: Question, values: Sequence[Value]
) -> dict[Value, tuple[float | None, float | None]]:
    """Of these groups: each of their runs is looked at."""
    some = [value for value in values if value is not None]
    found: dict[Value, tuple[float | None, float | None]] = {}
    if some:
        having, marks = question.having, ", ".join("?" * len(some))
        rows = connection.execute(
            f"SELECT these.value, min(m.value), max(m.value) FROM ({having.where}) AS these CROSS JOIN metrics AS m"
            f" WHERE m.run = these.seq AND m.key = ? AND these.value IN ({marks}) GROUP BY these.value",
            (*having.values, question.metric, *some),
        ).fetchall()
        found = {value: (least, greatest) for value, least, greatest in rows}
    if len(some) < len(values):
        joined, meant = question.joined, question.meant
        where = both(Query("m.run = runs.seq AND m.key = ?", (question.metric,)), meant)
        ((least, greatest),) = connection.execute(
            f"SELECT min(m.value), max(m.value) FROM runs{joined.where} CROSS JOIN metrics AS m"
            f" WHERE {where.where} AND {question.value} IS NULL",
            (*joined.values, *where.values),
        ).fetchall()
        found[None] = (least, greatest)
    return found


def _in_order_of(connection: Connection, question: Question, best: str, limit: int) -> Grouped:
    """The best of many groups: each run is looked at."""
    joined, where = question.joined, both(question.view.where, compile_filter(question.filter))
    first = {"least": "min(m.value) IS NULL, min(m.value)", "greatest": "max(m.value) IS NULL, max(m.value) DESC"}[best]
    value = question.value
    found = connection.execute(
        f"SELECT {value}, count(*), min(m.value), max(m.value), count(*) OVER () FROM runs{joined.where}"
        f" LEFT JOIN metrics AS m ON m.run = runs.seq AND m.key = ? WHERE {where.where or '1 = 1'} GROUP BY {value}"
        f" ORDER BY {first}, count(*) DESC, {value} IS NOT NULL, {value} LIMIT ?",
        (*joined.values, question.metric, *where.values, limit),
    ).fetchall()
    made = [Group(value, runs, _read(least), _read(greatest)) for value, runs, least, greatest, _ in found]
    return Grouped(made, int(found[0][-1]) if found else 0)


def _rank(group: Group, best: str) -> tuple[Any, ...]:
    extreme = group.least if best == "least" else group.greatest
    value = 0.0 if extreme is None else extreme if best == "least" else -extreme
    return extreme is None, value, *_by_size((group.value, group.runs))


def _read(value: float | None) -> float | None:
    """Infinities lie in the tables as the largest numbers."""
    if value is None or abs(value) < sys.float_info.max:
        return value
    return float("inf") if value > 0 else float("-inf")
