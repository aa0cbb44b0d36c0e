"""Git LFS: pointers, and where the contents they name lie.

A pointer is what Git itself keeps in the place of a large file: some lines of text with the SHA-256 of the content.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

import msgspec

VERSION = "https://git-lfs.github.com/spec/v1"
VERSIONS = frozenset(
    (VERSION, "http://git-media.io/v/2", "https://hawser.github.com/spec/v1", "http://hawser.github.com/spec/v1")
)
"""What the first line may name: this version, and its names from before Git LFS was called so."""
LARGEST = 1024
"""Bytes: what is as large or larger is content, not a pointer."""
BLOCK = 1 << 20
OID = re.compile(r"[0-9a-f]{64}")


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    oid: str
    """SHA-256 of the content, hexadecimal."""
    size: int
    others: tuple[tuple[str, str], ...] = ()
    """Further lines, key and value (extensions): kept as they are."""


EMPTY = Pointer(oid=hashlib.sha256(b"").hexdigest(), size=0)
"""The pointer of an empty file, which is an empty file itself."""


def read_pointer(data: bytes) -> Pointer | None:
    """The pointer that these bytes are; None when they are something else. An empty file is no pointer here, as nothing
    tells it from an empty file that Git LFS knows nothing of."""
    if not 0 < len(data) < LARGEST:
        return None
    try:
        lines = data.decode("utf-8").splitlines()
        pairs = [(key, value) for key, value in (line.split(" ", 1) for line in lines)]
    except ValueError:
        return None
    if not pairs or pairs[0][0] != "version" or pairs[0][1] not in VERSIONS:
        return None
    found = dict(pairs)
    kind, _, oid = found.get("oid", "").partition(":")
    size = found.get("size", "")
    if kind != "sha256" or not OID.fullmatch(oid) or not re.fullmatch(r"[0-9]+", size):
        return None
    others = tuple(pair for pair in pairs[1:] if pair[0] not in ("oid", "size"))
    return Pointer(oid=oid, size=int(size), others=others)


def read_pointer_file(path: Path) -> Pointer | None:
    """As `read_pointer`, for a file, of which no more is read than a pointer can have."""
    try:
        with path.open("rb") as file:
            return read_pointer(file.read(LARGEST))
    except OSError:
        return None


def write_pointer(pointer: Pointer) -> bytes:
    """The one spelling of a pointer: version first, the other keys in order. That of an empty file is empty."""
    if not pointer.size:
        return b""
    lines = sorted([*pointer.others, ("oid", f"sha256:{pointer.oid}"), ("size", str(pointer.size))])
    return "".join(f"{key} {value}\n" for key, value in [("version", VERSION), *lines]).encode()


def point_at(path: Path) -> Pointer:
    """The pointer of a content, which is read."""
    with path.open("rb") as file:
        return point_at_stream(file)


def point_at_stream(file: BinaryIO) -> Pointer:
    hasher = hashlib.sha256()
    size = 0
    while block := file.read(BLOCK):
        hasher.update(block)
        size += len(block)
    return Pointer(oid=hasher.hexdigest(), size=size)


def object_place(oid: str) -> str:
    """Where a store of Git LFS (`.git/lfs/objects`, or a folder that is a remote) has a content."""
    return f"{oid[:2]}/{oid[2:4]}/{oid}"


def find_content(pointer: Pointer, roots: tuple[Path, ...]) -> Path | None:
    """The file that should hold a content: there and of the right size. Its bytes are not looked at: see
    `is_content`."""
    for root in roots:
        path = root / object_place(pointer.oid)
        if path.is_file() and path.stat().st_size == pointer.size:
            return path
    return None


def is_content(path: Path, pointer: Pointer) -> bool:
    found = point_at(path)
    return (found.oid, found.size) == (pointer.oid, pointer.size)
