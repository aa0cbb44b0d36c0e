"""Runs abreast: what each of several runs has of the same thing, those things first in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, get_args

import msgspec

from bis.digest import short
from bis.ledger.runs import told as params_of
from bis.nouns.part import PartKind
from bis.nouns.run import Run

_KINDS: Final[tuple[PartKind, ...]] = get_args(PartKind)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is compared."""

    id: str
    name: str
    status: str
    started: str
    ended: str
    tracked: bool


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of all the runs."""

    name: str
    values: tuple[str | None, ...]
    same: bool


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one kind: parts, params, metrics, outputs."""

    name: str
    rows: tuple[Row, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.same)


def head(run: Run) -> Head:
    return Head(id=run.id, name=run.name, status=run.status, started=run.started, ended=run.ended, tracked=run.tracked)


def groups(runs: Sequence[Run]) -> list[Group]:
    """What differs first, in each."""
    parts = [(kind, [_told(run, kind) for run in runs]) for kind in _KINDS]
    digests = {kind: {part.digest if (part := run.parts.get(kind)) else None for run in runs} for kind in _KINDS}
    found = [
        Group(
            name="parts",
            rows=_sorted(Row(name=kind, values=tuple(values), same=len(digests[kind]) < 2) for kind, values in parts),
        ),
        _group("params", [params_of(run) for run in runs]),
        _group("metrics", [{name: repr(value) for name, value in run.metrics.items()} for run in runs]),
        _group("outputs", [{output.path: output.digest for output in run.outputs if output.digest} for run in runs]),
    ]
    return [group for group in found if group.rows]


def _told(run: Run, kind: PartKind) -> str | None:
    part = run.parts.get(kind)
    return f"{short(part.digest)}  {part.summary}" if part else None


def _group(name: str, sides: Sequence[dict[str, str]]) -> Group:
    names = dict.fromkeys(key for side in sides for key in side)
    values = {key: tuple(side.get(key) for side in sides) for key in names}
    return Group(
        name=name, rows=_sorted(Row(name=key, values=some, same=len(set(some)) < 2) for key, some in values.items())
    )


def _sorted(found: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(
        sorted((row for row in found if any(value is not None for value in row.values)), key=lambda row: row.same)
    )
