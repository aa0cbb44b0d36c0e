"""Whether bis saw a run at all, within which other one, and who else says to have seen it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bis.digest import readable, short
from bis.errors import CannotRepeat, NotFound
from bis.ledger import Ledger
from bis.ledger.other_seals import OtherSeal
from bis.ledger.runs import SqlLedger
from bis.nouns.part import Finding
from bis.nouns.run import Run
from bis.steps.home import Home


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


def with_parent(run: Run, home: Home) -> Run:
    """Of a run that a client logged while `bis run` ran it, the same with `parent`, which only the ledger knows."""
    if not run.tracked or not isinstance(home.ledger, SqlLedger):
        return run
    ((parent,),) = home.ledger.database.ask("SELECT parent FROM runs WHERE id = ?", (run.id,)) or [("",)]
    return msgspec.structs.replace(run, parent=parent)


def demand_record(run: Run, home: Home) -> None:
    """Raises CannotRepeat for a run that a client logged, and names the one that was recorded meanwhile, if any."""
    if not run.tracked:
        return
    if around := _around(run, home):
        raise CannotRepeat(
            f"{readable(run.name)} is what a client logged while {readable(around.name)} ran",
            because=f"The code, the data and the environment are in the record of {readable(around.name)}.",
            hint=f"type {readable(around.name)} in the place of {readable(run.name)}",
        )
    raise CannotRepeat(
        f"{readable(run.name)} was logged by a client, not run by bis",
        because="Its params and metrics are known, but not the code, the data and the environment that made them.",
        hint="bis run -- COMMAND  records those, and what the command logs to MLflow as well",
    )


def _around(run: Run, home: Home) -> Run | None:
    parent = with_parent(run, home).parent
    try:
        return home.ledger.get(parent) if parent else None
    except NotFound:  # deleted since
        return None
