"""Runs as tables of a notebook: many of them, one, and what some differ in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bis.digest import short
from bis.ledger import Row
from bis.live.shown import Cell, Table
from bis.nouns.run import is_tracked
from bis.nouns.verdict import MARKS
from bis.steps.listing import SHOWN_PARTS, by_frequency, differing, digest_of, same_parts, telling_length
from bis.text import command_line, count, duration, number, numbers, seconds_between, utc

if TYPE_CHECKING:
    from bis.steps.home import Home

ROWS: Final = 50
"""Runs that are shown."""
PARAMS: Final = 12
METRICS: Final = 8
"""Columns of each kind, where there are many runs."""
LISTED: Final = 60
"""Params, and metrics, of one run; and what runs differ in, of each kind."""
DRAWINGS: Final = 200
PLACES: Final = 60

Drawn = Callable[[Sequence[Row], Sequence[str]], Mapping[tuple[str, str], str]]
"""Drawings of these metrics of these runs, by the id of the run and the key of the metric, as SVG."""


def nothing(rows: Sequence[Row], keys: Sequence[str]) -> Mapping[tuple[str, str], str]:
    return {}


# -- many ----------------------------------------------------------------------------------------------------------


def several(found: Sequence[Row], draw: Drawn = nothing) -> Table:
    """A row for each, with what tells them apart."""
    rows = found[:ROWS]
    if not rows:
        return Table("", (), (), ["No runs."])
    params, metrics = differing(rows), by_frequency(row.metrics for row in rows)
    parts = [kind for kind in SHOWN_PARTS if len({digest_of(row, kind) for row in rows}) > 1]
    shown = metrics[:METRICS]
    drawings = draw(rows, shown)
    columns = [("", [Cell(MARKS[row.verdict] if row.verdict else "") for row in rows])] if _judged(rows) else []
    columns += [("name", [Cell(row.name) for row in rows]), ("run", [Cell(row.id[:8]) for row in rows])]
    columns += [("status", [Cell(_status(row)) for row in rows])] if any(map(_status, rows)) else []
    columns += [
        ("started", [Cell(utc(row.started)) for row in rows]),
        ("took", [Cell(_took(row), True) for row in rows]),
    ]
    columns += [(kind, _digests(rows, kind)) for kind in parts]
    columns += [(name, [Cell(row.params.get(name, "")) for row in rows]) for name in params[:PARAMS]]
    columns += [(key, _values(rows, key, drawings)) for key in shown]
    cells = list(zip(*(some for _, some in columns), strict=True))
    below = [f"{len(rows):,} of {count(len(found), 'run')}" if len(rows) < len(found) else count(len(found), "run")]
    if same := same_parts(rows):
        below.append(f"The same in all: {', '.join(f'{kind} {short(one)}' for kind, one in same.items())}.")
    hidden = max(0, len(params) - PARAMS) + max(0, len(metrics) - METRICS)
    if hidden:
        below.append(f"{count(hidden, 'more column')}: .frame() has all.")
    return Table("", [title for title, _ in columns], cells, below)


def _judged(rows: Sequence[Row]) -> bool:
    return any(row.verdict for row in rows)


def _status(row: Row) -> str:
    """Empty where it ended well."""
    if row.status != "finished":
        return row.status
    return f"exit {row.exit}" if row.exit else ""


def _took(row: Row) -> str:
    seconds = seconds_between(row.started, row.ended)
    return "" if seconds is None else duration(seconds)


def _digests(rows: Sequence[Row], kind: str) -> list[Cell]:
    digests = [digest_of(row, kind) for row in rows]
    length = telling_length(digests)
    return [Cell(short(one, length)) for one in digests]


def _values(rows: Sequence[Row], key: str, drawings: Mapping[tuple[str, str], str]) -> list[Cell]:
    told = numbers([row.metrics.get(key) for row in rows])
    return [Cell(text, True, drawings.get((row.id, key), "")) for row, text in zip(rows, told, strict=True)]


# -- one -----------------------------------------------------------------------------------------------------------


def one(run: Row, draw: Drawn = nothing) -> Table:
    keys = list(run.metrics)[:LISTED]
    drawings = draw([run], keys)
    took = _took(run)
    told = [
        ("run", run.id),
        ("status", f"{_status(run) or run.status}{f' in {took}' if took else ''}"),
        ("started", f"{utc(run.started)} by {run.user}{f'@{run.host}' if run.host else ''}"),
        ("command", "" if is_tracked(run.id) else command_line(run.command)),
        ("experiment", run.experiment),
        ("repeats", run.repeats[:8]),
        ("verdict", f"{MARKS.get(run.verdict, '')} {run.verdict}" if run.verdict else ""),
        ("note", run.note),
        ("tags", ", ".join(f"{name}={value}" for name, value in run.tags.items())),
        ("findings", ", ".join(run.findings)),
    ]
    rows = [[Cell(name), Cell(text)] for name, text in told if text]
    rows += [[Cell(kind), Cell(f"{short(part.digest)}  {part.summary}")] for kind, part in run.parts.items()]
    rows += [[Cell(f"params.{name}"), Cell(value)] for name, value in list(run.params.items())[:LISTED]]
    rows += [
        [Cell(f"metrics.{key}"), Cell(number(run.metrics[key]), False, drawings.get((run.id, key), ""))] for key in keys
    ]
    hidden = max(0, len(run.params) - LISTED) + max(0, len(run.metrics) - LISTED)
    below = [f"{count(hidden, 'more param or metric', 'more params and metrics')}."] if hidden else []
    if not is_tracked(run.id) and run.status != "running" and not run.repeats:
        below.append(f"bis repeat {run.id[:8]}")
    return Table(run.name, (), rows, below)


# -- compared ------------------------------------------------------------------------------------------------------


def compared(
    names: Sequence[str], rows: Sequence[tuple[str, str, tuple[str | None, ...], str]], same: Sequence[str]
) -> Table:
    """`rows`: kind, name, the values of the runs, and how two of them differ."""
    told = any(detail for *_, detail in rows)
    cells: list[list[Cell]] = []
    left: dict[str, int] = {}
    for kind, some in itertools.groupby(rows, key=lambda row: row[0]):
        listed = list(some)
        cells += [_unlike(*row, told=told) for row in listed[:LISTED]]
        left |= {kind: len(listed) - LISTED} if len(listed) > LISTED else {}
    below = [f"{count(more, 'more difference')} of {kind}." for kind, more in left.items()]
    if same:
        below.append(f"The same: {', '.join(same)}.")
    return Table("" if rows else "No difference.", ["", "", *names, *[""] * told] if rows else (), cells, below)


def _unlike(kind: str, name: str, values: tuple[str | None, ...], detail: str, told: bool) -> list[Cell]:
    """`told`: whether there is a column for how two values differ."""
    cells = [Cell(kind), Cell(name), *(Cell(_side(kind, value), kind == "metrics") for value in values)]
    return [*cells, Cell("", more=detail) if "\n" in detail else Cell(detail)] if told else cells


def _side(kind: str, value: str | None) -> str:
    if value is None:
        return "absent"
    return short(value) if kind == "outputs" else value


# -- drawings ------------------------------------------------------------------------------------------------------


def drawn(home: Home, rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[str, str], str]:
    """Of the metrics that have a history, by run and metric."""
    from bis.ledger import curves, overviews, tracked
    from bis.ledger.refusals import NoSuch
    from bis.nouns.curve import looks_of
    from bis.steps.drawing import sparkline
    from bis.steps.models import database_of

    found: dict[tuple[str, str], str] = {}
    with database_of(home).reading() as connection:
        for row in rows:
            try:
                seq = tracked.seq_of(connection, row.id)
            except NoSuch:
                continue
            for one in overviews.overview(connection, seq):
                if one.key in keys and one.points > 1 and len(found) < DRAWINGS:
                    curve = curves.curve(connection, seq, one.key, places=PLACES)
                    found[row.id, one.key] = sparkline(curve, hue=looks_of(row.id)[0])
    return found
