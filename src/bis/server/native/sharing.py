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
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bis.digest import Digest
from bis.errors import BisError, Damaged, KeepingError, NotFound, UsageError
from bis.ledger.runs import AT_ONCE, SqlLedger, reindex, take_in
from bis.server.desk import Desk
from bis.server.files import Broken, Unsatisfiable, body_of, wanted
from bis.server.native.call import ROOT, failed
from bis.server.relying import Relying
from bis.server.shelf import BLOCK
from bis.store import doomed
from bis.store.arrival import Arrival
from bis.store.collect import alone
from bis.store.local import FORMAT, VERSION, LocalStore
from bis.store.remote.folder import FolderRemote
from bis.store.remote.http import PUSH, STORE
from bis.store.trouble import BUSY, NEWER, trouble

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
        self.place = FolderRemote(desk.store.path)
        self.relying = Relying(desk.store.path)
        self._proving = asyncio.Semaphore(AT_WORK)
        self._first = asyncio.Lock()
        self._known = False
        self._turn = threading.Lock()

    async def list(self, request: Request) -> Response:
        await self._know_all()
        # Who may only look relies on nothing: it does not put.
        push = self.relying.begin() if request.scope.get("bis.role") != "reader" else ""
        found = await self.desk.shelf.work(self._listed)
        return Response(msgspec.json.encode(found), media_type="application/json", headers={PUSH: push} if push else {})

    async def _know_all(self) -> None:
        """Once, that the ledger knows all that is listed: a server may have been killed before it was told."""
        async with self._first:
            if not self._known:
                await self.desk.shelf.work(lambda: reindex(self.store, SqlLedger(self.desk.database)))
                self._known = True

    def _listed(self) -> Packs:
        try:
            going = doomed.names(doomed.read(self.store.path))
            with os.scandir(self.store.packs) as entries:
                packs = [one for one in entries if _PACK.fullmatch(one.name) and one.name not in going]
                return Packs(packs={one.name: one.stat().st_size for one in packs})
        except OSError as error:
            raise trouble(error, "read the store", self.store.path) from error

    async def format(self, request: Request) -> Response:
        return PlainTextResponse(await self.desk.shelf.work(self.place.format))

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
            there = _FORMAT.fullmatch(self.place.format())
            if not there or int(there[1]) < version:
                self.place.declare(f"{FORMAT} {version}\n")

    async def read(self, request: Request) -> Response:
        name = _named(request)
        try:
            fd = await self.desk.shelf.work(lambda: os.open(self.store.packs / name, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise NotFound(f"there is no pack {name[:12]}", hint="bis gc may have deleted it: repeat") from None
        except OSError as error:
            raise trouble(error, "read", self.store.packs / name) from error
        size = os.fstat(fd).st_size
        headers = {"Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
        try:
            span = wanted(request.headers.get("range", ""), size)
        except Unsatisfiable:
            os.close(fd)
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        start, length = span or (0, size)
        headers["Content-Length"] = str(length)
        if span:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206 if span else 200
        if request.method == "HEAD":
            os.close(fd)
            return Response(status_code=status, headers=headers, media_type="application/octet-stream")
        return _Open(fd, self._blocks(fd, start, length), status, headers)

    async def _blocks(self, fd: int, start: int, size: int) -> AsyncIterator[bytes]:
        while size > 0:
            block = await self.desk.shelf.work(partial(os.pread, fd, min(size, BLOCK), start))
            if not block:
                raise Damaged("a pack became shorter while it was read")
            yield block
            start, size = start + len(block), size - len(block)

    async def write(self, request: Request) -> Response:
        name, push = _named(request), request.headers.get(PUSH, "")
        if push:
            self.relying.heard(push)
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
                    if push:
                        self.relying.heard(push)
            await self.desk.shelf.work(lambda: arrival.write(b"".join(parts)))
            async with self._proving:
                records = await self.desk.shelf.work(arrival.settle)
        finally:
            self.desk.shelf.later(arrival.discard)
        await self.desk.shelf.work(lambda: self._take_in(records))
        if push:
            self.relying.heard(push)
        return Response(status_code=201)

    def _take_in(self, records: Sequence[Digest]) -> None:
        ledger = SqlLedger(self.desk.database)
        for start in range(0, len(records), AT_ONCE):
            take_in(self.store, ledger, records[start : start + AT_ONCE])

    async def doom(self, request: Request) -> Response:
        name = _named(request)
        await self.desk.shelf.work(lambda: self._doom(name))
        return Response(status_code=202)

    def _doom(self, name: str) -> None:
        """The first of the two phases of deleting; `bis gc` is the second."""
        with alone(self.store):
            if not (self.store.packs / name).exists():
                raise NotFound(f"there is no pack {name[:12]}")
            lots = doomed.read(self.store.path)
            if name not in doomed.names(lots):
                made = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                doomed.write(self.store.path, [*lots, doomed.Lot(made=made, packs=(name,))])

    async def go_on(self, request: Request) -> Response:
        self.relying.heard(request.path_params["id"])
        return Response(status_code=204)

    async def end(self, request: Request) -> Response:
        self.relying.end(request.path_params["id"])
        return Response(status_code=204)


class _Open(StreamingResponse):
    """An answer that closes its file, whether it was sent whole, in part or not at all."""

    def __init__(self, fd: int, blocks: AsyncIterator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(blocks, status, headers, "application/octet-stream")
        self._fd = fd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._fd)


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
        except Exception:
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
