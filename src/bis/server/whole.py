"""Answers that are there as a whole: written at once, where the server offers it, instead of a head and then a body.

An extension of ASGI: `scope["extensions"][WHOLE]`, if it is there, takes the status, the lines of the head but for
those of the connection, and the body. Who calls it sends nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Scope

WHOLE: Final = "bis.whole"

Whole = Callable[[int, bytes, bytes], Awaitable[None]]
"""Status, lines of the head, each with its end, and body."""


def whole_of(scope: Scope) -> Whole | None:
    found: Whole | None = scope.get("extensions", {}).get(WHOLE)
    return found
