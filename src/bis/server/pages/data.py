"""Data sets and their versions: what each holds, who used it, and what is in a table. A page reads listings, and one
file that is no larger than some; what it leaves out it says, with the command that looks at all of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bis.acts.data import USERS, Looked, check_tag, is_kept, look, shares
from bis.acts.data import told as users_told
from bis.digest import Digest, readable
from bis.errors import NotFound, UsageError, counted
from bis.formats.bins import Bins
from bis.formats.profile import Profile
from bis.ledger import registry
from bis.ledger.connection import Connection
from bis.ledger.datasets import SqlDataSets
from bis.ledger.moments import NEVER, stamp
from bis.ledger.runs import SqlLedger
from bis.ledger.used import Users, noted_users, sampled
from bis.nouns.dataset import DataAnnotation, Held, Sight
from bis.nouns.reference import parse_data
from bis.nouns.tree import Leaf
from bis.server.desk import Desk
from bis.server.pages.clock import here, until
from bis.server.pages.page import Action, Page, Table
from bis.steps.abreast import Head, head
from bis.steps.add_data import annotate
from bis.steps.add_url import sight_of
from bis.steps.bring import leaves_of
from bis.steps.data_told import leaf_told, sets_told, told
from bis.steps.home import Home
from bis.store.snapshot import find_leaf, read_tree

LISTED: Final = 100
"""Data sets of one page."""
VERSIONS: Final = 50
FEW: Final = 500
"""Files of a version up to which a list of versions says who used it."""
ASKED: Final = 20_000
"""The same for its own page."""
LARGEST: Final = 8 << 20
"""Bytes of a file that is looked into."""
LISTING: Final = 8 << 20
"""Bytes of the listing of a folder."""
ENTRIES: Final = 500
"""Names of a folder that are shown."""
RUNS: Final = 1000
"""The newest runs of which it is asked which models came of them."""
MODELS: Final = 50

Name = Annotated[str, Meta(min_length=1)]


LIKE_A_VERSION: Final = re.compile(r"/v\d+(/diff|/tag)?(\.json|\.csv)?$")


def place(name: str) -> str:
    """The path of the page of a data set. One that is called like the page of a version has a slash behind it."""
    return f"/data/{name}" + ("/" if LIKE_A_VERSION.search(name) else "")


# -- all of them -----------------------------------------------------------------------------------------------------


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    asof: str = ""
    after: str = ""
    """The last data set of the page before."""


class Sets(msgspec.Struct, kw_only=True):
    sets: list[dict[str, Any]]
    """What `bis data log --json` says."""
    total: int
    more: str = ""
    """`after` of the next page."""

    @staticmethod
    def place(name: str) -> str:
        return place(name)

    @staticmethod
    def version_place(version: dict[str, Any]) -> str:
        return version_place(version)


async def sets(desk: Desk, asked: Asked) -> Sets:
    moment = until(asked.asof)

    def ask() -> Sets:
        known = sets_told(_sets(desk).versions(until=moment))
        shown = [one for one in known if one["name"] > asked.after][: LISTED + 1]
        more = shown[LISTED - 1]["name"] if len(shown) > LISTED else ""
        return Sets(sets=shown[:LISTED], total=len(known), more=more)

    return await desk.shelf.work(ask)


def _sets(desk: Desk) -> SqlDataSets:
    return SqlLedger(desk.database, False).data


# -- one of them -----------------------------------------------------------------------------------------------------


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    asof: str = ""
    skip: Annotated[int, Meta(ge=0)] = 0
    """Versions that are passed over."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs used a version."""

    runs: int | None
    """None: it holds too many files for a list to say."""
    newest: Head | None = None


class OneSet(msgspec.Struct, kw_only=True):
    name: str
    versions: list[dict[str, Any]]
    """What `bis data log NAME --json` says."""
    uses: list[Use]
    """Of each of them."""
    total: int
    unread: int
    """Runs that have more inputs than are noted: they may be missing among those that used it."""
    more: int | None = None
    """`skip` of the next page."""

    @property
    def set_place(self) -> str:
        return place(self.name)

    @staticmethod
    def place(version: dict[str, Any]) -> str:
        return version_place(version)

    @staticmethod
    def reference(version: dict[str, Any]) -> str:
        """By its time, which is one version's."""
        return f"{version['name']}@{version['stamp']}"

    def twice(self, version: dict[str, Any]) -> str:
        """Its time, where several have its number."""
        alike = [one for one in self.versions if one["number"] == version["number"]]
        return str(version["stamp"]) if len(alike) > 1 else ""


def version_place(version: dict[str, Any]) -> str:
    return f"/data/{version['name']}/v{version['number']}"


async def one_set(desk: Desk, asked: Named) -> OneSet:
    moment = until(asked.asof)
    return await desk.shelf.work(lambda: _one_set(desk, asked, moment))


def _one_set(desk: Desk, asked: Named, moment: int) -> OneSet:
    name = asked.name.strip("/")
    ledger = SqlLedger(desk.database, False)
    # Of a data set that was removed whole, what there was: links lead here, and a version can be brought back.
    found = ledger.data.versions(name, until=moment) or ledger.data.versions(name, hidden=True, until=moment)
    if not found:
        raise _no_versions(ledger, name, moment)
    shown = found[asked.skip : asked.skip + VERSIONS]
    with desk.database.reading() as connection:
        uses = [_use(desk, connection, ledger, one, moment) for one in shown]
        unread = sampled(connection)
    end = asked.skip + len(shown)
    return OneSet(
        name=name,
        versions=list(map(told, shown)),
        uses=uses,
        total=len(found),
        unread=unread,
        more=end if end < len(found) else None,
    )


def _no_versions(ledger: SqlLedger, name: str, moment: int) -> NotFound:
    if moment != NEVER and (now := ledger.data.versions(name)):
        first = now[-1].version
        return NotFound(
            f"no version of {readable(name)} was there then",
            because=f"The first is {readable(now[-1].reference)}, of {first.stamp}.",
            hint=f"bis data log {readable(name)}",
        )
    try:
        ledger.data.find(parse_data(name, here()))
    except NotFound as error:
        return error
    return NotFound(f"no data set is called {readable(name)!r}", hint="bis data log")


def _use(desk: Desk, connection: Connection, ledger: SqlLedger, held: Held, moment: int) -> Use:
    if held.version.files > FEW or desk.home is None:
        return Use(runs=None)
    digests = _digests(leaves_of(held, "", desk.home))
    found = noted_users(connection, digests, until=moment, limit=1)
    return Use(runs=found.total, newest=head(ledger.get(found.newest[0])) if found.newest else None)


def _digests(leaves: Iterable[Leaf]) -> set[Digest]:
    """Of the files by which a run is known to have used a version."""
    return {leaf.entry.digest for leaf in leaves if leaf.entry.kind == "file" and leaf.entry.size}


# -- one version -----------------------------------------------------------------------------------------------------


class One(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    number: Annotated[int, Meta(ge=1, le=1 << 30)]
    at: str = ""
    """The time of it as its name has it, where several have this number."""
    path: str = ""
    """A folder or file in it."""
    asof: str = ""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    number: int
    aliases: tuple[str, ...]
    run: str


class Version(msgspec.Struct, kw_only=True):
    """The first fields are what `bis data show --json` says, `files` what `bis data ls --json` says."""

    version: dict[str, Any]
    path: str
    by_reference: bool
    seen: Sight | None
    runs: list[dict[str, Any]]
    runs_complete: bool
    profile: Profile | None = None
    files: list[dict[str, Any]] = []
    """Of the folder that is looked at."""
    names: int = 0
    """In that folder."""
    folder: str = ""
    file: dict[str, Any] | None = None
    """The one that is looked at."""
    bins: dict[str, Bins] = {}
    users: int | None = None
    """Runs that used it; None: that was not asked."""
    models: list[Model] = []
    models_there: int = 0
    limits: list[str] = []
    """What was not looked at, in words."""
    others: list[dict[str, Any]] = []
    """The other versions of the data set, the newest first."""
    before: dict[str, Any] | None = None
    """The version before."""
    newest: str = ""
    at: str = ""
    """As it was asked for."""

    @property
    def folders(self) -> list[tuple[str, str]]:
        """Those around what is looked at: name and path."""
        parts = self.folder.split("/") if self.folder else []
        return [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]

    @property
    def place(self) -> str:
        return version_place(self.version)

    @property
    def set_place(self) -> str:
        return place(self.version["name"])

    @property
    def inside(self) -> str:
        """How the command names what is looked at."""
        return str(self.version["reference"]) + (f"/{self.path}" if self.path else "")


async def version(desk: Desk, asked: One) -> Version:
    return await desk.shelf.work(lambda: _version(desk, asked))


def home_of(desk: Desk) -> Home:
    if desk.home is None:
        raise NotFound("this server has no store, and so no files of data")
    return desk.home


def chosen(desk: Desk, asked: One) -> Held:
    """The version that an address means, also one that is removed. Raises NotFound and UsageError, with what is near
    and with the candidates."""
    sets, moment = _sets(desk), until(asked.asof)
    found = [one for one in sets.versions(asked.name, hidden=True, until=moment) if one.version.number == asked.number]
    found = [one for one in found if asked.at in ("", one.version.stamp)]
    there = [one for one in found if not one.hidden] or found
    if len(there) == 1:
        return there[0]
    behind = asked.at if asked.at and not there else f"v{asked.number}"
    now = sets.find(parse_data(f"{asked.name}@{behind}", here()), hidden=True)[0]
    if moment == NEVER:
        return now
    what = f"{readable(now.reference)} was not there then"
    raise NotFound(what, because=f"It is of {now.version.stamp}.", hint=f"bis data log {readable(asked.name)}")


def _version(desk: Desk, asked: One) -> Version:
    home, held, path = home_of(desk), chosen(desk, asked), asked.path.strip("/")
    leaf = find_leaf(home.store, held.version.tree, path) if path else None
    if path and leaf is None:
        raise NotFound(
            f"{readable(held.reference)} has no {readable(path)}", hint=f"bis data ls {readable(held.reference)}"
        )
    moment = until(asked.asof)
    line = _sets(desk).versions(held.version.name, until=moment)
    before = next((one for one in line if one.record == held.version.parent), None)
    found = Version(
        version=told(held),
        path=path,
        by_reference=not is_kept(held, home),
        seen=sight_of(held, path, home),
        runs=[],
        runs_complete=False,
        others=[told(one) for one in line if one.record != held.record][:VERSIONS],
        before=told(before) if before else None,
        newest=line[0].reference if line else "",
        at=asked.at,
    )
    _put_files(found, held, leaf, home)
    _put_users(found, held, desk, home, moment)
    return found


def _put_files(found: Version, held: Held, leaf: Leaf | None, home: Home) -> None:
    """What lies in the folder, and what is in the file: that of a single one, or the one that was asked for."""
    is_file = leaf is not None and leaf.entry.kind != "tree"
    found.folder = found.path.rpartition("/")[0] if is_file else found.path
    folder = find_leaf(home.store, held.version.tree, found.folder) if found.folder else None
    top = folder.entry.digest if folder else held.version.tree
    if home.store.size(top) > LISTING:
        found.limits.append(f"the folder holds more names than a page reads: bis data ls {_word(found, found.folder)}")
    else:
        entries = read_tree(home.store, top).entries
        found.names = len(entries)
        found.files = [leaf_told(Leaf(path=entry.name, entry=entry)) for entry in entries[:ENTRIES]]
        if held.version.single and not found.path and entries:
            leaf, is_file = Leaf(path=entries[0].name, entry=entries[0]), True
    if leaf and is_file:
        found.file = leaf_told(leaf)
        looked = look(held, found.path, leaf, home, largest=LARGEST)
        _put_looked(found, looked)


def _put_looked(found: Version, looked: Looked) -> None:
    found.profile, found.bins = looked.profile, looked.bins
    if looked.why:
        how = f"bis data show {_word(found, found.path)} --columns"
        found.limits.append(f"its columns were not looked at, as {looked.why}: {how}")


def _word(found: Version, path: str) -> str:
    return readable(found.version["reference"] + (f"/{path}" if path else ""))


def _put_users(found: Version, held: Held, desk: Desk, home: Home, moment: int) -> None:
    if held.version.files > ASKED:
        found.limits.append(
            f"which runs used it was not asked, as it holds {counted(held.version.files, 'file')}:"
            f" bis data show {_word(found, found.path)}"
        )
        return
    digests, ledger = _digests(leaves_of(held, found.path, home)), SqlLedger(desk.database, False)
    with desk.database.reading() as connection:
        users = noted_users(connection, digests, until=moment, limit=RUNS)
        unread = sampled(connection)
        found.models, found.models_there = _models(connection, users)
    found.users = users.total
    found.runs = users_told(shares(users.newest[:USERS], digests, ledger))
    found.runs_complete = users.total <= USERS and not unread
    if unread:
        found.limits.append(
            f"{counted(unread, 'run')} with more than 4,096 inputs may have used it and not be told:"
            f" bis data show {_word(found, found.path)}"
        )
    if found.models and moment != NEVER:
        found.limits.append("the models of these runs are those of now")
    if users.total > RUNS:
        found.limits.append(f"models are those of the newest {RUNS:,} of these runs")


def _models(connection: Connection, users: Users) -> tuple[list[Model], int]:
    if not users.newest:
        return [], 0
    marks = ", ".join("?" * len(users.newest))
    found = registry.versions(connection, f"v.run IN ({marks})", users.newest)
    shown = [Model(name=one.name, number=one.number, aliases=tuple(one.aliases), run=one.run) for one in found[:MODELS]]
    return shown, len(found)


# -- what is said of one ---------------------------------------------------------------------------------------------


class Tagged(One, forbid_unknown_fields=True):
    tag: str = ""
    untag: str = ""


async def tag(desk: Desk, asked: Tagged) -> str:
    """Let a tag mean this version, or take one away. Raises UsageError and NotFound."""
    home = home_of(desk)
    user, made = desk.asking(), stamp(desk.now())

    def change() -> str:
        held = chosen(desk, asked)
        check_tag(held, [asked.tag] if asked.tag else [], [asked.untag] if asked.untag else [])
        if not (asked.tag or asked.untag):
            raise UsageError("no tag was given", hint="a word, such as production")
        said = DataAnnotation(
            name=held.version.name,
            about=(held.record,),
            made=made,
            user=user,
            tags=(asked.tag,) if asked.tag else (),
            removed=(asked.untag,) if asked.untag else (),
        )
        annotate(said, home)
        return version_place(told(held))

    return await desk.shelf.work(change)


# -- as tables -------------------------------------------------------------------------------------------------------

COLUMNS: Final = ("version", "made", "user", "files", "size", "checksum", "tags", "message")


def _row(one: dict[str, Any]) -> Sequence[Any]:
    return [
        f"v{one['number']}",
        *(one[name] for name in ("made", "user", "files", "size", "checksum")),
        " ".join(one["tags"]),
        one["message"],
    ]


def sets_table(found: Sets) -> Table:
    return ("name", "versions", *COLUMNS), ((one["name"], one["versions"], *_row(one["latest"])) for one in found.sets)


def versions_table(found: OneSet) -> Table:
    return (*COLUMNS, "runs"), (
        (*_row(one), "" if use.runs is None else use.runs) for one, use in zip(found.versions, found.uses, strict=True)
    )


def files_table(found: Version) -> Table:
    names = ("path", "kind", "size", "digest")
    return names, ([one[name] for name in names] for one in found.files)


PAGES: Final = (
    Page("/data", "data_sets", Asked, sets, sets_table),
    Page("/data/{name:path}/v{number:int}", "data_version", One, version, files_table),
    Page("/data/{name:path}", "data_set", Named, one_set, versions_table),
)
"""The last one stands behind all whose paths begin so."""
ACTIONS: Final = (Action("/data/{name:path}/v{number:int}/tag", Tagged, tag),)
