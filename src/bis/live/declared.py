"""Data that a script declares: looked at where it lies, not copied."""

from __future__ import annotations

from pathlib import Path

from bis.digest import digest_file
from bis.nouns.logged import Input
from bis.store.snapshot import snapshot


def look(path: Path, name: str = "") -> Input:
    """Digest and size of a file, or of a folder with all in it. Raises OSError where there is none."""
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Input(str(path), snapshot(path, None), size, name)
    return Input(str(path), digest_file(path), path.stat().st_size, name)
