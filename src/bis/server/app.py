"""The application: which request is answered by which function.

Nearly all calls have a fixed path and are found in one table, before any pattern is looked at; that is what keeps the
cost of logging a value low. What has names in its path goes through Starlette's routes.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from bis import __version__
from bis.errors import BisError, NotFound
from bis.ledger.connection import Connection
from bis.server.desk import Desk
from bis.server.mlflow import (
    artifacts,
    experiments,
    graphql,
    inputs,
    logged_models,
    metrics,
    model_versions,
    registered_models,
    runs,
    server_info,
    webhooks,
)
from bis.server.mlflow.endpoint import Endpoint, Refused, convert, read
from bis.server.mlflow.wording import told
from bis.server.native import sharing
from bis.server.native.call import ROOT, failed
from bis.server.native.routes import routes as native
from bis.server.roles import LOOKS, is_page
from bis.server.whole import whole_of

MLFLOW: Final[tuple[Endpoint, ...]] = (
    *experiments.ENDPOINTS,
    *runs.ENDPOINTS,
    *metrics.ENDPOINTS,
    *inputs.ENDPOINTS,
    *logged_models.ENDPOINTS,
    *artifacts.ENDPOINTS,
    *registered_models.ENDPOINTS,
    *model_versions.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *server_info.ENDPOINTS,
)
SHORT: Final = frozenset((*experiments.ENDPOINTS, *runs.ENDPOINTS, *metrics.ENDPOINTS))
"""Calls that are answered by the ledger alone, in JSON, and wait for nothing but futures."""
FACES: Final = ("/api", "/ajax-api")
"""Clients use the one, browsers the other."""
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
LONGEST: Final = 32 << 20
"""Bytes of a request's body; files have their own way."""

JSON: Final = b"content-type: application/json\r\n"
LATER: Final = (429, 503)
"""Whoever gets these does well to ask again, in a second."""
PATIENCE: Final = 5.0
"""Seconds in which a ledger answers that is well."""

_log = logging.getLogger("bis.server")


class Application:
    """An ASGI application over a desk, which it closes when it ends."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._exact = {
            (endpoint.method, f"{face}/{endpoint.version}/mlflow/{endpoint.path}"): endpoint
            for endpoint in MLFLOW
            for face in FACES
            if "{" not in endpoint.path
        }
        self._short = {
            call: functools.partial(_found, desk, endpoint)
            for call, endpoint in self._exact.items()
            if endpoint in SHORT
        }
        self._paths = frozenset(path for _, path in self._exact)
        self._routes = [route for route in _routes(desk) if isinstance(route, Route)]
        unanswered = functools.partial(_unanswered, desk)
        self._others = Starlette(routes=self._routes, exception_handlers={HTTPException: unanswered})
        self._others.router.redirect_slashes = False  # which knows nothing of the path below which a proxy shows us

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._exact.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            plain = {**scope, "path": "/" + scope["path"].lstrip("/")} if scope["type"] == "http" else scope
            await self._others(plain, receive, send)
            return
        found = await _found(self.desk, endpoint, scope["query_string"], await _body(receive))
        whole = whole_of(scope)
        if isinstance(found, bytes) and whole:
            await whole(200, JSON + b"content-length: %d\r\n" % len(found), found)
        else:
            await _response(found)(scope, receive, send)

    def short(self, method: str, path: str) -> Callable[[bytes, bytes], Coroutine[Any, Any, bytes | Response]] | None:
        """What answers a call, from its query and its body, where that needs no more of the server than the ledger."""
        return self._short.get((method, path))

    def calls(self) -> Iterator[tuple[str, str]]:
        """Every call that is answered: method and path, names in braces."""
        yield from self._exact
        for route in self._routes:
            for method in sorted(route.methods or ()):
                yield method, route.path

    def call(self, path: str) -> str:
        """The call that a path means, for those who count: of so many paths there are few."""
        if path in self._paths:
            return path
        return next((route.path for route in self._routes if route.path_regex.match(path)), "other")


async def _answered(
    desk: Desk, endpoint: Endpoint, query: bytes, body: bytes | Refused, place: Mapping[str, str] | None = None
) -> Response:
    return _response(await _found(desk, endpoint, query, body, place))


def _response(found: bytes | Response) -> Response:
    return Response(found, media_type="application/json") if isinstance(found, bytes) else found


async def _found(
    desk: Desk, endpoint: Endpoint, query: bytes, body: bytes | Refused, place: Mapping[str, str] | None = None
) -> bytes | Response:
    """What is answered: JSON, where all went well."""
    try:
        if isinstance(body, Refused):
            raise body
        found = await endpoint.answer(desk, read(endpoint, query, body, place))
        if found is None:
            return b"{}"
        return found if isinstance(found, Response) else msgspec.json.encode(found)
    except Exception as error:
        refused = told(error)
        if refused is None:
            _log.exception("%s %s failed", endpoint.method, endpoint.path)
            refused = Refused("INTERNAL_ERROR", "The server failed; its log says more.")
        answer = _json(refused.status, {"error_code": refused.code, "message": refused.message})
        if refused.status in LATER:
            answer.headers["retry-after"] = "1"
        return answer


def _routes(desk: Desk) -> Iterable[BaseRoute]:
    for endpoint in MLFLOW:
        if "{" in endpoint.path:
            for face in FACES:
                path = f"{face}/{endpoint.version}/mlflow/{endpoint.path}"
                yield Route(path, _handler(desk, endpoint), methods=[endpoint.method])

    async def health(_: Request) -> Response:
        try:
            await asyncio.wait_for(desk.read(_answers), PATIENCE)
        except (BisError, TimeoutError) as error:
            _log.error("the ledger does not answer: %s", error)
            return PlainTextResponse("the ledger does not answer", 503)
        return PlainTextResponse("OK")

    async def version(_: Request) -> Response:
        return PlainTextResponse(__version__)

    yield Route("/health", health)
    yield Route("/version", version)
    yield from artifacts.routes(desk)
    yield from native(desk)
    if not desk.around:
        from bis.server.pages.routes import routes as pages

        yield from sharing.routes(desk)
        yield from pages(desk)

    async def unknown(request: Request) -> Response:
        refused = server_info.unsupported(request.path_params.get("rest") or "traces")
        return _json(refused.status, {"error_code": refused.code, "message": refused.message})

    yield Route("/graphql", _questioned(desk), methods=["GET", "POST"])
    for face in FACES:
        yield Route(f"{face}/{{version}}/mlflow/{{rest:path}}", unknown, methods=METHODS)
    yield Route("/v1/traces", unknown, methods=["POST"])


async def _unanswered(desk: Desk, request: Request, error: Exception) -> Response:
    """A path that leads nowhere, or a method that it does not know, in the form of the API that was meant."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(f"{ROOT}/"):
        answer = failed(NotFound(f"there is no {request.url.path}", hint=f"GET {ROOT}/openapi.json"))
        answer.status_code = error.status_code
    elif error.status_code == 404 and request.method in LOOKS and (page := await _page_instead(desk, request)):
        return page
    else:
        what = f"{request.method} {request.url.path[:200]} is no call of this server."
        answer = _json(error.status_code, {"error_code": "ENDPOINT_NOT_FOUND", "message": what})
    answer.headers.update(error.headers or {})
    return answer


async def _page_instead(desk: Desk, request: Request) -> Response | None:
    """Of a path with a slash too many, where to look; of what a person looks for, a page that says that it is not
    there. None: a program asks."""
    from bis.server.pages.page import page_of
    from bis.server.pages.view import view_of

    path = request.url.path
    if desk.around or not is_page(path):
        return None
    view, place = await view_of(desk, request), path.rstrip("/")
    if place != path:
        return RedirectResponse(f"{view.root}{quote(place)}{'?' if request.url.query else ''}{request.url.query}", 307)
    if "text/html" not in request.headers.get("accept", ""):
        return None
    return page_of(request, view, "error", NotFound(f"there is no page {path[:200]}"), 404)


def _handler(desk: Desk, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        body = await _body(request.receive)
        return await _answered(desk, endpoint, request.scope["query_string"], body, request.path_params)

    return answer


def _questioned(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    """What MLflow's pages ask: several calls in one."""
    endpoints = {(endpoint.method, endpoint.path): endpoint for endpoint in MLFLOW}

    async def call(method: str, path: str, asked: Mapping[str, Any]) -> Any:
        endpoint = endpoints[method, path]
        try:
            return msgspec.to_builtins(await endpoint.answer(desk, convert(asked, endpoint)))
        except Exception as error:
            raise told(error) or error from None

    async def ask(desk: Desk, asked: graphql.Asked) -> Any:
        return await graphql.answer(asked, call)

    async def answer(request: Request) -> Response:
        endpoint = Endpoint(request.method, "graphql", graphql.Asked, ask)
        return await _answered(desk, endpoint, request.scope["query_string"], await _body(request.receive))

    return answer


def _answers(connection: Connection) -> None:
    connection.execute("SELECT 1").fetchall()


async def _body(receive: Receive) -> bytes | Refused:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > LONGEST:
            return Refused("INVALID_PARAMETER_VALUE", f"The request is larger than {LONGEST >> 20} MiB.")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else part


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
