"""The filter language, compiled to SQL: one compiler for all that is searched, each by its Grammar.

What has no such metric, param or tag matches no comparison, save IS NULL. Beyond MLflow's: our attributes (command,
code, …), a param compared with a bare number by its number, and dates for times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from bis.ledger.filter import SPECIAL, Comparison, Field, Order, Token, Unfit, kind_of, read_filter, read_order, text_of
from bis.ledger.grammar import RUNS, Grammar, Keyed
from bis.ledger.refusals import BadToken

STATUSES: Final = {"FINISHED": "finished", "FAILED": "failed", "RUNNING": "running", "KILLED": "interrupted"}
"""MLflow's words for ours."""
SQL: Final = {"!=": "<>"}
FAR: Final = 2.0**62
"""Microseconds: beyond every date."""
LARGEST: Final = 1.7976931348623157e308
EITHER: Final = 500
"""Conditions of which one must hold: SQLite nests no more than 1,000."""
TOGETHER: Final = 100
"""Sets of owners that are intersected in one place: SQLite takes no more than 500."""


class Query(NamedTuple):
    """An SQL condition, and what is bound to it."""

    where: str
    values: tuple[Any, ...]
    owners: str = ""
    """A SELECT of rows, where the condition holds for none but these."""


class Term(NamedTuple):
    """One thing that is ordered by. It is never NULL, so that a place in the order can be named by its values."""

    column: str
    falling: bool


class First(NamedTuple):
    """What comes first in an order, where rows have it by key."""

    keyed: Keyed
    key: str
    falling: bool
    by_number: bool
    alone: bool
    """Whether only the ties decide among rows that have the same."""

    @property
    def way(self) -> str:
        return " DESC" if self.falling else ""

    @property
    def behind(self) -> str:
        """How a value that comes behind another compares with it."""
        return "<" if self.falling else ">"

    def owners(self, count: int, since: float | None = None) -> Query:
        """A table of the owners of the first numbers, so many or more where some are equal; `since` one of them."""
        source = f"FROM {self.keyed.table} WHERE key = ?"
        bound, values = ("value IS NOT NULL", ()) if since is None else (f"value {self.behind}= ?", (since,))
        last = f"SELECT value {source} AND {bound} ORDER BY value{self.way} LIMIT 1 OFFSET ?"
        until = ">=" if self.falling else "<="
        where = f"SELECT {self.keyed.owner} AS owner {source} AND {bound} AND value {until} ({last})"
        return Query(where, (self.key, *values, self.key, *values, count))


class Stages(NamedTuple):
    """The rows of an order that begins with a text which only some of them have: these have an index of their own, and
    no others are in it."""

    having: Query
    without: Query
    are_without: str
    """A SELECT of one value: whether any row is without it."""


class Ordering(NamedTuple):
    """An order of rows that leaves no two of them equal."""

    joins: str
    """What follows FROM and the table."""
    values: tuple[Any, ...]
    """Bound to the joins."""
    terms: tuple[Term, ...]
    first: First | None = None
    stages: Stages | None = None
    shared: bool = False
    """Whether many rows have what comes first in it in common."""

    @property
    def columns(self) -> str:
        """The values that name the place of a row."""
        return ", ".join(term.column for term in self.terms)

    @property
    def is_of_time(self) -> bool:
        """Whether it is that of the start, in which runs are found one after the other."""
        return not self.joins and self.terms[0].column == "started"

    @property
    def by(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(f"{term.column} DESC" if term.falling else term.column for term in self.terms)

    def after(self, place: Sequence[Any]) -> Query:
        """The rows that come behind the row whose `columns` are these. Raises BadToken for what are none."""
        if len(place) != len(self.terms):
            raise BadToken("it belongs to another order")
        either: list[Query] = []
        for number, term in enumerate(self.terms):
            same = [f"{earlier.column} = ?" for earlier in self.terms[:number]]
            either.append(
                Query(
                    " AND ".join([*same, f"{term.column} {'<' if term.falling else '>'} ?"]), tuple(place[: number + 1])
                )
            )
        # What follows from the others is said as well: an index is entered there.
        start = f"{self.terms[0].column} {'<' if self.terms[0].falling else '>'}= ?"
        return Query(
            f"{start} AND ({' OR '.join(f'({query.where})' for query in either)})",
            (place[0], *(value for query in either for value in query.values)),
        )


def compile_filter(text: str, grammar: Grammar = RUNS) -> Query:
    """Raises Unfit with the position, and what was probably meant."""
    return compiled(read_filter(text, grammar), grammar)


def compiled(comparisons: Sequence[Comparison], grammar: Grammar) -> Query:
    """A condition that all of them hold. Owners that several ask for are intersected before any row is looked at."""
    found = [_compiled(comparison, grammar) for comparison in comparisons]
    sets = [query for query in found if query.owners]
    groups = [sets[at : at + TOGETHER] for at in range(0, len(sets), TOGETHER)]
    whole = both(*(query for query in found if not query.owners), *(_in_all(grammar.row, group) for group in groups))
    return whole._replace(owners=" INTERSECT ".join(query.owners for query in sets))


def _in_all(row: str, sets: Sequence[Query]) -> Query:
    owners = " INTERSECT ".join(query.owners for query in sets)
    return Query(f"{row} IN ({owners})", tuple(value for query in sets for value in query.values))


def compile_order(terms: Sequence[str], grammar: Grammar = RUNS) -> Ordering:
    """The grammar's ties decide among equals. What has no value comes last, and NaN before it."""
    return ordering(read_order(terms, grammar), grammar)


def ordering(orders: Sequence[Order], grammar: Grammar) -> Ordering:
    joins: list[str] = []
    values: list[Any] = []
    terms: list[Term] = []
    for number, (field, falling) in enumerate(orders):
        if field.entity == "attributes":
            terms += _by_attribute(field, falling, grammar)
        elif field.entity in grammar.keyed:
            keyed, name = grammar.keyed[field.entity], f"by{number}"
            joins.append(
                f" LEFT JOIN {keyed.table} AS {name} ON {name}.{keyed.owner} = {grammar.row} AND {name}.key = ?"
            )
            values.append(field.key)
            terms += _by_keyed(keyed, name, falling, keyed.numbered and grammar.by_number)
        else:
            raise Unfit("order", field.key, field.entity, f"nothing can be ordered by {field.entity}.{field.key}")
    known = {term.column for term in terms}
    terms += [Term(column, falling) for column, falling in grammar.ties if column not in known]
    return Ordering(
        "".join(joins),
        tuple(values),
        tuple(terms),
        _first(orders, grammar),
        _stages(orders, grammar) if orders else None,
        _is_shared(orders, grammar),
    )


def _first(orders: Sequence[Order], grammar: Grammar) -> First | None:
    if not orders or orders[0].field.entity not in grammar.keyed:
        return None
    (field, falling), keyed = orders[0], grammar.keyed[orders[0].field.entity]
    by_number = keyed.numbered and grammar.by_number
    return None if keyed.where else First(keyed, field.key, falling, by_number, len(orders) == 1)


def _stages(orders: Sequence[Order], grammar: Grammar) -> Stages | None:
    field = orders[0].field
    if field.entity != "attributes" or not (attribute := grammar.attributes[field.key]).apart:
        return None
    there = f"{attribute.column} <> ''"
    rows, _, row = grammar.row.partition(".")
    return Stages(
        Query(there, ()),
        Query(f"{grammar.row} NOT IN (SELECT one.{row} FROM {rows} AS one WHERE one.{there})", ()),
        f"SELECT (SELECT count(*) FROM {rows}) > (SELECT count(*) FROM {rows} WHERE {there})",
    )


def _is_shared(orders: Sequence[Order], grammar: Grammar) -> bool:
    field = orders[0].field if orders else None
    return field is not None and field.entity == "attributes" and grammar.attributes[field.key].shared


def both(*queries: Query) -> Query:
    """A condition that all of these hold; an empty one holds always."""
    some = [query for query in queries if query.where]
    return Query(" AND ".join(query.where for query in some), tuple(value for query in some for value in query.values))


def one_of(column: str, values: Sequence[Any]) -> Query:
    """A condition that a column has one of these values. With a `+` before the column no index of it is used."""
    return Query(f"{column} IN ({', '.join('?' * len(values))})" if values else "1 = 0", tuple(values))


# -- order ---------------------------------------------------------------------------------------------------------


def _by_attribute(field: Field, falling: bool, grammar: Grammar) -> list[Term]:
    attribute = grammar.attributes[field.key]
    if not attribute.nullable:
        return [Term(attribute.column, falling)]
    nothing = "''" if attribute.kind in ("text", "status", "part") else "0"
    absent = Term(f"CASE WHEN {attribute.column} IS NULL THEN 1 ELSE 0 END", False)
    return [absent, Term(f"coalesce({attribute.column}, {nothing})", falling)]


def _by_keyed(keyed: Keyed, name: str, falling: bool, by_number: bool) -> list[Term]:
    absent = f"WHEN {name}.value IS NULL THEN 2 ELSE 0 END"
    if by_number:
        return [
            Term(f"CASE WHEN {name}.value IS NOT NULL AND {name}.number IS NULL THEN 1 {absent}", False),
            Term(f"coalesce({name}.number, 0.0)", falling),
            Term(f"coalesce({name}.value, '')", falling),
        ]
    if keyed.flagged:
        absent = f"WHEN {name}.flag = 'NaN' THEN 1 {absent}"
    nothing = "0.0" if keyed.kind == "number" else "''"
    return [Term(f"CASE {absent}", False), Term(f"coalesce({name}.value, {nothing})", falling)]


# -- comparisons ---------------------------------------------------------------------------------------------------


def _compiled(comparison: Comparison, grammar: Grammar) -> Query:
    field, operator, values = comparison
    if operator.startswith("IS"):
        return _is_null(field, grammar, negated=operator == "IS NOT NULL")
    if operator in ("IN", "NOT IN"):
        return _is_in(field, grammar, values, negated=operator == "NOT IN")
    return _compared(field, grammar, operator, values[0])


def _owned(field: Field, grammar: Grammar, condition: str, values: Sequence[Any]) -> Query:
    """A condition on `value`, of a metric, param or tag."""
    keyed = grammar.keyed[field.entity]
    some = f" AND {keyed.where}" if keyed.where else ""
    if grammar.each:
        owned = f"{keyed.owner} = {grammar.row} AND key = ? AND {condition}{some}"
        return Query(f"EXISTS (SELECT 1 FROM {keyed.table} WHERE {owned})", (field.key, *values, *keyed.values))
    owners = f"SELECT {keyed.owner} FROM {keyed.table} WHERE key = ? AND {condition}{some}"
    return Query(f"{grammar.row} IN ({owners})", (field.key, *values, *keyed.values), owners)


def _is_null(field: Field, grammar: Grammar, negated: bool) -> Query:
    if field.entity == "attributes":
        column, kind, *_ = grammar.attributes[field.key]
        empty = f"({column} IS NULL OR {column} = '')" if kind in ("text", "status", "part") else f"{column} IS NULL"
        return Query(f"NOT {empty}" if negated else empty, ())
    inside = "IN" if negated else "NOT IN"
    if field.entity in grammar.related:
        related = grammar.related[field.entity]
        return Query(f"{grammar.row} {inside} (SELECT {related.owner} FROM {related.source})", ())
    keyed = grammar.keyed[field.entity]
    return Query(f"{grammar.row} {inside} (SELECT {keyed.owner} FROM {keyed.table} WHERE key = ?)", (field.key,))


def _is_in(field: Field, grammar: Grammar, values: Sequence[Token], *, negated: bool) -> Query:
    listed = _listed(field, grammar, values)
    either = [listed] if listed else [_compared(field, grammar, "=", value) for value in values]
    if len(either) > EITHER:
        said = f"a list of numbers has at most {EITHER} values in a filter"
        raise Unfit("value", "", f"{len(either)} values", said, hint="ask several times")
    condition = " OR ".join(query.where for query in either)
    bound = tuple(value for query in either for value in query.values)
    if not negated:
        return Query(f"({condition})", bound)
    there = _is_null(field, grammar, negated=True)
    return Query(f"({there.where} AND NOT ({condition}))", (*there.values, *bound))


def _listed(field: Field, grammar: Grammar, values: Sequence[Token]) -> Query | None:
    """A condition on text, whatever the length of the list; None where its values are not all compared as they are."""
    texts, marks = [text_of(value) for value in values], ", ".join("?" * len(values))
    if field.entity == "attributes" and kind_of(field, grammar) == "text":
        return Query(f"{grammar.attributes[field.key].column} IN ({marks})", tuple(texts))
    keyed = grammar.keyed.get(field.entity)
    if keyed and keyed.kind == "text" and all(value.kind != "number" for value in values):
        return _owned(field, grammar, f"value IN ({marks})", texts)
    return None


def _compared(field: Field, grammar: Grammar, operator: str, token: Token) -> Query:
    if field.entity == "attributes":
        return _attribute(field, grammar, operator, token)
    if field.entity in grammar.related:
        related = grammar.related[field.entity]
        asked = _alike(related.attributes[field.key], operator, text_of(token))
        return Query(
            f"{grammar.row} IN (SELECT {related.owner} FROM {related.source} WHERE {asked.where})", asked.values
        )
    keyed = grammar.keyed[field.entity]
    if keyed.kind == "number":
        asked = _number(keyed, operator, token)
    elif token.kind == "number" and keyed.numbered:
        asked = Query(f"number {SQL.get(operator, operator)} ?", (float(token.text),))
    else:
        asked = _alike("value", operator, text_of(token))
    return _owned(field, grammar, asked.where, asked.values)


def _number(keyed: Keyed, operator: str, token: Token) -> Query:
    flag = SPECIAL.get(text_of(token).lower())
    operator = SQL.get(operator, operator)
    if flag == "NaN" and keyed.flagged:
        return Query(f"flag {operator} 'NaN'", ())
    if flag:
        return Query(f"value {operator} ?", (math.copysign(LARGEST, -1 if flag[0] == "-" else 1),))
    return Query(f"value {operator} ?", (_as_number(token),))


def _attribute(field: Field, grammar: Grammar, operator: str, token: Token) -> Query:
    column = grammar.attributes[field.key].column
    match kind_of(field, grammar):
        case "time":
            return _at(column, operator, token)
        case "moment" | "number":
            return Query(f"{column} {SQL.get(operator, operator)} ?", (_as_number(token),))
        case "status":
            text = text_of(token)
            return _alike(column, operator, STATUSES.get(text.upper(), text.lower()))
        case "part" if operator in ("=", "!="):
            digits = "b3:" + text_of(token).removeprefix("b3:")
            return Query(f"{column} {'LIKE' if operator == '=' else 'NOT LIKE'} ?", (digits + "%",))
    return _alike(column, operator, text_of(token))


def _alike(column: str, operator: str, text: str) -> Query:
    if operator == "LIKE":
        return Query(f"{column} LIKE ? ESCAPE '\\'", (_literal(text),))
    if operator == "ILIKE":
        return Query(f"lower({column}) LIKE lower(?) ESCAPE '\\'", (_literal(text),))
    return Query(f"{column} {SQL.get(operator, operator)} ?", (text,))


def _literal(pattern: str) -> str:
    """A pattern in which a backslash means itself, as everywhere; PostgreSQL would take it for an escape."""
    return pattern.replace("\\", "\\\\")


def _as_number(token: Token) -> float:
    try:
        return float(text_of(token))
    except ValueError:
        raise Unfit(
            "value",
            token.text,
            token.text,
            f"{text_of(token)!r} at position {token.at + 1} of the filter is not a number",
            hint="metrics, times and exit are compared with numbers: metrics.loss < 0.3",
        ) from None


def _at(column: str, operator: str, token: Token) -> Query:
    """Microseconds, compared with MLflow's milliseconds, each of which lasts a thousand of them, or with a date."""
    start, lasts = _time(token)
    match operator:
        case "=":
            return Query(f"({column} >= ? AND {column} < ?)", (start, start + lasts))
        case "!=":
            return Query(f"({column} < ? OR {column} >= ?)", (start, start + lasts))
        case "<" | ">=":
            return Query(f"{column} {operator} ?", (start,))
    return Query(f"{column} {'<' if operator == '<=' else '>='} ?", (start + lasts,))


def _time(token: Token) -> tuple[int, int]:
    """The first microsecond that is meant, and how many are: from milliseconds, or from a date or time stamp."""
    text = text_of(token)
    try:
        # Infinity, too, is later than all runs (databases hold 63 bits); NaN is no time, and no whole number.
        return int(min(max(float(text) * 1000, -FAR), FAR)), 1000
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unfit(
            "value",
            text,
            token.text,
            f"{text!r} at position {token.at + 1} of the filter is no time",
            hint="a date ('2026-05-03'), a time stamp ('2026-05-03T12:00Z'), or milliseconds since 1970",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000), 1
