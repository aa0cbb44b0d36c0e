"""Listening: from a project's home to a server that answers, until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from bis.ledger.runs import SqlLedger
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.hooks import Hooks
from bis.steps.home import Home


def serve(home: Home, host: str, port: int, told: Callable[[str], None]) -> None:
    """Answer until a signal ends it; requests under way are answered first."""
    assert isinstance(home.ledger, SqlLedger)
    with home.ledger.database.writing():  # there from now on, and of this version
        pass
    hooks = Hooks(anywhere=home.settings.webhooks_anywhere)
    desk = Desk(home.ledger.database, home.store, home.folder / "uploads", hooks)
    listening = socket.create_server((host, port), reuse_port=False)
    told(f"serving {home.project} on http://{host}:{listening.getsockname()[1]}")
    config = uvicorn.Config(Application(desk), log_level="warning", access_log=False, lifespan="off")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        desk.close()
