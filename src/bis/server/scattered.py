"""Uploads in parts to a server that keeps its store in a bucket: each part may come to another machine.

A part is content as any other, in the bucket before it is acknowledged; its ETag is its digest, by which it is found
when the upload is completed. What the upload goes to is noted in the bucket, beside the store. The parts themselves
take no further room there: the whole is cut into the same pieces.
"""

from __future__ import annotations

import contextlib
import io
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bis.digest import PREFIX, Digest
from bis.errors import NotFound, UsageError
from bis.server.multipart import MOST, demand_in_order, no_upload, other_path
from bis.server.shelf import FORGOTTEN, Kept, Shelf
from bis.store.bucket import BucketStore
from bis.store.large import Content, put_large
from bis.store.local import SMALL, digest_of

FOLDER: Final = "uploads"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(rf"{PREFIX}[0-9a-f]{{64}}")


class Scattered:
    """As `Multipart`, for uploads that outlive any machine."""

    def __init__(self, shelf: Shelf, store: BucketStore) -> None:
        self.shelf, self.store = shelf, store

    def begin(self, path: str) -> str:
        id = secrets.token_hex(16)
        self.store.remote.note(f"{FOLDER}/{id}", path)
        return id

    async def take(self, id: str, number: int, body: AsyncIterator[bytes]) -> Digest:
        if not 1 <= number <= MOST:
            raise UsageError(f"a part has a number from 1 to {MOST:,}, not {number}")
        await self.shelf.work(lambda: self._demand(id))
        async with self.shelf.kept(body) as kept:
            return kept.digest

    @contextlib.asynccontextmanager
    async def complete(self, id: str, path: str, parts: Sequence[tuple[int, str]]) -> AsyncIterator[Kept]:
        await self.shelf.work(lambda: self._demand(id, path))
        demand_in_order(parts)
        for number, digest in parts:
            if not _DIGEST.fullmatch(digest):
                raise UsageError(f"part {number} has no ETag as it was answered, but {digest[:80]!r}")
        digests = [Digest(digest) for _, digest in parts]
        async with self.shelf.kept_by(lambda: self._join(digests)) as kept:
            yield kept
        await self.shelf.work(lambda: self.store.remote.forget(f"{FOLDER}/{id}"))

    def abort(self, id: str, path: str) -> None:
        self._demand(id, path)
        self.store.remote.forget(f"{FOLDER}/{id}")

    def _demand(self, id: str, path: str | None = None) -> None:
        target = self.store.remote.noted(f"{FOLDER}/{id}") if _ID.fullmatch(id) else None
        if target is None:
            raise no_upload(id)
        if path is not None and path != target:
            raise other_path(id, path)

    def _join(self, parts: Sequence[Digest]) -> Kept:
        try:
            size = sum(map(self.store.size, parts))
        except NotFound:
            raise UsageError("a part did not come") from None
        with contextlib.closing(_Joined(self.store, parts)) as joined:
            if size <= SMALL:
                return Kept(self.store.put_bytes(joined.read()), size)
            content = Content(joined.readinto, size)
            digest = put_large(self.store, content, "blob", lambda digest: not self.store.holds(digest, "blob"))
        return Kept(digest_of(digest), size)


class _Joined(io.RawIOBase):
    """The parts, one after the other, each verified."""

    def __init__(self, store: BucketStore, parts: Sequence[Digest]) -> None:
        self._blocks = self._all(store, parts)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._left:
            block = next(self._blocks, b"")
            if not block:
                return 0
            self._left = memoryview(block)
        size = min(len(into), len(self._left))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def _all(self, store: BucketStore, parts: Sequence[Digest]) -> Iterator[bytes]:
        for part in parts:
            with store.open(part) as file:
                while block := file.read(1 << 20):
                    yield block


def forget_old(store: BucketStore) -> None:
    """Remove what is noted of uploads that nobody finished."""
    for path, begun in store.remote.notes(FOLDER).items():
        if datetime.now(UTC) - begun > timedelta(seconds=FORGOTTEN):
            store.remote.forget(path)
