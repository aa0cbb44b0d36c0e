"""A pointer: a small file beside the data, to be committed to Git, that says which version lies there.

It is made for people who look at a difference: a line each, always in the same order, nothing that changes without the
data.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from bis.digest import Digest, readable, spell
from bis.errors import UsageError
from bis.nouns.dataset import DataVersion, Held
from bis.nouns.reference import DataReference
from bis.store.trouble import shown, trouble

SUFFIX = ".bis"
POINTER_SCHEMA = "bis.pointer/1"
LARGEST = 64 << 10


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """What such a file says."""

    name: str
    version: int
    made: str
    checksum: Digest
    """The content of the version, as `DataVersion.content`."""
    size: int
    files: int


def pointer_path(place: Path) -> Path:
    return place.with_name(place.name + SUFFIX)


def is_pointer(path: Path) -> bool:
    """Whether there is a file that says of itself that it is one."""
    if not path.name.endswith(SUFFIX) or not path.is_file():
        return False
    with path.open("rb") as file:
        return f"schema: {POINTER_SCHEMA}".encode() in file.read(1024)


def write_pointer(place: Path, held: Held) -> Path:
    """Write the pointer to a version that lies at `place`, beside it; whole, or not at all. Its path."""
    path, draft = pointer_path(place), place.with_name(f".{place.name}{SUFFIX}.{os.getpid()}")
    try:
        draft.write_text(pointer_text(held.version), "utf-8")
        draft.replace(path)
    except OSError as error:
        raise trouble(error, "write", path) from error
    return path


def pointer_text(version: DataVersion) -> str:
    lines = {
        "schema": POINTER_SCHEMA,
        "name": readable(version.name),
        "version": str(version.number),
        "made": version.made,
        "checksum": version.content,
        "size": str(version.size),
        "files": str(version.files),
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def read_pointer(path: Path) -> Pointer:
    """Raises UsageError, with the line, for a file that is none, or that a merge left in two."""
    try:
        text = path.read_bytes()[:LARGEST].decode("utf-8", "replace")
    except OSError as error:
        raise trouble(error, "read", path) from error
    if "<<<<<<<" in text:
        raise UsageError(f"{shown(path)} holds a conflict of a merge", hint=f"git checkout --theirs {shown(path)}")
    lines = [line.partition(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    said = {key.strip(): value.strip() for key, _, value in lines}
    if said.get("schema") != POINTER_SCHEMA:
        raise UsageError(f"{shown(path)} is no pointer of bis ({POINTER_SCHEMA})", hint="bis data add --pointer PATH")
    try:
        found = msgspec.convert(said, Pointer, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{shown(path)} cannot be read: {error}", hint=f"git log -p {shown(path)}") from None
    if not re.fullmatch(r"b3:[0-9a-f]{64}", found.checksum):
        raise UsageError(f"{shown(path)}: {found.checksum!r} is no checksum", hint=f"git log -p {shown(path)}")
    return found


def reference_of(pointer: Pointer) -> DataReference:
    """The version that a pointer means: by its content, as another ledger may have given another number."""
    digits = pointer.checksum.removeprefix("b3:")
    text = f"{pointer.name}@b3:{digits[:8]}"
    return DataReference(text=text, base=spell(pointer.name), checksum=("b3", digits))
