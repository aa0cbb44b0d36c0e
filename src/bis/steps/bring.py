"""Bring the files of a version: from the store, or, where they were recorded by reference, from where they lie.

A file by reference is checked when it is used: nothing is handed out that is not what was recorded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from bis.digest import READ_SIZE, Digest, readable, unspell
from bis.errors import NotFound, UsageError
from bis.nouns.dataset import Held
from bis.nouns.tree import Leaf
from bis.steps.home import Home
from bis.steps.shallow import need
from bis.store.crew import in_order
from bis.store.drafts import drafting
from bis.store.fill import clear, fill
from bis.store.snapshot import find_leaf, put_leaves, walk
from bis.store.trouble import IN_THE_WAY, shown, trouble

if TYPE_CHECKING:
    from bis.steps.meeting import Told
    from bis.steps.originals import Original

IN_MEMORY = 16 << 20
"""A file up to this size is checked in memory before a byte of it is handed out, a larger one in a temporary file."""
NAMED = 3
AT_ONCE = 8
"""Files that are fetched from elsewhere."""


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What bringing files did."""

    into: Path
    """The folder; or the file, where one was asked for."""
    written: int = 0
    replaced: int = 0
    same: int = 0
    """Were there already, with the same content."""
    others: int = 0
    """Lie there and are not of the version; they were left alone."""
    size: int = 0
    """Bytes written."""


def leaves_of(held: Held, path: str, home: Home) -> list[Leaf]:
    """Files, links and folders of a version, or of a folder in it, paths relative to that; of a file, it alone.
    Raises NotFound with what lies nearby."""
    top: Digest = held.version.tree
    if path:
        leaf = find_leaf(home.store, top, path)
        if leaf is None:
            raise _no_file(held, path, home)
        if leaf.entry.kind != "tree":
            return [msgspec.structs.replace(leaf, path=leaf.entry.name)]
        top = leaf.entry.digest
    return list(walk(home.store, top, folders=True))


def is_one_file(held: Held, path: str, leaves: Sequence[Leaf]) -> bool:
    """Whether what was asked for is a file, not a folder that holds one."""
    if not path:
        return held.version.single
    return len(leaves) == 1 and leaves[0].entry.kind != "tree" and leaves[0].path == path.rpartition("/")[2]


def inside_of(path: str, one: bool, leaf: Leaf) -> str:
    """The path in the version of a leaf that `leaves_of` found by `path`, as the one file or in a folder."""
    if one:
        return path or leaf.entry.name
    return f"{path}/{leaf.path}".lstrip("/")


def bring(
    held: Held,
    path: str,
    into: Path,
    home: Home,
    *,
    force: bool = False,
    name: str = "",
    ours: str = "",
    told: Told = lambda text, done, total: None,
) -> Brought:
    """Put a version, or what lies at `path` in it, below the folder `into`; one file by itself gets `name`, if given.

    What is there with the same content stays. Anything else that is in the way raises UsageError before a byte is
    written, unless told to `force`; what the version does not have is never touched. `ours` is how a person would ask.
    """
    leaves = leaves_of(held, path, home)
    one = is_one_file(held, path, leaves)
    if one and name:
        leaves = [msgspec.structs.replace(leaf, path=name) for leaf in leaves]
    files = [leaf for leaf in leaves if leaf.entry.kind != "tree"]
    clear(leaves, into)
    empty = _is_empty(into)
    same = set() if empty else _same(files, into, home)
    there = [] if empty else [leaf for leaf in leaves if leaf.path not in same and _in_the_way(leaf, into)]
    _refuse(there, into, force, ours)
    need(home, (leaf.entry.digest for leaf in files if leaf.entry.kept and leaf.path not in same), told)
    originals = _originals(held, path, one, [leaf for leaf in files if leaf.path not in same], home)
    replaced = {leaf.path for leaf in there}
    made: set[Path] = set()
    try:
        missing = [leaf for leaf in leaves if leaf.path not in same]
        here = fill(home.store, [leaf for leaf in missing if leaf.path not in originals], into, over=force)
        into.mkdir(parents=True, exist_ok=True)
        away = [leaf for leaf in missing if leaf.path in originals]
        near = [leaf for leaf in away if isinstance(originals[leaf.path], Path)]
        far = [leaf for leaf in away if not isinstance(originals[leaf.path], Path)]
        for leaf in here + near:
            _put(held, leaf, into / unspell(leaf.path), originals.get(leaf.path), home, made)
        _fetch(far, lambda leaf: _put(held, leaf, into / unspell(leaf.path), originals[leaf.path], home, made), told)
    except OSError as error:
        raise trouble(error, "write", Path(error.filename or into)) from error
    todo = [leaf for leaf in files if leaf.path not in same]
    return Brought(
        into=into / unspell(leaves[0].path) if one else into,
        written=len(todo) - len(replaced),
        replaced=len(replaced),
        same=len(same),
        others=0 if one or empty else _others(into, {leaf.path for leaf in files}),
        size=sum(leaf.entry.size for leaf in todo),
    )


@contextmanager
def opened(held: Held, path: str, home: Home) -> Iterator[Iterator[bytes]]:
    """The bytes of one file of a version, all of them checked before the first is handed out."""
    leaf = _file(held, path, home)
    if home.store.has(leaf.entry.digest) and leaf.entry.size <= IN_MEMORY:
        yield iter((home.store.get_bytes(leaf.entry.digest),))
        return
    with located(held, path, home) as place, place.open("rb") as file:
        yield _blocks(file)


@contextmanager
def located(held: Held, path: str, home: Home) -> Iterator[Path]:
    """One file of a version as a file with its own name, checked, in a temporary folder."""
    from bis.store.temporary import temporary

    leaf = _file(held, path, home)
    with temporary("data") as folder:
        place = folder / unspell(leaf.entry.name)
        if home.store.has(leaf.entry.digest):
            home.store.get_file(leaf.entry.digest, place)
        else:
            from bis.steps.originals import copy_original, original_of

            copy_original(held, leaf, original_of(held.version, path or leaf.entry.name, home), place)
        yield place


# -- from the store, or from where it lies -----------------------------------------------------------------------


def _put(held: Held, leaf: Leaf, place: Path, original: Original | None, home: Home, made: set[Path]) -> None:
    """`made` are the folders that are there by now."""
    folder = place if leaf.entry.kind == "tree" else place.parent
    if folder not in made:
        folder.mkdir(parents=True, exist_ok=True)
        made.add(folder)
    if leaf.entry.kind == "tree":
        return
    if original is None and not os.path.lexists(place):  # the store has drafts of its own
        _make(held, leaf, place, None, home)
        return
    with drafting(os.fspath(folder)) as drafts:
        fresh = Path(drafts, "file")
        _make(held, leaf, fresh, original, home)
        fresh.replace(place)


def _make(held: Held, leaf: Leaf, place: Path, original: Original | None, home: Home) -> None:
    if leaf.entry.kind == "link":
        place.symlink_to(unspell(leaf.entry.target))
    elif original is None:
        home.store.get_file(leaf.entry.digest, place, leaf.entry.mode)
    else:
        from bis.steps.originals import copy_original

        copy_original(held, leaf, original, place)


def _fetch(far: Sequence[Leaf], put: Callable[[Leaf], None], told: Told) -> None:
    """What lies elsewhere, several files at once."""

    def one(leaf: Leaf) -> int:
        put(leaf)
        return leaf.entry.size

    if not far:
        return
    done, total = 0, sum(leaf.entry.size for leaf in far)
    for size in in_order(one, far, AT_ONCE):
        done += size
        told("fetched", done, total)


def _originals(held: Held, path: str, one: bool, files: Sequence[Leaf], home: Home) -> dict[str, Original]:
    """Where the files that are not in the store lie. Raises CannotRepeat, before anything is written, for those of
    which it shows that they are not what was recorded."""
    away = {
        inside_of(path, one, leaf): leaf
        for leaf in files
        if leaf.entry.kind == "file" and not leaf.entry.kept and not home.store.has(leaf.entry.digest)
    }
    if not away:
        return {}
    from bis.steps.originals import originals_of

    found = originals_of(held, away, home)
    return {leaf.path: found[inside] for inside, leaf in away.items()}


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(READ_SIZE):
        yield block


# -- what is there already ---------------------------------------------------------------------------------------


def _same(files: Sequence[Leaf], into: Path, home: Home) -> set[str]:
    """The files that are there with the same content; one that was not touched since is not read again."""
    wanted = {leaf.path: leaf.entry for leaf in files}
    there = [(path, into / unspell(path)) for path in wanted if os.path.lexists(into / unspell(path))]
    there = [(path, place) for path, place in there if place.is_symlink() or place.is_file()]
    found = put_leaves(there, None, home.cache)
    return {
        leaf.path
        for leaf in found
        if (leaf.entry.kind, leaf.entry.digest, leaf.entry.target)
        == (wanted[leaf.path].kind, wanted[leaf.path].digest, wanted[leaf.path].target)
    }


def _is_empty(into: Path) -> bool:
    """Whether nothing is there yet, so that nobody's files have to be looked for one by one. What comes meanwhile is
    not overwritten: a file is put under a name only while it is free."""
    try:
        with os.scandir(into) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return not into.is_symlink()
    except NotADirectoryError:
        return False


def _in_the_way(leaf: Leaf, into: Path) -> bool:
    """Whether something else lies there; for a folder, whatever is no folder: nothing is written through a link."""
    place = into / unspell(leaf.path)
    if not os.path.lexists(place):
        return False
    return leaf.entry.kind != "tree" or place.is_symlink() or not place.is_dir()


def _refuse(there: Sequence[Leaf], into: Path, force: bool, ours: str) -> None:
    blocked = [leaf for leaf in there if leaf.entry.kind == "tree" or (into / unspell(leaf.path)).is_dir()]
    if not there or (force and not blocked):
        return
    names = ", ".join(readable(leaf.path) for leaf in (blocked or there)[:NAMED])
    more = f" and {len(blocked or there) - NAMED} more" if len(blocked or there) > NAMED else ""
    if blocked:
        place = shown(into / unspell(blocked[0].path))
        raise UsageError(
            f"{names}{more} in {shown(into)}: a file is in the way of a folder, or a folder of a file",
            because="Nothing was written.",
            hint=f"mv {place} {place}.old",
            code=IN_THE_WAY,
        )
    raise UsageError(
        f"{names}{more} in {shown(into)} {'has' if len(there) == 1 else 'have'} other content",
        because="Nothing was written: what is there may be in no version.",
        hint=f"{ours} --force  to put the version in its place, or name another folder",
        code=IN_THE_WAY,
    )


def _others(into: Path, known: set[str]) -> int:
    names = {unspell(path) for path in known}
    count = 0
    for folder, _, files in os.walk(into):
        inside = os.path.relpath(folder, into)
        count += sum((name if inside == "." else f"{inside}/{name}") not in names for name in files)
    return count


# -- what is not there -------------------------------------------------------------------------------------------


def _file(held: Held, path: str, home: Home) -> Leaf:
    """The one file that is meant. Raises UsageError for a folder."""
    if not path and held.version.single:
        path = next(walk(home.store, held.version.tree)).path
    leaf = find_leaf(home.store, held.version.tree, path) if path else None
    if path and leaf is None:
        raise _no_file(held, path, home)
    if leaf is None or leaf.entry.kind != "file":
        kind = "a link" if leaf and leaf.entry.kind == "link" else "a folder"
        first = next((each.path for each in leaves_of(held, path, home) if each.entry.kind == "file"), "FILE")
        inside = f"{path}/{first}" if path else first
        what = f"{readable(held.reference)}{f'/{readable(path)}' if path else ''} is {kind}, not a file"
        raise UsageError(what, hint=f"name a file in it: {readable(held.reference)}/{readable(inside)}")
    if leaf.entry.kept:
        need(home, [leaf.entry.digest])
    return leaf


def _no_file(held: Held, path: str, home: Home) -> NotFound:
    from difflib import get_close_matches

    names = [leaf.path for leaf in walk(home.store, held.version.tree)]
    near = get_close_matches(path, names, 1, 0.5) or [name for name in names if name.rpartition("/")[2] == path][:1]
    return NotFound(
        f"{readable(held.reference)} has no {readable(path)}",
        because=f"Did you mean {readable(near[0])}?" if near else "",
        hint=f"bis data ls {readable(held.reference)}",
    )
