"""Which output of one run belongs to which output of another, when names hold times, ids or process numbers."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence

from bis.digest import Digest
from bis.formats import Context, Side, moments
from bis.nouns.run import Output

VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T_ -]\d\d[.:_-]?\d\d[.:_-]?\d\d(?:[.,]\d+)?Z?"), "<time>"),
    (re.compile(r"(?<!\d)\d{8}[T_-]?\d{6}(?!\d)"), "<time>"),
    (re.compile(r"events\.out\.tfevents\.\d+\.[^/]+"), "events.out.tfevents.<time>"),
    (re.compile(r"(?<=run-)[a-z0-9]{8}(?=\.wandb$)"), "<id>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])"), "<id>"),
    (re.compile(r"(?:\b[a-z]{1,2}-)?(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"), "<id>"),
    (re.compile(r"(?<=/)[0-9a-f]{2}/[0-9a-f]{30}(?![0-9a-f])(?:\.dir)?"), "<content>"),
    (re.compile(r"(?<=/)[0-9a-f]{2}/[0-9a-f]{62,64}(?![0-9a-f])(?:/[0-9a-f]{64})?"), "<content>"),
    (re.compile(r"(?<!\d)1[6-9]\d{8}(?:\d{3})?(?:\.\d+)?(?!\d)"), "<time>"),
    (re.compile(r"(?<=pid)[._-]?\d{1,7}(?!\d)", re.IGNORECASE), "<pid>"),
)

_CLOCK = r"(?P<h>\d\d)[-_.:hH]?(?P<i>\d\d)(?:[-_.:mM]?(?P<s>\d\d))?(?:[.,]\d{1,9}|[-_]\d{3,9}(?![0-9a-z]))?s?"
_YEAR, _MONTH, _DAY = r"(?P<y>20\d\d)", r"(?P<m>\d\d)", r"(?P<d>\d\d)"
_SPLIT = r"[-_. @T/]{1,2}"
MOMENTS = tuple(
    re.compile(rf"(?<![\dA-Za-z]){day}(?:{rest})(?!\d)")
    for day, rest in (
        (rf"{_YEAR}(?P<x>[-_.]?){_MONTH}(?P=x){_DAY}", rf"{_SPLIT}{_CLOCK}|(?P<bare>)"),
        (rf"{_DAY}(?P<x>[-_.]){_MONTH}(?P=x){_YEAR}", rf"{_SPLIT}{_CLOCK}|(?P<bare>)"),
        (rf"{_MONTH}(?P<x>[-_.]){_DAY}(?P=x){_YEAR}", rf"{_SPLIT}{_CLOCK}|(?P<bare>)"),
        (rf"(?P<b>[A-Z][a-z][a-z])[-_ ]?{_DAY}", rf"{_SPLIT}{_CLOCK}"),
        (rf"(?P<y>\d\d){_MONTH}{_DAY}", rf"{_SPLIT}{_CLOCK}"),
        (rf"{_MONTH}[-_.]?{_DAY}", rf"{_SPLIT}{_CLOCK}"),
    )
)
"""Ways in which programs write the day, and mostly the time, into names. A span counts only when it is one of the
run itself."""
_DRAWN = re.compile(r"(?<=run-<time>-)[a-z0-9]{8}(?![a-z0-9])")
"""What Weights & Biases draws behind the time."""


def stable(name: str, side: Side | None = None, slack: float = 0.0) -> str:
    """A name with what changes from run to run replaced by what it is. With the `side` of its run, that is also a
    date or a time of that run in whichever spelling."""
    if side is not None and side.started:
        for moment in MOMENTS:
            name = moment.sub(_of_run(side, slack), name)
        name = _DRAWN.sub("<id>", name)
    for pattern, word in VOLATILE:
        name = pattern.sub(word, name)
    return name


def _of_run(side: Side, slack: float) -> Callable[[re.Match[str]], str]:
    """What replaces a span: itself, unless it is a moment of the run."""

    def replace(match: re.Match[str]) -> str:
        found = {name: value for name, value in match.groupdict().items() if value is not None}
        clock = f" {found['h']}:{found['i']}" + (f":{found['s']}" if "s" in found else "") if "h" in found else ""
        if "b" in found:
            texts = [f"{found['b']} {found['d']}{clock}"]
        else:
            year = found.get("y", "")
            years = [year if len(year) == 4 else f"20{year}"] if year else _years(side)
            texts = [f"{one}-{found['m']}-{found['d']}{clock}" for one in years]
        return "<time>" if any(moments.dated(text, side, slack) for text in texts) else match.group()

    return replace


def _years(side: Side) -> list[str]:
    return sorted({str(time.gmtime(moment).tm_year) for moment in (side.started, side.ended)})


def pair(
    before: Sequence[Output], after: Sequence[Output], context: Context | None = None
) -> list[tuple[Output | None, Output | None]]:
    """Outputs side by side: by name, then by name without its volatile spans, equal content first. With a `context`
    that tells the times of the runs, names may hold those in any spelling."""
    sides = (context.before, context.after) if context else (None, None)
    slack = context.slack if context else 0.0
    left = {output.path: output for output in before}
    right = {output.path: output for output in after}
    pairs: list[tuple[Output | None, Output | None]] = [
        (left.pop(path), right.pop(path)) for path in [*left] if path in right
    ]
    groups: dict[str, tuple[list[Output], list[Output]]] = {}
    for side, outputs in enumerate((left, right)):
        for output in outputs.values():
            groups.setdefault(stable(output.path, sides[side], slack), ([], []))[side].append(output)
    for olds, news in groups.values():
        pairs += _pair_group(olds, news)
    return sorted(pairs, key=lambda two: (two[0] or two[1] or _none()).path)


def _pair_group(olds: list[Output], news: list[Output]) -> list[tuple[Output | None, Output | None]]:
    pairs: list[tuple[Output | None, Output | None]] = []
    waiting: dict[Digest, deque[Output]] = {}
    for new in news:
        waiting.setdefault(new.digest, deque()).append(new)
    left: list[Output] = []
    for old in olds:
        if alike := waiting.get(old.digest):
            pairs.append((old, alike.popleft()))
        else:
            left.append(old)
    olds, news = left, [new for rest in waiting.values() for new in rest]
    # What is left pairs in the order of size, then name: the nearest to alike that is cheap to tell.
    olds.sort(key=lambda output: (output.size, output.path))
    news.sort(key=lambda output: (output.size, output.path))
    both = min(len(olds), len(news))
    pairs += list(zip(olds[:both], news[:both], strict=True))
    pairs += [(old, None) for old in olds[both:]]
    pairs += [(None, new) for new in news[both:]]
    return pairs


def _none() -> Output:
    raise AssertionError("a pair has at least one side")
