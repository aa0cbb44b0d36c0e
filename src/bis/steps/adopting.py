"""Keep what another system has as a version of a data set, with the time, author and message that it had there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bis.digest import Digest, canonical, readable
from bis.errors import KeepingError, UsageError
from bis.nouns.dataset import DataVersion, Held, made_at
from bis.nouns.part import Finding
from bis.nouns.tree import Entry, Leaf
from bis.steps.home import Home
from bis.store.snapshot import plant, put_leaves


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a state. Its bytes are those at `place`, or in the store by `digest`, or `data`; or it is a link to
    `target`."""

    path: str
    """In the data set, spelled."""
    place: Path | None = None
    digest: Digest = Digest("")
    size: int = 0
    """Of what is in the store."""
    data: bytes = b""
    target: str = ""
    executable: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What another system calls a version."""

    name: str
    """Of the data set."""
    files: tuple[File, ...]
    single: bool = False
    made: datetime
    user: str = ""
    message: str = ""
    source: str = ""
    metadata: dict[str, str] = {}
    checksums: dict[str, str] = {}


def keep(state: State, home: Home) -> tuple[Held, bool]:
    """Keep a state, durably, and say whether it is a new version: one with the content of the version before it in time
    is none, so that to adopt again adds only what is new. Raises UsageError where the name is that of other data."""
    _check_source(state, home)
    leaves = _leaves(state.files, home)
    tree = plant(leaves, home.store)
    home.store.flush()
    there: list[Held] = []

    def make(number: int, newest: Held | None) -> tuple[DataVersion, Digest] | None:
        known = home.ledger.data.versions(state.name, hidden=True)
        before = _before(known, state.made)
        if (same := _same(state, tree, before, known)) is not None:
            there.append(same)
            return None
        version = DataVersion(
            name=state.name,
            number=number,
            made=_free(made_at(state.made), {one.version.made for one in known}),
            user=state.user,
            message=state.message,
            tree=tree,
            single=state.single,
            content=leaves[0].entry.digest if state.single else tree,
            files=len(leaves),
            size=sum(leaf.entry.size for leaf in leaves),
            source=state.source,
            parent=before.record if before else Digest(""),
            metadata=state.metadata,
            checksums=state.checksums,
        )
        record = home.store.put_bytes(canonical(version), "record")
        home.store.flush()
        return version, record

    held = home.ledger.data.add(state.name, make)
    return (held, True) if held else (there[0], False)


def _check_source(state: State, home: Home) -> None:
    known = home.ledger.data.versions(state.name, hidden=True)
    if known and all(one.version.source != state.source for one in known):
        raise UsageError(
            f"the data set {readable(state.name)} comes from {readable(known[0].version.source)}, not from"
            f" {readable(state.source)}",
            because="So this may be other data with the same name. Nothing of it was imported.",
            hint="import it again with  --prefix NAME",
        )


def _same(state: State, tree: Digest, before: Held | None, known: Sequence[Held]) -> Held | None:
    """The version that this state is already: the one before it in time, or one that was made of the same commit."""
    alike = [one for one in known if state.metadata and one.version.metadata == state.metadata]
    for one in filter(None, (before, *alike)):
        if (one.version.tree, one.version.single) == (tree, state.single):
            return one
    return None


def _leaves(files: Sequence[File], home: Home) -> list[Leaf]:
    notes: list[Finding] = []
    placed = {file.path: file for file in files if file.place is not None}
    pairs = [(path, file.place) for path, file in sorted(placed.items()) if file.place is not None]
    found = put_leaves(pairs, home.store, home.cache, modes="exec", notes=notes)
    if notes or len(found) != len(placed):
        told = notes[0].text if notes else "a file is no file any more"
        raise KeepingError(f"what is to be imported cannot be read: {told}", hint="import it again")
    leaves = [
        msgspec.structs.replace(leaf, entry=msgspec.structs.replace(leaf.entry, mode=_mode(placed[leaf.path])))
        for leaf in found
    ]
    for file in files:
        name = file.path.rpartition("/")[2]
        if file.target:
            leaves.append(Leaf(path=file.path, entry=Entry(name=name, kind="link", target=file.target)))
        elif file.place is None:
            digest = file.digest or home.store.put_bytes(file.data)
            entry = Entry(name=name, kind="file", digest=digest, size=file.size or len(file.data), mode=_mode(file))
            leaves.append(Leaf(path=file.path, entry=entry))
    return leaves


def _mode(file: File) -> int:
    return 0o755 if file.executable else 0o644


def _before(known: Sequence[Held], moment: datetime) -> Held | None:
    """The newest version that was there by then; `known` are newest first."""
    by = made_at(moment)
    return next((one for one in known if datetime.fromisoformat(one.version.made) <= datetime.fromisoformat(by)), None)


def _free(made: str, taken: set[str]) -> str:
    """A time that no other version of the data set has."""
    while made in taken:
        made = made_at(datetime.fromisoformat(made), made)
    return made
