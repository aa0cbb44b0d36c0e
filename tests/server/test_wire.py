"""Connections of the server: how answers are written, and for how long a connection is kept."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from bis.server.app import Application
from bis.server.guard import Guard, Limits, Rules
from bis.server.wire import Wire

ASK = b"GET /api/2.0/mlflow/experiments/get?experiment_id=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def connected(app: Any, work: Callable[[Stream], Awaitable[None]], keep: int = 5) -> None:
    """Do something on a connection to an application behind the server's own wire."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            quiet: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "proxy_headers": False}
            config = uvicorn.Config(app, http=Wire, ws="none", timeout_keep_alive=keep, **quiet)
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve([listening]))
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            try:
                await work((reader, writer))
            finally:
                writer.close()
                server.should_exit = True
                await serving

    asyncio.run(run())


async def answer(stream: Stream, asked: bytes) -> tuple[bytes, bytes]:
    reader, writer = stream
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(size)


def test_an_answer_comes_in_one_piece(application: Application) -> None:
    async def work(stream: Stream) -> None:
        for _ in range(20):
            stream[1].write(ASK + b"\r\n")
            piece = await stream[0].read(1 << 16)
            assert json.loads(piece.partition(b"\r\n\r\n")[2])["experiment"]["name"] == "Default"

    connected(Guard(application, application.desk), work)


def test_an_answer_in_one_piece_says_what_every_answer_says(application: Application) -> None:
    page = b"https://board.example"
    guard = Guard(application, application.desk, rules=Rules(origins=frozenset({page.decode()})))

    async def work(stream: Stream) -> None:
        head, body = await answer(stream, ASK + b"x-request-id: mine-1\r\nOrigin: " + page + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        lines = {line.lower() for line in head.split(b"\r\n")}
        assert {b"content-type: application/json", b"x-request-id: mine-1", b"vary: origin"} <= lines
        assert b"access-control-allow-origin: " + page in lines
        assert any(line.startswith(b"date: ") for line in lines)
        assert json.loads(body)
        head, _ = await answer(stream, ASK + b"Connection: close\r\n\r\n")
        assert b"connection: close" in head.lower().split(b"\r\n")
        assert await stream[0].read() == b""
        assert guard.meter.text({}).count('status="200"} 2') == 1

    connected(guard, work)


def test_requests_that_come_before_the_answer_are_answered_in_turn(application: Application) -> None:
    async def work(stream: Stream) -> None:
        for number in range(5):
            stream[1].write(ASK + b"x-request-id: %d\r\n\r\n" % number)
        for number in range(5):
            head, _ = await answer(stream, b"")
            assert b"x-request-id: %d\r\n" % number in head

    connected(Guard(application, application.desk), work)


def test_a_connection_is_kept_while_it_asks_and_ended_when_it_has_been_silent(application: Application) -> None:
    async def work(stream: Stream) -> None:
        for _ in range(3):
            await answer(stream, ASK + b"\r\n")
            await asyncio.sleep(0.7)
        assert await asyncio.wait_for(stream[0].read(), 30) == b""

    connected(Guard(application, application.desk), work, keep=1)


def test_a_request_that_takes_too_long_is_given_up_and_no_other(application: Application) -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(0 if scope["path"] == "/quick" else 60)
        finally:
            ended.append(scope["path"])
        await PlainTextResponse("done")(scope, receive, send)

    guard = Guard(app, application.desk, rules=Rules(open=True), limits=Limits(seconds=0.3))

    async def work(stream: Stream) -> None:
        for path, status in (("quick", b"200"), ("slow", b"503")):
            head, body = await answer(stream, f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert head.split()[1] == status, (head, body)
        assert b"took too long" in body
        assert ended == ["/quick", "/slow"]

    connected(guard, work)


class Endless:
    """An application that answers with bytes for as long as somebody takes them."""

    def __init__(self) -> None:
        self.sent, self.ended = 0, asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while (await self._next(receive, send))["type"] != "http.disconnect":
                self.sent += 1 << 16
        finally:
            self.ended.set()

    async def _next(self, receive: Receive, send: Send) -> Any:
        await send({"type": "http.response.body", "body": b"x" * (1 << 16), "more_body": True})
        gone = asyncio.ensure_future(receive())
        done, _ = await asyncio.wait([gone], timeout=0)
        gone.cancel()
        return gone.result() if done else {"type": "http.request"}


def test_who_stops_to_read_an_answer_holds_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bis.server.wire.STALL", 0.3)
    app = Endless()

    async def work(stream: Stream) -> None:
        stream[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        stream[1].transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.wait_for(app.ended.wait(), 20)
        assert app.sent > 1 << 16

    connected(app, work)


def test_a_download_that_moves_lives_however_slow_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bis.server.wire.STALL", 0.3)
    app = Endless()

    async def work(stream: Stream) -> None:
        connection = stream[1].get_extra_info("socket")
        stream[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0)
        stream[1].transport.pause_reading()  # type: ignore[attr-defined]
        plain = socket.socket(fileno=os.dup(connection.fileno()))
        for _ in range(30):  # several times as long as nothing may be taken
            await asyncio.sleep(0.05)
            assert len(plain.recv(1 << 16)) > 1000
        assert not app.ended.is_set()
        plain.close()

    connected(app, work)


TAG = b"POST /api/2.0/mlflow/experiments/set-experiment-tag HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SAID = b'{"experiment_id": "0", "key": "a", "value": "1"}'


def short_of(application: Application, **named: Any) -> tuple[Guard, list[str]]:
    """A guard that answers short requests itself, and the paths of those that it asked the application for."""
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await application(scope, receive, send)

    return Guard(app, application.desk, calls=application.call, short=application.short, **named), asked


def test_a_short_request_is_answered_where_it_came_in_whatever_pieces_it_comes_in(application: Application) -> None:
    guard, asked = short_of(application)

    async def work(stream: Stream) -> None:
        await answer(stream, ASK + b"\r\n")  # the tokens are read
        assert len(asked) == 1
        for pieces in ((TAG + b"content-length: 48\r\n\r\n" + SAID,), (TAG, b"content-length: 48\r\n\r\n", SAID)):
            for piece in pieces[:-1]:
                stream[1].write(piece)
                await asyncio.sleep(0.02)
            assert (await answer(stream, pieces[-1]))[1] == b"{}"
        head, body = await answer(stream, ASK + b"x-request-id: mine\r\n\r\n")
        assert json.loads(body)["experiment"]["tags"] == [{"key": "a", "value": "1"}]
        assert {b"content-type: application/json", b"x-request-id: mine"} <= set(head.split(b"\r\n"))
        head, body = await answer(stream, ASK.replace(b"id=0", b"id=77") + b"x-request-id: mine\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404")
        assert b"x-request-id: mine\r\n" in head
        assert json.loads(body)["error_code"] == "RESOURCE_DOES_NOT_EXIST"
        assert (len(asked), guard.meter.under_way) == (1, 0)
        assert guard.meter.text({}).count('call="/api/2.0/mlflow/experiments/set-experiment-tag",status="200"} 2') == 1
        assert b"connection: close" in (await answer(stream, ASK + b"Connection: close\r\n\r\n"))[0].split(b"\r\n")
        assert await stream[0].read() == b""

    connected(guard, work)


def test_a_short_request_that_lingers_or_is_refused_goes_the_way_of_all_others(application: Application) -> None:
    guard, asked = short_of(application)

    async def work(stream: Stream) -> None:
        await answer(stream, ASK + b"\r\n")
        stream[1].write(TAG + b"content-length: 48\r\n\r\n" + SAID[:10])
        await asyncio.sleep(0.3)
        assert len(asked) == 2
        assert (await answer(stream, SAID[10:]))[1] == b"{}"
        head, _ = await answer(stream, TAG + b"Origin: https://elsewhere\r\ncontent-length: 48\r\n\r\n" + SAID)
        assert head.startswith(b"HTTP/1.1 403")
        assert len(asked) == 2

    connected(guard, work)


def test_short_requests_that_come_before_the_answer_are_answered_in_turn(application: Application) -> None:
    guard, _ = short_of(application)

    async def work(stream: Stream) -> None:
        await answer(stream, ASK + b"\r\n")
        for number in range(5):
            stream[1].write(TAG + b"x-request-id: %d\r\ncontent-length: 48\r\n\r\n" % number + SAID)
            stream[1].write(ASK + b"x-request-id: %d-again\r\n\r\n" % number)
        for number in range(5):
            for what in (b"%d", b"%d-again"):
                assert b"x-request-id: %s\r\n" % (what % number) in (await answer(stream, b""))[0]

    connected(guard, work)


def test_a_short_request_that_takes_too_long_is_given_up(application: Application) -> None:
    ended: list[str] = []

    async def slowly(query: bytes, body: bytes) -> bytes:
        try:
            await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("given up")
        raise AssertionError

    def short(method: str, path: str) -> Any:
        return slowly if path == "/slow" else None

    guard = Guard(application, application.desk, rules=Rules(open=True), limits=Limits(seconds=0.3), short=short)

    async def work(stream: Stream) -> None:
        await answer(stream, ASK + b"\r\n")
        head, body = await answer(stream, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.split()[1] == b"503"
        assert b"took too long" in body
        assert (ended, guard.meter.under_way) == (["given up"], 0)

    connected(guard, work)


@pytest.fixture
def application(tmp_path):  # type: ignore[no-untyped-def]
    from bis.ledger.runs import open_ledger
    from bis.server.desk import Desk
    from bis.store.local import open_store

    with open_ledger(tmp_path / "ledger") as ledger, open_store(tmp_path / "store") as store:
        with ledger.database.writing():
            pass
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        yield Application(desk)
        desk.close()
