"""Lineage: what a thing is made of, and what it reached, as `bis lineage` tells it; drawn, and as a list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from bis.acts import lineage as act
from bis.acts.lineage import Lineage, Node
from bis.errors import BisError, UsageError
from bis.ledger.connection import Connection
from bis.server.desk import Desk
from bis.server.native.call import Trouble
from bis.server.pages.clock import here, until
from bis.server.pages.layered import Drawing, drawn
from bis.server.pages.page import Page, Table

OFFERED: Final = 4
"""Of each kind of thing that can be asked for."""
OFFERS: Final = {
    "model": "SELECT m.name || '@' || a.alias, 'models:/' || m.name || '@' || a.alias FROM model_aliases AS a"
    " JOIN registered_models AS m ON m.id = a.model WHERE m.removed IS NULL ORDER BY m.changed DESC, a.alias LIMIT ?",
    "data": "SELECT name || '@v' || max(number), 'data:/' || name || '@v' || max(number) FROM data_versions"
    " GROUP BY name ORDER BY max(made) DESC, name LIMIT ?",
    "run": "SELECT name, id FROM runs WHERE removed = '' ORDER BY started DESC, seq DESC LIMIT ?",
    "commit": "SELECT substr(c.revision, 1, 12), c.revision FROM run_commits AS c JOIN runs AS r ON r.seq = c.run"
    " WHERE r.seq > (SELECT max(seq) FROM runs) - 1000 GROUP BY c.revision ORDER BY max(r.started) DESC LIMIT ?",
}
VERSION: Final = re.compile(r"models:/(?P<name>[^/@]+)/(?P<number>\d+)")
ALIAS: Final = re.compile(r"models:/(?P<name>[^/@]+)@[^@]+")
DATA: Final = re.compile(r"(?P<name>[^@]+)@v(?P<number>\d+)(?:/.*)?", re.S)
GROUNDS: Final = ("infrastructure", "machine")
"""What the page of a machine tells of."""
ASKABLE: Final = frozenset({"commit", "package", "predictions", "image", "base"})
"""What has no page but this one, and is known here by its name."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    of: str = ""
    packages: bool = False
    """Also the packages of each environment, one by one."""
    asof: str = ""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is recorded here, to begin with."""

    kind: str
    name: str
    of: str


class Place(msgspec.Struct, frozen=True):
    """The page of a thing."""

    path: str
    query: dict[str, str] = {}


class Known(msgspec.Struct, kw_only=True):
    asked: Asked
    lineage: Lineage | None = None
    """What `bis lineage --json` says."""
    hosts: dict[str, str] = {}
    """By the digest of a system or of hardware, the machine on which a run had it."""
    offers: list[Offer] = []
    trouble: Trouble | None = None

    def drawing(self) -> Drawing | None:
        return drawn(self.lineage) if self.lineage else None

    def place(self, node: Node) -> Place | None:
        if node.kind in GROUNDS:
            return Place(f"/machines/{host}") if (host := self.hosts.get(node.id)) else None
        return place_of(node)

    @staticmethod
    def asks(node: Node) -> Place | None:
        return asks(node)


async def lineage(desk: Desk, asked: Asked) -> Known:
    if not asked.of:
        return Known(asked=asked, offers=await desk.read(_offers))
    home = desk.home
    if home is None:
        raise UsageError("this server answers for one run, and knows no lineage", hint="bis server")
    bound = until(asked.asof)
    found = await desk.shelf.work(
        lambda: act.lineage(asked.of, home, None, here(), packages=asked.packages, until=bound)
    )
    return Known(asked=asked, lineage=found, hosts=await desk.read(_hosts, found))


def _hosts(connection: Connection, found: Lineage) -> dict[str, str]:
    runs = dict(_grounds(msgspec.structs.replace(found.thing, children=(*found.made_of, *found.reached))))
    if not runs:
        return {}
    some = tuple(dict.fromkeys(runs.values()))
    marks = ", ".join("?" * len(some))
    hosts = dict(connection.execute(f"SELECT id, host FROM runs WHERE id IN ({marks})", some).fetchall())
    return {digest: host for digest, run in runs.items() if (host := hosts.get(run))}


def _grounds(node: Node) -> Iterator[tuple[str, str]]:
    """Systems and hardware, each with the id of a run that had it."""
    for child in node.children:
        if node.kind == "run" and child.kind in GROUNDS:
            yield child.id, node.id
        yield from _grounds(child)


async def instead(desk: Desk, asked: Asked, error: BisError) -> Known:
    return Known(asked=asked, offers=await desk.read(_offers), trouble=Trouble(**error.told()))


def _offers(connection: Connection) -> list[Offer]:
    return [
        Offer(kind=kind, name=name, of=of)
        for kind, question in OFFERS.items()
        for name, of in connection.execute(question, (OFFERED,)).fetchall()
    ]


def place_of(node: Node) -> Place | None:
    """The page that tells more of a thing; None where nothing does."""
    match node.kind:
        case "run":
            return Place(f"/runs/{node.id}")
        case "model version" if found := VERSION.fullmatch(node.name):
            return Place(f"/models/{found['name']}/{found['number']}")
        case "alias" if found := ALIAS.fullmatch(node.name):
            return Place(f"/models/{found['name']}")
        case "environment":
            return Place(f"/environments/{node.id}")
        case "data version" | "data" if not node.id and (found := DATA.fullmatch(node.name)):
            return Place(f"/data/{found['name']}/v{found['number']}")
    return asks(node)


def asks(node: Node) -> Place | None:
    """This page, of another thing; None where it cannot be asked for."""
    match node.kind:
        case "run" | "code" | "commit" | "file" | "data" if node.id:
            return Place("/lineage", {"of": node.id})
        case "model version" | "alias":
            return Place("/lineage", {"of": node.name})
        case "data version" | "data" if DATA.fullmatch(node.name):
            return Place("/lineage", {"of": f"data:/{node.name}"})
        case kind if kind in ASKABLE or node.name.startswith("sha256:"):
            return Place("/lineage", {"of": node.name})
    return None


def table(found: Known) -> Table:
    rows: list[Sequence[Any]] = []
    if found.lineage:
        for way, nodes in (("made of", found.lineage.made_of), ("reached", found.lineage.reached)):
            rows += [
                (way, depth, one.kind, one.name, one.id, one.detail) for node in nodes for depth, one in _flat(node, 1)
            ]
    return ("direction", "depth", "kind", "name", "id", "detail"), rows


def _flat(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for child in node.children:
        yield from _flat(child, depth + 1)


PAGES: Final = (Page("/lineage", "lineage", Asked, lineage, table, instead=instead),)
