"""Who may ask a server: tokens, of which only the digest is kept. Each function is one question or change within the
caller's transaction."""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

import msgspec

from bis.digest import digest_bytes
from bis.errors import AlreadyThere, NotFound, UsageError
from bis.ledger.connection import Connection

Role = Literal["reader", "writer", "admin"]
ROLES: Final[tuple[Role, ...]] = ("reader", "writer", "admin")
"""Each may do what those before it may."""
PREFIX: Final = "bis_"
"""Of every token, so that one is known for what it is where it should not be."""
LONGEST: Final = 250
"""Characters of a name."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One that was given to somebody."""

    digest: str
    name: str
    role: Role
    made: int
    """Microseconds since 1970 UTC."""
    expires: int | None = None

    def valid(self, now: int) -> bool:
        return self.expires is None or now < self.expires

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


def digest_of(token: str) -> str:
    """What is kept of a token. It is drawn at random, so that nobody finds it again from this."""
    return digest_bytes(token.encode("utf-8", "replace"))


def add(connection: Connection, name: str, role: Role, now: int, expires: int | None = None) -> str:
    """A new token, which nobody can be told again. Raises AlreadyThere where the name is in use."""
    if not name.strip() or len(name) > LONGEST or not name.isprintable():
        raise UsageError(f"a token is called by up to {LONGEST} characters that can be printed, not {name[:40]!r}")
    if connection.execute("SELECT 1 FROM tokens WHERE name = ? AND removed IS NULL", (name,)).fetchall():
        raise AlreadyThere(
            f"a token is called {name!r} already", hint="choose another name, or `bis server token rm` it"
        )
    connection.execute("DELETE FROM tokens WHERE name = ?", (name,))
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        "INSERT INTO tokens (digest, name, role, made, expires) VALUES (?, ?, ?, ?, ?)",
        (digest_of(token), name, role, now, expires),
    )
    return token


def remove(connection: Connection, name: str, now: int) -> None:
    """Raises NotFound."""
    found = connection.execute("UPDATE tokens SET removed = ? WHERE name = ? AND removed IS NULL", (now, name))
    if not found.rowcount:
        raise NotFound(f"no token is called {name!r}", hint="bis server token list")


def given(connection: Connection) -> list[Token]:
    """Those that were not removed, by name; those that have expired, too."""
    rows = connection.execute(
        "SELECT digest, name, role, made, expires FROM tokens WHERE removed IS NULL ORDER BY name"
    ).fetchall()
    return [_token(*row) for row in rows]


def _token(digest: str, name: str, role: Any, made: int, expires: int | None) -> Token:
    return Token(digest=digest, name=name, role=role, made=made, expires=expires)
