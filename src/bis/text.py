"""Values as a person reads them: sizes, times, numbers, names. Plain ASCII, and never a raw control character."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from bis.digest import readable, short

DIGITS = 5
"""Significant digits of a metric in a table, as long as they tell all its numbers apart."""
SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""What programs write to steer a terminal."""


def size(count: float) -> str:
    """Bytes: `212 B`, `1.2 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """`0.42s`, `12.3s`, `4m40s`, `2h05m`, `3d04h`."""
    if seconds < 10:
        return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 59.95 else "60s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def moment(text: str) -> datetime | None:
    """An RFC 3339 time as a value; None for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(then: str, now: datetime) -> str:
    """`40s ago`, `12m ago`, `2h ago`, `3d ago`, and the date when that is more than a month."""
    at = moment(then)
    if at is None:
        return then
    seconds = (now - at).total_seconds()
    if seconds < 0:
        return local(then)
    for limit, unit, letter in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (31 * 86400, 86400, "d")):
        if seconds < limit:
            return f"{int(seconds // unit)}{letter} ago"
    return at.astimezone().strftime("%Y-%m-%d")


def local(then: str) -> str:
    """A time on this machine's clock, to the second."""
    at = moment(then)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else then


def utc(then: str) -> str:
    """A time on the clock of UTC, to the second."""
    at = moment(then)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else then


def seconds_between(started: str, ended: str) -> float | None:
    begin, end = moment(started), moment(ended)
    return max(0.0, (end - begin).total_seconds()) if begin and end else None


def number(value: float | None) -> str:
    """A metric, exact: the shortest text that reads back as the same number."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def numbers(values: Sequence[float | None]) -> list[str]:
    """A column of metrics: few digits, and more of them where fewer would make two different numbers look the same."""
    different = len({value for value in values if value is not None and not math.isnan(value)})
    for digits in range(DIGITS, 17):
        texts = [_rounded(value, digits) for value in values]
        if len({text for text in texts if text and text != "nan"}) == different:
            return texts
    return [number(value) for value in values]


def _rounded(value: float | None, digits: int) -> str:
    if value is None:
        return ""
    exact = number(value)
    return exact if len(exact) <= digits + 2 else f"{value:.{digits}g}"


def by_point(texts: Sequence[str]) -> list[str]:
    """Numbers, with or without a unit behind them, set so that those below one another have their points in one
    place, and those without a point end where it would be."""
    before = [next((place for place, letter in enumerate(text) if letter in ".e "), len(text)) for text in texts]
    most = max(before, default=0)
    return [" " * (most - short) + text for text, short in zip(texts, before, strict=True)]


def count(number: int, one: str, many: str = "") -> str:
    """`1 file`, `3 files`, `1,204 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of these, and how many others there are: `a.csv, b.csv, c.csv and 2 others`."""
    shown = ", ".join(map(readable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {count(len(names) - most, 'other')}"


def plain(text: str) -> str:
    """Any stored text on one line that is safe for a terminal."""
    return readable(text)


def plain_lines(text: str) -> list[str]:
    """Any stored text, line by line, each safe for a terminal; tabs stay as spaces."""
    return [readable(line.expandtabs(8)) for line in text.split("\n")]


def command_line(words: Iterable[str]) -> str:
    """A stored argv as it would be typed: safe for a terminal, and quoted for a shell where it needs to be."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # What cannot be shown as it is can still be typed, in the quoting of bash and zsh.
    return "$'" + "\\x".join(map(_escaped, word.split("\0"))) + "'"


def _escaped(text: str) -> str:
    return "".join(
        f"\\{letter}" if letter in "\\'" else letter if letter.isprintable() else repr(letter)[1:-1] for letter in text
    )


def ident(digest: str) -> str:
    return short(digest)


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)


def cut(text: str, columns: int) -> str:
    """The text, shortened to so many columns, with `..` where something is missing."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 2:
        text = text[:-1]
    return text + ".."


def clear_lines(text: str) -> list[str]:
    """What a program printed, as lines that are safe on a terminal: a line that was drawn over itself (a progress
    bar) as it stood last, colours left out."""
    lines = list(map(clear_line, text.split("\n"))) if text else []
    return lines if not lines or lines[-1] else lines[:-1]


def clear_line(line: str) -> str:
    """One of them."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return plain((SEQUENCE.sub("", last) if "\x1b" in last else last).expandtabs(8))
