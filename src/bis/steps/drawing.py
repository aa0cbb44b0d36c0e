"""Metrics drawn as SVG, as text: for files and notebooks that run no scripts. Nothing is asked from elsewhere, nothing
needs a style sheet; text and lines take the colour of what is around them.

    line_chart([Line("adam-4", curves.curve(connection, run, "loss"), *looks_of(run))], title="loss")
    sparkline(curves.curve(connection, run, "loss", places=60))
    sparkline(curves.curve_of([0.9, 0.5, 0.4]))
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

from bis.nouns.curve import Bucket, Curve
from bis.text import number

LEFT: Final = 58
RIGHT: Final = 12
TOP: Final = 10
BELOW: Final = 22
TITLE: Final = 18
LINE: Final = 16
"""Pixels of a line of the legend."""
LETTER: Final = 6.2
"""Pixels of a letter, about."""
MARKS: Final = {"NaN": "NaN", "Infinity": "+∞", "-Infinity": "−∞"}


class Line(NamedTuple):
    """A metric of one run."""

    name: str
    curve: Curve
    hue: int = 230
    dashes: str = ""


class _Scale(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        # Halves: the distance of two doubles may be none.
        low, high, value = (math.log10(one) if self.log else one / 2 for one in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * share

    def has(self, value: float) -> bool:
        return not self.log or value > 0


def line_chart(
    lines: Sequence[Line],
    *,
    title: str = "",
    axis: str = "step",
    log: bool = False,
    width: int = 640,
    height: int = 260,
    ground: str = "",
) -> str:
    """Lines of some runs over one another. The band around a line holds each point that it stands for. `log`: values by
    their logarithm, those at zero and below are left out and counted. `ground`: a colour behind it."""
    top = TOP + (TITLE if title else 0)
    legend = LINE * len(lines) if len(lines) > 1 or any(line.curve.odd for line in lines) else 0
    below = height - BELOW - legend
    across = _Scale(*_ends([end for line in lines for end in _span(line.curve)]), LEFT, width - RIGHT)
    values = [value for line in lines for value in _extent(line.curve, log)]
    up = _Scale(*_roomy(*_ends(values, 1.0 if log else 0.0), log), below, top, log)
    parts = [_text(LEFT, TITLE, title, weight="600")] if title else []
    parts += _axes(across, up, axis)
    for line in lines:
        parts += _drawn(line, across, up)
    if not values:
        parts.append(_text((LEFT + width) / 2, (top + below) / 2, "no numbers", anchor="middle"))
    for place, line in enumerate(lines if legend else ()):
        parts += _legend(line, height - legend + LINE * place + 4, log, width)
    told = "; ".join(f"{line.name}: {said(line.curve)}" for line in lines)
    return _svg(parts, width, height, f"{title or 'chart'}. {told}", ground)


def sparkline(curve: Curve, *, width: int = 120, height: int = 24, hue: int = 230) -> str:
    """A line as small as a word, without axes."""
    across = _Scale(*_ends(_span(curve)), 2, width - 2)
    up = _Scale(*_ends(_extent(curve, False)), height - 3, 3)
    return _svg(_drawn(Line("", curve, hue), across, up), width, height, said(curve), "")


def said(curve: Curve) -> str:
    """In words what a chart of it shows."""
    odd = "".join(f", {one.points:,} of them {MARKS[one.kind]}" for one in curve.odd)
    points = f"{curve.points:,} {'point' if curve.points == 1 else 'points'}{odd}"
    if not curve.buckets:
        return points
    low = min(one.low for one in curve.buckets)
    high = max(one.high for one in curve.buckets)
    first, last = curve.buckets[0], curve.buckets[-1]
    ends = f", from {number(first.mean)} to {number(last.mean)}" if curve.exact else ""
    return f"{points}{ends}, least {number(low)}, greatest {number(high)}"


def exactness(curve: Curve) -> str:
    """In words how what is drawn stands to the points: each of them, or an envelope in which all of them lie."""
    if curve.exact:
        return "exact: the only point" if curve.points == 1 else f"exact: all {curve.points:,} points"
    most = max((one.points for one in curve.buckets), default=0)
    if not most:
        return f"no numbers: {said(curve)}"
    return f"envelope of {curve.points:,} points: all of them lie in it, up to {most:,} where one is drawn"


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between these."""
    raw = (high - low) / max(1, most)
    if not sys.float_info.min <= raw < math.inf:  # between the smallest numbers that there are, none is round
        return [low]
    size = 10.0 ** math.floor(math.log10(raw))
    step = next((size * factor for factor in (1, 2, 5) if size * factor >= raw), size * 10)
    first = math.ceil(low / step)
    found = [number * step for number in range(first, first + most + 2)]
    return [float(f"{one:.12g}") for one in found if one <= min(high + step * 1e-9, sys.float_info.max)]


# -- what is there -------------------------------------------------------------------------------------------------


def _span(curve: Curve) -> tuple[float, ...]:
    marks = [at for one in curve.odd for at in one.at]
    ends = [end for one in curve.buckets for end in (one.first, one.last)]
    return (min(marks + ends), max(marks + ends)) if marks or ends else ()


def _extent(curve: Curve, log: bool) -> tuple[float, ...]:
    found = [value for one in curve.buckets for value in (one.low, one.high) if value > 0 or not log]
    return (min(found), max(found)) if found else ()


def _ends(values: Iterable[float], usual: float = 0.0) -> tuple[float, float]:
    known = list(values)
    return min(known, default=usual), max(known, default=usual + 1)


def _roomy(low: float, high: float, log: bool) -> tuple[float, float]:
    """So that a level line is in the middle, and extremes do not touch the frame."""
    if log:
        room = 1.15 if high > low else 2
        return max(low / room, sys.float_info.min), min(high * room, sys.float_info.max)
    if not math.isfinite(high - low):
        return low, high
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return max(low - room, -sys.float_info.max), min(high + room, sys.float_info.max)


# -- as marks ------------------------------------------------------------------------------------------------------


def _drawn(line: Line, across: _Scale, up: _Scale) -> list[str]:
    colour = f"hsl({line.hue} 65% 48%)"
    shown = [one for one in line.curve.buckets if up.has(one.high)]
    parts = []
    if any(one.points > 1 for one in shown):
        upper = [(across.at(one.first / 2 + one.last / 2), up.at(one.high)) for one in shown]
        lower = [(across.at(one.first / 2 + one.last / 2), up.at(max(one.low, up.low))) for one in shown]
        parts.append(f'<path d="{_path([*upper, *reversed(lower)])}Z" fill="{colour}" fill-opacity="0.25"/>')
    points = [(across.at(at), up.at(value)) for one in shown for at, value in _points(one) if up.has(value)]
    dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
    parts.append(
        f'<path d="{_path(points)}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"{dashes}/>'
    )
    if len(points) == 1:
        parts.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{colour}"/>')
    for one in line.curve.odd:
        y = up.end if one.kind == "Infinity" else up.start
        parts += [_odd(across.at(at), y, one.kind, colour) for at in one.at]
    return parts


def _points(one: Bucket) -> list[tuple[float, float]]:
    if one.points == 1:
        return [(one.low_at, one.low)]
    return sorted({(one.low_at, one.low), (one.high_at, one.high)})


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _odd(x: float, y: float, kind: str, colour: str) -> str:
    if kind == "NaN":
        return f'<path d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6" stroke="{colour}" stroke-width="1.5"/>'
    tip = 6 if kind == "Infinity" else -6
    return f'<path d="M{x - 3:.1f} {y + tip:.1f}h6l-3 {-tip}Z" fill="{colour}"/>'


def _axes(across: _Scale, up: _Scale, axis: str) -> list[str]:
    parts = []
    for value in _tens(up) if up.log else ticks(up.low, up.high, 5):
        y = up.at(value)
        parts.append(
            f'<path d="M{across.start:.1f} {y:.1f}H{across.end:.1f}" stroke="currentColor" stroke-opacity="0.15"/>'
        )
        parts.append(_text(across.start - 6, y + 4, f"{value:.6g}", anchor="end"))
    shown = ticks(across.low, across.high, 6)
    for value in shown:
        anchor = "middle" if across.at(value) < across.end - 20 else "end"
        parts.append(_text(across.at(value), up.start + 15, f"{value:,.10g}", anchor=anchor))
    parts.append(_text(4, up.start + 15, axis))
    parts.append(f'<path d="M{across.start} {up.start:.1f}H{across.end}" stroke="currentColor" stroke-opacity="0.5"/>')
    return parts


def _tens(up: _Scale) -> list[float]:
    first, last = math.ceil(math.log10(up.low)), math.floor(math.log10(up.high))
    some = max(1, math.ceil((last - first + 1) / 6))
    return [10.0**power for power in range(first, last + 1, some)] or [up.low, up.high]


def _legend(line: Line, y: float, log: bool, width: int) -> list[str]:
    dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
    mark = f'<path d="M{LEFT} {y}h22" stroke="hsl({line.hue} 65% 48%)" stroke-width="2"{dashes}/>'
    below = sum(one.low <= 0 for one in line.curve.buckets) if log else 0
    hidden = "; at or below zero in places, not drawn on a logarithmic axis" if below else ""
    odd = "".join(f", {one.points:,} × {MARKS[one.kind]}" for one in line.curve.odd)
    room = int((width - LEFT - 30) / LETTER) - len(odd + hidden)
    name = line.name if len(line.name) <= room else line.name[: max(1, room - 1)] + "…"
    return [mark, _text(LEFT + 28, y + 4, f"{name}{odd}{hidden}")]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="currentColor">'
        f"{_safe(text)}</text>"
    )


def _safe(text: str) -> str:
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _svg(parts: Sequence[str], width: int, height: int, told: str, ground: str) -> str:
    behind = f'<rect width="{width}" height="{height}" fill="{escape(ground)}"/>' if ground else ""
    colour = ' color="#1b1f27"' if ground else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{_safe(told)}" font-family="system-ui, sans-serif" font-size="11"{colour}>'
        f"{behind}{''.join(parts)}</svg>"
    )
