"""Which artifact an installed distribution came out of, where uv's cache still proves it.

Installers do not record the hash of what they install from an index. uv's cache does: beside each unpacked wheel it
notes the archive's SHA-256 and address, and it links (or copies) its files into environments. A package whose files
are those of such a wheel is proved to come from it. The cache's layout is uv's own affair: what is not understood
is not used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import spell, unspell
from bis.parts.indexes import public_url
from bis.parts.installed import Installed, record_digest, rows_of

NOTES = (".http", ".rev", ".lock", ".msgpack")


class Artifacts:
    """A reader of one uv cache. `prove` is what it is for."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._wheels = self._buckets("wheels-v*")
        self._sources = self._buckets("sdists-v*")
        self._others = [folder for bucket in self._wheels for folder in bucket.glob("index/*")]

    def prove(self, package: Installed) -> Installed:
        """The package with hash, name and address of its wheel, or marked as built here from a source archive; as it
        was when neither is proved."""
        if package.origin != "index" or package.proof != "record":
            return package
        for folder in [bucket / "pypi" for bucket in self._wheels] + self._others:
            for unpacked in _of_version(folder / package.name, package.version):
                if _same_files(unpacked, package) and (told := _noted(unpacked)):
                    return msgspec.structs.replace(package, **told)
        for unpacked in self._built(package):
            if _same_files(unpacked, package):
                return msgspec.structs.replace(
                    package, built=True, **(_noted(unpacked.parent.parent / "revision") or {})
                )
        return package

    def _buckets(self, pattern: str) -> list[Path]:
        return sorted(self._cache.glob(pattern), reverse=True)

    def _built(self, package: Installed) -> Iterator[Path]:
        """Where wheels lie that uv built from the source archive of this version."""
        for bucket in self._sources:
            for place in ("pypi", "index/*"):
                for built in bucket.glob(f"{place}/{package.name}/{package.version}/*/*.whl"):
                    yield built.with_suffix("")


def uv_cache(variables: Mapping[str, str], home: Path) -> Path:
    """Where uv keeps its cache."""
    if chosen := variables.get("UV_CACHE_DIR"):
        return Path(chosen)
    return Path(variables.get("XDG_CACHE_HOME") or home / ".cache") / "uv"


def _of_version(folder: Path, version: str) -> list[Path]:
    """The unpacked wheels of one version. Names of several tags are not spelled alike by all, so all are looked at."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name.startswith(f"{version}-") and not name.endswith(NOTES)]


def _same_files(unpacked: Path, package: Installed) -> bool:
    """Whether the files of an unpacked wheel are the installed ones: the same inode, or the same RECORD."""
    info = unspell(package.info)
    try:
        ours, theirs = os.stat(os.path.join(unspell(package.site), info, "WHEEL")), os.stat(unpacked / info / "WHEEL")
        if (ours.st_ino, ours.st_dev) == (theirs.st_ino, theirs.st_dev):
            return True
        record = (unpacked / info / "RECORD").read_bytes()
    except OSError:
        return False
    return record_digest(list(rows_of(record, spell(info)))) == package.record


def _noted(stem: Path) -> dict[str, Any] | None:
    """An archive's hash, its file name, and the address it was loaded from."""
    for ending in (".http", ".rev"):
        try:
            raw = stem.with_name(stem.name + ending).read_bytes()
        except OSError:
            continue
        found = re.search(rb"Sha256\xd9\x40([0-9a-f]{64})", raw)
        url = re.search(rb"https?://[!-~]+?\.(?:whl|tar\.gz|zip)", raw)
        if found and url:
            address = public_url(url[0].decode("ascii"))
            return {"sha256": found[1].decode("ascii"), "url": address, "archive": address.rpartition("/")[2]}
    return None
