"""Where and for whom models are asked: what an act that evaluates or compares them is given by its door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from bis.steps.home import Home


class Site(msgspec.Struct, frozen=True, kw_only=True):
    home: Home
    folder: Path
    variables: Mapping[str, str]
    now: datetime
    say: Callable[[str], None] = lambda text: None
