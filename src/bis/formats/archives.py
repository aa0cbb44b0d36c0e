"""Archives and compressed files: member by member, each compared as what it is.

Set aside: the times, owners and order of members, the way they are packed, and the name of the one folder that holds
everything (PyTorch names it after the file). Nothing is ever unpacked outside of a scratch folder of its own, and
never more than `UNPACKED` bytes.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from bis.formats import MEMBERS, Budget, Compare, Context, Unreadable
from bis.formats.documents import again
from bis.formats.tally import Tally, plural, shown
from bis.nouns.verdict import Comparison, Masked
from bis.store.temporary import temporary

BLOCK = 1 << 20
ZIP = (b"PK\3\4", b"PK\5\6")
COST = 16_384
"""Bytes that a member which differs costs beside its own: there may be as many as there is budget for."""
ELSEWHERE = frozenset(
    """path linkpath size uid gid uname gname mtime atime ctime hdrcharset LIBARCHIVE.creationtime SCHILY.dev SCHILY.ino
    SCHILY.nlink""".split()
)
"""Headers of a tar that stand for fields of a member, compared or set aside as these are, or for where it lay."""
Opener = Callable[[Path], Any]
"""Opens a packed file as a stream of what is in it."""


class Member(NamedTuple):
    """One thing in an archive. `what` is all that counts beside its content."""

    size: int
    what: str
    open: Callable[[], Any]


class Box(NamedTuple):
    """An open archive: its members, and what to print for it."""

    members: dict[str, Member]
    root: str


class Archive:
    """Shared by Zip and Tar: compares two boxes of members."""

    name = "archive"

    def __init__(self, compare: Compare, ignored: dict[str, str] | None = None) -> None:
        self.again = compare
        self.ignored = ignored or {}
        """Member -> rule that sets it aside."""

    def compare_boxes(self, old: Box, new: Box, context: Context) -> Comparison:
        tally = Tally(context)
        if old.root != new.root:
            tally.set_aside("name of the inner folder", old.root, new.root)
        partner = self._partners(old, new, context, tally)
        if list(old.members) != list(new.members):
            tally.set_aside("order of members")
        for name, other in partner.items():
            self._member(name, old.members[name], new.members[other], context, tally)
        tally.set_aside("times and packing of members")
        return tally.settle(self.name, f"the same {plural(len(partner), 'member')}", "member")

    def _partners(self, old: Box, new: Box, context: Context, tally: Tally) -> dict[str, str]:
        partner = {name: name for name in old.members if name in new.members}
        for one, box, word in ((old, new, "first"), (new, old, "second")):
            for name in one.members:
                if name in box.members:
                    continue
                if rule := self.ignored.get(name):
                    tally.set_aside(rule, name, "")
                else:
                    tally.differ(shown(name), f"only in the {word}")
        return partner

    def _member(self, name: str, old: Member, new: Member, context: Context, tally: Tally) -> None:
        if old.what != new.what:
            tally.differ(shown(name), f"{old.what} -> {new.what}")
        if same_member(old, new, context.budget):
            return
        if rule := self.ignored.get(name):
            tally.set_aside(rule, name, name)
            return
        with unpacked(old, new, context.budget) as (before, after):
            tally.take(self.again(name, before, after, context.inside()), shown(name))


def same_member(old: Member, new: Member, budget: Budget) -> bool:
    if old.size != new.size:
        return False
    with old.open() as first, new.open() as second:
        while True:
            one, other = first.read(BLOCK), second.read(BLOCK)
            budget.spend(len(one))
            if one != other:
                return False
            if not one:
                return True


@contextmanager
def unpacked(old: Member, new: Member, budget: Budget) -> Iterator[tuple[Path, Path]]:
    """Two members as files, which are gone afterwards."""
    budget.spend(COST)
    with temporary("compare") as folder:
        paths = folder / "before", folder / "after"
        for member, path in zip((old, new), paths, strict=True):
            copy_member(member, path, budget)
        yield paths


def copy_member(member: Member, path: Path, budget: Budget) -> None:
    """A member as a file. Raises Unreadable when too much would be unpacked."""
    with member.open() as source, path.open("wb") as target:
        while block := source.read(BLOCK):
            budget.spend(len(block))
            target.write(block)


class Zip(Archive):
    """zip, npz, PyTorch's pt2 and everything else that is a zip."""

    def __init__(
        self,
        compare: Compare,
        name: str = "zip",
        ignored: dict[str, str] | None = None,
        suffixes: tuple[str, ...] = ("",),
    ) -> None:
        super().__init__(compare, ignored)
        self.name = name
        self.suffixes = suffixes

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(ZIP) and name.lower().endswith(self.suffixes)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        with open_zip(before) as old, open_zip(after) as new:
            return self.compare_boxes(zip_box(old), zip_box(new), context)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        box = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Unreadable(f"a damaged zip ({error})") from None
    with box:
        if len(box.infolist()) > MEMBERS:
            raise Unreadable(f"more than {MEMBERS:,} members")
        if before := min((info.header_offset for info in box.infolist()), default=0):
            raise Unreadable(f"{plural(before, 'byte')} lie before its first member")
        yield box


def zip_box(box: zipfile.ZipFile) -> Box:
    """The members of a zip below the one folder that holds them all, if there is one."""
    infos = _told_members(box)
    names = [info.filename for info in infos]
    roots = {name.partition("/")[0] for name in names if "/" in name}
    root = roots.pop() if len(roots) == 1 and all("/" in name for name in names) else ""
    members: dict[str, Member] = {}
    for info in infos:
        name = again(info.filename[len(root) + 1 :] if root else info.filename, members)
        members[name] = Member(info.file_size, _what(info), partial(box.open, info))
    if box.comment:
        members["comment of the archive"] = Member(len(box.comment), "", partial(io.BytesIO, box.comment))
    return Box(members, root)


def _told_members(box: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files, and the folders that say something: those in which nothing lies."""
    infos = box.infolist()
    filled = {folder for info in infos for folder in _folders(info.filename.rstrip("/"))}
    return [info for info in infos if not info.is_dir() or info.filename.rstrip("/") not in filled]


def _folders(name: str) -> Iterator[str]:
    while slash := name.rpartition("/")[0]:
        yield slash
        name = slash


def _what(info: zipfile.ZipInfo) -> str:
    """Permissions, type where it is no plain file (a link, say), comment."""
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    said = [f"mode {stat.S_IMODE(mode):o}"] if stat.S_IMODE(mode) else []
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        said.append(f"type {stat.S_IFMT(mode):o}")
    if info.comment:
        said.append(f"comment {shown(info.comment)}")
    return ", ".join(said)


class Tar(Archive):
    """tar; packed ones are unpacked by `Packed` first."""

    name = "tar"

    def recognises(self, name: str, head: bytes) -> bool:
        return head[257:262] == b"ustar"

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        try:
            with tarfile.open(before, "r:") as old, tarfile.open(after, "r:") as new:
                return self.compare_boxes(tar_box(old), tar_box(new), context)
        except tarfile.TarError as error:
            raise Unreadable(f"a damaged tar ({error})") from None


def tar_box(box: tarfile.TarFile) -> Box:
    members: dict[str, Member] = {}
    for info in box:
        if len(members) > MEMBERS:
            raise Unreadable(f"more than {MEMBERS:,} members")
        members[again(info.name, members)] = Member(
            info.size if info.isfile() else 0, _what_tar(info, box), partial(_open_tar, box, info)
        )
    _nothing_behind(box)
    if said := "\n".join(f"{key}: {value}" for key, value in sorted(box.pax_headers.items()) if key not in ELSEWHERE):
        text = said.encode("utf-8", "surrogateescape")
        members["comment of the archive"] = Member(len(text), "", partial(io.BytesIO, text))
    return Box(members, "")


def _what_tar(info: tarfile.TarInfo, box: tarfile.TarFile) -> str:
    """Permissions, type where it is no plain file, with what a link points to or which device it is, and what else is
    said of this member alone (attributes of a file system, a comment)."""
    said = [f"mode {info.mode & 0o7777:o}"]
    if not info.isfile():
        said.append(f"type {info.type.decode('latin-1')} {info.linkname}".rstrip())
    if info.ischr() or info.isblk():
        said.append(f"device {info.devmajor}:{info.devminor}")
    for key, value in sorted(info.pax_headers.items()):
        if not (key in ELSEWHERE or key.startswith("GNU.sparse.") or box.pax_headers.get(key) == value):
            said.append(f"{key} {shown(value)}")
    return ", ".join(said)


def _nothing_behind(box: tarfile.TarFile) -> None:
    """Raise Unreadable when members could not be reached: behind a damaged header, or behind the end."""
    assert box.fileobj is not None
    box.fileobj.seek(box.offset)
    while block := box.fileobj.read(BLOCK):
        if block.strip(b"\0"):
            raise Unreadable("more follows behind a damaged header or the end")


def _open_tar(box: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return (box.extractfile(info) if info.isfile() else None) or io.BytesIO()


class Packed:
    """One file packed by gzip, bzip2, xz, zlib and the like: what is in it is compared as what it is."""

    def __init__(
        self, compare: Compare, name: str, starts: tuple[bytes, ...], suffixes: tuple[str, ...], opener: Opener
    ) -> None:
        self.again = compare
        self.name = name
        self.starts = starts
        self.suffixes = suffixes
        self.opener = opener

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(self.starts)

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        old, new = (Member(-1, "", partial(self.opener, path)) for path in (before, after))
        with temporary("compare") as folder:
            paths = folder / "before", folder / "after"
            for member, path in zip((old, new), paths, strict=True):
                _unpack(member, path, context.budget)
            inner = self.again(self._inner_name(context.name), *paths, context.inside())
        return _wrapped(inner, self.name, "the same content, packed otherwise")

    def _inner_name(self, name: str) -> str:
        for suffix in self.suffixes:
            if name.lower().endswith(suffix):
                return name[: -len(suffix)] + (".tar" if suffix.startswith(".t") else "")
        return name


def _unpack(member: Member, path: Path, budget: Budget) -> None:
    try:
        copy_member(member, path, budget)
    except OSError as error:
        if error.errno:
            raise
        raise Unreadable(f"damaged ({error})") from None
    except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise Unreadable(f"damaged ({error})") from None


def _wrapped(inner: Comparison, name: str, ground: str) -> Comparison:
    """What was found inside, said of the packed file."""
    packing = (*inner.masked, Masked(rule="packing", count=1))
    if inner.same and inner.level == "bytes":
        return Comparison(same=True, level="meaning", format=name, why=ground, masked=packing)
    return msgspec.structs.replace(inner, format=f"{name}, {inner.format}", masked=packing)


class Inflating(io.RawIOBase):
    """A zlib stream, read piece by piece."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.unpacker = zlib.decompressobj()

    def read(self, size: int = -1) -> bytes:
        size = BLOCK if size is None or size < 0 else size
        while not self.unpacker.eof:
            data = self.unpacker.unconsumed_tail or self.file.read(BLOCK)
            if not data:
                raise EOFError("the stream is cut off")
            if piece := self.unpacker.decompress(data, size):
                return piece
        if self.unpacker.unused_data or self.file.read(1):
            raise ValueError("more follows behind the end")
        return b""

    def close(self) -> None:
        self.file.close()
        super().close()


class Unpacking(io.RawIOBase):
    """Streams of bzip2 or xz, one behind the other, read piece by piece. Anything else behind them but zeros is an
    error, and not passed over as Python's own readers do."""

    def __init__(self, unpacker: Callable[[], Any], path: Path) -> None:
        self.file = path.open("rb")
        self.fresh = unpacker
        self.unpacker = unpacker()

    def read(self, size: int = -1) -> bytes:
        size = BLOCK if size is None or size < 0 else size
        while True:
            data = b""
            if self.unpacker.eof:
                data = self._behind(self.unpacker.unused_data)
                if not data:
                    return b""
                self.unpacker = self.fresh()
            elif self.unpacker.needs_input:
                data = self.file.read(BLOCK)
                if not data:
                    raise EOFError("the stream is cut off")
            if piece := self.unpacker.decompress(data, size):
                return bytes(piece)

    def _behind(self, data: bytes) -> bytes:
        """What follows a stream, without the zeros between."""
        data = data.lstrip(b"\0")
        while not data and (data := self.file.read(BLOCK)):
            data = data.lstrip(b"\0")
        return data

    def close(self) -> None:
        self.file.close()
        super().close()


def _library(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Unreadable(f"unpacking it needs {names[-1]}: pip install {names[-1].partition('.')[0]}")


def _open_zstd(path: Path) -> Any:
    return _library("compression.zstd", "backports.zstd").open(path)


def _open_lz4(path: Path) -> Any:
    return _library("lz4.frame").open(path)


def packed(compare: Compare) -> tuple[Packed, ...]:
    """One format for each way of packing a single file."""
    return (
        Packed(compare, "gzip", (b"\x1f\x8b",), (".gz", ".tgz"), gzip.open),
        Packed(compare, "bzip2", (b"BZh",), (".bz2", ".tbz2"), partial(Unpacking, bz2.BZ2Decompressor)),
        Packed(
            compare,
            "xz",
            (b"\xfd7zXZ", b"\x5d\0\0"),
            (".xz", ".lzma", ".txz"),
            partial(Unpacking, lzma.LZMADecompressor),
        ),
        Packed(compare, "zstandard", (b"\x28\xb5\x2f\xfd",), (".zst", ".zstd"), _open_zstd),
        Packed(compare, "lz4", (b"\x04\x22\x4d\x18",), (".lz4",), _open_lz4),
        Packed(compare, "zlib", (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), (".z",), Inflating),
    )
