"""Packages that only some commands need, and what to type where they are missing."""

from __future__ import annotations

from bis import extras
from bis.errors import BisError, UsageError, explains

MISSING = explains("B137", "A command needs packages that are not installed where bis is: those of one of its extras.")
IMPORTED = {"markdown-it-py": "markdown_it"}
"""Packages that are imported under another name than their own."""
WITH = {"markupsafe": "jinja2"}
"""Modules that come with one of these packages."""


def missing_extra(error: ModuleNotFoundError) -> BisError | None:
    """In words what is missing, for a module of an extra; None for any other module."""
    missing = (error.name or "").partition(".")[0]
    module = WITH.get(missing, missing)
    for extra, packages in extras.packages().items():
        if module and module in (IMPORTED.get(name, name.replace("-", "_")) for name in packages):
            return UsageError(
                f"this command needs {module}, which is not installed where bis is",
                because=f"It comes with the extra {extra!r}.",
                hint=extras.what_to_type(extra),
                code=MISSING,
            )
    return None
