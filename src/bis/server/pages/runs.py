"""The runs: a table of which every part is in its address, so that the address is the view."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from bis.digest import readable
from bis.errors import BisError, NotFound, UsageError
from bis.ledger import Row, experiments, groups, listed
from bis.ledger.connection import Connection
from bis.ledger.filter import Field, Order, Unfit, read_filter, read_order
from bis.ledger.grammar import OF_RUNS, RUNS
from bis.ledger.listed import View
from bis.ledger.moments import NEVER
from bis.ledger.refusals import BadToken
from bis.ledger.searching import Known
from bis.nouns.run import is_tracked
from bis.server.desk import Desk
from bis.server.native.call import Trouble
from bis.server.native.paging import mark, place_of
from bis.server.pages.cells import KINDS, VALUES, Cell, Column, Kind, cell, shown
from bis.server.pages.charts import COMPARED
from bis.server.pages.clock import until
from bis.server.pages.page import Page, Table
from bis.steps.listing import PARTS, SHOWN_PARTS, as_plain, by_frequency, differing, digest_of, progress

AT_ONCE: Final = 50
MOST: Final = 16
"""Metrics and params that are shown where nobody has chosen any: all are told beside."""
GROUPS: Final = 200
EXPERIMENTS: Final = 200
OFFERED: Final = 120
"""Names that can be chosen with a click; any other one with its name in the address."""
SELECTED: Final = COMPARED
"""Runs that can be selected: so many are set against each other."""

ORDERS: Final = {"took": "seconds"}
"""What the language calls them, where that is another word."""
TITLES: Final = {"name": "run", "verdict": "rpt", "started": "when", "environment": "env", "infrastructure": "infra"}
ALIASES: Final = {
    **{title: name for name, title in TITLES.items()},
    "seconds": "took",
    "run_name": "name",
    "start_time": "started",
    "end_time": "ended",
}


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    filter: str = ""
    experiment: str = ""
    """Its name."""
    sort: str = ""
    """`metrics.auc`, or `-metrics.auc`: the largest first."""
    columns: list[str] = []
    """Those that are shown: `took`, `metrics.auc`; without any, those in which the runs differ."""
    all: bool = False
    """Whether columns are shown in which all runs are the same, too."""
    group: str = ""
    """`data`, `params.lr`: not the runs, but what they have in common."""
    baseline: str = ""
    """The id of the run that the others are held against."""
    repeats: bool = False
    """Whether runs of `bis repeat` are shown, too."""
    removed: bool = False
    """Whether the removed runs are shown, and no others."""
    run: Annotated[list[str], Meta(max_length=SELECTED)] = []
    """Ids of the runs that are selected, on whatever page of rows they stand."""
    next: str = ""
    """`next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = AT_ONCE
    asof: str = ""


class Choice(msgspec.Struct, kw_only=True):
    """A column that could be shown."""

    name: str
    shown: bool


class Group(msgspec.Struct, kw_only=True):
    value: str | None
    runs: int
    least: float | None
    greatest: float | None
    filter: str
    """That finds its runs."""


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is selected."""

    id: str
    name: str


class Misasked(Trouble, frozen=True, kw_only=True):
    """What was asked for and makes no sense."""

    field: str
    """Of the form."""


class Line(NamedTuple):
    run: dict[str, Any]
    pinned: bool
    cells: Sequence[Cell]


class Runs(msgspec.Struct, kw_only=True):
    asked: Asked
    edition: str
    """Of the ledger: `/runs/live?since=` tells of newer ones."""
    runs: list[dict[str, Any]] = []
    """As `bis log --json` tells them, with their experiment, and how far those are that are under way."""
    baseline: dict[str, Any] | None = None
    selected: list[Picked] = []
    """In the order in which they were selected."""
    columns: list[Column] = []
    choices: list[Choice] = []
    unoffered: bool = False
    """Whether there are more columns than these choices."""
    more: int = 0
    """Columns in which the runs differ and that are not shown, as nobody has chosen them."""
    same: dict[str, str] = {}
    """What is the same in all of these runs, by column, and is not shown."""
    groups: list[Group] | None = None
    metric: str = ""
    """Of which a group has the least and the greatest."""
    metrics: list[str] = []
    shown: int = 0
    matching: int | None = None
    """Runs, or groups of them."""
    total: int
    experiments: list[str] = []
    """The newest of them."""
    unlisted: bool = False
    """Whether there are more experiments than these."""
    next: str = ""
    """Asks for the page that follows; empty behind the last."""
    advice: list[str] = []
    trouble: Misasked | None = None

    @property
    def picked(self) -> frozenset[str]:
        return frozenset(one.id for one in self.selected)

    @property
    def elsewhere(self) -> list[Picked]:
        """Those selected that stand on other pages of rows, or that the filter leaves out."""
        here = {run["id"] for run in (*self.runs, *filter(None, [self.baseline]))}
        return [one for one in self.selected if one.id not in here]

    @staticmethod
    def order(metric: str) -> str:
        """What orders runs by a metric."""
        return f"metrics.{quoted(metric)}"

    def table(self, now: datetime) -> list[Line]:
        """The runs as a person reads them, the baseline first."""
        base = self.baseline
        runs = [*([base] if base else []), *(run for run in self.runs if not base or run["id"] != base["id"])]
        columns = [shown(runs, column, base, now) for column in self.columns]
        return [Line(run, run is base, cells) for run, cells in zip(runs, zip(*columns, strict=True), strict=True)]


async def runs(desk: Desk, asked: Asked) -> Runs:
    return await desk.search(lambda connection: _runs(connection, asked, desk.live.look()))


async def instead(desk: Desk, asked: Asked, error: BisError) -> Runs:
    """The page without runs, and with what is wrong."""
    return await desk.search(lambda connection: _without(connection, asked, desk.live.look(), error))


def _runs(connection: Connection, asked: Asked, edition: str) -> Runs:
    view = _view(connection, asked)
    found = _empty(connection, asked, edition)
    if asked.baseline:
        base = listed.by_id(connection, asked.baseline)
        if base is None:
            raise NotFound(f"no run has the id {readable(asked.baseline)!r}: it is no baseline", hint="baseline=ID")
        found.baseline = _plain(connection, [base])[0]
    if asked.group:
        _fill_groups(connection, found, view)
    else:
        _fill_rows(connection, found, view)
    if not found.matching or found.advice:
        found.advice += _unknown(connection, asked)
    return found


def _selected(connection: Connection, ids: Sequence[str]) -> list[Picked]:
    """Without those that are not there any more."""
    if not ids:
        return []
    marks = ", ".join("?" * len(ids))
    names = dict(connection.execute(f"SELECT id, name FROM runs WHERE id IN ({marks})", tuple(ids)).fetchall())
    return [Picked(id=id, name=names[id]) for id in dict.fromkeys(ids) if id in names]


def _without(connection: Connection, asked: Asked, edition: str, error: BisError) -> Runs:
    found = _empty(connection, asked, edition)
    trouble = Misasked(field=_field(asked, error), **error.told())
    return msgspec.structs.replace(found, trouble=trouble)


def _field(asked: Asked, error: BisError) -> str:
    """Of the form: what the error is about."""
    if isinstance(error, BadToken) or "mark of a page" in error.what:
        return "next"
    if isinstance(error, Unfit):
        return ("group" if asked.group and not asked.sort else "sort") if error.problem == "order" else "filter"
    said = {
        word: getattr(asked, word) for word in ("columns", "group", "baseline", "experiment", "asof", "sort", "next")
    }
    return next(
        (word for word, value in said.items() if value and (word in error.what or str(value) in error.what)), "filter"
    )


def _empty(connection: Connection, asked: Asked, edition: str) -> Runs:
    known = connection.execute(
        "SELECT name FROM experiments WHERE removed IS NULL ORDER BY id DESC LIMIT ?", (EXPERIMENTS + 1,)
    ).fetchall()
    return Runs(
        asked=asked,
        edition=edition,
        selected=_selected(connection, asked.run),
        total=listed.count(connection, View(removed=asked.removed, repeats=True)),
        experiments=[name for (name,) in known[:EXPERIMENTS]],
        unlisted=len(known) > EXPERIMENTS,
    )


def _view(connection: Connection, asked: Asked) -> View:
    """Raises Unfit for a filter that makes no sense: it is read before anything is asked."""
    compared = {field.key for field, *_ in read_filter(asked.filter, RUNS) if field.entity == "attributes"}
    bound = until(asked.asof)
    return View(
        experiment=_experiment(connection, asked.experiment) if asked.experiment else None,
        removed=True if asked.removed else None if "removed" in compared else False,
        repeats=asked.repeats or asked.removed or "repeats" in compared,
        until=None if bound == NEVER else bound,
    )


def _experiment(connection: Connection, name: str) -> int:
    try:
        return experiments.find(connection, name).id
    except NotFound as error:
        known = [name for (name,) in connection.execute("SELECT name FROM experiments LIMIT 2000").fetchall()]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {readable(near[0])}?" if near else ""
        raise NotFound(f"no experiment is called {readable(name)!r}", hint=hint) from error


# -- runs ----------------------------------------------------------------------------------------------------------


def _fill_rows(connection: Connection, found: Runs, view: View) -> None:
    asked = found.asked
    order = _order(asked.sort)
    question = ("runs", asked.filter, asked.sort, asked.experiment, str(asked.repeats), str(asked.removed), asked.asof)
    found.matching = listed.count(connection, view, asked.filter)
    rows, place = listed.rows(
        connection,
        asked.filter,
        order,
        limit=asked.limit,
        view=view,
        after=place_of(asked.next, question),
        known=Known(found.matching, found.total),
    )
    found.next = mark(place, question)
    found.shown = len(rows)
    found.runs = _plain(connection, rows)
    compared = [*rows, *([listed.by_id(connection, asked.baseline)] if asked.baseline else [])]
    known = [row for row in compared if row is not None]
    _choose(found, known, _names_for(connection, asked.columns))
    by = _meant(asked.sort)
    if by and rows and not any(_has(row, by.field) for row in rows):
        found.advice.append(f"none of these runs has {asked.sort.removeprefix('-')}: they stand in the order of time")


def _plain(connection: Connection, rows: Sequence[Row]) -> list[dict[str, Any]]:
    under_way = [row.id for row in rows if row.status == "running" and is_tracked(row.id)]
    points = listed.points_of(connection, under_way)
    return [
        {
            **as_plain(row),
            "experiment": row.experiment or None,
            "progress": progress(row, points[row.id]) if row.id in points else None,
        }
        for row in rows
    ]


def _order(sort: str) -> list[str]:
    """`-metrics.auc`, or the name of a column, as the ledger takes it."""
    name = sort.removeprefix("-")
    if not name:
        return []
    name = ORDERS.get(name, ALIASES.get(name, name))
    return [f"{ORDERS.get(name, name)} DESC" if sort.startswith("-") else ORDERS.get(name, name)]


def _ordering(sort: str) -> str:
    """The column that they are ordered by; empty where they are in the order of time, or that of no column."""
    order = _meant(sort)
    if order is None:
        return ""
    entity, key, _ = order.field
    name = f"{entity}.{key}" if entity in VALUES else ALIASES.get(key, key)
    return name if entity in VALUES or name in KINDS else ""


def _meant(sort: str) -> Order | None:
    """None: the order of time."""
    return next(iter(read_order(_order(sort), RUNS)), None)


def _has(row: Row, field: Field) -> bool:
    return field.entity not in VALUES or field.key in getattr(row, field.entity)


def _choose(found: Runs, rows: Sequence[Row], known: dict[str, list[str]]) -> None:
    """Which columns are shown, which could be, and what is the same in all."""
    asked = found.asked
    if asked.columns:
        names = [_checked(name, rows, known) for one in asked.columns for name in _names(one, rows, known)]
        names = list(dict.fromkeys(["name", *names]))
    else:
        names = _telling(rows, everything=asked.all)
        values = [name for name in names if "." in name]
        found.more = max(0, len(values) - MOST)
        by = _ordering(asked.sort)
        left = {*values[MOST:]} - {by}
        # What they are ordered by is shown, though the first of them may have it all the same.
        names = [name for name in (*names, *filter(None, [by])) if name not in left]
        names = list(dict.fromkeys(names))
    found.columns = [_column(name, asked.sort) for name in names]
    offered = [*KINDS, *(f"{entity}.{name}" for entity in VALUES for name in known[entity])]
    # Names of what metrics measure come first: there may be many.
    found.unoffered = len(offered) > OFFERED
    found.choices = [Choice(name=name, shown=name in names) for name in dict.fromkeys((*offered[:OFFERED], *names))]
    found.same = _same(rows, names) if len(rows) > 1 else {}


def _names_for(connection: Connection, columns: Sequence[str]) -> dict[str, list[str]]:
    """The names that are offered, and those of columns that are asked for beside them."""
    known = listed.names(connection, OFFERED)
    for name in dict.fromkeys(one.strip() for some in columns for one in (some, *some.split(","))):
        for entity in VALUES:
            key = name.removeprefix(f"{entity}.")
            if key not in known[entity] and _is_there(connection, entity, key):
                known[entity].append(key)
    return known


def _is_there(connection: Connection, entity: str, key: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {OF_RUNS[entity].table} WHERE key = ? LIMIT 1", (key,)).fetchall())


def _names(one: str, rows: Sequence[Row], known: dict[str, list[str]]) -> list[str]:
    """A name, or several with commas between them."""
    return [one] if _is_known(one, rows, known) else [name.strip() for name in one.split(",") if name.strip()]


def _is_known(name: str, rows: Sequence[Row], known: dict[str, list[str]]) -> bool:
    entity, _, key = name.partition(".")
    if entity in VALUES and key:
        return key in known[entity] or any(key in getattr(row, entity) for row in rows)
    return ALIASES.get(name, name) in KINDS


def _checked(name: str, rows: Sequence[Row], known: dict[str, list[str]]) -> str:
    """A column's name as it was meant. Raises UsageError for one that no run has."""
    if _is_known(name, rows, known):
        return ALIASES.get(name, name)
    for entity in VALUES:
        if _is_known(f"{entity}.{name}", rows, known):
            return f"{entity}.{name}"
    every = [*KINDS, *(f"{entity}.{key}" for entity in VALUES for key in known[entity])]
    near = difflib.get_close_matches(name, [*every, *(one.partition(".")[2] for one in every)], 1)
    raise UsageError(
        f"no run has anything for columns={readable(name)}",
        because="" if near else f"There are {', '.join(KINDS)}, metrics.NAME, params.NAME and tags.NAME.",
        hint=f"did you mean {readable(near[0])}?" if near else "",
    )


def _telling(rows: Sequence[Row], *, everything: bool) -> list[str]:
    """Columns that say something about these runs: what is the same in all of them needs none."""
    everything = everything or len(rows) < 2
    names = ["verdict"] if everything or any(row.verdict for row in rows) else []
    names.append("name")
    if everything or any(row.status != "finished" for row in rows):
        names.append("status")
    names += ["started", "took"]
    parts = PARTS if everything else SHOWN_PARTS
    some = [kind for kind in parts if any(digest_of(row, kind) for row in rows)]
    names += [kind for kind in some if everything or len({digest_of(row, kind) for row in rows}) > 1]
    metrics = by_frequency(row.metrics for row in rows)
    params = by_frequency(row.params for row in rows) if everything else differing(rows)
    names += [f"metrics.{name}" for name in metrics if everything or len({_spelled(row, name) for row in rows}) > 1]
    names += [f"params.{name}" for name in params]
    names += ["repeats"] if any(row.repeats for row in rows) else []
    names += ["note"] if any(row.note for row in rows) else []
    return names


def _spelled(row: Row, metric: str) -> str:
    return repr(row.metrics.get(metric))


def _same(rows: Sequence[Row], shown: Sequence[str]) -> dict[str, str]:
    first = rows[0]
    told = {
        **{kind: digest_of(first, kind) for kind in PARTS},
        **{f"metrics.{name}": _spelled(first, name) for name in first.metrics},
        **{f"params.{name}": value for name, value in first.params.items()},
    }
    return {name: value for name, value in told.items() if value and name not in shown and _is_same(rows, name, value)}


def _is_same(rows: Sequence[Row], name: str, value: str) -> bool:
    entity, _, key = name.partition(".")
    if entity == "metrics":
        return all(_spelled(row, key) == value for row in rows)
    if entity == "params" and key:
        return all(row.params.get(key) == value for row in rows)
    return all(digest_of(row, name) == value for row in rows)


def _column(name: str, sort: str) -> Column:
    entity, _, key = name.partition(".")
    if entity in VALUES and key:
        kind: Kind = "number" if entity == "metrics" else "param"
        order, title = f"{entity}.{quoted(key)}", key
    else:
        kind, order, title = KINDS[name], name, TITLES.get(name, name)
    same = sort.removeprefix("-") in (order, ORDERS.get(order, order))
    way: Literal["", "ascending", "descending"] = "descending" if sort.startswith("-") else "ascending"
    return Column(name=name, title=readable(title), kind=kind, order=order, sorted=way if same else "")


def quoted(key: str) -> str:
    """A name as the filter language has it."""
    return key if re.fullmatch(r"[\w/:@+\[\]-][\w./:@+\[\]-]*", key) else '"' + key.replace('"', '""') + '"'


# -- groups --------------------------------------------------------------------------------------------------------


def _fill_groups(connection: Connection, found: Runs, view: View) -> None:
    asked = found.asked
    known = listed.names(connection, OFFERED)
    found.metrics = known["metrics"]
    best, found.metric = "", found.metrics[0] if found.metrics else ""
    order = _meant(asked.sort)
    if order and order.field.entity == "metrics":
        best, found.metric = "greatest" if order.falling else "least", order.field.key
    by = ALIASES.get(asked.group, asked.group)
    grouped = groups.groups(connection, by, found.metric, asked.filter, view=view, limit=GROUPS, best=best)
    field = groups.grouped_by(by)
    found.groups = [
        Group(
            value=group.value,
            runs=group.runs,
            least=group.least,
            greatest=group.greatest,
            filter=" AND ".join(filter(None, (asked.filter, _narrower(field, group.value)))),
        )
        for group in grouped.groups
    ]
    found.shown, found.matching = len(found.groups), grouped.total
    found.choices = [
        Choice(name=name, shown=name == asked.group)
        for name in (*PARTS, *(f"{entity}.{name}" for entity in ("params", "tags") for name in known[entity]))
    ][:OFFERED]


def _narrower(field: Field, value: str | None) -> str:
    """A comparison that holds for the runs of a group."""
    name = field.key if field.entity == "attributes" else f"{field.entity}.{quoted(field.key)}"
    return f"{name} IS NULL" if value is None else f"{name} = '{value.replace(chr(39), chr(39) * 2)}'"


# -- advice --------------------------------------------------------------------------------------------------------


def _unknown(connection: Connection, asked: Asked) -> Iterator[str]:
    """The names that no run has, and what was probably meant."""
    known = listed.names(connection)
    fields: Iterable[Field] = [comparison.field for comparison in read_filter(asked.filter, RUNS)]
    fields = [*fields, *(order.field for order in read_order(_order(asked.sort), RUNS))]
    for entity, key in dict.fromkeys((field.entity, field.key) for field in fields):
        if entity in VALUES and key not in known[entity] and not _is_there(connection, entity, key):
            near = difflib.get_close_matches(key, known[entity], 1)
            meant = f"; did you mean {entity}.{readable(near[0])}?" if near else ""
            yield f"no run has {entity}.{readable(key)}{meant}"


# -- as a table ----------------------------------------------------------------------------------------------------


def rows(found: Runs) -> Table:
    """What the page shows, whole: digests with all of their digits, numbers with all of theirs."""
    if found.groups is not None:
        titles = (found.asked.group, "runs", f"least {found.metric}", f"greatest {found.metric}")
        return titles, ((group.value, group.runs, group.least, group.greatest) for group in found.groups)
    columns = [column.name for column in found.columns]
    return ("id", *columns), ([run["id"], *(cell(run, name) for name in columns)] for run in found.runs)


PAGES: Final = (Page("/", "runs", Asked, runs, rows, instead=instead),)
