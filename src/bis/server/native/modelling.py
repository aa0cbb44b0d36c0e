"""Registered models in the API: changed, promoted, rolled back; what happened to them, and what a thing is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bis.acts.lineage import Lineage, lineage
from bis.acts.registry import check_alias, register_within
from bis.errors import NotFound, UsageError
from bis.ledger import history, points, registry, tracked
from bis.ledger.connection import Connection
from bis.ledger.runs import SqlLedger
from bis.nouns.model import CHAMPION, By, Event, Model, ModelVersion
from bis.nouns.tracking import Point
from bis.server import telling
from bis.server.desk import Desk
from bis.server.native.call import Call
from bis.server.native.changing import Key, Tags, Text, Untag
from bis.server.native.looking import ChartPoint, Limit, Named, as_number
from bis.server.native.paging import mark, place_of
from bis.settings import Promotion
from bis.steps import promotion
from bis.steps.promotion import Promoted, Refusal

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Number = Annotated[int, Meta(ge=1, le=1 << 62)]
Reason = Annotated[str, Meta(description="Why; it stands in the history.", max_length=8000)]
Moment = Annotated[int, Meta(description="Microseconds since 1970 UTC.", ge=0, le=1 << 62)]


class NewModel(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    description: Text = ""
    tags: Tags = {}


class ChangedModel(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    name: str
    rename: Annotated[str, Meta(description="Its name from now on.", max_length=500)] = ""
    description: Text | None = None
    tags: Tags = {}
    untag: Untag = []
    reason: Reason = ""


class NewVersion(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    run: Annotated[str, Meta(description="The id of the run that made it.")]
    path: Annotated[str, Meta(description="Which of its outputs; not needed where there is one.", max_length=4000)] = ""
    description: Text = ""
    tags: Tags = {}
    reason: Reason = ""


class OneVersion(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    number: Number


class ChangedVersion(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    name: str
    number: Number
    description: Text | None = None
    stage: Literal["None", "Staging", "Production", "Archived"] | None = None
    tags: Tags = {}
    untag: Untag = []
    reason: Reason = ""


class OneAlias(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    alias: str


class AliasAt(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    alias: str
    at: Moment | None = None


class SetAlias(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    alias: str
    version: Number
    reason: Reason = ""


class Promote(msgspec.Struct, forbid_unknown_fields=True):
    """The conditions of the settings hold besides."""

    name: str
    version: Number
    alias: str = CHAMPION
    repeat: Literal["", "identical", "equivalent"] = ""
    better: Annotated[list[Key], Meta(description="`metrics.rmse:lower`", max_length=100)] = []
    tags: Annotated[list[Key], Meta(description="`reviewed=yes`, or `reviewed`", max_length=100)] = []
    force: Annotated[bool, Meta(description="Even where a condition does not hold; wants a reason.")] = False
    reason: Reason = ""


class RollBack(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    alias: str = CHAMPION
    reason: Reason = ""


class Happened(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    limit: Limit = 100
    before: Annotated[int, Meta(description="`seq` of the last event of the page before.", ge=1, le=1 << 62)] = 1 << 62


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    of: Annotated[
        str,
        Meta(description="models:/churn@champion, a run, data:/NAME, a commit, numpy==2.1.0", max_length=1000),
    ]
    packages: Annotated[bool, Meta(description="Tell the packages of environments one by one.")] = False


class History(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    metric: Annotated[str, Meta(description="Its key.")]
    limit: Limit = 1000
    after: Annotated[str, Meta(description="`next` of the page before.", max_length=4000)] = ""


class Events(msgspec.Struct, kw_only=True):
    events: list[Event]
    """The newest first."""


class Condition(msgspec.Struct, kw_only=True):
    condition: str
    holds: bool
    said: str


class Promotions(msgspec.Struct, kw_only=True):
    version: ModelVersion
    alias: str
    before: int | None
    """The version that the alias meant."""
    checks: list[Condition]
    forced: bool


class HistoryPoints(msgspec.Struct, kw_only=True):
    points: list[ChartPoint]
    next: str = ""


def by(desk: Desk, reason: str = "") -> By:
    return By(desk.asking(), desk.now(), reason)


# -- models --------------------------------------------------------------------------------------------------------


async def create_model(desk: Desk, asked: NewModel) -> Model:
    made = await desk.enter(registry.create, asked.name, by(desk), asked.description, asked.tags)
    desk.tell(*telling.model_made(made))
    return made


async def change_model(desk: Desk, asked: ChangedModel) -> Model:
    def change(connection: Connection) -> Model:
        who, name = by(desk, asked.reason), asked.name
        registry.get(connection, name)
        if asked.rename:
            name = registry.rename(connection, name, asked.rename, who).name
        if asked.description is not None:
            registry.describe(connection, name, asked.description, who)
        for key in asked.untag:
            registry.delete_tag(connection, name, key, who)
        for key, value in asked.tags.items():
            registry.set_tag(connection, name, key, value, who)
        return registry.get(connection, name)

    return await desk.enter(change)


async def remove_model(desk: Desk, asked: Named) -> Model:
    return await desk.enter(registry.remove, asked.name, by(desk))


async def restore_model(desk: Desk, asked: Named) -> Model:
    return await desk.enter(registry.restore, asked.name, by(desk))


async def model_history(desk: Desk, asked: Happened) -> Events:
    def ask(connection: Connection) -> list[Event]:
        model = registry.once(connection, asked.name)
        return history.events(connection, model, limit=asked.limit, before=asked.before)

    return Events(events=await desk.read(ask))


# -- versions ------------------------------------------------------------------------------------------------------


async def create_version(desk: Desk, asked: NewVersion) -> ModelVersion:
    await desk.read(tracked.seq_of, asked.run)
    run = await desk.shelf.work(lambda: SqlLedger(desk.database, False).get(asked.run))
    who = by(desk, asked.reason)

    def change(connection: Connection) -> tuple[ModelVersion, Model | None]:
        tags = dict(asked.tags)
        made, new = register_within(connection, asked.name, run, asked.path, who, asked.description, tags)
        return made, registry.get(connection, made.name) if new else None

    made, model = await desk.enter(change)
    if model:
        desk.tell(*telling.model_made(model))
    desk.tell(*telling.version_made(made))
    return made


async def model_version(desk: Desk, asked: OneVersion) -> ModelVersion:
    return await desk.read(registry.version, asked.name, asked.number)


async def change_version(desk: Desk, asked: ChangedVersion) -> ModelVersion:
    def change(connection: Connection) -> tuple[ModelVersion, ModelVersion]:
        who, named = by(desk, asked.reason), (asked.name, asked.number)
        before = registry.version(connection, *named)
        if asked.description is not None:
            registry.describe_version(connection, *named, asked.description, who)
        if asked.stage is not None:
            registry.set_stage(connection, *named, asked.stage, who)
        for key in asked.untag:
            registry.delete_version_tag(connection, *named, key, who)
        for key, value in asked.tags.items():
            registry.set_version_tag(connection, *named, key, value, who)
        return before, registry.version(connection, *named)

    before, after = await desk.enter(change)
    for key in asked.untag:
        if key in before.tags:
            desk.tell(*telling.tag_deleted(after.name, after.number, key))
    for key, value in asked.tags.items():
        desk.tell(*telling.tag_set(after.name, after.number, key, value))
    return after


async def remove_version(desk: Desk, asked: OneVersion) -> ModelVersion:
    return await desk.enter(registry.remove_version, asked.name, asked.number, by(desk))


async def restore_version(desk: Desk, asked: OneVersion) -> ModelVersion:
    return await desk.enter(registry.restore_version, asked.name, asked.number, by(desk))


# -- aliases -------------------------------------------------------------------------------------------------------


async def alias(desk: Desk, asked: AliasAt) -> ModelVersion:
    def ask(connection: Connection) -> ModelVersion:
        if asked.at is None:
            return registry.by_alias(connection, asked.name, asked.alias)
        model = registry.once(connection, asked.name)
        meant = history.version_meant(connection, model, asked.alias, asked.at)
        if meant is None:
            raise NotFound(f"no version of {asked.name!r} was called {asked.alias!r} then")
        return registry.version(connection, model.name, meant.record)

    return await desk.read(ask)


async def set_alias(desk: Desk, asked: SetAlias) -> ModelVersion:
    check_alias(asked.alias)

    def change(connection: Connection) -> Promoted | Refusal:
        found = registry.version(connection, asked.name, asked.version)
        return promotion.set_alias(connection, desk.rules, found, asked.alias, by(desk, asked.reason))

    set_ = promotion.done(await desk.enter(change)).version
    desk.tell(*telling.alias_set(set_, asked.alias))
    return set_


async def delete_alias(desk: Desk, asked: OneAlias) -> Model:
    def change(connection: Connection) -> Model:
        if asked.alias not in registry.get(connection, asked.name).aliases:
            raise registry.NoAlias(asked.name, asked.alias)
        registry.delete_alias(connection, asked.name, asked.alias, by(desk))
        return registry.get(connection, asked.name)

    found = await desk.enter(change)
    desk.tell(*telling.alias_deleted(asked.name, asked.alias))
    return found


async def promote(desk: Desk, asked: Promote) -> Promotions:
    check_alias(asked.alias)
    conditions = Promotion(repeat=asked.repeat, better=tuple(asked.better), tags=tuple(asked.tags))

    def change(connection: Connection) -> Promoted | Refusal:
        found = registry.version(connection, asked.name, asked.version)
        who = by(desk, asked.reason)
        return promotion.promote(connection, desk.rules, found, asked.alias, conditions, who, force=asked.force)

    done = promotion.done(await desk.enter(change))
    desk.tell(*telling.alias_set(done.version, done.alias))
    checks = [Condition(**check._asdict()) for check in done.checks]
    return Promotions(version=done.version, alias=done.alias, before=done.before, checks=checks, forced=done.forced)


async def roll_back(desk: Desk, asked: RollBack) -> ModelVersion:
    def change(connection: Connection) -> ModelVersion:
        registry.rollback(connection, asked.name, asked.alias, by(desk, asked.reason))
        return registry.by_alias(connection, asked.name, asked.alias)

    found = await desk.enter(change)
    desk.tell(*telling.alias_set(found, asked.alias))
    return found


# -- what a thing is made of, and how a metric went ----------------------------------------------------------------


async def lineage_of(desk: Desk, asked: Thing) -> Lineage:
    home = desk.home
    if home is None:
        raise UsageError("this server answers for one run, and knows no lineage", hint="bis server")
    now = datetime.now(UTC).replace(tzinfo=None)
    return await desk.shelf.work(lambda: lineage(asked.of, home, None, now, packages=asked.packages))


async def metric_history(desk: Desk, asked: History) -> HistoryPoints:
    """By moment, step and value: as they were logged."""
    question = ("history", asked.id, asked.metric)

    def ask(connection: Connection) -> list[Point]:
        seq, place = tracked.seq_of(connection, asked.id), place_of(asked.after, question)
        after = Point(asked.metric, *_place(place)) if place else None
        found = points.history(connection, seq, asked.metric, limit=asked.limit + 1, after=after)
        if not found and after is None:
            raise NotFound(f"run {asked.id} has no metric {asked.metric!r}")
        return found

    found = await desk.read(ask)
    last = found[asked.limit - 1] if len(found) > asked.limit else None
    shown = [ChartPoint(step=one.step, value=as_number(one.value), moment=one.moment) for one in found[: asked.limit]]
    return HistoryPoints(
        points=shown, next=mark([repr(last.value), last.moment, last.step] if last else None, question)
    )


def _place(place: list[str | int | float | None]) -> tuple[float, int, int]:
    try:
        value, moment, step = map(str, place)
        return float(value), int(moment), int(step)
    except ValueError:
        raise UsageError("that is not the mark of a page") from None


CALLS: Final[tuple[Call, ...]] = (
    Call("/runs/{id}/history", "Every point of a metric.", History, HistoryPoints, metric_history),
    Call("/models", "Make a registered model.", NewModel, Model, create_model, "POST"),
    Call("/models/{name}", "Rename, describe or tag a model.", ChangedModel, Model, change_model, "PATCH"),
    Call("/models/{name}", "Remove a model with its versions.", Named, Model, remove_model, "DELETE"),
    Call("/models/{name}/restore", "Take the removal of a model back.", Named, Model, restore_model, "POST"),
    Call("/models/{name}/history", "Who changed what, when and why.", Happened, Events, model_history),
    Call("/models/{name}/versions", "Register what a run made.", NewVersion, ModelVersion, create_version, "POST"),
    Call("/models/{name}/versions/{number}", "One version.", OneVersion, ModelVersion, model_version),
    Call(
        "/models/{name}/versions/{number}",
        "Describe or tag a version, or move it to a stage.",
        ChangedVersion,
        ModelVersion,
        change_version,
        "PATCH",
    ),
    Call("/models/{name}/versions/{number}", "Remove a version.", OneVersion, ModelVersion, remove_version, "DELETE"),
    Call(
        "/models/{name}/versions/{number}/restore",
        "Take the removal of a version back.",
        OneVersion,
        ModelVersion,
        restore_version,
        "POST",
    ),
    Call("/models/{name}/aliases/{alias}", "What an alias means, or meant then.", AliasAt, ModelVersion, alias),
    Call("/models/{name}/aliases/{alias}", "Let an alias mean a version.", SetAlias, ModelVersion, set_alias, "PUT"),
    Call("/models/{name}/aliases/{alias}", "Take an alias away.", OneAlias, Model, delete_alias, "DELETE"),
    Call(
        "/models/{name}/promote",
        "Let an alias mean a version, if the conditions hold.",
        Promote,
        Promotions,
        promote,
        "POST",
    ),
    Call("/models/{name}/rollback", "The version that it was before.", RollBack, ModelVersion, roll_back, "POST"),
    Call("/lineage", "What a thing is made of, and what it reached.", Thing, Lineage, lineage_of),
)
