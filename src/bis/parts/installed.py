"""The distributions an interpreter sees, read from the `*.dist-info` and `*.egg-info` on its path.

What identifies an installed distribution is the digest of its normalised RECORD: the paths and hashes of all files
that came out of the wheel, without those that the installer made (scripts, byte code, its own notes). Two
installers, two prefixes and two days give the same digest for the same wheel, and another one for another wheel.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bis.digest import Digest, digest_bytes, digest_value, spell, unspell
from bis.parts.indexes import public_url

InstallOrigin = Literal["index", "archive", "vcs", "folder", "editable", "project", "system", "conda", "unknown"]
Proof = Literal["record", "metadata"]

MADE_BY_INSTALLERS = frozenset(
    (
        "RECORD",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
        "uv_cache.json",
        "uv_build.json",
        "RECORD.jws",
        "RECORD.p7s",
    )
)
"""Files of a dist-info folder that are not from the wheel."""
FORMAT = 7
"""Of the cache; another number: it is not read."""


class Installed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One distribution as it is installed. Paths are spelled."""

    name: str
    """Normalised: `scikit-learn`."""
    version: str
    record: Digest
    """Of the normalised RECORD; see `proof` for distributions that have none."""
    proof: Proof = "record"
    """`metadata`: there is no RECORD; the digest is that of the metadata, and files cannot be verified."""
    origin: InstallOrigin = "index"
    """`index` is also what an installer leaves no note about: a wheel from an index or a folder of wheels."""
    installer: str = ""
    requested: bool = False
    url: str = ""
    """Where it came from, by direct_url.json, without credentials; `git+https://…` for a checkout."""
    commit: str = ""
    subdirectory: str = ""
    sha256: str = ""
    """Of the archive it was installed from, as far as that is proved."""
    archive: str = ""
    """That archive's file name."""
    source: str = ""
    """Folder that an editable or local install was made from."""
    site: str = ""
    """Folder it is installed in."""
    info: str = ""
    """Name of its dist-info or egg-info there."""
    built: bool = False
    """Its wheel was built on this machine from a source archive."""
    tags: tuple[str, ...] = ()
    """Of its wheel: `cp311-cp311-manylinux_2_28_x86_64`."""
    tops: tuple[str, ...] = ()
    """First components of the paths it put into `site`."""
    tree: Digest = Digest("")
    """Of the source of an editable install, once it was kept."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.name, self.version, self.record, self.tree)


class _Noted(msgspec.Struct, frozen=True, array_like=True):
    """A cache entry: what was read, and what the files looked like then."""

    seen: tuple[int, ...]
    found: Installed


def normal(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(
    folders: Iterable[str],
    cache: Path | None = None,
    real: Callable[[str], Path] | None = None,
    prove: Callable[[Installed], Installed] | None = None,
) -> tuple[list[Installed], list[Installed]]:
    """What an interpreter with these folders (spelled) on its path sees, by name; and what is hidden behind it.

    `cache` is a folder for notes between calls; None: everything is read. A note is used only while the files
    have the size, times and inode they had. `real` tells where a folder is to be read from, when that is elsewhere.
    `prove` adds what is known of the artifact of a distribution; asked once for each that is new.
    """
    seen: dict[str, Installed] = {}
    hidden: list[Installed] = []
    for folder in dict.fromkeys(folders):
        for found in _in_folder(folder, os.fspath(real(folder)) if real else unspell(folder), cache, prove):
            other = seen.get(found.name)
            if other is None:
                seen[found.name] = found
            elif other.proof == "metadata" and found.proof == "record" and other.origin == "unknown":
                seen[found.name] = found  # an egg-info in a source tree, and the installation that points there
            elif found.origin != "unknown":
                hidden.append(found)
    return sorted(seen.values(), key=lambda item: item.name), hidden


def set_digest(found: Iterable[Installed]) -> Digest:
    """The identity of a set of distributions."""
    return digest_value([list(item.identity) for item in sorted(found, key=lambda item: item.name)])


def _in_folder(
    name_of_folder: str, folder: str, cache: Path | None, prove: Callable[[Installed], Installed] | None
) -> list[Installed]:
    try:
        names = sorted(name for name in os.listdir(folder) if _is_info(name))
    except OSError:
        return []
    if not names:
        return []
    file = cache / f"{digest_bytes(os.fsencode(folder))[3:19]}.set" if cache else None
    notes = _read_notes(file, folder)
    answer: dict[str, _Noted] = {}
    for name in names:
        look = _look(os.path.join(folder, name))
        if look is None:
            continue
        noted = notes.get(name)
        if noted is None or noted.seen != look:
            found = _read(folder, name)
            noted = _Noted(look, prove(found) if prove else found) if found else None
        if noted:
            answer[name] = noted
    if file and answer != notes:
        _write_notes(file, folder, answer)
    if name_of_folder == spell(folder):
        return [noted.found for noted in answer.values()]
    return [msgspec.structs.replace(noted.found, site=name_of_folder) for noted in answer.values()]


def _is_info(name: str) -> bool:
    return name.endswith((".dist-info", ".egg-info", ".egg-link", ".egg")) and not name.startswith("~")


def _look(info: str) -> tuple[int, ...] | None:
    """What tells an unchanged dist-info: of the folder, its modification; of its RECORD, everything."""
    try:
        folder = os.stat(info)
        try:
            record = os.stat(info + "/RECORD")
        except OSError:
            return (folder.st_mtime_ns, folder.st_ino, folder.st_size)
    except OSError:
        return None
    return (folder.st_mtime_ns, folder.st_ino, record.st_size, record.st_mtime_ns, record.st_ino, record.st_ctime_ns)


def _read_notes(file: Path | None, folder: str) -> dict[str, _Noted]:
    if file is None:
        return {}
    try:
        kind, where, notes = msgspec.msgpack.decode(file.read_bytes(), type=tuple[int, str, dict[str, _Noted]])
    except (OSError, msgspec.MsgspecError, ValueError):
        return {}
    return notes if (kind, where) == (FORMAT, spell(folder)) else {}


def _write_notes(file: Path, folder: str, notes: dict[str, _Noted]) -> None:
    """Best effort: a cache that cannot be written costs time, nothing else."""
    write_quietly(file, msgspec.msgpack.encode((FORMAT, spell(folder), notes)))


def write_quietly(file: Path, data: bytes) -> None:
    """Replace a file of a cache at once or not at all, without complaint."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


# -- reading one distribution ------------------------------------------------------------------------------------


def _read(folder: str, name: str) -> Installed | None:
    if name.endswith(".dist-info"):
        return _read_dist_info(folder, name)
    if name.endswith(".egg-link"):
        return _read_egg_link(folder, name)
    return _read_egg_info(folder, name)


def _read_dist_info(folder: str, name: str) -> Installed | None:
    info = os.path.join(folder, name)
    metadata = _bytes(f"{info}/METADATA")
    if metadata is None:
        return None
    title, version = _name_and_version(metadata, name.removesuffix(".dist-info"))
    record = _bytes(f"{info}/RECORD")
    direct = _direct_url(_bytes(f"{info}/direct_url.json"))
    rows = list(rows_of(record, name)) if record is not None else []
    origin = direct.pop("origin", _origin_by_folder(folder, record is not None))
    return Installed(
        name=normal(title),
        version=version,
        record=record_digest(rows, origin == "editable") if rows else digest_bytes(metadata),
        proof="record" if rows else "metadata",
        origin=origin,
        installer=(_bytes(f"{info}/INSTALLER") or b"").decode("utf-8", "replace").strip()[:40],
        requested=os.path.exists(f"{info}/REQUESTED"),
        site=spell(folder),
        info=spell(name),
        tags=_tags(_bytes(f"{info}/WHEEL") or b""),
        tops=tuple(sorted({path.partition("/")[0] for path, _ in rows})),
        **direct,
    )


def _read_egg_info(folder: str, name: str) -> Installed | None:
    """A folder or file without hashes: setuptools' old way, the way of system packages, and a mark in source trees."""
    info = os.path.join(folder, name)
    inner = f"{info}/EGG-INFO" if name.endswith(".egg") else info
    metadata = _bytes(f"{inner}/PKG-INFO") if os.path.isdir(inner) else _bytes(inner)
    if metadata is None:
        return None
    title, version = _name_and_version(metadata, name.rpartition(".")[0])
    tops = (_bytes(f"{inner}/top_level.txt") or b"").decode("utf-8", "replace").split()
    return Installed(
        name=normal(title),
        version=version,
        record=digest_bytes(metadata),
        proof="metadata",
        origin=_origin_by_folder(folder, False),
        installer=(_bytes(f"{inner}/INSTALLER") or b"").decode("utf-8", "replace").strip()[:40],
        site=spell(folder),
        info=spell(name),
        tops=tuple(sorted(tops)),
    )


def _read_egg_link(folder: str, name: str) -> Installed | None:
    """`setup.py develop`: a file that names the source tree, whose egg-info has the metadata."""
    lines = (_bytes(os.path.join(folder, name)) or b"").decode("utf-8", "surrogateescape").splitlines()
    if not lines or not os.path.isdir(lines[0]):
        return None
    for inner in sorted(os.listdir(lines[0])):
        if inner.endswith(".egg-info") and (found := _read_egg_info(lines[0], inner)):
            replace = msgspec.structs.replace
            return replace(found, origin="editable", source=spell(lines[0]), site=spell(folder), info=spell(name))
    return None


def _origin_by_folder(folder: str, has_record: bool) -> InstallOrigin:
    if "dist-packages" in folder and not folder.startswith("/usr/local/"):
        return "system"
    if os.path.basename(folder) in ("site-packages", "dist-packages"):
        return "index" if has_record else "system" if folder.startswith("/usr/lib") else "unknown"
    return "index" if has_record else "unknown"


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _name_and_version(metadata: bytes, stem: str) -> tuple[str, str]:
    """From the headers; where they are damaged, from the folder's name."""
    head = metadata.partition(b"\n\n")[0][:65536]
    name = re.search(rb"^Name:[ \t]*(\S+)", head, re.MULTILINE)
    version = re.search(rb"^Version:[ \t]*(\S+)", head, re.MULTILINE)
    by_stem = stem.split("-")
    return (
        name[1].decode("utf-8", "replace") if name else by_stem[0],
        version[1].decode("utf-8", "replace") if version else (by_stem[1] if len(by_stem) > 1 else ""),
    )


def _tags(wheel: bytes) -> tuple[str, ...]:
    return tuple(tag.decode("utf-8", "replace") for tag in re.findall(rb"^Tag:[ \t]*(\S+)", wheel, re.MULTILINE))


def _direct_url(raw: bytes | None) -> dict[str, Any]:
    """What direct_url.json says, as fields of `Installed`."""
    try:
        told = json.loads(raw) if raw else {}
        url = str(told.get("url", "")) if isinstance(told, dict) else ""
    except ValueError:
        return {}
    if not url:
        return {}
    from urllib.parse import unquote, urlsplit

    fields: dict[str, Any] = {"url": public_url(url), "subdirectory": str(told.get("subdirectory") or "")}
    path = unquote(urlsplit(url).path) if url.startswith("file:") else ""
    if isinstance(vcs := told.get("vcs_info"), dict):
        address = f"{vcs.get('vcs') or 'git'}+{fields['url']}"
        return {**fields, "url": address, "origin": "vcs", "commit": str(vcs.get("commit_id", ""))}
    if isinstance(folder := told.get("dir_info"), dict):
        return {**fields, "origin": "editable" if folder.get("editable") else "folder", "source": spell(path)}
    archive = told.get("archive_info")
    archive = archive if isinstance(archive, dict) else {}
    hashes = archive.get("hashes") or {}
    old_way = str(archive.get("hash", "")).partition("sha256=")[2]
    return {
        **fields,
        "origin": "archive",
        "source": spell(path),
        "sha256": str(hashes.get("sha256", old_way)) if isinstance(hashes, dict) else old_way,
        "archive": os.path.basename(unquote(urlsplit(url).path)),
    }


# -- RECORD ------------------------------------------------------------------------------------------------------


def rows_of(record: bytes, info: str) -> Iterator[tuple[str, str]]:
    """The normalised rows of a RECORD: (path relative to the site folder, spelled; `sha256=…` as written)."""
    made = {f"{info}/{name}" for name in MADE_BY_INSTALLERS}
    # virtualenv names the folders of byte code as well, and an empty file by which it knows what it put there itself.
    made |= {f"{info.removesuffix('.dist-info')}.virtualenv", "__pycache__"}
    for path, told in all_rows(record):
        if path.startswith(("../", "/")) or path.endswith((".pyc", "/__pycache__")) or path in made:
            continue
        yield path, told


def all_rows(record: bytes) -> Iterator[tuple[str, str]]:
    """Every row of a RECORD as it is written: (path, spelled; hash)."""
    return ((path, told) for path, told, _ in sized_rows(record))


def sized_rows(record: bytes) -> Iterator[tuple[str, str, str]]:
    """Every row of a RECORD: (path, spelled; hash; size, or empty)."""
    text = spell(record)
    quick = '"' not in text
    for row in (line.rsplit(",", 2) for line in text.splitlines()) if quick else csv.reader(text.splitlines()):
        if len(row) >= 3 and row[0]:
            yield (row[0].replace("\\", "/") if "\\" in row[0] else row[0]), row[1], row[2]


def record_digest(rows: Sequence[tuple[str, str]], editable: bool = False) -> Digest:
    """The digest of normalised rows. Of an editable install, the files that say where its source lies are left out."""
    kept = (row for row in rows if not (editable and points_to_source(row[0])))
    return digest_value(sorted(map(list, kept)))


def points_to_source(path: str) -> bool:
    """Whether a file of an editable install holds the path of the source: `__editable__.x.pth`, a finder module."""
    return "/" not in path and (path.endswith(".pth") or path.startswith(("__editable__", "_editable_impl_", "_")))
