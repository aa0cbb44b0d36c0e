"""Which output of one run belongs to which output of another, when names hold times, ids or process numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bis.nouns.run import Output

VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T_ -]\d\d[.:_-]?\d\d[.:_-]?\d\d(?:[.,]\d+)?Z?"), "<time>"),
    (re.compile(r"(?<!\d)\d{8}[T_-]?\d{6}(?!\d)"), "<time>"),
    (re.compile(r"events\.out\.tfevents\.\d+\.[^/]+"), "events.out.tfevents.<time>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])"), "<id>"),
    (re.compile(r"(?:\b[a-z]{1,2}-)?(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"), "<id>"),
    (re.compile(r"(?<=/)[0-9a-f]{2}/[0-9a-f]{30}(?![0-9a-f])(?:\.dir)?"), "<content>"),
    (re.compile(r"(?<=/)[0-9a-f]{2}/[0-9a-f]{62,64}(?![0-9a-f])(?:/[0-9a-f]{64})?"), "<content>"),
    (re.compile(r"(?<!\d)1[6-9]\d{8}(?:\d{3})?(?:\.\d+)?(?!\d)"), "<time>"),
    (re.compile(r"(?<=pid)[._-]?\d{1,7}(?!\d)", re.IGNORECASE), "<pid>"),
)


def stable(name: str) -> str:
    """A name with what changes from run to run replaced by what it is."""
    for pattern, word in VOLATILE:
        name = pattern.sub(word, name)
    return name


def pair(before: Sequence[Output], after: Sequence[Output]) -> list[tuple[Output | None, Output | None]]:
    """Outputs side by side: by name, then by name without its volatile spans, equal content first."""
    left = {output.path: output for output in before}
    right = {output.path: output for output in after}
    pairs: list[tuple[Output | None, Output | None]] = [
        (left.pop(path), right.pop(path)) for path in [*left] if path in right
    ]
    groups: dict[str, tuple[list[Output], list[Output]]] = {}
    for side, outputs in enumerate((left, right)):
        for output in outputs.values():
            groups.setdefault(stable(output.path), ([], []))[side].append(output)
    for olds, news in groups.values():
        pairs += _pair_group(olds, news)
    return sorted(pairs, key=lambda two: (two[0] or two[1] or _none()).path)


def _pair_group(olds: list[Output], news: list[Output]) -> list[tuple[Output | None, Output | None]]:
    pairs: list[tuple[Output | None, Output | None]] = []
    for old in [*olds]:
        for new in news:
            if new.digest == old.digest:
                pairs.append((old, new))
                olds.remove(old)
                news.remove(new)
                break
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
