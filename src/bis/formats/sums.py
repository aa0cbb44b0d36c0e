"""Sums that are exact, so that a mean is the same in whatever order and in whatever blocks its numbers come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import repeat
from operator import mul
from typing import Any

BITS = 21
"""Of a number at a time: products of two such slices of a million numbers add up within 64 bits."""
SLICES = 6
WIDE = 900
"""Numbers up to two to the power of this are taken in slices, or scaled to whole numbers."""


class Sums:
    """How many numbers, the smallest and the largest, their sum and that of their squares."""

    __slots__ = ("count", "high", "low", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.low, self.high = math.inf, -math.inf
        self.total = self.squares = Fraction()

    def add(self, other: Sums) -> None:
        self.count += other.count
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float:
        return float(self.total / self.count)

    @property
    def deviation(self) -> float:
        variance = self.squares / self.count - (self.total / self.count) ** 2
        try:
            return math.sqrt(variance)
        except OverflowError:
            return float(math.isqrt(int(variance)))


def sums(values: Sequence[float]) -> Sums:
    """Of finite numbers."""
    found = Sums()
    if not values:
        return found
    found.count, found.low, found.high = len(values), min(values), max(values)
    shift = _shift(values, max(abs(found.low), abs(found.high)))
    if shift is None:
        found.total = sum(map(Fraction, values), Fraction())
        found.squares = sum((Fraction(value) ** 2 for value in values), Fraction())
        return found
    wholes = list(map(int, map(mul, values, repeat(2.0**shift)) if shift else values))
    found.total = Fraction(sum(wholes), 1 << shift)
    found.squares = Fraction(sum(map(mul, wholes, wholes)), 1 << 2 * shift)
    return found


def _shift(values: Sequence[float], most: float) -> int | None:
    """By which power of two these numbers become whole ones. None: that would be none that a float can hold."""
    if all(map(float.is_integer, values)):
        return 0
    shift = max(0, 53 - math.frexp(min(filter(None, map(abs, values))))[1])
    return shift if shift + math.frexp(most)[1] <= WIDE and shift <= WIDE else None


def arrow_sums(compute: Any, values: Any) -> Sums:
    """The same, of an array of pyarrow without nulls. Each number is cut into slices of 21 bits, which are added up
    and multiplied as whole numbers; what is too wide for six of them goes the plain way."""
    ends = compute.min_max(values)
    found = Sums()
    found.count, found.low, found.high = len(values), ends["min"].as_py(), ends["max"].as_py()
    power = math.frexp(max(abs(found.low), abs(found.high)))[1]
    slices = _slices(compute, values, power) if abs(power) <= WIDE and len(values) < 1 << 20 else None
    if slices is None:
        return sums(values.to_pylist())
    for place, one in enumerate(slices, 1):
        found.total += _scaled(compute.sum(one).as_py(), power - BITS * place)
        for further, other in enumerate(slices[:place], 1):
            product = compute.sum(compute.multiply(one, other)).as_py()
            times = 1 if further == place else 2
            found.squares += _scaled(times * product, 2 * power - BITS * (place + further))
    return found


def _slices(compute: Any, values: Any, power: int) -> list[Any] | None:
    rest = compute.multiply(values, 2.0 ** (BITS - power))
    if power > BITS and not _all(compute, compute.equal(compute.multiply(rest, 2.0 ** (power - BITS)), values)):
        return None  # something so small that it got lost
    found = []
    for _ in range(SLICES):
        whole = compute.trunc(rest)
        found.append(whole.cast("int64"))
        rest = compute.subtract(rest, whole)
        if _all(compute, compute.equal(rest, 0.0)):
            return found
        rest = compute.multiply(rest, 2.0**BITS)
    return None


def _all(compute: Any, flags: Any) -> bool:
    return bool(compute.all(flags).as_py())


def _scaled(whole: int, power: int) -> Fraction:
    return Fraction(whole << power) if power >= 0 else Fraction(whole, 1 << -power)
