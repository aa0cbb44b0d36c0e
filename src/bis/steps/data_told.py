"""What is known of data as JSON has it: in the commands' answers and in the pages'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bis.nouns.dataset import Held
from bis.nouns.tree import Leaf


def told(held: Held) -> dict[str, Any]:
    """A version: everything that is known of it."""
    version = held.version
    return {
        "name": version.name,
        "number": version.number,
        "reference": held.reference,
        "made": version.made,
        "stamp": version.stamp,
        "checksum": version.content,
        "checksums": held.checksums,
        "tree": version.tree,
        "single": version.single,
        "files": version.files,
        "size": version.size,
        "source": version.source,
        "user": version.user,
        "host": version.host,
        "message": version.message,
        "notes": [{"made": one.made, "user": one.user, "note": one.note} for one in held.notes],
        "metadata": held.metadata,
        "tags": held.tags,
        "removed": held.hidden,
        "record": held.record,
        "parent": version.parent or None,
    }


def sets_told(versions: Sequence[Held]) -> list[dict[str, Any]]:
    return [{"name": name, "versions": len(some), "latest": told(some[0])} for name, some in by_name(versions).items()]


def leaf_told(leaf: Leaf) -> dict[str, Any]:
    entry = leaf.entry
    found = {"path": leaf.path, "kind": entry.kind, "size": entry.size, "digest": entry.digest or None}
    return found | ({"target": entry.target} if entry.target else {}) | ({} if entry.kept else {"by_reference": True})


def by_name(versions: Sequence[Held]) -> dict[str, list[Held]]:
    """By the names of their data sets, which are sorted."""
    found: dict[str, list[Held]] = {}
    for one in versions:
        found.setdefault(one.version.name, []).append(one)
    return dict(sorted(found.items()))
