"""Names that say of a number that it was measured with a clock while the run went on: `fit_time`, `dur`.

A name counts only when each of its words belongs to such a name: `predicted_time` and `time_to_event` are data.
"""

from __future__ import annotations

import re

from bis.formats import Context, moments

PIECES = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")
DONE = frozenset(
    """train training fit fitting refit score scoring predict prediction predicting inference eval evaluation test
    testing val valid validation epoch step batch iter iteration wall cpu exec execution run running process processing
    preprocess preprocessing load loading compute computation passed remaining total build search tuning optimization
    forward backward spent taken used compile""".split()
)
SPANS = frozenset("time times duration durations seconds secs".split())
ALONE = frozenset("elapsed runtime walltime took dur".split())
BESIDE = frozenset("mean std avg average median min max sum per in s sec ms msec millis milliseconds minutes".split())
MILLI = frozenset("ms msec millis milliseconds".split())


def measured(name: str) -> bool:
    """Whether a key of a document, or the head of a printed column, says so."""
    words = _words(name)
    if not words <= DONE | SPANS | ALONE | BESIDE:
        return False
    return bool(words & ALONE or (words & SPANS and words & DONE))


def lasted(name: str, old: str, new: str, context: Context) -> bool:
    """Whether two numbers under such a name are durations that their runs can have measured."""
    unit = "ms" if _words(name) & MILLI else ""
    sides = ((old, context.before), (new, context.after))
    return all(_positive(text) and moments.lasts(text + unit, side, context.slack) for text, side in sides)


def _words(name: str) -> set[str]:
    return {piece.lower() for piece in PIECES.findall(name)}


def _positive(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False
