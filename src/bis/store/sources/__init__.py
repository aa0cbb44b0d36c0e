"""Sources: files that lie elsewhere and are named by a URL. They are read there, and nothing is written.

A source is told what may be recorded (`url`, without credentials) apart from what it uses, so that no message and no
record ever holds a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bis.errors import KeepingError, NotFound
from bis.nouns.dataset import Sight
from bis.store.remote import REFUSED, UNREACHABLE


class Source(Protocol):
    """A file, or all files whose names have one beginning. May be used by `at_once` threads. Raises KeepingError when
    it cannot be asked, and when it refuses; NotFound for what is not there."""

    url: str
    """Without credentials."""
    at_once: int

    def list(self) -> tuple[bool, dict[str, Sight]]:
        """Whether it is a single file, and what is there: paths, spelled, with what is said of them."""
        ...

    def look(self, path: str) -> Sight | None:
        """What is said of a file now, without reading it; None where it is not there."""
        ...

    def read(self, path: str) -> tuple[Sight, Iterator[bytes]]:
        """All bytes of a file, and what is said of these. Raises where the connection is cut before the end."""
        ...


def cut(url: str, said: str) -> KeepingError:
    return KeepingError(
        f"cannot read {url}: {said}",
        because="The server cannot be reached, or the connection was cut.",
        hint="look at the URL and the network, and type the same command again",
        code=UNREACHABLE,
    )


def forbidden(url: str, said: str, hint: str) -> KeepingError:
    return KeepingError(f"cannot read {url}: {said}", because="The server refused.", hint=hint, code=REFUSED)


def absent(url: str) -> NotFound:
    return NotFound(
        f"nothing is at {url}", because="The server was asked, and has nothing there.", hint="look at the URL"
    )


def version_id(said: str | None) -> str:
    """What a bucket calls the version of an object; empty where it keeps none."""
    return said if said and said != "null" else ""
