"""Webhooks of changes that a command made: told before it ends, for some seconds at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bis import extras
from bis.text import plain

if TYPE_CHECKING:
    from bis.cli.command import Door
    from bis.server.telling import Told

PATIENCE: Final = 5.0
"""Seconds for all webhooks of one change. The change is made, whether they hear of it or not."""


def tell(door: Door, told: Iterable[Told]) -> None:
    """Who was not told is said, and the command does not fail for it."""
    from bis.ledger.webhooks import told_of
    from bis.steps.models import database_of

    for event, data in told:
        with database_of(door.home).reading() as connection:
            wanted = told_of(connection, event)
        if not wanted:
            continue
        try:
            from bis.server.hooks import deliver

            missed = deliver(wanted, event, data, anywhere=door.settings.webhooks_anywhere, seconds=PATIENCE)
        except ImportError as error:
            missed = f"{error}; {extras.what_to_type('server')}"
        if missed:
            door.terminal.tell(f"[!] not told of {event}: {plain(missed)}")
