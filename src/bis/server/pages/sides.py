"""Two texts side by side: a unified difference as rows of a table, with the words that changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Final, Literal, NamedTuple

HUNK: Final = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)")
WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")
LONGEST: Final = 2000
"""Characters of a line whose words are compared."""
LINES: Final = 4000
"""Rows of one file at most."""
ROOM: Final = 40_000_000
"""Pairs of characters, of one line and the other, in a file: about a second. No words are compared behind them."""
ALIKE: Final = 0.35
"""Lines that have less than this in common are other lines, not changed ones."""

Piece = tuple[str, bool]
"""Some text, and whether it changed."""


class Side(NamedTuple):
    number: int
    pieces: tuple[Piece, ...]


class Line(NamedTuple):
    """A row. A side that has nothing there is None."""

    kind: Literal["same", "changed", "added", "removed", "hunk"]
    before: Side | None
    after: Side | None
    title: str = ""
    """Of a hunk: what it is part of."""


def rows(text: str) -> list[Line]:
    """Of a unified difference, without its two first lines."""
    found: list[Line] = []
    gone: list[str] = []
    come: list[str] = []
    left = right = 0
    room = ROOM

    def settle() -> None:
        nonlocal left, right, room
        for old, new in zip_longest(gone, come):
            room -= len(old or "") * len(new or "")
            found.append(_paired(old, new, left, right, closely=room >= 0 and len(found) < LINES))
            left += old is not None
            right += new is not None
        gone.clear()
        come.clear()

    for line in text.split("\n"):
        if hunk := HUNK.fullmatch(line):
            settle()
            left, right = int(hunk[1]), int(hunk[2])
            found.append(Line("hunk", None, None, hunk[3]))
        elif not found or line.startswith("\\"):
            continue
        elif line.startswith("-"):
            if come:  # a new place of changes
                settle()
            gone.append(line[1:])
        elif line.startswith("+"):
            come.append(line[1:])
        elif line.startswith(" "):
            settle()
            found.append(Line("same", Side(left, ((line[1:], False),)), Side(right, ((line[1:], False),))))
            left, right = left + 1, right + 1
    settle()
    return found


def _paired(old: str | None, new: str | None, left: int, right: int, *, closely: bool) -> Line:
    if old is None:
        return Line("added", None, Side(right, ((new or "", False),)))
    if new is None:
        return Line("removed", Side(left, ((old, False),)), None)
    before, after = words(old, new) if closely else (((old, False),), ((new, False),))
    return Line("changed", Side(left, before), Side(right, after))


def words(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Two lines in pieces. Where hardly anything is the same in them, nothing is marked in particular."""
    if max(len(old), len(new)) > LONGEST:
        return ((old, False),), ((new, False),)
    first, second = WORD.findall(old), WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    if matcher.ratio() < ALIKE:
        return ((old, False),), ((new, False),)
    codes = matcher.get_opcodes()
    return (
        _joined(("".join(first[a:b]), code != "equal") for code, a, b, _, _ in codes),
        _joined(("".join(second[c:d]), code != "equal") for code, _, _, c, d in codes),
    )


def _joined(pieces: Iterator[Piece]) -> tuple[Piece, ...]:
    return tuple((text, changed) for text, changed in pieces if text)


class Sides(NamedTuple):
    lines: list[Line]
    added: int
    """Lines that came, and below, that went."""
    removed: int
    more: int
    """Rows that are left out."""


def sides(text: str) -> Sides:
    """Of a unified difference."""
    lines = rows(text)
    return Sides(
        lines[:LINES],
        added=sum(line.kind in ("added", "changed") for line in lines),
        removed=sum(line.kind in ("removed", "changed") for line in lines),
        more=max(0, len(lines) - LINES),
    )
