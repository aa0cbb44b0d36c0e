"""Who says something, where and when, as records have it."""

from __future__ import annotations

import os
from datetime import UTC, datetime


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def user_here() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def host_here() -> str:
    """What `socket.gethostname` says, without an import of it."""
    return os.uname().nodename
