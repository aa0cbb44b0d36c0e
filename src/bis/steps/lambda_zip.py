"""A zip for one of Lambda's own runtimes: the same bytes each time, and refused where that runtime could not run it."""

from __future__ import annotations

import re
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bis.errors import CannotRepeat, counted
from bis.oci.layers import Entry, in_order
from bis.oci.layout import machine

GLIBC: Final = {"3.10": 26, "3.11": 26, "3.12": 34, "3.13": 34, "3.14": 34}
"""Lambda's runtimes for Python, and the C library of each: 2.26 of Amazon Linux 2, 2.34 of Amazon Linux 2023."""
ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "arm64"}
MOST: Final = 262_144_000
"""Bytes that Lambda unpacks of a zip."""
SENT: Final = 52_428_800
"""Bytes of a zip that it takes without a bucket."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
OLD: Final = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
"""Names of before the version of the C library was in them."""
NAMED: Final = 5


class Runtime(NamedTuple):
    """One of Lambda's own."""

    python: str
    """`3.12`."""
    architecture: str

    @property
    def name(self) -> str:
        return f"python{self.python}"


class Zipped(NamedTuple):
    """What was written."""

    size: int
    unpacked: int


def runtime(version: str, packages: Path, instead: str) -> tuple[Runtime, list[str]]:
    """The runtime for installed packages, and what should be known of them. `instead`: what to type where a zip cannot
    be. Raises CannotRepeat where Lambda has none, or where a package needs a newer C library than it has."""
    architecture = ARCHITECTURES.get(machine())
    if version not in GLIBC or architecture is None:
        raise CannotRepeat(
            f"Lambda has no runtime for Python {version} on {machine()}",
            because=f"It has Python {', '.join(GLIBC)}, on {' and '.join(ARCHITECTURES.values())}.",
            hint=f"{instead} makes an image, which brings its own",
        )
    needs = {name: _glibc(platforms) for name, platforms in _platforms(packages)}
    newer = {name: need for name, need in needs.items() if need and need > GLIBC[version]}
    if newer:
        most = max(newer, key=lambda name: newer[name])
        raise CannotRepeat(
            f"{most} needs the C library 2.{newer[most]}, and Lambda's python{version} has 2.{GLIBC[version]}",
            because=f"So do {counted(len(newer) - 1, 'other package')}." if len(newer) > 1 else "",
            hint=f"{instead} makes an image, which brings its own; or train with Python {max(GLIBC)}",
        )
    built = [name for name, need in needs.items() if need == 0]
    told = f"built on this machine, and may need libraries that Lambda has not: {', '.join(built[:NAMED])}"
    return Runtime(version, architecture), [told] if built else []


def write(entries: Iterable[Entry], file: Path, instead: str, *, compressed: bool) -> Zipped:
    """Write a zip; what was there stays till it is whole. Raises OSError, CannotRepeat for more than Lambda unpacks."""
    files = [entry for entry in _without_links(in_order(entries)) if entry.content is not None]
    sizes = {entry.path: _size(entry) for entry in files}
    _demand_room(sizes, instead)
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(draft, "w") as box:
            for entry in files:
                box.writestr(_info(entry, compressed), _content(entry))
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return Zipped(file.stat().st_size, sum(sizes.values()))


def _info(entry: Entry, compressed: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(entry.path, EPOCH)
    info.create_system = 3
    info.external_attr = (0o100755 if entry.executable else 0o100644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return info


def _content(entry: Entry) -> bytes:
    return entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content or b""


def _size(entry: Entry) -> int:
    return entry.content.stat().st_size if isinstance(entry.content, Path) else len(entry.content or b"")


def _without_links(entries: Sequence[Entry]) -> Iterator[Entry]:
    """With the file in the place of a link to it, and the files of a folder in that of a link to one. A link to what
    the zip has not is left out."""
    known = {entry.path: entry for entry in entries}
    for entry in entries:
        found, hops = entry, 0
        while found.target and hops < 10:
            found, hops = known.get(_beside(found.path, found.target), Entry(entry.path)), hops + 1
        if not found.target:
            yield found._replace(path=entry.path)
        if entry.target and found.content is None:
            inside = (other for other in entries if other.path.startswith(f"{found.path}/") and not other.target)
            yield from (other._replace(path=entry.path + other.path[len(found.path) :]) for other in inside)


def _beside(path: str, target: str) -> str:
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _demand_room(sizes: dict[str, int], instead: str) -> None:
    if (whole := sum(sizes.values())) <= MOST:
        return
    folders: dict[str, int] = {}
    for path, size in sizes.items():
        first = path.partition("/")[0]
        folders[first] = folders.get(first, 0) + size
    largest = sorted(folders, key=lambda name: -folders[name])[:NAMED]
    raise CannotRepeat(
        f"it is {whole >> 20:,} MiB, and Lambda unpacks {MOST >> 20} MiB of a zip",
        because=f"The largest: {', '.join(f'{name} {folders[name] >> 20:,} MiB' for name in largest)}.",
        hint=f"{instead} makes an image, of which Lambda takes 10 GB",
    )


def _platforms(packages: Path) -> Iterator[tuple[str, list[str]]]:
    """Each installed package, and the platforms that its wheel was made for."""
    for folder in sorted(packages.glob("*.dist-info")):
        try:
            text = (folder / "WHEEL").read_text("utf-8", "replace")
        except OSError:
            continue
        tags = re.findall(r"(?m)^Tag:\s*\S+-\S+-(\S+)$", text)
        yield folder.name.partition("-")[0], [one for tag in tags for one in tag.split(".")]


def _glibc(platforms: Sequence[str]) -> int | None:
    """The oldest 2.N that a wheel was made for; 0 where it was made for this machine, None where it needs none."""
    found = []
    for platform in platforms:
        if platform == "any":
            return None
        if shape := re.match(r"manylinux_2_(\d+)_", platform):
            found.append(int(shape[1]))
        elif shape := re.match(r"manylinux(1|2010|2014)_", platform):
            found.append(OLD[f"manylinux{shape[1]}"])
    return min(found, default=0) if platforms else None
