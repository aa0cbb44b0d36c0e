"""Uploads in parts, put together while others put the same together."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bis.server.multipart import Multipart
from bis.server.shelf import Kept, Shelf
from bis.settings import load_settings
from bis.steps.home import open_home


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    home = open_home(tmp_path, load_settings(tmp_path, {}))
    shelf = Shelf(home.store, tmp_path / "uploads")
    yield shelf
    shelf.close()


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


def test_one_that_is_completed_several_times_at_once_is_kept_whole(shelf: Shelf) -> None:
    """A client that did not hear the answer asks again: neither may see what the other has written half."""
    upload = Multipart(shelf)
    parts = [(number, "") for number in range(1, 9)]

    async def complete(id: str, pause: float) -> Kept:
        await asyncio.sleep(pause)
        async with upload.complete(id, "a", parts) as kept:
            await asyncio.sleep(1)  # until the others have come as far
            return kept

    async def several() -> list[Kept]:
        id = upload.begin("a")
        for number, _ in parts:
            await upload.take(id, number, body(bytes([number]) * (4 << 20)))
        return await asyncio.gather(*(complete(id, number / 50) for number in range(8)))

    found = asyncio.run(several())
    assert {kept.size for kept in found} == {32 << 20}
    assert len(set(found)) == 1
