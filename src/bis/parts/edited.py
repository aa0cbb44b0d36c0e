"""Files of the environment that a run opened, held against what their distributions say of them.

A distribution's RECORD names the hash of every file. A file that was opened and has another hash was edited in
place; one that no RECORD names was put there by hand. Both are part of what ran. Files that were found right once
are not read again while their size, times and inode stay. Of a distribution that was imported from, files that are
gone are told as well: its folders are listed, once while they stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from bis.digest import digest_bytes, spell, unspell
from bis.nouns.trace import Access, Stat, Trace
from bis.parts.installed import Installed, all_rows, sized_rows, write_quietly

CACHED = re.compile(r"^(?P<folder>.*/)?__pycache__/(?P<stem>[^/]+)\.[^./]+(\.opt-[12])?\.pyc$")
MACHINERY = frozenset(("_virtualenv.py", "_virtualenv.pth"))
"""Put into every environment by what makes environments."""
FORMAT = 3
SLACK_NS = 1_000_000_000
BLOCK = 1 << 20

Why = Literal["edited", "foreign", "changed"]


class Edited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that is not what an installer put there. `path` is spelled and relative to its site folder."""

    path: str
    site: str
    why: Why
    """`foreign`: no distribution names it. `changed`: it was written to since the run opened it."""
    package: str = ""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What the files that a run opened tell of its environment."""

    used: tuple[str, ...] = ()
    """Names of the distributions that it imported from."""
    edited: tuple[Edited, ...] = ()
    gone: dict[str, tuple[str, ...]] = {}
    """Distribution that it imported from -> files that its RECORD names and that are not there."""
    verified: int = 0
    """How many opened files are exactly as their distributions say."""


Seen = tuple[int, int, int, int]


class _Notes(msgspec.Struct, array_like=True):
    """Files of one site folder that were right: path -> (status then, name of the distribution)."""

    format: int
    site: str
    records: dict[str, str]
    files: dict[str, tuple[Seen, str]]
    whole: dict[str, dict[str, int]] = {}
    """Distributions of which nothing was missing -> time of each of their folders then."""


def look(
    trace: Trace, packages: Iterable[Installed], sites: Iterable[str], real: Callable[[str], Path], cache: Path | None
) -> Looked:
    """Check every file below `sites` (spelled) that the run opened and that was there before it."""
    by_site: dict[str, list[Installed]] = {site: [] for site in sites}
    for package in packages:
        by_site.setdefault(package.site, []).append(package)
    opened = _opened(trace, by_site)
    used: set[str] = set()
    edited: list[Edited] = []
    gone: dict[str, tuple[str, ...]] = {}
    verified = 0
    for site, accesses in opened.items():
        check = _Site(site, by_site[site], real(site), cache)
        for path, access in accesses.items():
            if found := check.one(path, access.before):
                edited.append(found)
        used |= check.used
        gone |= check.gone()
        verified += check.verified
        check.close()
    return Looked(used=tuple(sorted(used)), edited=tuple(sorted(edited, key=_order)), gone=gone, verified=verified)


def _order(found: Edited) -> tuple[str, str]:
    return (found.site, found.path)


def _opened(trace: Trace, by_site: Iterable[str]) -> dict[str, dict[str, Access]]:
    """The files below each site folder that were read or executed: path relative to it -> how."""
    starts = sorted(((site.rstrip("/") + "/", site) for site in by_site), key=lambda pair: -len(pair[0]))
    starts += [(os.path.realpath(unspell(site)) + "/", site) for _, site in starts]
    found: dict[str, dict[str, Access]] = {}
    for access in trace.accesses:
        if access.before is None or not ("r" in access.how or "x" in access.how):
            continue
        for start, site in starts:
            if access.path.startswith(start):
                found.setdefault(site, {})[access.path[len(start) :]] = access
                break
    return found


class _Site:
    """One site folder: which distribution a file belongs to, and whether it is as it was installed."""

    def __init__(self, site: str, packages: list[Installed], folder: Path, cache: Path | None) -> None:
        self.site, self.folder = site, folder
        self._start = os.fspath(folder) + "/"
        self.used: set[str] = set()
        self.verified = 0
        self._packages = {package.name: package for package in packages}
        self._by_top: dict[str, list[Installed]] = {}
        for package in packages:
            for top in package.tops:
                self._by_top.setdefault(top, []).append(package)
        self._is_system = any(package.origin == "system" for package in packages)
        self._rows: dict[str, dict[str, str]] = {}
        self._file = cache / f"{digest_bytes(os.fsencode(folder))[3:19]}.files" if cache else None
        self._notes = self._read_notes()
        self._fresh = False

    def one(self, path: str, before: Stat | None) -> Edited | None:
        """What is wrong with a file that was opened; None when nothing is."""
        cached = CACHED.match(path) if path.endswith(".pyc") else None
        if cached:
            path, before = f"{cached['folder'] or ''}{cached['stem']}.py", None
        if path in MACHINERY:
            return None
        file = self._start + unspell(path)
        seen = _seen(before) if before and before.ctime_ns else _stat(file)
        if seen is None:
            return None
        noted = self._notes.files.get(path)
        if noted and noted[0] == seen and self._unchanged(noted[1]):
            self._count(path, noted[1])
            return None
        return self._check(path, file, seen)

    def gone(self) -> dict[str, tuple[str, ...]]:
        """Distribution -> its files that are not there, of those that were imported from."""
        found = {}
        for name in sorted(self.used):
            package = self._packages.get(name)
            if package is None or package.proof != "record" or package.origin == "system" or self._is_whole(name):
                continue
            missing = self._missing(package)
            if missing:
                found[name] = missing
        return found

    def _is_whole(self, name: str) -> bool:
        noted = self._notes.whole.get(name, {})
        return (
            bool(noted) and self._unchanged(name) and all(_time(self._start + path) == t for path, t in noted.items())
        )

    def _missing(self, package: Installed) -> tuple[str, ...]:
        folders: dict[str, set[str]] = {}
        for path, told in self._rows_of(package).items():
            if told and not path.startswith(("../", "/")) and not path.endswith(".pyc"):
                folder, _, file = path.rpartition("/")
                folders.setdefault(unspell(folder), set()).add(unspell(file))
        times = {folder: _time(self._start + folder) for folder in folders}
        missing = [
            f"{spell(folder)}/{spell(name)}".lstrip("/")
            for folder, names in folders.items()
            for name in names - _names(self._start + folder)
        ]
        if not missing:
            self._notes.whole[package.name] = times
            self._fresh = True
        return tuple(sorted(missing))

    def close(self) -> None:
        if self._fresh and self._file:
            self._notes.records = {name: package.record for name, package in self._packages.items()}
            write_quietly(self._file, msgspec.msgpack.encode(self._notes))

    def _check(self, path: str, file: str, seen: Seen) -> Edited | None:
        owner, told = self._owner(path)
        if owner is None:
            by_hand = os.path.isfile(file) and not self._is_system
            return Edited(path=path, site=self.site, why="foreign") if by_hand else None
        if owner.proof == "metadata" or owner.origin == "system":
            self.used.add(owner.name)  # the operating system's packages are its own to verify
            return None
        now = _stat(file)
        if now is None or (told and not matches(file, told)):
            return Edited(path=path, site=self.site, why="edited" if now == seen else "changed", package=owner.name)
        self._count(path, owner.name)
        if now == seen == _stat(file):
            self._notes.files[path] = (seen, owner.name)
            self._fresh = True
        return None

    def _owner(self, path: str) -> tuple[Installed | None, str]:
        """The distribution that a file belongs to, and the hash that it has by its RECORD."""
        without_hashes = None
        for package in self._by_top.get(path.partition("/")[0], ()):
            if package.proof == "metadata":
                without_hashes = package
            elif (told := self._rows_of(package).get(path)) is not None:
                return package, told
        return without_hashes, ""

    def _rows_of(self, package: Installed) -> dict[str, str]:
        if package.name not in self._rows:
            try:
                record = (self.folder / unspell(package.info) / "RECORD").read_bytes()
            except OSError:
                record = b""
            self._rows[package.name] = dict(all_rows(record))
        return self._rows[package.name]

    def _unchanged(self, name: str) -> bool:
        package = self._packages.get(name)
        return package is not None and self._notes.records.get(name) == package.record

    def _count(self, path: str, name: str) -> None:
        self.verified += 1
        if not path.partition("/")[0].endswith((".dist-info", ".egg-info", ".pth")):
            self.used.add(name)

    def _read_notes(self) -> _Notes:
        fresh = _Notes(FORMAT, self.site, {}, {})
        if self._file is None:
            return fresh
        try:
            notes = msgspec.msgpack.decode(self._file.read_bytes(), type=_Notes)
        except (OSError, msgspec.MsgspecError, ValueError):
            return fresh
        return notes if notes.format == FORMAT and notes.site == self.site else fresh


def _stat(file: str) -> Seen | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _time(folder: str) -> int:
    """When a name was last made or removed in it; 0 when it is not there."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _seen(before: Stat) -> Seen:
    return (before.size, before.mtime_ns, before.inode, before.ctime_ns)


def matches(file: str | Path, told: str) -> bool:
    """Whether a file has the hash that a RECORD names (`sha256=` and unpadded base64)."""
    algorithm, _, text = told.partition("=")
    try:
        hasher = hashlib.new(algorithm)
        with open(file, "rb") as handle:
            while block := handle.read(BLOCK):
                hasher.update(block)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode() == text


def damaged(site: str, packages: Iterable[Installed]) -> list[tuple[str, str]]:
    """(distribution, path) of the files below `site` (spelled) that are missing or not what their RECORD says.

    Made for an environment that was installed just now: what has its recorded size and was not written to after the
    rest of its distribution was unpacked is taken for good, so that not every byte is read.
    """
    folder = Path(unspell(site))
    return [(package.name, path) for package in packages for path in _damaged_in(folder, package)]


def _damaged_in(folder: Path, package: Installed) -> list[str]:
    info = folder / unspell(package.info)
    try:
        record = (info / "RECORD").read_bytes()
        unpacked = max(os.stat(info / name).st_mtime_ns for name in ("METADATA", "WHEEL"))
    except OSError:
        return []
    wrong = []
    for path, told, size in sized_rows(record):
        if not told or path.startswith(("../", "/")) or path.endswith(".pyc"):
            continue
        file = folder / unspell(path)
        try:
            status = os.stat(file)
        except OSError:
            wrong.append(path)
            continue
        suspect = status.st_mtime_ns > unpacked + SLACK_NS
        if (size and status.st_size != int(size)) or (suspect and not matches(file, told)):
            wrong.append(path)
    return wrong
