"""MLflow's filter language, compiled to SQL.

    metrics.loss < 0.3 AND params.model = 'ridge' AND tags.team IN ('a', 'b') AND status != 'FAILED'

One comparison after another, joined by AND. Keys with odd letters go in back-ticks or double quotes. A run that has no
such metric, param or tag matches no comparison, save IS NULL. Beyond MLflow's: our attributes (command, code, …), a
param compared with a bare number by its number, and dates for start_time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from bis.errors import UsageError

ENTITIES: Final = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attributes"),
}
TEXT: Final = {
    **{
        name: name
        for name in (
            *("status", "host", "command", "folder", "project", "repeats", "parent", "verdict", "note", "removed"),
        )
    },
    **dict.fromkeys(("run_id", "id"), "id"),
    **dict.fromkeys(("run_name", "run name", "Run name", "name"), "name"),
    **dict.fromkeys(("user", "user_id", "User"), "username"),
}
PARTS: Final = {
    **{name: name for name in ("code", "data", "environment", "infrastructure", "machine")},
    "env": "environment",
}
"""Compared by digest: the first digits are enough."""
TIMES: Final = {
    **dict.fromkeys(("start_time", "started", "created", "Created"), "started"),
    **dict.fromkeys(("end_time", "ended"), "ended"),
}
NUMBERS: Final = {
    "exit": "exit",
    "signal": "signal",
    **dict.fromkeys(("seconds", "duration"), "(ended - started) / 1e6"),
}
ATTRIBUTES: Final = {**TEXT, **PARTS, **TIMES, **NUMBERS}
STATUSES: Final = {"FINISHED": "finished", "FAILED": "failed", "RUNNING": "running", "KILLED": "interrupted"}
"""MLflow's words for ours."""
COMPARISONS: Final = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
SPECIAL: Final = {
    "nan": "NaN",
    "inf": "Infinity",
    "infinity": "Infinity",
    "-inf": "-Infinity",
    "-infinity": "-Infinity",
}
FAR: Final = 2.0**62
"""Microseconds: beyond every date."""
LARGEST: Final = 1.7976931348623157e308

TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<word>[-+]?[^\W\d][\w./:@+\[\]-]*)
    | (?P<mark><=|>=|!=|<>|==|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class Query(NamedTuple):
    """An SQL condition over `runs`, and what is bound to it."""

    where: str
    values: tuple[Any, ...]


def compile_filter(text: str) -> Query:
    """Raises UsageError with the position, and what was probably meant."""
    reader = _Reader(text)
    parts: list[Query] = []
    while not reader.done:
        if parts:
            reader.word("AND")
        parts.append(_comparison(reader))
    return Query(" AND ".join(part.where for part in parts), tuple(value for part in parts for value in part.values))


def compile_order(order: Sequence[str]) -> Query:
    """What follows ORDER BY, the newest run first among equals. Runs without the value, and NaN, come last."""
    terms: list[str] = []
    values: list[Any] = []
    for text in order:
        reader = _Reader(text, "order")
        entity, key, _ = _identifier(reader)
        falling = not reader.done and reader.peek().text.upper() == "DESC"
        if not reader.done and not falling:
            reader.word("ASC")
        elif falling:
            reader.next()
        if not reader.done:
            raise reader.wrong("the end")
        column, bound = _value_of(entity, key)
        terms += [f"{column} IS NULL", f"{column} {'DESC' if falling else 'ASC'}"]
        values += bound * 2
    return Query(", ".join([*terms, "started DESC", "seq DESC"]), tuple(values))


def _comparison(reader: _Reader) -> Query:
    entity, key, at = _identifier(reader)
    operator = reader.next()
    name = operator.text.upper()
    if name == "IS":
        negated = reader.take("NOT")
        reader.word("NULL")
        return _is_null(entity, key, negated)
    if name in ("IN", "NOT"):
        if name == "NOT":
            reader.word("IN")
        return _is_in(entity, key, reader, negated=name == "NOT")
    if name in ("LIKE", "ILIKE"):
        return _is_like(entity, key, reader, name, at)
    if operator.text not in COMPARISONS:
        raise reader.wrong("=, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN or IS NULL", operator)
    return _compared(entity, key, COMPARISONS[operator.text], reader.value())


def _identifier(reader: _Reader) -> tuple[str, str, int]:
    """The entity, the key, and where it begins."""
    token = reader.next()
    if token.kind == "quoted":
        return _attribute(reader, _unquoted(token.text), token.at)
    if token.kind != "word":
        raise reader.wrong("a field such as metrics.loss", token)
    entity, dot, key = token.text.partition(".")
    if not dot:
        return _attribute(reader, token.text, token.at)
    if entity not in ENTITIES:
        raise _unknown(reader, token, entity, key)
    if not key:
        quoted = reader.next()
        if quoted.kind != "quoted":
            raise reader.wrong(f"the name after {entity}.", quoted)
        key = _unquoted(quoted.text)
    if ENTITIES[entity] == "attributes":
        return _attribute(reader, key, token.at)
    return ENTITIES[entity], key, token.at


def _attribute(reader: _Reader, key: str, at: int) -> tuple[str, str, int]:
    if key not in ATTRIBUTES:
        import difflib

        near = difflib.get_close_matches(key, ATTRIBUTES, 1)
        known = ", ".join(sorted(name for name in ATTRIBUTES if name.islower() and " " not in name))
        meant = f"did you mean {near[0]}?" if near else f"did you mean metrics.{key} or params.{key}?"
        raise UsageError(
            f"no field {key!r} at position {at + 1} of the {reader.what}: {reader.text}",
            because=f"Fields are metrics.*, params.*, tags.*, {known}.",
            hint=meant,
        )
    return "attributes", key, at


def _unknown(reader: _Reader, token: Token, entity: str, key: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(entity, ENTITIES, 1)
    meant = f"did you mean {near[0]}.{key}?" if near else "one of metrics.NAME, params.NAME, tags.NAME, attributes.NAME"
    return UsageError(
        f"no field {token.text!r} at position {token.at + 1} of the {reader.what}: {reader.text}", hint=meant
    )


def _value_of(entity: str, key: str) -> tuple[str, list[Any]]:
    """An expression for the value, NULL where there is none."""
    if entity == "attributes":
        return ATTRIBUTES[key], []
    return f"(SELECT value FROM {entity} WHERE run = seq AND key = ?)", [key]


def _exists(entity: str, key: str, condition: str, values: Sequence[Any]) -> Query:
    """A condition on `value`, of a metric, param or tag."""
    return Query(f"seq IN (SELECT run FROM {entity} WHERE key = ? AND {condition})", (key, *values))


def _is_null(entity: str, key: str, negated: bool) -> Query:
    if entity == "attributes":
        empty = f"({ATTRIBUTES[key]} IS NULL OR {ATTRIBUTES[key]} = '')"
        return Query(f"NOT {empty}" if negated else empty, ())
    inside = "IN" if negated else "NOT IN"
    return Query(f"seq {inside} (SELECT run FROM {entity} WHERE key = ?)", (key,))


def _is_in(entity: str, key: str, reader: _Reader, *, negated: bool) -> Query:
    found = reader.values()
    either = [_compared(entity, key, "=", value) for value in found]
    condition = " OR ".join(query.where for query in either)
    bound = tuple(value for query in either for value in query.values)
    if not negated:
        return Query(f"({condition})", bound)
    there = _is_null(entity, key, negated=True)
    return Query(f"({there.where} AND NOT ({condition}))", (*there.values, *bound))


def _is_like(entity: str, key: str, reader: _Reader, operator: str, at: int) -> Query:
    token = reader.value()
    of_numbers = entity == "metrics" or (entity == "attributes" and key in NUMBERS | TIMES)
    if of_numbers or token.kind == "number":
        raise UsageError(
            f"{operator} compares text, and a number stands at position {at + 1} of the {reader.what}: {reader.text}",
            hint="metrics.loss < 0.3 AND params.model LIKE 'ridge%'",
        )
    pattern = _text(token)
    column = ATTRIBUTES[key] if entity == "attributes" else "value"
    condition = f"{column} LIKE ?" if operator == "LIKE" else f"lower({column}) LIKE lower(?)"
    if entity == "attributes":
        return Query(condition, (pattern,))
    return _exists(entity, key, condition, (pattern,))


def _compared(entity: str, key: str, operator: str, token: Token) -> Query:
    if entity == "metrics":
        return _metric(key, operator, token)
    if entity == "attributes":
        return _compared_attribute(key, operator, token)
    if token.kind == "number":
        return _exists(entity, key, f"number {operator} ?", (float(token.text),))
    return _exists(entity, key, f"value {operator} ?", (_text(token),))


def _metric(key: str, operator: str, token: Token) -> Query:
    flag = SPECIAL.get(_text(token).lower())
    if flag == "NaN":
        return _exists("metrics", key, f"flag {operator} 'NaN'", ())
    if flag:
        return _exists("metrics", key, f"value {operator} ?", (math.copysign(LARGEST, -1 if flag[0] == "-" else 1),))
    return _exists("metrics", key, f"value {operator} ?", (_number(token),))


def _compared_attribute(key: str, operator: str, token: Token) -> Query:
    column = ATTRIBUTES[key]
    if key in TIMES:
        return Query(f"{column} {operator} ?", (_time(token),))
    if key in NUMBERS:
        return Query(f"{column} {operator} ?", (_number(token),))
    text = _text(token)
    if key == "status":
        text = STATUSES.get(text.upper(), text.lower())
    if key in PARTS and operator in ("=", "<>"):
        digits = "b3:" + text.removeprefix("b3:")
        return Query(f"{column} {'LIKE' if operator == '=' else 'NOT LIKE'} ?", (digits + "%",))
    return Query(f"{column} {operator} ?", (text,))


def _text(token: Token) -> str:
    return _unquoted(token.text) if token.kind in ("text", "quoted") else token.text


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _number(token: Token) -> float:
    try:
        return float(_text(token))
    except ValueError:
        raise UsageError(
            f"{_text(token)!r} at position {token.at + 1} of the filter is not a number",
            hint="metrics, times and exit are compared with numbers: metrics.loss < 0.3",
        ) from None


def _time(token: Token) -> int:
    """Microseconds: from MLflow's milliseconds, or from a date or time stamp."""
    text = _text(token)
    try:
        # Infinity, too, is later than all runs (SQLite holds 63 bits); NaN is no time, and no whole number.
        return int(min(max(float(text) * 1000, -FAR), FAR))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} at position {token.at + 1} of the filter is no time",
            hint="a date ('2026-05-03'), a time stamp ('2026-05-03T12:00Z'), or milliseconds since 1970",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


class _Reader:
    """The tokens of a filter or an order, one after the other."""

    def __init__(self, text: str, what: str = "filter") -> None:
        self.text, self.what = text, what
        self._tokens = list(self._split(text))
        self._next = 0

    def _split(self, text: str) -> list[Token]:
        found, at = [], 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if not match or not match.lastgroup:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise UsageError(
                    f"the {self.what} cannot be read at position {start + 1}: {text[start:]}",
                    hint="metrics.loss < 0.3 AND params.model = 'ridge'",
                )
            found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return found

    @property
    def done(self) -> bool:
        return self._next >= len(self._tokens)

    def peek(self) -> Token:
        return Token("end", "", len(self.text)) if self.done else self._tokens[self._next]

    def next(self) -> Token:
        token = self.peek()
        if token.kind == "end":
            raise self.wrong("more", token)
        self._next += 1
        return token

    def take(self, word: str) -> bool:
        found = self.peek().text.upper() == word
        self._next += found
        return found

    def word(self, word: str) -> None:
        if not self.take(word):
            raise self.wrong(word)

    def value(self) -> Token:
        token = self.next()
        if token.kind in ("text", "quoted", "number") or token.text.lower() in SPECIAL:
            return token
        raise self.wrong("a number, or text in quotes", token)

    def values(self) -> list[Token]:
        self.word("(")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.word(")")
        return found

    def wrong(self, expected: str, token: Token | None = None) -> UsageError:
        token = token or self.peek()
        there = repr(token.text) if token.text else "the end"
        example = "metrics.loss < 0.3 AND params.model IN ('ridge', 'lasso')"
        return UsageError(
            f"the {self.what} makes no sense at position {token.at + 1}: {there} where {expected} was expected:"
            f" {self.text}",
            because="OR is not part of the language." if token.text.upper() == "OR" else "",
            hint=example if self.what == "filter" else "metrics.loss DESC",
        )
