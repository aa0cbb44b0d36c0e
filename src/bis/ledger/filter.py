"""MLflow's filter language, read.

    metrics.loss < 0.3 AND params.model = 'ridge' AND tags.team IN ('a', 'b') AND status != 'FAILED'

One comparison after another, joined by AND. Keys with odd letters go in back-ticks or double quotes. What can be asked
for is said by a Grammar. Errors say what was probably meant; each is an Unfit, so that a door can say it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from bis.errors import UsageError
from bis.ledger.grammar import COMPARED, LISTED, Grammar, Kind

Problem = Literal["clause", "entity", "attribute", "operator", "null", "value", "order"]

MOST: Final = 200
"""Comparisons in one filter."""
LONGEST: Final = 10_000
"""Values in one list."""
OPERATORS: Final = {"==": "=", "<>": "!="}
"""Other spellings."""
SPECIAL: Final = {
    "nan": "NaN",
    "inf": "Infinity",
    "infinity": "Infinity",
    "-inf": "-Infinity",
    "-infinity": "-Infinity",
}
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


class Field(NamedTuple):
    """What is compared, or ordered by."""

    entity: str
    key: str
    at: int = 0


class Comparison(NamedTuple):
    field: Field
    operator: str
    """One of the grammar's."""
    values: tuple[Token, ...]
    """One, or those of a list; none for IS NULL."""


class Order(NamedTuple):
    field: Field
    falling: bool = False


class Unfit(UsageError):
    """A filter, or an order, that makes no sense, with what in it does not."""

    def __init__(
        self, problem: Problem, text: str, found: str, what: str, *, entity: str = "", because: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, because=because, hint=hint)
        self.problem = problem
        self.text = text
        self.found = found
        self.entity = entity


def read_filter(text: str, grammar: Grammar) -> list[Comparison]:
    """Raises Unfit with the position, and what was probably meant."""
    reader = _Reader(text, grammar)
    found: list[Comparison] = []
    while not reader.done:
        if found:
            reader.word("AND")
        found.append(_comparison(reader))
        if len(found) > MOST:
            said = f"a filter has at most {MOST} comparisons: {text[:100]} …"
            raise Unfit("clause", text[:100], text[:100], said, hint="params.model IN ('ridge', 'lasso', …)")
    return found


def read_order(terms: Iterable[str], grammar: Grammar) -> list[Order]:
    """What follows ORDER BY: `metrics.loss`, `start_time DESC`. Raises Unfit."""
    found: list[Order] = []
    for text in terms:
        reader = _Reader(text, grammar, "order")
        field = _field(reader)
        falling = reader.take("DESC")
        if not falling and not reader.done:
            reader.word("ASC")
        if not reader.done:
            raise reader.wrong("the end")
        if any((order.field.entity, order.field.key) == field[:2] for order in found):
            raise Unfit("order", text, text, f"the order names {field.entity}.{field.key} twice")
        found.append(Order(field, falling))
    return found


def kind_of(field: Field, grammar: Grammar) -> Kind:
    if field.entity == "attributes":
        return grammar.attributes[field.key].kind
    return grammar.keyed[field.entity].kind if field.entity in grammar.keyed else "text"


def text_of(token: Token) -> str:
    return _unquoted(token.text) if token.kind in ("text", "quoted") else token.text


def _comparison(reader: _Reader) -> Comparison:
    field = _field(reader)
    token = reader.next()
    name = OPERATORS.get(token.text, token.text.upper())
    if name == "IS":
        name = "IS NOT NULL" if reader.take("NOT") else "IS NULL"
        reader.word("NULL")
    elif name == "NOT":
        reader.word("IN")
        name = "NOT IN"
    elif name not in COMPARED and name not in ("LIKE", "ILIKE", "IN"):
        raise reader.wrong("=, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN or IS NULL", token)
    _check_operator(reader, field, name)
    if name.startswith("IS"):
        return Comparison(field, name, ())
    values = tuple(reader.values()) if name in LISTED else (reader.value(),)
    if name in ("LIKE", "ILIKE") and values[0].kind == "number":
        raise _no_text(reader, field, name)
    return Comparison(field, name, values)


def _check_operator(reader: _Reader, field: Field, name: str) -> None:
    grammar = reader.grammar
    allowed = grammar.operators(field.entity, kind_of(field, grammar))
    if name in allowed:
        return
    if name in ("LIKE", "ILIKE"):
        raise _no_text(reader, field, name)
    raise Unfit(
        "null" if name.startswith("IS") else "operator",
        reader.text,
        name,
        f"{_called(field)} cannot be compared by {name} (position {field.at + 1} of the filter): {reader.text}",
        entity=_called(field),
        because=f"It is compared by {', '.join(sorted(allowed))}.",
        hint=grammar.example,
    )


def _called(field: Field) -> str:
    return field.key if field.entity == "attributes" else f"{field.entity}.{field.key}"


def _field(reader: _Reader) -> Field:
    token = reader.next()
    if token.kind == "quoted":
        return _attribute(reader, _unquoted(token.text), token.at)
    if token.kind != "word":
        raise reader.wrong("a field such as metrics.loss", token)
    entity, dot, key = token.text.partition(".")
    if not dot:
        return _attribute(reader, token.text, token.at)
    if entity not in reader.grammar.entities:
        raise _unknown(reader, token, entity, key)
    if not key:
        quoted = reader.next()
        if quoted.kind != "quoted":
            raise reader.wrong(f"the name after {entity}.", quoted)
        key = _unquoted(quoted.text)
    meant = reader.grammar.entities[entity]
    if alias := reader.grammar.stands_for.get((meant, key)):
        return Field("attributes", alias, token.at)
    if meant == "attributes":
        return _attribute(reader, key, token.at)
    if meant in reader.grammar.related and key not in reader.grammar.related[meant].attributes:
        raise _no_attribute(reader, key, token.at, reader.grammar.related[meant].attributes, entity)
    return Field(meant, key, token.at)


def _attribute(reader: _Reader, key: str, at: int) -> Field:
    if key not in reader.grammar.attributes:
        raise _no_attribute(reader, key, at, reader.grammar.attributes)
    return Field("attributes", key, at)


def _no_attribute(reader: _Reader, key: str, at: int, known: Iterable[str], entity: str = "") -> Unfit:
    import difflib

    near = difflib.get_close_matches(key, known, 1)
    keyed = [f"{name}.*" for name in reader.grammar.keyed] if not entity else []
    fields = ", ".join([*keyed, *sorted(name for name in known if name.islower() and " " not in name)])
    guess = " or ".join(f"{name}.{key}" for name in list(reader.grammar.keyed)[:2])
    return Unfit(
        "attribute",
        reader.text,
        key,
        f"no field {key!r} at position {at + 1} of the {reader.what}: {reader.text}",
        entity=entity,
        because=f"Fields are {fields}.",
        hint=f"did you mean {near[0]}?" if near else f"did you mean {guess}?",
    )


def _unknown(reader: _Reader, token: Token, entity: str, key: str) -> Unfit:
    import difflib

    near = difflib.get_close_matches(entity, reader.grammar.entities, 1)
    names = [f"{name}.NAME" for name in dict.fromkeys(reader.grammar.entities.values()) if name != "datasets"]
    return Unfit(
        "entity",
        reader.text,
        entity,
        f"no field {token.text!r} at position {token.at + 1} of the {reader.what}: {reader.text}",
        hint=f"did you mean {near[0]}.{key}?" if near else f"one of {', '.join(names)}",
    )


def _no_text(reader: _Reader, field: Field, operator: str) -> Unfit:
    place = f"position {field.at + 1} of the {reader.what}"
    return Unfit(
        "operator",
        reader.text,
        operator,
        f"{operator} compares text, and a number stands at {place}: {reader.text}",
        entity=_called(field),
        hint="metrics.loss < 0.3 AND params.model LIKE 'ridge%'",
    )


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


class _Reader:
    """The tokens of a filter or an order, one after the other."""

    def __init__(self, text: str, grammar: Grammar, what: str = "filter") -> None:
        self.text, self.grammar, self.what = text, grammar, what
        self._tokens = list(self._split(text))
        self._next = 0

    def _split(self, text: str) -> list[Token]:
        found, at, end = [], 0, len(text.rstrip())
        while at < end:
            match = TOKEN.match(text, at)
            if not match or not match.lastgroup:
                start = len(text) - len(text[at:].lstrip())
                raise Unfit(
                    self._problem,
                    text,
                    text[start:],
                    f"the {self.what} cannot be read at position {start + 1}: {text[start:]}",
                    hint=self.grammar.example,
                )
            found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return found

    @property
    def _problem(self) -> Problem:
        return "clause" if self.what == "filter" else "order"

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
        raise self.wrong("a number, or text in quotes", token, "value")

    def values(self) -> list[Token]:
        self.word("(")
        found = [self.value()]
        while self.take(",") and self.peek().text != ")":
            found.append(self.value())
        self.word(")")
        if len(found) > LONGEST:
            said = f"a list in a filter has at most {LONGEST:,} values, not {len(found):,}"
            raise Unfit("value", self.text[:100], f"{len(found)} values", said, hint="ask several times")
        return found

    def wrong(self, expected: str, token: Token | None = None, problem: Problem | None = None) -> Unfit:
        token = token or self.peek()
        there = repr(token.text) if token.text else "the end"
        return Unfit(
            problem or self._problem,
            self.text,
            token.text,
            f"the {self.what} makes no sense at position {token.at + 1}: {there} where {expected} was expected:"
            f" {self.text}",
            because="OR is not part of the language." if token.text.upper() == "OR" else "",
            hint=self.grammar.example if self.what == "filter" else "metrics.loss DESC",
        )
