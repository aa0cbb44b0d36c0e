"""Registered models: which version is in use, which came before, who changed that and why; now, or at a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bis.acts.models import compared, describe, told
from bis.errors import NotFound, UsageError
from bis.ledger import history, registry
from bis.ledger.connection import Connection
from bis.ledger.moments import NEVER
from bis.ledger.registry import Place
from bis.ledger.runs import SqlLedger
from bis.nouns.model import CHAMPION, Event, Model, ModelVersion, Standing
from bis.nouns.run import Run
from bis.server.desk import Desk
from bis.server.native import modelling
from bis.server.native.paging import mark, place_of
from bis.server.pages.clock import until
from bis.server.pages.page import Action, Page, Table
from bis.steps.abreast import Head, head
from bis.steps.models import model_once
from bis.steps.recognising import Recognised

EVENTS: Final = 100
METRICS: Final = 4
AT_ONCE: Final = 50
"""Versions of one page; and those that aliases mean, and aliases, which are on all of them."""
OFFERED: Final = 100
"""Other versions that can be chosen with a click; any other one by its number."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    asof: str = ""


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """An alias, and the version that it means."""

    alias: str
    number: int
    run: str
    verdict: str
    """Of the run that made the version."""
    since: int | None
    """When the alias came to mean it."""
    by: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str
    versions: int
    newest: int | None
    changed: int
    aliases: list[Meant]


class Models(msgspec.Struct, kw_only=True):
    models: list[Line]


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    asof: str = ""
    before: Annotated[int, Meta(ge=1)] = NEVER
    """`seq` of the last event of the page before."""
    next: str = ""
    """`next` of the page of versions before."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = AT_ONCE


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A version, with what is known of the run that made it."""

    version: ModelVersion
    run: Head | None
    verdict: str
    metrics: dict[str, float]
    aliases: list[str]
    """At the moment that is looked at."""


class OneModel(msgspec.Struct, kw_only=True):
    model: Model
    name: str
    """At the moment that is looked at."""
    versions: list[Row]
    """Some, the newest first."""
    in_use: list[Row]
    """Those that an alias means, on whatever page they stand."""
    total: int
    """Versions."""
    begun: bool
    """Whether there is a page of versions before this one."""
    next: str
    """Asks for the page of versions that follows; empty behind the last."""
    aliases: list[Meant]
    aliased: int
    """Aliases, of which these are some."""
    events: list[Event]
    more: int | None
    """`before` of the next page of events."""

    @property
    def rows(self) -> list[Row]:
        """As a person reads them: those that an alias means first."""
        above = {row.version.record for row in self.in_use}
        return [*self.in_use, *(row for row in self.versions if row.version.record not in above)]

    @property
    def metric_names(self) -> list[str]:
        """Of the metrics that most of the versions have, some."""
        counts = Counter(name for row in self.rows for name in row.metrics)
        return [name for name, _ in counts.most_common(METRICS)]


class OneVersion(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    number: Annotated[int, Meta(ge=1, le=1 << 62)]


class Version(msgspec.Struct, kw_only=True):
    version: ModelVersion
    run: Head | None
    verdict: str
    metrics: dict[str, float]
    parts: dict[str, str]
    """What the run was made of, in a few words each."""
    model: Recognised | None
    """None: its files are not here, or are no model."""
    identity: str
    signature: list[tuple[str, str]]
    events: list[Event]
    others: list[int]
    """Numbers of other versions, some: the newest first."""
    unoffered: bool
    """Whether there are more of them."""


async def models(desk: Desk, asked: Asked) -> Models:
    moment = until(asked.asof)

    def ask(connection: Connection) -> Models:
        known = registry.models(connection) if moment == NEVER else _once(connection)
        return Models(models=[line for model in known if (line := _line(connection, model, moment))])

    return await desk.search(ask)


def _once(connection: Connection) -> list[Model]:
    """All that ever were, also those that are removed now."""
    names = connection.execute("SELECT DISTINCT name FROM registry_events ORDER BY name").fetchall()
    found = {model.id: model for (name,) in names if (model := _maybe(connection, name))}
    return list(found.values())


def _maybe(connection: Connection, name: str) -> Model | None:
    try:
        return registry.once(connection, name)
    except NotFound:
        return None


def _line(connection: Connection, model: Model, moment: int) -> Line | None:
    """None: it was not there then."""
    stood = history.standing(connection, model, moment)
    if stood is None:
        return None
    return Line(
        name=stood.name if moment != NEVER else model.name,
        description=model.description,
        versions=len(stood.versions),
        newest=max(stood.versions, default=None),
        changed=model.changed,
        aliases=_aliases(connection, model, stood.aliases, moment),
    )


def _aliases(connection: Connection, model: Model, meant: dict[str, int], moment: int) -> list[Meant]:
    found = []
    for alias, number in meant.items():
        moves = history.alias_moves(connection, model, alias, until=moment)
        last = moves[-1] if moves else None
        run = _run_of(connection, model, number)
        found.append(
            Meant(
                alias=alias,
                number=number,
                run=run,
                verdict=_verdicts(connection, [run]).get(run, ""),
                since=last.made if last else None,
                by=last.user if last else "",
            )
        )
    return found


def _run_of(connection: Connection, model: Model, number: int) -> str:
    """Empty where nothing is known of the version any more."""
    try:
        return registry.version(connection, model.name, number).run
    except NotFound:
        return ""


def _verdicts(connection: Connection, runs: Sequence[str]) -> dict[str, str]:
    wanted = [run for run in runs if run]
    marks = ", ".join("?" * len(wanted))
    asked = f"SELECT id, verdict FROM runs WHERE id IN ({marks})"
    return dict(connection.execute(asked, tuple(wanted)).fetchall()) if wanted else {}


# -- one model -------------------------------------------------------------------------------------------------------


async def model(desk: Desk, asked: Named) -> OneModel:
    moment = until(asked.asof)
    return await desk.shelf.work(lambda: _model(desk, asked, moment))


def _model(desk: Desk, asked: Named, moment: int) -> OneModel:
    ledger = SqlLedger(desk.database, False)
    with desk.database.reading() as connection:
        found = model_once(connection, asked.name)
        stood = history.standing(connection, found, moment)
        if stood is None:
            raise NotFound(f"the model {asked.name!r} was not there then", hint=f"bis model history {asked.name}")
        there, meant = {*stood.versions}, {*stood.aliases.values()}
        places = [place for place in registry.places(connection, found) if place.number in there]
        shown, next = _page(places, asked)
        in_use = [place for place in places if place.number in meant][:AT_ONCE]
        rows = _rows(connection, ledger, {*shown, *in_use}, stood)
        events = history.events(connection, found, until=moment, limit=EVENTS + 1, before=asked.before)
        return OneModel(
            model=found,
            name=stood.name,
            versions=[rows[place.record] for place in shown],
            in_use=[rows[place.record] for place in in_use],
            total=len(places),
            begun=bool(asked.next),
            next=next,
            aliases=_aliases(connection, found, _first(stood.aliases), moment),
            aliased=len(stood.aliases),
            events=events[:EVENTS],
            more=events[EVENTS - 1].seq if len(events) > EVENTS else None,
        )


def _page(places: Sequence[Place], asked: Named) -> tuple[Sequence[Place], str]:
    """What stands on the page that is asked for, and what asks for the next one."""
    question = ("versions", asked.name, asked.asof)
    if after := place_of(asked.next, question):
        try:
            last = msgspec.convert(after, Place)
        except msgspec.ValidationError:
            raise UsageError(f"{asked.next[:40]!r} is not the mark of a page") from None
        places = [place for place in places if _order(place) > _order(last)]
    shown = places[: asked.limit]
    return shown, mark(list(shown[-1]) if len(places) > len(shown) else None, question)


def _order(place: Place) -> tuple[int, int, str]:
    return -place.number, -place.made, place.record


def _rows(connection: Connection, ledger: SqlLedger, places: Set[Place], stood: Standing) -> dict[str, Row]:
    """By their records."""
    if not places:
        return {}
    marks = ", ".join("?" * len(places))
    versions = registry.versions(connection, f"v.record IN ({marks})", [place.record for place in places])
    runs = {id: _known(ledger, id) for id in {one.run for one in versions}}
    verdicts = _verdicts(connection, list(runs))
    return {
        one.record: Row(
            version=one,
            run=head(run) if (run := runs[one.run]) else None,
            verdict=verdicts.get(one.run, ""),
            metrics=run.metrics if run else {},
            aliases=[alias for alias, number in stood.aliases.items() if number == one.number],
        )
        for one in versions
    }


def _first(aliases: Mapping[str, int]) -> dict[str, int]:
    """Some of them, the champion among them."""
    return dict(sorted(aliases.items(), key=lambda one: (one[0] != CHAMPION, one[0]))[:AT_ONCE])


def _known(ledger: SqlLedger, id: str) -> Run | None:
    if not id:
        return None
    try:
        return ledger.get(id)
    except NotFound:
        return None


async def version(desk: Desk, asked: OneVersion) -> Version:
    return await desk.shelf.work(lambda: _version(desk, asked))


def _version(desk: Desk, asked: OneVersion) -> Version:
    ledger = SqlLedger(desk.database, False)
    with desk.database.reading() as connection:
        found = registry.version(connection, asked.name, asked.number)
        parent = registry.get(connection, asked.name)
        events = [event for event in history.events(connection, parent) if event.origin == found.record]
        others = [one.number for one in registry.places(connection, parent) if one.number != found.number]
        verdict = _verdicts(connection, [found.run]).get(found.run, "")
    run = _known(ledger, found.run)
    told = describe(desk.home, found) if desk.home else None
    return Version(
        version=found,
        run=head(run) if run else None,
        verdict=verdict,
        metrics=run.metrics if run else {},
        parts={kind: part.summary for kind, part in run.parts.items()} if run else {},
        events=events,
        others=others[:OFFERED],
        unoffered=len(others) > OFFERED,
        model=told.found if told else None,
        identity=told.identity if told else "",
        signature=list(told.signature) if told else [],
    )


# -- two versions ----------------------------------------------------------------------------------------------------


class Other(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    number: Annotated[int, Meta(ge=1)]
    other: Annotated[int, Meta(ge=1)]


class Apart(msgspec.Struct, kw_only=True):
    before: ModelVersion
    after: ModelVersion
    difference: dict[str, Any]
    """What `bis model diff --json` says; nothing was asked of the models, as that runs them."""


async def apart(desk: Desk, asked: Other) -> Apart:
    return await desk.shelf.work(lambda: _apart(desk, asked))


def _apart(desk: Desk, asked: Other) -> Apart:
    if desk.home is None:
        raise NotFound("this server has no store, and so no files of models")
    with desk.database.reading() as connection:
        before, after = (registry.version(connection, asked.name, number) for number in (asked.other, asked.number))
    return Apart(before=before, after=after, difference=told(compared(before, after, desk.home)))


# -- what is changed -------------------------------------------------------------------------------------------------


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: Annotated[int, Meta(ge=1)]
    alias: str = CHAMPION
    reason: str = ""


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    alias: str = CHAMPION
    reason: str = ""


async def promote(desk: Desk, asked: Promotion) -> str:
    wanted = modelling.Promote(name=asked.name, version=asked.version, alias=asked.alias, reason=asked.reason)
    await modelling.promote(desk, wanted)
    return f"/models/{asked.name}"


async def roll_back(desk: Desk, asked: Rollback) -> str:
    await modelling.roll_back(desk, modelling.RollBack(name=asked.name, alias=asked.alias, reason=asked.reason))
    return f"/models/{asked.name}"


def table(found: Models) -> Table:
    return ("name", "versions", "newest", "aliases"), (
        (one.name, one.versions, one.newest, " ".join(f"{each.alias}={each.number}" for each in one.aliases))
        for one in found.models
    )


def history_table(found: OneModel) -> Table:
    rows: Iterable[Sequence[Any]] = (
        (one.made, one.user, one.action, one.version, one.key, one.before, one.after, one.reason, one.record)
        for one in found.events
    )
    return ("made", "user", "action", "version", "key", "before", "after", "reason", "record"), rows


PAGES: Final = (
    Page("/models", "models", Asked, models, table),
    Page("/models/{name}", "model", Named, model, history_table),
    Page("/models/{name}/{number}/diff", "model_diff", Other, apart),
    Page("/models/{name}/{number}", "version", OneVersion, version),
)
ACTIONS: Final = (
    Action("/models/{name}/promote", Promotion, promote),
    Action("/models/{name}/rollback", Rollback, roll_back),
)
