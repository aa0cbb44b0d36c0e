"""Remotes: places where a store can be shared. Each is the same store, `format` and `packs/`, reached in another way.

Packs are named by what they hold and never changed, so there is nothing in a remote that two people could change at
once: the list of its packs is all of its state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bis.errors import KeepingError, NotFound, explains

UNREACHABLE = explains(
    "B061", "A remote, or a server of data, could not be reached, or the connection was cut. Nothing is lost: repeat."
)
REFUSED = explains(
    "B062", "A remote, or a server of data, refused: wrong credentials, or no right to read or write there."
)
NO_CLIENT = explains("B063", "What speaks to this kind of remote is not installed.")
NO_SUCH_REMOTE = explains("B064", "No remote has this name here, or there is no store where the remote's URL leads.")


Block = bytes | memoryview
"""Bytes on their way to a remote."""


class Remote(Protocol):
    """A place with packs. May be used by `at_once` threads. Raises KeepingError when it cannot be reached."""

    url: str
    at_once: int

    def list(self) -> dict[str, int]:
        """The names of its packs with their sizes, by a single listing; none where there is no store."""
        ...

    def format(self) -> str:
        """The text of the file `format`; empty where there is no store."""
        ...

    def declare(self, text: str) -> None:
        """Make a store there: the folders, where there are such, and the file `format`, in place of another."""
        ...

    def read(self, name: str, start: int, size: int) -> bytes:
        """Bytes of a pack; fewer where it ends. Raises NotFound when it is not there."""
        ...

    def write(self, name: str, size: int, blocks: Iterator[Block]) -> None:
        """Put a pack there, of that size: whole under its name and durable, or not at all. A block is good until the
        next one is asked for."""
        ...

    def close(self) -> None: ...


def unreachable(url: str, doing: str, said: str) -> KeepingError:
    return KeepingError(
        f"cannot {doing} {url}: {said}",
        because="The remote cannot be reached, or the connection was cut. What has arrived is kept.",
        hint="type the same command again: it goes on where it stopped",
        code=UNREACHABLE,
    )


def refused(url: str, doing: str, said: str, hint: str) -> KeepingError:
    return KeepingError(f"cannot {doing} {url}: {said}", because="The remote refused.", hint=hint, code=REFUSED)


def gone(url: str, name: str) -> NotFound:
    return NotFound(f"pack {name[:12]} is not in {url} any more", hint="type the same command again")
