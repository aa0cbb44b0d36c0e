"""Formats of rows, by the names of files. The standard library is enough for what is here."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

KINDS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
PACKED = (".gz", ".zst")
ARROW_KINDS = ("parquet", "arrow")
"""Those that pyarrow is needed for."""


PART = re.compile(r"part-\d{5}\.(csv|jsonl|parquet|arrow)")
"""How the files of an output are called that is a folder."""


def in_the_way(path: Path, is_folder: bool) -> str:
    """What would be lost if an output took this place: something that no scoring writes; empty where there is nothing
    but an earlier output."""
    if not is_folder:
        return "a folder is there" if path.is_dir() else ""
    if not path.is_dir():
        return "a file is there" if path.exists() else ""
    other = next((one.name for one in sorted(path.iterdir()) if not PART.fullmatch(one.name)), "")
    return f"{other!r} in it is no file of an output" if other else ""


def kind_of(path: str) -> str:
    """The format that a name tells; empty: none."""
    name = PurePath(path.lower())
    return KINDS.get(PurePath(name.stem).suffix if name.suffix in PACKED else name.suffix, "")
