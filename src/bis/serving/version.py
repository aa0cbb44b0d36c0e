"""Which model answers: what every answer tells."""

from __future__ import annotations

import functools

import msgspec


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model, or a folder that holds one."""

    name: str
    """As it is called in addresses."""
    number: str = ""
    run: str = ""
    identity: str = ""
    content: str = ""
    """What distinguishes it from another of that name."""

    @property
    def shown(self) -> str:
        return f"{self.name} version {self.number}" if self.number else self.name


@functools.lru_cache(256)
def head_of(version: Version) -> bytes:
    """Lines of an answer's head."""
    told = {
        "x-model-name": version.name,
        "x-model-version": version.number,
        "x-run-id": version.run,
        "x-model-identity": version.identity,
    }
    lines = [f"{key}: {_line(value)}\r\n" for key, value in told.items() if value]
    return "".join(lines).encode("latin-1", "replace")


def _line(value: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in value)
