"""An event of the registry, as a record in the store: what the registry is follows from all of them."""

from __future__ import annotations

import msgspec

from bis.digest import Digest
from bis.nouns.model import Action

EVENT_SCHEMA = "bis.model-event/1"


class ModelEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=EVENT_SCHEMA, tag_field="schema"):
    """One change of a registered model or of a version, or that one was refused. It never changes."""

    made: str
    """RFC 3339, UTC, by the clock of who made it."""
    user: str = ""
    follows: tuple[Digest, ...] = ()
    """The events that nothing followed yet where this one was made, in order: one, as a rule; after a pull, several.
    So each vouches for all that it was made in knowledge of."""
    model: Digest = Digest("")
    """The event that created the model; empty in that one."""
    name: str
    """Of the model, at that time."""
    version: int | None = None
    """The number of the version that it is about; absent: it is about the model as a whole. Two people may both have
    given a number."""
    origin: Digest = Digest("")
    """The event that registered that version; empty in that one."""
    action: Action
    key: str = ""
    """The alias or tag that it is about."""
    before: str = ""
    after: str = ""
    """Where a version is registered, where from: `runs:/ID/model`, `models:/m-…`, a URL."""
    reason: str = ""
    description: str = ""
    """This and what follows: of a version that is registered."""
    storage: str = ""
    run: str = ""
    run_link: str = ""
    logged_model: str = ""
