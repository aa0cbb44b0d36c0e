"""The process behind the address of a run: it answers the MLflow clients of that run, and ends with it.

    python -m bis.server.receive DESCRIPTOR PROJECT RUN

DESCRIPTOR is a socket that listens already; the token stands in a variable, where no list of processes shows it.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from bis.ledger.runs import SqlLedger
from bis.ledger.tokens import Token, digest_of
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.guard import Guard
from bis.server.receiver import OWN_TOKEN
from bis.server.serve import Server
from bis.server.wire import Wire
from bis.settings import load_settings
from bis.steps.home import open_home


class OneRun(Guard):
    """Lets in who has the token of the run, and nobody else."""

    def __init__(self, *words: Any, token: str) -> None:
        super().__init__(*words)
        digest = digest_of(token)
        self._only = {digest: Token(digest=digest, name="this run", role="writer", made=0)}

    async def _known(self, age: float = 0) -> dict[str, Token]:
        return self._only


def receive(listening: socket.socket, project: Path, run: str, token: str) -> None:
    """Answer until SIGTERM; then all that was acknowledged is written, and it is said which runs were shown that were
    there before."""
    home = open_home(project, load_settings(project, os.environ), variables=os.environ)
    assert isinstance(home.ledger, SqlLedger)
    desk = Desk(home.ledger.database, home.store, home.folder / "uploads", around=run)
    try:
        guarded = OneRun(Application(desk), desk, token=token)
        Server(uvicorn.Config(guarded, http=Wire, ws="none", lifespan="off", log_config=None, access_log=False)).run(
            sockets=[listening]
        )
    finally:
        desk.close()
    print(*sorted(desk.seen), flush=True)


if __name__ == "__main__":
    number, folder, around = sys.argv[1:]
    receive(socket.socket(fileno=int(number)), Path(folder), around, os.environ.pop(OWN_TOKEN))
