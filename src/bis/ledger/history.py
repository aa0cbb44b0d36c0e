"""The history of the registry: rows are only added. What was true at a time is read off it."""

from __future__ import annotations

from typing import Any, Final

from bis.ledger.connection import Connection
from bis.nouns.model import Action, By, Event, Model, Standing

COLUMNS: Final = "seq, made, username, name, version, action, key, before, after, reason"
NEVER: Final = 1 << 62
MOVES: Final = ("alias", "unaliased", "rolled back")
"""What changes which version an alias means."""


def note(
    connection: Connection,
    model: Model,
    action: Action,
    by: By,
    *,
    version: int | None = None,
    key: str = "",
    before: str = "",
    after: str = "",
) -> None:
    """Add an entry. Whoever changes the registry does it in the same transaction."""
    connection.execute(
        "INSERT INTO registry_events (made, username, model, name, version, action, key, before, after, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (by.at, by.user, model.id, model.name, version, action, key, before, after, by.reason),
    )


def events(
    connection: Connection, model: Model, *, until: int = NEVER, limit: int = NEVER, before: int = NEVER
) -> list[Event]:
    """What happened to a model and its versions, newest first. `before`: the `seq` at which an earlier page ended."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM registry_events WHERE model = ? AND made <= ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        (model.id, until, before, limit),
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
        f"SELECT {COLUMNS} FROM registry_events WHERE model = ? AND key = ? AND action IN ('alias', 'unaliased',"
        " 'rolled back') AND made <= ? ORDER BY seq",
        (model.id, alias, until),
    ).fetchall()
    return [_event(row) for row in found]


def version_meant(connection: Connection, model: Model, alias: str, moment: int) -> int | None:
    """The version that an alias meant at a time; None when it meant none."""
    found = connection.execute(
        "SELECT after FROM registry_events WHERE model = ? AND key = ? AND action IN ('alias', 'unaliased',"
        " 'rolled back') AND made <= ? ORDER BY seq DESC LIMIT 1",
        (model.id, alias, moment),
    ).fetchall()
    if not found or not found[0][0] or not _was_there(connection, model, moment):
        return None
    return int(found[0][0])


def standing(connection: Connection, model: Model, moment: int) -> Standing | None:
    """How a model stood at a time; None when it was not there then."""
    happened = events(connection, model, until=moment)[::-1]
    if not happened or not _was_there(connection, model, moment):
        return None
    versions: set[int] = set()
    stages: dict[int, str] = {}
    aliases: dict[str, int] = {}
    for event in happened:
        match event.action:
            case "created" | "restored" if event.version is not None:
                versions.add(event.version)
            case "removed" if event.version is not None:
                versions.discard(event.version)
            case "stage" if event.version is not None:
                stages[event.version] = event.after
            case "alias" | "rolled back" if event.after:
                aliases[event.key] = int(event.after)
            case "unaliased" | "rolled back":
                aliases.pop(event.key, None)
    return Standing(
        model=model,
        name=happened[-1].after if happened[-1].action == "renamed" else happened[-1].model,
        moment=moment,
        versions=tuple(sorted(versions)),
        aliases=dict(sorted(aliases.items())),
        stages={number: stage for number, stage in sorted(stages.items()) if stage != "None" and number in versions},
    )


def meant_before(moves: list[Event]) -> list[int]:
    """The versions that an alias meant before the one that it means now, the newest first, with what was rolled back
    left out: from 1 to 2 to 3 and back to 2, it is 1. A time without the alias counts as nothing."""
    line: list[int] = []
    for move in moves:
        if move.action == "rolled back" and len(line) > 1:
            while len(line) > 1 and line[-1] != int(move.after):
                line.pop()
        elif move.action != "unaliased":
            line.append(int(move.after))
    there = bool(moves) and moves[-1].action != "unaliased"
    return line[-2 if there else -1 :: -1] if len(line) > there else []


def _was_there(connection: Connection, model: Model, moment: int) -> bool:
    found = connection.execute(
        "SELECT action FROM registry_events WHERE model = ? AND version IS NULL AND action IN ('created', 'removed',"
        " 'restored') AND made <= ? AND key = '' ORDER BY seq DESC LIMIT 1",
        (model.id, moment),
    ).fetchall()
    return bool(found) and found[0][0] != "removed"


def _event(row: tuple[Any, ...]) -> Event:
    seq, made, user, name, version, action, key, before, after, reason = row
    return Event(
        seq=seq,
        made=made,
        user=user,
        model=name,
        version=version,
        action=action,
        key=key,
        before=before,
        after=after,
        reason=reason,
    )
