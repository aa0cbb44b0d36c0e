"""The time as references have it: of this machine, without a zone."""

from __future__ import annotations

from datetime import UTC, datetime

from bis.errors import UsageError
from bis.ledger.moments import NEVER, micros
from bis.nouns.reference import parse


def here() -> datetime:
    return datetime.now(UTC).astimezone().replace(tzinfo=None)


def until(asof: str) -> int:
    """The end of what a page looks at: microseconds since 1970 UTC; far away where no moment was given. A moment is as
    in a reference: `2026-11-20`, `2 days ago`. Raises UsageError for what is none."""
    if not asof:
        return NEVER
    try:
        moment = parse(f"@{{{asof}}}", here()).moment
    except UsageError as error:
        raise UsageError(
            f"{asof!r} is no moment", because=error.because, hint="asof=2026-11-20, or asof=2 days ago"
        ) from None
    return micros(moment)
