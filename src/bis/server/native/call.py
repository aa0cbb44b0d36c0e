"""One call of the API: what is asked, a struct of path and query; what is answered, another; errors in one form."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bis.errors import AlreadyThere, BisError, NotFound, UsageError
from bis.server.desk import Desk
from bis.server.nul import names_nul
from bis.steps.promotion import Refusal

ROOT: Final = "/api/bis/1"

_log = logging.getLogger("bis.server")


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, why as far as that is known, and what to do next."""

    code: str
    """Stable: `bis explain CODE` describes it."""
    what: str
    because: str = ""
    hint: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that was not done."""

    error: Trouble


class Call(NamedTuple):
    """One way to ask. GET looks; DELETE is asked by path and query, too; all others have a body in JSON."""

    path: str
    """Behind the root, names in braces."""
    says: str
    asked: type[msgspec.Struct]
    answered: type[msgspec.Struct]
    answer: Callable[[Desk, Any], Awaitable[msgspec.Struct]]
    method: str = "GET"

    @property
    def in_path(self) -> frozenset[str]:
        """The names in the path."""
        return frozenset(re.findall(r"{(\w+)", self.path))

    @property
    def has_body(self) -> bool:
        return self.method not in ("GET", "DELETE")


def route(desk: Desk, call: Call) -> Route:
    async def answer(request: Request) -> Response:
        body = await request.body() if call.has_body else b""
        try:
            found = await call.answer(desk, _with_body(call, request, body) if call.has_body else _asked(call, request))
            return told(found)
        except BisError as error:
            return failed(error)
        except Exception:  # nobody expected it: the log has all of it, and the client a word
            _log.exception("%s failed", call.path)
            return failed(BisError("the server failed; its log says more"))

    return Route(ROOT + call.path, answer, methods=[call.method])


def told(content: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def failed(error: BisError) -> Response:
    match error:
        case AlreadyThere():
            status = 409
        case Refusal():
            status = 403
        case UsageError():
            status = 400
        case NotFound():
            status = 404
        case _:
            status = 500 if error.code == BisError.code else 503
    return told(Failed(error=Trouble(**error.told())), status)


def _asked(call: Call, request: Request) -> msgspec.Struct:
    """Raises UsageError for what cannot be meant."""
    said: dict[str, str] = {}
    try:
        for name, value in parse_qsl(unquoted(request.scope["query_string"]), True, errors="strict"):
            if name in said:
                raise UsageError(f"{name} is given more than once")
            said[name] = value
        said |= request.path_params
        if any("\0" in value for value in said.values()):
            raise UsageError("there is a NUL character in the request")
        return msgspec.convert(said, call.asked, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the request makes no sense: {error}", hint=f"GET {ROOT}/openapi.json") from None
    except UnicodeError:
        raise UsageError("the request is not UTF-8") from None


def _with_body(call: Call, request: Request, body: bytes) -> msgspec.Struct:
    """A number in JSON is a number; one in the path is text until it is read."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(call.asked)}
    try:
        if request.scope["query_string"]:
            raise UsageError(f"{call.method} {call.path} takes no query: what it is told stands in its body")
        said = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        for name, text in request.path_params.items():
            if name in said:
                raise UsageError(f"{name} stands in the path, and not in the body")
            said[name] = msgspec.convert(text, types[name], strict=False)
        if names_nul(body) or any("\0" in str(value) for value in request.path_params.values()):
            raise UsageError("there is a NUL character in the request")
        return msgspec.convert(said, call.asked)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"the request makes no sense: {error}", hint=f"GET {ROOT}/openapi.json") from None
    except UnicodeError:
        raise UsageError("the request is not UTF-8") from None


def unquoted(query: bytes) -> str:
    """A query as text; raises UnicodeError where its bytes, decoded, are none."""
    unquote_to_bytes(query.replace(b"+", b" ")).decode()
    return query.decode("ascii")
