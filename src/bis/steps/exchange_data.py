"""The data part of a run with other bytes in place of those that it read: files as they are now, or a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec

from bis.digest import Digest, digest_value, readable, spell, unspell
from bis.errors import NotFound, UsageError
from bis.nouns.dataset import Held
from bis.nouns.part import Part
from bis.nouns.tree import Leaf
from bis.steps.bring import inside_of, is_one_file, leaves_of, located
from bis.steps.home import Home
from bis.steps.originals import original_of
from bis.store.snapshot import plant, put_leaves, walk

NAMED = 5


def data_from_path(path: Path, recorded: Part, home: Home) -> Part:
    """The recorded inputs with the bytes of the files at `path`: a folder with files of the same relative paths or
    names, or the one file that stands for the one input (or the input of its name)."""
    inputs = [row["path"] for row in recorded.facts["inputs"]]
    chosen = _stand_ins(path, inputs)
    if not chosen:
        raise NotFound(
            f"{path} holds no stand-in for any input of the run",
            because=f"The run read: {_names(inputs)}.",
            hint="name a folder that holds files with these names",
        )
    leaves = {leaf.path: leaf for leaf in put_leaves(sorted(chosen.items()), home.store, home.cache)}
    return _exchanged(recorded, leaves, frozenset(), home)


def data_from_version(held: Held, path: str, recorded: Part, home: Home) -> Part:
    """The recorded inputs with the files of a version, or of what lies at `path` in it.

    What the run read below the path that the data set was added from is replaced as a whole: files that the version has
    not are gone, and those that it has besides are there. Where the run read nothing there, inputs are matched by the
    names of their files. Raises UsageError where that could mean several, NotFound where it means none.
    """
    leaves = leaves_of(held, path, home)
    one = is_one_file(held, path, leaves)
    leaves = [leaf for leaf in leaves if leaf.entry.kind != "tree"]
    inputs = [row["path"] for row in recorded.facts["inputs"]]
    found = _by_source(held, path, leaves, inputs, home) or (_by_name(held, leaves, inputs), frozenset())
    chosen, gone = found
    if not chosen:
        version = readable(held.reference)
        raise NotFound(
            f"{version} holds no stand-in for any input of the run",
            because=f"It was added from {readable(held.version.source)} and holds"
            f" {_names([leaf.path for leaf in leaves])}. The run read: {_names(inputs)}.",
            hint=f"bis data get {version} DIR, give the files the names of the inputs, and --with data=DIR",
        )
    kept = {name: _kept(leaf, name, held, inside_of(path, one, leaf), home) for name, leaf in chosen.items()}
    return _exchanged(recorded, kept, gone, home)


# -- by the path that a data set was added from ------------------------------------------------------------------


def _by_source(
    held: Held, path: str, leaves: Sequence[Leaf], inputs: Sequence[str], home: Home
) -> tuple[dict[str, Leaf], frozenset[str]] | None:
    """Input -> file of the version, and the inputs that are gone; None where the run read nothing of the source."""
    earlier = [one.version for one in home.ledger.data.versions(held.version.name)]
    for version in (held.version, *earlier):
        if held.version.single:
            if version.single and version.source in inputs:
                return {version.source: leaves[0]}, frozenset()
            continue
        top = "/".join(filter(None, (version.source.rstrip("/"), path)))
        below = [name for name in inputs if name.startswith(f"{top}/")]
        if path and top in inputs:  # one file of the version
            return {top: leaves[0]}, frozenset()
        if below and not version.single:
            chosen = {f"{top}/{leaf.path}": leaf for leaf in leaves}
            return chosen, frozenset(below) - chosen.keys()
    return None


# -- by the names of files ---------------------------------------------------------------------------------------


def _by_name(held: Held, leaves: Sequence[Leaf], inputs: Sequence[str]) -> dict[str, Leaf]:
    chosen: dict[str, Leaf] = {}
    for name in inputs:
        alike = [leaf for leaf in leaves if _last(leaf.path) == _last(name)]
        best = max((_shared(leaf.path, name) for leaf in alike), default=0)
        nearest = [leaf for leaf in alike if _shared(leaf.path, name) == best]
        if len(nearest) > 1:
            raise _ambiguous(held, [leaf.path for leaf in nearest], name)
        if nearest:
            chosen[name] = nearest[0]
    taken: dict[str, str] = {}
    for name, leaf in chosen.items():
        if leaf.path in taken:
            raise _ambiguous(held, [taken[leaf.path], name], leaf.path)
        taken[leaf.path] = name
    return chosen


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _shared(first: str, second: str) -> int:
    """How many names two paths share at their ends."""
    count = 0
    for one, other in zip(reversed(first.split("/")), reversed(second.split("/")), strict=False):
        if one != other:
            break
        count += 1
    return count


def _ambiguous(held: Held, names: Sequence[str], other: str) -> UsageError:
    return UsageError(
        f"{_names(names)} could each be {readable(other)}",
        because=f"{readable(held.reference)} was added from {readable(held.version.source)}, of which the run read"
        " nothing, so that only the names of files can be matched.",
        hint=f"bis data get {readable(held.reference)} DIR, with files named like the inputs, and --with data=DIR",
    )


# -- the part ----------------------------------------------------------------------------------------------------


def _kept(leaf: Leaf, name: str, held: Held, inside: str, home: Home) -> Leaf:
    """The leaf under the name of an input, with its bytes in the store; one by reference that lies where the run read
    it may stay there, and is checked when it is brought."""
    entry = leaf.entry
    if entry.kind == "file" and not entry.kept:
        original = original_of(held.version, inside, home)
        if home.store.has(entry.digest):
            entry = msgspec.structs.replace(entry, kept=True)
        elif original != home.project / unspell(name):
            with nullcontext(original) if isinstance(original, Path) else located(held, inside, home) as place:
                home.store.put_file(place, expected=entry.digest)
            entry = msgspec.structs.replace(entry, kept=True)
    return Leaf(path=name, entry=msgspec.structs.replace(entry, name=_last(name)))


def _exchanged(recorded: Part, leaves: Mapping[str, Leaf], gone: frozenset[str], home: Home) -> Part:
    rows = {row["path"]: dict(row) for row in recorded.facts["inputs"] if row["path"] not in gone}
    for name, leaf in leaves.items():
        if leaf.entry.kind == "file":
            taken = {"digest": leaf.entry.digest, "size": leaf.entry.size, "how": "taken", "kept": leaf.entry.kept}
            rows[name] = rows.get(name, {"path": name, "read": False}) | taken
    there = {name: leaf for name, leaf in _leaves(recorded, home) if name not in gone} | dict(leaves)
    ordered = [rows[name] for name in sorted(rows)]
    counted = [row for row in ordered if row["read"] or row["how"] in ("declared", "taken")]
    return msgspec.structs.replace(
        recorded,
        digest=digest_value([(row["path"], row["digest"]) for row in counted]),
        trees=_trees(there, home),
        facts={**recorded.facts, "inputs": ordered},
    )


def _leaves(recorded: Part, home: Home) -> list[tuple[str, Leaf]]:
    found = []
    for role, start in (("project", ""), ("outside", "/")):
        if role in recorded.trees:
            found += [(start + leaf.path, leaf) for leaf in walk(home.store, recorded.trees[role])]
    return found


def _trees(leaves: Mapping[str, Leaf], home: Home) -> dict[str, Digest]:
    found = {}
    for role, inside in (("project", False), ("outside", True)):
        some = [
            msgspec.structs.replace(leaf, path=name.lstrip("/"))
            for name, leaf in sorted(leaves.items())
            if name.startswith("/") == inside
        ]
        if some:
            found[role] = plant(some, home.store)
    return found


def _stand_ins(path: Path, inputs: Sequence[str]) -> dict[str, Path]:
    """Input -> the file that stands for it: that of its path, else that of its name. Raises UsageError for a file of a
    folder that could stand for several; of a single file, there is none then."""
    if path.is_file():
        alike = [name for name in inputs if _last(name) == spell(path.name)] or inputs
        return {alike[0]: path} if len(alike) == 1 else {}
    found, by_name = dict[str, Path](), dict[Path, list[str]]()
    for name in inputs:
        own, bare = path / unspell(name).lstrip("/"), path / unspell(_last(name))
        if own.is_file():
            found[name] = own
        elif bare.is_file():
            by_name.setdefault(bare, []).append(name)
    for place, names in by_name.items():
        if place in found.values():  # it stands for the input of that very path
            continue
        if len(names) > 1:
            raise UsageError(
                f"{place} could stand for each of {_names(names)}",
                because="Only their names are matched, as the folder has nothing at their paths.",
                hint=f"put the files where they are in the project, as in {path / unspell(names[0])}",
            )
        found[names[0]] = place
    return found


def _names(names: Sequence[str]) -> str:
    told = ", ".join(readable(name) for name in names[:NAMED]) or "nothing"
    return told if len(names) <= NAMED else f"{told} and {len(names) - NAMED} more"
