"""Runs abreast: what each of several runs has of the same thing, those things first in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, get_args

import msgspec

from bis.digest import Digest, short
from bis.errors import BisError
from bis.nouns.part import Change, Part, PartKind
from bis.nouns.run import Run
from bis.nouns.run import told as params_of
from bis.parts import Kind
from bis.parts.kinds import KINDS
from bis.store import Store

_KINDS: Final[tuple[PartKind, ...]] = get_args(PartKind)
LOOKED: Final = 12
"""Different parts of one kind that are looked into."""
UNSEEN: Final = "not looked into"


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


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """What differs within the parts of one kind: files of code and data, packages, facts of systems and machines."""

    name: str
    rows: tuple[Row, ...]
    unseen: str = ""
    """Why not all of it was looked into; empty where it was."""


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


# -- within parts --------------------------------------------------------------------------------------------------


def within(runs: Sequence[Run], store: Store) -> list[Within]:
    """What matters of the changes from the first run's parts to those of the others, as one row for each thing that is
    different in any of them. Params stand in groups of their own."""
    parts = ((kind, [run.parts.get(kind.KIND) for run in runs]) for kind in KINDS if kind.KIND != "params")
    found = (_within(kind, some, store) for kind, some in parts)
    return [one for one in found if one.rows or one.unseen]


def _within(kind: Kind, parts: Sequence[Part | None], store: Store) -> Within:
    first = next(filter(None, parts), None)
    others = {part.digest: part for part in parts if part and first and part.digest != first.digest}
    changes: dict[Digest, dict[str, Change]] = {first.digest: {}} if first else {}
    unseen = f"{LOOKED} of {len(others)} others were looked into" if len(others) > LOOKED else ""
    for digest, part in list(others.items())[:LOOKED]:
        try:
            found = kind.compare(first, part, store) if first else []
        except BisError as error:
            unseen = error.what
        else:
            changes[digest] = {one.name: one for one in found if one.weight == "matters"}
    before = {one.name: one.before for some in changes.values() for one in some.values()}

    def value(part: Part | None, name: str) -> str | None:
        if part is None or part.digest not in changes:
            return UNSEEN if part else None
        change = changes[part.digest].get(name)
        return change.after if change else before[name]

    rows = (Row(name=name, values=tuple(value(part, name) for part in parts), same=False) for name in sorted(before))
    return Within(name=kind.KIND, rows=tuple(rows), unseen=unseen)
