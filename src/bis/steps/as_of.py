"""The ledger as it was at a moment: what happened later is not told, nor what was removed since."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from bis.digest import readable
from bis.errors import NotFound
from bis.ledger import history, registry
from bis.ledger.connection import Connection
from bis.ledger.moments import NEVER, micros, shown_time, stamp
from bis.nouns.built import Built
from bis.nouns.dataset import Held
from bis.nouns.model import ModelVersion
from bis.nouns.reference import DataReference, ModelReference, Reference
from bis.nouns.run import Run
from bis.steps.home import Home
from bis.steps.models import resolve

R = TypeVar("R", Reference, DataReference, ModelReference)


class Later(NotFound):
    """It was not there yet."""


class AsOf:
    """At `until`, microseconds since 1970 UTC; NEVER: as it is. What is named is looked for at that moment, unless the
    name itself says when. Raises NotFound for what is not there, Later for what came after it."""

    def __init__(self, home: Home, connection: Connection, until: int) -> None:
        self._home = home
        self._connection = connection
        self.until = until

    def run(self, reference: Reference) -> Run:
        found = self._home.ledger.find(self._then(reference))
        self._check(found.name, micros(found.started))
        return found

    def model(self, reference: ModelReference) -> ModelVersion:
        found = resolve(self._connection, self._then(reference))
        self._check(found.reference, found.made)
        return found

    def data(self, reference: DataReference) -> Held:
        found, _ = self._home.ledger.data.find(self._then(reference))
        self._check(found.reference, micros(found.version.made))
        return found

    def all_data(self) -> list[Held]:
        """The versions of all data sets, newest first."""
        return [one for one in self._home.ledger.data.versions() if micros(one.version.made) <= self.until]

    def versions(self, where: str, value: str) -> list[ModelVersion]:
        """Of models, by a condition as `registry.versions` takes it."""
        found = registry.versions(self._connection, where, (value,), order="m.name, v.version")
        return [one for one in found if one.made <= self.until]

    def aliases(self, version: ModelVersion) -> list[str]:
        if self.until == NEVER:
            return list(version.aliases)
        stood = history.standing(self._connection, registry.once(self._connection, version.name), self.until)
        meant = stood.aliases.items() if stood else ()
        return [alias for alias, number in meant if number == version.number]

    def built(self, found: Iterable[Built]) -> list[Built]:
        return [one for one in found if micros(one.made) <= self.until]

    def _then(self, reference: R) -> R:
        exact = isinstance(reference, DataReference) and (
            reference.number is not None or reference.stamp or reference.checksum or reference.tag
        )
        if self.until == NEVER or reference.moment or exact:
            return reference
        return msgspec.structs.replace(reference, moment=stamp(self.until))

    def _check(self, name: str, moment: int) -> None:
        if moment > self.until:
            raise Later(
                f"{readable(name)} was not there yet on {shown_time(self.until)}",
                because=f"It is of {shown_time(moment)}.",
            )
