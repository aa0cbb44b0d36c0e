"""The Ledger protocol: facts about runs. An index: `reindex` rebuilds it from the sealed records of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bis.digest import Digest
from bis.nouns.reference import Reference
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict


class Ledger(Protocol):
    def begin(self, run: Run) -> None:
        """Note a run that starts. Survives power loss when it returns."""
        ...

    def seal(self, run: Run, record: Digest) -> None:
        """Note the sealed record of a run, which it replaces. Survives power loss when it returns."""
        ...

    def get(self, id: str) -> Run:
        """Raises NotFound."""
        ...

    def record(self, id: str) -> Digest:
        """The digest of the sealed record; empty while the run is under way."""
        ...

    def find(self, reference: Reference) -> Run:
        """Raises NotFound (with the nearest names) or UsageError (an ambiguous prefix, with the candidates)."""
        ...

    def runs(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Run]:
        """Newest first, unless `order` (`metrics.loss`, `start_time DESC`) says else. `filter` is MLflow's language."""
        ...

    def count(self, filter: str = "") -> int: ...

    def last(self, command_key: str) -> Run | None:
        """The newest sealed run of the same command (`steps.capture.command_key`), for what it read and wrote."""
        ...

    def add_verdict(self, verdict: Verdict, record: Digest) -> None: ...

    def verdicts(self, run: str) -> list[Verdict]:
        """All verdicts about a run, newest first."""
        ...

    def close(self) -> None: ...
