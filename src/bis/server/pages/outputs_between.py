"""What two runs made, as far as it can be looked at: where each of it lies, and the pictures that are not the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bis.nouns.run import Run
from bis.nouns.verdict import Judged
from bis.server.pages.files import IMAGES
from bis.steps.media import media_of

PICTURES: Final = 12
"""Pairs that are shown."""


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
