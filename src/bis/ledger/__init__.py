"""The Ledger protocol: facts about runs and data. An index: `reindex` rebuilds it from the records of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from bis.digest import Digest
from bis.nouns.annotation import Annotation
from bis.nouns.dataset import DataAnnotation, DataVersion, Held
from bis.nouns.part import PartKind
from bis.nouns.reference import DataReference, Reference
from bis.nouns.run import Run, Status
from bis.nouns.verdict import Verdict


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    """A part in one line."""

    digest: Digest
    summary: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run in one line: what a list of runs shows. Its fields mean what those of `Run` mean."""

    id: str
    name: str
    command: tuple[str, ...]
    folder: str = "."
    user: str = ""
    host: str = ""
    started: str
    ended: str = ""
    seconds: float = 0.0
    """How long the command ran."""
    status: Status
    exit: int | None = None
    signal: int | None = None
    parts: dict[PartKind, PartRow] = {}
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    outputs: int = 0
    """How many there are."""
    findings: tuple[str, ...] = ()
    """Their codes."""
    repeats: str = ""
    parent: str = ""
    note: str = ""
    """The newest: of an annotation, else of the run."""
    verdict: str = ""
    """The newest word on whether it repeats; empty when nobody tried."""
    record: Digest = Digest("")
    experiment: str = ""
    """The name of the one that it was logged or moved to."""
    removed: str = ""
    """When it was removed; empty for a run that is there."""


Making = Callable[[int, Held | None], tuple[DataVersion, Digest] | None]
"""Given the number of the next version and the newest one: the version and its record, which is in the store; None:
there is nothing new."""


class DataSets(Protocol):
    """The versions of data sets. Those that are hidden are removed ones, whose content may be gone."""

    def add(self, name: str, make: Making) -> Held | None:
        """Note what `make` makes. Nobody else adds to a data set of this ledger meanwhile, so that no number is given
        twice. Survives power loss when it returns."""
        ...

    def annotate(self, annotation: DataAnnotation, record: Digest) -> None:
        """Note what was said of versions, which it may hear of later."""
        ...

    def names(self) -> list[str]:
        """Of the data sets that have a version which is not hidden, sorted."""
        ...

    def versions(self, name: str = "", *, hidden: bool = False, until: int | None = None) -> list[Held]:
        """Of one data set, or of all: newest first. With `hidden`, those that are removed, too. `until`, microseconds
        since 1970 UTC: as it was then."""
        ...

    def find(self, reference: DataReference, *, hidden: bool = False) -> tuple[Held, str]:
        """The version that a person means, and the path in it. Raises NotFound (with the nearest names) or UsageError
        (an ambiguous number or checksum, with the candidates). With `hidden`, removed ones are found, too."""
        ...

    def users(self, digests: Iterable[Digest]) -> list[str]:
        """The ids of runs whose data part holds a file with one of these digests, newest first. Of a run with very many
        inputs some are known, so that it may be missed when it shares only few of them."""
        ...


class Ledger(Protocol):
    @property
    def data(self) -> DataSets:
        """The data sets."""
        ...

    def name(self, stem: str, at: str) -> str:
        """A name for a run that is about to begin: `train-12` for the twelfth of the project. No run has it and, `at`
        that time and for a day, nobody else is given it, whatever the number of processes that ask."""
        ...

    def begin(self, run: Run) -> None:
        """Note a run that starts. Survives power loss when it returns."""
        ...

    def seal(self, run: Run, record: Digest) -> None:
        """Note the sealed record of a run by who executed it, which it replaces. A record that another one is taken
        instead of is remembered as passed over. Survives power loss when it returns."""
        ...

    def take_history(self, run: Run, content: bytes) -> None:
        """Note all points of the metrics of a sealed run, as the blob `run.history` has them. Those that are lost with
        the power can be taken again."""
        ...

    def get(self, id: str) -> Run:
        """As it is called now. Raises NotFound."""
        ...

    def as_recorded(self, id: str) -> Run:
        """Under the name that its record has, whatever it was called since. Raises NotFound."""
        ...

    def record(self, id: str) -> Digest:
        """The digest of the sealed record; empty while the run is under way."""
        ...

    def records(self) -> set[Digest]:
        """The digests of all records that it knows."""
        ...

    def find(self, reference: Reference, *, removed: bool = False) -> Run:
        """Raises NotFound (with the nearest names) or UsageError (an ambiguous prefix, with the candidates).
        The newest run, and the one before, are never one that `bis repeat` made, nor one that was removed. With
        `removed`, removed ones are found and no others."""
        ...

    def runs(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Run]:
        """Newest first, unless `order` (`metrics.loss`, `start_time DESC`) says else. `filter` is MLflow's language."""
        ...

    def recorded(self, limit: int) -> list[Run]:
        """The newest runs that bis itself ran: not those that clients logged, of which there may be very many."""
        ...

    def last_run(self, project: str) -> Run:
        """The newest that `bis run` made, in the folder of this project where there is one: not of a repeat, nor
        logged by a client, nor removed. Raises NotFound."""
        ...

    def under_way(self) -> list[Run]:
        """Runs that began and are not sealed, or whose seal it did not hear of."""
        ...

    def rows(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        """As `runs`, one line for each: quick also for many thousands."""
        ...

    def count(self, filter: str = "") -> int: ...

    def last(self, command_key: str) -> Run | None:
        """The newest sealed run of the same command (`nouns.run.command_key`), for what it read and wrote."""
        ...

    def unname(self, name: str) -> None:
        """Take a name back that `name` gave: its run did not begin."""
        ...

    def annotate(self, annotation: Annotation, record: Digest) -> None:
        """Note what was said of a run, which it may hear of later. Tags and note of the run, and whether it is
        removed, are as the newest says."""
        ...

    def amend(self, annotation: Annotation) -> None:
        """As `annotate`, for a run that clients log to: its rows are its facts, and its record follows them."""
        ...

    def experiment(self, run: str) -> str:
        """The name of the experiment that a run was logged or moved to; empty for the other runs."""
        ...

    def annotations(self, run: str) -> list[Annotation]:
        """All that was said about a run, in the order of time."""
        ...

    def add_verdict(self, verdict: Verdict, record: Digest) -> None: ...

    def verdicts(self, run: str) -> list[Verdict]:
        """All verdicts about a run, newest first."""
        ...

    def close(self) -> None: ...
