"""Uploads in parts, which come in any order and beside each other, and are put together when all are there.

Who knows the id of an upload may send parts of it: it is drawn at random, and told to those alone who may write.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from bis.digest import Digest, digest_file
from bis.errors import NotFound, UsageError
from bis.server.shelf import BLOCK, Kept, Shelf
from bis.store.trouble import trouble

MOST: Final = 10_000
"""Parts of one upload."""
_ID: Final = re.compile(r"[0-9a-f]{32}")
_TARGET: Final = "path"


class Multipart:
    """Uploads under way, each in a folder of its own in the spool: they outlive the server."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def begin(self, path: str) -> str:
        """The id of an upload to `path`."""
        id = secrets.token_hex(16)
        folder = self.shelf.spool / id
        try:
            folder.mkdir(parents=True, mode=0o700)
            (folder / _TARGET).write_text(path, "utf-8")
        except OSError as error:
            raise trouble(error, "write", folder) from error
        return id

    async def take(self, id: str, number: int, body: AsyncIterator[bytes]) -> Digest:
        """One part; sent again, it replaces what came before."""
        if not 1 <= number <= MOST:
            raise UsageError(f"a part has a number from 1 to {MOST:,}, not {number}")
        return await self.shelf.written(body, self._folder(id) / str(number))

    @contextlib.asynccontextmanager
    async def complete(self, id: str, path: str, parts: Sequence[tuple[int, str]]) -> AsyncIterator[Kept]:
        """The content of all parts, in the order of their numbers, durable; the upload is over when the block ends."""
        folder = self._folder(id, path)
        demand_in_order(parts)
        # A file of its own: a client that did not hear the answer asks again while this is still at it.
        whole = folder / f"whole-{secrets.token_hex(8)}"
        try:
            await self.shelf.work(lambda: _join(folder, parts, whole))
            async with self.shelf.kept_file(whole) as kept:
                yield kept
        finally:
            whole.unlink(missing_ok=True)
        await self.shelf.work(lambda: shutil.rmtree(folder, ignore_errors=True))

    def abort(self, id: str, path: str) -> None:
        shutil.rmtree(self._folder(id, path), ignore_errors=True)

    def _folder(self, id: str, path: str | None = None) -> Path:
        folder = self.shelf.spool / id
        if not _ID.fullmatch(id) or not folder.is_dir():
            raise no_upload(id)
        if path is not None and (folder / _TARGET).read_text("utf-8") != path:
            raise other_path(id, path)
        return folder


def demand_in_order(parts: Sequence[tuple[int, str]]) -> None:
    numbers = [number for number, _ in parts]
    if not parts or numbers != sorted(set(numbers)):
        raise UsageError("an upload is completed with its parts, in the order of their numbers, each once")


def no_upload(id: str) -> NotFound:
    return NotFound(f"no upload has the id {id[:40]!r}: it was completed, aborted or forgotten")


def other_path(id: str, path: str) -> UsageError:
    return UsageError(f"upload {id} is not one to {path!r}")


def _join(folder: Path, parts: Sequence[tuple[int, str]], into: Path) -> None:
    """Raises UsageError for a part that did not come, or is not the one that was meant."""
    try:
        with into.open("wb") as whole:
            for number, digest in parts:
                part = folder / str(number)
                if not part.is_file():
                    raise UsageError(f"part {number} did not come")
                if digest and digest_file(part) != digest:
                    raise UsageError(f"part {number} is not the one with the ETag {digest!r}")
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole, BLOCK)
    except OSError as error:
        raise trouble(error, "write", into) from error
