"""The machine part: what hardware it was, and which kernels and how many threads the numbers came from."""

from __future__ import annotations

from typing import Any

from bis.digest import digest_value
from bis.nouns.part import Change, Part, PartKind
from bis.parts import Place, Scene, hardware
from bis.store import Store

KIND: PartKind = "machine"


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    """The hardware, and after the run what each interpreter said of its thread pools and kernels."""
    facts: dict[str, Any] = {"cpu": hardware.processor(), "cores": hardware.cores(), "memory": hardware.memory()}
    return Part(kind=KIND, digest=digest_value(facts["cpu"]), summary=_summary(facts), facts=facts)


def restore(part: Part, place: Place, store: Store) -> None:
    """Hardware cannot be put back."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest:
        return []
    old, new = before.facts.get("cpu", {}), after.facts.get("cpu", {})
    return [
        Change(kind=KIND, name=name, before=_text(old.get(name)), after=_text(new.get(name)))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _text(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return None if value is None else str(value)


def _summary(facts: dict[str, Any]) -> str:
    cpu = facts["cpu"]
    total = facts["memory"].get("total", 0) / hardware.GIB
    return f"{cpu.get('model', cpu.get('architecture', '?'))}, {facts['cores']['allowed']} cores, {total:.0f} GiB"
