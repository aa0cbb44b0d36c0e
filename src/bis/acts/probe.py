"""`bis model probe`: the rows that all versions of a model are asked about, so that `bis model diff` tells how far what
they say is apart. Which they are is a tag of the model, so that it travels and is seen by clients as one."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.errors import UsageError
from bis.ledger import registry
from bis.nouns.dataset import Held
from bis.nouns.model import By
from bis.steps.home import Home
from bis.steps.models import asking, model_named
from bis.steps.registering import registering

PROBE: Final = "bis.probe"
"""The tag of a registered model that names its probe set, as a version of data."""
TARGET: Final = "bis.probe.target"
"""The tag that names the column of it that the model is not asked with."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The probe set of a model."""

    data: str
    """`customers@v3`, or a path in it: `customers@v3/test.csv`."""
    target: str = ""


def probe(home: Home, name: str) -> Probe | None:
    """That of a registered model; None where it has none. Raises NotFound where there is no such model."""
    with asking(home) as connection:
        return _of(model_named(connection, name).tags)


def set_probe(home: Home, name: str, data: Held, path: str, target: str, by: By) -> Probe:
    """From now on versions are asked about this version of data, whatever its name means later."""
    chosen = Probe(data=data.reference + (f"/{path}" if path else ""), target=target)
    with registering(home) as connection:
        model_named(connection, name)
        registry.set_tag(connection, name, PROBE, chosen.data, by)
        if target:
            registry.set_tag(connection, name, TARGET, target, by)
        else:
            registry.delete_tag(connection, name, TARGET, by)
    return chosen


def forget(home: Home, name: str, by: By) -> Probe:
    """What it was. Raises UsageError where there is none."""
    with registering(home) as connection:
        before = _of(model_named(connection, name).tags)
        if before is None:
            raise UsageError(f"the model {name!r} has no probe set", hint=f"bis model probe {name} DATA  gives it one")
        for key in (PROBE, TARGET):
            registry.delete_tag(connection, name, key, by)
    return before


def _of(tags: dict[str, str]) -> Probe | None:
    return Probe(data=tags[PROBE], target=tags.get(TARGET, "")) if tags.get(PROBE) else None
