"""What registered models and their versions are searched by.

name LIKE 'churn%' AND tags.team = 'growth'          run_id IN ('7f3a…', '91bc…') AND version_number > 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bis.ledger.filter import Comparison, read_filter, text_of
from bis.ledger.grammar import ALIKE, COMPARED, ENTITIES, Attribute, Grammar, Keyed
from bis.ledger.search import Query, both, compile_order, compiled

SAME: Final = frozenset(("=", "!="))
NAMED: Final = {name: entity for name, entity in ENTITIES.items() if entity in ("tags", "attributes")}
MODELS: Final = Grammar(
    what="registered models",
    row="m.id",
    entities=NAMED,
    attributes={"name": Attribute("m.name")},
    ties=(("m.name", False),),
    keyed={"tags": Keyed("registered_model_tags", "model")},
    texts=SAME | ALIKE,
    keys=SAME | ALIKE,
    example="name LIKE 'churn%' AND tags.team = 'growth'",
)
VERSIONS: Final = Grammar(
    what="model versions",
    row="v.record",
    each=True,
    entities=NAMED,
    attributes={
        "name": Attribute("m.name"),
        "version_number": Attribute("v.version", "number"),
        "run_id": Attribute("v.run"),
        "source_path": Attribute("v.source"),
    },
    ties=(("m.name", False), ("v.version", True), ("v.record", False)),
    keyed={"tags": Keyed("model_version_tags", "record")},
    numbers=COMPARED,
    texts=SAME | ALIKE | {"IN"},
    keys=SAME | ALIKE,
    example="run_id = '7f3a' AND version_number > 2",
)
MODELS_ORDERED: Final = MODELS._replace(
    attributes={
        "name": Attribute("m.name"),
        # What clients see as the same millisecond is ordered by what comes next.
        **dict.fromkeys(("timestamp", "last_updated_timestamp"), Attribute("m.changed / 1000", "time")),
    }
)
VERSIONS_ORDERED: Final = VERSIONS._replace(
    attributes={
        "name": Attribute("m.name"),
        "version_number": Attribute("v.version", "number"),
        "creation_timestamp": Attribute("v.made / 1000", "time"),
        "last_updated_timestamp": Attribute("v.changed / 1000", "time"),
    }
)


def models_where(text: str, without: str = "") -> Query:
    """The condition of a filter. `without`: a tag; what has it as `true` is left out, unless the filter asks for it.
    Raises Unfit."""
    return _where(text, without, MODELS)


def versions_where(text: str, without: str = "") -> Query:
    """As `models_where`; the tag is one of the model."""
    return _where(text, without, VERSIONS)


def models_order(order: Sequence[str]) -> str:
    """What follows ORDER BY. Raises Unfit."""
    return compile_order(order, MODELS_ORDERED).by


def versions_order(order: Sequence[str]) -> str:
    """Those that changed last come first, where nothing else is said."""
    return compile_order(order or ("last_updated_timestamp DESC",), VERSIONS_ORDERED).by


def _where(text: str, without: str, grammar: Grammar) -> Query:
    found = read_filter(text, grammar)
    about = [one for one in found if without and (one.field.entity, one.field.key) == ("tags", without)]
    if not any(map(_asks, about)):
        found = [one for one in found if one not in about]
    hidden = "SELECT 1 FROM registered_model_tags p WHERE p.model = m.id AND p.key = ? AND p.value = 'true'"
    unless = Query(f"NOT EXISTS ({hidden})", (without,)) if without and not any(map(_asks, about)) else Query("", ())
    where = both(compiled(found, grammar), unless)
    return where if where.where else Query("TRUE", ())


def _asks(one: Comparison) -> bool:
    """Whether a comparison is for what has the tag."""
    return (one.operator, text_of(one.values[0]).lower()) in (("=", "true"), ("!=", "false"))
