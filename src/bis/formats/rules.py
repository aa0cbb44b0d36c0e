"""The rules of the masks: what each type of span looks like, and when one is plausible.

They are matched against the *shape* of a text, in which 0 is the only digit; so no pattern may name another one.
Rules are grouped by what a span may begin with, so that most places of a text are left after one glance.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from bis.formats import Context, Side, moments
from bis.formats.content import CONTENT


class Span(NamedTuple):
    start: int
    end: int
    kind: str


class Rule(NamedTuple):
    kind: str
    pattern: str
    """A group named `v` is the span; else the whole match is."""
    check: Callable[[str, Side, Context], bool] = lambda text, side, context: True


NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?"
DECIMAL = r"(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE]-\d+)"
ENDS = r"(?=\s*$|\s*[,;|)\]}]|\.(?:\s|$)| - | {2,}| \(| ['\"]?[A-Za-z_]+['\"]? ?[=:])"
"""What follows a number that stands for itself: no noun that it would count."""
LONG_UNIT = r"(?:nano|micro|milli)?seconds?|msecs?|millis|secs?|minutes?|mins|hours?|hrs?"
GLUED_UNIT = rf"(?:{LONG_UNIT}|min|ns|us|µs|μs|ms|s)"
SPACED_UNIT = rf"(?:{LONG_UNIT}|µs|μs|ms|s|(?:ns|us)(?= per loop| ±))"
PER = r"(?:/(?:step|it|iter|iteration|epoch|batch|sample|image|example|call|loop|token|row|query|item))"
DECADE = re.compile(r"(?:1[5-9]|20)\d0s")
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
    r"(?:elapsed|took|lasted|wall[ _-]?clock"
    rf"|time[ _-](?:taken|spent|elapsed|used|needed|cost|total)|{TIMED})"
)
"""Words behind which a number is a duration."""
OF = r"(?: (?:for|of|to|by|in|on|per|with|using) [\w ()'-]{1,40}?)?"
IN_UNIT = r"(?:[(\[](?:in )?(?:s|sec|secs|seconds|ms|min|minutes)[)\]]|in seconds)?"
QUOTE = r"['\"]?"
LIST = rf"(?:array\()?\[ *(?:{DECIMAL},? *)+(?=\])"
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
    if DECADE.fullmatch(text):
        return False
    return moments.lasts(text, side, context.slack)


def _random_id(text: str, side: Side, context: Context) -> bool:
    """Version 4 (random), or 1, 6, 7 (clock) with dashes: not 3 and 5, which are digests of a name, nor an md5."""
    digits = text.replace("-", "")[-32:]
    versions = "1467" if text.count("-") >= 4 else "4"
    return text.startswith("tr-") or (digits[12] in versions and digits[16] in "89abAB")


def _pointer(text: str, side: Side, context: Context) -> bool:
    """An address of a process, which has no more than 48 bits."""
    return int(text, 16) < 1 << 48


def _object(text: str, side: Side, context: Context) -> bool:
    """What `id()` gives: an aligned address where programs and their libraries lie. A person's is hardly one."""
    number = int(text)
    return number % 8 == 0 and number >> 40 in PLACES


PLACES = frozenset((0x55, 0x56, *range(0x7C, 0x80), 0xAA, *range(0xFC, 0x100)))
"""The first byte of six, on x86 and ARM."""


def _ephemeral(text: str, side: Side, context: Context) -> bool:
    """A port that systems hand out: Linux from here on, others from further up."""
    return 32_768 <= int(text) <= 65_535


AT_WORD = r"(?<![A-Za-z])(?=[A-Za-z])"
AT_NAME = r"(?<![0-9A-Za-z])(?=[0-9A-Za-z_])"
AT_NUMBER = r"(?<![0-9])(?=[0-9])"
AT_SIGN = r"(?=[?\[%━╸╺-])"

# What stands for content comes first and is no mask.
NO_ID = rf"(?!{HEX32}|[0-9a-fA-F]{{8}}-[0-9a-fA-F]{{4}}-)"  # one may begin like a word with its value: f1, acc7
WORDED = tuple(Rule("", NO_ID + pattern) for pattern in CONTENT)
DIGESTS = (Rule("", r"[0-9a-f]{32,}(?=  ?[ *][^ ])"),)  # what md5sum prints

NAMES = (
    Rule(
        "id",
        rf"(?:(?:m|tr|run)-|_?anim_?(?:[a-z]+\d?_?(?:[a-z]+\d?_?)?)?)?{HEX32}(?![0-9A-Za-z])",
        _random_id,
    ),
    Rule(
        "id", r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9A-Za-z])", _random_id
    ),
    Rule("id", r"[0-9a-f]{8}(?:-[0-9a-f]{8}){3}(?![0-9A-Za-z-])"),  # CatBoost's
    Rule("id", r"(?<=\bcell-id=)[0-9a-f]{8}(?![0-9A-Za-z])"),
    Rule("address", r"0x(?:0{4})?[0-9a-fA-F]{11,12}(?![0-9A-Za-z])", _pointer),
    Rule("address", r"(?<=\bat )0x[0-9a-fA-F]{7,12}(?![0-9A-Za-z])"),
)

NUMBERS = (
    Rule("time", r"(?<=\b[IWEF])\d{4} \d\d:\d\d:\d{2,10}\.\d{6} +\d+(?= )", _in_window),
    Rule(
        "time",
        r"(?<![A-Za-z.])\d{4}[-/.]\d\d[-/.]\d\d"
        rf"(?:[T @_/-]{{1,2}}\d\d[:.h-]?\d\d(?:[:.m-]?\d\d(?:[.,]\d{{1,9}})?)?{ZONE})?(?![0-9])",
        _in_window,
    ),
    Rule(
        "time",
        r"(?<![A-Za-z.])(?:\d{8}[T_-]?\d{6}|\d{8}[T_-]\d{4})(?:[.,_]\d{1,9})?(?:Z|[+-]\d{4})?(?![0-9A-Za-z])",
        _in_window,
    ),
    Rule("time", rf"(?<![A-Za-z./])\d\d[/.]\d\d[/.](?:\d{{4}}|\d\d)(?:,? {CLOCK}{ZONE})?(?![0-9/])", _in_window),
    Rule("time", rf"\b\d{{1,2}}[ /-]{MONTHS}[ /-]\d{{4}}(?:[,: ] ?{CLOCK}{ZONE})?(?![0-9A-Za-z])", _in_window),
    # A progress meter: [00:12<00:03, 8.1it/s
    Rule(
        "duration",
        r"(?<=\[)\d+:\d\d(?::\d\d)?(?:<(?:[\d:]+|\?))?, *(?:[\d.]+[kMGT]?|\?) ?(?:[A-Za-z]+/s|s/[A-Za-z]+)",
    ),
    Rule("clock", r"(?<![\w:.])(?:\d+ days?, )?\d{1,3}:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[AP]M)?(?![\w:])", _clock),
    Rule(
        "duration",
        rf"(?<![\w.])(?:\d+ ?(?:d|days?),? ?)?(?:\d+ ?(?:h|hrs?|hours?),? ?)?\d+ ?(?:m|mins?|minutes?),? ?"
        rf"{NUMBER} ?(?:s|secs?|seconds?)(?![\w/])",
        _duration,
    ),
    Rule("duration", rf"(?<![\w:.])\d{{1,2}}:\d\d(?= {NUMBER}[mun]?s/(?:step|epoch))"),  # what Keras expects to remain
    Rule(
        "rate",
        rf"(?<![\w.]){NUMBER} ?[kM]?(?:(?:effective|raw|training) )?(?:{RATED})(?:/s(?:ec(?:ond)?)?| per second)(?!\w)",
    ),
    Rule("duration", rf"(?<![\w.]){NUMBER} ?(?:m|u|µ|n)?s(?:ec)?{PER}(?!\w)", _duration),
    Rule("duration", rf"(?<![\w.])(?<![A-Za-z]-)(?<!\bthe ){NUMBER}{GLUED_UNIT}(?![\w/%])(?!\.\w)", _duration),
    Rule("duration", rf"(?<![\w.]){NUMBER} {SPACED_UNIT}(?![\w/%])(?!\.\w)", _duration),
    Rule("duration", r"(?<![\w.,])(?P<v>[\d,]+)(?= loops? each| loops?, best of)"),
    Rule("address", r"(?<![\w.])\d{15}(?=: TensorSpec\()"),
    Rule("process id", r"(?<=ipykernel_)\d+"),
    Rule("port", r"\d{1,3}(?:\.\d{1,3}){3}:(?P<v>\d{5})(?!\d)", _ephemeral),
    Rule("epoch", r"(?<![\w.+-])\d{10}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?(?!\.?\w)", _epoch),
)

WORDS = (
    Rule("temporary name", rf"joblib_memmapping_folder_\d+_{HEX32}_{HEX32}"),
    Rule("temporary name", r"(?<=/)tmp[a-z0-9_]{8}(?![A-Za-z0-9_])"),
    Rule(
        "time",
        rf"\b(?:{DAYS},? +)?{MONTHS} +\d{{1,2}}(?:,? +{CLOCK}{ZONE})?(?:,? +\d{{4}})?"
        rf"(?:,? +(?:at )?{CLOCK}{ZONE})?(?![0-9A-Za-z])",
        _in_window,
    ),
    Rule(
        "time", rf"\b{DAYS},? +\d{{1,2}}[ /-]{MONTHS}[ /-]\d{{4}}(?:[,: ] ?{CLOCK}{ZONE})?(?![0-9A-Za-z])", _in_window
    ),
    Rule("duration", rf"\b(?:user|sys:|total:|Wall time:) (?P<v>{NUMBER} ?(?:ns|us|µs|μs|ms|s))(?![\w.])", _duration),
    Rule(
        "duration",
        rf"(?i:{LASTS}(?:[ _](?:time|seconds|secs|sec|ms|s))?{QUOTE}{OF}\s*{IN_UNIT}"
        r"\s*(?:=|:|is|was|of|->)?\s*(?:about |~ ?)?)"
        rf"(?P<v>{DECIMAL}){ENDS}",
        _duration,
    ),
    Rule("duration", rf"(?i:{LASTS}{QUOTE}\s*[:=]\s*)(?P<v>{LIST})", _duration),
    Rule(
        "duration", rf"(?i:(?:elapsed|took|lasted)(?: time)?{QUOTE}\s*{IN_UNIT}\s*[:=]?\s*)(?P<v>\d+){ENDS}", _duration
    ),
    # Words that may as well name a column or a feature need a colon, and a number with a point.
    Rule(
        "duration",
        rf"(?i:(?:times?|duration|latency|runtime|remaining|seconds|secs|millis(?:econds)?){QUOTE}{OF}\s*{IN_UNIT}\s*[:=]\s*)"
        rf"(?P<v>{DECIMAL}){ENDS}",
        _duration,
    ),
    Rule("duration", rf"(?<!at )(?<!of )(?<!in )time (?P<v>{DECIMAL}){ENDS}", _duration),
    Rule("duration", r"\bETA:? ?(?P<v>\d+:\d\d(?::\d\d)?|\d+)(?![\w.:])"),
    # The meters of PyTorch's examples: Time  0.123 ( 0.120)  Data  0.001 ( 0.002); ms/batch 12.34
    Rule(
        "duration",
        r"\bTime +(?P<v>\d+\.\d+ +\( *\d+\.\d+\)(?:\s+Data +\d+\.\d+ +\( *\d+\.\d+\))?)(?!\w)",
    ),
    Rule("duration", rf"\b(?:ms|s|sec|us){PER}\s*[:=]?\s*(?P<v>{NUMBER})(?![\w.])", _duration),
    Rule("rate", rf"(?i:\b\w*(?:per_sec(?:ond)?|\bfps|throughput){QUOTE}\s*[:=]\s*)(?P<v>{NUMBER}){ENDS}"),
    Rule(
        "duration",
        rf"(?i:\b(?:done|finished|completed|trained|fitted|ran|run)\b[a-z ]{{0,40}}\bin:?\s+)(?P<v>{DECIMAL}){ENDS}",
        _duration,
    ),
    Rule("address", r"(?i:\b(?:id|address|addr)['\"]?[=:( ]+)(?P<v>\d{13,15})(?![\w.])", _object),
    Rule("process id", r"(?i:\b(?:p?pid|tid|process[ _]?id|thread[ _]?id)\b['\"]?\s*[=:#]?\s*)(?P<v>\d+)(?![\w.])"),
    Rule(
        "process id",
        r"\b[Pp]rocess (?P<v>\[\d{2,7}\]"
        r"|\d{3,7}(?=\s*(?:[,:)\]]|$|started|exited|finished|terminated|spawned|running|is )))",
    ),
    Rule("process id", r"(?<=\d\d:\d\d:\d\d )[\w.-]+ [\w./-]+\[(?P<v>\d{1,7})\](?=: )"),  # syslog
    Rule("process id", r"(?i:\bthread[ =:#-]*)(?P<v>\d{8,20})(?![\w.])"),
    Rule(
        "process id",
        r"\b(?:ThreadPoolExecutor|(?:Fork|Spawn|ForkServer)PoolWorker|LokyProcess|Thread)-(?P<v>\d+(?:[_:-]\d+)*)",
    ),
    Rule("port", r"\blocalhost:(?P<v>\d{5})(?!\d)", _ephemeral),
    Rule("run name", r"(?i:\brun(?:[ _]?name)?['\"]?[ :=]+['\"]?)(?P<v>[a-z]+-[a-z]+-\d{1,4})(?![\w-])"),
    Rule("run name", r"\brun-(?P<v>\d{8}_\d{6}-[a-z0-9]{8})(?![\w-])"),
    Rule(
        "timing choice",
        r"(?:Auto-choosing |You can set `force_)(?P<v>row|col)(?=-wise multi-threading|_wise=true` to remove)",
    ),
)

SIGNS = (
    Rule("clock", r"(?<![\w:.])-:--:--(?![\w:])", _clock),
    Rule("rate", rf"(?<![\w.])\?(?:{RATED})/s(?!\w)"),
    Rule("port", r"\[::\d?\]:(?P<v>\d{5})(?!\d)", _ephemeral),
    Rule("progress bar", r"%\|(?P<v>[█▏▎▍▌▋▊▉#\d ]*)(?=\| )"),
    Rule("progress bar", r"[━╸╺]{5,}"),
)

GROUPS = ((AT_WORD, WORDED), (AT_NAME, (*DIGESTS, *NAMES)), (AT_NUMBER, NUMBERS), (AT_WORD, WORDS), (AT_SIGN, SIGNS))
RULES: tuple[Rule, ...] = tuple(rule for _, rules in GROUPS for rule in rules)

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


def find(shape: str) -> list[tuple[Span, int]]:
    """The spans of a shape, from left to right, each with the number of its rule."""
    found = []
    for match in _pattern().finditer(shape):
        number = int((match.lastgroup or "r0")[1:])
        if not RULES[number].kind:
            continue
        start, end = match.span(f"v{number}") if number in WITHIN else match.span()
        if end > start:
            found.append((Span(start, end, RULES[number].kind), number))
    return found


@functools.cache
def _pattern() -> re.Pattern[str]:
    """All rules as one, compiled when the first text is looked through: it takes as long as most commands do."""
    number, groups = 0, []
    for guard, rules in GROUPS:
        pieces = []
        for rule in rules:
            pattern = rule.pattern.replace("(?P<v>", f"(?P<v{number}>")
            pieces.append(f"(?P<r{number}>{pattern})")
            number += 1
        groups.append(f"{guard}(?:{'|'.join(pieces)})")
    return re.compile("|".join(groups), re.ASCII)


WITHIN = frozenset(number for number, rule in enumerate(RULES) if "(?P<v>" in rule.pattern)
