"""Add a state of files as a version of a data set, durably, whole or not at all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import READ_SIZE, Digest, canonical, readable, spell, unspell
from bis.errors import KeepingError, NotFound, UsageError
from bis.nouns.dataset import DataAnnotation, DataVersion, Held, is_url, made_at
from bis.nouns.part import Finding
from bis.nouns.reference import is_data_name, is_tag
from bis.nouns.tree import Entry, Leaf
from bis.steps.here import host_here, now, user_here
from bis.steps.home import Home
from bis.steps.pointer import SUFFIX, is_pointer, pointer_path, write_pointer
from bis.store import Store
from bis.store.local import LocalStore
from bis.store.snapshot import difference, plant, put_leaves, read_trees, snapshot, walk
from bis.store.trouble import UNREADABLE, shown

ALGORITHMS = ("md5", "sha1", "sha256")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".lz4")
"""What stands behind the suffix of a file that was packed."""


class Adding(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be added, and what is said with it."""

    path: Path = Path()
    """Absolute, links in it not resolved; nothing, where there is a `url`."""
    name: str = ""
    """Of the data set; empty: after the path."""
    message: str = ""
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    checksums: tuple[str, ...] = ()
    by_reference: bool = False
    pointer: bool = False
    made: datetime | None = None
    """The time of the version; None: now."""
    url: str = ""
    """Where it lies, in place of a path; as it was typed."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was found where something is added from."""

    name: str
    tree: Digest
    single: bool
    source: str
    seen: Digest = Digest("")
    findings: tuple[Finding, ...] = ()
    sums: Callable[[Sequence[str]], dict[str, str]]
    """Checksums of it."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    held: Held
    new: bool
    """False: the newest version has this content already."""
    before: Held | None = None
    """The version before, for a new one."""
    like: str = ""
    """An older version that has the content of a new one: it came back."""
    findings: tuple[Finding, ...] = ()
    pointer: Path | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """The files that differ, sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def add(adding: Adding, home: Home, progress: Callable[[str], None] = lambda text: None) -> Added:
    """Keep the files at a path as the next version of a data set; durable when it returns. Files that did not change
    since they were last looked at are not read again. What has the content of the newest version is no new one.

    Raises UsageError for a name that means another path already, KeepingError for a file that cannot be read: a
    version is whole, or there is none.
    """
    _check(adding, home)
    name = adding.name or _name_for(adding.path, home)
    progress(f"reading {readable(source_of(adding.path, home))}")
    tree, findings = keep(adding, home)
    taken = Taken(
        name=name,
        tree=tree,
        single=adding.path.is_file(),
        source=source_of(adding.path, home),
        findings=tuple(findings),
        sums=lambda names: sums(tree, msgspec.structs.replace(adding, checksums=tuple(names)), home),
    )
    added = enter(taken, adding, home)
    if adding.pointer or is_pointer(pointer_path(adding.path)):
        return msgspec.structs.replace(added, pointer=write_pointer(adding.path, added.held))
    return added


def enter(taken: Taken, adding: Adding, home: Home) -> Added:
    """Make what was taken the next version; durable when it returns. What has the content of the newest is none."""
    name, tree = taken.name, taken.tree
    # Files are read before the turn to write is taken, so that nobody waits for it.
    known = home.ledger.data.versions(name)[:1] if adding.made is None else []
    is_known = any(_is_same(one.version, taken, adding, home) for one in known)
    weighed = None if is_known else weigh(home.store, tree)
    if weighed and not weighed[0]:
        raise UsageError(f"{readable(taken.source)} holds no files", hint=f"ls -la {shown(adding.path)}")
    checksums = taken.sums(adding.checksums) if adding.checksums and not is_known else {}
    last: list[Held | None] = [None]

    def make(number: int, newest: Held | None) -> tuple[DataVersion, Digest] | None:
        newest, made = _before(name, newest, adding, home)
        last[0] = newest
        at_once = newest is not None and newest.version.made == made
        if newest and (at_once or not adding.made) and _is_same(newest.version, taken, adding, home):
            return None
        if newest and at_once:
            raise UsageError(
                f"{readable(newest.reference)} has the time {newest.version.stamp}, too, and another content",
                hint=f"bis data add {shlex.quote(readable(taken.source))} --name ANOTHER",
            )
        count, size = weighed or weigh(home.store, tree)
        version = DataVersion(
            name=name,
            number=number,
            made=made,
            user=user_here(),
            host=host_here(),
            message=adding.message.strip(),
            tree=tree,
            single=taken.single,
            content=next(walk(home.store, tree)).entry.digest if taken.single else tree,
            files=count,
            size=size,
            source=taken.source,
            seen=taken.seen,
            parent=newest.record if newest else Digest(""),
            metadata=adding.metadata,
            checksums=checksums,
        )
        record = home.store.put_bytes(canonical(version), "record")
        home.store.flush()
        return version, record

    held = home.ledger.data.add(name, make)
    new = held is not None
    held = held or last[0]
    assert held
    held = _say_with(held, adding, new, taken, home)
    before = last[0] if new else None
    like = _like(held, home) if new else ""
    return Added(held=held, new=new, before=before, like=like, findings=taken.findings)


def _like(held: Held, home: Home) -> str:
    others = (one for one in home.ledger.data.versions(held.version.name) if one.record != held.record)
    return next((one.reference for one in others if one.version.content == held.version.content), "")


def say(held: Held, home: Home, **said: Any) -> Held:
    """Write something beside a version. The version as it then is."""
    annotation = DataAnnotation(name=held.version.name, about=(held.record,), made=now(), user=user_here(), **said)
    annotate(annotation, home)
    versions = home.ledger.data.versions(held.version.name, hidden=True)
    return next(one for one in versions if one.record == held.record)


# -- taking ------------------------------------------------------------------------------------------------------


def _before(name: str, newest: Held | None, adding: Adding, home: Home) -> tuple[Held | None, str]:
    """The version that the next one follows, and its time: now, after all others; or the one that was asked for."""
    if adding.made is None:
        return newest, made_at(datetime.now(UTC), newest.version.made if newest else "")
    made = made_at(adding.made)
    earlier = (one for one in home.ledger.data.versions(name) if one.version.made <= made)
    return next(earlier, None), made


def keep(adding: Adding, home: Home) -> tuple[Digest, Sequence[Finding]]:
    """The tree of what lies at a path, durable. Raises as `take` does."""
    if adding.by_reference or adding.path.is_file():
        leaves, findings = take(adding.path, home, by_reference=adding.by_reference)
        tree = plant(leaves, home.store)
    else:
        tree, findings = take_folder(adding.path, home, home.store)
    home.store.flush()
    return tree, findings


def take_folder(path: Path, home: Home, store: LocalStore | None) -> tuple[Digest, list[Finding]]:
    """The tree of a whole folder, kept where a store is given; a folder in it that did not change is not looked through
    again. Raises as `take` does."""
    notes: list[Finding] = []
    tree = snapshot(path, store, home.cache, modes="exec", notes=notes)
    _demand_whole(path, notes)
    return tree, notes


def take(path: Path, home: Home, *, by_reference: bool = False, store: bool = True) -> tuple[list[Leaf], list[Finding]]:
    """The leaves of what lies at a path, and what could not be taken of it (sockets, devices). Raises KeepingError for
    a file that cannot be read, or that is being written to."""
    notes: list[Finding] = []
    pairs = [(spell(path.name), path.resolve())] if path.is_file() else [("", path)]
    keep = (lambda name, status: False) if by_reference else (lambda name, status: True)
    leaves = put_leaves(pairs, home.store if store else None, home.cache, keep=keep, modes="exec", notes=notes)
    _demand_whole(path, notes)
    return leaves, notes


def _demand_whole(path: Path, notes: Sequence[Finding]) -> None:
    broken = [note for note in notes if note.code != "not-a-file"]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise KeepingError(
            f"{shown(path)} cannot be taken whole: {broken[0].text}{more}",
            because="A version holds every file, or there is none: nothing was added.",
            hint=broken[0].hint or f"ls -la {shown(path)}",
            code=UNREADABLE,
        )


def weigh(store: Store, tree: Digest) -> tuple[int, int]:
    """How many files and links a tree holds, and their size."""
    trees = {tree: 1}
    count = size = 0
    while trees:
        below: dict[Digest, int] = {}
        for digest, read in read_trees(store, trees):
            times = trees[digest]
            for entry in read.entries:
                if entry.kind == "tree":
                    below[entry.digest] = below.get(entry.digest, 0) + times
                else:
                    count, size = count + times, size + times * entry.size
        trees = below
    return count, size


def compare(home: Home, tree: Digest, leaves: Iterable[Leaf], *, single: bool = False) -> Delta:
    """How files differ from those of a tree, by content and by whether they may be executed; of a single file, whatever
    its name."""
    old = {leaf.path: identity(leaf) for leaf in walk(home.store, tree)}
    new = {leaf.path: identity(leaf) for leaf in leaves if leaf.entry.kind != "tree"}
    if single:
        return Delta(changed=tuple(new) if list(old.values()) != list(new.values()) else ())
    return Delta(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )


def source_of(path: Path, home: Home) -> str:
    """A path as versions record it."""
    inside = path.is_relative_to(home.project)
    return spell(str(path.relative_to(home.project) if inside else path))


def sums(tree: Digest, adding: Adding, home: Home) -> dict[str, str]:
    """The checksums that were asked for: of the file; of a folder, over the listing that `md5sum` and its like print
    of its files, in the order of their names."""
    import hashlib

    files = walk(home.store, tree)
    found: dict[str, str] = {}
    listings = {name: hashlib.new(name) for name in adding.checksums}
    for leaf in sorted(files, key=lambda leaf: os.fsencode(unspell(leaf.path))):
        if leaf.entry.kind != "file":
            continue
        found = _sums_of(leaf, adding, home)
        for name, value in found.items():
            listings[name].update(value.encode() + b"  " + os.fsencode(unspell(leaf.path)) + b"\n")
    if adding.path.is_file():
        return found
    return {name: listing.hexdigest() for name, listing in listings.items()}


def _sums_of(leaf: Leaf, adding: Adding, home: Home) -> dict[str, str]:
    import hashlib

    hashers = {name: hashlib.new(name) for name in adding.checksums}
    place = adding.path.resolve() if adding.path.is_file() else adding.path / unspell(leaf.path)
    with home.store.open(leaf.entry.digest) if leaf.entry.kept else place.open("rb") as file:
        while block := file.read(READ_SIZE):
            for hasher in hashers.values():
                hasher.update(block)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def _check(adding: Adding, home: Home) -> None:
    path = adding.path
    if path.name.endswith(SUFFIX) and is_pointer(path):
        data = path.with_name(path.name.removesuffix(SUFFIX))
        raise UsageError(f"{shown(path)} is a pointer to data", hint=f"bis data add {shown(data)}")
    check_words(adding)
    if not path.exists():
        raise NotFound(f"{shown(path)} is not there", hint=f"ls {shown(path.parent)}")
    if not path.is_file() and not path.is_dir():
        raise UsageError(f"{shown(path)} is neither a file nor a folder", hint=f"ls -la {shown(path)}")
    if home.folder.resolve().is_relative_to(path.resolve()):
        what = f"{shown(path)} holds the store of bis itself"
        raise UsageError(what, hint="name the folder of the data: bis data add data/")


def check_words(adding: Adding) -> None:
    """Raises UsageError for a name, a tag or a checksum that cannot be."""
    for name in adding.checksums:
        if name not in ALGORITHMS:
            raise UsageError(f"{name!r} is no checksum that can be asked for", hint=f"one of: {', '.join(ALGORITHMS)}")
    for name in adding.tags:
        if not is_tag(name):
            raise UsageError(f"{name!r} cannot be a tag of a version", hint="--tag production")
    if adding.name and not is_data_name(adding.name):
        raise UsageError(
            f"{adding.name!r} cannot be the name of a data set",
            because="Names are letters, digits and ._+-, in words that slashes may join.",
            hint="bis data add PATH --name team/customers",
        )


def _name_for(path: Path, home: Home) -> str:
    """The name of a data set after its path. Raises UsageError where that name belongs to another path."""
    return free_name(default_name(path), source_of(path, home), shown(path), home)


def free_name(name: str, source: str, typed: str, home: Home) -> str:
    """The name, unless it belongs to data from another place: that raises UsageError."""
    there = home.ledger.data.versions(name)
    if there and there[0].version.source not in ("", source):
        by_reference = "--by-reference " if is_url(source) else ""
        raise UsageError(
            f"the data set {readable(name)} comes from {readable(there[0].version.source)}, not from {typed}",
            because="So this may be other data with the same name.",
            hint=f"bis data add {by_reference}{shlex.quote(typed)} --name {readable(name)}  if it is its next version;"
            " else another name",
        )
    return name


def default_name(path: Path) -> str:
    """`customers` for `data/customers.csv` and for `customers/`."""
    return name_after(path.name, single=path.is_file(), typed=shown(path))


def name_after(name: str, *, single: bool, typed: str) -> str:
    """The name of a data set after that of its file or folder."""
    if single:
        while Path(name).suffix in PACKED:
            name = Path(name).stem
        name = Path(name).stem
    name = "".join(letter if letter.isalnum() or letter in "._+-" else "-" for letter in name).strip(".-+")
    if not is_data_name(name):
        raise UsageError(f"no name can be made of {typed}", hint="bis data add PATH --name customers")
    return name


def _is_same(newest: DataVersion, taken: Taken, adding: Adding, home: Home) -> bool:
    """Whether the newest version has this content, and keeps as much of it."""
    if newest.single != taken.single:
        return False
    if is_url(taken.source) and newest.source != taken.source and not is_whole(newest, home):
        return False  # so that it is found where it lies now
    if newest.tree == taken.tree:
        return True
    if any(_differ(old, new) for _, old, new in difference(home.store, newest.tree, taken.tree)):
        return False
    return adding.by_reference or is_whole(newest, home)


def is_whole(version: DataVersion, home: Home) -> bool:
    """Whether all of its files are in the store."""
    return all(leaf.entry.kept for leaf in walk(home.store, version.tree))


def _differ(old: Entry | None, new: Entry | None) -> bool:
    """Whether a difference is one of files: folders that are empty, or have other permissions, make none."""
    ours = [identity(Leaf(path="", entry=one)) if one and one.kind != "tree" else None for one in (old, new)]
    return ours[0] != ours[1]


def identity(leaf: Leaf) -> tuple[str, str, bool, str]:
    entry = leaf.entry
    return entry.kind, entry.digest, bool(entry.mode & 0o100), entry.target


# -- saying ------------------------------------------------------------------------------------------------------


def _say_with(held: Held, adding: Adding, new: bool, taken: Taken, home: Home) -> Held:
    """What was said with a version that was there already lies beside it; of a new one, only its tags do."""
    said: dict[str, Any] = {}
    if tags := tuple(name for name in adding.tags if name not in held.tags):
        said["tags"] = tags
    if not new:
        wanted = tuple(name for name in adding.checksums if name not in held.checksums)
        if wanted:
            said["checksums"] = taken.sums(wanted)
        if taken.seen and held.version.source == taken.source and held.seen != taken.seen:
            said["seen"] = taken.seen
        if metadata := _unsaid(adding.metadata, held.metadata):
            said["metadata"] = metadata
        message = adding.message.strip()
        if message and message not in (held.version.message, *(one.note for one in held.notes)):
            said["note"] = message
    return say(held, home, **said) if said else held


def _unsaid(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def annotate(annotation: DataAnnotation, home: Home) -> None:
    record = home.store.put_bytes(canonical(annotation), "record")
    home.store.flush()
    home.ledger.data.annotate(annotation, record)
