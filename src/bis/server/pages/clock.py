"""The time as references have it: of this machine, without a zone."""

from __future__ import annotations

from datetime import UTC, datetime


def here() -> datetime:
    return datetime.now(UTC).astimezone().replace(tzinfo=None)
