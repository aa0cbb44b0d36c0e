"""What a file means, as a digest: the same for a model that is saved twice, though its bytes may not be.

As `registry.compare` sees it, where a file can be told alone: skops without addresses, pickles as the values that they
describe, PyTorch's files without their name, zips by members without times. All else is its bytes. Two files of one
digest mean the same; two of the same meaning may, rarely, have two digests, which is the safe way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bis.digest import Digest, digest_bytes, digest_file, digest_value
from bis.formats import DEPTH, HEAD, WHOLE, Budget, Unreadable
from bis.formats.archives import ZIP, Box, copy_member, open_zip, zip_box
from bis.formats.bundles import graph_of
from bis.formats.documents import KERAS, read_bounded, read_json
from bis.formats.pickles import PACKED, SUFFIXES, VOLATILE, Pickle, read_all
from bis.formats.skops import tree_of
from bis.formats.tensors import IGNORED, objects_of, sorted_constants, with_tensors
from bis.formats.values import Pairs, fingerprint
from bis.store.temporary import temporary

PICKLE = Pickle(with_tensors)
SKELETONS = ("_make_skeleton_class", "_make_skeleton_enum")
"""How cloudpickle makes classes of a script, each under an id that it draws in each process."""
ID = re.compile("[0-9a-f]{32}")
PLACES = ("what", "args", "state", "items", "pairs")
KERAS_FILES = ("config.json", "metadata.json")


def meaning(path: Path, name: str = "", budget: Budget | None = None, depth: int = 0) -> Digest:
    """The digest of what a file means. `name`: what it is called, where it lies under another name. Nothing in it is
    run. Raises OSError where it cannot be read."""
    called = name or path.name
    with path.open("rb") as file:
        head = file.read(HEAD)
    read = _reader(called, head, budget or Budget()) if depth <= DEPTH else None
    if read is not None and path.stat().st_size <= WHOLE:
        try:
            return read(path, depth)
        except (Unreadable, RecursionError, ValueError, LookupError, TypeError, EOFError):
            pass  # a damaged file is known by its bytes
    return digest_file(path)


def _reader(name: str, head: bytes, budget: Budget) -> Callable[[Path, int], Digest] | None:
    if head.startswith(ZIP):
        return lambda path, depth: _of_zip(path, budget, depth)
    if name.rpartition("/")[2] in KERAS_FILES and (b'"registered_name"' in head or b'"keras_version"' in head):
        return lambda path, depth: _of_tree("Keras", _without(read_json(path.read_bytes()), KERAS))
    if name.rpartition("/")[2] == "saved_model.pb":
        return lambda path, depth: _of_tree("SavedModel", graph_of(read_bounded(path, WHOLE)))
    if name.rpartition("/")[2] == "fingerprint.pb":
        return lambda path, depth: digest_bytes(b"checksums of the files beside it")
    if name.startswith("code/__torch__") and name.endswith(".debug_pkl"):
        return lambda path, depth: digest_bytes(b"places in the source of a script")
    if name.startswith("code/__torch__") and name.endswith(".py"):
        return lambda path, depth: digest_bytes(sorted_constants(read_bounded(path, WHOLE)))
    if PICKLE.recognises(name, head):
        return lambda path, depth: _of_tree("pickle", [with_tensors(one) for one in read_all(path)])
    if head.startswith(PACKED) and name.lower().endswith(SUFFIXES):
        return lambda path, depth: _of_tree("pickle", [with_tensors(one) for one in read_all(path, packed=True)])
    return None


def _of_zip(path: Path, budget: Budget, depth: int) -> Digest:
    with open_zip(path) as box:
        if "schema.json" in box.namelist():
            return _of_tree("skops", tree_of(box))
        members = zip_box(box)
        pickled = {name: objects_of(members, name) for name in ("data.pkl", "constants.pkl") if name in members.members}
        told = {*pickled, *(member for _, inner in pickled.values() for member in inner)}
        objects = {name: _of_tree("PyTorch", tree) for name, (tree, _) in pickled.items()}
        return digest_value({**objects, **_of_members(members, told | IGNORED.keys(), budget, depth)})


def _of_members(box: Box, told: set[str], budget: Budget, depth: int) -> dict[str, list[str]]:
    """The meaning of each member that is not told yet."""
    found = {}
    with temporary("meaning") as folder:
        for name, member in box.members.items():
            if name not in told:
                copy_member(member, folder / "member", budget)
                found[name] = [member.what, meaning(folder / "member", name, budget, depth + 1)]
    return found


def _of_tree(kind: str, tree: Any) -> Digest:
    return digest_bytes(kind.encode() + b"\0" + fingerprint(_without(tree, VOLATILE)))


def _without(tree: Any, volatile: Any) -> Any:
    """The tree, in place, without the keys that say nothing of the result."""
    stack, seen = [tree], set()
    while stack:
        node = stack.pop()
        if id(node) in seen or isinstance(node, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            for key in [key for key, value in node.items() if _is_volatile(key, value, volatile)]:
                del node[key]
            stack.extend(node.values())
        elif isinstance(node, Pairs):
            node.items = [(key, value) for key, value in node.items if not _is_volatile(key, value, volatile)]
            stack.extend(value for _, value in node.items)
        elif isinstance(node, (list, tuple)):
            stack.extend(node)
        else:
            if getattr(getattr(node, "what", None), "name", "") in SKELETONS and isinstance(node.args, tuple):
                node.args = tuple("" if isinstance(one, str) and ID.fullmatch(one) else one for one in node.args)
            stack.extend(getattr(node, name) for name in PLACES if hasattr(node, name))
    return tree


def _is_volatile(key: Any, value: Any, volatile: Any) -> bool:
    return isinstance(key, str) and key in volatile and isinstance(value, volatile[key].kinds)
