"""Which file of which Quilt package an input is, by the manifests of the registries on this machine.

Quilt notes nowhere where `quilt3 install` put the files of a package. A file is one of a package when its path is the
physical key, or where packages are installed by default, whatever is in it now; and when the end of its path is the
logical key and its bytes are those that the manifest names.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from bis.digest import spell
from bis.errors import UsageError
from bis.foreign import is_inside, quilt

MOST_MANIFESTS: Final = 64 << 20
"""Bytes: so much of manifests is looked through in one run, those of the newest versions first."""
CONFIG: Final = "config.yml"

State = Literal["same", "changed", "unchecked"]
Held = Callable[[quilt.Hash], State]
"""Whether the bytes that were read have a hash; `unchecked` where that was not looked at."""


class _Line(msgspec.Struct):
    """What is needed of a line of a manifest. The first one, about the package, has no logical key."""

    logical_key: str = ""
    physical_keys: tuple[str, ...] = ()
    size: int | None = None
    hash: quilt.Hash | None = None


class _Member(NamedTuple):
    """A file of a package, in one of its versions."""

    registry: Path
    package: str
    top: str
    inside: str
    hash: quilt.Hash


class _Index(NamedTuple):
    """The files of the packages of a registry, those of the newest versions first."""

    places: dict[Path, list[_Member]]
    """By where they lie, as the registry knows it."""
    names: dict[tuple[str, int], list[_Member]]
    """By last name and size."""


class Packages:
    """Looks files up; what a registry holds is read once."""

    def __init__(self, base: Path, read: Iterable[Path]) -> None:
        """`base`: where Quilt keeps what is its own. `read`: the files that the run read: a manifest among them says
        which version was meant."""
        self._meant = {path.name for path in read if path.match(f"{quilt.ROOT}/packages/*")}
        self._own, self._install = _configured(base)
        self._left = MOST_MANIFESTS
        self._known: dict[Path, _Index] = {}
        self._above: dict[Path, tuple[Path, ...]] = {}
        self._sound: dict[tuple[Path, str], bool] = {}

    def at(self, place: Path, size: int, held: Held) -> dict[str, str] | None:
        """What a file is in a package: `package`, `top`, `inside` (its logical key) and `state`; None when in none."""
        indices = [self._index(registry) for registry in (*self._around(place.parent), self._own)]
        there = self._ranked(one for index in indices for one in index.places.get(place, ()))
        alike = self._ranked(one for index in indices for one in index.names.get((place.name, size), ()))
        states: dict[quilt.Hash, State] = {}
        for one in (*there, *(one for one in alike if _ends_so(place, one.inside))):
            states[one.hash] = states.get(one.hash) or held(one.hash)
            if states[one.hash] == "same" and self._is_sound(one):
                return _told(one, "same")
        first = next((one for one in there if self._is_sound(one)), None)
        return _told(first, states[first.hash]) if first else None

    def _ranked(self, members: Iterable[_Member]) -> list[_Member]:
        return sorted(members, key=lambda one: one.top not in self._meant)

    def _is_sound(self, one: _Member) -> bool:
        """Whether the manifest is the one that its name says. A damaged one names no package."""
        key = one.registry, one.top
        if key not in self._sound:
            try:
                quilt.read_package(*key)
                self._sound[key] = True
            except (OSError, UsageError):
                self._sound[key] = False
        return self._sound[key]

    def _around(self, folder: Path) -> tuple[Path, ...]:
        """The registries in a folder and above it, but for the user's."""
        if folder not in self._above:
            up = () if folder == folder.parent else self._around(folder.parent)
            here = folder != self._own and (folder / quilt.ROOT).is_dir()
            self._above[folder] = (folder, *up) if here else up
        return self._above[folder]

    def _index(self, registry: Path) -> _Index:
        if registry not in self._known:
            index = self._known[registry] = _Index({}, {})
            for member, size, places in self._members(registry):
                index.names.setdefault((posixpath.basename(member.inside), size), []).append(member)
                for place in places:
                    index.places.setdefault(place, []).append(member)
        return self._known[registry]

    def _members(self, registry: Path) -> Iterator[tuple[_Member, int, set[Path]]]:
        install = self._install if registry == self._own else registry
        for name, top in _newest_first(registry):
            for line in self._lines(registry / quilt.ROOT / "packages" / top):
                if line.hash is not None and line.size is not None and is_inside(line.logical_key):
                    placed = {install / name / line.logical_key, *map(quilt.local_path, line.physical_keys)}
                    member = _Member(registry, name, top, line.logical_key, line.hash)
                    yield member, line.size, {place for place in placed if place is not None}

    def _lines(self, manifest: Path) -> list[_Line]:
        try:
            if manifest.stat().st_size > self._left:
                return []
            data = manifest.read_bytes()
            self._left -= len(data)
            return msgspec.json.Decoder(_Line).decode_lines(data)
        except (OSError, msgspec.MsgspecError):
            return []


def _newest_first(registry: Path) -> list[tuple[str, str]]:
    """Name and top hash of every version of every package."""
    try:
        found = [(name, one) for name in quilt.names(registry) for one in quilt.versions(registry, name)]
    except OSError:
        return []
    latest = datetime.max.replace(tzinfo=UTC)
    found.sort(key=lambda pair: pair[1].made or latest, reverse=True)
    return [(name, one.top) for name, one in found]


def _configured(base: Path) -> tuple[Path, Path]:
    """The user's registry, and where packages are installed."""
    registry = base / "packages"
    path = base / CONFIG
    if not path.is_file():
        return registry, registry
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
        told = {key: quilt.local_path(str(value)) for key, value in found.items() if value}
    except (OSError, UnicodeDecodeError, AttributeError, ValueError, yaml.YAMLError):
        return registry, registry
    registry = told.get("default_local_registry") or registry
    return registry, told.get("default_install_location") or registry


def _ends_so(place: Path, inside: str) -> bool:
    return place.as_posix().endswith(f"/{inside}")


def _told(one: _Member, state: State) -> dict[str, str]:
    return {"by": "quilt", "package": one.package, "top": one.top, "inside": spell(one.inside), "state": state}
