"""A store in a bucket: the same packs as those of a remote there, written and read by servers on any machines.

Packs are put together in a folder of this machine, as those of a store in a folder are, and sent: `flush` returns when
the bucket has them. What is read comes through a cache. Nothing in that folder is needed: it may be deleted.
The index is shared by the processes of this machine; what others wrote is found by listing the bucket when something
is asked for that is not known. Nothing is deleted in the bucket, so whoever relies on something needs not say so.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from bis.digest import Digest, digest_bytes, short
from bis.errors import Damaged, NotFound
from bis.store import ObjectKind, packs
from bis.store.crew import in_order
from bis.store.index import Boundary, Index, Place
from bis.store.known import seen_there
from bis.store.local import FORMAT, VERSION, LocalStore, raw_of
from bis.store.nearby import Nearby
from bis.store.outbox import Outbox, Outgoing
from bis.store.packs import Form, Item
from bis.store.remote.bucket import BucketRemote
from bis.store.transfer import check_remote
from bis.store.trouble import trouble

T = TypeVar("T")

FOLDER: Final = "bucket"
"""Below `.bis`."""
CACHE: Final = 4 << 30
"""Bytes of what was read that are kept."""
READERS: Final = 16
"""Lists of packs that are read at once."""

_log = logging.getLogger("bis.store")


def open_bucket_store(url: str, folder: Path, variables: Mapping[str, str], most: int = CACHE) -> BucketStore:
    """The store in a bucket. Nothing is asked of it yet. What is kept of it here lies below `folder`."""
    return BucketStore(url, folder / short(digest_bytes(url.encode()), 16), variables, most)


class BucketStore(LocalStore):
    """The Store protocol over a bucket. May be used by several threads."""

    def __init__(self, url: str, folder: Path, variables: Mapping[str, str], most: int) -> None:
        super().__init__(folder)
        self.remote = BucketRemote(url, variables)
        self.nearby = Nearby(self.remote, folder / "objects", most)
        self._words = url, folder, variables, most
        self._lazy_outbox: Outbox | None = None
        self._lazy: BucketIndex | None = None
        self._looking = threading.Lock()
        self._numbers = itertools.count(1)
        self._looked = 0

    def prepare(self) -> None:
        """Make a store there where there is none, and forget what is not there any more. Raises KeepingError where the
        bucket cannot be had, or a newer bis wrote to it."""
        self._version = check_remote(self.remote)
        if not self._version:
            self._declare()
            self._version = VERSION
        before = self.index.sizes()
        self._forget_gone(before, self.remote.list())

    def another(self) -> BucketStore:
        found = BucketStore(*self._words)
        found._version = self._version
        return found

    def close(self) -> None:
        super().close()
        with self._lock:
            outbox, self._lazy_outbox = self._lazy_outbox, None
            if self._lazy:
                self._lazy.close()
            self._lazy = None
        if outbox:
            outbox.close()

    def _declare(self) -> None:
        self.remote.declare(f"{FORMAT} {VERSION}\n")

    @property
    def index(self) -> BucketIndex:
        with self._lock:
            if self._lazy is None:
                self._lazy = BucketIndex(self.path, self.remote)
            return self._lazy

    @property
    def outbox(self) -> Outbox:
        with self._lock:
            if self._lazy_outbox is None:
                self._lazy_outbox = Outbox(self.remote, self._arrived)
            return self._lazy_outbox

    # putting

    def put_bytes(self, data: bytes, kind: ObjectKind = "blob") -> Digest:
        self.outbox.make_room()
        return super().put_bytes(data, kind)

    def keep(self, kind: ObjectKind, digest: bytes, raw: int, form: Form, boundaries: Iterable[Boundary] = ()) -> None:
        self.outbox.make_room()
        super().keep(kind, digest, raw, form, boundaries)

    def flush(self) -> None:
        """The bucket has all that was put: also what others rely on, who put it at the same time. Those who come while
        something is sent wait for that, and what they have put goes together then."""
        self.outbox.settle()
        with self._lock, self._writing():
            self._finish()
        self.outbox.settle()

    def adopt(self, draft: Path, fd: int, name: str) -> None:
        """Send a proved pack. What it is put together from, and lies here still, goes before it."""
        self.flush()
        listed = packs.list_items(fd)
        assert listed
        outgoing = Outgoing(name, os.fstat(fd).st_size, fd, listed[0])
        self.remote.write(name, outgoing.size, outgoing.blocks())
        self._arrived(outgoing)
        draft.unlink(missing_ok=True)

    def _pack(self) -> packs.PackWriter:
        self.packs.mkdir(parents=True, exist_ok=True)
        if self._writer is None:
            self._remove_left()
        return super()._pack()

    def _remove_left(self) -> None:
        """What was finished by a process that was killed in that moment; one that lives has it open."""
        for path in self.packs.glob(f"*{packs.SUFFIX}"):
            path.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._writer and self._writer.items:
            fd = self._writer.reader()
            try:
                name, items = self._writer.finish(self.outbox.names())
                (self.packs / name).unlink(missing_ok=True)
                outgoing = Outgoing(name, os.fstat(fd).st_size, fd, items, list(self._boundaries.values()))
            except BaseException:
                os.close(fd)
                raise
            self.index.expect(name, items)
            self.outbox.put(outgoing)
        elif self._writer:
            self._writer.discard()
        self._pending.clear()
        self._boundaries.clear()
        self._writer = None

    def _arrived(self, pack: Outgoing) -> None:
        with self._lock:
            self.index.arrived(pack.name, pack.size, pack.items, pack.boundaries)

    def _relying(self) -> frozenset[str]:
        self._doomed = frozenset()
        return self._doomed

    # finding

    def look_again(self) -> None:
        """Take in what others have put into the bucket. Those who come while it is listed share the next listing."""
        number = next(self._numbers)
        with self._looking:
            if self._looked < number:
                covered = next(self._numbers)
                self._look()
                self._looked = covered

    def _look(self) -> None:
        with self._lock:
            before = self.index.sizes()
        listed = self.remote.list()
        fresh = [name for name, size in listed.items() if before.get(name) != size]
        for name, items in in_order(lambda name: (name, self._items(name, listed[name])), fresh, READERS):
            if items is not None:
                with self._lock:
                    self.index.arrived(name, listed[name], items, ())
        self._forget_gone(before, listed)

    def _forget_gone(self, before: Mapping[str, int], listed: Container[str]) -> None:
        """A listing may be late, so the packs themselves are asked for."""
        for name in before:
            if name not in listed and self._is_gone(name, before[name]):
                with self._lock:
                    self.index.drop(name)

    def _items(self, name: str, size: int) -> list[Item] | None:
        try:
            return seen_there(self.remote, name, size).items
        except NotFound:
            return None
        except Damaged as error:
            _log.warning("pack %s of %s is damaged: %s", name[:12], self.remote.url, error.what)
            return None

    def _is_gone(self, name: str, size: int) -> bool:
        try:
            self.remote.part(name, size - 1, 1)
        except NotFound:
            return True
        return False

    def list(self, kind: ObjectKind) -> Iterator[Digest]:
        self.look_again()
        return super().list(kind)

    def raw_digests(self, kind: ObjectKind) -> Iterator[bytes]:
        self.look_again()
        return super().raw_digests(kind)

    def composed(self) -> set[bytes]:
        self.look_again()
        return super().composed()

    def listing(self) -> dict[str, int]:
        """The packs in the bucket, with their sizes."""
        self.look_again()
        with self._lock:
            return self.index.sizes()

    def _places(self, digest: Digest) -> Sequence[Place]:
        if found := self._known(digest):
            return found
        self.look_again()
        if found := self._known(digest):
            return found
        raise NotFound(
            f"{short(digest)} is not in the store {self.remote.url}",
            because=f"Looked for {digest} in all packs that the bucket lists.",
            hint=f"bis clone {self.remote.url} FOLDER  has all that is there, for bis verify to look at",
        )

    def _known(self, digest: Digest) -> Sequence[Place]:
        try:
            raw = raw_of(digest)
        except ValueError:
            return ()
        with self._lock:
            if raw in self._pending:
                return [Place("", item) for item in self._pending[raw]]
            return self.index.find(raw)

    # getting

    def _from_copy(self, place: Place, read: Callable[[int, Item], T]) -> T:
        with self._opened(place) as (fd, item):
            packs.check_head(fd, item)
            return read(fd, item)

    @contextmanager
    def _opened(self, place: Place) -> Iterator[tuple[int, Item]]:
        fd, place = self._here(place)
        if fd is None:
            with self._lock:
                size = self.index.size(place.pack)
            with self.nearby.opened(place, size) as found:
                yield found
            return
        try:
            yield fd, place.item
        finally:
            os.close(fd)

    def _here(self, place: Place) -> tuple[int | None, Place]:
        """A descriptor of the pack where it is not in the bucket yet; and the place, as the pack under way may have
        been finished meanwhile."""
        with self._lock:
            if place.pack:
                return self.outbox.opened(place.pack), place
            if self._writer and place.item in self._pending.get(place.item.digest, ()):
                return self._writer.reader(), place
            found = [one for one in self.index.find(place.item.digest) if one.item[1:] == place.item[1:]]
            if not found:
                raise Damaged("the pack under way was given up")
            return self.outbox.opened(found[0].pack), found[0]

    def _stretch(self, places: Sequence[Place]) -> Iterator[tuple[Item, bytes]]:
        from bis.store import bulk

        start, end = places[0].item.payload, places[-1].item.after
        try:
            block = self.span(places[0].pack, start, end - start)
        except (NotFound, Damaged):
            return
        for _, item in places:
            data = bulk.content(item, block[item.payload - start : item.after - start])
            if data is not None:
                yield item, data

    def span(self, pack: str, start: int, length: int) -> bytes:
        """Bytes of a pack; little of them, as they are in memory. Raises NotFound where there is no such pack."""
        fd = self.outbox.opened(pack)
        if fd is not None:
            try:
                return os.pread(fd, length, start)
            finally:
                os.close(fd)
        return self.nearby.span(pack, start, length, self.size_of(pack))

    def size_of(self, pack: str) -> int:
        with self._lock:
            size = self.index.size(pack)
        if size < 0:
            raise NotFound(f"pack {pack[:12]} is not in {self.remote.url}")
        return size

    def let_go(self, name: str) -> None:
        self.nearby.forget(name)


class BucketIndex(Index):
    """As that of a folder, but that it is told of packs: it looks for none. One that is not in the bucket yet is known
    to this process alone."""

    def __init__(self, folder: Path, remote: BucketRemote) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise trouble(error, "write", folder) from error
        super().__init__(folder)
        self._remote = remote
        self._expected: dict[str, dict[bytes, list[Item]]] = {}

    def find(self, digest: bytes) -> list[Place]:
        here = [Place(name, item) for name, items in self._expected.items() for item in items.get(digest, ())]
        return here + super().find(digest)

    def find_all(self, digests: Sequence[bytes], without: Container[str] = ()) -> dict[bytes, Place]:
        found = super().find_all(digests, without)
        for name, items in self._expected.items():
            found |= {digest: Place(name, items[digest][0]) for digest in digests if digest in items}
        return found

    def may_have(self, digest: bytes) -> bool:
        return True

    def expect(self, name: str, items: Iterable[Item]) -> None:
        """A pack is on its way to the bucket."""
        found = self._expected[name] = {}
        for item in items:
            found.setdefault(item.digest, []).append(item)

    def arrived(self, name: str, size: int, items: Iterable[Item], boundaries: Iterable[Boundary]) -> None:
        """The bucket has a pack."""

        def work() -> None:
            self._drop(name)
            self._insert(name, size, items)
            self._bound(boundaries)

        self._write(work)
        self._expected.pop(name, None)

    def drop(self, name: str) -> None:
        """The bucket has a pack no more."""
        self._write(lambda: self._drop(name))

    def sizes(self) -> dict[str, int]:
        return dict(self._ask("SELECT name, size FROM packs"))

    def size(self, name: str) -> int:
        """Of a pack; negative where it is not known."""
        rows = self._ask("SELECT size FROM packs WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else -1

    def catch_up(self, *, sure: bool = False) -> None:
        pass

    def rebuild(self) -> None:
        """In memory, when the file cannot be used: what the bucket has is found by the next listing."""

    def read_again(self, name: str) -> None:
        size = self.size(name)
        if size >= 0:
            try:
                self.arrived(name, size, seen_there(self._remote, name, size).items, ())
            except (Damaged, NotFound):
                self.drop(name)

    def _there(self, name: str, size: int) -> bool:
        return True
