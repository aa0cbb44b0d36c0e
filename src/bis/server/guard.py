"""Before the application: who asks, whether they may, and how much at once; after it: what is counted and logged.

Plain ASGI, so that a call which nothing is wrong with costs microseconds here.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import logging
import random
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bis.errors import BisError
from bis.ledger import tokens
from bis.ledger.tokens import Role, Token
from bis.server.desk import ASKING, Desk
from bis.server.doorway import name_of, token_in, token_of_session
from bis.server.errand import Errand
from bis.server.meter import Gauges, Meter
from bis.server.paths import shown_path
from bis.server.roles import LOOKS, is_page, needed
from bis.server.whole import WHOLE, Whole, whole_of

FRESH: Final = 1.0
"""Seconds for which the tokens that were read last are believed: one that is removed is refused by then."""
SOON: Final = 0.05
"""Seconds for which they are believed where somebody comes with another."""
LINGER: Final = 5.0
"""Seconds for which the rest of a refused body is passed over."""
JSON: Final = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
LONG: Final = 200
"""Characters of a path that are remembered: known calls have fewer."""
GONE: Final = 499
"""What is counted and logged for a client that went away."""
FILES: Final = ("/mlflow-artifacts/", "/get-artifact", "/upload-artifact", "/artifacts/files", "/bis/1/store/packs")
"""In the paths of calls that move files: those may be of any size, and take as long as they go on."""
RAW: Final = "/raw/"
"""At the beginning of the paths of pages that are files: what people name may hold the same words."""
LISTENED: Final = frozenset({"/runs/live"})
"""Paths whose answers go on for as long as somebody listens, and end by themselves."""

_log = logging.getLogger("bis.server")
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Limits(NamedTuple):
    """What one server takes upon itself."""

    at_once: int = 1000
    """Requests under way."""
    body: int = 32 << 20
    """Bytes of a body, but for files."""
    headers: int = 64 << 10
    """Bytes of all headers, and of the path with its query."""
    seconds: float = 120.0
    """For an answer, but for files."""
    silence: float = 60.0
    """Seconds without a byte of a body that is to come."""


class Rules(NamedTuple):
    """Who may ask."""

    loopback: bool = True
    """Whether only this machine reaches the server: it is open then as long as nobody was given a token."""
    open: bool = False
    """Whether it is open anyway."""
    hosts: frozenset[str] = frozenset()
    """Further names by which an open server on loopback is called."""
    origins: frozenset[str] = frozenset()
    """Pages of other servers that may ask from within a browser."""


class Refusal(NamedTuple):
    status: int
    code: str
    message: str


class Seen(NamedTuple):
    """A request and its answer, for the log."""

    id: str
    user: str
    client: str
    method: str
    path: str
    status: int
    seconds: float


UNKNOWN: Final = Refusal(401, "UNAUTHENTICATED", "A token is needed: set MLFLOW_TRACKING_TOKEN, or log in with it.")
INVALID: Final = Refusal(401, "UNAUTHENTICATED", "The token is not known here, was removed, or has expired.")
TOO_MANY: Final = Refusal(503, "TEMPORARILY_UNAVAILABLE", "The server has too many requests under way. Try again.")
FAILED: Final = Refusal(500, "INTERNAL_ERROR", "The server failed; its log says more.")
TOO_SLOW: Final = Refusal(503, "TEMPORARILY_UNAVAILABLE", "The request took too long, and was given up.")


Short = Callable[[str, str], Callable[[bytes, bytes], Coroutine[Any, Any, bytes | Response]] | None]
"""For a method and a path what makes the answer from the query and the body, and never raises unless it is cancelled;
None where it is to be asked for as ASGI has it."""


class Guard:
    """An ASGI application around another. What comes as a whole and is `short`, it answers without asking that."""

    def __init__(
        self,
        app: ASGIApp,
        desk: Desk,
        *,
        rules: Rules | None = None,
        limits: Limits | None = None,
        log: Callable[[Seen], None] | None = None,
        least: int = 0,
        calls: Callable[[str], str] = lambda path: "other",
        gauges: Gauges | None = None,
        root: str = "",
        short: Short = lambda method, path: None,
    ) -> None:
        self.app, self.desk = app, desk
        self._short = short
        self.rules, self.limits = rules or Rules(), limits or Limits()
        self.meter = Meter()
        self.gauges = gauges or {}
        self._log, self._least = log, least
        self._calls = calls
        self._root = root.rstrip("/")
        self._tokens: dict[str, Token] | None = None
        self._read = -FRESH
        self._under_way: dict[_Request, float] = {}
        self._watched = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        request = _Request(self, scope, receive, send)
        self.meter.under_way += 1
        try:
            await request.answer()
        finally:
            self.meter.under_way -= 1
            scope.pop("extensions", None)  # which knows the request, that knows the scope: no garbage for the collector
            self._count(request)

    def take(self, scope: Scope, body: bytes, told: Callable[[int, bytes, bytes], None]) -> bool:
        """Answer a request that is here as a whole. False, and nothing is done, where something is wrong with it or is
        not known at once: then it is to be asked as ASGI has it."""
        request = _Request(self, scope, _nothing, _nowhere)
        asked = self._short(request.method, request.path)
        if asked is None or b"origin" in request.headers:
            return False
        self.meter.under_way += 1
        if not self._is_let_in(request):
            self.meter.under_way -= 1
            return False
        context = contextvars.Context()
        context.run(ASKING.set, request.user)
        ends = functools.partial(self._answered, request, told)
        errand = Errand(asked(scope["query_string"], body), ends, context)
        if errand.begin():
            self._look_after(request, errand)
        return True

    def _is_let_in(self, request: _Request) -> bool:
        """Whether that is known at once."""
        known = self._tokens
        if known is None or time.monotonic() - self._read >= FRESH:
            return False
        return not (self._wrong(request) or self._denied(request, known))

    def _answered(
        self,
        request: _Request,
        told: Callable[[int, bytes, bytes], None],
        found: bytes | Response | None,
        trouble: BaseException | None,
    ) -> None:
        """The end of what was taken."""
        self._under_way.pop(request, None)
        self.meter.under_way -= 1
        if isinstance(found, bytes):
            request.status, head = 200, JSON % (len(found), request.id)
        else:
            found, head = request.failed(found, trouble)
        told(request.status, head, found)
        self._count(request)

    def _count(self, request: _Request) -> None:
        seconds = time.perf_counter() - request.began
        call = self._calls(request.scope["path"])
        self.meter.count(request.method if call != "other" else "", call, request.status, seconds)
        if self._log and request.status >= self._least:
            self._log(request.seen(seconds))

    async def refuse(self, request: _Request) -> Refusal | None:
        """What is wrong with a request, before a byte of its body is read."""
        return self._wrong(request) or await self._unknown(request)

    def _wrong(self, request: _Request) -> Refusal | None:
        scope, headers = request.scope, request.headers
        size = sum(map(len, itertools.chain.from_iterable(scope["headers"])))
        if size + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self.limits.headers:
            return Refusal(431, "INVALID_PARAMETER_VALUE", "The headers and the path are too long.")
        if self.meter.under_way > self.limits.at_once:
            return TOO_MANY
        length = headers.get(b"content-length", b"0")
        if not request.lasts and length.isdigit() and int(length[:20]) > self.limits.body:
            return _too_large(self.limits.body)
        return self._foreign(request)

    def _foreign(self, request: _Request) -> Refusal | None:
        """A page of another server asks, within somebody's browser. What changes something is refused; what is only
        looked at, that page's scripts cannot see."""
        if request.method in LOOKS:
            return None
        origin = request.headers.get(b"origin", b"").decode("latin-1")
        if origin in self.rules.origins:
            return None
        host = request.headers.get(b"host", b"").decode("latin-1")
        site = request.headers.get(b"sec-fetch-site", b"none")
        if (origin and urlsplit(origin).netloc != host) or (not origin and site not in (b"none", b"same-origin")):
            return Refusal(403, "PERMISSION_DENIED", "Pages of other servers may not ask this one to change anything.")
        return None

    async def _unknown(self, request: _Request) -> Refusal | None:
        if request.role is None:
            return None
        refusal = self._denied(request, await self._known())
        if refusal is INVALID:  # it may have been given just now
            return self._denied(request, await self._known(SOON))
        return refusal

    def _denied(self, request: _Request, known: Mapping[str, Token]) -> Refusal | None:
        """Why these tokens do not let it in."""
        role = request.role
        if role is None:
            return None
        if self.rules.open or (self.rules.loopback and not known):
            return self._rebound(request)
        given = token_in(request.headers.get(b"authorization", b""))
        if not given and is_page(request.path):
            given = token_of_session(request.headers.get(b"cookie", b""))
        if not given:
            return UNKNOWN
        token = known.get(tokens.digest_of(given))
        if token is None or not token.valid(self.desk.now()):
            return INVALID
        request.user = token.name
        request.scope["bis.role"] = token.role
        if not token.may(role):
            what = f"This needs the role {role}; the token {token.name!r} has the role {token.role}."
            return Refusal(403, "PERMISSION_DENIED", what)
        return None

    def _rebound(self, request: _Request) -> Refusal | None:
        """An open server on loopback is asked by another name: by a page whose name was made to mean this machine."""
        name = name_of(request.headers.get(b"host", b""))
        if not self.rules.loopback or self.rules.open or name in LOOPBACK or name in self.rules.hosts:
            return None
        return Refusal(403, "PERMISSION_DENIED", f"Invalid Host header: {name[:80]!r} is no name of this server.")

    async def within_time(self, request: _Request, receive: Receive) -> None:
        """Let the application answer. Raises TimeoutError where that takes too long: one timer looks after all that is
        under way, oldest first."""
        task = asyncio.current_task()
        assert task
        self._look_after(request, task)
        try:
            await self.app(request.scope, receive, request.sending)
        except asyncio.CancelledError:
            if not request.late or task.uncancel():
                raise
            raise TimeoutError from None
        finally:
            del self._under_way[request]

    def _look_after(self, request: _Request, task: asyncio.Task[Any] | Errand) -> None:
        request.task = task
        self._under_way[request] = request.began + self.limits.seconds
        if not self._watched:
            self._watched = True
            self._look_again()

    def _look_again(self) -> None:
        asyncio.get_running_loop().call_later(min(1.0, self.limits.seconds / 8), self._watch)

    def _watch(self) -> None:
        now = time.perf_counter()
        for request, until in self._under_way.items():
            if until > now:
                break
            if not request.late:
                request.late = True
                request.task.cancel()
        self._watched = bool(self._under_way)
        if self._watched:
            self._look_again()

    async def _known(self, age: float = FRESH) -> dict[str, Token]:
        """By digest, read again where they were read longer than that ago. Before they were read once, nobody goes on:
        none would mean that the server is open."""
        now = time.monotonic()
        if self._tokens is None or now - self._read >= age:
            self._read = now
            self._tokens = {token.digest: token for token in await self.desk.read(tokens.given)}
        return self._tokens


class _Request:
    """One request on its way through."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.scope, self._receive, self._send = guard, scope, receive, send
        self.began = time.perf_counter()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        self.status = 0
        self.user = ""
        asked = self.headers.get(b"x-request-id", b"")
        self.id = asked if asked and _ID.fullmatch(asked) else b"%016x" % random.getrandbits(64)
        root = guard._root
        if root and (self.scope["path"] == root or self.scope["path"].startswith(root + "/")):
            raw = scope.get("raw_path") or b""
            scope["path"] = scope["path"][len(root) :] or "/"
            scope["raw_path"] = raw[len(root) :] if raw.startswith(root.encode()) else raw
            scope["root_path"] = ""
            scope["app_root_path"] = root
        self.path: str = scope["path"]
        self.role, self.lasts = (_kind if len(self.path) < LONG else _kind.__wrapped__)(self.method, self.path)
        self.task: asyncio.Task[Any] | Errand
        self.late = False
        self._taken = 0
        self._ended = False

    async def answer(self) -> None:
        limits = self.guard.limits
        try:
            if refusal := await self.guard.refuse(self):
                await self._refuse(refusal)
                return
            if self.method == "OPTIONS" and b"access-control-request-method" in self.headers:
                await self._preflight()
                return
            if self.path == "/metrics" and self.method == "GET":
                await self._measured()
                return
            ASKING.set(self.user)
            if self.lasts:
                self.scope.pop("extensions", None)
                await self.guard.app(self.scope, self._waiting, self.sending)
                return
            if whole := whole_of(self.scope):
                self.scope["extensions"] = {WHOLE: functools.partial(self._whole, whole)}
            await self.guard.within_time(self, self._bounded)
        except TimeoutError:
            await self._refuse(TOO_SLOW)
        except _Gone:
            self.status = GONE
        except _TooLarge:
            await self._refuse(_too_large(limits.body))
        except BisError as error:
            _log.error("%s: %s", self.id.decode(), error)
            await self._refuse(Refusal(503, "TEMPORARILY_UNAVAILABLE", error.what))
        except Exception:
            _log.exception("request %s, %s %s, failed", self.id.decode(), self.method, shown_path(self.path))
            if not self._ended:
                await self._refuse(FAILED)

    def failed(self, found: Response | None, trouble: BaseException | None) -> tuple[bytes, bytes]:
        """The body and the head of an answer that says what went wrong."""
        if found is None:
            refusal = TOO_SLOW if self.late else FAILED
            if not self.late:
                what = (self.id.decode(), self.method, shown_path(self.path))
                _log.error("request %s, %s %s, failed", *what, exc_info=trouble)
            body = msgspec.json.encode({"error_code": refusal.code, "message": refusal.message})
            found = Response(body, refusal.status, media_type="application/json")
        self.status = found.status_code
        lines = [*found.raw_headers, (b"x-request-id", self.id)]
        return bytes(found.body), b"".join(b"%s: %s\r\n" % line for line in lines)

    def seen(self, seconds: float) -> Seen:
        client = self.scope.get("client")
        return Seen(
            id=self.id.decode(),
            user=self.user,
            client=client[0] if client else "",
            method=self.method,
            path=self.path,
            status=self.status,
            seconds=seconds,
        )

    async def _bounded(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.status:
            raise _Gone
        self._taken += len(message.get("body", b""))
        if self._taken > self.guard.limits.body:
            raise _TooLarge
        return message

    async def _waiting(self) -> Message:
        if self.status:  # the answer is under way: what comes now is the end of the connection
            return await self._receive()
        try:
            return await asyncio.wait_for(self._receive(), self.guard.limits.silence)
        except TimeoutError:
            return {"type": "http.disconnect"}

    async def _whole(self, send: Whole, status: int, head: bytes, body: bytes) -> None:
        self.status, self._ended = status, True
        if (origin := self.headers.get(b"origin", b"")) and origin.decode("latin-1") in self.guard.rules.origins:
            head += b"access-control-allow-origin: %s\r\nvary: Origin\r\n" % origin
        await send(status, b"%sx-request-id: %s\r\n" % (head, self.id), body)

    async def sending(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            headers.append((b"x-request-id", self.id))
            if (origin := self.headers.get(b"origin", b"")) and origin.decode("latin-1") in self.guard.rules.origins:
                headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
            message = {**message, "headers": headers}
        elif not message.get("more_body"):
            self._ended = True
        await self._send(message)

    async def _measured(self) -> None:
        body = self.guard.meter.text(self.guard.gauges).encode()
        headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self.sending({"type": "http.response.start", "status": 200, "headers": headers})
        await self.sending({"type": "http.response.body", "body": body})

    async def _preflight(self) -> None:
        allowed = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", self.headers.get(b"access-control-request-headers", b"")),
            (b"access-control-max-age", b"600"),
        ]
        known = self.headers.get(b"origin", b"").decode("latin-1") in self.guard.rules.origins
        start = {"type": "http.response.start", "status": 204 if known else 403, "headers": allowed if known else []}
        await self.sending(start)
        await self.sending({"type": "http.response.body", "body": b""})

    async def _refuse(self, refusal: Refusal) -> None:
        if self.status:  # too late to say so
            raise ConnectionAbortedError(refusal.message)
        if refusal.status == 401 and self._is_looked_at():
            await self._to_door()
            return
        body = msgspec.json.encode({"error_code": refusal.code, "message": refusal.message})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refusal.status == 401:
            headers.append((b"www-authenticate", b'Basic realm="bis", charset="UTF-8"'))
        if refusal.status == 503:
            headers.append((b"retry-after", b"1"))
        headers.append((b"connection", b"close"))
        await self.sending({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.sending({"type": "http.response.body", "body": body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pass_over(), LINGER)
        await self.sending({"type": "http.response.body", "body": b""})

    def _is_looked_at(self) -> bool:
        return self.method in LOOKS and is_page(self.path) and b"text/html" in self.headers.get(b"accept", b"")

    async def _to_door(self) -> None:
        """To the page where one says who one is, and from there back."""
        query = self.scope["query_string"].decode("latin-1")
        place = f"{self.guard._root}/login?" + urlencode({"next": quote(self.path) + (f"?{query}" if query else "")})
        headers = [(b"location", place.encode()), (b"content-length", b"0"), (b"cache-control", b"no-store")]
        await self.sending({"type": "http.response.start", "status": 303, "headers": headers})
        await self.sending({"type": "http.response.body", "body": b""})

    async def _pass_over(self) -> None:
        """What a client still sends: it looks at the answer behind it, and not at all where the connection breaks."""
        more = self.method not in LOOKS
        while more:
            message = await self._receive()
            more = message["type"] == "http.request" and message.get("more_body", False)


async def _nothing() -> Message:
    raise NotImplementedError("all of it has been received")


async def _nowhere(message: Message) -> None:
    raise NotImplementedError("it is answered as a whole")


@functools.lru_cache(1024)
def _kind(method: str, path: str) -> tuple[Role | None, bool]:
    """Of a call: the role that it needs, and whether it may take as long as it goes on."""
    moves = path.startswith(RAW) if is_page(path) else any(part in path for part in FILES)
    return needed(method, path), path in LISTENED or moves


class _TooLarge(Exception):
    pass


class _Gone(Exception):
    """The client went away before its request was there whole: nothing is done of it."""


def _too_large(most: int) -> Refusal:
    return Refusal(413, "INVALID_PARAMETER_VALUE", f"The body is larger than {most >> 20} MiB.")
