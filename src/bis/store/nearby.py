"""What was read of a bucket, kept in a folder of this machine: as stored, and believed no more than the bucket is.

Small packs are kept whole; of larger ones the objects that were asked for, one file each. Files appear when they are
whole, and whoever reads one has it open, so that each, or the folder, may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bis.errors import Damaged, NotFound
from bis.store.index import Place
from bis.store.packs import HEAD, Item
from bis.store.remote import unreachable
from bis.store.remote.bucket import BucketRemote
from bis.store.trouble import trouble

WHOLE: Final = 2 << 20
"""A pack up to this size is fetched at once."""
BLOCK: Final = 4 << 20
"""So much is asked for in one request, and is in memory at once."""
OFTEN: Final = 32
"""The folder is looked through whenever it may have grown by this part of its bound."""
LOW: Final = 0.8
"""What is left of the bound when room was made."""


class Nearby:
    """The packs of one bucket, read through a folder of bounded size that several processes may share."""

    def __init__(self, remote: BucketRemote, folder: Path, most: int) -> None:
        self.remote, self.folder, self.most = remote, folder, most
        self._lock = threading.Lock()
        self._added = most  # looked through with the first file that comes

    @contextlib.contextmanager
    def opened(self, place: Place, size: int) -> Iterator[tuple[int, Item]]:
        """A descriptor, and the object as it lies there. `size`: of its pack. Raises Damaged where the bucket has no
        such pack any more, KeepingError where it cannot be asked."""
        item = place.item
        if size <= WHOLE:
            fd = self._fetched(place.pack, place.pack, 0, size, size)
        else:
            name, item = f"{place.pack}-{item.offset:x}", item._replace(offset=0)
            fd = self._fetched(name, place.pack, place.item.offset, HEAD.size + item.stored, size)
        try:
            yield fd, item
        finally:
            os.close(fd)

    def span(self, pack: str, start: int, length: int, size: int) -> bytes:
        """Bytes of a pack of that `size`: little of them, as they are in memory."""
        if size > WHOLE:
            return self._asked(pack, start, length, size)
        fd = self._fetched(pack, pack, 0, size, size)
        try:
            return os.pread(fd, length, start)
        finally:
            os.close(fd)

    def forget(self, pack: str) -> None:
        """What was kept of a pack turned out wrong."""
        for path in self._folder_of(pack).glob(f"{pack}*"):
            path.unlink(missing_ok=True)

    def _fetched(self, name: str, pack: str, start: int, length: int, size: int) -> int:
        path = self._folder_of(pack) / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return self._fill(path, pack, start, length, size)
        if os.fstat(fd).st_size == length:
            with contextlib.suppress(OSError):
                os.utime(fd)  # used last now
            return fd
        os.close(fd)
        path.unlink(missing_ok=True)
        return self._fill(path, pack, start, length, size)

    def _fill(self, path: Path, pack: str, start: int, length: int, size: int) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd, draft = tempfile.mkstemp(dir=path.parent)
        except OSError as error:
            raise trouble(error, "write", path.parent) from error
        try:
            for at in range(start, start + length, BLOCK):
                rest = memoryview(self._asked(pack, at, min(BLOCK, start + length - at), size))
                while rest:
                    rest = rest[os.write(fd, rest) :]
            with contextlib.suppress(FileNotFoundError):  # the folder was deleted: this one file is read, and gone
                Path(draft).rename(path)
        except BaseException as error:
            os.close(fd)
            Path(draft).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise trouble(error, "write", path.parent) from error
            raise
        self._make_room(length)
        return fd

    def _asked(self, pack: str, start: int, length: int, size: int) -> bytes:
        """Bytes of a pack in the bucket, as many as were asked for."""
        whole = start == 0 and length >= size
        try:
            data = self.remote.read(pack, 0, size) if whole else self.remote.part(pack, start, length)
        except NotFound:
            raise Damaged(f"the pack {pack[:12]} is not in {self.remote.url} any more") from None
        if len(data) != length:
            raise unreachable(self.remote.url, "read", f"{len(data):,} of {length:,} bytes came of pack {pack[:12]}")
        return data

    def _folder_of(self, pack: str) -> Path:
        return self.folder / pack[:2]

    def _make_room(self, size: int) -> None:
        with self._lock:
            self._added += size
            if self._added < self.most // OFTEN:
                return
            self._added = 0
        self._sweep()

    def _sweep(self) -> None:
        """Delete what was not used for the longest time, until it is a part of the bound."""
        found = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                about = path.stat()
                found.append((about.st_mtime_ns, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found) if total > self.most else ():
            if total <= self.most * LOW:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
