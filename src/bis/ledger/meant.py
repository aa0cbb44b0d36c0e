"""Which run a reference means, by its name or id, or how long ago it was; and what to say where it means none."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

from bis.digest import readable
from bis.errors import NotFound, UsageError
from bis.ledger.database import Database
from bis.ledger.moments import NEVER, micros, shown_time
from bis.ledger.noted import GONE, OWN, THERE
from bis.nouns.reference import EXAMPLES, Reference

DIGITS: Final = frozenset("0123456789abcdef")
SHORTEST: Final = 4
"""Digits of an id that are enough to mean it."""
CANDIDATES: Final = 10
"""So many runs are named where the start of an id fits several."""


def meant(database: Database, reference: Reference, *, removed: bool) -> int:
    """Its seq; of a removed one and no other, or of one that is there. Raises NotFound (with the nearest names) or
    UsageError (an ambiguous prefix, with the candidates)."""
    # All runs are found by id and name; "the newest" and "the one before" mean a person's runs.
    there = GONE if removed else THERE
    seq, started = _base(database, reference, there)
    if not reference.back:
        return seq
    earlier = database.ask(
        f"SELECT seq FROM runs WHERE (started, seq) < (?, ?) AND {OWN} AND {there}"
        " ORDER BY started DESC, seq DESC LIMIT 1 OFFSET ?",
        (started, seq, reference.back - 1),
    )
    if not earlier:
        ((before,),) = database.ask(
            f"SELECT count(*) FROM runs WHERE (started, seq) < (?, ?) AND {OWN} AND {there}",
            (started, seq),
        )
        few = f"only {before} run lies" if before == 1 else f"only {before} runs lie" if before else "no run lies"
        raise NotFound(f"{reference.text} is not there: {few} before {reference.base or 'the newest'}", hint="bis log")
    return int(earlier[0][0])


def _base(database: Database, reference: Reference, there: str) -> tuple[int, int]:
    """Which run a reference names before it goes back: seq and start. `there`: which runs are meant at all."""
    newest, bound = "ORDER BY started DESC, seq DESC LIMIT 1", _by_then(reference)
    if not reference.base:
        found = database.ask(
            f"SELECT seq, started FROM runs WHERE started <= ? AND {OWN} AND {there} {newest}", (bound,)
        )
    else:
        found = database.ask(
            f"SELECT seq, started FROM runs WHERE name = ? AND started <= ? AND {there} {newest}",
            (reference.base, bound),
        ) or _by_id(database, reference, there)
    if not found:
        raise _no_such(database, reference, there)
    return found[0][0], found[0][1]


def _by_id(database: Database, reference: Reference, there: str) -> list[Any]:
    digits = reference.base.lower()
    if len(digits) < SHORTEST or not set(digits) <= DIGITS:
        return []
    found = database.ask(
        f"SELECT seq, started, id, name, command FROM runs WHERE id >= ? AND id < ? AND started <= ? AND {there}"
        " ORDER BY started DESC",
        (digits, digits + "g", _by_then(reference)),
    )
    if len(found) > 1:
        lines = (
            f"{id}  {readable(name)}  {shown_time(started)}  {readable(command)[:60]}"
            for _, started, id, name, command in found
        )
        raise UsageError(
            f"{reference.base} is the start of {len(found)} ids",
            because="\n".join(line for line, _ in zip(lines, range(CANDIDATES), strict=False)),
            hint=f"a digit more: {_longer(found[0][2], [row[2] for row in found[1:]], len(digits))}",
        )
    return found


def _no_such(database: Database, reference: Reference, there: str) -> NotFound:
    if reference.base and _is_there(database, reference.base):
        named = shlex.quote(readable(reference.base))
        if there == GONE:
            return NotFound(f"{readable(reference.base)} was not removed", hint=f"bis show {named}")
        if _is_there(database, reference.base, GONE):
            return NotFound(f"{readable(reference.base)} was removed", hint=f"bis rm --undo {named}")
    if there == GONE:
        return NotFound(f"no run {readable(reference.text)} was removed", hint="bis log --removed")
    if not database.ask("SELECT 1 FROM runs LIMIT 1"):
        return NotFound("no runs are recorded here yet", hint="bis run -- python train.py")
    named = readable(reference.base)
    if reference.moment and (not named or _is_there(database, reference.base)):
        what = f"no run{f' called {named}' if named else ''} had started by {shown_time(_by_then(reference))}"
        return NotFound(what, hint="bis log --sort started -n 1")
    if not reference.base:
        return NotFound("there are only runs of `bis repeat`", hint="bis log --repeats")
    near = _near(database, reference.base)
    few = len(reference.base) < SHORTEST and set(reference.base.lower()) <= DIGITS
    rule = f"An id needs {SHORTEST} of its digits." if few else f"A reference is {EXAMPLES}."
    return NotFound(
        f"no run is called {named!r}, and no id begins so",
        because=f"Names like it: {', '.join(map(readable, near))}." if near else rule,
        hint=f"bis show {shlex.quote(readable(near[0]))}" if near else "bis log",
    )


def _is_there(database: Database, base: str, there: str = "TRUE") -> bool:
    """Whether a run has that name or id, whenever it began."""
    named = database.ask(f"SELECT 1 FROM runs WHERE name = ? AND {there}", (base,))
    return bool(named or _by_id(database, Reference(text=base, base=base), there))


def _near(database: Database, base: str) -> list[str]:
    """Names like it, of the newest."""
    import difflib

    newest = "SELECT name FROM runs GROUP BY name ORDER BY max(seq) DESC LIMIT 2000"
    return difflib.get_close_matches(base, [name for (name,) in database.ask(newest)], 3)


def _by_then(reference: Reference) -> int:
    """The newest start that a reference allows."""
    return micros(reference.moment) if reference.moment else NEVER


def _longer(id: str, others: Sequence[str], length: int) -> str:
    """The start of an id that no other begins with, a digit longer or more."""
    while length < len(id) and any(other.startswith(id[:length]) for other in others):
        length += 1
    return id[:length]
