"""The timeline: what changed when, in lanes; a moment on it is what the other pages can be looked at as of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from bis.digest import short
from bis.errors import UsageError
from bis.ledger import history, moves
from bis.ledger.connection import Connection
from bis.ledger.history import MOVES
from bis.ledger.moments import EARLIEST, LATEST, NEVER, shown_time, stamp
from bis.ledger.moves import Point
from bis.server.desk import Desk
from bis.server.pages.clock import until as moment_of
from bis.server.pages.page import Page, Table
from bis.server.pages.timed import DAY, Drawing, drawn
from bis.text import count

SHOWN: Final = 200
"""Of each lane, the newest."""
WINDOW: Final = 30 * DAY
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
WINDOWS: Final = (("1 day", DAY), ("7 days", 7 * DAY), ("30 days", 30 * DAY), ("1 year", 365 * DAY))

LaneName = Literal["code", "data", "environment", "models", "infrastructure"]


class Asked(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    since: str = ""
    """Where the window begins: a moment as in `asof`."""
    until: str = ""
    asof: str = ""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changed."""

    made: int
    what: str
    detail: str
    path: str
    """Of the page that tells more."""
    query: dict[str, str] = {}

    @property
    def moment(self) -> str:
        """Just when it had happened, as addresses have it."""
        return stamp(self.made)


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    name: LaneName
    marks: list[Mark]
    """In the order of time."""
    total: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    word: str
    since: str
    until: str


class Timeline(msgspec.Struct, kw_only=True):
    asked: Asked
    since: int
    until: int
    moment: int | None
    """That is looked at."""
    lanes: list[Lane]
    windows: list[Window]
    """Others that could be looked at."""
    limits: list[str]
    """What was not looked at in full."""

    @property
    def marks(self) -> list[tuple[LaneName, Mark]]:
        """Of all lanes, the newest first."""
        found = [(lane.name, mark) for lane in self.lanes for mark in lane.marks]
        return sorted(found, key=lambda one: one[1].made, reverse=True)

    @property
    def bounds(self) -> tuple[str, str]:
        """Of the window, as people read it."""
        return shown_time(self.since), shown_time(self.until)

    @property
    def total(self) -> int:
        return sum(lane.total for lane in self.lanes)

    def drawing(self) -> Drawing:
        lanes = [(lane.name, [mark.made for mark in lane.marks]) for lane in self.lanes]
        return drawn(lanes, self.since, self.until, self.moment)

    @staticmethod
    def around(since: int, until: int) -> dict[str, str]:
        """A window around some points, wider than they are."""
        room = max((until - since) // 10, 1_000_000)
        return {"from": _stamped(since - room), "until": _stamped(until + room)}


async def timeline(desk: Desk, asked: Asked) -> Timeline:
    now = desk.now()
    until = min(moment_of(asked.until), now) if asked.until else now
    since = _begin(asked.since) if asked.since else await desk.search(_usual, until)
    if since >= until:
        raise UsageError("the window ends before it begins", hint="from=2026-11-01&until=2026-11-20")
    moment = moment_of(asked.asof)
    return await desk.search(_timeline, asked, since, until, None if moment == NEVER else moment, now)


def _usual(connection: Connection, until: int) -> int:
    """Where the window begins if nobody says so: not long before the first thing that is known."""
    span = moves.span(connection)
    first = span[0] - max((until - span[0]) // 20, 1_000_000) if span and span[0] < until else 0
    return max(until - WINDOW, first)


def _begin(text: str) -> int:
    """A day begins at its beginning, though it is over at its end."""
    return max(EARLIEST, moment_of(text) - (DAY - 1 if DATE.fullmatch(text.strip()) else 0))


def _timeline(connection: Connection, asked: Asked, since: int, until: int, moment: int | None, now: int) -> Timeline:
    read = moves.read_since(connection, since, until)
    stood = moves.stood(connection, read, until)
    limits = [f"the newest {moves.READ:,} runs in the window were looked at, those since {shown_time(read)}"]
    return Timeline(
        asked=asked,
        since=since,
        until=until,
        moment=moment,
        lanes=[
            _lane("code", list(map(_commit, moves.commits(connection, read, until)))),
            _data(connection, since, until),
            _lane("environment", [_environment(one) for one in moves.changes(stood, "environment", read)]),
            _models(connection, since, until),
            _lane("infrastructure", [_system(one) for one in moves.changes(stood, "system", read)]),
        ],
        windows=_windows(connection, now),
        limits=limits if read > since else [],
    )


def _windows(connection: Connection, now: int) -> list[Window]:
    found = [Window(word=word, since=stamp(now - long), until="") for word, long in WINDOWS]
    if span := moves.span(connection):
        room = max((span[1] - span[0]) // 20, 1_000_000)
        found.append(Window(word="everything", since=_stamped(span[0] - room), until=_stamped(span[1] + room)))
    return found


def _stamped(time: int) -> str:
    """As addresses have it; before the first day that there is, and behind the last one, that day."""
    return stamp(min(max(time, EARLIEST), LATEST))


def _lane(name: LaneName, marks: Sequence[Mark], total: int | None = None) -> Lane:
    return Lane(name=name, marks=list(marks[-SHOWN:]), total=len(marks) if total is None else total)


def _commit(one: Point) -> Mark:
    return Mark(
        made=one.made,
        what=f"commit {one.what[:12]}",
        detail=f"first run {one.name}, {count(one.runs, 'run')} in the window",
        path="/lineage",
        query={"of": one.what},
    )


def _data(connection: Connection, since: int, until: int) -> Lane:
    rows, total = moves.data(connection, since, until, SHOWN)
    marks = [
        Mark(made=made, what=f"{name}@v{number}", detail="a version of data", path=f"/data/{name}/v{number}")
        for made, name, number in rows
    ]
    return _lane("data", marks, total)


def _environment(one: Point) -> Mark:
    before = f"{short(one.before)} → " if one.before else ""
    return Mark(
        made=one.made,
        what=f"{before}{short(one.what)}",
        detail=f"on {one.host}, with run {one.name}",
        path=f"/environments/{one.what}",
        query={"against": one.before} if one.before else {},
    )


def _models(connection: Connection, since: int, until: int) -> Lane:
    events = history.newest(connection, since=since, until=until, limit=SHOWN, actions=MOVES)
    marks = [
        Mark(
            made=one.made,
            what=f"{one.model}@{one.key} {one.before or '–'} → {one.after or '–'}",
            detail=", ".join(filter(None, (one.action, f"by {one.user}" if one.user else "", one.reason))),
            path=f"/models/{one.model}",
        )
        for one in events
    ]
    marks.sort(key=lambda mark: mark.made)
    return _lane("models", marks, moves.alias_moves_there(connection, since, until))


def _system(one: Point) -> Mark:
    return Mark(
        made=one.made,
        what=f"{one.host} {'changed' if one.before else 'first seen'}",
        detail=f"with run {one.name}",
        path=f"/machines/{one.host}",
    )


def table(found: Timeline) -> Table:
    rows: list[Sequence[Any]] = [(mark.moment, lane, mark.what, mark.detail, mark.path) for lane, mark in found.marks]
    return ("when", "lane", "what", "detail", "page"), rows


PAGES: Final = (Page("/timeline", "timeline", Asked, timeline, table),)
