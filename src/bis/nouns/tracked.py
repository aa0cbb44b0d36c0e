"""The facts of a run that clients logged, as a record in the store has them."""

from __future__ import annotations

import msgspec

from bis.digest import Digest
from bis.nouns.run import Status

TRACKED_SCHEMA = "bis.tracked/1"


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An artifact."""

    path: str
    """Below the place of its run or model."""
    digest: Digest
    size: int


class Read(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A data set that the run read, as its client described it."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    context: str = ""
    tags: dict[str, str] = {}


class ModelAt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A logged model that the run used or saved."""

    id: str
    step: int = 0


class Measure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value of a metric of a logged model."""

    run: str
    key: str
    value: float
    step: int = 0
    moment: int = 0
    dataset: tuple[str, str] | None = None


class SavedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A logged model, in the record of the run that saved it."""

    id: str
    name: str
    type: str = ""
    status: int = 0
    status_message: str = ""
    made: str
    changed: str
    removed: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[Measure, ...] = ()
    place: str = ""
    artifacts: tuple[File, ...] = ()


class Tracked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=TRACKED_SCHEMA, tag_field="schema"):
    """All that is known of a run that clients logged, at one time. What changes later makes another record."""

    id: str
    """32 hexadecimal digits."""
    made: str
    """When these facts were so: RFC 3339, UTC. Of the records of a run the newest says how it is."""
    name: str
    experiment: str
    """Its name."""
    experiment_tags: dict[str, str] = {}
    user: str = ""
    status: Status
    started: str
    ended: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    """The newest value of each."""
    history: Digest = Digest("")
    """Blob: all points (`docs/format.md`, histories)."""
    inputs: tuple[Read, ...] = ()
    used: tuple[ModelAt, ...] = ()
    saved: tuple[ModelAt, ...] = ()
    models: tuple[SavedModel, ...] = ()
    place: str = ""
    """Where clients are told that its artifacts lie."""
    artifacts: tuple[File, ...] = ()
    parent: str = ""
    note: str = ""
    removed: str = ""
    """When it was removed; empty: it is there."""
    hidden: bool | None = None
    """True: removed, so that its content may go. False: it is there."""

    @property
    def files(self) -> tuple[File, ...]:
        """Its artifacts, and those of the models that it saved."""
        return (*self.artifacts, *(file for model in self.models for file in model.artifacts))
