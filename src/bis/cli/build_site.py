"""Where things are built, as the commands that build them know it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bis.cli.command import Door

if TYPE_CHECKING:
    from bis.steps.shipping import Site


def site(door: Door) -> Site:
    from bis.steps.shipping import Site

    return Site(
        door.settings,
        lambda: door.home,
        datetime.now(UTC),
        door.folder,
        door.variables,
        lambda text: door.terminal.tell(f"{text} …"),
    )
