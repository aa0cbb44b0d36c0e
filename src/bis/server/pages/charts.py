"""Charts: a metric of one run, and of several over one another.

What is drawn comes from `PATH.json`, closer with each zoom; it says whether it is exact, and holds every point, as a
bucket of its neighbours where there are more points than pixels. `PATH.csv` has all points as they were logged, and
`PATH.svg` the drawing for those without scripts.

Another page shows charts of its runs by a template: `{% set charts = … %}{% include "_charts.html" %}` with what
`of_run` answers, or `{% set overlay = ids %}{% include "_overlay.html" %}` with the ids of some runs, and `STYLES` as
`Page.styles`.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bis.errors import BisError, NotFound, UsageError
from bis.ledger import curves, overviews, points, tracked
from bis.ledger.connection import Connection
from bis.ledger.runs import SqlLedger
from bis.nouns.curve import Curve, Odd, Overview, looks_of
from bis.nouns.tracking import Point, TrackedRun
from bis.server.desk import Desk
from bis.server.native.looking import Number, as_number
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Page, asked_of, status_of
from bis.steps.drawing import Line, line_chart

WIDEST: Final = 1000
"""Places of a chart at most: of all its lines together about that many are told, so that an answer stays small."""
FEWEST: Final = 40
TOGETHER: Final = 1100
RUNS: Final = 100
"""Lines in one chart."""
COMPARED: Final = 500
"""Runs whose params and metrics are set against each other."""
AT_ONCE: Final = 10_000
"""Points of a table that are read in one step."""
FEW: Final = 12
"""More metrics can be searched."""
SYSTEM: Final = "system/"
PLAIN: Final[dict[str, str]] = {
    "step": "step",
    "time": "time (UTC)",
    "relative": "seconds since it began",
    "epoch": "epoch",
}

STYLES: Final = "'sha256-jSYQUrW7J0b3jPqhZP9C2Xh1PyJKHKXd4s0fpGGKrww='"
"""Hashes of what Observable Plot says of its figures, always in the same words."""

Window = Annotated[float, Meta(description="In the unit of x.")]


class _Look(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    metric: str
    x: str = "step"
    """step, time, relative, epoch, or `metric:KEY`."""
    first: Window | None = None
    last: Window | None = None
    width: Annotated[int, Meta(ge=10, le=10_000, description="Pixels.")] = WIDEST
    log: bool = False
    """Whether steps become wider by their logarithm."""


class Asked(_Look, forbid_unknown_fields=True, kw_only=True):
    id: str


class AskedSeveral(_Look, forbid_unknown_fields=True, kw_only=True):
    run: list[str]


class Summary(msgspec.Struct, kw_only=True):
    """All points of a metric in a line; each value with its step."""

    points: int
    odd: int
    first: Number
    first_at: int
    newest: Number
    newest_at: int
    least: Number | None
    least_at: int
    greatest: Number | None
    greatest_at: int


class Series(msgspec.Struct, kw_only=True):
    """What is drawn of one run. Places are told from `base` on. Of an exact one `at` and `value` are the points; of an
    envelope each bucket has its ends, its least and greatest point, its mean and how many it holds."""

    run: str
    name: str
    live: bool
    """Whether there may be more of it soon."""
    hue: int
    dashes: str
    points: int
    """In the window."""
    exact: bool
    said: str
    """`exact`, or `envelope of 833 points per pixel`."""
    base: float = 0
    at: list[float] = []
    value: list[float] = []
    first: list[float] = []
    last: list[float] = []
    low: list[float] = []
    low_at: list[float] = []
    high: list[float] = []
    high_at: list[float] = []
    mean: list[float] = []
    count: list[int] = []
    odd: list[Odd] = []
    hidden: int = 0
    """Points that have no place on a logarithmic axis."""
    summary: Summary | None = None


class Curves(msgspec.Struct, kw_only=True):
    metric: str
    x: str
    label: str
    """Of the axis."""
    log: bool
    first: float | None
    last: float | None
    runs: list[str]
    series: list[Series]
    metrics: list[str]
    """Of the first run: what else may stand on the axis."""


class Metrics(msgspec.Struct, kw_only=True):
    """Metrics whose keys begin alike."""

    name: str
    metrics: list[Overview]

    def drawn(self, live: bool) -> list[Overview]:
        """Without those of one point, of which there will not be more: those are numbers, and no curves."""
        return [one for one in self.metrics if live or one.points > 1]

    def single(self, live: bool) -> list[Overview]:
        return [one for one in self.metrics if not live and one.points <= 1]


class Charts(msgspec.Struct, kw_only=True):
    """The metrics of a run, for `_charts.html`."""

    run: str
    live: bool
    total: int
    groups: list[Metrics]
    """Those of the system last."""

    @property
    def keys(self) -> list[str]:
        """Of what may stand on an axis."""
        return [one.key for group in self.groups for one in group.drawn(self.live)]

    @property
    def many(self) -> bool:
        return self.total > FEW


class Compared(msgspec.Struct, kw_only=True):
    """A run with what it was given, and what it came to."""

    id: str
    name: str
    status: str
    hue: int
    dashes: str
    params: dict[str, str]
    metrics: dict[str, Number]


class Overlay(msgspec.Struct, kw_only=True):
    """Several runs, for `_overlay.html`."""

    runs: list[Compared]
    metrics: list[str]
    """That at least one of them has; those of most runs first."""
    curves: list[str]
    """Those of more than one point in at least one of them."""

    @property
    def ids(self) -> list[str]:
        return [run.id for run in self.runs]


class AskedRuns(msgspec.Struct, forbid_unknown_fields=True):
    run: list[str] = []


# -- one metric ----------------------------------------------------------------------------------------------------


async def chart(desk: Desk, asked: Asked) -> Curves:
    return await desk.read(curves_of, await meant(desk, [asked.id]), asked)


async def several(desk: Desk, asked: AskedSeveral) -> Curves:
    return await desk.read(curves_of, await meant(desk, asked.run), asked)


async def meant(desk: Desk, texts: Sequence[str]) -> list[str]:
    """The ids of runs, which may be named in other ways, too. Raises NotFound."""
    texts = list(dict.fromkeys(texts))
    if len(texts) > COMPARED:
        raise UsageError(f"{len(texts)} runs are named, and at most {COMPARED} are set against each other")
    if not texts or len(await desk.read(_known, texts)) == len(texts):
        return texts

    def ask() -> list[str]:
        ledger = SqlLedger(desk.database, False)
        return list(dict.fromkeys(run_meant(ledger, text).id for text in texts))

    return await desk.shelf.work(ask)


def _known(connection: Connection, ids: Sequence[str]) -> list[str]:
    marks = ", ".join("?" * len(ids))
    return [id for (id,) in connection.execute(f"SELECT id FROM runs WHERE id IN ({marks})", ids).fetchall()]


def curves_of(connection: Connection, ids: Sequence[str], look: _Look) -> Curves:
    """Raises NotFound where none of the runs has the metric, and UsageError for an axis that there is not."""
    ids = list(dict.fromkeys(ids))
    if not 0 < len(ids) <= RUNS:
        raise UsageError(f"a chart shows 1 to {RUNS} runs, and {len(ids)} are named")
    runs = [tracked.get(connection, id) for id in ids]
    keys = sorted({point.key for run in runs for point in run.metrics})
    if look.metric not in keys:
        raise _no_metric(look.metric, keys, len(runs))
    across = _across(look.x)
    if across and across not in keys:
        because = "Epochs are read from a metric of that name, logged at the same steps." if look.x == "epoch" else ""
        hint = "x is step, time or relative"
        raise UsageError(f"there is no metric {across!r} to be an axis", because=because, hint=hint)
    places = max(FEWEST, min(look.width, WIDEST, TOGETHER // len(runs)))
    found = [(run, _curve(connection, run, look, across, places)) for run in runs]
    return Curves(
        metric=look.metric,
        x=look.x,
        label=across or PLAIN[look.x],
        log=look.log,
        first=look.first,
        last=look.last,
        runs=ids,
        series=[_series(connection, run, curve, look, places) for run, curve in found],
        metrics=[point.key for point in runs[0].metrics],
    )


def _no_metric(metric: str, keys: Sequence[str], runs: int) -> NotFound:
    near = difflib.get_close_matches(metric, keys, 1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(keys[:8])}" if keys else "no metric was logged"
    return NotFound(f"{'the run has no' if runs == 1 else 'none of the runs has a'} metric {metric!r}", hint=hint)


def _across(x: str) -> str:
    """The metric that is the axis; empty where it is none."""
    if x in ("step", "time", "relative"):
        return ""
    key = "epoch" if x == "epoch" else x.removeprefix("metric:")
    if key == x and x != "epoch":
        raise UsageError(f"{x!r} is no axis", hint="x is step, time, relative, epoch, or metric:KEY")
    return key


def _curve(connection: Connection, run: TrackedRun, look: _Look, across: str, places: int) -> Curve:
    seq = tracked.seq_of(connection, run.id)
    first, last = _window(run, look)
    if across:
        return curves.against(connection, seq, look.metric, across, first=first, last=last, places=places)
    axis: Literal["step", "moment"] = "step" if look.x == "step" else "moment"
    log = look.log and axis == "step"
    return curves.curve(connection, seq, look.metric, axis=axis, first=first, last=last, places=places, log=log)


def _window(run: TrackedRun, look: _Look) -> tuple[float | None, float | None]:
    """In the unit of the ledger: steps, or milliseconds since 1970."""
    if look.x != "relative":
        return look.first, look.last
    start = run.started / 1000
    first, last = (None if one is None else start + one * 1000 for one in (look.first, look.last))
    return first, last


def _series(connection: Connection, run: TrackedRun, curve: Curve, look: _Look, places: int) -> Series:
    hue, dashes = looks_of(run.id)
    base = curve.buckets[0].first if curve.buckets and look.x == "time" else 0

    def placed(values: Iterable[float]) -> list[float]:
        if look.x == "relative":
            return [(value - run.started / 1000) / 1000 for value in values]
        return [value - base for value in values]

    found = Series(
        run=run.id,
        name=run.name,
        live=run.status == "running",
        hue=hue,
        dashes=dashes,
        points=curve.points,
        exact=curve.exact,
        said=_said(curve, look.width, places),
        base=base,
        odd=[Odd(kind=one.kind, points=one.points, at=placed(one.at)) for one in curve.odd],
        hidden=curve.hidden,
        summary=_summary(overviews.overview(connection, tracked.seq_of(connection, run.id), look.metric)),
    )
    found.at, found.value = (placed(one.first for one in curve.buckets), [one.low for one in curve.buckets])
    if not curve.exact:
        found.at, found.value = [], []
        found.first = placed(one.first for one in curve.buckets)
        found.last = placed(one.last for one in curve.buckets)
        found.low = [one.low for one in curve.buckets]
        found.low_at = placed(one.low_at for one in curve.buckets)
        found.high = [one.high for one in curve.buckets]
        found.high_at = placed(one.high_at for one in curve.buckets)
        found.mean = [float(f"{one.mean:.7g}") for one in curve.buckets]
        found.count = [one.points for one in curve.buckets]
    return found


def _said(curve: Curve, width: int, places: int) -> str:
    if curve.exact:
        return "exact"
    if not curve.buckets:
        return "no numbers"
    each, most = max(1, round(curve.points / places)), max(one.points for one in curve.buckets)
    points = f"{each:,}" if most <= 1.5 * each else f"up to {most:,}"
    wide = max(1.0, width / places)
    return f"envelope of {points} points {'per pixel' if wide < 1.5 else f'per {wide:.0f} pixels'}"


def _summary(found: Sequence[Overview]) -> Summary | None:
    if not found:
        return None
    one = found[0]
    return Summary(
        points=one.points,
        odd=one.odd,
        first=as_number(one.first),
        first_at=one.first_at,
        newest=as_number(one.newest),
        newest_at=one.newest_at,
        least=None if math.isnan(one.least) else as_number(one.least),
        least_at=one.least_at,
        greatest=None if math.isnan(one.greatest) else as_number(one.greatest),
        greatest_at=one.greatest_at,
    )


# -- the metrics of a run, and of runs -----------------------------------------------------------------------------


def of_run(connection: Connection, run: TrackedRun) -> Charts:
    """Grouped by what stands before the first slash; what is measured of the system apart."""
    found = overviews.overview(connection, tracked.seq_of(connection, run.id))
    system = [one for one in found if one.key.startswith(SYSTEM)]
    groups: dict[str, list[Overview]] = {}
    for one in found:
        if not one.key.startswith(SYSTEM):
            groups.setdefault(one.key.rpartition("/")[0].partition("/")[0], []).append(one)
    own = [Metrics(name=name, metrics=groups[name]) for name in sorted(groups)]
    return Charts(
        run=run.id,
        live=run.status == "running",
        total=len(found),
        groups=own + ([Metrics(name="System use", metrics=system)] if system else []),
    )


def of_runs(connection: Connection, ids: Sequence[str]) -> Overlay:
    """In the order in which they are named. Raises NoSuch."""
    runs = [tracked.get(connection, id) for id in ids]
    times: dict[str, int] = {}
    for run in runs:
        for point in run.metrics:
            times[point.key] = times.get(point.key, 0) + 1
    metrics = sorted(times, key=lambda key: (key.startswith(SYSTEM), -times[key], key))
    counts = [points.counts(connection, tracked.seq_of(connection, run.id)) for run in runs]
    long = {key for each in counts for key, count in each.items() if count > 1}
    return Overlay(
        runs=[
            Compared(
                id=run.id,
                name=run.name,
                status=run.status,
                hue=looks_of(run.id)[0],
                dashes=looks_of(run.id)[1],
                params=run.params,
                metrics={point.key: as_number(point.value) for point in run.metrics},
            )
            for run in runs
        ],
        metrics=metrics,
        curves=[key for key in metrics if key in long],
    )


async def overlay(desk: Desk, asked: AskedRuns) -> Overlay:
    return await desk.read(of_runs, await meant(desk, asked.run))


# -- as a table, and as a drawing ----------------------------------------------------------------------------------


def routes(desk: Desk) -> Iterator[Route]:
    """Of forms that no other page has."""

    async def as_csv(request: Request) -> Response:
        try:
            runs, asked = _looked_at(request)
            found = await desk.read(curves_of, await meant(desk, runs), asked)
            known = [await desk.read(tracked.get, id) for id in found.runs]
        except BisError as error:
            return Response(f"{error.what}\n", status_of(error), media_type="text/plain")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", asked.metric)[:80] or "metric"
        headers = {
            "content-disposition": f'attachment; filename="{name}.csv"',
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(_lines(desk, known, asked), headers=headers, media_type="text/csv; charset=utf-8")

    async def as_svg(request: Request) -> Response:
        try:
            runs, asked = _looked_at(request)
            drawn = await desk.read(_drawn, await meant(desk, runs), asked, "#ffffff")
        except BisError as error:
            return Response(f"{error.what}\n", status_of(error), media_type="text/plain")
        headers = {
            "content-security-policy": "default-src 'none'",
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
        }
        return Response(drawn, headers=headers, media_type="image/svg+xml")

    for path in ("/runs/{id}/chart", "/chart"):
        yield Route(f"{path}.csv", as_csv, methods=["GET"])
        yield Route(f"{path}.svg", as_svg, methods=["GET"])


def _looked_at(request: Request) -> tuple[list[str], _Look]:
    if "id" in request.path_params:
        one = asked_of(Asked, request)
        return [one.id], one
    some = asked_of(AskedSeveral, request)
    return some.run, some


async def _lines(desk: Desk, runs: Sequence[TrackedRun], look: _Look) -> AsyncIterator[str]:
    """All points of the window, by their moments, as they are read. Where another metric is the axis, all."""
    several = len(runs) > 1
    yield ("run," if several else "") + "key,step,moment,value\n"
    for run in runs:
        seq = await desk.read(tracked.seq_of, run.id)
        first, last = _window(run, look) if look.x in ("step", "time", "relative") else (None, None)
        low, high = -math.inf if first is None else first, math.inf if last is None else last
        after: Point | None = None
        while found := await desk.read(points.history, seq, look.metric, limit=AT_ONCE, after=after):
            after = found[-1]
            out = io.StringIO()
            written = csv.writer(out, lineterminator="\n")
            for point in found:
                if low <= (point.step if look.x == "step" else point.moment) <= high or first is last is None:
                    row = [point.key, point.step, point.moment, repr(point.value)]
                    written.writerow([run.id, *row] if several else row)
            yield out.getvalue()


def _drawn(connection: Connection, ids: Sequence[str], look: _Look, ground: str = "") -> str:
    found = curves_of(connection, ids, msgspec.structs.replace(look, width=600))
    across = _across(look.x)
    lines = []
    for one in found.series:
        run = tracked.get(connection, one.run)
        curve = _curve(connection, run, look, across, max(FEWEST, TOGETHER // (2 * len(found.series))))
        lines.append(Line(one.name, curve, one.hue, one.dashes if len(found.series) > 1 else ""))
    return line_chart(lines, title=look.metric, axis=found.label, ground=ground)


PAGES: Final = (
    Page("/runs/{id}/chart", "chart", Asked, chart),
    Page("/chart", "chart", AskedSeveral, several),
    Page("/overlay", "overlay", AskedRuns, overlay, styles=STYLES),
)
