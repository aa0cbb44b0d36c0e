"""Trees and blobs: what a folder was.

A Tree is the listing of one folder; a sub-folder is an entry that names another tree by digest, so an
unchanged sub-folder is recognised, skipped and stored once. A Blob is the bytes of one file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bis.digest import Digest

EntryKind = Literal["file", "tree", "link"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One name in a folder. `name` is spelled (`digest.spell`), without slashes."""

    name: str
    kind: EntryKind
    digest: Digest = Digest("")
    """Of the bytes of a file, of the tree of a folder; empty for a link."""
    size: int = 0
    """Bytes of a file; of all files below, for a folder."""
    mode: int = 0o644
    """Permission bits."""
    target: str = ""
    """Where a symbolic link points (spelled), as written."""
    kept: bool = True
    """False: recorded by reference; the digest is known and the bytes are not in the store."""


class Tree(msgspec.Struct, frozen=True, tag="bis.tree/1", tag_field="schema"):
    """The entries of one folder, sorted by the bytes of their names."""

    entries: tuple[Entry, ...]


class Leaf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file or link of a tree, named by its whole path: what walking a tree yields."""

    path: str
    """Spelled, relative to the root of the tree, with `/`."""
    entry: Entry
