"""A Part: one ingredient of a run; a Change: one difference between two."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bis.digest import Digest

PartKind = Literal["code", "data", "params", "environment", "infrastructure", "machine"]
Weight = Literal["matters", "minor"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about a run that its reader should know, found by looking, not by guessing."""

    code: str
    """Stable, for scripts: `input-changed`, `unseeded-interpreter`, `floating-image`, …"""
    text: str
    """One sentence with the actual values."""
    hint: str = ""
    """What to do or type next."""
    blocks: bool = False
    """True: a repeat of this run can never be called identical while this stands."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ingredient of a run, as it was."""

    kind: PartKind
    digest: Digest
    """The identity: two parts of one kind with equal digests are the same ingredient."""
    summary: str = ""
    """A few words for a line of a table: `a91c4f2 main, 2 dirty`, `Python 3.11.7, 84 packages`."""
    trees: dict[str, Digest] = {}
    """Content in the store, by role: code has `tree`, data `project` and `outside`, environment `lock`, …"""
    facts: dict[str, Any] = {}
    """What else is known: JSON-like, its layout documented by the module of the kind."""
    findings: tuple[Finding, ...] = ()


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference between two runs."""

    kind: str
    """The part's kind, or `output`, `metric`, `run`."""
    name: str
    """What changed: a path, a package, a parameter."""
    before: str | None = None
    """As text; None when it was not there."""
    after: str | None = None
    detail: str = ""
    """A unified diff or a further explanation, many lines allowed."""
    weight: Weight = "matters"
    """`minor`: known to differ without effect on results (free memory, a moved folder)."""
