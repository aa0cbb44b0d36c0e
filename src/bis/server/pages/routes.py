"""All pages, and what their forms change. A new page is a module with PAGES (and ACTIONS), and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from bis.server.desk import Desk
from bis.server.pages import charts, compare, live, run, runs, static, verdict
from bis.server.pages.page import Action, Page, route_of, routes_of

PAGES: Final[tuple[Page, ...]] = (*runs.PAGES, *run.PAGES, *charts.PAGES, *compare.PAGES, *verdict.PAGES)
ACTIONS: Final[tuple[Action, ...]] = (*run.ACTIONS,)


def routes(desk: Desk) -> Iterator[Route]:
    yield from static.routes()
    yield from live.routes(desk)
    yield from charts.routes(desk)
    for action in ACTIONS:
        yield route_of(desk, action)
    for page in PAGES:
        yield from routes_of(desk, page)
