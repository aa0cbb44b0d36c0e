"""The packs that a server shares, wherever its store is: what `native/sharing.py` needs of a folder and of a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from bis.errors import NotFound, UsageError
from bis.server.relying import Relying
from bis.store import doomed
from bis.store.bucket import BucketStore
from bis.store.collect import alone
from bis.store.local import LocalStore
from bis.store.nearby import BLOCK as STEP
from bis.store.packs import BLOCK, SUFFIX
from bis.store.remote import Remote
from bis.store.remote.folder import FolderRemote
from bis.store.trouble import trouble


class Opened(NamedTuple):
    """A pack to read from."""

    size: int
    read: Callable[[int, int], bytes]
    """From which place on, and how many bytes."""
    step: int
    """How many are to be asked for at once."""
    close: Callable[[], None]


class Packs(Protocol):
    """The packs of a store. Whoever calls waits for the disk, or for the bucket."""

    place: Remote
    """The store as a remote, for the text of `format`."""
    relying: Relying | None
    """Those who rely on what they were told is there; None where nothing is deleted while a server runs."""

    def listing(self) -> dict[str, int]: ...

    def open(self, name: str) -> Opened:
        """Raises NotFound."""
        ...

    def doom(self, name: str) -> None:
        """Let a later `bis gc` delete it. Raises NotFound, and UsageError where that is not to be had."""
        ...


def packs_of(store: LocalStore) -> Packs:
    return InBucket(store) if isinstance(store, BucketStore) else InFolder(store)


class InFolder:
    """Of a store in a folder."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.place: Remote = FolderRemote(store.path)
        self.relying: Relying | None = Relying(store.path)

    def listing(self) -> dict[str, int]:
        try:
            going = doomed.names(doomed.read(self.store.path))
            with os.scandir(self.store.packs) as entries:
                packs = [one for one in entries if one.name.endswith(SUFFIX) and one.name not in going]
                return {one.name: one.stat().st_size for one in packs}
        except OSError as error:
            raise trouble(error, "read the store", self.store.path) from error

    def open(self, name: str) -> Opened:
        try:
            fd = os.open(self.store.packs / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"there is no pack {name[:12]}", hint="bis gc may have deleted it: repeat") from None
        except OSError as error:
            raise trouble(error, "read", self.store.packs / name) from error
        return Opened(os.fstat(fd).st_size, lambda start, size: os.pread(fd, size, start), BLOCK, lambda: os.close(fd))

    def doom(self, name: str) -> None:
        with alone(self.store):
            if not (self.store.packs / name).exists():
                raise NotFound(f"there is no pack {name[:12]}")
            lots = doomed.read(self.store.path)
            if name not in doomed.names(lots):
                made = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
                doomed.write(self.store.path, [*lots, doomed.Lot(made=made, packs=(name,))])


class InBucket:
    """Of a store in a bucket."""

    def __init__(self, store: BucketStore) -> None:
        self.store = store
        self.place: Remote = store.remote
        self.relying: Relying | None = None

    def listing(self) -> dict[str, int]:
        return self.store.listing()

    def open(self, name: str) -> Opened:
        try:
            size = self.store.size_of(name)
        except NotFound:
            self.store.look_again()
            size = self.store.size_of(name)
        return Opened(size, lambda start, length: self.store.span(name, start, length), STEP, lambda: None)

    def doom(self, name: str) -> None:
        raise UsageError(
            f"nothing is deleted in {self.store.remote.url} while a server runs",
            hint="docs/howto/team-ledger.md says how to collect what a bucket has",
        )
