"""What the API answers: runs, their metrics and verdicts, experiments, models, data."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bis.digest import readable
from bis.errors import NotFound
from bis.ledger import artifacts, experiments, locations, points, registry, tracked
from bis.ledger.connection import Connection
from bis.ledger.datasets import SqlDataSets
from bis.ledger.grammar import EXPERIMENTS
from bis.ledger.runs import SqlLedger
from bis.ledger.search import compile_filter, compile_order
from bis.nouns.artifact import joined, path_of, safe_path
from bis.nouns.model import Model, ModelVersion
from bis.nouns.run import Status
from bis.nouns.tracking import Experiment, Point, TrackedRun
from bis.nouns.verdict import Verdict
from bis.server.desk import Desk
from bis.server.native.call import Call
from bis.server.native.paging import mark, place_of

Limit = Annotated[int, Meta(ge=1, le=1000, description="How many at most.")]
After = Annotated[str, Meta(description="`next` of the page before.", max_length=4000)]
Filter = Annotated[str, Meta(description="In the filter language: `metrics.loss < 0.5 and params.lr = '0.1'`.")]
Order = Annotated[str, Meta(description="Terms with commas between: `metrics.loss, started DESC`.")]
Step = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""JSON has no words for three of the values that a metric has."""


class Search(msgspec.Struct, forbid_unknown_fields=True):
    filter: Filter = ""
    order: Order = ""
    limit: Limit = 100
    after: After = ""


class One(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class OneExperiment(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[int, Meta(ge=0, le=1 << 62)]


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Chart(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    metric: Annotated[str, Meta(description="Its key.")]
    first: Step | None = None
    last: Step | None = None
    most: Annotated[int, Meta(ge=1, le=100_000, description="Points at most; extremes are never left out.")] = 1000


class Folder(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    path: Annotated[str, Meta(max_length=artifacts.AT_ONCE * 4)] = ""


class Run(msgspec.Struct, kw_only=True):
    """A run that bis recorded, or that a client logged."""

    id: str
    name: str
    experiment: int
    user: str
    status: Status
    started: int
    """Microseconds since 1970 UTC, as all times but those of points."""
    ended: int | None
    sealed: bool
    """Whether bis recorded it: it never changes then."""
    command: str
    commit: str
    removed: bool
    params: dict[str, str]
    metrics: dict[str, Number]
    """The newest value of each."""
    tags: dict[str, str]


class Runs(msgspec.Struct, kw_only=True):
    runs: list[Run]
    next: str = ""
    """Asks for the page that follows, as `after`; empty behind the last."""


class ChartPoint(msgspec.Struct, kw_only=True):
    step: int
    value: Number
    moment: int
    """Milliseconds since 1970 UTC, as the client gave it."""


class ChartPoints(msgspec.Struct, kw_only=True):
    points: list[ChartPoint]


class Said(msgspec.Struct, kw_only=True):
    """A word on whether a run repeats."""

    made: str
    sameness: str
    run: str
    again: str


class Verdicts(msgspec.Struct, kw_only=True):
    verdicts: list[Said]


class File(msgspec.Struct, kw_only=True):
    name: str
    folder: bool
    size: int | None


class Files(msgspec.Struct, kw_only=True):
    files: list[File]


class Experiments(msgspec.Struct, kw_only=True):
    experiments: list[Experiment]
    next: str = ""


class Models(msgspec.Struct, kw_only=True):
    models: list[Model]


class ModelVersions(msgspec.Struct, kw_only=True):
    model: Model
    versions: list[ModelVersion]
    """The newest first."""


class Data(msgspec.Struct, kw_only=True):
    """One version of a data set."""

    name: str
    number: int
    made: str
    user: str
    message: str
    content: str
    files: int
    tags: list[str]


class DataVersions(msgspec.Struct, kw_only=True):
    versions: list[Data]


# -- runs ----------------------------------------------------------------------------------------------------------


async def runs(desk: Desk, asked: Search) -> Runs:
    question = ("runs", asked.filter, asked.order)
    found, place = await desk.search(
        tracked.search,
        compile_filter(asked.filter),
        compile_order(_terms(asked.order)),
        limit=asked.limit,
        after=place_of(asked.after, question),
    )
    return Runs(runs=[shown(run) for run in found], next=mark(place, question))


async def run(desk: Desk, asked: One) -> Run:
    return shown(await desk.read(tracked.get, asked.id))


async def chart(desk: Desk, asked: Chart) -> ChartPoints:
    def ask(connection: Connection) -> list[Point]:
        seq = tracked.seq_of(connection, asked.id)
        found = points.chart(connection, seq, asked.metric, first=asked.first, last=asked.last, most=asked.most)
        if not found and asked.metric not in {point.key for point in tracked.get(connection, asked.id).metrics}:
            raise NotFound(f"run {asked.id} has no metric {asked.metric!r}")
        return found

    found = await desk.read(ask)
    return ChartPoints(
        points=[ChartPoint(step=point.step, value=as_number(point.value), moment=point.moment) for point in found]
    )


async def verdicts(desk: Desk, asked: One) -> Verdicts:
    await desk.read(tracked.seq_of, asked.id)
    found = await desk.shelf.work(lambda: SqlLedger(desk.database, False).verdicts(asked.id))
    return Verdicts(verdicts=[_said(verdict) for verdict in found])


async def files(desk: Desk, asked: Folder) -> Files:
    def ask(connection: Connection) -> list[File]:
        place = path_of(locations.of_run(connection, asked.id))
        found = locations.listing(connection, joined(place, safe_path(asked.path)))
        return [File(name=one.name, folder=one.size is None, size=one.size) for one in found]

    return Files(files=await desk.read(ask))


def shown(run: TrackedRun) -> Run:
    return Run(
        id=run.id,
        name=run.name,
        experiment=run.experiment,
        user=run.user,
        status=run.status,
        started=run.started,
        ended=run.ended,
        sealed=run.sealed,
        command=run.command,
        commit=run.commit,
        removed=bool(run.removed),
        params=run.params,
        metrics={point.key: as_number(point.value) for point in run.metrics},
        tags=run.tags,
    )


def _said(verdict: Verdict) -> Said:
    return Said(made=verdict.made, sameness=verdict.sameness, run=verdict.run, again=verdict.again)


def as_number(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _terms(order: str) -> list[str]:
    return [term.strip() for term in order.split(",") if term.strip()]


# -- experiments, models, data -------------------------------------------------------------------------------------


async def all_experiments(desk: Desk, asked: Search) -> Experiments:
    question = ("experiments", asked.filter, asked.order)
    found, place = await desk.search(
        experiments.search,
        compile_filter(asked.filter, EXPERIMENTS),
        compile_order(_terms(asked.order), EXPERIMENTS),
        limit=asked.limit,
        after=place_of(asked.after, question),
    )
    return Experiments(experiments=found, next=mark(place, question))


async def experiment(desk: Desk, asked: OneExperiment) -> Experiment:
    return await desk.read(experiments.get, asked.id)


async def models(desk: Desk, asked: Nothing) -> Models:
    return Models(models=await desk.search(registry.models))


async def model(desk: Desk, asked: Named) -> ModelVersions:
    def ask(connection: Connection) -> ModelVersions:
        found = registry.get(connection, asked.name)
        return ModelVersions(model=found, versions=registry.versions(connection, "m.id = ?", (found.id,)))

    return await desk.search(ask)


async def data(desk: Desk, asked: Nothing) -> DataVersions:
    return DataVersions(versions=await desk.shelf.work(lambda: _data(desk, "")))


async def data_set(desk: Desk, asked: Named) -> DataVersions:
    found = await desk.shelf.work(lambda: _data(desk, asked.name))
    if not found:
        raise NotFound(f"no data set is called {asked.name!r}")
    return DataVersions(versions=found)


def _data(desk: Desk, name: str) -> list[Data]:
    sets: SqlDataSets = SqlLedger(desk.database, False).data
    return [
        Data(
            name=readable(held.version.name),
            number=held.version.number,
            made=held.version.made,
            user=held.version.user,
            message=held.version.message,
            content=held.version.content,
            files=held.version.files,
            tags=sorted(held.tags),
        )
        for held in sets.versions(name)
    ]


CALLS: Final[tuple[Call, ...]] = (
    Call("/runs", "Find runs.", Search, Runs, runs),
    Call("/runs/{id}", "Everything known of a run in a few lines.", One, Run, run),
    Call("/runs/{id}/chart", "The points of a metric, or the outline of very many.", Chart, ChartPoints, chart),
    Call("/runs/{id}/verdicts", "Whether it repeats.", One, Verdicts, verdicts),
    Call("/runs/{id}/files", "What lies in a folder of its artifacts.", Folder, Files, files),
    Call("/experiments", "Find experiments.", Search, Experiments, all_experiments),
    Call("/experiments/{id}", "One experiment.", OneExperiment, Experiment, experiment),
    Call("/models", "The registered models.", Nothing, Models, models),
    Call("/models/{name}", "A registered model and its versions.", Named, ModelVersions, model),
    Call("/data", "All versions of all data sets.", Nothing, DataVersions, data),
    Call("/data/{name:path}", "The versions of a data set.", Named, DataVersions, data_set),
)
