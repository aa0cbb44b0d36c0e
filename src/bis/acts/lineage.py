"""`bis lineage`: what a thing is made of, and which runs, models and aliases it reached.

Both are read off the ledger: which run read or made a file, by its digest; which commit and which packages a run had;
which version of a model came out of it. What could not be looked at in full is said.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bis.digest import Digest, digest_file, readable, short, spell
from bis.errors import BisError, NotFound, counted
from bis.ledger import built, made, used
from bis.ledger.connection import Connection
from bis.ledger.lineage import (
    askers,
    commits_said,
    data_said,
    first_hand,
    had_begun,
    is_result,
    models_logged,
    models_said,
    newest,
    places,
    predictions,
    run_at,
)
from bis.ledger.moments import NEVER
from bis.nouns.built import Built
from bis.nouns.dataset import Held
from bis.nouns.model import ModelVersion
from bis.nouns.reference import DATA, MODELS, parse, parse_data, parse_model
from bis.nouns.run import Run
from bis.parts.installed import normal
from bis.steps.as_of import AsOf, Later
from bis.steps.bring import leaves_of
from bis.steps.home import Home
from bis.steps.model_place import files_at
from bis.steps.models import database_of
from bis.steps.note_packages import locked, note_packages

DEEPEST: Final = 10
"""Runs behind runs."""
MOST: Final = 200
"""Runs that one answer tells of."""
FILES: Final = 50
"""Inputs of a run that are told one by one."""
ASKED: Final = 20_000
"""Files of a version of data that are asked for."""
SCANNED: Final = 2000
"""Runs in which a path is looked for that is not on this disk."""
SETS: Final = 50
"""Versions of data whose files are looked at, for the names of inputs."""
COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")
BUILT: Final = re.compile(r"(?:\S+@)?(?P<digest>sha256:[0-9a-f]{64})")
CONTENT: Final = re.compile(r"b3:[0-9a-f]{24,64}")
CODE: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
"""A digest as AWS Lambda tells it: CodeSha256."""
SHIPPED: Final = frozenset({".zip", ".yaml", ".yml", ".json"})
"""How files are called that were built to ship."""
PACKAGE: Final = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+)")


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thing, and what lies behind it in the direction that was asked for."""

    kind: str
    """run, model version, alias, logged model, data, file, code, commit, environment, package, …"""
    name: str
    id: str = ""
    """What names it alone, where the name does not: the id of a run, a commit, the digest of a file or a part."""
    detail: str = ""
    children: tuple[Node, ...] = ()


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    thing: Node
    made_of: tuple[Node, ...] = ()
    reached: tuple[Node, ...] = ()
    limits: tuple[str, ...] = ()
    """What was not looked at in full, in words."""


def lineage(
    text: str, home: Home, folder: Path | None, now: datetime, *, packages: bool = False, until: int = NEVER
) -> Lineage:
    """Of whatever a person names: a version of a model, data, a package, a file, a run, a commit; `folder` is where
    paths start: None looks at no file of this machine. With `packages`, those of each environment are told one by one.
    `until`, microseconds since 1970 UTC: as it was then, without what happened later. Raises NotFound with what was
    tried."""
    database = database_of(home)
    if not database.there:
        raise NotFound("nothing is recorded here yet", hint="bis run -- python train.py")
    limits = [] if until == NEVER else ["what was removed since then is not told"]
    if PACKAGE.fullmatch(text.strip()):
        with database.reading() as connection:
            unread = made.unread_environments(connection)
        if missing := note_packages(home, unread):
            limits.append(f"the packages of {counted(missing, 'environment')} are not in the store here")
    with database.reading() as connection:
        tracer = _Tracer(home, connection, AsOf(home, connection, until), packages, limits)
        thing, down, up = tracer.of(text.strip(), folder, now)
    return Lineage(thing=thing, made_of=tuple(down), reached=tuple(up), limits=tuple(dict.fromkeys(limits)))


def read_packages(home: Home, most: int) -> int:
    """Note the packages of environments that nobody has asked for yet: of so many, the newest first. Returns how many
    are left."""
    database = database_of(home)
    if not database.there:
        return 0
    with database.reading() as connection:
        unread = made.unread_environments(connection)
    some = sorted(unread, key=lambda environment: -unread[environment])[:most]
    missing = note_packages(home, {environment: unread[environment] for environment in some})
    return len(unread) - len(some) + missing


Found = tuple[Node, list[Node], list[Node]]
T = TypeVar("T")


class _Tracer:
    """One answer: what it has told of already, and what it could not look at."""

    def __init__(self, home: Home, connection: Connection, then: AsOf, packages: bool, limits: list[str]) -> None:
        self.home = home
        self.connection = connection
        self.then = then
        self.packages = packages
        self.limits = limits
        self.told: set[tuple[str, int]] = set()
        self._data: dict[str, dict[str, str]] | None = None

    # -- what is meant -------------------------------------------------------------------------------------------

    def of(self, text: str, folder: Path | None, now: datetime) -> Found:
        if text.startswith(MODELS):
            return self.of_version(self.then.model(parse_model(text, now)))
        if text.startswith(DATA):
            return self.of_data(self.then.data(parse_data(text, now)))
        if thing := BUILT.fullmatch(text):
            return self.of_built(thing["digest"])
        if CODE.fullmatch(text):
            return self.of_built(f"sha256:{base64.b64decode(text).hex()}")
        if package := PACKAGE.fullmatch(text):
            return self.of_package(package["name"], package["version"])
        if folder and (folder / text).is_file():
            return self._built_file(folder / text) or self.of_file(
                _named(folder / text, self.home), digest_file(folder / text)
            )
        looks = (self._as_run, self._as_model, self._as_commit, self._as_data, self._as_content, self._as_path)
        for look in looks:
            if found := look(text, now):
                return found
        raise NotFound(
            f"nothing that is recorded here is called {readable(text)!r}",
            because="Looked for a file, a run, a model, a commit, data, and a path in the newest"
            f" {counted(SCANNED, 'run')}.",
            hint="bis lineage models:/churn@champion, RUN, data:/NAME, PATH, a commit, numpy==2.1.0, or sha256:…",
        )

    def _built_file(self, path: Path) -> Found | None:
        """Of a file that was built to ship, whatever it is called now."""
        if path.suffix not in SHIPPED:
            return None
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return self.of_built(digest) if self._is_built(digest) else None

    def _as_run(self, text: str, now: datetime) -> Found | None:
        run = _if_any(lambda: self.then.run(parse(text, now)))
        return self.of_run(run) if run else None

    def _as_model(self, text: str, now: datetime) -> Found | None:
        version = _if_any(lambda: self.then.model(parse_model(text, now)))
        return self.of_version(version) if version else None

    def _as_commit(self, text: str, _: datetime) -> Found | None:
        if not COMMIT.fullmatch(text):
            return None
        seqs = made.runs_at(self.connection, text)
        if not seqs:
            return None
        return Node(kind="commit", name=text, id=text), [], self.runs_reached(seqs)

    def _as_data(self, text: str, now: datetime) -> Found | None:
        held = _if_any(lambda: self.then.data(parse_data(text, now)))
        return self.of_data(held) if held else None

    def _as_content(self, text: str, _: datetime) -> Found | None:
        """A file by its digest, whatever it was called."""
        if not CONTENT.fullmatch(text):
            return None
        digest = Digest(text)
        known = made.makers(self.connection, [digest]) or used.runs_with(self.connection, [digest])
        return self.of_file(short(digest, 12), digest) if known else None

    def _as_path(self, text: str, _: datetime) -> Found | None:
        """A file that is not there any more, by the name that it had in the newest runs."""
        path, digests, looked = spell(text.removeprefix("./")), set(), 0
        for run in newest(self.connection, SCANNED):
            looked += 1
            digests |= {row["digest"] for row in _inputs(run) if row["path"] == path}
            digests |= {output.digest for output in run.outputs if output.path == path}
        if not digests:
            return None
        if looked == SCANNED:
            self.limits.append(f"the path was looked for in the newest {counted(SCANNED, 'run')}, which is not all")
        makers = [seq for seqs in made.makers(self.connection, digests).values() for seq in seqs]
        detail = f"{counted(len(digests), 'content')} recorded; it is not on this disk"
        down, up = (
            self.runs_behind(first_hand(self.connection, makers), 0),
            self.runs_reached(used.runs_with(self.connection, digests)),
        )
        return Node(kind="file", name=path, detail=detail), down, up

    # -- each kind of thing --------------------------------------------------------------------------------------

    def of_version(self, version: ModelVersion) -> Found:
        thing = Node(kind="model version", name=version.reference, detail=version.source)
        down = self.runs_behind(places(self.connection, [version.run]), 0) if version.run else []
        if version.run and not down:
            self.limits.append(f"its run {version.run[:12]} is not recorded here")
        up = self._aliases(version) + self._built_nodes(built.of_model(self.connection, version.reference))
        return thing, down, [*up, *self._copies(version), *self.runs_reached(self._users_of(version))]

    def of_run(self, run: Run) -> Found:
        (seq,) = places(self.connection, [run.id]) or [0]
        self.told |= {("down", seq), ("up", seq)}
        return _run_node(run), self._below(run, seq, 0), self._above(run, seq, 0)

    def of_built(self, digest: str) -> Found:
        """What was built: its model, its run with code and data, and what it is built on."""
        found = built.by_digest(self.connection, digest)
        if not found:
            raise NotFound(
                f"nothing that was built here has the digest {digest[:19]}…",
                because="What `bis build` makes is noted where it is built, and travels with its run.",
                hint="bis pull, if it was built elsewhere",
            )
        one = found[-1]
        pushed = ", ".join(dict.fromkeys(each.pushed for each in found if each.pushed))
        detail = ", ".join(filter(None, (one.name, one.made[:19].replace("T", " "), pushed)))
        down = [Node(kind="model version", name=one.model, detail=one.identity)] if one.model else []
        down += [Node(kind="base", name=one.base)] if one.base else []
        for image in (one.image,) if one.image else ():
            below = self.of_built(image.rpartition("@")[2])[1] if self._is_built(image) else []
            down.append(Node(kind="image", name=image, children=tuple(below)))
        runs = places(self.connection, [one.run]) if one.run else []
        if one.run and not runs:
            self.limits.append(f"its run {one.run[:12]} is not recorded here")
        up = self._built_nodes(built.with_image(self.connection, digest))
        return Node(kind=one.kind, name=digest, detail=detail), [*down, *self.runs_behind(runs, 0)], up

    def _is_built(self, image: str) -> bool:
        return bool(built.by_digest(self.connection, image.rpartition("@")[2]))

    def _built_nodes(self, found: Iterable[Built]) -> list[Node]:
        return [self._built_node(one) for one in self.then.built(found)]

    def _built_node(self, one: Built) -> Node:
        children = tuple(self._built_nodes(built.with_image(self.connection, one.digest)))
        return Node(kind=one.kind, name=one.digest, detail=one.pushed or one.name, children=children)

    def of_data(self, held: Held) -> Found:
        files = [leaf for leaf in leaves_of(held, "", self.home) if leaf.entry.kind == "file" and leaf.entry.size]
        if len(files) > ASKED:
            self.limits.append(f"of its {counted(len(files), 'file')}, the first {ASKED:,} were asked for")
        digests = {leaf.entry.digest for leaf in files[:ASKED]}
        makers = [seq for seqs in made.makers(self.connection, digests).values() for seq in seqs]
        version = held.version
        down = [Node(kind="source", name=readable(version.source))] if version.source else []
        down += [
            Node(kind="data", name=one.reference, detail="the version before")
            for one in self.home.ledger.data.versions(version.name, hidden=True)
            if one.record == version.parent
        ]
        up = self.runs_reached(used.runs_with(self.connection, digests))
        detail = f"{counted(version.files, 'file')}, {version.stamp}"
        return (
            Node(kind="data", name=held.reference, detail=detail),
            [*down, *self.runs_behind(first_hand(self.connection, makers), 0)],
            up,
        )

    def of_file(self, name: str, digest: Digest) -> Found:
        thing = Node(kind="file", name=name, id=digest, detail=short(digest, 12))
        makers = made.makers(self.connection, [digest]).get(short(digest, used.DIGITS), [])
        down = [*self._data_nodes(digest), *self.runs_behind(first_hand(self.connection, makers)[-1:], 0)]
        return thing, down, self.runs_reached(used.runs_with(self.connection, [digest]))

    def of_package(self, name: str, version: str) -> Found:
        seqs = made.runs_with_package(self.connection, normal(name), version)
        if not seqs:
            others = [one for one in made.versions_of_package(self.connection, normal(name)) if one]
            raise NotFound(
                f"no recorded environment has {name} {version}",
                because=f"There are {name} {', '.join(others[:10])}." if others else f"None has any {name}.",
                hint=f"bis lineage {name}=={others[-1]}" if others else "bis log",
            )
        return Node(kind="package", name=f"{normal(name)}=={version}"), [], self.runs_reached(seqs)

    def _aliases(self, version: ModelVersion) -> list[Node]:
        return [Node(kind="alias", name=f"models:/{version.name}@{alias}") for alias in self.then.aliases(version)]

    # -- downwards -----------------------------------------------------------------------------------------------

    def runs_behind(self, seqs: Iterable[int], depth: int) -> list[Node]:
        return [self._run_below(seq, depth) for seq in self._some(seqs)]

    def _run_below(self, seq: int, depth: int) -> Node:
        run = run_at(self.connection, seq)
        if ("down", seq) in self.told:
            return _run_node(run, detail="told above")
        self.told.add(("down", seq))
        if depth >= DEEPEST:
            self.limits.append(f"what is behind more than {DEEPEST} runs is not told")
            return _run_node(run)
        return _run_node(run, children=self._below(run, seq, depth))

    def _below(self, run: Run, seq: int, depth: int) -> list[Node]:
        nodes: list[Node] = []
        for kind, part in run.parts.items():
            match kind:
                case "code":
                    revision = str(part.facts.get("revision") or "")
                    name = revision[:12] or short(part.digest)
                    nodes.append(Node(kind="code", name=name, id=revision, detail=part.summary))
                case "data":
                    nodes += self._inputs_below(run, seq, depth)
                case "environment":
                    children = self._packages(part.trees.get("lock")) if self.packages else ()
                    name = short(part.digest)
                    nodes.append(Node(kind=kind, name=name, id=part.digest, detail=part.summary, children=children))
                case _:
                    nodes.append(Node(kind=kind, name=short(part.digest), id=part.digest, detail=part.summary))
        return [*nodes, *self._logged_below(seq)]

    def _inputs_below(self, run: Run, seq: int, depth: int) -> Iterator[Node]:
        rows = [row for row in _inputs(run) if row.get("read") or row.get("how") == "declared"]
        if len(rows) > FILES:
            self.limits.append(f"of the {len(rows):,} inputs of {readable(run.name)}, {FILES} are told")
        makers = made.makers(self.connection, [row["digest"] for row in rows[:FILES] if row["size"]])
        for row in rows[:FILES]:
            earlier = [one for one in makers.get(short(row["digest"], used.DIGITS), ()) if one < seq]
            behind = self.runs_behind(first_hand(self.connection, earlier)[-1:], depth + 1)
            children = (*(self._data_nodes(row["digest"]) if row["size"] else ()), *behind)
            digest = row["digest"]
            yield Node(kind="data", name=row["path"], id=digest, detail=short(digest, 12), children=children)

    def _logged_below(self, seq: int) -> Iterator[Node]:
        """What a client said that went in."""
        for commit in commits_said(self.connection, seq):
            yield Node(kind="code", name=commit[:12], id=commit, detail="as the client says")
        for data in data_said(self.connection, seq, FILES):
            yield Node(kind="data", name=data.name, detail=f"{data.digest}, as the client says: {data.source[:200]}")
        for model in models_said(self.connection, seq):
            yield Node(kind="logged model", name=f"models:/{model}")

    def _packages(self, lock: Digest | None) -> tuple[Node, ...]:
        found = sorted(locked(lock, self.home.store).items())
        return tuple(Node(kind="package", name=f"{name}=={version}") for name, version in found)

    def _data_nodes(self, digest: str) -> list[Node]:
        """The versions of data that hold a file, of each data set the newest."""
        if self._data is None:
            self._data = {}
            versions = self.then.all_data()
            if len(versions) > SETS:
                self.limits.append(f"names of data were looked for in the newest {SETS} of {len(versions):,} versions")
            for held in versions[:SETS]:
                for leaf in leaves_of(held, "", self.home)[:ASKED]:
                    inside = "" if held.version.single else f"/{leaf.path}"
                    if leaf.entry.kind == "file":
                        known = self._data.setdefault(leaf.entry.digest, {})
                        known.setdefault(held.version.name, f"{held.reference}{inside}")
        return [Node(kind="data version", name=name) for _, name in sorted(self._data.get(digest, {}).items())]

    # -- upwards -------------------------------------------------------------------------------------------------

    def runs_reached(self, seqs: Iterable[int], depth: int = 0) -> list[Node]:
        """Runs, the newest first, each with what came of it. Those that `bis repeat` made are no new results."""
        return [self._run_above(seq, depth) for seq in self._some(sorted(set(seqs), reverse=True), repeats=False)]

    def _run_above(self, seq: int, depth: int) -> Node:
        run = run_at(self.connection, seq)
        if ("up", seq) in self.told:
            return _run_node(run, detail="told above")
        self.told.add(("up", seq))
        if depth >= DEEPEST:
            self.limits.append(f"what was reached through more than {DEEPEST} runs is not told")
            return _run_node(run)
        return _run_node(run, children=self._above(run, seq, depth))

    def _above(self, run: Run, seq: int, depth: int) -> list[Node]:
        versions = self.then.versions("v.run = ?", run.id)
        nodes = [
            Node(
                kind="model version",
                name=one.reference,
                detail=one.stage if one.stage != "None" else "",
                children=(
                    *self._aliases(one),
                    *self._built_nodes(built.of_model(self.connection, one.reference)),
                ),
            )
            for one in versions
        ]
        told = {one.reference for one in versions}
        nodes += self._built_nodes(
            one
            for one in built.once(built.of_run(self.connection, run.id))
            if one.model not in told and not (one.image and self._is_built(one.image))
        )
        for id, name in models_logged(self.connection, run.id, self.then.until, FILES):
            nodes.append(Node(kind="logged model", name=f"models:/{id}", detail=name))
        digests = {output.digest for output in run.outputs if output.size and not output.is_log}
        nodes = [*self._predictions(seq), *nodes]
        later = [one for one in used.runs_with(self.connection, digests) if one > seq] if digests else []
        return [*nodes, *self.runs_reached(later, depth + 1)]

    def _predictions(self, seq: int) -> list[Node]:
        found = predictions(self.connection, seq)
        if not found:
            return []
        detail = "" if found.rows is None else counted(found.rows, "row")
        return [Node(kind="predictions", name=readable(found.place), detail=detail)]

    def _copies(self, version: ModelVersion) -> list[Node]:
        return [
            Node(kind="model version", name=one.reference, detail="a copy", children=tuple(self._aliases(one)))
            for one in self.then.versions("v.source = ?", version.reference)
        ]

    def _users_of(self, version: ModelVersion) -> set[int]:
        """The runs that say that they asked it, and those that read a file of it that its own run alone made."""
        return askers(self.connection, version) | used.runs_with(self.connection, self._own_files(version))

    def _own_files(self, version: ModelVersion) -> list[Digest]:
        own = places(self.connection, [version.run]) if version.run else []
        try:
            files = files_at(self.connection, version.storage or version.source) if own else {}
        except BisError:
            return []
        digests = [one.digest for one in files.values() if one.size] if not isinstance(files, Path) else []
        found = made.makers(self.connection, digests)
        return [one for one in digests if first_hand(self.connection, found.get(short(one, used.DIGITS), ())) == own]

    # -- both ways -----------------------------------------------------------------------------------------------

    def _some(self, seqs: Iterable[int], *, repeats: bool = True) -> list[int]:
        """As many as one answer still has room for."""
        room = max(MOST - len(self.told), 0)
        chosen: list[int] = []
        waiting = list(dict.fromkeys(seqs))
        while waiting and len(chosen) < room:
            seq = waiting.pop(0)
            if (repeats or is_result(self.connection, seq)) and had_begun(self.connection, seq, self.then.until):
                chosen.append(seq)
        if waiting:
            self.limits.append(f"{counted(len(waiting), 'run')} more are not told: {MOST} are")
        return chosen


def _if_any(look: Callable[[], T]) -> T | None:
    """What is found; None where there is none. Raises Later for what came after the moment that is asked about."""
    try:
        return look()
    except Later:
        raise
    except BisError:
        return None


def _inputs(run: Run) -> list[dict[str, Any]]:
    part = run.parts.get("data")
    return [row for row in part.facts.get("inputs", ()) if row.get("digest")] if part else []


def _run_node(run: Run, *, detail: str = "", children: Sequence[Node] = ()) -> Node:
    told = ", ".join(filter(None, (run.id[:8], run.started[:19].replace("T", " "), detail)))
    return Node(kind="run", name=run.name, id=run.id, detail=told, children=tuple(children))


def _named(path: Path, home: Home) -> str:
    """As records name it: relative to the project, where it is inside."""
    whole = path.resolve()
    return spell(str(whole.relative_to(home.project) if whole.is_relative_to(home.project) else whole))
