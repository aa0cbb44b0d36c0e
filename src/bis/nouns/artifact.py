"""Artifacts: files that clients upload, and the paths that name them below the root of all artifacts."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from bis.digest import Digest
from bis.errors import UsageError, explains

SCHEME: Final = "mlflow-artifacts"
ROUTE: Final = "/mlflow-artifacts/artifacts"
"""Below it a server answers with artifacts."""
LONGEST: Final = 2000
"""Bytes of a path: what an index of PostgreSQL holds in one entry."""
UNSAFE_PATH: Final = explains("B068", "The path of an artifact is absolute, leads out of its folder, or is no name.")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")
"""In no name: some of them part names elsewhere."""
_FOREIGN: Final = re.compile(r"^[A-Za-z]:([/\\]|$)|^file:")


class Artifact(NamedTuple):
    """One file."""

    path: str
    digest: Digest
    size: int


class Listed(NamedTuple):
    """One name in a folder."""

    name: str
    size: int | None
    """Bytes; None for a folder."""


def safe_path(text: str) -> str:
    """A relative path as it is kept: without empty names and `.`; the root is empty. Raises UsageError for one that
    could lead elsewhere, here or on the machine of whoever downloads it, however often it is decoded. A name may hold
    what would be another character if it were decoded: MLflow's clients log images as `a%step%1%timestamp%17…`."""
    if _CONTROL.search(text):
        raise UsageError("Invalid path", code=UNSAFE_PATH)
    seen = text
    for _ in range(10):
        if _leads_elsewhere(seen):
            raise UsageError("Invalid path", code=UNSAFE_PATH)
        further = unquote(seen)
        if further == seen:
            break
        seen = further
    else:
        raise UsageError("Invalid path", code=UNSAFE_PATH)
    path = "/".join(name for name in text.split("/") if name not in ("", "."))
    if not _can_be_kept(path):
        raise UsageError("Invalid path", code=UNSAFE_PATH)
    return path


def _leads_elsewhere(path: str) -> bool:
    names = path.replace("\\", "/").split("/")
    return (not names[0] and len(names) > 1) or ".." in names or bool(_FOREIGN.search(path))


def _can_be_kept(path: str) -> bool:
    try:
        return len(path.encode()) <= LONGEST
    except UnicodeEncodeError:  # half of a pair, which is no text
        return False


def joined(*paths: str) -> str:
    """Paths one below the other; those that are empty do not count."""
    return "/".join(filter(None, paths))


def path_of(uri: str) -> str:
    """The path below the root of all artifacts that a URI of this server means. Raises UsageError for another place."""
    parts = urlsplit(uri)
    if parts.scheme == SCHEME:
        return safe_path(parts.path.lstrip("/"))
    if parts.scheme in ("http", "https") and ROUTE in parts.path:
        return safe_path(parts.path.partition(ROUTE)[2].lstrip("/"))
    raise UsageError(
        f"The artifacts are in {uri}, which this server does not read",
        because="An experiment made with that artifact location is read and written by the clients themselves.",
    )


def path_or_nothing(uri: str) -> str:
    """The same; empty for what lies elsewhere, which clients keep themselves."""
    try:
        return path_of(uri)
    except UsageError:
        return ""
