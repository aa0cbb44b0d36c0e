"""The front as an application: which address means which model in which protocol, and what a request may take.

Plain ASGI. What comes as a whole and asks for a prediction is handed on at once (`take`), without a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from bis import __version__
from bis.serving.access import Access
from bis.serving.asking import INVOCATIONS, V1, V2, Answer, Asking, Tell, refusal
from bis.serving.page import html, metadata, openapi, told_of
from bis.serving.slot import Slot
from bis.serving.tally import Tally
from bis.serving.team import Team
from bis.serving.version import Version, head_of

JSON: Final = "application/json"
PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
LINGER: Final = 5.0
"""Seconds for which the rest of a refused body is passed over."""

_MODEL: Final = re.compile(
    r"/v(?P<protocol>[12])/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?P<rest>.*)"
)
_NAMED: Final = re.compile(r"/models/(?P<name>[^/]+)(?P<rest>/.*)?")
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Limits(NamedTuple):
    """What the front takes upon itself."""

    body: int = 64 << 20
    """Bytes of a body."""
    held: int = 512 << 20
    """Bytes of all bodies that are under way, or wait: what would be more is refused."""
    at_once: int = 1000
    """Requests whose bodies are under way."""
    seconds: float = 60.0
    """For an answer, and before it for the body."""
    silence: float = 20.0
    """Seconds without a byte of a body that is to come."""


class Meant(NamedTuple):
    """What an address asks for: a prediction of a model."""

    slot: Slot
    form: str
    version: str = ""


Told = Callable[[int, bytes, bytes], None]


class Front:
    """Hands requests to the models that are served here."""

    def __init__(self, slots: Mapping[str, Slot], tally: Tally, access: Access, limits: Limits | None = None) -> None:
        self.slots, self.tally, self.access = slots, tally, access
        self.limits = limits or Limits()
        self._only = next(iter(slots.values())) if len(slots) == 1 else None
        self._under_way = 0
        self._held = 0
        self._meant = functools.lru_cache(256)(self._meaning)

    # -- predictions

    def take(self, scope: Scope, body: bytes, told: Told) -> bool:
        """Answer a request that is here as a whole. False, and nothing is done, for what is no plain prediction."""
        if scope["method"] != "POST":
            return False
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (
            b"content-encoding" in headers
            or len(body) > self.limits.body
            or self.access.refused(scope["path"], headers)
        ):
            return False
        meant = self._meant(scope["path"])
        if meant is None or self._not_there(meant):
            return False

        def tell(answer: Answer, version: Version | None) -> None:
            self._count(meant.form, asking, answer, version)
            told(answer.status, _head(answer, version, meant.form, headers), answer.body)

        asking = self._asking(meant, headers, body, tell)
        meant.slot.ask(asking)
        return True

    def _asking(self, meant: Meant, headers: Mapping[bytes, bytes], body: bytes, tell: Tell) -> Asking:
        length = headers.get(b"inference-header-content-length", b"")
        json_length = int(length) if length.isdigit() and len(length) < 12 else -1
        kind = headers.get(b"content-type", b"application/json" if meant.form != INVOCATIONS else b"")
        return Asking(meant.form, kind.decode("latin-1"), body, json_length, self.limits.seconds, tell)

    def _count(self, form: str, asking: Asking, answer: Answer, version: Version | None) -> None:
        seconds = time.perf_counter() - asking.began
        self.tally.answered(version, form, answer.status, answer.rows, seconds)

    def _meaning(self, path: str) -> Meant | None:
        """Of a path that asks for predictions."""
        if path == "/invocations":
            return Meant(self._only, INVOCATIONS) if self._only else None
        if match := _NAMED.fullmatch(path):
            slot = self.slots.get(unquote(match["name"]))
            return Meant(slot, INVOCATIONS) if slot and match["rest"] == "/invocations" else None
        if match := _MODEL.fullmatch(path):
            slot = self.slots.get(unquote(match["name"]))
            if slot and match["protocol"] == "2" and match["rest"] == "/infer":
                return Meant(slot, V2, match["version"] or "")
            if slot and match["protocol"] == "1" and match["rest"] == ":predict":
                return Meant(slot, V1, match["version"] or "")
        return None

    def _not_there(self, meant: Meant) -> bool:
        """Whether another version is asked for than answers."""
        team = meant.slot.team
        return bool(meant.version and team and meant.version != team.version.number)

    # -- as ASGI has it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path, method = scope["path"], scope["method"]
        meant = self._meant(path) if len(path) < 2000 else None
        form = meant.form if meant else V2 if path.startswith(("/v1/", "/v2")) else INVOCATIONS
        reply = _Reply(receive, send, headers, method)
        if refused := self.access.refused(path, headers):
            await reply.refuse(refusal(form, *refused), form)
            return
        if meant is None or method != "POST":
            status, kind, body = self._told(method, path, meant)
            await reply.send(Answer(status, kind, body), None, form)
            return
        if self._not_there(meant):
            what = f"{meant.slot.name} has no version {meant.version} here"
            await reply.refuse(refusal(form, 404, "RESOURCE_DOES_NOT_EXIST", what), form)
            return
        if self._under_way >= self.limits.at_once:
            busy = "The server has too many requests under way. Try again."
            await reply.refuse(refusal(form, 503, "TEMPORARILY_UNAVAILABLE", busy, retry=True), form)
            return
        self._under_way += 1
        held = _Held()
        try:
            await self._predict(meant, headers, reply, held)
        finally:
            self._under_way -= 1
            self._held -= held.size

    async def _predict(self, meant: Meant, headers: Mapping[bytes, bytes], reply: _Reply, held: _Held) -> None:
        form = meant.form
        try:
            body = await self._body(headers, reply, held)
        except _Refused as refused:
            self.tally.answered(None, form, refused.status, 0, 0.0)
            retry = refused.status == 503
            await reply.refuse(refusal(form, refused.status, refused.code, str(refused), retry=retry), form)
            return
        if body is None:
            return
        done: asyncio.Future[tuple[Answer, Version | None]] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer, version: Version | None) -> None:
            self._count(form, asking, answer, version)
            if not done.done():
                done.set_result((answer, version))

        asking = self._asking(meant, headers, body, tell)
        meant.slot.ask(asking)
        answer, version = await done
        await reply.send(answer, version, form)

    async def _body(self, headers: Mapping[bytes, bytes], reply: _Reply, held: _Held) -> bytes | None:
        """The whole of it, within the bounds; None where the client went away. Raises _Refused."""
        most = self.limits.body
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > most:
            raise _too_large(most)
        until = time.monotonic() + self.limits.seconds
        parts: list[bytes] = []
        more = True
        while more:
            patience = min(self.limits.silence, until - time.monotonic())
            try:
                message = await asyncio.wait_for(reply.receive(), max(patience, 0.0))
            except TimeoutError:
                raise _Refused(408, "REQUEST_TIMEOUT", "The body did not come in time.") from None
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            held.size += len(part)
            self._held += len(part)
            if held.size > most:
                raise _too_large(most)
            if self._held > self.limits.held:
                raise _Refused(503, "TEMPORARILY_UNAVAILABLE", "Too many large bodies are under way. Try again.")
            parts.append(part)
            more = message.get("more_body", False)
        return _unpacked(headers.get(b"content-encoding", b""), b"".join(parts), most)

    # -- everything else

    def _told(self, method: str, path: str, meant: Meant | None) -> tuple[int, str, bytes]:
        """Status, type and body of what is no prediction."""
        if meant is not None:
            return _error(405, "METHOD_NOT_ALLOWED", "This address is asked with POST.")
        if method not in ("GET", "HEAD"):
            return self._unknown(path)
        match path:
            case "/ping" | "/health" | "/v2/health/ready":
                return (200 if self.is_ready else 503), JSON, b"\n"
            case "/v2/health/live":
                return 200, JSON, b"\n"
            case "/version":
                return 200, JSON, __version__.encode()
            case "/metrics":
                return 200, PLAIN, self.tally.text(self._gauges()).encode()
            case "/v2" | "/v2/":
                about = {"name": "bis", "version": __version__, "extensions": ["binary_tensor_data"]}
                return 200, JSON, msgspec.json.encode(about)
            case "/models":
                return 200, JSON, msgspec.json.encode({"models": [told_of(one) for one in self.slots.values()]})
            case "/openapi.json":
                return 200, JSON, msgspec.json.encode(openapi(self.slots))
            case "/" | "/docs":
                return 200, "text/html; charset=utf-8", html(self.slots).encode()
        return self._of_model(path) or self._unknown(path)

    @property
    def is_ready(self) -> bool:
        return all(slot.able for slot in self.slots.values())

    def _of_model(self, path: str) -> tuple[int, str, bytes] | None:
        """What is told of one model."""
        if match := _NAMED.fullmatch(path):
            slot = self.slots.get(unquote(match["name"]))
            if slot and match["rest"] in ("/ping", "/health"):
                return (200 if slot.able else 503), JSON, b"\n"
            return (200, JSON, msgspec.json.encode(told_of(slot))) if slot and not match["rest"] else None
        match = _MODEL.fullmatch(path)
        slot = self.slots.get(unquote(match["name"])) if match else None
        if not match or not slot or slot.team is None:
            return None
        if match["version"] and match["version"] != slot.team.version.number:
            return None
        if match["protocol"] == "1" and not match["rest"]:
            state = "AVAILABLE" if slot.able else "START"
            return 200, JSON, msgspec.json.encode({"name": slot.name, "ready": slot.able, "state": state})
        if match["rest"] == "/ready":
            return (200 if slot.able else 503), JSON, b"\n"
        return (200, JSON, msgspec.json.encode(metadata(slot))) if not match["rest"] else None

    def _unknown(self, path: str) -> tuple[int, str, bytes]:
        several = path == "/invocations" and len(self.slots) > 1
        there = ", ".join(f"/models/{name}/invocations" for name in list(self.slots)[:20])
        what = (
            f"several models are served here: {there}" if several else f"nothing is at this address; there is {there}"
        )
        return _error(404, "RESOURCE_DOES_NOT_EXIST", what)

    def _gauges(self) -> dict[str, tuple[str, dict[tuple[str, str], float]]]:
        teams = [team for slot in self.slots.values() for team in slot.teams]
        keys = [(team.version.name, team.version.number) for team in teams]
        told: dict[str, tuple[str, Callable[[Team], float]]] = {
            "bis_model_waiting": ("Requests that wait for a worker.", lambda team: len(team.waiting)),
            "bis_model_workers_busy": ("Workers that predict.", lambda team: team.busy),
            "bis_model_ready": ("Whether a worker can be asked.", lambda team: team.able),
            "bis_model_memory_bytes": ("Memory of the workers.", lambda team: team.memory()),
            "bis_model_restarts": ("Workers that were started again.", lambda team: team.restarts),
        }
        return {name: (what, dict(zip(keys, map(value, teams), strict=True))) for name, (what, value) in told.items()}


class _Held:
    """How much of a body is here."""

    size = 0


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Reply:
    """The way back to the client."""

    def __init__(self, receive: Receive, send: Send, headers: Mapping[bytes, bytes], method: str) -> None:
        self.receive, self._send, self._headers, self._method = receive, send, headers, method

    async def send(self, answer: Answer, version: Version | None, form: str, *, more: bool = False) -> None:
        head = _head(answer, version, form, self._headers)
        lines = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n") if line]
        if more:
            lines.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": lines})
        body = b"" if self._method == "HEAD" else answer.body
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def refuse(self, answer: Answer, form: str) -> None:
        """Answer, then pass over what the client still sends: it looks at the answer behind that."""
        await self.send(answer, None, form, more=True)
        if self._method == "POST":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pass_over(), LINGER)
        await self._send({"type": "http.response.body", "body": b""})

    async def _pass_over(self) -> None:
        more = True
        while more:
            message = await self.receive()
            more = message["type"] == "http.request" and message.get("more_body", False)


def _head(answer: Answer, version: Version | None, form: str, headers: Mapping[bytes, bytes]) -> bytes:
    """Lines of the head, each with its end."""
    asked = headers.get(b"x-request-id", b"")
    id = asked if asked and _ID.fullmatch(asked) else b"%016x" % random.getrandbits(64)
    head = b"content-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\n" % (
        answer.content_type.encode("latin-1"),
        len(answer.body),
        id,
    )
    if version is not None:
        head += head_of(version)
    if form == V2 and answer.json_length:
        head += b"inference-header-content-length: %d\r\n" % answer.json_length
    if answer.retry:
        head += b"retry-after: 1\r\n"
    if answer.status == 401:
        head += b'www-authenticate: Bearer realm="bis"\r\n'
    return head


def _unpacked(encoding: bytes, body: bytes, most: int) -> bytes:
    """Raises _Refused for what is none, or unpacks to more than a body may have."""
    if not encoding or encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"deflate"):
        raise _Refused(415, "UNSUPPORTED_MEDIA_TYPE", "Bodies are packed with gzip or deflate, or not at all.")
    try:
        unpacking = zlib.decompressobj(wbits=47)
        found = unpacking.decompress(body, most + 1)
        if len(found) > most:
            raise _too_large(most)
        if not unpacking.eof:
            raise _Refused(400, "BAD_REQUEST", "The packed body is cut off.")
        return found
    except zlib.error:
        raise _Refused(400, "BAD_REQUEST", f"The body is not packed with {encoding.decode()}.") from None


def _too_large(most: int) -> _Refused:
    return _Refused(413, "INVALID_PARAMETER_VALUE", f"The body is larger than {most >> 20} MiB.")


def _error(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    return status, JSON, msgspec.json.encode({"error_code": code, "message": message, "error": message})
