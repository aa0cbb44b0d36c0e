"""Data sets in the ledger: their versions as records, what was said of them, and how a person finds one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from bis.digest import Digest, canonical, readable, short
from bis.errors import NotFound, UsageError
from bis.ledger import Making
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.moments import NEVER, micros, shown_time
from bis.ledger.used import runs_with
from bis.nouns.dataset import DataAnnotation, DataVersion, Held, hold
from bis.nouns.reference import DATA_EXAMPLES, DataReference

SHORTEST: Final = 4
"""Digits of a checksum that are enough to mean it."""
CANDIDATES: Final = 10
BEGIN: Final = "bis data add PATH"


def put_version(connection: Connection, version: DataVersion, record: str) -> None:
    connection.execute(
        "INSERT INTO data_versions (record, name, number, made, content) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (record) DO NOTHING",
        (record, version.name, version.number, micros(version.made), canonical(version)),
    )


def put_data_annotation(connection: Connection, annotation: DataAnnotation, record: str) -> None:
    connection.execute(
        "INSERT INTO data_annotations (record, name, made, content) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (record) DO NOTHING",
        (record, annotation.name, micros(annotation.made), canonical(annotation)),
    )


class SqlDataSets:
    """The DataSets protocol over a database."""

    def __init__(self, database: Database, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._database, self._writing = database, writing

    def add(self, name: str, make: Making) -> Held | None:
        with self._writing() as connection:
            there = _held(connection.execute, name)
            visible = [one for one in there if not one.hidden]
            number = 1 + max((one.version.number for one in there), default=0)
            made = make(number, visible[0] if visible else None)
            if made is None:
                return None
            put_version(connection, *made)
            return next(one for one in _held(connection.execute, name) if one.record == made[1])

    def annotate(self, annotation: DataAnnotation, record: Digest) -> None:
        with self._writing() as connection:
            put_data_annotation(connection, annotation, record)

    def names(self) -> list[str]:
        return sorted({one.version.name for one in self.versions()})

    def versions(self, name: str = "", *, hidden: bool = False, until: int | None = None) -> list[Held]:
        return [
            one
            for one in _held(self._database.ask, name, NEVER if until is None else until)
            if hidden or not one.hidden
        ]

    def users(self, digests: Iterable[Digest]) -> list[str]:
        if not self._database.ask("SELECT 1 FROM data_used LIMIT 1"):
            return []
        with self._database.reading() as connection:
            seqs = runs_with(connection, digests)
        return [id for seq, id in self._database.ask("SELECT seq, id FROM runs ORDER BY started DESC") if seq in seqs]

    def find(self, reference: DataReference, *, hidden: bool = False) -> tuple[Held, str]:
        names = {name for (name,) in self._database.ask("SELECT DISTINCT name FROM data_versions")}
        name, path = _name_and_path(reference, names)
        of_name = self.versions(name, hidden=True) if name in names or not reference.base else []
        visible = [one for one in of_name if hidden or not one.hidden]
        if not of_name:
            raise _no_such(reference, self.versions())
        chosen = _choose(reference, visible)
        if chosen is None:
            raise _absent(reference, visible, of_name)
        if reference.back:
            chosen = _back(reference, chosen, visible)
        return chosen, path


def _held(ask: Callable[..., Iterable[Any]], name: str, until: int = NEVER) -> list[Held]:
    """The versions of a data set, or of all, newest first, with what was said of them by then."""
    where, values = "WHERE made <= ?" + (" AND name = ?" if name else ""), (until, name) if name else (until,)
    versions: dict[str, list[tuple[DataVersion, Digest]]] = {}
    said: dict[str, list[DataAnnotation]] = {}
    order = "ORDER BY made, number, record"
    for owner, record, content in ask(f"SELECT name, record, content FROM data_versions {where} {order}", values):
        version = msgspec.json.decode(content, type=DataVersion)
        versions.setdefault(owner, []).append((version, Digest(record)))
    for owner, content in ask(f"SELECT name, content FROM data_annotations {where} ORDER BY made, record", values):
        said.setdefault(owner, []).append(msgspec.json.decode(content, type=DataAnnotation))
    found = [one for owner, some in versions.items() for one in hold(some, said.get(owner, ()))]
    return sorted(found, key=_age, reverse=True)


def _age(one: Held) -> tuple[int, int, str]:
    return micros(one.version.made), one.version.number, one.record


# -- finding -----------------------------------------------------------------------------------------------------


def _name_and_path(reference: DataReference, names: set[str]) -> tuple[str, str]:
    """The data set, and the path in it: the longest name that is one; what is behind it is the path."""
    words = reference.base.split("/")
    for length in range(len(words), 0, -1):
        name = "/".join(words[:length])
        if name in names:
            rest = "/".join(filter(None, (*words[length:], reference.path)))
            return name, rest
    return reference.base, reference.path


def _choose(reference: DataReference, versions: Sequence[Held]) -> Held | None:
    """The version that is meant, before going back; `versions` are newest first."""
    if reference.number is not None:
        found = [one for one in versions if one.version.number == reference.number]
        return _only(reference, found, "number")
    if reference.stamp:
        found = [one for one in versions if micros(one.version.made) == micros(reference.stamp)]
        return _only(reference, found, "time stamp")
    if reference.checksum:
        return _by_checksum(reference, *reference.checksum, versions)
    if reference.tag:
        return _only(reference, [one for one in versions if reference.tag in one.tags], "tag")
    if reference.moment:
        return next((one for one in versions if micros(one.version.made) <= micros(reference.moment)), None)
    return versions[0] if versions else None


def _by_checksum(reference: DataReference, algorithm: str, digits: str, versions: Sequence[Held]) -> Held | None:
    """The newest version with that checksum: one that came back later has the same."""
    if len(digits) < SHORTEST:
        raise UsageError(f"{reference.text}: a checksum needs {SHORTEST} of its digits", hint=f"{DATA_EXAMPLES}")
    found = {one.record: one for one in versions if one.checksums.get(algorithm, "").startswith(digits)}
    # The digest of the tree names a single file, too.
    if algorithm == "b3":
        found |= {one.record: one for one in versions if short(one.version.tree, 64).startswith(digits)}
    if len({(one.version.name, one.version.tree) for one in found.values()}) > 1:
        _only(reference, list(found.values()), "checksum")
    return next((one for one in versions if one.record in found), None)


def _only(reference: DataReference, found: Sequence[Held], what: str) -> Held | None:
    if len(found) > 1:
        raise UsageError(
            f"{readable(reference.text)} is the {what} of {len(found)} versions",
            because="\n".join(_line(one) for one in found[:CANDIDATES]),
            hint=f"by time stamp or checksum: {readable(found[0].version.name)}@{found[0].version.stamp}",
        )
    return found[0] if found else None


def _line(one: Held) -> str:
    version = one.version
    told = (version.stamp, f"b3:{short(version.content)}", version.user, version.message)
    return f"{readable(one.reference)}  {'  '.join(readable(word) for word in told if word)}"


def _back(reference: DataReference, chosen: Held, versions: Sequence[Held]) -> Held:
    line = [one for one in versions if one.version.name == chosen.version.name]
    place = next(place for place, one in enumerate(line) if one.record == chosen.record) + reference.back
    if place >= len(line):
        before = len(line) - 1 - (place - reference.back)
        few = "no version lies" if not before else f"only {before} version{'s lie' if before > 1 else ' lies'}"
        raise NotFound(f"{readable(reference.text)} is not there: {few} before {chosen.reference}", hint=_log(chosen))
    return line[place]


def _log(one: Held) -> str:
    return f"bis data log {shlex.quote(readable(one.version.name))}"


# -- what is not there -------------------------------------------------------------------------------------------


def _no_such(reference: DataReference, everything: Sequence[Held]) -> NotFound:
    names = sorted({one.version.name for one in everything if not one.hidden})
    if not names:
        return NotFound("no data sets are recorded here yet", hint=BEGIN)
    base = reference.base or reference.text
    for one in everything:
        if one.version.source and one.version.source == base and not one.hidden:
            name = readable(one.version.name)
            because = f"{readable(base)} is the path that the data set {name} was added from."
            return NotFound(f"no data set is called {readable(base)!r}", because=because, hint=f"bis data log {name}")
    import difflib

    near = difflib.get_close_matches(base, names, 3, 0.5)
    return NotFound(
        f"no data set is called {readable(base)!r}",
        because=f"Did you mean {', '.join(map(readable, near))}?" if near else f"There are {_some(names)}.",
        hint=f"bis data log {shlex.quote(readable(near[0]))}" if near else "bis data log",
    )


def _absent(reference: DataReference, versions: Sequence[Held], of_name: Sequence[Held]) -> NotFound:
    removed = _choose(reference, of_name)
    if removed is not None:
        said = f"{readable(removed.reference)} was removed"
        return NotFound(said, hint=f"bis data rm --undo {shlex.quote(readable(removed.reference))}")
    if reference.moment and versions:
        what = f"no version was there by {shown_time(micros(reference.moment))}"
        because = f"The first is {readable(versions[-1].reference)}, of {versions[-1].version.stamp}."
        return NotFound(what, because=because, hint=_log(versions[0]))
    known = [str(one.version.stamp) for one in versions] if reference.stamp else []
    known = [f"v{one.version.number}" for one in versions] if reference.number is not None else known
    known = [tag for one in versions for tag in one.tags] if reference.tag else known
    import difflib

    near = difflib.get_close_matches(reference.tag or reference.stamp, known, 1, 0.5) if known else []
    told = f"Did you mean @{near[0]}?" if near else f"There are {_some(known)}." if known else ""
    if reference.tag and not known:
        told = "It has no tags."
    hint = _log(of_name[0]) if reference.base else "bis data log"
    return NotFound(f"{readable(reference.text)} is not there", because=told, hint=hint)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(readable, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
