"""Printed tables: a number below a head such as `fit_time` or `dur` is a duration, though the line does not say so."""

from __future__ import annotations

import re
from collections import deque

from bis.formats import Context, clocks

CELLS = re.compile(r"[^\s|│┃]+(?: [^\s|│┃]+)*")
REAL = re.compile(r"\d+\.\d+(?:[eE][-+]?\d+)?")
LINES = 64
"""How far above a line its head may be."""


class Heads:
    """The last lines of a text that were the same, among which the head of a table may be."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.lines: deque[str | bytes] = deque(maxlen=LINES)

    def durations(self, old: str, new: str) -> list[tuple[str, str]]:
        """The cells in which two lines differ, if those are durations by their heads, and nothing else differs."""
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
            text = line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
            cells = CELLS.findall(text)
            if not any(letter.isalnum() for letter in text):
                continue
            if abs(len(cells) - width) > 1:
                return []
            if any(map(clocks.measured, cells)):
                return cells
        return []
