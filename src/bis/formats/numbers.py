"""Numbers as they are written: how far two of them are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable


def gap(pairs: Iterable[tuple[str, str]]) -> float | None:
    """The largest relative difference of numbers written with a point or exponent. None when two whole numbers
    differ, or one is not finite and the other is another."""
    largest = 0.0
    for old, new in pairs:
        if old == new:
            continue
        if not (is_real(old) and is_real(new)):
            return None
        distance = relative(float(old), float(new))
        if distance is None:
            return None
        largest = max(largest, distance)
    return largest


def is_real(text: str) -> bool:
    return "." in text or "e" in text or "E" in text


def relative(old: float, new: float) -> float | None:
    """|old - new| over the larger of the two; None when one is not finite and they are not the same."""
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return None
    return abs(old - new) / max(abs(old), abs(new))
