"""A layer from files: sorted, owned by root, of one time, of two modes, so that only content and names count."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple, cast

from bis.oci import LAYER, Descriptor

LEFT_OUT: Final = frozenset({"__pycache__"})
"""Folders that a program makes again."""
BLOCK: Final = 1 << 20


class Entry(NamedTuple):
    """A file, folder or link of a layer."""

    path: str
    """In the image, without a slash before it."""
    content: Path | bytes | None = None
    """Of a file; None for a folder or a link."""
    target: str = ""
    """Of a symbolic link."""
    executable: bool = False


class Written(NamedTuple):
    """A layer that was written."""

    descriptor: Descriptor
    diff_id: str
    entries: int


def entries_of(folder: Path, at: str) -> Iterator[Entry]:
    """All that lies below a folder, to be put below `at` in the image. Hard links become files, compiled Python is left
    out, and so is what is neither file, folder nor link."""
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        inside = PurePosixPath(at, Path(place).relative_to(folder).as_posix())
        for name in sorted((*files, *(name for name in names if Path(place, name).is_symlink()))):
            path, called = Path(place, name), str(inside / name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield Entry(called, target=str(path.readlink()))
            elif stat.S_ISREG(mode) and not name.endswith(".pyc"):
                yield Entry(called, path, executable=bool(mode & 0o111))
        for name in names:
            if not Path(place, name).is_symlink():
                yield Entry(str(inside / name))


def write_layer(entries: Iterable[Entry], out: IO[bytes], moment: int) -> Written:
    """Write a layer. `moment`: the time of everything in it, in seconds since 1970 UTC. Folders around what is named
    are made; of two entries of one path the later counts. Raises OSError."""
    known: dict[str, Entry] = {}
    for entry in entries:
        path = _inside(entry.path)
        known[path] = entry._replace(path=path)
    for path in list(known):
        for folder in PurePosixPath(path).parents:
            if str(folder) != ".":
                known.setdefault(str(folder), Entry(str(folder)))
    hashed = _Hashed(out)
    with tarfile.open(fileobj=cast(IO[bytes], hashed), mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK) as box:
        for path in sorted(known, key=lambda name: name.encode("utf-8", "surrogateescape")):
            _add(box, known[path], moment)
    digest = f"sha256:{hashed.hasher.hexdigest()}"
    return Written(Descriptor(media_type=LAYER, digest=digest, size=hashed.size), digest, len(known))


def _inside(path: str) -> str:
    """A path of the image without what leads nowhere. Raises ValueError for one that leaves it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ValueError(f"{path!r} is no path inside an image")
    return "/".join(parts)


def _add(box: tarfile.TarFile, entry: Entry, moment: int) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mtime, info.mode = moment, 0o755 if entry.executable else 0o644
    if entry.target:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
        box.addfile(info)
    elif entry.content is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        box.addfile(info)
    elif isinstance(entry.content, bytes):
        import io

        info.size = len(entry.content)
        box.addfile(info, io.BytesIO(entry.content))
    else:
        with entry.content.open("rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            box.addfile(info, file)


class _Hashed:
    """What is written, and its digest."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out, self.hasher, self.size = out, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        self.size += len(data)
        return self.out.write(data)
