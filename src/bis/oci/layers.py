"""A layer from files: sorted, owned by root, of one time, of two modes, so that only content and names count."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal, NamedTuple, cast

from bis.oci import LAYER, LAYER_GZIP, Descriptor

LEFT_OUT: Final = frozenset({"__pycache__"})
"""Folders that a program makes again."""
BLOCK: Final = 1 << 20
LEVEL: Final = 6
"""Of gzip: fixed, as it is what its digest depends on."""
STORED: Final = 0xFFFF
"""Bytes of a block of gzip that is not compressed: the most that one holds."""

Packing = Literal["none", "stored", "gzip"]
"""How a layer lies in an image: as it is; as gzip that does not compress, for places that take nothing but gzip; or
compressed, so that its digest depends on the version of zlib. `diff_id` never does."""


class Entry(NamedTuple):
    """A file, folder or link of a layer."""

    path: str
    """In the image, without a slash before it."""
    content: Path | bytes | None = None
    """Of a file; None for a folder or a link."""
    target: str = ""
    """Of a symbolic link."""
    executable: bool = False
    owner: int = 0
    """Number of the user and of the group."""


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


def write_layer(entries: Iterable[Entry], out: IO[bytes], moment: int, packing: Packing = "none") -> Written:
    """Write a layer. `moment`: the time of everything in it, in seconds since 1970 UTC. Folders around what is named
    are made; of two entries of one path the later counts. Raises OSError."""
    stored, ordered = _Hashed(out), in_order(entries)
    if packing == "none":
        count = _write(ordered, stored, moment)
        return Written(_described(LAYER, stored), stored.digest, count)
    with closing(_packed(stored, packing)) as box:
        plain = _Hashed(box)
        count = _write(ordered, plain, moment)
    return Written(_described(LAYER_GZIP, stored), plain.digest, count)


def pack(tar: IO[bytes], out: IO[bytes], packing: Packing) -> Descriptor:
    """Write a layer that is there in another packing than `none`."""
    stored = _Hashed(out)
    with closing(_packed(stored, packing)) as box:
        shutil.copyfileobj(tar, box, BLOCK)
    return _described(LAYER_GZIP, stored)


def _packed(out: _Hashed, packing: Packing) -> IO[bytes]:
    file = cast(IO[bytes], out)
    box = _Stored(file) if packing == "stored" else gzip.GzipFile("", "wb", LEVEL, file, mtime=0)
    return cast(IO[bytes], box)


def _described(media_type: str, stored: _Hashed) -> Descriptor:
    return Descriptor(media_type=media_type, digest=stored.digest, size=stored.size)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """With the folders around them, by the bytes of their paths."""
    known: dict[str, Entry] = {}
    for entry in entries:
        path = _inside(entry.path)
        known[path] = entry._replace(path=path)
    for path in list(known):
        for folder in PurePosixPath(path).parents:
            if str(folder) != ".":
                known.setdefault(str(folder), Entry(str(folder)))
    return sorted(known.values(), key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))


def _write(entries: Sequence[Entry], out: _Hashed, moment: int) -> int:
    with tarfile.open(fileobj=cast(IO[bytes], out), mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK) as box:
        for entry in entries:
            _add(box, entry, moment)
    return len(entries)


def _inside(path: str) -> str:
    """A path of the image without what leads nowhere. Raises ValueError for one that leaves it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ValueError(f"{path!r} is no path inside an image")
    return "/".join(parts)


def _add(box: tarfile.TarFile, entry: Entry, moment: int) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mtime, info.mode = moment, 0o755 if entry.executable else 0o644
    info.uid = info.gid = entry.owner
    if entry.target:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
        box.addfile(info)
    elif entry.content is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        box.addfile(info)
    elif isinstance(entry.content, bytes):
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

    @property
    def digest(self) -> str:
        return f"sha256:{self.hasher.hexdigest()}"

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        self.size += len(data)
        return self.out.write(data)


class _Stored:
    """gzip of blocks that are stored as they are: the same bytes whatever zlib is here."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out, self.rest, self.size, self.check = out, bytearray(), 0, 0
        out.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")

    def write(self, data: bytes) -> int:
        self.check, self.size = zlib.crc32(data, self.check), self.size + len(data)
        self.rest += data
        whole = len(self.rest) // STORED * STORED
        for start in range(0, whole, STORED):
            self._block(self.rest[start : start + STORED])
        del self.rest[:whole]
        return len(data)

    def close(self) -> None:
        self._block(self.rest, last=1)
        self.out.write(struct.pack("<II", self.check, self.size & 0xFFFFFFFF))

    def _block(self, data: bytearray, last: int = 0) -> None:
        self.out.write(struct.pack("<BHH", last, len(data), len(data) ^ STORED) + data)
