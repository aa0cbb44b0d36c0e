"""Formats of rows, by the names of files. The standard library is enough for what is here."""

from __future__ import annotations

from pathlib import PurePath

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


def kind_of(path: str) -> str:
    """The format that a name tells; empty: none."""
    name = PurePath(path.lower())
    return KINDS.get(PurePath(name.stem).suffix if name.suffix in PACKED else name.suffix, "")
