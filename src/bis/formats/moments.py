"""Moments: whether a text that looks like a time or a duration can be one that this run wrote."""

from __future__ import annotations

import calendar
import functools
import re
import time
from collections.abc import Iterable

from bis.formats import Context, Side

QUARTER = 900.0
"""Time zones differ by whole quarters of an hour."""
FARTHEST = 56
"""Quarters from UTC of the farthest time zone."""
DAY = 86_400.0
CACHED = 65_536
WORKERS = 64
"""Processor time may exceed the time of the run by the number of its processors."""

ISO = re.compile(r"(\d{4})[-/.](\d\d)[-/.](\d\d)")
COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)[T_-]?(\d\d)(\d\d)(\d\d)?")
SLASHED = re.compile(r"(\d\d)[/.](\d\d)[/.](\d{4}|\d\d)")
GLOG = re.compile(r"(\d\d)(\d\d) \d\d:\d\d:(\d{10}\.\d+)?")
NAMED = re.compile(r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)")
TIME = re.compile(r"(\d{1,2})[:.h-](\d\d)(?:[:.m-](\d\d))?(?:[.,](\d+))? ?([AaPp])?\.?[Mm]?\.?")
BARE_TIME = re.compile(r"(\d\d)(\d\d)(\d\d)")
ZONE = re.compile(r"(?:(Z|UTC|GMT)|([+-])(\d\d):?(\d\d))$")
PART = re.compile(r"(\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?) ?([A-Za-zµμ]*)")
COLONS = re.compile(r"(?<!\d)(?:(\d+) days?, )?(\d+):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?")
EITHER = "float noise or clock"
"""The cause of a difference that looks like both: only the code can tell."""
SECONDS = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "h": 3600.0, "d": 86400.0}


def last_digits(pairs: Iterable[tuple[float, float]], context: Context) -> str:
    """The cause of differences in last digits: sums that were added in another order, unless each number went on as
    the clock did from run to run. Seconds since 1970, multiplied by anything, do."""
    before, after = context.before, context.after
    if not (before.started and after.started):
        return "float noise"
    least = (after.started - max(before.ended, before.started)) / max(before.ended, before.started)
    most = (max(after.ended, after.started) - before.started) / before.started
    differing = [(old, new) for old, new in pairs if old != new]
    went_on = all(old and least <= new / old - 1 <= most for old, new in differing)
    return EITHER if differing and went_on else "float noise"


def dated(text: str, side: Side, slack: float) -> bool:
    """Whether a date, with or without a time of day, lies in the window of the run, in some time zone when it names
    none. An unknown window holds no date."""
    if not side.started:
        return False
    if text[19:20] in {",", "."} and text[20:].isdigit():
        text = text[:19]
    return _dated(text, side.started - slack, max(side.ended, side.started) + slack)


@functools.lru_cache(maxsize=CACHED)
def _dated(text: str, start: float, end: float) -> bool:
    for moment, precision, zoned in _moments(text, start):
        earliest = start - precision
        if precision == DAY:
            if earliest - FARTHEST * QUARTER <= moment <= end + FARTHEST * QUARTER:
                return True
        elif zoned:
            if earliest <= moment <= end:
                return True
        else:
            shift = min(max((moment - earliest) // QUARTER, -FARTHEST), FARTHEST)
            if earliest <= moment - shift * QUARTER <= end:
                return True
    return False


def epoch(text: str, side: Side, slack: float) -> bool:
    """Whether a number of seconds, milli-, micro- or nanoseconds since 1970 lies in the window of the run."""
    if not side.started:
        return False
    whole, _, fraction = text.partition(".")
    try:
        seconds = int(whole) / 10.0 ** (len(whole) - 10) + (float(f"0.{fraction}") if fraction else 0.0)
    except ValueError:
        return False
    return side.started - slack <= seconds <= max(side.ended, side.started) + slack


def clock(text: str, side: Side, slack: float) -> bool:
    """Whether a time of day can be one within the run, in some time zone. An unknown window holds any."""
    match = TIME.search(text)
    if not match or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 60:
        return False
    if not side.started:
        return True
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    width = max(side.ended - side.started, 0.0) + 2 * slack
    return (seconds - (side.started - slack)) % QUARTER <= width


def lasts(text: str, side: Side, slack: float) -> bool:
    """Whether a duration can have been measured in the run: not longer than all its processors' time."""
    if not side.started:
        return True
    seconds = _seconds(text)
    return seconds is None or seconds <= (max(side.ended - side.started, 0.0) + slack) * WORKERS


@functools.lru_cache(maxsize=CACHED)
def _seconds(text: str) -> float | None:
    if match := COLONS.search(text):
        days, first, second, third = (int(group) if group else 0 for group in match.groups())
        if match[4] is None:
            return days * DAY + first * 60 + second
        return days * DAY + first * 3600 + second * 60 + third
    total, found = 0.0, False
    for number, unit in PART.findall(text):
        try:
            total += float(number.replace(",", "")) * _unit(unit)
        except (ValueError, OverflowError):
            return None
        found = True
    return total if found else None


def _unit(unit: str) -> float:
    unit = unit.lower()
    if unit.startswith(("ms", "milli")):
        return 1e-3
    if unit.startswith("micro"):
        return 1e-6
    if unit.startswith("m"):
        return 60.0
    return SECONDS.get(unit[:1], 1.0)


def _moments(text: str, start: float) -> list[tuple[float, float, bool]]:
    """The readings of a text as a time: seconds since 1970 as if in UTC, precision, whether the zone is known."""
    if match := GLOG.match(text):
        if match[3]:
            return [(float(match[3]), 1.0, True)]
        return _with_time([(0, int(match[1]), int(match[2]))], text[5:], start)
    if match := ISO.match(text):
        return _with_time([(int(match[1]), int(match[2]), int(match[3]))], text[match.end() :], start)
    if match := COMPACT.match(text):
        days = [(int(match[1]), int(match[2]), int(match[3]))]
        return _with_time(days, f" {match[4]}:{match[5]}" + (f":{match[6]}" if match[6] else ""), start)
    if match := SLASHED.match(text):
        year = int(match[3]) + (2000 if len(match[3]) == 2 else 0)
        first, second = int(match[1]), int(match[2])
        days = [(year, first, second), (year, second, first)]
        if len(match[3]) == 2:
            days.append((2000 + first, second, int(match[3])))
        return _with_time(days, text[match.end() :], start)
    return _named(text, start)


def _named(text: str, start: float) -> list[tuple[float, float, bool]]:
    name = NAMED.search(text)
    if not name:
        return []
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(name.group()) // 3 + 1
    rest = re.sub(r"(?<!\d)\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?", " ", text)
    rest = re.sub(r"[+-]\d{4}$", " ", rest)
    years = re.findall(r"(?<!\d)\d{4}(?!\d)", rest)
    days = re.findall(r"(?<!\d)\d{1,2}(?!\d)", rest)
    if not days:
        return []
    hours = re.search(r"(?<!\d)\d{1,2}:\d\d.*$", text)
    dates = [(int(years[0]) if years else 0, month, int(days[0]))]
    return _with_time(dates, f" {hours.group()}" if hours else "", start)


def _with_time(dates: list[tuple[int, int, int]], rest: str, start: float) -> list[tuple[float, float, bool]]:
    """Each date with the time of day that follows it. Year 0 stands for a year that is not written."""
    read = TIME.search(rest) or BARE_TIME.search(rest)
    seconds, precision = 0, DAY
    if read:
        hour, minute, second = int(read[1]), int(read[2]), int(read[3] or 0)
        if hour > 23 or minute > 59 or second > 60:
            return []
        if read.re is TIME and read[5] and read[5] in "pP" and hour < 12:
            hour += 12
        seconds, precision = hour * 3600 + minute * 60 + second, 1.0 if read[3] else 60.0
    zone = ZONE.search(rest.strip())
    shift = 0
    if zone and zone[2]:
        shift = (int(zone[3]) * 3600 + int(zone[4]) * 60) * (1 if zone[2] == "+" else -1)
    years = _years(start)
    found = []
    for year, month, day in dates:
        for one in (year,) if year else years:
            if 1970 <= one <= 2200 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(one, month)[1]:
                midnight = calendar.timegm((one, month, day, 0, 0, 0))
                found.append((float(midnight + seconds - shift), precision, bool(zone)))
    return found


def _years(start: float) -> tuple[int, ...]:
    year = time.gmtime(start).tm_year
    return (year - 1, year, year + 1)
