"""Temporary folders: gone afterwards; what a killed command left in one is known by a lock, as that of drafts is.

Each is `bis-WHAT-XXXXXXXX` among the temporary files, for this user alone. In it lie `maker`, which is locked while
somebody lives who uses it (`store/drafts.py`), and beside that a folder for what its maker puts there.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

from bis.store import drafts

What = Literal["answers", "build", "compare", "data", "history", "meaning", "model", "room", "rows"]
There = Literal["dask", "ray", "score"]
"""Those of scorings on other machines, which have nothing of this package (`scoring/bulk/there.py`)."""
NAME: Final = re.compile(rf"bis-(?:{'|'.join((*get_args(What), *get_args(There)))})-[a-z0-9_]{{8}}")
INSIDE: Final = "in"


@contextlib.contextmanager
def temporary(what: What) -> Iterator[Path]:
    """A new empty folder, gone afterwards."""
    with temporary_held(what) as (folder, _):
        yield folder


@contextlib.contextmanager
def temporary_held(what: What) -> Iterator[tuple[Path, int]]:
    """And the descriptor that a process has to inherit which may go on in the folder when this one is killed."""
    top = tempfile.mkdtemp(prefix=f"bis-{what}-")
    with drafts.made(top) as lock:
        folder = Path(top, INSIDE)
        folder.mkdir()
        yield folder, lock


def left_in(folder: Path) -> list[Path]:
    """The temporary folders of this user here whose makers are dead, and which nobody else uses."""
    return [path for path in map(Path, drafts.left_in(os.fspath(folder), NAME)) if path.lstat().st_uid == os.getuid()]
