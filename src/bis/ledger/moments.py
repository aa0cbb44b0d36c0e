"""Times as the tables of the ledger have them: microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

NEVER: Final = 1 << 62
"""Later than everything."""
EARLIEST: Final = -62_135_596_800_000_000
LATEST: Final = 253_402_300_799_000_000
"""The first second of the year 1, and the last of 9999."""


def micros(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp)
    past = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def shown_time(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def stamp(micros: int) -> str:
    """RFC 3339, as records have it. Raises OverflowError for what no calendar has."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
