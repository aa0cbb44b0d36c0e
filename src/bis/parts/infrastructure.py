"""The infrastructure part: what the machine runs on, declared in files of the project and observed."""

from __future__ import annotations

import os
import platform
from typing import Any

from bis.digest import digest_value
from bis.nouns.part import Change, Part, PartKind
from bis.parts import Place, Scene
from bis.store import Store

KIND: PartKind = "infrastructure"


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    system = os.uname()
    facts: dict[str, Any] = {
        "kernel": f"{system.sysname} {system.release}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "distribution": _distribution(),
    }
    return Part(
        kind=KIND,
        digest=digest_value(facts),
        summary=", ".join(filter(None, (facts["distribution"], facts["kernel"], facts["libc"]))),
        facts=facts,
    )


def restore(part: Part, place: Place, store: Store) -> None:
    """Nothing to put back: declared files are part of the code, and the system is the machine's."""


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest:
        return []
    names = sorted({*before.facts, *after.facts})
    return [
        Change(kind=KIND, name=name, before=before.facts.get(name), after=after.facts.get(name))
        for name in names
        if before.facts.get(name) != after.facts.get(name)
    ]


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
