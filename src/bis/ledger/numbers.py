"""Numbers as tables hold them: a database has no NaN, and orders infinities in its own way."""

from __future__ import annotations

import math
import sys


def as_stored(value: float) -> tuple[float | None, str]:
    """A value as the tables hold it, and its flag."""
    if math.isnan(value):
        return None, "NaN"
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value), "Infinity" if value > 0 else "-Infinity"
    return value, ""


def as_read(value: float | None, flag: str) -> float:
    """A value that the tables hold, with its flag."""
    return float(flag or "nan") if flag or value is None else value


def as_number(text: str) -> float | None:
    """What a text is as a number, where it is one that a table holds."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
