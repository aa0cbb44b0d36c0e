"""A Verdict: whether two runs came out the same, how that is known, and what was not compared."""

from __future__ import annotations

from typing import Literal

import msgspec

from bis.nouns.part import Change, Finding

Sameness = Literal["identical", "equivalent", "different", "not repeatable", "nothing observed"]
OutputSameness = Literal["identical", "equivalent", "different", "not compared"]
Level = Literal["bytes", "meaning", "tolerance", "none"]

MARKS: dict[str, str] = {
    "identical": "[=]",
    "equivalent": "[~]",
    "different": "[x]",
    "not repeatable": "[!]",
    "nothing observed": "[ ]",
    "not compared": "[ ]",
}
"""One mark for each word, the same in terminal, log and page."""
SENTENCES: dict[Sameness, str] = {
    "identical": "every output is the same, byte for byte",
    "different": "it did not come out the same",
    "not repeatable": "it could not be done again",
    "nothing observed": "it printed nothing and wrote nothing, so there was nothing to compare",
}


class Masked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A difference that was set aside, with the rule that allowed it: nothing is masked in silence."""

    rule: str
    """`time`, `duration`, `path`, `address`, `id`, …"""
    count: int
    example: str = ""
    """`12:01:07 -> 12:04:31`."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two files, compared."""

    same: bool | None
    """None: could not be compared at this level (`why` says so)."""
    level: Level
    """At which level they were found the same; `none` when they differ."""
    format: str = ""
    why: str = ""
    """What differs, or on which ground they are the same: one line."""
    detail: str = ""
    """Further lines: a text difference, the tensors that differ and how far."""
    masked: tuple[Masked, ...] = ()
    causes: tuple[str, ...] = ()
    """Kinds of cause read off the difference itself: `clock`, `process id`, `address`, `random id`, …"""


class Judged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The word on one part or one output."""

    name: str
    sameness: OutputSameness
    before: str = ""
    after: str = ""
    why: str = ""
    detail: str = ""
    masked: tuple[Masked, ...] = ()
    causes: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="bis.verdict/1", tag_field="schema"):
    """The answer of a repeat. Kept in the store as a record of its own."""

    run: str
    """The id of the run that was repeated."""
    again: str
    """The id of the run that the repeat made."""
    sameness: Sameness
    made: str
    """When: RFC 3339, UTC."""
    parts: tuple[Judged, ...] = ()
    outputs: tuple[Judged, ...] = ()
    metrics: tuple[Judged, ...] = ()
    not_compared: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    """Files the repeat read from the live machine: with any, the verdict is never identical."""
    findings: tuple[Finding, ...] = ()
    causes: tuple[str, ...] = ()
    """Why it differs, read off the differences: `clock`, `thread order in <stdout>`, …"""
    changes: tuple[Change, ...] = ()
    tolerance: dict[str, float] = {}
    coverage: str = ""

    @property
    def same(self) -> bool:
        return self.sameness in ("identical", "equivalent")

    @property
    def sentence(self) -> str:
        """What the word means here, for people."""
        if self.sameness != "equivalent":
            return SENTENCES[self.sameness]
        judged = [one for one in (*self.metrics, *self.outputs) if one.sameness != "not compared"]
        if all(one.sameness == "identical" for one in judged):
            return "every output is the same, byte for byte, but not everything could be ruled out"
        if any(one.masked for one in judged):
            return "the same but for what was set aside"
        within = any(one.sameness == "equivalent" for one in self.metrics)
        return "the same within the tolerance declared" if within else "the same in meaning"
