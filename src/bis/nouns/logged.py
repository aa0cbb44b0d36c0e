"""What a script says of its own run while it runs, entry by entry, as journals hold it (`docs/format.md`, journals)."""

from __future__ import annotations

from typing import Final

import msgspec

from bis.digest import Digest
from bis.nouns.run import Output, Status

LOGGING: Final = "logging"
"""Below `.bis/`: a folder for each run that a script began and that is not wholly delivered."""
ENDING: Final = ".journal"
"""Of the names of journals."""
ARTIFACTS: Final = "<artifacts>/"
"""Before the names of artifacts, where outputs are named."""
JOURNALS: Final = "BIS_JOURNALS"
"""The environment variable that names the folder of the journals of the run under way."""


class Values(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """Values of metrics, all of one step."""

    moment: int
    """Milliseconds since 1970 UTC."""
    step: int
    values: dict[str, float]


class Params(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    values: dict[str, str]


class Tags(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    values: dict[str, str]


class File(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """An artifact: its content lies beside the journal."""

    path: str
    """What it is called: `plots/roc.png`."""
    content: str
    """Name of the file beside the journal."""


class Input(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """Data that the script declared."""

    path: str
    digest: str
    """Of the file, or of the tree of a folder: `b3:…`."""
    size: int
    name: str = ""


class End(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """The last word of the process that began the run."""

    moment: int
    status: Status
    """finished, failed or interrupted."""


Saying = Values | Params | Tags | File | Input | End


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """All that was logged."""

    metrics: dict[str, float] = {}
    """The newest of each: of the highest step, then the latest."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    history: Digest = Digest("")
    """Blob: every point, as CSV with the columns key, step, moment and value."""
    artifacts: tuple[Output, ...] = ()
