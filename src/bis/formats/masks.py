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
from collections.abc import Callable
from typing import NamedTuple

from bis.formats import Context, Side, moments
from bis.formats.tally import Tally


class Span(NamedTuple):
    start: int
    end: int
    kind: str


class Rule(NamedTuple):
    kind: str
    pattern: str
    """On the shape of the text. A group named `v` is the span; without it the whole match is."""
    check: Callable[[str, Side, Context], bool] = lambda text, side, context: True


NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?"
DECIMAL = r"(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE]-\d+)"
ENDS = r"(?=\s*$|\s*[,;|)\]}]|\.(?:\s|$)| - | {2,}| \(| ['\"]?[A-Za-z_]+['\"]? ?[=:])"
"""What follows a number that stands for itself: no noun that it would count."""
LONG_UNIT = r"(?:nano|micro|milli)?seconds?|msecs?|millis|secs?|minutes?|mins|hours?|hrs?"
GLUED_UNIT = rf"(?:{LONG_UNIT}|min|ns|us|µs|μs|ms|s)"
SPACED_UNIT = rf"(?:{LONG_UNIT}|µs|μs|ms|s|(?:ns|us)(?= per loop| ±))"
PER = r"(?:/(?:step|it|iter|iteration|epoch|batch|sample|image|example|call|loop|token|row|query|item))"
MONTHS = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
DAYS = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\.?)?"
ZONE = r"(?: ?(?:Z|UTC|GMT|[CEW]ES?T|[ECMP][SD]T|BST|IST|JST|KST|MSK|[+-]\d\d:?\d\d)(?!\w))?"
TIMED = (
    r"(?:total|train(?:ing)?|fit(?:ting)?|pred(?:ict(?:ion|ing)?)?|test(?:ing)?|eval(?:uation)?|scor(?:e|ing)|inference"
    r"|exec(?:ution)?|process(?:ing)?|comput(?:e|ation|ing)|cpu|wall|user|sys|real|load(?:ing)?|build(?:ing)?|epoch|step"
    r"|iteration|batch|mean|avg|average|per[ _-]\w+|data|forward|backward|compil(?:e|ation)|preprocess(?:ing)?|elapsed"
    r"|response|query|search|optimi[sz]ation|tuning|validation|remaining|run)[ _-]times?"
)
LASTS = (
    r"(?:elapsed|took|takes|taken|lasted|runtime|duration|wall[ _-]?clock|eta|latency|remaining"
    rf"|time[ _-](?:taken|spent|elapsed|used|cost|total)|{TIMED})"
)
LINKS = (
    r"(?:[ _](?:time|seconds|secs|sec|ms|s))?['\"]?\s*"
    r"(?:[(\[](?:in )?(?:s|sec|secs|seconds|ms|min|minutes)[)\]]|in seconds)?"
    r"\s*(?:=|:|is|was|of|->)?\s*(?:about |approx\.? |~ ?|array\(\[ ?)?"
)
RATED = (
    r"(?:it|iters?|iterations?|[kKMGT]?i?B|[kKMG]?[bB]ytes|samples?|examples?|im(?:a)?ge?s?|tok(?:en)?s?|steps?|rows?|batch(?:es)?"
    r"|records?|req(?:uest)?s?|items?|epochs?|frames?|words?|docs?|sentences?|files?|trials?|nodes?|tasks?|sequences?|evals?)"
)
HEX32 = r"[0-9a-f]{32}"


def _in_window(text: str, side: Side, context: Context) -> bool:
    return moments.dated(text, side, context.slack)


def _epoch(text: str, side: Side, context: Context) -> bool:
    return moments.epoch(text, side, context.slack)


def _clock(text: str, side: Side, context: Context) -> bool:
    """A time of day, or the same form used for a duration (`0:00:12`), unknown while it is estimated (`-:--:--`)."""
    return text[0] == "-" or moments.clock(text, side, context.slack) or _duration(text, side, context)


def _duration(text: str, side: Side, context: Context) -> bool:
    return moments.lasts(text, side, context.slack)


def _random_id(text: str, side: Side, context: Context) -> bool:
    """Version 4 (random), or 1, 6, 7 (clock) with dashes: not 3 and 5, which are digests of a name, nor an md5."""
    digits = text.replace("-", "")[-32:]
    versions = "1467" if text.count("-") >= 4 else "4"
    return text.startswith("tr-") or (digits[12] in versions and digits[16] in "89abAB")


def _ephemeral(text: str, side: Side, context: Context) -> bool:
    return 10_000 <= int(text) <= 65_535


RULES: tuple[Rule, ...] = (
    # Checksums come first and are no mask: they stand for content.
    Rule("", r"(?i:md5|sha\d*|hash|digest|checksum|etag)['\"]?[ =:_(-]{0,4}['\"]?[0-9a-f]{32,}"),
    Rule("time", r"(?<=\b[IWEF])\d{4} \d\d:\d\d:\d{2,10}\.\d{6} +\d+(?= )", _in_window),
    Rule("temporary name", rf"joblib_memmapping_folder_\d+_{HEX32}_{HEX32}"),
    Rule(
        "id",
        rf"(?<![0-9A-Za-z])(?:(?:m|tr|run)-|_?anim_?(?:[a-z]+\d?_?(?:[a-z]+\d?_?)?)?)?{HEX32}(?![0-9A-Za-z])",
        _random_id,
    ),
    Rule(
        "id",
        r"(?<![0-9A-Fa-f])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9A-Za-z])",
        _random_id,
    ),
    Rule("id", r"(?<=\bcell-id=)[0-9a-f]{8}(?![0-9A-Za-z])"),
    Rule(
        "time",
        r"(?<![0-9A-Za-z.])\d{4}[-/.]\d\d[-/.]\d\d"
        rf"(?:[T @_-]{{1,2}}\d\d[:.h-]?\d\d(?:[:.m-]?\d\d(?:[.,]\d{{1,9}})?)?{ZONE})?(?![0-9])",
        _in_window,
    ),
    Rule(
        "time",
        r"(?<![0-9A-Za-z.])(?:\d{8}[T_-]?\d{6}|\d{8}[T_-]\d{4})(?:[.,_]\d{1,9})?(?:Z|[+-]\d{4})?(?![0-9A-Za-z])",
        _in_window,
    ),
    Rule("time", rf"(?<![0-9A-Za-z./])\d\d[/.]\d\d[/.](?:\d{{4}}|\d\d)(?:,? {CLOCK}{ZONE})?(?![0-9/])", _in_window),
    Rule(
        "time",
        rf"(?:\b{DAYS},? +)?"
        rf"(?:\b{MONTHS} +\d{{1,2}}(?:,? +{CLOCK}{ZONE})?(?:,? +\d{{4}})?(?:,? +(?:at )?{CLOCK}{ZONE})?"
        rf"|\b\d{{1,2}}[ /-]{MONTHS}[ /-]\d{{4}}(?:[,: ] ?{CLOCK}{ZONE})?)(?![0-9A-Za-z])",
        _in_window,
    ),
    # A progress meter: [00:12<00:03, 8.1it/s
    Rule(
        "duration",
        r"(?<=\[)\d+:\d\d(?::\d\d)?(?:<(?:[\d:]+|\?))?, *(?:[\d.]+[kMGT]?|\?) ?(?:[A-Za-z]+/s|s/[A-Za-z]+)",
    ),
    Rule(
        "clock",
        r"(?<![\w:.])(?:(?:\d+ days?, )?\d{1,3}:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[AP]M)?|-:--:--)(?![\w:])",
        _clock,
    ),
    Rule(
        "duration",
        rf"(?<![\w.])(?:\d+ ?(?:d|days?),? ?)?(?:\d+ ?(?:h|hrs?|hours?),? ?)?\d+ ?(?:m|mins?|minutes?),? ?"
        rf"{NUMBER} ?(?:s|secs?|seconds?)(?![\w/])",
        _duration,
    ),
    Rule("duration", rf"(?<![\w:.])\d{{1,2}}:\d\d(?= {NUMBER}[mun]?s/(?:step|epoch))"),  # what Keras expects to remain
    Rule("duration", rf"\b(?:user|sys:|total:|Wall time:) (?P<v>{NUMBER} ?(?:ns|us|µs|μs|ms|s))(?![\w.])", _duration),
    Rule("rate", rf"(?<![\w.])(?:{NUMBER}|\?) ?[kM]?(?:{RATED})(?:/s(?:ec(?:ond)?)?| per second)(?!\w)"),
    Rule("duration", rf"(?<![\w.])(?:{NUMBER} ?|\?)(?:m|u|µ|n)?s(?:ec)?{PER}(?!\w)", _duration),
    Rule("duration", rf"(?<![\w.]){NUMBER}{GLUED_UNIT}(?![\w/%])(?!\.\w)", _duration),
    Rule("duration", rf"(?<![\w.]){NUMBER} {SPACED_UNIT}(?![\w/%])(?!\.\w)", _duration),
    Rule("duration", r"(?<![\w.,])(?P<v>[\d,]+)(?= loops? each| loops?, best of)"),
    Rule("duration", rf"(?i:(?<![a-z]){LASTS}{LINKS})(?P<v>{DECIMAL}(?:, *{DECIMAL})*){ENDS}", _duration),
    Rule("duration", rf"(?i:(?<![a-z])(?:elapsed|took|eta|runtime|duration){LINKS})(?P<v>\d+){ENDS}", _duration),
    Rule(
        "duration",
        rf"(?i:(?<![a-z])(?:times?|seconds|secs|millis(?:econds)?)['\"]?\s*"
        rf"(?:[(\[](?:s|sec|secs|seconds|ms)[)\]])?\s*[:=]\s*)(?P<v>{DECIMAL}){ENDS}",
        _duration,
    ),
    Rule(
        "duration",
        rf"(?i:\b(?:done|finished|completed|trained|fitted|ran|run)\b[a-z ]{{0,20}}\bin\s+)(?P<v>{DECIMAL}){ENDS}",
        _duration,
    ),
    Rule("address", r"(?<![0-9A-Za-z])0x[0-9a-fA-F]{7,16}(?![0-9A-Za-z])"),
    Rule("address", r"(?i:\b(?:id|address|addr)['\"]?[=:( ]+)(?P<v>\d{13,15})(?![\w.])"),
    Rule("address", r"(?<![\w.])\d{15}(?=: TensorSpec\()"),
    Rule("process id", r"(?i:\b(?:p?pid|tid|process[ _]?id|thread[ _]?id)\b['\"]?\s*[=:#]?\s*)(?P<v>\d+)(?![\w.])"),
    Rule(
        "process id",
        r"\b[Pp]rocess (?P<v>\[\d{2,7}\]"
        r"|\d{2,7}(?=\s*(?:[,:)\]]|$|started|exited|finished|terminated|spawned|running|is )))",
    ),
    Rule("process id", r"(?<=[a-z])\[(?P<v>\d{2,7})\](?=: )"),
    Rule("process id", r"(?<=ipykernel_)\d+"),
    Rule("process id", r"(?i:\bthread[ =:#-]*)(?P<v>\d{8,20})(?![\w.])"),
    Rule(
        "process id",
        r"\b(?:ThreadPoolExecutor|ForkPoolWorker|SpawnPoolWorker|ForkServerPoolWorker|LokyProcess|Thread)-(?P<v>\d+(?:[_:-]\d+)*)",
    ),
    Rule("port", r"(?:\d{1,3}(?:\.\d{1,3}){3}|\blocalhost|\[::\d?\]):(?P<v>\d{5})(?!\d)", _ephemeral),
    Rule("temporary name", r"(?<=/)tmp[a-z0-9_]{8}(?![A-Za-z0-9_])"),
    Rule("run name", r"(?i:\brun(?:[ _]?name)?['\"]?[ :=]+['\"]?)(?P<v>[a-z]+-[a-z]+-\d{1,4})(?![\w-])"),
    Rule(
        "timing choice",
        r"(?:Auto-choosing |You can set `force_)(?P<v>row|col)(?=-wise multi-threading|_wise=true` to remove)",
    ),
    Rule("progress bar", r"(?<=%\|)[█▏▎▍▌▋▊▉#\d ]*(?=\| )|[━╸╺]{5,}"),
    Rule("epoch", r"(?<![\w.+-])\d{10}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?(?!\.?\w)", _epoch),
)

LOG = frozenset(rule.kind for rule in RULES if rule.kind)
"""Everything: for what programs print."""
STRICT = frozenset({"time", "address", "id", "process id", "temporary name", "port"})
"""For strings within data: no durations and no bare clocks, which may be the data."""
NONE: frozenset[str] = frozenset()
"""Paths and names of the run only."""

LABELS = {"clock": "time", "epoch": "time", "rate": "duration"}
"""What a rule is called where it is reported."""
TYPES = {"clock": "duration", "epoch": "time", "rate": "duration"}
"""Types that may stand for each other: what remains is written as 59s or as 1:00."""
TIMING = frozenset({"clock", "duration", "rate"})
LEAD = re.compile(r"\[(?:\d\d/\d\d/\d\d )?\d\d:\d\d:\d\d\](?= )")
"""The time column of rich's log handler, left blank when the second is the same as on the line above."""


def _combined() -> re.Pattern[str]:
    pieces = []
    for number, rule in enumerate(RULES):
        pattern = rule.pattern.replace("(?P<v>", f"(?P<v{number}>")
        pieces.append(f"(?P<r{number}>{pattern})")
    return re.compile("|".join(pieces), re.ASCII)


PATTERN = _combined()
DIGITS = {ord(digit): "0" for digit in "123456789"}
CACHED = 50_000
LONGEST_CACHED = 2_000
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
        text = self._unnamed(text, side)
        pieces, last = [], 0
        for span, rule in self._spans(text):
            value = text[span.start : span.end]
            if span.kind not in kinds or not (relaxed or RULES[rule].check(value, self.sides[side], self.context)):
                continue
            pieces += [text[last : span.start].rstrip(" "), f"\0{TYPES.get(span.kind, span.kind)}\0"]
            last = span.end
        return "".join((*pieces, text[last:]))

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
        return "path" if "/" in old else "name", old, new

    def _spans(self, text: str) -> tuple[tuple[Span, int], ...]:
        shape = text.translate(DIGITS)
        spans = self.cache.get(shape)
        if spans is None:
            spans = tuple(_find(shape))
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
                check = _in_window if "/" in text else _clock
                return match.end() if check(text, self.sides[number], self.context) else 0
        return 0

    def _paired(self, seen: list[tuple[str, str, str]], tally: Tally) -> bool:
        return all(rule != "id" or tally.pairs(old, new) for rule, old, new in seen)


def _find(shape: str) -> list[tuple[Span, int]]:
    found = []
    for match in PATTERN.finditer(shape):
        number = int((match.lastgroup or "r0")[1:])
        rule = RULES[number]
        if not rule.kind:
            continue
        start, end = match.span(f"v{number}") if "(?P<v>" in rule.pattern else match.span()
        if end > start:
            found.append((Span(start, end, rule.kind), number))
    return found


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
