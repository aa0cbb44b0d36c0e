"""A Reference: how a person names a run. One parser, used everywhere.

7f3a            the start of an id (4 digits or more)
train-12        a name
@latest, @      the newest run
@{2026-05-03}   the newest run that had started by then (a date, a time stamp, or `2 days ago`)
RUN~1           the run before RUN; `@~2`, `train-12~1`
"""

from __future__ import annotations

import msgspec


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    """As typed."""
    base: str = ""
    """An id prefix or a name; empty for the newest."""
    moment: str = ""
    """RFC 3339, UTC: the newest run that had started by then."""
    back: int = 0
    """So many runs before."""
