"""A list of runs, for a terminal, a page and a program: which of its columns tell the runs apart, and a run in plain
values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bis.digest import short
from bis.ledger import Row
from bis.nouns.tracking import Point
from bis.text import seconds_between

PARTS: Final = ("code", "data", "environment", "infrastructure", "machine")
"""Parts by digest; of the params the values are shown."""
SHOWN_PARTS: Final = ("code", "data", "environment")
"""Those that have a column where they differ."""
SHORTEST, LONGEST = 4, 16
"""Digits of a digest in a list."""
STEPS: Final = ("max_steps", "total_steps", "num_steps", "num_train_steps", "n_steps", "steps")
EPOCHS: Final = ("epochs", "num_epochs", "max_epochs", "num_train_epochs", "n_epochs")
"""Params by which scripts say how far they will go."""


def differing(rows: Sequence[Row]) -> list[str]:
    """The params whose values are not the same in all the rows, the long name of a value left out where a short one
    says the same."""
    names = by_frequency(row.params for row in rows)
    found = [name for name in names if _differs(name, [row.params.get(name) for row in rows])]
    told = {name: tuple(row.params.get(name) for row in rows) for name in found}
    return [name for name in found if told.get(name.partition(":")[2]) != told[name]]


def _differs(name: str, values: Sequence[str | None]) -> bool:
    """A word without a name that other commands do not have says nothing."""
    return len({value for value in values if value is not None or not name.startswith("argument ")}) > 1


def by_frequency(tables: Iterable[Iterable[str]]) -> list[str]:
    """The names in some tables, those that more of them have first."""
    counts: dict[str, int] = {}
    for table in tables:
        for name in table:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def digest_of(row: Row, kind: str) -> str:
    """Of a part; empty where there is none."""
    return next((part.digest for one, part in row.parts.items() if one == kind), "")


def same_parts(rows: Sequence[Row]) -> dict[str, str]:
    """The parts that all of several runs share, by kind: they need no column."""
    if len(rows) < 2:
        return {}
    shared = {kind: {digest_of(row, kind) for row in rows} for kind in SHOWN_PARTS}
    return {kind: one for kind, digests in shared.items() for one in digests if len(digests) == 1 and one}


def telling_length(digests: Iterable[str]) -> int:
    """So many digits of these digests tell them apart."""
    different = {*digests}
    lengths = range(SHORTEST, LONGEST)
    return next((few for few in lengths if len({short(one, few) for one in different}) == len(different)), LONGEST)


def progress(row: Row, points: Sequence[Point]) -> tuple[float, float | None] | None:
    """How far a run is that is under way, by what it logs, and how far it will go where it has said so: epochs, or
    steps. None where it logs no steps."""
    newest = {point.key: point.value for point in points}
    epochs = _said(row.params, EPOCHS)
    if epochs and 0 <= newest.get("epoch", -1.0) <= epochs:
        return newest["epoch"], epochs
    step = max((point.step for point in points), default=0)
    if step <= 0:
        return None
    steps = _said(row.params, STEPS)
    return float(step), steps if steps and step <= steps else None


def _said(params: Mapping[str, str], names: Sequence[str]) -> float | None:
    for name in names:
        try:
            number = float(params.get(name, ""))
        except ValueError:
            continue
        if 0 < number < float("inf"):
            return number
    return None


def as_plain(row: Row) -> dict[str, Any]:
    """A run for programs: everything, seconds and the parts by name."""
    return {
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "exit": row.exit,
        "signal": row.signal,
        "started": row.started,
        "ended": row.ended or None,
        "seconds": seconds_between(row.started, row.ended),
        "command": row.command,
        "folder": row.folder,
        "user": row.user,
        "host": row.host,
        "note": row.note,
        "verdict": row.verdict or None,
        "repeats": row.repeats or None,
        "parent": row.parent or None,
        "parts": {kind: {"digest": part.digest, "summary": part.summary} for kind, part in row.parts.items()},
        "params": row.params,
        "metrics": row.metrics,
        "tags": row.tags,
        "outputs": row.outputs,
        "findings": row.findings,
        "record": row.record or None,
        "removed": row.removed or None,
    }
