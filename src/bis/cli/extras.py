"""Packages that only some commands need, and what to type where they are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from bis.errors import BisError, UsageError, explains

MISSING = explains("B137", "A command needs packages that are not installed where bis is: those of one of its extras.")
IMPORTED = {"markdown-it-py": "markdown_it"}
"""Packages that are imported under another name than their own."""


def missing_extra(error: ModuleNotFoundError) -> BisError | None:
    """In words what is missing, for a module of an extra; None for any other module."""
    module = (error.name or "").partition(".")[0]
    for extra, packages in _extras().items():
        if module and module in (IMPORTED.get(name, name.replace("-", "_")) for name in packages):
            return UsageError(
                f"this command needs {module}, which is not installed where bis is",
                because=f"It comes with the extra {extra!r}.",
                hint=f"uv tool install 'bis[{extra}]', or pip install {' '.join(sorted(packages))}",
                code=MISSING,
            )
    return None


def _extras() -> dict[str, list[str]]:
    """The packages of each, by the metadata of the installed bis."""
    found: dict[str, list[str]] = {}
    for package, extra in _required():
        found.setdefault(extra, []).append(package)
    return found


def _required() -> Iterator[tuple[str, str]]:
    try:
        wanted = metadata.requires("bis") or []
    except metadata.PackageNotFoundError:
        return
    for line in wanted:
        if named := re.match(r"""(?P<package>[\w.-]+).*extra == ["'](?P<extra>[\w-]+)["']""", line):
            yield named["package"].lower(), named["extra"]
