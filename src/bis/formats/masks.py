"""Masks: which spans of two texts may differ without the texts saying something else.

A mask is a typed span: a time, a duration, an address, an id, a name drawn at random, a path of the run itself.
Two texts are the same under masks when they are equal outside of such spans, have spans of the same type in the
same places, and every span that differs is *plausible* on its side: a date lies within the window of its run, a
duration is not longer than the run can have measured, a 32-digit id is a random uuid and not a checksum. A number
that is none of these is never covered, so a changed metric, word or cell always shows.

Spans are found on the *shape* of a text (each digit becomes 0), which is the same for all lines that one
statement prints: a log of millions of lines has some hundred shapes, and each is searched once.
"""

from __future__ import annotations

import re

from bis.formats import Context, moments
from bis.formats.rules import LABELS, LOG, RULES, TIMING, TYPES, Span, find
from bis.formats.tally import Tally

LEAD = re.compile(r"\[(?:\d\d/\d\d/\d\d )?\d\d:\d\d:\d\d\](?= )")
"""The time column of rich's log handler, left blank when the second is the same as on the line above."""
DIGITS = {ord(digit): "0" for digit in "123456789"}
CACHED = 50_000
LONGEST_CACHED = 2_000
LONGEST = 100_000
"""Letters of a text in which spans are looked for; in a longer one, nothing is set aside."""
RUN = "0" * 500
"""So many digits in a row are no time, and would be searched for one for minutes."""
SHORTEST = 3
"""Letters of a folder or name that is looked for in texts."""


class Masks:
    """The masks of one comparison: knows the paths, names and windows of the two runs."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.sides = (context.before, context.after)
        self.names = _names(context)
        self.cache: dict[str, tuple[tuple[Span, int], ...]] = {}

    def same(self, before: str, after: str, tally: Tally | None = None, kinds: frozenset[str] = LOG) -> bool:
        """Whether two texts are equal under masks. What was set aside goes into `tally`, only if they are."""
        if before == after:
            return True
        seen: list[tuple[str, str, str]] = []
        if self.names:
            replaced = self._unnamed(before, 0), self._unnamed(after, 1)
            if replaced[0] != before:
                seen.append(self._first_name(before))
            before, after = replaced
        if not self._spans_agree(before, after, kinds, seen):
            return False
        if tally is not None:
            if not self._paired(seen, tally):
                return False
            for rule, old, new in seen:
                tally.set_aside(LABELS.get(rule, rule), old, new)
        return True

    def canonical(self, text: str, side: int, kinds: frozenset[str] = LOG, relaxed: bool = False) -> str:
        """The text with each plausible span replaced by its type: equal for texts that are the same under masks.
        `relaxed` takes any duration, as an estimate of what remains may be longer than the run."""
        return self._canonical(text, side, kinds, relaxed)[0]

    def split(self, text: str, side: int, kinds: frozenset[str] = LOG) -> tuple[str, list[str]]:
        """The canonical text, and the ids that it stands for, in their order, each in one spelling."""
        return self._canonical(text, side, kinds, relaxed=False)

    def _canonical(self, text: str, side: int, kinds: frozenset[str], relaxed: bool) -> tuple[str, list[str]]:
        text = self._unnamed(text, side)
        pieces, last, ids = [], 0, []
        for span, rule in self._spans(text):
            value = text[span.start : span.end]
            if span.kind not in kinds or not (relaxed or RULES[rule].check(value, self.sides[side], self.context)):
                continue
            pieces += [text[last : span.start].rstrip(" "), f"\0{TYPES.get(span.kind, span.kind)}\0"]
            last = span.end
            if span.kind == "id":
                ids.append(value.replace("-", "").lower()[-32:])
        return "".join((*pieces, text[last:])), ids

    def plausible(self, text: str, kind: str, side: int) -> bool:
        """Whether the whole text is one plausible span of this type."""
        found = self._spans(text)
        return (
            len(found) == 1
            and found[0][0] == (0, len(text), kind)
            and RULES[found[0][1]].check(text, self.sides[side], self.context)
        )

    def _unnamed(self, text: str, side: int) -> str:
        for number, pair in enumerate(self.names):
            if pair[side][0] in text:
                text = pair[side][1].sub(f"\0{number}\0", text)
        return text

    def _first_name(self, text: str) -> tuple[str, str, str]:
        old, new = next((pair[0][0], pair[1][0]) for pair in self.names if pair[0][0] in text)
        return "path" if "/" in old else "size" if old.endswith(" bytes") else "name", old, new

    def _spans(self, text: str) -> tuple[tuple[Span, int], ...]:
        if len(text) > LONGEST:
            return ()
        shape = text.translate(DIGITS)
        spans = self.cache.get(shape)
        if spans is None:
            spans = tuple(find(shape)) if RUN not in shape else ()
            if len(shape) <= LONGEST_CACHED:
                if len(self.cache) >= CACHED:
                    self.cache.clear()
                self.cache[shape] = spans
        return spans

    def _spans_agree(self, before: str, after: str, kinds: frozenset[str], seen: list[tuple[str, str, str]]) -> bool:
        if before == after:
            return True
        if lead := self._lead(before, after):
            seen.append(("time", before[:lead], after[:lead]))
            before, after = before[lead:], after[lead:]
        olds = [pair for pair in self._spans(before) if pair[0].kind in kinds]
        news = [pair for pair in self._spans(after) if pair[0].kind in kinds]
        if len(olds) != len(news):
            return before == after
        last_old = last_new = 0
        loose = moved = False
        for (old, old_rule), (new, new_rule) in zip(olds, news, strict=True):
            old_text, new_text = before[old.start : old.end], after[new.start : new.end]
            differs = old_text != new_text
            moved = moved or len(old_text) != len(new_text)
            if not _same_literal(before[last_old : old.start], after[last_new : new.start], loose, differs, moved):
                return False
            if differs:
                if old.kind != new.kind and not {old.kind, new.kind} <= TIMING:
                    return False
                if not RULES[old_rule].check(old_text, self.sides[0], self.context):
                    return False
                if not RULES[new_rule].check(new_text, self.sides[1], self.context):
                    return False
                seen.append((old.kind, old_text, new_text))
            loose, last_old, last_new = differs, old.end, new.end
        return _same_literal(before[last_old:], after[last_new:], loose, False, moved)

    def _lead(self, before: str, after: str) -> int:
        """The width of a time column that is filled on one side and blank on the other."""
        for number, (filled, blank) in enumerate(((before, after), (after, before))):
            match = LEAD.match(filled)
            if match and blank[: match.end()].isspace():
                text = match.group()[1:-1]
                side = self.sides[number]
                check = moments.dated if "/" in text else moments.clock
                return match.end() if check(text, side, self.context.slack) else 0
        return 0

    def _paired(self, seen: list[tuple[str, str, str]], tally: Tally) -> bool:
        return all(rule != "id" or tally.pairs(old, new) for rule, old, new in seen)


def _same_literal(before: str, after: str, loose_left: bool, loose_right: bool, moved: bool) -> bool:
    """Equal, but for the padding beside a span that differs, and for columns that its width has moved."""
    if before == after:
        return True
    if loose_left:
        before, after = before.lstrip(" "), after.lstrip(" ")
    if loose_right:
        before, after = before.rstrip(" "), after.rstrip(" ")
    if before == after:
        return True
    return moved and _unpadded(before) == _unpadded(after)


def _unpadded(text: str) -> str:
    return re.sub(r" {2,}", "  ", re.sub(r"\.{3,}", "...", text))


def _names(context: Context) -> list[tuple[tuple[str, re.Pattern[str]], tuple[str, re.Pattern[str]]]]:
    """For each pair of folders or names that differ, the text to look for and the pattern to replace, longest first."""
    pairs = [
        (old, new)
        for olds, news in ((context.before.roots, context.after.roots), (context.before.names, context.after.names))
        for old, new in zip(olds, news, strict=False)
        if old != new and min(len(old), len(new)) >= SHORTEST
    ]
    for old, new in list(pairs):
        if old.count("/") > 1 and new.count("/") > 1:
            pairs.append((old.lstrip("/"), new.lstrip("/")))
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1])), reverse=True)
    return [((old, _bounded(old)), (new, _bounded(new))) for old, new in pairs]


def _bounded(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-]|\.\w)")
