"""Files that were recorded by reference: where they lie, whether they are still what was recorded, and their bytes."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from bis.digest import Digest, digest_file, readable, short, unspell
from bis.errors import CannotRepeat, NotFound, explains
from bis.nouns.dataset import DataVersion, Held, is_url
from bis.nouns.tree import Leaf
from bis.steps.home import Home
from bis.steps.trust import servers
from bis.steps.urls import below, open_source
from bis.store.local import digest_of
from bis.store.snapshot import put_leaves
from bis.store.sources import Source
from bis.store.trouble import shown

CHANGED_THERE = explains("B065", "What lies at the URL of a version by reference is not what was recorded.")
NAMEABLE: Final = 64 << 20
"""A file up to this size is read to tell its digest, where its size shows already that it is another."""


class Elsewhere(NamedTuple):
    """A file at a URL."""

    source: Source
    path: str

    @property
    def url(self) -> str:
        return below(self.source.url, readable(self.path))


Original = Path | Elsewhere
Told = Callable[[str, int, int], None]
"""Called with what is being done, bytes of it that are done, and all of them, as far as is known."""


def original_of(version: DataVersion, path: str, home: Home) -> Original:
    """Where a file of a version lay when it was added. A single file is its source."""
    if is_url(version.source):
        return Elsewhere(
            open_source(
                version.source, version.source, home.variables, servers(home.project, home.settings, home.variables)
            ),
            path,
        )
    source = home.project / unspell(version.source)
    return source if version.single else source / unspell(path)


def originals_of(held: Held, paths: Mapping[str, Leaf], home: Home) -> dict[str, Original]:
    """Where the files at these paths of a version lie. Raises CannotRepeat for one of which it shows already that it is
    not what was recorded: on this disk all are read for that, elsewhere the server is asked once."""
    if not paths:
        return {}
    if is_url(held.version.source):
        source = open_source(
            held.version.source,
            held.version.source,
            home.variables,
            servers(home.project, home.settings, home.variables),
        )
        places = {path: Elsewhere(source, path) for path in paths}
        _look(held, places, paths)
        return dict(places)
    found = {path: original for path in paths if isinstance(original := original_of(held.version, path, home), Path)}
    _compare(held, found, paths, home)
    return dict(found)


def _compare(held: Held, places: Mapping[str, Path], wanted: Mapping[str, Leaf], home: Home) -> None:
    now = {leaf.path: leaf for leaf in put_leaves(sorted(places.items()), None, home.cache)}
    wrong = [path for path in places if path not in now or now[path].entry.digest != wanted[path].entry.digest]
    if wrong:
        raise _changed(held, wanted[wrong[0]], places[wrong[0]], len(wrong))


def _look(held: Held, places: Mapping[str, Elsewhere], wanted: Mapping[str, Leaf]) -> None:
    one = next(iter(places.values()))
    try:
        there = one.source.list()[1] if len(places) > 1 else {one.path: one.source.look(one.path)}
    except NotFound:
        there = {}
    for path, place in places.items():
        sight = there.get(path)
        if sight is None:
            raise _gone(held, wanted[path], place)
        if sight.size >= 0 and sight.size != wanted[path].entry.size:
            digest = _digest(place) if sight.size <= NAMEABLE else Digest("")
            raise _other(held, wanted[path], place, digest, sight.size)


def copy_original(held: Held, leaf: Leaf, original: Original, place: Path) -> None:
    """Put a file by reference at `place`, and look at what came: it may change between two looks."""
    if isinstance(original, Elsewhere):
        _download(held, leaf, original, place)
    else:
        _copy(held, leaf, original, place)
    place.chmod(leaf.entry.mode)


def _copy(held: Held, leaf: Leaf, original: Path, place: Path) -> None:
    try:
        shutil.copyfile(original, place)
        digest = digest_file(place)
    except FileNotFoundError:
        digest = Digest("")
    if digest != leaf.entry.digest:
        place.unlink(missing_ok=True)
        raise _changed(held, leaf, original)


def _download(held: Held, leaf: Leaf, original: Elsewhere, place: Path) -> None:
    hasher, size = blake3(), 0
    try:
        with place.open("wb") as file:
            for block in original.source.read(original.path)[1]:
                hasher.update(block)
                size += file.write(block)
    except NotFound:
        place.unlink(missing_ok=True)
        raise _gone(held, leaf, original) from None
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    if (digest := digest_of(hasher.digest())) != leaf.entry.digest:
        place.unlink(missing_ok=True)
        raise _other(held, leaf, original, digest, size)


def _digest(place: Elsewhere) -> Digest:
    hasher = blake3()
    for block in place.source.read(place.path)[1]:
        hasher.update(block)
    return digest_of(hasher.digest())


# -- what is not as it was ---------------------------------------------------------------------------------------


def _changed(held: Held, leaf: Leaf, original: Path, count: int = 1) -> CannotRepeat:
    """The error for a file on this disk that is not there any more as it was."""
    try:
        size: int | None = original.stat().st_size
    except OSError:
        size = None
    now = "it is not there any more" if size is None else f"it has changed: {size:,} bytes now"
    more = f", and {count - 1} other files are not as they were" if count > 1 else ""
    return CannotRepeat(
        f"{shown(original)} was recorded by reference, and {now}{more}",
        because=_recorded(leaf),
        hint="put the file back as it was"
        + (f", or keep what is there now: bis data add {readable(held.version.source)}" if size is not None else ""),
    )


def _other(held: Held, leaf: Leaf, place: Elsewhere, digest: Digest, size: int) -> CannotRepeat:
    found = f"{size:,} bytes" + (f", b3:{short(digest)}" if digest else "")
    return CannotRepeat(
        f"{place.url} is not what {readable(held.reference)} recorded: found {found}",
        because=_recorded(leaf),
        hint=f"{_again(held)}  makes what is there now a new version",
        code=CHANGED_THERE,
    )


def _gone(held: Held, leaf: Leaf, place: Elsewhere) -> CannotRepeat:
    return CannotRepeat(
        f"{place.url} was recorded by reference, and it is not there any more",
        because=_recorded(leaf),
        hint=f"bis data log {readable(held.version.name)}  lists other versions; where the file lies elsewhere now:"
        f" bis data add --by-reference URL --name {readable(held.version.name)}",
        code=CHANGED_THERE,
    )


def _again(held: Held) -> str:
    words = ["bis", "data", "add", "--by-reference", held.version.source, "--name", held.version.name]
    return shlex.join(map(readable, words))


def _recorded(leaf: Leaf) -> str:
    return f"Recorded were {leaf.entry.size:,} bytes, b3:{short(leaf.entry.digest)}; the store has no copy."
