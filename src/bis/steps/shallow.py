"""Shallow clones: records, trees and the ledger are here, contents come from the remote when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bis.digest import Digest
from bis.errors import UsageError
from bis.nouns.run import Run
from bis.steps.home import Home
from bis.store.trouble import trouble

if TYPE_CHECKING:
    from bis.steps.meeting import Told

FILE: Final = "shallow"
"""Says which remote has the contents."""


def shallow_of(home: Home) -> str:
    """The remote that has what is not here; empty for a project that is no shallow clone."""
    try:
        return (home.folder / FILE).read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise trouble(error, "read", home.folder / FILE) from error


def make_shallow(home: Home, remote: str) -> None:
    (home.folder / FILE).write_text(f"{remote}\n", "utf-8")


def make_whole(home: Home) -> None:
    """From now on all is brought that records need."""
    with suppress(FileNotFoundError):
        (home.folder / FILE).unlink()


def demand_whole(home: Home, doing: str) -> None:
    """Raises UsageError in a shallow clone."""
    if remote := shallow_of(home):
        raise UsageError(
            f"this project is a shallow clone, which cannot {doing}",
            because=f"What its records need lies in {remote}, and not all of it is here.",
            hint="bis pull --whole  brings the rest",
        )


def need(home: Home, roots: Iterable[Digest], told: Told = lambda text, done, total: None) -> None:
    """In a shallow clone, bring what these and all that they need lack here, each object proved; elsewhere do nothing.
    Raises KeepingError when the remote cannot be reached. What it has not either is missed by who uses it."""
    if remote := shallow_of(home):
        from bis.steps.meeting import bring_needed

        bring_needed(home, remote, list(roots), told)


def differing(before: Run, after: Run) -> list[Digest]:
    """What two runs do not have in common, data left out, which are told apart by their digests alone."""
    old, new = ({*_compared(run)} for run in (before, after))
    return sorted(old ^ new)


def _compared(run: Run) -> Iterator[Digest]:
    for kind, part in run.parts.items():
        if kind != "data":
            yield from part.trees.values()
    yield from (output.digest for output in run.outputs if output.kept and not output.target)


def contents_of(run: Run, *, outputs: bool = True) -> list[Digest]:
    """What a run names in the store; without `outputs`, what its parts do."""
    if outputs:
        from bis.store.records import named_by_run

        return [named.digest for named in named_by_run(run)]
    return [digest for part in run.parts.values() for digest in part.trees.values()]
