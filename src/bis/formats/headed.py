"""Printed tables: a number below a head such as `fit_time` or `dur` is a duration, though the line does not say so.

So is one behind a name on a line of its own, as scikit-learn shows a fitted search over parameters in HTML.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice

from bis.formats import Context, clocks

CELLS = re.compile(r"[^\s|│┃]+(?: [^\s|│┃]+)*")
NUMBER = re.compile(r"(?<!\d)\d+\.\d+(?:e[-+]?\d+)?")
REAL = re.compile(r"(?<!\d)\d+\.\d+(?:[eE][-+]?\d+)?")
FITTED = {
    "refit_time_": re.compile(r"(?<=<td>)(\d+\.\d+(?:e-?\d+)?)(?=</td>)"),
    "cv_results_": re.compile(r"(?<=\.\.\.me&#x27;: array\(\[)([-\d., e]+)(?=\]\))"),
}
"""Attributes of a fitted search, and where their lines hold durations: `me...me` is `mean_fit_time`, cut short."""
ATTRIBUTE = re.compile(r"[a-z]\w*_")
ABOVE = 12
"""How far above its value the name of an attribute may be."""
LINES = 64
"""How far above a line its head may be."""


class Heads:
    """The last lines of a text that were the same, among which the head of a table may be."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.lines: deque[str | bytes] = deque(maxlen=LINES)

    def durations(self, old: str, new: str) -> list[tuple[str, str]]:
        """The cells in which two lines differ, if those are durations by their heads, and nothing else differs."""
        return self._fitted(old, new) or self._cells(old, new)

    def _fitted(self, old: str, new: str) -> list[tuple[str, str]]:
        above = (_text(line).strip() for line in islice(reversed(self.lines), ABOVE))
        pattern = FITTED.get(next((line for line in above if ATTRIBUTE.fullmatch(line)), ""))
        if pattern is None or pattern.sub("", old) != pattern.sub("", new):
            return []
        found = list(zip(pattern.findall(old), pattern.findall(new), strict=False))
        numbers = [two for pair in found for two in zip(*map(NUMBER.findall, pair), strict=False)]
        return found if all(clocks.lasted("fit_time", one, other, self.context) for one, other in numbers) else []

    def _cells(self, old: str, new: str) -> list[tuple[str, str]]:
        cells = CELLS.findall(old), CELLS.findall(new)
        if len(cells[0]) != len(cells[1]):
            return []
        places = [place for place, two in enumerate(zip(*cells, strict=True)) if two[0] != two[1]]
        head = self._head(len(cells[0])) if places else []
        found = []
        for place in places:
            name = head[place - len(cells[0])] if len(cells[0]) - place <= len(head) else ""
            pair = cells[0][place], cells[1][place]
            if not (clocks.measured(name) and all(map(REAL.fullmatch, pair)) and self._lasted(name, *pair)):
                return []
            found.append(pair)
        return found

    def _lasted(self, name: str, old: str, new: str) -> bool:
        return clocks.lasted(name, old, new, self.context)

    def _head(self, width: int) -> list[str]:
        """The names above the columns. They count from the right: the names of rows have no head."""
        for line in reversed(self.lines):
            text = _text(line)
            cells = CELLS.findall(text)
            if not any(letter.isalnum() for letter in text):
                continue
            if abs(len(cells) - width) > 1:
                return []
            if any(map(clocks.measured, cells)):
                return cells
        return []


def _text(line: str | bytes) -> str:
    return line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
