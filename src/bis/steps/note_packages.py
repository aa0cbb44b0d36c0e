"""Noting which packages an environment had: from its lock in the store, when that is first asked for."""

from __future__ import annotations

from collections.abc import Mapping

from bis.digest import Digest
from bis.errors import BisError
from bis.ledger import made
from bis.ledger.lineage import run_at
from bis.parts import pylock
from bis.parts.installed import normal
from bis.steps.home import Home
from bis.steps.models import database_of
from bis.store import Store


def note_packages(home: Home, unread: Mapping[str, int]) -> int:
    """Of these environments, each with the place of a run that had it. Returns how many locks are not in the store."""
    missing = 0
    for environment, seq in unread.items():
        with database_of(home).reading() as connection:
            part = run_at(connection, seq).parts.get("environment")
        try:
            packages = locked(part.trees.get("lock") if part else None, home.store)
        except (BisError, ValueError):
            missing += 1
            continue
        with database_of(home).writing(durable=False) as connection:
            made.note_packages(connection, environment, packages)
    return missing


def locked(lock: Digest | None, store: Store) -> dict[str, str]:
    """Name and version of each package of a lock. Raises BisError where it cannot be had."""
    if not lock:
        return {}
    found = pylock.read(store.get_bytes(lock).decode())
    return {normal(package.name): package.version for package in found.packages}
