"""Which distributions a model cannot be loaded without, at the versions that are installed here.

Of the packages that its flavor names, and of those that its pickles name, with all that these require in turn. What was
imported for other reasons is left out.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Final

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

LARGEST: Final = 256 << 20
"""Bytes of a pickle up to which it is read for what it names."""


def pinned(names: Iterable[str], pickles: Sequence[Path] = ()) -> list[str]:
    """`name==version` of each, in the order of the names. One that is not installed is left out."""
    found: dict[str, Distribution] = {}
    waiting = [*names, *_named(pickles)]
    while waiting:
        name = canonicalize_name(waiting.pop())
        there = None if name in found else _installed(name)
        if there is not None:
            found[name] = there
            waiting += _required(there)
    return [f"{name}=={found[name].version}" for name in sorted(found)]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None


def _required(there: Distribution) -> Iterator[str]:
    for text in there.requires or ():
        try:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield requirement.name
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue


def _named(pickles: Sequence[Path]) -> list[str]:
    """Distributions of modules that are imported here and that pickles name: as the home of a class, and in the code of
    functions that they hold."""
    words: set[str] = set()
    for path in pickles:
        if path.stat().st_size <= LARGEST:
            words |= _words(path)
    modules = {word.partition(".")[0] for word in words} & set(sys.modules)
    if not modules - set(sys.stdlib_module_names):
        return []
    homes = packages_distributions()
    return [name for module in sorted(modules) for name in homes.get(module, ())]


def _words(path: Path) -> set[str]:
    found = set()
    try:
        for _, argument, _ in pickletools.genops(path.read_bytes()):
            if isinstance(argument, str) and len(argument) < 200:
                found |= set(argument.split())
    except ValueError:
        pass  # behind a pickle there may be arrays, as joblib writes them
    return found
