"""What can be asked for in MLflow's filter language, for each kind of thing that is searched.

A Grammar is a value: which entities there are (`metrics.*`), which attributes, in which columns they lie, and by which
operators each may be compared. `filter` reads a text by it, `search` makes SQL of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["text", "number", "time", "moment", "part", "status"]
"""How something is compared. `time`: microseconds, asked for by milliseconds or a date; `moment`: milliseconds;
`part`: a digest, of which the first digits are enough."""

COMPARED: Final = frozenset(("=", "!=", "<", "<=", ">", ">="))
ALIKE: Final = frozenset(("LIKE", "ILIKE"))
LISTED: Final = frozenset(("IN", "NOT IN"))
NULL: Final = frozenset(("IS NULL", "IS NOT NULL"))


class Attribute(NamedTuple):
    """A column of the thing itself, or an expression over its columns."""

    column: str
    kind: Kind = "text"
    nullable: bool = False
    apart: bool = False
    """Whether an index has the rows that have one, and no others."""
    shared: bool = False
    """Whether many rows have the same, and the index in their order has it."""


class Keyed(NamedTuple):
    """Values that a thing has by key, in a table of their own."""

    table: str
    owner: str
    """The column that says whose they are."""
    kind: Kind = "text"
    flagged: bool = False
    """Whether a column `flag` stands for what databases have no numbers for."""
    numbered: bool = False
    """Whether a column `number` has the value as a number, where it is one."""
    where: str = ""
    """A condition that only some of the values are meant."""
    values: tuple[str, ...] = ()
    """Bound to it."""


class Related(NamedTuple):
    """Attributes of other things that it is related to; it matches when one of them does."""

    source: str
    """Behind FROM."""
    owner: str
    attributes: Mapping[str, str]
    """Name -> column."""


class Grammar(NamedTuple):
    """The language of one kind of thing."""

    what: str
    row: str
    """The column that the owners of keyed values name."""
    entities: Mapping[str, str]
    """How an entity may be called -> its name here; `attributes` is one."""
    attributes: Mapping[str, Attribute]
    ties: tuple[tuple[str, bool], ...]
    """Columns that decide among equals, and whether they fall. The last of them is different for all rows."""
    keyed: Mapping[str, Keyed] = {}
    related: Mapping[str, Related] = {}
    stands_for: Mapping[tuple[str, str], str] = {}
    """Entity and key -> the attribute that is meant: `tags.mlflow.runName` is the name."""
    numbers: frozenset[str] = COMPARED
    """Operators of numbers and times."""
    texts: frozenset[str] = COMPARED | ALIKE | LISTED | NULL
    """Operators of text attributes."""
    keys: frozenset[str] = COMPARED | ALIKE | LISTED | NULL
    """Operators of keyed text."""
    example: str = "metrics.loss < 0.3 AND params.model = 'ridge'"
    by_number: bool = False
    """True: keyed texts that are numbers are ordered by them, before all others."""
    each: bool = False
    """True: metrics, params and tags are looked up for each row, which is quicker where few rows are looked at."""

    def operators(self, entity: str, kind: Kind) -> frozenset[str]:
        if kind in ("number", "time", "moment"):
            return self.numbers
        return self.keys if entity in self.keyed else self.texts


ENTITIES: Final = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attributes"),
    **dict.fromkeys(("dataset", "datasets"), "datasets"),
}
OF_RUNS: Final = {
    "metrics": Keyed("metrics", "run", "number", flagged=True),
    "params": Keyed("params", "run", numbered=True),
    "tags": Keyed("tags", "run", numbered=True),
}
OF_DATASETS: Final = {
    "datasets": Related(
        "run_datasets AS d JOIN tracked_datasets AS t ON t.id = d.dataset",
        "d.run",
        {"name": "t.name", "digest": "t.digest", "context": "d.context"},
    )
}

_TEXT: Final = {
    **{name: Attribute(name) for name in ("command", "folder", "project", "repeats", "parent", "removed")},
    "host": Attribute("host", shared=True),
    **{name: Attribute(name, apart=True) for name in ("verdict", "note")},
    "status": Attribute("status", "status", shared=True),
    **dict.fromkeys(("run_id", "id"), Attribute("id")),
    **dict.fromkeys(("run_name", "run name", "Run name", "Run Name", "name"), Attribute("name")),
    **dict.fromkeys(("user", "user_id", "User"), Attribute("username", shared=True)),
    "experiment": Attribute("(SELECT e.name FROM experiments AS e WHERE e.id = runs.experiment)", shared=True),
}
_PARTS: Final = {
    **{
        name: Attribute(name, "part", apart=True)
        for name in ("code", "data", "environment", "infrastructure", "machine")
    },
    "env": Attribute("environment", "part", apart=True),
}
_TIMES: Final = {
    **dict.fromkeys(("start_time", "started", "created", "Created"), Attribute("started", "time")),
    **dict.fromkeys(("end_time", "ended"), Attribute("ended", "time", nullable=True)),
}
_NUMBERS: Final = {
    "exit": Attribute("exit", "number", nullable=True),
    "signal": Attribute("signal", "number", nullable=True),
    **dict.fromkeys(("seconds", "duration"), Attribute("(ended - started) / 1e6", "number", nullable=True)),
}
RUNS: Final = Grammar(
    what="runs",
    row="runs.seq",
    entities=ENTITIES,
    attributes={**_TEXT, **_PARTS, **_TIMES, **_NUMBERS},
    ties=(("started", True), ("seq", True)),
    keyed=OF_RUNS,
    related=OF_DATASETS,
    numbers=COMPARED | LISTED | NULL,
    by_number=True,
)
"""As `bis log`, the SDK, our own API and the pages ask."""
EXPERIMENTS: Final = Grammar(
    what="experiments",
    row="experiments.id",
    entities={name: entity for name, entity in ENTITIES.items() if entity in ("tags", "attributes")},
    attributes={
        "name": Attribute("name"),
        "experiment_id": Attribute("id", "number"),
        "creation_time": Attribute("made", "time"),
        "last_update_time": Attribute("changed", "time"),
    },
    ties=(("id", True),),
    keyed={"tags": Keyed("experiment_tags", "experiment")},
    texts=frozenset(("=", "!=")) | ALIKE,
    keys=frozenset(("=", "!=")) | ALIKE | NULL,
    example="name LIKE 'churn%' AND tags.team = 'a'",
)
LOGGED_MODELS: Final = Grammar(
    what="logged models",
    row="logged_models.seq",
    entities={name: entity for name, entity in ENTITIES.items() if entity != "datasets"},
    attributes={
        "name": Attribute("name"),
        **dict.fromkeys(("model_id", "id"), Attribute("id")),
        "model_type": Attribute("type"),
        "status": Attribute("status", "number"),
        "source_run_id": Attribute("run"),
        "experiment_id": Attribute("experiment", "number"),
        "artifact_location": Attribute("artifacts"),
        **dict.fromkeys(
            ("creation_time", "creation_timestamp", "creation_timestamp_ms"),
            Attribute("made", "time"),
        ),
        **dict.fromkeys(
            ("last_updated_time", "last_updated_timestamp", "last_updated_timestamp_ms"), Attribute("changed", "time")
        ),
    },
    ties=(("made", True), ("seq", True)),
    keyed={
        "metrics": Keyed("logged_model_metrics", "model", "number", flagged=True),
        "params": Keyed("logged_model_params", "model"),
        "tags": Keyed("logged_model_tags", "model"),
    },
    texts=frozenset(("=", "!=")) | ALIKE | LISTED,
    keys=frozenset(("=", "!=")) | ALIKE | LISTED,
    example="name = 'churn' AND params.depth = '4'",
)
