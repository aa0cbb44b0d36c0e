"""The one character that no text of a ledger may hold: PostgreSQL has no place for it."""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def names_nul(body: bytes) -> bool:
    """Whether a text of a body in JSON holds NUL, which JSON always escapes; a backslash before `u0000` is no NUL."""
    return b"\\u0000" in body and _ESCAPED.search(body) is not None
