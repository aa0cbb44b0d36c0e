"""Who may ask: everybody on this machine, elsewhere whoever has a token of the project."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bis.ledger import tokens
from bis.ledger.tokens import Token
from bis.server.doorway import name_of, token_in

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", ""})
FREE: Final = frozenset({"/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"})
"""What whoever looks after the server may ask without a token."""

Read = Callable[[], Mapping[str, Token]]
"""Reads the tokens of the project, by digest. Takes its time, and raises what it likes."""


class Refusal(NamedTuple):
    status: int
    code: str
    message: str


UNKNOWN: Final = Refusal(401, "UNAUTHENTICATED", "A token is needed: Authorization: Bearer TOKEN.")
INVALID: Final = Refusal(401, "UNAUTHENTICATED", "The token is not known here, was removed, or has expired.")


class Access:
    """Says of each request whether it may be answered."""

    def __init__(self, *, loopback: bool, is_open: bool, hosts: frozenset[str] = frozenset()) -> None:
        self.loopback, self.is_open, self.hosts = loopback, is_open, hosts
        self.known: Mapping[str, Token] = {}
        """By digest; read again every second by whoever looks after the server."""

    def refused(self, path: str, headers: Mapping[bytes, bytes]) -> Refusal | None:
        if self.is_open or path in FREE:
            return None
        if self.loopback and not self.known:
            name = name_of(headers.get(b"host", b""))
            if name in LOOPBACK or name in self.hosts:
                return None
            # A page whose name was made to mean this machine asks from within somebody's browser.
            return Refusal(403, "PERMISSION_DENIED", "Invalid Host header: it is no name of this server.")
        given = token_in(headers.get(b"authorization", b""))
        if not given:
            return UNKNOWN
        token = self.known.get(tokens.digest_of(given))
        return None if token is not None and token.valid(time.time_ns() // 1000) else INVALID
