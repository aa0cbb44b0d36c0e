"""Quilt: manifests of packages, their top hashes, and registries in a folder.

A manifest is a file of JSON lines: one about the package, then one for each file with its logical key (its path in the
package), physical key (an address where its bytes are), size, hash and metadata. The top hash names all of that but
the physical keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec

from bis.foreign import is_inside, not_understood

CHUNKED = "sha2-256-chunked"
PLAIN = "SHA256"
PART = 8 << 20
MOST_PARTS = 10_000
BLOCK = 1 << 20
LATEST = "latest"
ROOT = ".quilt"
NAME = re.compile(r"[\w-]+/[\w-]+")
TOP = re.compile(r"[0-9a-f]{64}")


class Hash(msgspec.Struct, frozen=True):
    type: str
    value: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a package."""

    logical_key: str
    physical_keys: tuple[str, ...]
    size: int
    hash: Hash | None
    meta: dict[str, Any] = {}
    """What a person said of it is below `user_meta`."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    header: dict[str, Any]
    """`version`, `user_meta`, `message`, and what else the first line has."""
    rows: tuple[Row, ...] = ()
    folders: tuple[dict[str, Any], ...] = ()
    """Lines about folders: `logical_key` with a slash at its end, and `meta`. They are no part of the top hash."""

    @property
    def message(self) -> str:
        return str(self.header.get("message") or "")

    @property
    def metadata(self) -> dict[str, Any]:
        found = self.header.get("user_meta")
        return found if isinstance(found, dict) else {}


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A package as a registry names it at one time."""

    made: datetime | None
    """UTC, to the second; None for `latest`, where no time stamp says the same."""
    top: str


def package(rows: Iterable[Row], *, message: str = "", metadata: dict[str, Any] | None = None) -> Package:
    """A package in the form of today."""
    header: dict[str, Any] = {"version": "v0"}
    header |= {"user_meta": metadata} if metadata else {}
    return Package(header={**header, "message": message or None}, rows=_in_order(rows))


# Hashes ------------------------------------------------------------------------------------------------------------


def hash_file(path: Path, kind: str = CHUNKED) -> Hash | None:
    """The hash of a file's bytes; None for a kind that is not known here (CRC64NVME), so that it cannot be checked."""
    with path.open("rb") as file:
        return hash_stream(file, path.stat().st_size, kind)


def hash_stream(file: BinaryIO, size: int, kind: str = CHUNKED) -> Hash | None:
    """As `hash_file`."""
    if kind == PLAIN:
        hasher = hashlib.sha256()
        while block := file.read(BLOCK):
            hasher.update(block)
        return Hash(PLAIN, hasher.hexdigest())
    return Hash(CHUNKED, chunked(file, size)) if kind == CHUNKED else None


def chunked(file: BinaryIO, size: int) -> str:
    """SHA-256 over the SHA-256s of parts of 8 MiB, doubled until there are no more than 10,000 of them; base 64."""
    length = part_size(size)
    outer = hashlib.sha256()
    while inner := _part(file, length):
        outer.update(inner)
    return base64.b64encode(outer.digest()).decode()


def part_size(size: int) -> int:
    length = PART
    while -(-size // length) > MOST_PARTS:
        length *= 2
    return length


def is_content(path: Path, row: Row) -> bool | None:
    """Whether a file's bytes are those of a row; None when its hash is of a kind that cannot be checked here."""
    if path.stat().st_size != row.size:
        return False
    found = hash_file(path, row.hash.type) if row.hash else None
    return None if found is None else found == row.hash


def top_hash(whole: Package) -> str:
    """The name of a package: SHA-256 over its first line and its rows, without physical keys, each as compact JSON."""
    hasher = hashlib.sha256()
    encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
    hasher.update(encode(whole.header).encode())
    for row in _in_order(whole.rows):
        about = {"hash": row.hash and msgspec.to_builtins(row.hash), "logical_key": row.logical_key}
        hasher.update(encode({**about, "meta": row.meta, "size": row.size}).encode())
    return hasher.hexdigest()


def _part(file: BinaryIO, length: int) -> bytes:
    """The digest of the next part; nothing at the end of the file."""
    hasher = hashlib.sha256()
    left = length
    while left and (block := file.read(min(BLOCK, left))):
        hasher.update(block)
        left -= len(block)
    return b"" if left == length else hasher.digest()


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows as Quilt walks a package: folder by folder, which is not the order of whole paths."""
    return tuple(sorted(rows, key=lambda row: row.logical_key.split("/")))


# Manifests ---------------------------------------------------------------------------------------------------------


def read_manifest(data: bytes, name: str) -> Package:
    """Raises UsageError for what is no manifest, or has a logical key that leads out of a folder, or one twice."""
    try:
        header, *others = [json.loads(line) for line in data.splitlines() if line.strip()]
        folders = tuple(line for line in others if not line.get("physical_keys"))
        rows = tuple(msgspec.convert(_plain(line), Row) for line in others if line.get("physical_keys"))
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise not_understood(name, f"it is no manifest of a package ({error})") from None
    if not isinstance(header, dict):
        raise not_understood(name, "its first line is no JSON object")
    header.pop("top_hash", None)  # very old ones carry it, and it was never a part of itself
    seen: set[str] = set()
    for row in rows:
        if row.logical_key in seen or not is_inside(row.logical_key):
            raise not_understood(name, f"{row.logical_key!r} is there twice, or is no path inside a folder")
        seen.add(row.logical_key)
    return Package(header=header, rows=rows, folders=folders)


def write_manifest(whole: Package) -> bytes:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    lines: list[dict[str, Any]] = [whole.header, *whole.folders]
    for row in _in_order(whole.rows):
        about = {"logical_key": row.logical_key, "physical_keys": list(row.physical_keys), "size": row.size}
        lines.append({**about, "hash": row.hash and msgspec.to_builtins(row.hash), "meta": row.meta})
    return "".join(f"{encode(line)}\n" for line in lines).encode()


def local_path(physical_key: str) -> Path | None:
    """The file of this machine that a physical key names; None for one in a bucket or elsewhere."""
    parts = urlsplit(physical_key)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        return None
    return Path(unquote(parts.path))


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "meta": line.get("meta") or {}}


# Registries in a folder --------------------------------------------------------------------------------------------


def names(registry: Path) -> list[str]:
    """The packages of a registry, `user/package`."""
    return sorted(path.relative_to(registry / ROOT / "named_packages").as_posix() for path in _named(registry))


def versions(registry: Path, name: str) -> list[Version]:
    """The versions of a package in the order of time, each top hash once a time stamp. Empty when there is none."""
    folder = registry / ROOT / "named_packages" / name
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        top = path.read_text("ascii", "replace").strip()
        if path.name.isdecimal() and TOP.fullmatch(top):
            found.append(Version(made=datetime.fromtimestamp(int(path.name), UTC), top=top))
    latest = folder / LATEST
    top = latest.read_text("ascii", "replace").strip() if latest.is_file() else ""
    if TOP.fullmatch(top) and top not in {version.top for version in found}:
        found.append(Version(made=None, top=top))
    return found


def read_package(registry: Path, top: str) -> Package:
    """The package of a top hash. Raises UsageError when it is not there or has another top hash than its name says."""
    path = registry / ROOT / "packages" / top
    if not path.is_file():
        raise not_understood(str(registry), f"it has no package with the top hash {top}")
    whole = read_manifest(path.read_bytes(), str(path))
    if top_hash(whole) != top:
        raise not_understood(str(path), f"its top hash is {top_hash(whole)}, and its name says another one")
    return whole


def write_package(registry: Path, name: str, whole: Package, made: datetime) -> str:
    """Put a package into a registry, as its latest version. Returns the top hash. The names come last, so that none
    stands for a manifest that is not there."""
    if not NAME.fullmatch(name):
        raise not_understood(
            f"the name {name!r}", "a package of Quilt is named USER/PACKAGE, in letters, digits, _ and -"
        )
    top = top_hash(whole)
    manifest = registry / ROOT / "packages" / top
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_bytes(write_manifest(whole))
    folder = registry / ROOT / "named_packages" / name
    folder.mkdir(parents=True, exist_ok=True)
    for pointer in (str(int(made.timestamp())), LATEST):
        (folder / pointer).write_text(top, "ascii")
    return top


def _named(registry: Path) -> Iterator[Path]:
    root = registry / ROOT / "named_packages"
    for user in sorted(root.iterdir()) if root.is_dir() else ():
        yield from (path for path in sorted(user.iterdir()) if path.is_dir())
