"""Packs on their way to a bucket: one after the other, as they were finished, so that nothing is there before what it
is put together from. Each is a file without a name, of which nothing is left when its process ends.

A pack that could not be sent stays, with those behind it, as others may rely on what is in it; whoever waits next has
it sent again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from bis.errors import KeepingError
from bis.store.index import Boundary
from bis.store.packs import BLOCK, Item
from bis.store.remote import Remote

MOST: Final = 256 << 20
"""Bytes that wait to be sent, after which whoever puts more waits, too."""


class Outgoing(NamedTuple):
    """A pack that is finished here."""

    name: str
    size: int
    fd: int
    items: Sequence[Item]
    boundaries: Sequence[Boundary] = ()

    def blocks(self) -> Iterator[bytes]:
        for at in range(0, self.size, BLOCK):
            yield os.pread(self.fd, min(BLOCK, self.size - at), at)


class Outbox:
    """Used by several threads. `arrived` is called, in a thread of its own, for each pack that the bucket has."""

    def __init__(self, remote: Remote, arrived: Callable[[Outgoing], None]) -> None:
        self._remote, self._arrived = remote, arrived
        self._changed = threading.Condition()
        self._packs: dict[str, Outgoing] = {}
        self._sender: threading.Thread | None = None
        self._trouble: Exception | None = None
        self._closed = False

    def put(self, pack: Outgoing) -> None:
        """Begin to send it. Its descriptor is closed when it has arrived."""
        with self._changed:
            self._packs[pack.name] = pack
            self._send()

    def settle(self) -> None:
        """Wait until all has arrived that is here now. Raises what went wrong."""
        with self._changed:
            wanted = set(self._packs)
            self._send()
            while not wanted.isdisjoint(self._packs):
                self._wait()

    def make_room(self) -> None:
        """Wait until there is room for more. Raises what went wrong where there is none."""
        with self._changed:
            if self._is_full():
                self._send()
            while self._is_full():
                self._wait()

    def names(self) -> frozenset[str]:
        with self._changed:
            return frozenset(self._packs)

    def opened(self, name: str) -> int | None:
        """A descriptor of one's own of a pack; None where it is not here (any more)."""
        with self._changed:
            found = None if self._closed else self._packs.get(name)
            return os.dup(found.fd) if found else None

    def close(self) -> None:
        """What has not arrived is dropped, and who waits for it is told."""
        with self._changed:
            if self._closed:
                return
            self._closed, sender = True, self._sender
        if sender:
            sender.join()
        with self._changed:
            self._trouble = self._trouble or KeepingError("the store was closed before all had arrived there")
            self._changed.notify_all()
            for pack in self._packs.values():
                os.close(pack.fd)

    def _is_full(self) -> bool:
        return sum(pack.size for pack in self._packs.values()) >= MOST

    def _wait(self) -> None:
        if self._sender is None and self._trouble:
            raise self._trouble
        self._changed.wait()

    def _send(self) -> None:
        if self._sender is None and self._packs and not self._closed:
            self._trouble = None
            self._sender = threading.Thread(target=self._work, name="bis-send", daemon=True)
            self._sender.start()

    def _work(self) -> None:
        while pack := self._next():
            try:
                self._remote.write(pack.name, pack.size, pack.blocks())
                self._arrived(pack)
            except Exception as error:
                with self._changed:
                    self._sender, self._trouble = None, error
                    self._changed.notify_all()
                return
            with self._changed:
                del self._packs[pack.name]
                os.close(pack.fd)
                self._changed.notify_all()

    def _next(self) -> Outgoing | None:
        with self._changed:
            pack = None if self._closed else next(iter(self._packs.values()), None)
            if pack is None:
                self._sender = None
                self._changed.notify_all()
            return pack
