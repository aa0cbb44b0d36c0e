"""Webhooks in the ledger: who is told of which changes of the registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bis.ledger.connection import Connection
from bis.ledger.refusals import NoSuch

COLUMNS: Final = "id, name, url, description, events, secret, status, made, changed"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    url: str
    description: str = ""
    events: tuple[str, ...]
    """`model_version.created`, …"""
    secret: str = ""
    """That signs what is sent; never shown."""
    status: str = "ACTIVE"
    made: int
    changed: int

    def __repr__(self) -> str:
        return f"Webhook({self.name!r}, {self.url!r})"


def create(
    connection: Connection,
    name: str,
    url: str,
    events: Sequence[str],
    now: int,
    *,
    description: str = "",
    secret: str = "",
    status: str = "ACTIVE",
) -> Webhook:
    made = Webhook(
        id=str(uuid.uuid4()),
        name=name,
        url=url,
        description=description,
        events=tuple(dict.fromkeys(events)),
        secret=secret,
        status=status,
        made=now,
        changed=now,
    )
    connection.execute(f"INSERT INTO webhooks ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(made))
    return made


def get(connection: Connection, id: str) -> Webhook:
    """Raises NoSuch."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM webhooks WHERE id = ?", (id,)).fetchall():
        return _webhook(row)
    raise NoSuch("webhook", id)


def all_of(connection: Connection, limit: int = 1 << 62, offset: int = 0) -> list[Webhook]:
    """The newest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM webhooks ORDER BY made DESC, id LIMIT ? OFFSET ?", (limit, offset)
    ).fetchall()
    return [_webhook(row) for row in found]


def told_of(connection: Connection, event: str) -> list[Webhook]:
    """Those that are active and want to hear of an event."""
    return [one for one in all_of(connection) if one.status == "ACTIVE" and event in one.events]


def update(connection: Connection, id: str, now: int, /, **changes: Any) -> Webhook:
    """Set what is given. Raises NoSuch."""
    changed = msgspec.structs.replace(get(connection, id), **changes, changed=now)
    connection.execute(
        "UPDATE webhooks SET id = ?, name = ?, url = ?, description = ?, events = ?, secret = ?, status = ?, made = ?,"
        " changed = ? WHERE id = ?",
        (*_row(changed), id),
    )
    return changed


def remove(connection: Connection, id: str) -> None:
    """Raises NoSuch."""
    get(connection, id)
    connection.execute("DELETE FROM webhooks WHERE id = ?", (id,))


def _row(one: Webhook) -> tuple[Any, ...]:
    events = json.dumps(list(one.events))
    return (one.id, one.name, one.url, one.description, events, one.secret, one.status, one.made, one.changed)


def _webhook(row: tuple[Any, ...]) -> Webhook:
    id, name, url, description, events, secret, status, made, changed = row
    return Webhook(
        id=id,
        name=name,
        url=url,
        description=description,
        events=tuple(json.loads(events)),
        secret=secret,
        status=status,
        made=made,
        changed=changed,
    )
