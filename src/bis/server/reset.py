"""Forgetting everything: for tests of clients that expect an empty server, and only where a person switched it on.

It is the ledger that forgets. What the store holds stays, as content that nothing names: `bis gc` deletes it, but for
records of runs and of the registry, from which `bis reindex` would bring these back.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bis.ledger.connection import Connection
from bis.ledger.database import SCHEMA, Database
from bis.server.desk import Desk

PATH: Final = "/__reset__"
KEPT: Final = frozenset({"tokens"})


class Resetting:
    """An application that can be told to forget, around another."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app, self.desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == PATH and scope["method"] == "POST":
            await self.desk.write(forget, self.desk.database)
            await JSONResponse({})(scope, receive, send)
            return
        await self.app(scope, receive, send)


def forget(connection: Connection, database: Database) -> None:
    """Empty every table, but for the experiment that is always there. The ids start again, as in a new ledger."""
    for table in _tables():
        connection.execute(f"DELETE FROM {table}")
    for table, column in _numbered() if database.path is None else ():  # SQLite counts from what is there
        connection.execute(f"ALTER TABLE {table} ALTER COLUMN {column} RESTART")
    connection.execute(
        "INSERT INTO experiments (id, name, artifacts, made, changed) VALUES (0, 'Default', '', 0, 0)"
        " ON CONFLICT (id) DO NOTHING"
    )


def _numbered() -> list[tuple[str, str]]:
    """The tables that give their rows numbers, and the columns of these."""
    found = re.findall(r"CREATE TABLE (\w+) \([^;]*?(\w+)\s+INTEGER PRIMARY KEY", SCHEMA.read_text("utf-8"))
    return [(table, column) for table, column in found if table not in KEPT]


def _tables() -> list[str]:
    words = SCHEMA.read_text("utf-8").split()
    found = [name.strip("(") for before, name in pairwise(words) if before == "TABLE"]
    return [name for name in found if name.isidentifier() and name not in KEPT]
