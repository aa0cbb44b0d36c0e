"""What two runs made, as far as it can be looked at: where each of it lies, and the pictures that are not the same."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from bis.errors import BisError
from bis.nouns.run import PRINTED, Run
from bis.nouns.verdict import Judged
from bis.parts.code import unified
from bis.server.pages.files import IMAGES
from bis.steps.home import Home
from bis.steps.media import media_of
from bis.steps.shallow import need
from bis.text import clear_lines

PICTURES: Final = 12
"""Pairs that are shown."""
PRINTED_MOST: Final = 1 << 16
"""Bytes of what a run printed that are compared line by line."""


class Looks(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of outputs."""

    before: list[str] = []
    """Those of the first run that are kept, among what is compared."""
    after: list[str] = []
    pictures: list[str] = []
    """Those that both runs have, and not the same."""

    @property
    def shown(self) -> list[str]:
        return self.pictures[:PICTURES]


def looks(before: Run, after: Run, outputs: Sequence[Judged]) -> Looks:
    old, new = ({one.path for one in run.outputs if one.kept and not one.target} for run in (before, after))
    differ = [one.name for one in outputs if one.sameness != "identical" and one.name in old & new]
    return Looks(
        before=[one.name for one in outputs if one.name in old],
        after=[one.name for one in outputs if one.name in new],
        pictures=[name for name in differ if media_of(name) in IMAGES],
    )


def printed_apart(before: Run, after: Run, home: Home) -> dict[str, str]:
    """What two runs printed, by stream, as a unified difference; without what is the same, large, or not here."""
    found = {}
    for name in PRINTED:
        sides = [next((one for one in run.outputs if one.path == name), None) for run in (before, after)]
        logs = [one for one in sides if one and one.size <= PRINTED_MOST]
        if len(logs) == 2 and logs[0].digest != logs[1].digest:
            with suppress(BisError):
                need(home, [one.digest for one in logs])
                old, new = (_lines(home.store.get_bytes(one.digest)) for one in logs)
                found[name] = unified(name, old, new)
    return found


def _lines(content: bytes) -> bytes:
    """As a person reads them, without what moved the cursor."""
    return "".join(f"{line}\n" for line in clear_lines(content.decode("utf-8", "replace"))).encode()
