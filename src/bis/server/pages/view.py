"""What every template is given beside the value of its page: who looks, from where, and how addresses are spelled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from starlette.requests import Request

from bis import __version__
from bis.ledger.tokens import Role
from bis.server.desk import Desk
from bis.server.pages import tokens
from bis.server.pages.static import address

RANKS: Final[tuple[Role, ...]] = ("reader", "writer", "admin")
PAGES: Final = (
    ("/", "Runs"),
    ("/models", "Models"),
    ("/data", "Data"),
    ("/environments", "Environments"),
    ("/machines", "Machines"),
    ("/lineage", "Lineage"),
    ("/timeline", "Timeline"),
    ("/now", "Now"),
)
"""In the navigation, with their words."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    root: str
    """The path below which a proxy shows the server; empty where it has none."""
    path: str
    """Of this page, without the root."""
    query: tuple[tuple[str, str], ...]
    now: datetime
    project: str
    user: str
    role: Role
    guarded: bool
    """Whether who looks had to say who they are."""
    csrf: str
    version: str = __version__
    pages: tuple[tuple[str, str], ...] = PAGES
    timed: bool = False
    """Whether this page can be looked at as of another moment."""
    open_ended: bool = False
    """Whether the other forms of this page are asked for by its query."""

    @property
    def asof(self) -> str:
        """The moment that is looked at, as it was given; empty: now."""
        return dict(self.query).get("asof", "")

    def at(self, path: str, /, **query: Any) -> str:
        """The address of another page; a moment that is looked at goes along, unless `asof` says otherwise."""
        said = {"asof": self.asof, **query}
        told = urlencode([(name, one) for name, value in said.items() for one in _values(value)])
        return f"{self.root}{quote(path, safe='/:@-._~!$&()*+,;=')}{'?' if told else ''}{told}"

    def here(self, **query: Any) -> str:
        """The address of this page with other values; None leaves one out."""
        kept = [(name, value) for name, value in self.query if name not in query]
        told = urlencode([*kept, *((name, one) for name, value in query.items() for one in _values(value))])
        return f"{self.root}{quote(self.path)}{'?' if told else ''}{told}"

    def form(self, extension: str) -> str:
        """The address of this page as JSON or CSV."""
        if self.open_ended:
            return self.here(**{"as": extension})
        path = self.path.rstrip("/") or "/runs"
        told = urlencode(self.query)
        return f"{self.root}{quote(path)}.{extension}{'?' if told else ''}{told}"

    def static(self, name: str) -> str:
        return self.root + address(name)

    def may(self, role: Role) -> bool:
        return RANKS.index(self.role) >= RANKS.index(role)

    def within(self, path: str) -> bool:
        """Whether this page lies below a path, for the navigation."""
        place = "/runs" if path == "/" and self.path != "/" else path
        return self.path == place or self.path.startswith(place.rstrip("/") + "/")


async def view_of(desk: Desk, request: Request) -> View:
    scope = request.scope
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=False, errors="replace")
    return View(
        root=scope.get("app_root_path", ""),
        path=scope["path"],
        query=tuple(query),
        now=datetime.now(UTC),
        project=desk.home.project.name if desk.home else "",
        user=desk.asking(),
        role=scope.get("bis.role", "admin"),
        guarded="bis.role" in scope,
        csrf=tokens.of(request),
    )


def _values(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    return [str(value)]
