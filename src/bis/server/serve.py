"""Listening: from a project's home to a server that answers, until it is told to end."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvicorn

from bis.errors import UsageError, explains
from bis.ledger import tokens
from bis.ledger.runs import SqlLedger
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.doorway import listen
from bis.server.guard import Guard, Limits, Rules
from bis.server.hooks import Hooks
from bis.server.keeper import Keeper
from bis.server.pages import routes as _pages  # noqa: F401  # its packages are missed before anything is served
from bis.server.reset import Resetting
from bis.server.scattered import forget_old
from bis.server.told import Format, tell_troubles, teller
from bis.server.wire import Wire
from bis.steps.home import Home
from bis.store.bucket import BucketStore
from bis.store.trouble import shown

KEEP_ALIVE: Final = 75
"""Seconds for which a connection is kept that asks nothing: clients ask often."""
CALM: Final = 1.0
"""Seconds before a worker that ended is started again."""
UNGUARDED = explains("B067", "A server that others can reach needs a token, or to be told that it is open.")


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How a server was asked to listen."""

    command: str = "bis server"
    """What was typed to start it."""
    host: str = "127.0.0.1"
    port: int = 5000
    open: bool = False
    """Whether everybody may do everything, wherever they are."""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    cert: str = ""
    key: str = ""
    workers: int = 1
    root: str = ""
    """The path below which a proxy shows it."""
    proxies: tuple[str, ...] = ()
    """Addresses whose word on who asks, and how, is believed."""
    log: Format = "errors"
    limits: Limits = Limits()
    grace: int = 30
    """Seconds for requests under way when it is told to end."""
    reset: bool = False
    """Whether it can be told to forget everything: for tests of clients."""
    socket: int = -1
    """A descriptor that listens already: this is one of several workers."""
    overseer: int = 0
    """The process that started it, without which it ends."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def scheme(self) -> str:
        return "https" if self.cert else "http"


def serve(home: Home, asked: Serving, told: Callable[[str], None], again: Sequence[str] = ()) -> None:
    """Answer until a signal ends it; requests under way are answered first, and what was acknowledged is written.
    `again` is the command that starts a worker, for as many of them as were asked for."""
    ledger = home.ledger
    assert isinstance(ledger, SqlLedger)
    with ledger.database.writing():  # there from now on, and of this version
        pass
    _demand(home, asked, ledger)
    if isinstance(home.store, BucketStore):
        home.store.prepare()
    if asked.socket >= 0:
        threading.Thread(target=_end_with, args=(asked.overseer,), daemon=True).start()
        _work(home, asked, socket.socket(fileno=asked.socket))
        return
    listening = listen(asked.host, asked.port, asked.command)
    told(f"serving {home.project} on {asked.scheme}://{_named(asked.host)}:{listening.getsockname()[1]}{asked.root}")
    if asked.workers == 1:
        _work(home, asked, listening)
    else:
        home.store.close()
        home.ledger.close()
        _oversee(again, listening, asked)


def _demand(home: Home, asked: Serving, ledger: SqlLedger) -> None:
    """Raises UsageError for what would be a server that should not be."""
    file = ledger.database.path
    if asked.workers > 1 and file is not None:
        raise UsageError(
            f"{asked.workers} workers need a ledger in PostgreSQL; this one is the SQLite file {shown(file)}",
            because="A SQLite file has one writer at a time: one worker writes for all, faster than several would.",
            hint="bis server --workers 1, or --ledger postgresql://USER@HOST/NAME",
        )
    if asked.reset and not asked.loopback:
        raise UsageError("a server that can be told to forget everything listens on loopback only")
    for name in filter(None, (asked.cert, asked.key)):
        if not Path(name).is_file():
            raise UsageError(f"there is no file {name}", hint="--tls-cert and --tls-key name files in PEM format")
    if asked.key and not asked.cert:
        raise UsageError("a key without a certificate", hint="--tls-cert FILE --tls-key FILE")
    with ledger.database.reading() as connection:
        known = tokens.given(connection)
    if not asked.loopback and not asked.open and not known:
        raise UsageError(
            f"others can reach {asked.host}, and nobody was given a token yet",
            because="Without one, everybody who reaches the server could read and change everything.",
            hint="bis server token add NAME --role admin  gives one; --open lets everybody in",
            code=UNGUARDED,
        )


def _work(home: Home, asked: Serving, listening: socket.socket) -> None:
    """One worker: until a signal."""
    ledger = home.ledger
    assert isinstance(ledger, SqlLedger)
    hooks = Hooks(anywhere=home.settings.webhooks_anywhere)
    desk = Desk(ledger.database, home.store, home.folder / "uploads", hooks, home=home)
    keeper = Keeper(ledger.database, home.store, home)
    if isinstance(home.store, BucketStore):
        desk.shelf.later(home.store.look_again)
        desk.shelf.later(partial(forget_old, home.store))
    application = Application(desk)
    guard = Guard(
        Resetting(application, desk) if asked.reset else application,
        desk,
        rules=Rules(asked.loopback, asked.open, frozenset(asked.hosts), frozenset(asked.origins)),
        limits=asked.limits,
        log=teller(asked.log, sys.stderr),
        least=500 if asked.log == "errors" else 0,
        calls=application.call,
        short=application.short,
        gauges={
            "bis_writer_queue": ("gauge", "Changes that wait to be written.", lambda: desk.writer.waiting),
            "bis_listeners": ("gauge", "Who is told when the ledger changes.", lambda: desk.live.listeners),
            "bis_points_written_total": ("counter", "Points of metrics that were written.", lambda: desk.points),
        },
        root=asked.root,
    )
    tell_troubles(asked.log, sys.stderr)
    try:
        config = uvicorn.Config(
            guard,
            http=Wire,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(asked.proxies),
            forwarded_allow_ips=list(asked.proxies),
            ssl_certfile=asked.cert or None,
            ssl_keyfile=asked.key or None,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=asked.grace,
        )
        config.load()
    except (ssl.SSLError, OSError) as error:
        keeper.close()
        desk.close()
        what = f"the certificate {asked.cert} with its key {asked.key or asked.cert} cannot be used: {error}"
        raise UsageError(what, hint="both are in PEM format, the key without a password, and belong together") from None
    gc.collect()
    gc.freeze()  # what is there now stays until the end, and need not be looked through again and again
    try:
        Server(config, desk.live.end).run(sockets=[listening])
    finally:
        keeper.close()
        desk.close()


class Server(uvicorn.Server):
    """Ends by returning, whatever signal told it to: what was acknowledged is written then. Who listens without end is
    told first: nobody waits for them."""

    def __init__(self, config: uvicorn.Config, ends: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ends = ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ends()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _oversee(again: Sequence[str], listening: socket.socket, asked: Serving) -> None:
    """Several workers over one socket; one that dies is started again. Each has the socket from its start."""
    ending: list[int] = []
    before = {number: signal.signal(number, lambda *_: ending.append(1)) for number in (signal.SIGINT, signal.SIGTERM)}
    # Told, not asked by the worker: when it can ask, the overseer may be gone already.
    command = [*again, "--socket", str(listening.fileno()), "--overseer", str(os.getpid())]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, pass_fds=(listening.fileno(),), start_new_session=True)

    workers = [start() for _ in range(asked.workers)]
    try:
        while not ending:
            time.sleep(0.2)
            for number, worker in enumerate(workers):
                if worker.poll() is not None and not ending:
                    time.sleep(CALM)
                    workers[number] = start()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(asked.grace + 5)
            except subprocess.TimeoutExpired:
                worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with(parent: int) -> None:
    """A worker whose overseer was killed ends as if it had been told to."""
    while os.getppid() == parent:
        time.sleep(CALM)
    os.kill(os.getpid(), signal.SIGTERM)


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host
