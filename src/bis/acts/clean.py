"""`bis clean`: remove what runs and repeats left on this machine and nobody needs. Nothing of it is a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bis.steps.leftovers import OF_THE_DEAD, Leftover, leftovers, remove


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    removed: tuple[Leftover, ...] = ()
    """Or, in a dry run, what would be."""
    refused: tuple[Leftover, ...] = ()
    """In use, or not to be removed by this user."""
    kept: tuple[Leftover, ...] = ()
    """Used lately."""


def clean(
    environments: Path,
    temporary: Path,
    project: Path | None = None,
    scored: Iterable[Path] = (),
    *,
    unused_since: float,
    dry: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cleaned:
    """Remove cached environments, folders of repeats, a `project`'s unread rests of lost runs and unfinished scorings,
    and what scorings, evaluations and servers had (`scored`), of all those that nobody used since then (seconds since
    1970); and drafts of killed commands in and beside the project, and their `temporary` folders, of any age."""
    found = leftovers(environments, temporary, project, scored)
    old = [one for one in found if one.used <= unused_since or one.what in OF_THE_DEAD]
    removed: list[Leftover] = list(old) if dry else []
    refused: list[Leftover] = []
    for number, one in enumerate([] if dry else old):
        progress(number, len(old))
        (removed if remove(one) else refused).append(one)
    kept = tuple(one for one in found if one not in old)
    return Cleaned(removed=tuple(removed), refused=tuple(refused), kept=kept)
