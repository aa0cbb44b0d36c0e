"""What is different about two environments, ingredient by ingredient."""

from __future__ import annotations

from collections.abc import Sequence

from bis.digest import Digest, short
from bis.errors import BisError
from bis.nouns.part import Change, Part, PartKind
from bis.parts.conda import conda_digest
from bis.parts.installed import Installed
from bis.parts.interpreter import python_of, title
from bis.parts.library import differing
from bis.parts.pylock import packages_of
from bis.store import Store
from bis.store.snapshot import difference, walk

KIND: PartKind = "environment"
NAMED = 5
"""So many names in one sentence."""


def interpreter_changes(before: Part, after: Part) -> list[Change]:
    changes = []
    old, new = python_of(before), python_of(after)
    for name, get in (("python", title), ("abi", lambda python: python.abi)):
        was, now = (get(python) if python else None for python in (old, new))
        if was != now:
            changes.append(Change(kind=KIND, name=name, before=was, after=now))
    if old is None and new is None:
        programs = [str(part.facts.get("program", {}).get("digest")) for part in (before, after)]
        changes.append(Change(kind=KIND, name=before.summary, before=programs[0], after=programs[1]))
    return changes


def package_changes(before: Part, after: Part, store: Store) -> list[Change]:
    try:
        old, new = ({item.name: item for item in packages_of(part, store)} for part in (before, after))
    except (BisError, ValueError) as error:
        return [Change(kind=KIND, name="packages", detail=f"the set cannot be read: {error}")]
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was and now and was.identity == now.identity:
            continue
        versions = [item.version if item else None for item in (was, now)]
        detail = _why(was, now, store) if was and now else ""
        changes.append(Change(kind=KIND, name=name, before=versions[0], after=versions[1], detail=detail))
    return changes


def _why(was: Installed, now: Installed, store: Store) -> str:
    """What is different about a package whose version is the same."""
    if was.version != now.version:
        return ""
    if was.tree != now.tree and was.tree and now.tree:
        try:
            return f"its source differs: {a_few([path for path, _, _ in difference(store, was.tree, now.tree)])}"
        except BisError:
            return "its source differs"
    return "same version, other files"


def a_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are: the facts hold all."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def library_changes(before: Part, after: Part, store: Store) -> list[Change]:
    """Files of the standard library that differ though the interpreters are of one version."""
    lists = [part.trees.get("library") for part in (before, after)]
    pythons = [python_of(part) for part in (before, after)]
    if lists[0] is None or lists[1] is None or lists[0] == lists[1] or not all(pythons):
        return []
    if len({(python.implementation, python.version) for python in pythons if python}) > 1:
        return []
    try:
        rows = differing(lists[0], lists[1], store)
    except BisError as error:
        return [Change(kind=KIND, name="standard library", detail=f"what ran of it cannot be read: {error}")]
    return [
        Change(kind=KIND, name=f"standard library {path}", before=short(old), after=short(new))
        for path, old, new in rows
    ]


def patched_changes(before: Part, after: Part, store: Store) -> list[Change]:
    """Files edited in place, in one of the two or differently in both."""
    old, new = before.trees.get("patched", ""), after.trees.get("patched", "")
    if old == new:
        return []
    rows: list[dict[str, Digest]] = []
    for tree in (old, new):
        leaves = walk(store, Digest(tree)) if tree else ()
        rows.append({leaf.path: leaf.entry.digest for leaf in leaves})
    return [
        Change(kind=KIND, name=path, before=_edit(rows[0].get(path)), after=_edit(rows[1].get(path)))
        for path in sorted(rows[0].keys() | rows[1].keys())
        if rows[0].get(path) != rows[1].get(path)
    ]


def _edit(digest: str | None) -> str:
    return f"edited in place ({short(digest)})" if digest else "as installed"


def other_changes(before: Part, after: Part) -> list[Change]:
    """What nothing else tells: interpreters beside the main one, and what conda lists."""
    return [
        Change(kind=KIND, name=name, before=of(before), after=of(after))
        for name, of in (("others", _others), ("conda", _conda))
        if of(before) != of(after)
    ]


def _others(part: Part) -> str:
    return ", ".join(sorted(f"Python {row['version']} {short(row['digest'])}" for row in part.facts.get("others", ())))


def _conda(part: Part) -> str:
    rows = part.facts.get("conda", ())
    return short(conda_digest(rows)) if rows else ""


def minor_changes(before: Part, after: Part) -> list[Change]:
    """What differs without being another environment: where it lies, and who built the interpreter."""
    old, new = before.facts.get("python", {}), after.facts.get("python", {})
    return [
        Change(kind=KIND, name=name, before=old.get(name), after=new.get(name), weight="minor")
        for name in ("prefix", "origin", "digest")
        if old.get(name) != new.get(name)
    ]
