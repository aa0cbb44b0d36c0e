"""The history of the registry. What was true at a time is read off it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from bis.ledger.connection import Connection
from bis.ledger.moments import NEVER
from bis.nouns.model import Event, Model, Standing

COLUMNS: Final = "seq, made, username, name, version, record, origin, action, key, before, after, reason"
MOVES: Final = "('alias', 'unaliased', 'rolled back')"
"""What changes which version an alias means."""


class Meant(NamedTuple):
    """A version that an alias meant."""

    number: int
    record: str


def events(
    connection: Connection, model: Model, *, until: int = NEVER, limit: int = NEVER, before: int = NEVER
) -> list[Event]:
    """What happened to a model and its versions, newest first. `before`: the `seq` at which an earlier page ended."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM registry_events WHERE model = ? AND made <= ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        (model.id, until, before, limit),
    ).fetchall()
    return [_event(row) for row in found]


def newest(connection: Connection, *, since: int = 0, until: int = NEVER, limit: int, actions: str = "") -> list[Event]:
    """What happened last, to any model; with `actions`, an SQL list, only that."""
    only = f" AND action IN {actions}" if actions else ""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM registry_events WHERE made <= ? AND made >= ?{only} ORDER BY seq DESC LIMIT ?",
        (until, since, limit),
    ).fetchall()
    return [_event(row) for row in found]


def forgotten(connection: Connection, id: int, name: str) -> Model:
    """A model of which its history alone is left."""
    ((made, gone),) = connection.execute(
        "SELECT min(made), max(made) FROM registry_events WHERE model = ?", (id,)
    ).fetchall()
    return Model(id=id, name=name, made=made, changed=gone, removed=gone)


def alias_moves(connection: Connection, model: Model, alias: str, *, until: int = NEVER) -> list[Event]:
    """Which versions an alias meant, one after the other: oldest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM registry_events WHERE model = ? AND key = ? AND action IN {MOVES} AND made <= ?"
        " ORDER BY seq",
        (model.id, alias, until),
    ).fetchall()
    return [_event(row) for row in found]


def version_meant(connection: Connection, model: Model, alias: str, moment: int) -> Meant | None:
    """The version that an alias meant at a time; None when it meant none."""
    found = connection.execute(
        f"SELECT action, version, origin FROM registry_events WHERE model = ? AND key = ? AND action IN {MOVES}"
        " AND made <= ? ORDER BY seq DESC LIMIT 1",
        (model.id, alias, moment),
    ).fetchall()
    if not found or found[0][0] == "unaliased" or not _lines_there(connection, model, moment):
        return None
    return Meant(*found[0][1:])


def standing(connection: Connection, model: Model, moment: int) -> Standing | None:
    """How a model stood at a time; None when it was not there then."""
    happened = events(connection, model, until=moment)[::-1]
    there = _lines_there(connection, model, moment)
    if not happened or not there:
        return None
    lines = dict(connection.execute("SELECT record, line FROM registry_events WHERE model = ?", (model.id,)).fetchall())
    versions: dict[str, int] = {}
    stages: dict[str, str] = {}
    aliases: dict[str, Meant] = {}
    for event in happened:
        number = event.version or 0
        match event.action:
            case "created" | "restored" if number:
                versions[event.origin] = number
            case "removed" if number:
                versions.pop(event.origin, None)
            case "stage" if number:
                stages[event.origin] = event.after
            case "alias" | "rolled back":
                aliases[event.key] = Meant(number, event.origin)
            case "unaliased":
                aliases.pop(event.key, None)
    versions = {record: number for record, number in versions.items() if lines.get(record) in there}
    return Standing(
        model=model,
        name=happened[-1].after if happened[-1].action == "renamed" else happened[-1].model,
        moment=moment,
        versions=tuple(sorted(versions.values())),
        aliases={alias: meant.number for alias, meant in sorted(aliases.items()) if lines.get(meant.record) in there},
        stages=dict(
            sorted((versions[one], stage) for one, stage in stages.items() if stage != "None" and one in versions)
        ),
    )


def meant_before(moves: list[Event]) -> list[str]:
    """The versions that an alias meant before the one that it means now, the newest first, with what was rolled back
    left out: from 1 to 2 to 3 and back to 2, it is 1. A time without the alias counts as nothing. Versions are told by
    the records of what registered them."""
    line: list[str] = []
    for move in moves:
        if move.action == "rolled back" and len(line) > 1:
            while len(line) > 1 and line[-1] != move.origin:
                line.pop()
        elif move.action != "unaliased":
            line.append(move.origin)
    there = bool(moves) and moves[-1].action != "unaliased"
    return line[-2 if there else -1 :: -1] if len(line) > there else []


def taken_aliases(connection: Connection, model: Model, record: str) -> list[str]:
    """The aliases that meant a version until it was removed last: they went in the same change. By the record of what
    registered it."""
    found = connection.execute(
        "SELECT u.key FROM registry_events AS u JOIN registry_events AS r"
        " ON r.model = u.model AND r.origin = u.origin AND r.made = u.made AND r.username = u.username"
        " WHERE r.seq > u.seq AND u.action = 'unaliased' AND r.seq = (SELECT max(seq) FROM registry_events"
        " WHERE model = ? AND origin = ? AND action = 'removed')",
        (model.id, record),
    ).fetchall()
    return [alias for (alias,) in found]


def _lines_there(connection: Connection, model: Model, moment: int) -> set[int]:
    """Of the lines that make a model, those that were there at a time."""
    found = connection.execute(
        "SELECT line, action FROM registry_events WHERE model = ? AND version IS NULL AND action IN ('created',"
        " 'removed', 'restored') AND made <= ? AND key = '' ORDER BY seq",
        (model.id, moment),
    ).fetchall()
    return {line for line, action in dict(found).items() if action != "removed"}


def _event(row: tuple[Any, ...]) -> Event:
    seq, made, user, name, version, record, origin, action, key, before, after, reason = row
    return Event(
        seq=seq,
        made=made,
        user=user,
        model=name,
        version=version,
        record=record,
        origin=origin,
        action=action,
        key=key,
        before=before,
        after=after,
        reason=reason,
    )
