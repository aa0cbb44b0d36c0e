"""Paths of requests as they are written down: what a client asked for is nobody's word but its own."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 300
"""Characters of a path that are told."""
_PART: Final = re.compile(r"(/mpu/part/)[^/]+")


def shown_path(path: str) -> str:
    """As one line, whatever a client put into it, and without what lets somebody send a part of an upload."""
    shown = _PART.sub(r"\1...", path).encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
