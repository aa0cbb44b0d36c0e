"""A stream that tells pages when the ledger has changed, as long as they listen and the server is there."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.ledger.runs import open_ledger
from bis.nouns.run import Run
from bis.server import live
from bis.server.app import Application
from bis.server.desk import Desk
from bis.server.guard import Guard, Limits
from bis.store.local import open_store


def listeners(server: Any) -> int:
    found = re.search(r"^bis_listeners (\d+)", server.http.get("/metrics").text, re.MULTILINE)
    assert found
    return int(found[1])


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def lines(answer: httpx.Response) -> Iterator[str]:
    """Those that say something."""
    return (line for line in answer.iter_lines() if line.startswith(("event", "id")))


def begin(folder: Path, name: str) -> None:
    with open_ledger(folder / ".bis" / "ledger") as ledger:
        started = "2026-05-03T12:00:00.000000Z"
        ledger.begin(
            Run(id=f"{abs(hash(name)):012x}"[:12], name=name, command=("x",), started=started, status="running")
        )


def test_who_listens_is_told_when_another_process_has_changed_the_ledger(server: Any) -> None:
    begin(server.folder, "first")
    with server.http.stream("GET", "/runs/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = lines(answer)
        assert next(told) == "event: changed"
        edition = next(told).removeprefix("id: ")
        begin(server.folder, "second")
        assert next(told) == "event: changed"
        assert next(told) != f"id: {edition}"


def test_who_knows_the_edition_is_told_of_newer_ones_only(server: Any) -> None:
    begin(server.folder, "first")
    with server.http.stream("GET", "/runs/live") as answer:
        told = lines(answer)
        next(told)
        edition = next(told).removeprefix("id: ")
    for where, name in (("params", "since"), ("headers", "last-event-id")):
        with server.http.stream("GET", "/runs/live", **{where: {name: edition}}) as answer:
            threading.Timer(0.5, begin, (server.folder, name)).start()
            began = time.monotonic()
            told = lines(answer)
            next(told)
            assert time.monotonic() - began > 0.4
            edition = next(told).removeprefix("id: ")


def test_those_who_listen_are_counted_and_forgotten_when_they_go(server: Any) -> None:
    assert listeners(server) == 0
    with server.http.stream("GET", "/runs/live") as answer:
        first = answer.iter_lines()
        next(first)
        with httpx.stream("GET", f"{server.url}/runs/live") as another:
            second = another.iter_lines()
            next(second)
            assert until(lambda: listeners(server) == 2)
    assert until(lambda: listeners(server) == 0)


def test_a_server_that_is_told_to_end_does_not_wait_for_those_who_listen(server: Any) -> None:
    with server.http.stream("GET", "/runs/live") as answer:
        said = answer.iter_lines()
        next(said)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        list(said)


class Asking:
    """A request without a socket; what is sent to it is kept."""

    def __init__(self, guard: Guard) -> None:
        self.sent: list[bytes] = []
        self.statuses: list[int] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/runs/live",
            "raw_path": b"/runs/live",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
        }
        self.gone = asyncio.Event()
        self.task = asyncio.ensure_future(guard(scope, self._receive, self._send))
        self._asked = False

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        self.sent.append(message.get("body", b""))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    begin(tmp_path, "first")
    with open_ledger(tmp_path / ".bis" / "ledger") as ledger, open_store(tmp_path / "store") as store:
        desk = Desk(ledger.database, store, tmp_path / "uploads")
        yield desk
        desk.close()


def guarded(desk: Desk) -> Guard:
    """An answer may take a tenth of a second."""
    return Guard(Application(desk), desk, limits=Limits(seconds=0.1))


def test_it_goes_on_for_longer_than_an_answer_may_take(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY", 0.05)

    async def listen() -> None:
        asking = Asking(guarded(desk))
        await asyncio.sleep(2.5)
        assert not asking.task.done()
        before = len(asking.sent)
        begin(tmp_path, "late")
        await asyncio.sleep(1)
        assert b"event: changed" in b"".join(asking.sent[before:])
        asking.gone.set()
        await asyncio.wait_for(asking.task, 5)
        assert desk.live.listeners == 0

    asyncio.run(listen())


def test_it_ends_by_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LASTS", 0.3)
    monkeypatch.setattr(live, "QUIET", 0.1)

    async def listen() -> None:
        asking = Asking(guarded(desk))
        await asyncio.wait_for(asking.task, 5)
        assert asking.sent[-1] == b""
        assert b":\n\n" in asking.sent
        assert desk.live.listeners == 0

    asyncio.run(listen())


def test_no_more_listen_than_leave_room_for_those_who_ask(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 2)

    async def listen() -> None:
        some = [Asking(guarded(desk)) for _ in range(2)]
        await asyncio.sleep(0.5)
        another = Asking(guarded(desk))
        await asyncio.wait_for(another.task, 5)
        assert another.statuses == [503]
        for asking in some:
            asking.gone.set()
            await asyncio.wait_for(asking.task, 5)
            assert asking.statuses == [200]

    asyncio.run(listen())
