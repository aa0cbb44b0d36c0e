"""Text: logs, reports, anything that programs print. Line by line, in bounded memory, whatever the size.

Equal are: lines that are equal under `masks`; lines that show the same after progress bars have rewritten them.
A state of a progress bar that was overwritten counts where both runs showed it (the same `12/100`): then it must
say the same. Order counts: the same lines in another order are different, with the cause `thread order`.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import BinaryIO

from bis.digest import readable, spell
from bis.formats import Context
from bis.formats.headed import Heads
from bis.formats.masks import LONGEST, Masks
from bis.formats.moments import last_digits
from bis.formats.numbers import gap
from bis.formats.rules import LOG
from bis.formats.screen import Returned, Row, has_controls, has_no_line_feed, plain_lines, rows
from bis.formats.tally import Tally, plural, shown_pair
from bis.nouns.verdict import Comparison

NOISE = 1e-6
"""Relative difference up to which two printed numbers differ only in their last digits."""
WINDOW = 400
"""Lines of each side that are aligned for the report."""
OPTIONAL = re.compile(
    r"And if memory is not enough, you can set `force_col_wise=true`\.$"
    r"|Matplotlib is building the font cache; this may take a moment\.$"
)
"""Printed by LightGBM for one outcome of a race that it runs at its start, by Matplotlib when it takes five seconds."""
COUNTERS = (
    re.compile(r"(?<![\d.,])[\d.,]+(?:[kKMGT]i?)?B? ?/ ?\d[\d.,]*(?:[kKMGT]i?)?B?"),
    re.compile(r"(?<!\d)\d+(?=it\b)"),
    re.compile(r"(?<!\d)\d+(?=%)"),
)
BAR = re.compile(r" {0,3}\d{1,3}%\|[^|]*\|.*?(?:\]|$)|[━╸╺]{5,}")
SPACES = "\t\n\r\x08\x1b\x0c"
NUMBERS = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
WORD = re.compile(r"[\w.-]+")
REORDERED = "order of words"
"""The cause of a line that says the same words in another order: of a set, or of the names in a folder."""
FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+@~-]+/)+(?=[\w.+@~-])")


class Text:
    """Any text, masks of the given kinds allowed."""

    def __init__(self, name: str = "text", kinds: frozenset[str] = LOG, suffixes: tuple[str, ...] = ("",)) -> None:
        self.name = name
        self.kinds = kinds
        self.suffixes = suffixes

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith(self.suffixes) and is_text(head)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        with before.open("rb") as old, after.open("rb") as new:
            if not context.name.startswith("<") and has_no_line_feed(old) and has_no_line_feed(new):
                # No log of a terminal: what stands before a carriage return was not overwritten.
                one, other = io.BufferedReader(Returned(old)), io.BufferedReader(Returned(new))
                return compare_streams(one, other, context, self.name, self.kinds)
            return compare_streams(old, new, context, self.name, self.kinds)


class Single:
    """A file of one known name that holds one thing of one rule and nothing else."""

    def __init__(self, name: str, files: str, content: str, rule: str) -> None:
        self.name = name
        self.files = re.compile(files)
        self.content = re.compile(content.encode())
        self.rule = rule

    def recognises(self, name: str, head: bytes) -> bool:
        return self.files.search(name) is not None and self.content.fullmatch(head.strip()) is not None

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        tally.set_aside(self.rule, before.read_text().strip(), after.read_text().strip())
        return tally.settle(self.name, f"one {self.rule} and nothing else")


def is_text(head: bytes) -> bool:
    """No NUL, hardly any control characters, and not many bytes that are no UTF-8 (an older encoding)."""
    if b"\0" in head:
        return False
    text = head.decode("utf-8", "surrogateescape")
    controls = sum(1 for letter in text if letter < " " and letter not in SPACES)
    foreign = sum(1 for letter in text if "\udc80" <= letter <= "\udcff")
    return controls * 50 <= len(text) and foreign * 3 <= len(text)


def compare_streams(
    before: BinaryIO, after: BinaryIO, context: Context, name: str = "text", kinds: frozenset[str] = LOG
) -> Comparison:
    tally = Tally(context)
    Reading(context, tally, kinds).compare(before, after)
    return tally.settle(name, "the same text", "line")


class Reading:
    """One comparison of two texts."""

    def __init__(self, context: Context, tally: Tally, kinds: frozenset[str] = LOG, where: str = "") -> None:
        self.tally = tally
        self.masks = Masks(context)
        self.heads = Heads(context)
        self.tolerance = context.tolerance
        self.kinds = kinds
        self.where = where
        self.bar = False
        self.wrong: list[tuple[int, Row | None, Row | None]] = []
        self.amiss = 0
        self.sums = [0, 0]

    def compare(self, before: BinaryIO, after: BinaryIO) -> None:
        plain = not has_controls(before) and not has_controls(after)
        if plain:
            self._plain(before, after)
        else:
            before.seek(0), after.seek(0)
            for number, (old, new) in enumerate(zip_longest(self._kept(rows(before)), self._kept(rows(after))), 1):
                self._pair(number, old, new)
            if not self.amiss and not self.tally.masks:
                self.tally.set_aside("terminal control")
        if self.amiss:
            self._report(before, after)
        elif _ends(before) != _ends(after):
            self.tally.set_aside("white space at the end of lines")

    def _plain(self, before: BinaryIO, after: BinaryIO) -> None:
        olds, news = plain_lines(before), plain_lines(after)
        for number, (old, new) in enumerate(zip_longest(olds, news), 1):
            if old == new:
                self.heads.lines.append(old or b"")
                self.bar = False
                continue
            if OPTIONAL.search(_text(old)) or OPTIONAL.search(_text(new)):
                rest_old = self._kept(Row(_text(line)) for line in _chain(old, olds))
                rest_new = self._kept(Row(_text(line)) for line in _chain(new, news))
                for further, (first, second) in enumerate(zip_longest(rest_old, rest_new), number):
                    self._pair(further, first, second)
                return
            if old is None or new is None:
                self._wrong(number, None if old is None else Row(_text(old)), None if new is None else Row(_text(new)))
            elif not self._agree(_text(old), _text(new)):
                self._wrong(number, Row(_text(old)), Row(_text(new)))

    def _kept(self, found: Iterator[Row]) -> Iterator[Row]:
        for row in found:
            if OPTIONAL.search(row.text):
                self.tally.set_aside("timing choice", row.text, "")
            else:
                yield row

    def _pair(self, number: int, old: Row | None, new: Row | None) -> None:
        if old is None or new is None or not self._pair_agrees(old, new):
            self._wrong(number, old, new)

    def _pair_agrees(self, old: Row, new: Row) -> bool:
        if not self._agree(old.text, new.text):
            return False
        return old.frames == new.frames or self._frames(old.frames, new.frames)

    def _agree(self, old: str, new: str) -> bool:
        """Whether two lines are the same under masks, white space at their ends aside."""
        below_bar, self.bar = self.bar, BAR.search(old) is not None
        if self.masks.same(old, new, self.tally, self.kinds):
            self.heads.lines.append(old)
            return True
        if self._below_a_clock(old, new):
            return True
        if below_bar and old.strip() == new.strip():  # what did not fit beside a rate of another width
            self.tally.set_aside("progress bar")
            return True
        stripped = old.rstrip(), new.rstrip()
        if stripped == (old, new) or not self.masks.same(*stripped, self.tally, self.kinds):
            return False
        self.tally.set_aside("white space at the end of lines")
        self.heads.lines.append(old)
        return True

    def _below_a_clock(self, old: str, new: str) -> bool:
        """Whether two rows of a printed table differ by durations only. Not asked for ever: each asking reads lines."""
        durations = self.heads.durations(old, new) if self.kinds is LOG and self.amiss < WINDOW else []
        for pair in durations:
            self.tally.set_aside("duration", *pair)
        return bool(durations)

    def _frames(self, before: list[str], after: list[str]) -> bool:
        """Whether the overwritten states of a line agree wherever both runs showed one for the same count."""
        olds, news = self._by_counter(before, 0), self._by_counter(after, 1)
        for key in olds.keys() & news.keys():
            if not (olds[key] <= news[key] or news[key] <= olds[key]):
                return False
        told = [f"{plural(len(side), 'state')} shown" for side in (before, after)]
        self.tally.set_aside("progress bar", told[0], told[1])
        return True

    def _by_counter(self, frames: list[str], side: int) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for frame in frames:
            key = next((match.group() for counter in COUNTERS if (match := counter.search(frame))), "")
            found.setdefault(key, set()).add(self.masks.canonical(frame, side, self.kinds, relaxed=True))
        return found

    def _wrong(self, number: int, old: Row | None, new: Row | None) -> None:
        if old is not None and new is not None and self._close(old.text, new.text) and old.frames == new.frames:
            return
        self.amiss += 1
        for side, row in enumerate((old, new)):
            if row is not None:
                text = self.masks.canonical(row.text.rstrip(), side, self.kinds)
                text += f"\0{side}" if row.frames else ""  # overwritten states are no matter of order
                mark = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
                self.sums[side] = (self.sums[side] + int.from_bytes(mark)) % (1 << 128)
        if len(self.wrong) < WINDOW:
            self.wrong.append((number, old, new))

    def _close(self, old: str, new: str) -> bool:
        """Whether two lines differ by numbers within the declared tolerance."""
        if not self.tolerance:
            return False
        distance = self._distance(old, new)
        if distance is None or distance > self.tolerance:
            return False
        self.tally.within += 1
        return True

    def _distance(self, old: str, new: str) -> float | None:
        """The largest relative difference of two numbers with a point, if nothing else in two lines differs."""
        first, second = self.masks.canonical(old, 0, self.kinds), self.masks.canonical(new, 1, self.kinds)
        if NUMBERS.sub("\0", first) != NUMBERS.sub("\0", second):
            return None
        return gap(zip(NUMBERS.findall(first), NUMBERS.findall(second), strict=True))

    def _numbers(self, old: str, new: str) -> Iterator[tuple[float, float]]:
        """The numbers of two lines that differ in nothing else, pair by pair."""
        sides = (NUMBERS.findall(self.masks.canonical(line, side, self.kinds)) for side, line in enumerate((old, new)))
        for pair in zip(*sides, strict=True):
            yield float(pair[0]), float(pair[1])

    def _report(self, before: BinaryIO, after: BinaryIO) -> None:
        if self.sums[0] == self.sums[1]:
            number, old, new = self.wrong[0]
            self.tally.differ(
                f"{self.where}line {number:,}",
                f"the same lines in another order, from {_told(old, new)}; {plural(self.amiss, 'line')} moved",
                "thread order",
            )
            return
        told = self._aligned() if len(self.wrong) == self.amiss else self.wrong
        longer = "more rounds" if self._went_on(told) else ""
        for number, old, new in told:
            self.tally.differ(f"{self.where}line {number:,}", _told(old, new), longer or self._cause(old, new))
        if len(self.wrong) < self.amiss:
            for _ in range(self.amiss - len(self.wrong)):
                self.tally.differ("", "", "")

    def _aligned(self) -> list[tuple[int, Row | None, Row | None]]:
        """The differing lines, with those that only moved up or down by an insertion taken out."""
        olds = [(number, row) for number, row, _ in self.wrong if row is not None]
        news = [(number, row) for number, _, row in self.wrong if row is not None]
        matcher = difflib.SequenceMatcher(
            None,
            [self.masks.canonical(row.text.rstrip(), 0, self.kinds) for _, row in olds],
            [self.masks.canonical(row.text.rstrip(), 1, self.kinds) for _, row in news],
            autojunk=False,
        )
        told: list[tuple[int, Row | None, Row | None]] = []
        for tag, i, j, k, m in matcher.get_opcodes():
            if tag == "equal":
                continue
            for old, new in zip_longest(olds[i:j], news[k:m]):
                number = old[0] if old else new[0] if new else 0
                told.append((number, old[1] if old else None, new[1] if new else None))
        return told or self.wrong

    def _went_on(self, told: list[tuple[int, Row | None, Row | None]]) -> bool:
        """Whether one text only has more lines of the kind that both have: a loop that went on for longer."""
        sides = [[row.text for _, *rows in told if (row := rows[side]) is not None] for side in (0, 1)]
        if bool(sides[0]) == bool(sides[1]):
            return False
        known = {_kind(line if isinstance(line, str) else _text(line)) for line in self.heads.lines}
        return all(_kind(line) in known for line in sides[0] + sides[1])

    def _cause(self, old: Row | None, new: Row | None) -> str:
        if old is None or new is None:
            return ""
        first, second = old.text.rstrip(), new.text.rstrip()
        if max(len(first), len(second)) > LONGEST or self.masks.same(first, second, None, self.kinds):
            return ""
        distance = self._distance(first, second)
        if distance is not None and distance <= NOISE:
            return last_digits(self._numbers(first, second), self.masks.context)
        if BAR.search(first + second) and self.masks.same(BAR.sub("", first), BAR.sub("", second), None, self.kinds):
            return "progress bar"
        if self.masks.same(FOLDERS.sub("/", first), FOLDERS.sub("/", second), None, self.kinds):
            return "path"
        return REORDERED if _reordered(WORD.findall(first), WORD.findall(second)) else ""


def _reordered(old: list[str], new: list[str]) -> bool:
    """Whether names stand in another order and nothing else differs: numbers that changed places are other numbers."""
    if old == new or sorted(old) != sorted(new):
        return False
    numbers = ([word for word in words if NUMBERS.fullmatch(word)] for words in (old, new))
    return next(numbers) == next(numbers)


def _ends(file: BinaryIO) -> bool:
    """Whether a text ends with the end of a line."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
    return file.read(1) == b"\n"


def _kind(line: str) -> str:
    """A line without its numbers."""
    return NUMBERS.sub("0", line.rstrip())


def _told(old: Row | None, new: Row | None) -> str:
    if old is None:
        return f"only in the second: {_shown(new)}"
    if new is None:
        return f"only in the first: {_shown(old)}"
    if old.text.rstrip() == new.text.rstrip():
        frames = zip_longest(old.frames, new.frames, fillvalue="")
        first, second = next((pair for pair in frames if pair[0] != pair[1]), ("", ""))
        return f"an overwritten state: {shown_pair(_readable(first), _readable(second))}"
    return shown_pair(_readable(old.text), _readable(new.text))


def _shown(row: Row | None) -> str:
    text = _readable(row.text) if row else ""
    return repr(text[:100] + ("…" if len(text) > 100 else ""))


def _readable(text: str) -> str:
    return readable(spell(text.replace("\0", "␀"))) if not text.isprintable() else text


def _text(line: bytes | None) -> str:
    return "" if line is None else line.decode("utf-8", "surrogateescape")


def _chain(first: bytes | None, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first is not None:
        yield first
    yield from islice(rest, None)
