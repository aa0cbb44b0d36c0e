"""The packages of the operating system: which are installed, and which of them a file belongs to.

Read from the package manager's own database, and remembered in a file of the cache until that changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

PATIENCE = 60.0
"""Seconds for `rpm`, which is asked for every file of the system."""
PROGRAMS = tuple(f"{root}/{folder}/" for root in ("", "/usr") for folder in ("bin", "sbin", "libexec"))


class Packages(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed."""

    manager: str
    """`dpkg`, `rpm`, `apk` or `pacman`."""
    versions: dict[str, str]
    """By name, with the architecture where a name is installed for two."""
    owners: dict[str, str]
    """Path of a shared library or program -> the name of its package."""

    @property
    def text(self) -> bytes:
        """One `name=version` a line, sorted: what is kept in the store."""
        return "".join(f"{name}={self.versions[name]}\n" for name in sorted(self.versions)).encode()

    def owner(self, path: str) -> str | None:
        """The package of a file. Databases name files by where they were before /lib and /bin moved into /usr."""
        return self.owners.get(path) or self.owners.get(path.removeprefix("/usr")) or self.owners.get(f"/usr{path}")


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    status: tuple[int | str, ...]
    packages: Packages


def observe(cache: Path, root: Path = Path("/")) -> Packages | None:
    """The installed packages, None where there is no package manager that is known here. Raises OSError when there is
    one whose database cannot be read."""
    for database, manager, read in _MANAGERS:
        path = root / database
        try:
            found = path.stat()
        except OSError:
            continue
        status = (os.fspath(path), found.st_size, found.st_mtime_ns, found.st_ino)
        kept = _recall(cache / "system-packages.json")
        if kept and kept.status == status:
            return kept.packages
        versions, owners = read(root, path)
        packages = Packages(manager=manager, versions=versions, owners=owners)
        _keep(cache / "system-packages.json", _Kept(version=1, status=status, packages=packages))
        return packages
    return None


def parsed(text: bytes) -> dict[str, str]:
    """What `Packages.text` wrote."""
    pairs = (line.partition("=") for line in text.decode("utf-8", "replace").splitlines())
    return {name: version for name, _, version in pairs}


def _dpkg(root: Path, status: Path) -> tuple[dict[str, str], dict[str, str]]:
    rows = [
        (fields["Package"], fields.get("Architecture", ""), fields.get("Version", ""))
        for fields in _paragraphs(status)
        if fields.get("Status", "").endswith(" installed") and "Package" in fields
    ]
    counted = Counter(name for name, _, _ in rows)
    versions = {f"{name}:{arch}" if counted[name] > 1 else name: version for name, arch, version in rows}
    owners: dict[str, str] = {}
    for listing in sorted((root / "var/lib/dpkg/info").glob("*.list")):
        plain = listing.stem.partition(":")[0]
        name = plain if plain in versions else listing.stem
        owners.update(dict.fromkeys(_worth(_lines(listing)), name))
    return versions, owners


def _apk(root: Path, database: Path) -> tuple[dict[str, str], dict[str, str]]:
    versions: dict[str, str] = {}
    owners: dict[str, str] = {}
    name = folder = ""
    for line in _lines(database):
        key, _, value = line.partition(":")
        if key == "P":
            name = value
        elif key == "V":
            versions[name] = value
        elif key == "F":
            folder = value
        elif key == "R":
            owners.update(dict.fromkeys(_worth([f"/{folder}/{value}"]), name))
    return versions, owners


def _pacman(root: Path, database: Path) -> tuple[dict[str, str], dict[str, str]]:
    versions: dict[str, str] = {}
    owners: dict[str, str] = {}
    for folder in sorted(database.iterdir()):
        name, _, rest = folder.name.rpartition("-")
        name, _, version = name.rpartition("-")
        if name:
            versions[name] = f"{version}-{rest}"
            owners.update(dict.fromkeys(_worth(f"/{line}" for line in _lines(folder / "files")), name))
    return versions, owners


def _rpm(root: Path, database: Path) -> tuple[dict[str, str], dict[str, str]]:
    program = shutil.which("rpm")
    if program is None:
        raise OSError(f"{database} is there, and the program rpm, which reads it, is not")
    where = [program, "-qa", "--dbpath", str(database.parent), "--qf"]
    versions = dict(line.rsplit("=", 1) for line in _ask([*where, "%{NAME}.%{ARCH}=%{EVR}\n"]) if "=" in line)
    files = (line.split("\t", 1) for line in _ask([*where, "[%{=NAME}.%{=ARCH}\t%{FILENAMES}\n]"]) if "\t" in line)
    return versions, {path: name for name, path in files if any(_worth([path]))}


_MANAGERS: tuple[tuple[str, str, Callable[[Path, Path], tuple[dict[str, str], dict[str, str]]]], ...] = (
    ("var/lib/dpkg/status", "dpkg", _dpkg),
    ("lib/apk/db/installed", "apk", _apk),
    ("usr/lib/apk/db/installed", "apk", _apk),
    ("var/lib/pacman/local", "pacman", _pacman),
    *((f"{folder}/{name}", "rpm", _rpm) for folder in ("usr/lib/sysimage/rpm", "var/lib/rpm")
      for name in ("rpmdb.sqlite", "Packages.db", "Packages")),
)  # fmt: skip


def _worth(paths: Iterable[str]) -> Iterator[str]:
    """Shared libraries and programs: the files of the system that decide what a run computes."""
    for path in paths:
        if ".so" in path or path.startswith(PROGRAMS):
            yield path


def _ask(argv: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PATIENCE, check=True,
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise OSError(f"{argv[0]} did not tell what is installed: {error}") from None
    return done.stdout.splitlines()


def _paragraphs(path: Path) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in _lines(path):
        if not line:
            if fields:
                yield fields
            fields = {}
        elif line.startswith(("Package:", "Status:", "Version:", "Architecture:")):
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        return []


def _recall(file: Path) -> _Kept | None:
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept if kept.version == 1 else None


def _keep(file: Path, kept: _Kept) -> None:
    """A cache: where it cannot be written, the database is read again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        coming = file.with_name(f"{file.name}.{os.getpid()}")
        coming.write_bytes(msgspec.json.encode(kept))
        coming.replace(file)
    except (OSError, UnicodeEncodeError):
        pass
