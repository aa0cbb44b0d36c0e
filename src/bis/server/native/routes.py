"""The routes of the API, with its description beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bis.server.desk import Desk
from bis.server.native import changing, looking, modelling
from bis.server.native.call import ROOT, Call, route
from bis.server.native.openapi import described

CALLS: Final[tuple[Call, ...]] = (*looking.CALLS, *changing.CALLS, *modelling.CALLS)


def routes(desk: Desk) -> Iterator[Route]:
    text = msgspec.json.encode(described(CALLS))

    async def description(_: Request) -> Response:
        return Response(text, media_type="application/json")

    yield Route(f"{ROOT}/openapi.json", description, methods=["GET"])
    for call in CALLS:
        yield route(desk, call)
