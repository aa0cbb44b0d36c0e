"""A registered model, its numbered versions, and the entries of its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

STAGES: Final = ("None", "Staging", "Production", "Archived")
"""Where a version stands, as MLflow has it. An alias says the same and more."""
ACTIVE: Final = ("Staging", "Production")
CHAMPION: Final = "champion"
"""The alias of the version that is in use, where nothing else is said."""
ABOUT: Final = "bis.json"
"""The file of a model's folder that is bis' own."""
MODEL_SCHEMA: Final = "bis.model/1"
"""What that says of its own form."""
OF_MODEL: Final = "bis.model"
"""The tag of a run that asked a model: which, as a reference that stays."""
WRITTEN: Final = "bis.output"
"""The tag of a scoring: what its predictions were written to."""
ROWS: Final = "bis.rows"
"""The tag of a scoring: how many there are."""

Action = Literal[
    "created",
    "renamed",
    "described",
    "tagged",
    "untagged",
    "alias",
    "unaliased",
    "rolled back",
    "stage",
    "removed",
    "restored",
    "refused",
    "forced",
    "collected",
]
"""What happened. `refused` and `forced` are of promotions: the one changed nothing, the other comes with an alias.
`collected`: what was removed is deleted for good; its history is all that is left."""


class By(NamedTuple):
    """Who changes the registry, when, and why."""

    user: str
    at: int
    """Microseconds since 1970 UTC."""
    reason: str = ""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name under which versions are registered."""

    id: int
    """Never given again, and the same when the model is renamed."""
    name: str
    description: str = ""
    made: int
    """Microseconds since 1970 UTC, as all times here."""
    changed: int
    removed: int | None = None
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    """Alias -> number of the version."""


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One model that was registered, with where it came from."""

    record: str = ""
    """Of the event that registered it: what names it where two people gave one number."""
    name: str
    """Of the registered model."""
    number: int
    """1, 2, …; never given again under that name."""
    description: str = ""
    user: str = ""
    stage: str = "None"
    source: str
    """Where it was registered from: `runs:/ID/model`, `models:/m-…`, a URL."""
    storage: str = ""
    """Where its files lie; empty: at the source."""
    run: str = ""
    """The id of the run that made it."""
    run_link: str = ""
    logged_model: str = ""
    """The id of the logged model, if a client logged it."""
    status: str = "READY"
    status_message: str = ""
    made: int
    changed: int
    removed: int | None = None
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"models:/{self.name}/{self.number}"

    @property
    def exact(self) -> str:
        """A reference that means this version alone, whoever gave its number."""
        return f"{self.name}@{self.record[:11]}"

    @property
    def path(self) -> str:
        """Where it lies below what its run made; empty: nowhere that is known."""
        start = f"runs:/{self.run}/"
        return self.source.removeprefix(start).strip("/") if self.source.startswith(start) else ""

    def measured(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Metrics of its run as its own: in a run that saved several models, `small:auc` is the `auc` of `small`."""
        own = f"{self.path}:"
        others = {key: value for key, value in metrics.items() if not key.startswith(own)}
        return others | {key.removeprefix(own): value for key, value in metrics.items() if key.startswith(own)}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the history. It stays as it is."""

    seq: int
    made: int
    user: str
    model: str
    """The name at that time."""
    version: int | None = None
    """None: about the model as a whole."""
    record: str = ""
    """Of this event, in the store."""
    origin: str = ""
    """Of the event that registered the version."""
    action: Action
    key: str = ""
    """The alias or tag that it is about."""
    before: str = ""
    after: str = ""
    reason: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a registered model stood at a time."""

    model: Model
    """As it is now."""
    name: str
    """At that time."""
    moment: int
    versions: tuple[int, ...] = ()
    """The numbers of the versions that were there."""
    aliases: dict[str, int] = {}
    stages: dict[int, str] = {}
    """Of the versions that were in one."""


def is_model_name(text: str) -> bool:
    """Whether a model can be called so: it stands in references and in paths."""
    from posixpath import normpath

    plain = bool(text.strip()) and not set("/:") & set(text) and text.isprintable()
    return plain and normpath(text) == text and text not in (".", "..")
