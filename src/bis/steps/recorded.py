"""Whether bis saw a run at all, and who else says to have seen it."""

from __future__ import annotations

from collections.abc import Iterable

from bis.digest import readable, short
from bis.errors import CannotRepeat
from bis.ledger import Ledger
from bis.ledger.other_seals import OtherSeal
from bis.nouns.part import Finding
from bis.nouns.run import Run


def told_of_seconds(others: Iterable[OtherSeal], ledger: Ledger) -> list[Finding]:
    """Records that say something of a run that has another one, which counts."""
    others = list(others)
    names = {row.id: row.name for row in ledger.rows()} if others else {}
    return [
        Finding(
            code="second-record",
            text=f"run {other.run[:8]} ({names.get(other.run, 'removed')}) has a second record, {short(other.record)},"
            " which was passed over",
            hint="a run is sealed once: ask whoever pushed the second record of it",
        )
        for other in others
    ]


def demand_record(run: Run) -> None:
    """Raises CannotRepeat for a run that a client logged."""
    if run.tracked:
        raise CannotRepeat(
            f"{readable(run.name)} was logged by a client, not run by bis",
            because="Its params and metrics are known, but not the code, the data and the environment that made them.",
            hint="bis run -- COMMAND  records those, and what the command logs to MLflow as well",
        )
