"""All pages, and what their forms change. A new page is a module with PAGES (and ACTIONS), and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from bis.server.desk import Desk
from bis.server.pages import (
    charts,
    compare,
    data,
    data_difference,
    environments,
    files,
    lineage,
    live,
    log,
    machines,
    models,
    now,
    run,
    runs,
    search,
    settings,
    static,
    tag,
    timeline,
    verdict,
)
from bis.server.pages.page import Action, Page, route_of, routes_of

PAGES: Final[tuple[Page, ...]] = (
    *runs.PAGES,
    *log.PAGES,
    *files.PAGES,
    *run.PAGES,
    *charts.PAGES,
    *compare.PAGES,
    *verdict.PAGES,
    *tag.PAGES,
    *environments.PAGES,
    *machines.PAGES,
    *models.PAGES,
    *data_difference.PAGES,
    *data.PAGES,
    *lineage.PAGES,
    *search.PAGES,
    *now.PAGES,
    *timeline.PAGES,
    *settings.PAGES,
)
ACTIONS: Final[tuple[Action, ...]] = (*run.ACTIONS, *tag.ACTIONS, *models.ACTIONS, *data.ACTIONS)


def routes(desk: Desk) -> Iterator[Route]:
    yield from static.routes()
    yield from live.routes(desk)
    yield from settings.routes(desk)
    yield from charts.routes(desk)
    yield from files.routes(desk)
    for action in ACTIONS:
        yield route_of(desk, action)
    for page in PAGES:
        yield from routes_of(desk, page)
