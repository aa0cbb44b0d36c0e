"""`/runs/live`: an event whenever the ledger has changed, for pages that show what is under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bis.server.desk import Desk
from bis.server.live import QUIET

PATH: Final = "/runs/live"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}


def routes(desk: Desk) -> Iterator[Route]:
    async def listen(request: Request) -> Response:
        if desk.live.full or desk.live.ending:
            wait = {"retry-after": f"{QUIET:.0f}"}
            return PlainTextResponse("too many listen already: load the page again to see what is new\n", 503, wait)
        since = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return StreamingResponse(desk.live.events(since), media_type="text/event-stream", headers=HEADERS)

    yield Route(PATH, listen, methods=["GET"])
