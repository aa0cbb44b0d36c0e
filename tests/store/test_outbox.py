"""Packs on their way to another place: in order, and none lost when one cannot be sent."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from bis.errors import KeepingError
from bis.store.outbox import Outbox, Outgoing
from bis.store.packs import RAW, Form, PackWriter
from bis.store.remote.folder import FolderRemote


@pytest.fixture
def there(tmp_path: Path) -> FolderRemote:
    remote = FolderRemote(tmp_path / "there")
    remote.declare("bis store 3\n")
    return remote


@pytest.fixture
def arrived() -> list[str]:
    return []


@pytest.fixture
def outbox(there: FolderRemote, arrived: list[str]) -> Iterator[Outbox]:
    found = Outbox(there, lambda pack: arrived.append(pack.name))
    yield found
    found.close()


def pack(folder: Path, content: bytes) -> Outgoing:
    writer = PackWriter(folder)
    writer.add("blob", blake3(content).digest(), len(content), Form(RAW, content))
    fd = writer.reader()
    name, items = writer.finish()
    (folder / name).unlink()
    return Outgoing(name, os.fstat(fd).st_size, fd, items)


def test_packs_arrive_in_the_order_in_which_they_were_finished(
    outbox: Outbox, there: FolderRemote, arrived: list[str], tmp_path: Path
) -> None:
    packs = [pack(tmp_path, os.urandom(1 + 200_000 * (number % 3))) for number in range(12)]
    for one in packs:
        outbox.put(one)
    outbox.settle()
    assert arrived == [one.name for one in packs]
    assert there.list() == {one.name: one.size for one in packs}
    assert outbox.names() == set()


def test_one_that_cannot_be_sent_holds_up_those_behind_it_until_it_can(
    outbox: Outbox, there: FolderRemote, arrived: list[str], tmp_path: Path
) -> None:
    """What is behind it may need what is in it."""
    there.packs.rename(tmp_path / "aside")
    there.packs.write_text("in the way")
    packs = [pack(tmp_path, b"%d" % number) for number in range(3)]
    outbox.put(packs[0])
    with pytest.raises(KeepingError):
        outbox.settle()
    for one in packs[1:]:
        outbox.put(one)
    with pytest.raises(KeepingError):
        outbox.settle()
    assert outbox.names() == {one.name for one in packs}
    held = outbox.opened(packs[0].name)
    assert held is not None
    assert os.pread(held, packs[0].size, 0)[:7] == b"bispack"
    os.close(held)
    there.packs.unlink()
    (tmp_path / "aside").rename(there.packs)
    outbox.settle()
    assert arrived == [one.name for one in packs]


def test_who_waits_when_it_is_closed_is_told_that_not_all_arrived(
    outbox: Outbox, there: FolderRemote, tmp_path: Path
) -> None:
    there.packs.rename(tmp_path / "aside")
    there.packs.write_text("in the way")
    outbox.put(pack(tmp_path, b"content"))
    with pytest.raises(KeepingError):
        outbox.settle()
    outbox.close()
    with pytest.raises(KeepingError):
        outbox.settle()
