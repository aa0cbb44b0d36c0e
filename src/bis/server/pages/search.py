"""Search: one word, looked for in everything. A filter of runs leads to the runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from bis.acts.lineage import read_packages
from bis.digest import short
from bis.errors import BisError
from bis.ledger import anywhere
from bis.ledger.anywhere import Found
from bis.ledger.connection import Connection
from bis.ledger.filter import Unfit, read_filter
from bis.ledger.grammar import RUNS
from bis.nouns.reference import DATA, MODELS, parse_data, parse_model
from bis.server.desk import Desk
from bis.server.native.call import Trouble
from bis.server.pages.clock import here
from bis.server.pages.data import place
from bis.server.pages.page import Page, Table
from bis.server.pages.runs import quoted
from bis.steps.models import resolve
from bis.text import count, size

SHOWN: Final = 10
"""Of each kind."""
LONGEST: Final = 500
UNREAD: Final = 20
"""Environments whose packages are read, if nobody has asked for them yet."""
COMPARED: Final = re.compile(r"[<>]|!=|(?<!=)=(?!=)|\b(?:like|ilike|in|is)\b", re.I)
"""What a filter has, and a name seldom."""
FIELD: Final = re.compile(r"\s*[A-Za-z]+\s*\.\s*[\w\"`]")
"""How a filter begins that was probably meant as one."""
PACKAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:==[\w.+!-]*)?")
UPLOADED: Final = re.compile(r"\d+/(?P<run>[0-9a-f]{32})/artifacts/(?P<path>.+)", re.S)


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    q: str = ""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    path: str
    """Of its page."""
    query: dict[str, str] = {}
    detail: str = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one kind of things."""

    name: str
    hits: list[Hit]
    total: int
    looked: str = ""
    """What was looked at, where that is not all."""
    more: Hit | None = None
    """Where all of them are."""


class Results(msgspec.Struct, kw_only=True):
    asked: Asked
    filter: str = ""
    """What was typed, if it is a filter of runs."""
    kinds: list[Kind] = []
    """Those of which something was found."""
    nothing: list[str] = []
    """Kinds of which there was nothing."""
    total: int = 0
    trouble: Trouble | None = None
    """Why what was typed is no filter, though it looks like one."""


async def search(desk: Desk, asked: Asked) -> Results:
    text = asked.q.strip()[:LONGEST]
    found = Results(asked=asked)
    if not text:
        return found
    found.filter, found.trouble = _filter(text)
    home = desk.home
    if home and PACKAGE.fullmatch(text):
        left = await desk.shelf.work(lambda: read_packages(home, UNREAD))
    else:
        left = 0
    kinds, exact = await asyncio.gather(
        desk.search(_kinds, text, left), desk.shelf.work(lambda: list(_exact(desk, text)))
    )
    if exact:
        kinds.insert(0, Kind(name="this", hits=exact, total=len(exact)))
    found.kinds = [kind for kind in kinds if kind.total]
    found.nothing = [kind.name for kind in kinds if not kind.total]
    found.total = sum(kind.total for kind in kinds)
    return found


def onward(asked: Asked) -> tuple[str, dict[str, str]] | None:
    text = asked.q.strip()[:LONGEST]
    return ("/", {"filter": text}) if text and _filter(text)[0] else None


def _filter(text: str) -> tuple[str, Trouble | None]:
    """What was typed, if it is a filter; else why not, if it looks like one."""
    if not COMPARED.search(text):
        return "", None
    try:
        return (text if read_filter(text, RUNS) else ""), None
    except Unfit as error:
        return "", Trouble(**error.told()) if FIELD.match(text) else None


# -- what is found ---------------------------------------------------------------------------------------------------


def _exact(desk: Desk, text: str) -> Iterator[Hit]:
    """What a reference means."""
    try:
        if text.startswith(MODELS):
            reference = parse_model(text, here())
            with desk.database.reading() as connection:
                version = resolve(connection, reference)
            yield Hit(name=version.reference, path=f"/models/{version.name}/{version.number}", detail=version.source)
        elif text.startswith((DATA, "b3:", "sha256:", "md5:", "sha1:")) and desk.home:
            held, _ = desk.home.ledger.data.find(parse_data(text, here()))
            page = f"/data/{held.version.name}/v{held.version.number}"
            yield Hit(name=held.reference, path=page, detail=held.version.message)
    except BisError:
        return


def _kinds(connection: Connection, text: str, unread: int) -> list[Kind]:
    def ask(question: Callable[..., Found]) -> Found:
        return question(connection, text, SHOWN)

    named = ask(anywhere.runs_named)
    said = ask(anywhere.runs_that_say)
    packages = ask(anywhere.environments_with)
    files, uploads = ask(anywhere.files), ask(anywhere.uploads)
    return [
        _kind("runs by name", named, _run, more=_like(text)),
        _kind("runs by id", ask(anywhere.runs_with_id), _run),
        _kind("runs by note or command", said, _run, f"the newest {count(said.looked or 0, 'run')}"),
        _values(connection, "params", text),
        _values(connection, "tags", text),
        _kind("experiments", ask(anywhere.experiments), lambda one: Hit(name=one, path="/", query={"experiment": one})),
        _kind("models", ask(anywhere.models), lambda one: Hit(name=one[0], path=f"/models/{one[0]}", detail=one[1])),
        _kind("data sets", ask(anywhere.data_sets), lambda one: Hit(name=one, path=place(one))),
        _kind("environments", _unread(packages, unread), _environment, f"all but {count(unread, 'environment')}"),
        _kind("machines", ask(anywhere.machines), lambda one: Hit(name=one, path=f"/machines/{one}")),
        _kind("commits", ask(anywhere.commits), _commit),
        _kind("contents of files", ask(anywhere.contents), _content),
        _kind("files of runs", files, _file, f"the newest {count(files.looked or 0, 'run')} of bis"),
        _kind("uploaded files", uploads, _upload, f"the first {count(uploads.looked or 0, 'file')}"),
    ]


def _kind(name: str, found: Found, shown: Callable[[Any], Hit], looked: str = "", more: Hit | None = None) -> Kind:
    return Kind(
        name=name,
        hits=list(map(shown, found.some)),
        total=found.total,
        looked=looked if found.looked is not None else "",
        more=more if found.total > len(found.some) else None,
    )


def _values(connection: Connection, table: Any, text: str) -> Kind:
    found = anywhere.values(connection, table, text, SHOWN)

    def shown(one: anywhere.Value) -> Hit:
        field = f"{table}.{quoted(one.key)}"
        value = "IS NOT NULL" if one.value is None else f"= {_literal(one.value)}"
        name = one.key if one.value is None else f"{one.key} = {one.value}"
        return Hit(
            name=name, path="/", query={"filter": f"{field} {value}", "repeats": "true"}, detail=count(one.runs, "run")
        )

    return _kind(table, found, shown, f"the first {count(found.looked or 0, 'name')}")


def _like(text: str) -> Hit:
    """The runs whose names hold it. In a filter, % and _ stand for any letters."""
    name = "all that are like it" if {*"%_"} & {*text} else "all of them"
    return Hit(name=name, path="/", query={"filter": f"name ILIKE {_literal(f'%{text}%')}", "repeats": "true"})


def _literal(text: str) -> str:
    """As a filter has a text."""
    return "'" + text.replace("'", "''") + "'"


def _unread(found: Found, unread: int) -> Found:
    return found._replace(looked=unread or None)


def _run(one: anywhere.Named) -> Hit:
    return Hit(
        name=one.name, path=f"/runs/{one.id}", detail=", ".join(filter(None, (short(one.id), one.status, one.why)))
    )


def _environment(one: tuple[str, str]) -> Hit:
    return Hit(name=short(one[0]), path=f"/environments/{one[0]}", detail=one[1])


def _commit(one: tuple[str, int]) -> Hit:
    return Hit(name=one[0][:12], path="/lineage", query={"of": one[0]}, detail=count(one[1], "run"))


def _content(one: tuple[str, int]) -> Hit:
    digest = f"b3:{one[0]}"
    return Hit(name=digest, path="/lineage", query={"of": digest}, detail=f"made or read by {count(one[1], 'run')}")


def _file(one: anywhere.File) -> Hit:
    path = f"/runs/{one.run}/files/{one.path}" if one.made else f"/runs/{one.run}"
    return Hit(
        name=one.path, path=path, detail=f"{short(one.digest, 12)}, {'made' if one.made else 'read'} by {one.name}"
    )


def _upload(one: tuple[str, int]) -> Hit:
    found = UPLOADED.fullmatch(one[0])
    path = f"/runs/{found['run']}/files/{found['path']}" if found else "/"
    return Hit(name=found["path"] if found else one[0], path=path, detail=size(one[1]))


def table(found: Results) -> Table:
    rows: Sequence[Sequence[Any]] = [
        (kind.name, hit.name, hit.detail, hit.path) for kind in found.kinds for hit in kind.hits
    ]
    return ("kind", "name", "detail", "page"), rows


PAGES: Final = (Page("/search", "search", Asked, search, table, onward=onward),)
