"""MLflow's filter language for registered models and their versions, compiled to SQL.

    name LIKE 'churn%' AND tags.team = 'growth'          run_id IN ('7f3a…', '91bc…') AND version_number > 2

A comparison of a tag matches no model that has not got the tag. What makes no sense is said in MLflow's words, which
its clients look for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bis.errors import UsageError
from bis.ledger.search import Query

HINT: Final = "name LIKE 'churn%' AND tags.team = 'growth'"
MOST: Final = 100
"""Comparisons in one filter."""
LONGEST: Final = 10_000
"""Values in one list."""
TEXT: Final = ("=", "!=", "LIKE", "ILIKE", "IN")
ORDERED: Final = ("=", "!=", "<", "<=", ">", ">=")
TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<name>(?:[A-Za-z_]\w*\.)?(?:`[^`]*`|"[^"]*"(?=\s*(?:[<>=!]|I?LIKE\b|IN\b))|[A-Za-z_][\w.\-/]*(?![\w.\-/]))
          (?=\s*(?:[<>=!]|(?i:I?LIKE|IN)\b)))
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>-?\d+(?:\.\d+)?)(?![\w.])
    | (?P<mark><=|>=|!=|=|<|>|\(|\)|,)
    | (?P<word>[^\s()<>=!,'"]+)
    )""",
    re.VERBOSE,
)


class Grammar(NamedTuple):
    """What may be compared: attribute -> column, and which of these are numbers."""

    attributes: Mapping[str, str]
    numbers: frozenset[str]
    order: Mapping[str, str]
    tags: str
    """A condition that a tag is there, in which `{}` stands for what is said of it."""
    usual: tuple[str, ...]


MODELS: Final = Grammar(
    attributes={"name": "m.name"},
    numbers=frozenset(),
    order={"name": "m.name", "timestamp": "m.changed", "last_updated_timestamp": "m.changed"},
    tags="EXISTS (SELECT 1 FROM registered_model_tags t WHERE t.model = m.id AND t.key = ? AND {})",
    usual=("m.name",),
)
VERSIONS: Final = Grammar(
    attributes={
        "name": "m.name",
        "version_number": "v.version",
        "run_id": "v.run",
        "source_path": "v.source",
    },
    numbers=frozenset({"version_number"}),
    order={
        "name": "m.name",
        "version_number": "v.version",
        "creation_timestamp": "v.made",
        "last_updated_timestamp": "v.changed",
    },
    tags="EXISTS (SELECT 1 FROM model_version_tags t WHERE t.model = v.model AND t.version = v.version"
    " AND t.key = ? AND {})",
    usual=("m.name", "v.version DESC"),
)
SAME_MILLISECOND: Final = {"m.changed": "m.changed / 1000", "v.made": "v.made / 1000", "v.changed": "v.changed / 1000"}
"""What clients see as the same time is ordered by what comes next."""


class Token(NamedTuple):
    kind: str
    text: str


class Comparison(NamedTuple):
    entity: str
    key: str
    operator: str
    value: Any


def models_where(text: str, without: str = "") -> Query:
    """The condition of a filter. `without`: a tag; what has it as `true` is left out, unless the filter asks for it."""
    return _where(text, without, MODELS)


def versions_where(text: str, without: str = "") -> Query:
    return _where(text, without, VERSIONS)


def models_order(order: Sequence[str]) -> str:
    return _order(order, MODELS, "order by")


def versions_order(order: Sequence[str]) -> str:
    """Those that changed last come first, where nothing else is said."""
    return _order(order or ("last_updated_timestamp DESC",), VERSIONS, "attribute")


def _where(text: str, without: str, grammar: Grammar) -> Query:
    found = _comparisons(text, grammar)
    asked = any(one.entity == "tag" and one.key == without and _asks(one) for one in found)
    parts = [_compiled(one, grammar) for one in found if asked or (one.entity, one.key) != ("tag", without)]
    if without and not asked:
        model = "SELECT 1 FROM registered_model_tags p WHERE p.model = m.id AND p.key = ? AND p.value = 'true'"
        parts.append(Query(f"NOT EXISTS ({model})", (without,)))
    where = " AND ".join(part.where for part in parts) or "TRUE"
    return Query(where, tuple(value for part in parts for value in part.values))


def _asks(one: Comparison) -> bool:
    return (one.operator, str(one.value).lower()) in (("=", "true"), ("!=", "false"))


def _comparisons(text: str, grammar: Grammar) -> list[Comparison]:
    tokens, at = [], 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match or not match.lastgroup:
            raise _invalid_clause(text[at:].strip())
        tokens.append(Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    found: list[Comparison] = []
    while tokens:
        if found and not (len(tokens) > 1 and tokens.pop(0).text.upper() == "AND"):
            raise _invalid_clause(text)
        found.append(_comparison(tokens, grammar, text))
        if len(found) > MOST:
            raise _wrong(f"A filter has at most {MOST} comparisons")
    return found


def _comparison(tokens: list[Token], grammar: Grammar, text: str) -> Comparison:
    if len(tokens) < 3 or tokens[0].kind != "name":
        raise _invalid_clause(text)
    name, operator = tokens.pop(0), tokens.pop(0).text.upper()
    if operator in ("IN", "(") or tokens[0].text == "(":
        values = _list(tokens, text)
        entity, key = _identifier(name.text, grammar)
        if (entity, key) != ("attribute", "run_id") or operator != "IN":
            raise _wrong("Only the 'run_id' attribute supports comparison with a list of quoted string values.")
        return Comparison(entity, key, operator, values)
    value = tokens.pop(0)
    if value.kind in ("word", "name") and value.text.lower() in ("true", "false", "null", "and"):
        raise _invalid_clause(text)
    entity, key = _identifier(name.text, grammar)
    number = entity == "attribute" and key in grammar.numbers
    if operator not in (ORDERED if number else TEXT):
        raise _wrong(f"Invalid comparator for {entity}: {operator}")
    return Comparison(entity, key, operator, _value(value, entity, number))


def _identifier(text: str, grammar: Grammar) -> tuple[str, str]:
    entity, dot, key = text.partition(".")
    if not dot:
        entity, key = "attribute", text
    if entity not in ("attribute", "tag", "tags"):
        valid = "('attribute', 'tag', 'tags')"
        raise _wrong(f"Invalid entity type '{entity}'. Valid entity types are {valid}")
    key = key[1:-1] if key[:1] in ('"', "`") else key
    if entity == "attribute" and key not in grammar.attributes:
        raise _unknown(key, grammar.attributes)
    return "attribute" if entity == "attribute" else "tag", key


def _value(token: Token, entity: str, number: bool) -> Any:
    if number:
        if token.kind != "number" or "." in token.text:
            raise _wrong(f"Expected a number for version_number. Got value {token.text}")
        return min(max(int(token.text), -(1 << 62)), 1 << 62)
    if token.kind == "text":
        return token.text[1:-1].replace(token.text[0] * 2, token.text[0])
    if token.kind == "number":
        raise _wrong(f"Expected a quoted string value for {entity} (e.g. 'my-value'). Got value {token.text}")
    raise _wrong(
        "Parameter value is either not quoted or unidentified quote types used for string value"
        f" {token.text}. Use either single or double quotes."
    )


def _list(tokens: list[Token], text: str) -> list[str]:
    """The texts in a pair of parentheses."""
    if ")" not in [token.text for token in tokens] or tokens.pop(0).text != "(":
        raise _invalid_clause(text)
    inside: list[Token] = []
    while (token := tokens.pop(0)).text != ")":
        inside.append(token)
    expected = "While parsing a list in the query, expected"
    values, commas = inside[::2], inside[1::2]
    if not inside:
        raise _wrong(f"{expected} a non-empty list of string values, but got empty list")
    shown = "".join(token.text for token in inside)
    if any(token.text == "," for token in values) or any(token.text != "," for token in commas):
        raise _wrong(f"{expected} a non-empty list of string values, but got ill-formed list: ({shown})")
    if len(values) > LONGEST:
        raise _wrong(f"A list in a filter has at most {LONGEST} values, not {len(values)}")
    if len(values) == len(commas):
        raise _wrong(f"{expected} a non-empty list of string values, but got ill-formed list: ({shown})")
    if any(token.kind != "text" for token in values):
        said = "string value, punctuation, or whitespace, but got different type in list"
        raise _wrong(f"{expected} {said}: ({shown})")
    return [token.text[1:-1] for token in values]


def _compiled(one: Comparison, grammar: Grammar) -> Query:
    if one.entity == "tag":
        said = _said("t.value", one)
        return Query(grammar.tags.format(said.where), (one.key, *said.values))
    return _said(grammar.attributes[one.key], one)


def _said(column: str, one: Comparison) -> Query:
    match one.operator:
        case "IN":
            return Query(f"{column} IN ({', '.join('?' * len(one.value))})", tuple(one.value))
        case "LIKE":
            return Query(f"{column} LIKE ? ESCAPE '\\'", (one.value.replace("\\", "\\\\"),))
        case "ILIKE":
            return Query(f"lower({column}) LIKE lower(?) ESCAPE '\\'", (one.value.replace("\\", "\\\\"),))
        case "!=":
            return Query(f"{column} <> ?", (one.value,))
    return Query(f"{column} {one.operator} ?", (one.value,))


def _order(order: Sequence[str], grammar: Grammar, what: str) -> str:
    terms: list[str] = []
    columns: list[str] = []
    for text in order:
        words = text.replace("`", "").replace('"', "").split()
        if not words or len(words) > 2:
            raise _wrong(f"Invalid order_by clause '{text}'. Could not be parsed.")
        if len(words) == 2 and words[1].upper() not in ("ASC", "DESC"):
            raise _wrong(f"Invalid ordering key in order_by clause '{text}'.")
        key = words[0].removeprefix("attribute.")
        if key not in grammar.order:
            valid = sorted(grammar.order)
            if what == "attribute":
                raise _unknown(key, grammar.order)
            raise _wrong(f"Invalid order by key '{key}' specified. Valid keys are '{valid}'")
        column = grammar.order[key]
        if column in columns:
            raise _wrong(f"`order_by` contains duplicate fields: {list(order)}")
        columns.append(column)
        terms.append(f"{SAME_MILLISECOND.get(column, column)} {words[1].upper() if len(words) == 2 else 'ASC'}")
    return ", ".join([*terms, *(term for term in grammar.usual if term.split()[0] not in columns)])


def _invalid_clause(text: str) -> UsageError:
    return _wrong(f"Invalid clause(s) in filter string: {text}")


def _unknown(key: str, known: Mapping[str, str]) -> UsageError:
    return _wrong(f"Invalid attribute key '{key}' specified. Valid keys are '{sorted(known)}'")


def _wrong(said: str) -> UsageError:
    return UsageError(said, hint=HINT)
