"""A metric as it is drawn: all its points, or buckets of neighbours in which each point lies."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Axis = Literal["step", "moment"]
Kind = Literal["NaN", "Infinity", "-Infinity"]

HUES: Final = 24
DASHES: Final = ("", "6 3", "2 3", "8 3 2 3")


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """Some points beside each other: each of them lies between `first` and `last`, and between `low` and `high`, and
    each of these is the place or the value of one of them."""

    first: float
    last: float
    low: float
    low_at: float
    high: float
    high_at: float
    mean: float
    points: int


class Odd(msgspec.Struct, frozen=True, kw_only=True):
    """Values that no line can be drawn through: NaN, infinity or minus infinity."""

    kind: Kind
    points: int
    at: list[float]
    """Where they are; of many beside each other the first."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn of the points in a window."""

    axis: Axis
    first: float
    """Where the window begins, and where it ends: as it was asked, else as far as there are points."""
    last: float
    points: int
    """In the window, those among them that are no numbers."""
    exact: bool
    """Whether each point is a bucket of its own."""
    buckets: list[Bucket]
    """Of the finite numbers, from left to right."""
    odd: list[Odd]
    hidden: int = 0
    """Points that have no place on a logarithmic axis: those at zero and before it."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a run in a line. Each value with its step."""

    key: str
    points: int
    odd: int
    """How many of them are NaN or infinite."""
    first: float
    first_at: int
    newest: float
    newest_at: int
    least: float
    """Of the finite numbers; NaN where there is none."""
    least_at: int
    greatest: float
    greatest_at: int


def hash_of(text: str) -> int:
    """FNV-1a in 32 bits of the text in UTF-8."""
    found = 0x811C9DC5
    for byte in text.encode("utf-8", "replace"):
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


def looks_of(run: str) -> tuple[int, str]:
    """The hue, in degrees, and the dashes of the line of a run: the same wherever it is drawn."""
    found = hash_of(run)
    return found % HUES * (360 // HUES), DASHES[found // HUES % len(DASHES)]
