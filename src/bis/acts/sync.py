"""`bis sync`: deliver what scripts logged and could not deliver themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bis.errors import BisError, NotFound, UsageError
from bis.steps.deliver import Beginning, Delivery, left, read_beginning, unexpected, waiting
from bis.steps.deliver_to import target
from bis.steps.home import Home
from bis.steps.recover import alone


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run that waited."""

    run: Beginning
    entries: int = 0
    refused: tuple[str, ...] = ()
    """What its place will never take, in its words."""
    trouble: str = ""
    """Why the rest still waits; empty: all is delivered."""
    hint: str = ""
    """What to type next about it."""
    dropped: int = 0
    """Entries that were given up."""


def sync(home: Home, variables: Mapping[str, str], *, servers: bool = True) -> Iterator[Synced]:
    """Deliver each run whose script has ended, or was killed; scripts under way deliver themselves. With `servers`
    false, only those that are for the ledger of the project."""
    for folder in left(home.logging):
        with alone(folder) as ours:
            if ours and (servers or not read_beginning(folder).server):
                yield _deliver(folder, home, variables)


def drop(home: Home, named: str) -> Synced:
    """Give up what waits for a run, named by the beginning of its id or by its name: nobody delivers it any more.
    Raises NotFound where none waits that is called so, UsageError where several are."""
    known = {folder: read_beginning(folder) for folder in left(home.logging)}
    found = [folder for folder, run in known.items() if run.name == named or (run.id.startswith(named) and named)]
    if not found:
        raise NotFound(f"nothing waits for a run that is called {named!r}", hint="bis sync  names what waits")
    if len(found) > 1:
        ids = ", ".join(known[folder].id[:8] for folder in found)
        raise UsageError(f"{len(found)} runs that wait are called {named!r}: {ids}", hint="give the beginning of an id")
    with alone(found[0]) as ours:
        if not ours:
            raise UsageError(f"{named} is being delivered by another process", hint="bis sync, in a moment")
        entries = waiting(found[0])
        shutil.rmtree(found[0])
    return Synced(run=known[found[0]], dropped=entries)


def _deliver(folder: Path, home: Home, variables: Mapping[str, str]) -> Synced:
    beginning, entries, trouble = read_beginning(folder), 0, ("", "")
    try:
        delivery = Delivery(folder, target(beginning, lambda: home, variables))
    except (BisError, OSError) as error:  # the others are delivered
        why, hint = _told(error)
        return Synced(run=beginning, trouble=why, hint=hint)
    try:
        entries = delivery.go_on()
        delivery.end()
    except Exception as error:  # what a server answers may be anything: the others are delivered
        trouble = _told(error)
    why, hint = trouble
    return Synced(run=delivery.beginning, entries=entries, refused=tuple(delivery.refused), trouble=why, hint=hint)


def _told(error: Exception) -> tuple[str, str]:
    """What went wrong, on one line, and what to do about it."""
    if isinstance(error, BisError):
        why = f"{error.what}: {error.because}" if error.because else error.what
        return " ".join(why.splitlines()), error.hint
    return " ".join((str(error) if isinstance(error, OSError) else unexpected(error)).splitlines()), ""
