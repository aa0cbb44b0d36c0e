"""The server's store as a remote: `bis push` to it and `bis pull` from it, with what `store/remote/http.py` asks.

    GET    …/store/format           the text of the file `format`
    PUT    …/store/format           a newer version of the store, which this bis knows
    GET    …/store/packs            {"packs": {name: size}}, without those that are about to be deleted
    GET    …/store/packs/NAME       a pack, or a range of it
    PUT    …/store/packs/NAME       put one there: proved before it has its name, and its records in the ledger
    DELETE …/store/packs/NAME       doom one: a later `bis gc` deletes it, when what is needed of it lies elsewhere
    PUT    …/store/pushes/ID        somebody goes on to push, who was given that ID with the list
    DELETE …/store/pushes/ID        they have ended

What comes and goes are packs as the store has them, so nothing is written twice.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bis.digest import Digest
from bis.errors import BisError, Damaged, KeepingError, UsageError
from bis.ledger.runs import AT_ONCE, SqlLedger, reindex, take_in
from bis.server.desk import Desk
from bis.server.files import Broken, Unsatisfiable, begun, body_of, wanted
from bis.server.native.call import ROOT, failed
from bis.server.shared import Opened, packs_of
from bis.server.shelf import BLOCK
from bis.store.arrival import Arrival
from bis.store.local import FORMAT, VERSION, LocalStore
from bis.store.remote.http import PUSH, STORE
from bis.store.trouble import BUSY, NEWER

FEW: Final = 4 << 10
"""Bytes of a body that is no pack."""
AT_WORK: Final = 4
"""Packs that are proved at once: each takes memory for its list."""

_PACK: Final = re.compile(r"[0-9a-f]{64}\.pack")
_FORMAT: Final = re.compile(rf"{FORMAT} (\d{{1,9}})\n?")

_log = logging.getLogger("bis.server")

Parts = list[bytes]


class Packs(msgspec.Struct, frozen=True, kw_only=True):
    packs: dict[str, int]


class Sharing:
    """What the calls have in common."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.store: LocalStore = desk.store
        self.packs = packs_of(desk.store)
        self._proving = asyncio.Semaphore(AT_WORK)
        self._first = asyncio.Lock()
        self._known = False
        self._turn = threading.Lock()

    async def list(self, request: Request) -> Response:
        await self._know_all()
        # Who may only look relies on nothing: it does not put.
        relies = self.packs.relying and request.scope.get("bis.role") != "reader"
        push = self.packs.relying.begin() if self.packs.relying and relies else ""
        listed = await self.desk.shelf.work(self.packs.listing)
        found = Packs(packs={name: size for name, size in listed.items() if _PACK.fullmatch(name)})
        return Response(msgspec.json.encode(found), media_type="application/json", headers={PUSH: push} if push else {})

    async def _know_all(self) -> None:
        """That the ledger knows all that is listed: a server may have been killed before it was told. Once, unless
        packs may come without a server, too."""
        async with self._first:
            if not self._known or self.packs.relying is None:
                await self.desk.shelf.work(lambda: reindex(self.store, SqlLedger(self.desk.database)))
                self._known = True

    async def format(self, request: Request) -> Response:
        return PlainTextResponse(await self.desk.shelf.work(self.packs.place.format))

    async def declare(self, request: Request) -> Response:
        text = (await _little(request)).decode("utf-8", "replace")
        asked = _FORMAT.fullmatch(text)
        if not asked:
            raise UsageError(f"{text[:40]!r} is no format of a store")
        if int(asked[1]) > VERSION:
            raise KeepingError(
                f"this server's bis writes stores up to format {VERSION}, and the store that is pushed has {asked[1]}",
                because="Nothing was changed.",
                hint="uv tool upgrade bis, where the server is",
                code=NEWER,
            )
        await self.desk.shelf.work(lambda: self._declare(int(asked[1])))
        return Response(status_code=204)

    def _declare(self, version: int) -> None:
        with self._turn:
            there = _FORMAT.fullmatch(self.packs.place.format())
            if not there or int(there[1]) < version:
                self.packs.place.declare(f"{FORMAT} {version}\n")

    async def read(self, request: Request) -> Response:
        name = _named(request)
        pack = await self.desk.shelf.work(lambda: self.packs.open(name))
        size = pack.size
        headers = {"Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
        try:
            span = wanted(request.headers.get("range", ""), size)
        except Unsatisfiable:
            pack.close()
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        start, length = span or (0, size)
        headers["Content-Length"] = str(length)
        if span:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206 if span else 200
        if request.method == "HEAD":
            pack.close()
            return Response(status_code=status, headers=headers, media_type="application/octet-stream")
        try:
            blocks = await begun(self._blocks(pack, start, length))
        except BaseException:
            pack.close()
            raise
        return _Open(pack, blocks, status, headers)

    async def _blocks(self, pack: Opened, start: int, size: int) -> AsyncGenerator[bytes]:
        while size > 0:
            block = await self.desk.shelf.work(partial(pack.read, start, min(size, pack.step)))
            if not block:
                raise Damaged("a pack became shorter while it was read")
            yield block
            start, size = start + len(block), size - len(block)

    async def write(self, request: Request) -> Response:
        name, push = _named(request), request.headers.get(PUSH, "")
        self._heard(push)
        arrival = await self.desk.shelf.work(lambda: Arrival(self.store, name))
        try:
            parts: Parts = []
            size = 0
            async for part in body_of(request):
                parts.append(part)
                size += len(part)
                if size >= BLOCK:
                    await self.desk.shelf.work(partial(arrival.write, b"".join(parts)))
                    parts, size = [], 0
                    self._heard(push)
            await self.desk.shelf.work(lambda: arrival.write(b"".join(parts)))
            async with self._proving:
                records = await self.desk.shelf.work(arrival.settle)
        finally:
            self.desk.shelf.later(arrival.discard)
        await self.desk.shelf.work(lambda: self._take_in(records))
        self._heard(push)
        return Response(status_code=201)

    def _take_in(self, records: Sequence[Digest]) -> None:
        ledger = SqlLedger(self.desk.database)
        for start in range(0, len(records), AT_ONCE):
            take_in(self.store, ledger, records[start : start + AT_ONCE])

    async def doom(self, request: Request) -> Response:
        name = _named(request)
        await self.desk.shelf.work(lambda: self.packs.doom(name))
        return Response(status_code=202)

    async def go_on(self, request: Request) -> Response:
        self._heard(request.path_params["id"])
        return Response(status_code=204)

    async def end(self, request: Request) -> Response:
        if self.packs.relying:
            self.packs.relying.end(request.path_params["id"])
        return Response(status_code=204)

    def _heard(self, push: str) -> None:
        if push and self.packs.relying:
            self.packs.relying.heard(push)


class _Open(StreamingResponse):
    """An answer that closes its file, whether it was sent whole, in part or not at all."""

    def __init__(self, pack: Opened, blocks: AsyncIterator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(blocks, status, headers, "application/octet-stream")
        self._pack = pack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pack.close()


def routes(desk: Desk) -> Iterator[Route]:
    sharing = Sharing(desk)
    calls: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "format", sharing.format),
        ("PUT", "format", sharing.declare),
        ("GET", "packs", sharing.list),
        ("GET", "packs/{name}", sharing.read),
        ("PUT", "packs/{name}", sharing.write),
        ("DELETE", "packs/{name}", sharing.doom),
        ("PUT", "pushes/{id}", sharing.go_on),
        ("DELETE", "pushes/{id}", sharing.end),
    ]
    for method, path, answer in calls:
        yield Route(f"{ROOT}/{STORE}/{path}", _answering(answer), methods=[method])


def _answering(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answering(request: Request) -> Response:
        try:
            return await answer(request)
        except Broken:
            return Response(status_code=400)  # nobody hears it
        except BisError as error:
            told = failed(error)
            told.status_code = _status(error) or told.status_code
            return told
        except Exception:  # nobody expected it: the log has all of it, and the client a word
            _log.exception("%s %s failed", request.method, request.url.path)
            return failed(BisError("the server failed; its log says more"))

    return answering


def _status(error: BisError) -> int:
    if isinstance(error, Damaged):
        return 422
    return 409 if error.code in (BUSY, NEWER) else 0


def _named(request: Request) -> str:
    name: str = request.path_params["name"]
    if not _PACK.fullmatch(name):
        raise UsageError(f"{name[:80]!r} is not the name of a pack")
    return name


async def _little(request: Request) -> bytes:
    parts, size = [], 0
    async for part in body_of(request):
        size += len(part)
        if size > FEW:
            raise UsageError("the request is too large")
        parts.append(part)
    return b"".join(parts)
