"""What conda put into a prefix: its own list, Python packages and libraries alike."""

from __future__ import annotations

import re
from pathlib import Path

from bis.digest import Digest, digest_value
from bis.parts.indexes import public_url

HEAD = 4096


def conda_packages(prefix: Path) -> list[dict[str, str]]:
    """Name, version, build and channel of each package in `conda-meta`; empty when conda made no such prefix."""
    found = []
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        stem, _, build = file.stem.rpartition("-")
        name, _, version = stem.rpartition("-")
        if name:
            found.append({"name": name, "version": version, "build": build, "channel": _channel(file)})
    return found


def conda_digest(packages: list[dict[str, str]]) -> Digest:
    """The identity of conda's list: what is installed, not from which mirror."""
    return digest_value([[package["name"], package["version"], package["build"]] for package in packages])


def _channel(file: Path) -> str:
    """The channel's address without user, password or token; near the head of the file, so not all of it is read."""
    try:
        with file.open("rb") as handle:
            head = handle.read(HEAD).decode("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r'"channel"\s*:\s*"([^"]*)"', head)
    return re.sub(r"/t/[^/]+/", "/", public_url(found[1])) if found else ""
