"""Content that clients upload and download: streamed, in bounded memory, by threads of its own.

What comes is spooled where it is not small, since the store takes files; what was taken is durable before a row of the
ledger names it, many at once with one sync of the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar

from blake3 import blake3

from bis.digest import Digest
from bis.errors import KeepingError, NotFound
from bis.store.bucket import BucketStore
from bis.store.local import LocalStore, digest_of
from bis.store.remote import UNREACHABLE
from bis.store.trouble import trouble

T = TypeVar("T")

BLOCK: Final = 1 << 20
"""Bytes that are written or read at once. A body of up to this size is not spooled."""
HANDS: Final = 8
"""Threads that work on content; all else has others."""
FAR: Final = 24
"""Threads that read, and that put, where they wait for a bucket for most of their time."""
IDLE: Final = 1.0
"""Seconds without an upload, after which the store is told that nothing is relied upon any more."""
FORGOTTEN: Final = 86_400 * 7
"""Seconds after which what nobody touched in the spool is removed: somebody was killed, or never came back."""


class Kept(NamedTuple):
    """Content in the store."""

    digest: Digest
    size: int


class Shelf:
    """The store as the server uses it. Its functions are called in the event loop, and do not hold it up."""

    def __init__(self, store: LocalStore, spool: Path) -> None:
        self.store = store
        self.spool = spool
        far = isinstance(store, BucketStore)
        self._hands = ThreadPoolExecutor(FAR if far else HANDS, thread_name_prefix="content")
        self._readers = ThreadPoolExecutor(FAR, thread_name_prefix="reader") if far else self._hands
        self._syncing = threading.Lock()
        self._numbers = itertools.count(1)
        self._synced = 0
        self._uploads = 0
        _forget(spool)

    @contextlib.asynccontextmanager
    async def kept(self, body: AsyncIterator[bytes]) -> AsyncIterator[Kept]:
        """The content of a body, durable. It is not collected before the block ends: by then a row names it."""
        async with self._relying():
            with contextlib.ExitStack() as spooled:
                spool, size = _Spool(self.spool), 0
                spooled.callback(spool.discard)
                async for part in body:
                    size += len(part)
                    if spool.add(part):
                        await self.work(spool.write)
                digest = await self.work(lambda: self._keep(spool))
            yield Kept(digest, size)

    @contextlib.asynccontextmanager
    async def kept_file(self, path: Path) -> AsyncIterator[Kept]:
        """As `kept`, of a file."""
        async with self.kept_by(lambda: Kept(self.store.put_file(path), path.stat().st_size)) as kept:
            yield kept

    @contextlib.asynccontextmanager
    async def kept_by(self, put: Callable[[], Kept]) -> AsyncIterator[Kept]:
        """As `kept`, of what a function puts into the store."""

        def work() -> Kept:
            kept = put()
            self._settled(kept.digest)
            return kept

        async with self._relying():
            yield await self.work(work)

    async def written(self, body: AsyncIterator[bytes], path: Path) -> Digest:
        """Put a body into a file, which appears when it is whole, and is durable."""
        spool, hasher = _Spool(path.parent), blake3()
        try:
            async for part in body:
                hasher.update(part)
                if spool.add(part):
                    await self.work(spool.write)
            await self.work(lambda: spool.appear(path))
            return digest_of(hasher.digest())
        finally:
            spool.discard()

    async def read(self, digest: Digest, start: int, size: int) -> AsyncGenerator[bytes]:
        """`size` bytes of the content, from `start` on. Raises Damaged where they are not what was put; those that were
        given before were right, or it is the whole that is not."""
        blocks = _Blocks(self._blocks(digest, start))
        try:
            while size > 0 and (block := await self._reading(blocks.next)):
                yield block[:size]
                size -= len(block)
            if start == 0 and size == 0:
                await self._reading(blocks.next)  # whether the whole matches is known behind its end
        finally:
            self.later(blocks.close)

    async def work(self, function: Callable[[], T]) -> T:
        """Do something that may wait for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._hands, function)

    async def _reading(self, function: Callable[[], T]) -> T:
        """The same, for who does not wait for uploads to a bucket."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function)

    def later(self, function: Callable[[], object]) -> None:
        """The same, for what nobody waits for."""
        self._hands.submit(function)

    def close(self) -> None:
        self._hands.shutdown()
        self._readers.shutdown()

    def _blocks(self, digest: Digest, start: int) -> Generator[bytes, None, None]:
        try:
            yield from self._stored(digest, start)
        except NotFound as error:  # the ledger names it: a bucket may be slow to list what was just put there
            raise KeepingError(error.what, because=error.because, hint=error.hint, code=UNREACHABLE) from None

    def _stored(self, digest: Digest, start: int) -> Generator[bytes, None, None]:
        if start:
            yield from self.store.stretch(digest, start)
            return
        with self.store.open(digest) as file:
            while block := file.read(BLOCK):
                yield block

    def _keep(self, spool: _Spool) -> Digest:
        if spool.file is None:
            return self._settled(self.store.put_bytes(spool.joined()))
        spool.write()
        spool.file.flush()
        return self._settled(self.store.put_file(spool.path))

    def _settled(self, digest: Digest) -> Digest:
        """Make durable what was put. Those who come while the disk is at it share the next time; a bucket sees to that
        itself, so that all who wait for it hear at once that it cannot be reached."""
        if isinstance(self.store, BucketStore):
            self.store.flush()
            return digest
        number = next(self._numbers)
        with self._syncing:
            if self._synced < number:
                covered = next(self._numbers)  # whoever has a lower number has put already
                self.store.flush()
                self._synced = covered
        return digest

    @contextlib.asynccontextmanager
    async def _relying(self) -> AsyncIterator[None]:
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1
            if not self._uploads:
                asyncio.get_running_loop().call_later(IDLE, self._rest)

    def _rest(self) -> None:
        if not self._uploads:
            self.store.rest()


class _Blocks:
    """Blocks that one thread asks for and another may close, when who wanted them is gone."""

    def __init__(self, blocks: Generator[bytes, None, None]) -> None:
        self._blocks = blocks
        self._turn = threading.Lock()

    def next(self) -> bytes:
        with self._turn:
            return next(self._blocks, b"")

    def close(self) -> None:
        with self._turn:
            self._blocks.close()


class _Spool:
    """A body as it comes: in memory while it is small, then in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file: BinaryIO | None = None
        self.path = Path()
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> bool:
        """Whether it is time to write."""
        self._parts.append(part)
        self._size += len(part)
        return self._size >= BLOCK

    def joined(self) -> bytes:
        return b"".join(self._parts)

    def write(self) -> None:
        try:
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                fd, name = tempfile.mkstemp(dir=self.folder)
                self.file, self.path = os.fdopen(fd, "wb"), Path(name)
            for part in self._parts:
                self.file.write(part)
        except OSError as error:
            raise trouble(error, "write", self.folder) from error
        self._parts, self._size = [], 0

    def appear(self, path: Path) -> None:
        self.write()
        assert self.file
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.path.rename(path)
        except OSError as error:
            raise trouble(error, "write", path) from error

    def discard(self) -> None:
        if self.file:
            self.file.close()
            self.path.unlink(missing_ok=True)


def _forget(spool: Path) -> None:
    """Remove what killed servers left, and uploads that nobody finished."""
    for path in spool.iterdir() if spool.is_dir() else ():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < FORGOTTEN:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
