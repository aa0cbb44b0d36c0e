"""Which content lies at which path: the files that clients uploaded. Folders are there as long as something is in them.

Each function is one question or change within the caller's transaction. The content itself is in the store, durable
before its row is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from bis.digest import Digest
from bis.errors import NotFound, UsageError
from bis.ledger.connection import Connection
from bis.nouns.artifact import Artifact, Listed

AT_ONCE: Final = 500
BEHIND: Final = "0"
"""The character after `/`: all paths of a folder come before it."""
END: Final = "\U0010ffff"
"""Behind every name."""


def put(connection: Connection, path: str, digest: Digest, size: int, now: int) -> None:
    """What lay there before is replaced. Raises UsageError where a folder lies there, or a file where a folder of the
    path would be."""
    above = _above(path)
    marks = ", ".join("?" * len(above))
    if above and (found := _rows(connection, f"SELECT path FROM artifacts WHERE path IN ({marks}) LIMIT 1", *above)):
        raise UsageError(f"{found[0][0]!r} is a file: nothing can be put below it")
    if is_folder(connection, path):
        raise UsageError(f"{path!r} is a folder: no file can be put in its place")
    connection.execute(
        "INSERT INTO artifacts (path, digest, size, made) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (path) DO UPDATE SET digest = excluded.digest, size = excluded.size, made = excluded.made",
        (path, digest, size, now),
    )


def get(connection: Connection, path: str) -> Artifact:
    """Raises NotFound."""
    for digest, size in _rows(connection, "SELECT digest, size FROM artifacts WHERE path = ?", path):
        return Artifact(path, Digest(digest), size)
    raise NotFound(f"No such artifact: '{path}'")


def is_folder(connection: Connection, path: str) -> bool:
    first, last = _range(path)
    return bool(_rows(connection, "SELECT 1 FROM artifacts WHERE path > ? AND path < ? LIMIT 1", first, last))


def listing(connection: Connection, folder: str) -> list[Listed]:
    """What lies directly in a folder, in order. Of what lies deeper, little more is read than the first of it."""
    first, last = _range(folder)
    start, found = len(first), list[Listed]()
    statement = f"SELECT path, size FROM artifacts WHERE path > ? AND path < ? ORDER BY path LIMIT {AT_ONCE}"
    while True:
        rows = _rows(connection, statement, first, last)
        for path, size in rows:
            name, deeper, _ = path[start:].partition("/")
            if not deeper:
                found.append(Listed(name, size))
            elif not found or found[-1] != Listed(name, None):
                found.append(Listed(name, None))
        if len(rows) < AT_ONCE:
            return sorted(found, key=lambda listed: listed.name)
        first = f"{path[:start]}{name}/{END}" if deeper else path


def below(connection: Connection, folder: str) -> Iterator[Artifact]:
    """Every file in a folder, at any depth, in order."""
    first, last = _range(folder)
    statement = f"SELECT path, digest, size FROM artifacts WHERE path > ? AND path < ? ORDER BY path LIMIT {AT_ONCE}"
    while rows := _rows(connection, statement, first, last):
        for path, digest, size in rows:
            yield Artifact(path, Digest(digest), size)
        first = path


def remove(connection: Connection, path: str) -> int:
    """A file, or a folder with all that lies in it; returns how many files. The content goes with `bis gc`."""
    first, last = _range(path)
    found = connection.execute("DELETE FROM artifacts WHERE path = ? OR (path > ? AND path < ?)", (path, first, last))
    return found.rowcount


def digests(connection: Connection, without: Collection[str] = ()) -> Iterator[Digest]:
    """The content that is needed, each once: by what lies outside of the folders `without`."""
    last = ""
    statement = f"SELECT path, digest FROM artifacts WHERE path > ? ORDER BY path LIMIT {AT_ONCE}"
    seen: set[str] = set()
    while rows := _rows(connection, statement, last):
        for path, digest in rows:
            if digest not in seen and not (without and any(above in without for above in _above(path))):
                seen.add(digest)
                yield Digest(digest)
        last = rows[-1][0]


def _above(path: str) -> list[str]:
    """The folders in which a path lies."""
    return [path[:place] for place, character in enumerate(path) if character == "/"]


def _range(folder: str) -> tuple[str, str]:
    """What the paths below a folder lie between; neither is one."""
    return (f"{folder}/", f"{folder}{BEHIND}") if folder else ("", END)


def _rows(connection: Connection, statement: str, *values: Any) -> list[Any]:
    return connection.execute(statement, values).fetchall()
