"""Packs: files that hold many objects and describe themselves. `docs/format.md` is the specification.

    pack     magic | head payload | head payload | … | all heads again | end
    head     64 bytes, see `HEAD`; its seal covers the head and the stored payload
    name     BLAKE3 of all heads in order: the name vouches for the heads, each head for its payload

A pack can be read from its end (the list of heads) or, when its writer was killed, from its start.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from bis.errors import Damaged
from bis.store import ObjectKind, planes, squeeze

MAGIC: Final = b"bispack\x04"
MAGICS: Final = (b"bispack\x01", b"bispack\x02", MAGIC)
"""Those that can be read: the first version had neither pieces nor differences, the second no planes. No flipped bit
makes one of another."""
HEAD: Final = struct.Struct("<4sBBHQQ32s8s")
"""mark, kind, method, depth, raw size, stored size, digest of the raw bytes, seal."""
MARK: Final = b"OBJ\n"
END: Final = struct.Struct("<8sQ")
END_MARK: Final = b"bisend\x01\n"
SUFFIX: Final = ".pack"
UNFINISHED: Final = "tmp-"

KINDS: Final[tuple[ObjectKind, ...]] = ("blob", "tree", "record", "chunk")
NUMBER_OF_KIND: Final[dict[ObjectKind, int]] = {"blob": 1, "tree": 2, "record": 3, "chunk": 4}
CHUNK: Final = 4
RAW, ZSTD, PARTS, DELTA, PLANES = range(5)
"""What the payload is: the object; a zstd frame of it; the list of its pieces; its difference from others; its
planes."""
WHOLE: Final = frozenset((RAW, ZSTD, PLANES))
"""Methods for which a pack alone has the object."""

BLOCK: Final = 1 << 20
AS_IT_IS: Final = 32 << 10
"""A payload from this size on is written from where it lies: to copy it costs more than another call of the system."""
AT_ONCE: Final = 256 << 10
"""No more is given to the system by one call: for more it takes whole large pages, which on virtual machines that give
free memory back to their host have to be fetched from there, at several times the cost of the copy."""
AHEAD: Final = 16 << 20
"""After so many bytes the disk begins to take them."""


class Item(NamedTuple):
    """One object of a pack."""

    digest: bytes
    kind: int
    method: int
    raw: int
    stored: int
    offset: int
    """Of the head; the payload follows it."""
    depth: int = 0
    """How many differences, one on the other, lead to the content."""

    @property
    def payload(self) -> int:
        return self.offset + HEAD.size

    @property
    def after(self) -> int:
        return self.offset + HEAD.size + self.stored


def leans(item: Item) -> bool:
    """Whether an object may need others."""
    return item.kind in (NUMBER_OF_KIND["tree"], NUMBER_OF_KIND["record"]) or item.method not in WHOLE


def head_of(item: Item, payload_digest: bytes) -> bytes:
    """The head, sealed: any flipped bit of it or of its payload changes the seal."""
    fields = (MARK, item.kind, item.method, item.depth, item.raw, item.stored, item.digest)
    unsealed = HEAD.pack(*fields, bytes(8))[:-8]
    return unsealed + blake3(unsealed + payload_digest).digest(8)


def read_head(head: bytes, offset: int) -> Item | None:
    """None when the bytes are no head."""
    if len(head) < HEAD.size:
        return None
    mark, kind, method, depth, raw, stored, digest, _ = HEAD.unpack(head)
    if mark != MARK or method > PLANES or bool(depth) != (method == DELTA) or not 1 <= kind <= len(KINDS):
        return None
    return Item(digest, kind, method, raw, stored, offset, depth)


class Unsynced(Exception):
    """The disk refused to make a pack durable: what the operating system still holds of it cannot be known."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Form(NamedTuple):
    """How an object is stored."""

    method: int
    payload: bytes | memoryview
    depth: int = 0


class PackWriter:
    """Appends objects to `tmp-…`; `finish` makes it a pack. A failed write leaves what was added before intact.

    The file is locked while its writer lives, so that what a killed writer left behind can be told and removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items: list[Item] = []
        self._heads: list[bytes] = []
        self._buffer = bytearray()
        self._written = 0
        self.path, self._fd = create(folder)
        self._ahead = _Ahead(self._fd)
        self._buffer += MAGIC

    @property
    def size(self) -> int:
        return self._written + len(self._buffer)

    def add(self, kind: ObjectKind, digest: bytes, raw: int, form: Form) -> Item:
        """Append an object of `raw` bytes in the form in which it is to be stored."""
        method, payload, depth = form
        stored = len(payload)
        if stored >= AS_IT_IS or len(self._buffer) + stored > BLOCK:
            self.drain()
        item = Item(digest, NUMBER_OF_KIND[kind], method, raw, stored, self._written + len(self._buffer), depth)
        head = head_of(item, digest if method == RAW else blake3(payload).digest())
        if stored >= AS_IT_IS:
            self._write(head, payload)
        else:
            self._buffer += head
            self._buffer += payload
        self._note(item, head)
        return item

    def append(self, items: Sequence[Item], stored: bytes | memoryview) -> list[Item]:
        """Append objects as they lie in another pack, one behind the other: heads and payloads, which are proved."""
        start = self._written + len(self._buffer)
        if len(stored) >= AS_IT_IS or len(self._buffer) + len(stored) > BLOCK:
            self.drain()
        if len(stored) >= AS_IT_IS:
            self._write(b"", stored)
        else:
            self._buffer += stored
        first = items[0].offset
        fresh = [Item(*item[:5], item.offset - first + start, item.depth) for item in items]
        self.items += fresh
        for item in items:
            at = item.offset - first
            self._heads.append(bytes(stored[at : at + HEAD.size]))
        return fresh

    def _write(self, head: bytes, payload: bytes | memoryview) -> None:
        """Past the buffer, which is empty: all of it, or nothing."""
        start = self._written
        try:
            rest = memoryview(payload)
            while head or rest:
                done = os.pwritev(self._fd, (head, rest[:AT_ONCE]), self._written)
                self._written += done
                head, rest = head[done:], rest[max(0, done - len(head)) :]
        except BaseException:
            self._cut(start)
            raise
        self._ahead.written(self._written)

    def _note(self, item: Item, head: bytes) -> None:
        self.items.append(item)
        self._heads.append(head)

    def drain(self) -> None:
        """Hand the buffer to the operating system. After an error what was not written is still in the buffer."""
        while self._buffer:
            with memoryview(self._buffer) as view:
                done = os.pwrite(self._fd, view[:AT_ONCE], self._written)
            self._written += done
            del self._buffer[:done]

    def _cut(self, at: int) -> None:
        self._buffer.clear()
        os.ftruncate(self._fd, at)
        self._written = at

    def forget(self, count: int) -> list[Item]:
        """Take back what was added after the first `count` objects, if that is nothing but pieces of something that
        could not be put whole: they must not fill a full disk. Returns what was taken back."""
        gone = self.items[count:]
        if not gone or any(item.kind != CHUNK for item in gone):
            return []
        at = gone[0].offset
        if at < self._written:
            self._cut(at)
        else:
            del self._buffer[at - self._written :]
        del self.items[count:], self._heads[count:]
        return gone

    def reader(self) -> int:
        """A descriptor of one's own for reading what was added so far."""
        self.drain()
        return os.dup(self._fd)

    def finish(self, taken: Container[str] = ()) -> tuple[str, list[Item]]:
        """Write, fsync, rename, fsync the folder. Returns the pack's name, which is none of `taken`. May be tried again
        after an error."""
        while (name := pack_name(self._heads)) in taken:
            other = os.urandom(16)  # the same objects again: one more makes another pack of them
            self.add("blob", blake3(other).digest(), len(other), Form(RAW, other))
        self.drain()
        end = self._written
        try:
            self._buffer += b"".join(self._heads) + END.pack(END_MARK, len(self._heads))
            self.drain()
        except BaseException:
            self._cut(end)
            raise
        self._ahead.end()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise Unsynced(error) from error
        self.path.rename(self.folder / name)
        # Against accidents only; last, so that what a killed writer left can be opened.
        with contextlib.suppress(OSError):
            os.fchmod(self._fd, os.fstat(self._fd).st_mode & 0o444)
        try:
            sync_folder(self.folder)
        except OSError as error:
            raise Unsynced(error) from error
        self.close()
        return name, self.items

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(Unsynced):  # raised before, or of no interest any more
                self._ahead.end()
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self.close()


class _Ahead:
    """Has the disk begin while a large pack is written, by a thread, so that less is left for the end, when all of it
    is synced. Any error is kept: the operating system tells it once, and the last sync would know nothing of it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = 0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def written(self, size: int) -> None:
        """So much was written so far. Does not wait. Raises Unsynced for what was found out meanwhile."""
        if size - self._begun < AHEAD or (self._thread and self._thread.is_alive()):
            return
        self.end()
        self._begun, thread = size, threading.Thread(target=self._sync, name="bis-sync")
        with contextlib.suppress(RuntimeError):  # no thread to be had: the last sync does it all
            thread.start()
            self._thread = thread

    def _sync(self) -> None:
        try:
            getattr(os, "fdatasync", os.fsync)(self._fd)
        except OSError as error:
            self._error = error

    def end(self) -> None:
        """Wait for the thread. Raises Unsynced, each time, if it failed."""
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._error:
            raise Unsynced(self._error) from self._error


def pack_name(heads: list[bytes]) -> str:
    return blake3(b"".join(heads)).hexdigest() + SUFFIX


def create(folder: Path) -> tuple[Path, int]:
    """A new unfinished pack, with its lock."""
    while True:
        path = folder / f"{UNFINISHED}{os.urandom(8).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        lock(fd, wait=True)  # a sweep may hold it for a moment, to remove it
        if os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)  # that sweep took it between creation and lock


def lock(fd: int, wait: bool = False) -> bool:
    """Take the lock that says this writer lives; False when another holds it or the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def remove_unfinished(folder: Path) -> None:
    """Remove what writers left behind that no longer live. A living writer holds the lock of its file."""
    for path in folder.iterdir():
        if not path.name.startswith(UNFINISHED):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if lock(fd):
                    path.unlink()
            finally:
                os.close(fd)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def list_items(fd: int) -> tuple[list[Item], list[bytes]] | None:
    """The objects of a finished pack and their heads, read from its end; None when the end does not hold."""
    heads = list_of_heads(fd)
    if heads is None:
        return None
    items, offset = [], len(MAGIC)
    for head in heads:
        item = read_head(head, offset)
        if item is None:
            return None
        items.append(item)
        offset = item.after
    start = os.fstat(fd).st_size - END.size - len(heads) * HEAD.size
    return (items, heads) if offset == start else None


def list_of_heads(fd: int) -> list[bytes] | None:
    """The heads that stand at the end of a finished pack; None when nothing like that stands there."""
    size = os.fstat(fd).st_size
    if size < len(MAGIC) + END.size or os.pread(fd, len(MAGIC), 0) not in MAGICS:
        return None
    mark, count = END.unpack(os.pread(fd, END.size, size - END.size))
    start = size - END.size - count * HEAD.size
    if mark != END_MARK or start < len(MAGIC):
        return None
    table = _pread(fd, count * HEAD.size, start)
    return [table[at : at + HEAD.size] for at in range(0, len(table), HEAD.size)]


def scan(fd: int) -> Iterator[Item]:
    """The objects of a pack read from its start, each one proved by its seal; ends at the first that does not hold."""
    if os.pread(fd, len(MAGIC), 0) not in MAGICS:
        return
    offset = len(MAGIC)
    while (item := read_head(os.pread(fd, HEAD.size, offset), offset)) and seal_holds(fd, item):
        yield item
        offset = item.after


def seal_holds(fd: int, item: Item) -> bool:
    if item.after > os.fstat(fd).st_size:
        return False
    head = os.pread(fd, HEAD.size, item.offset)
    hasher = blake3()
    for block in blocks(fd, item):
        hasher.update(block)
    return head == head_of(item, hasher.digest())


def check_head(fd: int, item: Item) -> None:
    """Raises Damaged unless the object of which `item` speaks begins where it says."""
    if read_head(_pread(fd, HEAD.size, item.offset), item.offset) != item:
        raise Damaged("its head is not where it should be")


def read_object(fd: int, item: Item) -> bytes:
    """All raw bytes of an object that the pack holds alone, verified."""
    data = content(item, payload(fd, item))
    if blake3(data).digest() != item.digest:
        raise Damaged("its bytes do not match its digest")
    return data


def proved(item: Item, stored: bytes | memoryview) -> bytes | memoryview:
    """The content of an object by its head and payload, or its payload where it needs others. Raises Damaged unless
    its seal holds and its bytes have its digest. Each byte is hashed once where it is stored as it is."""
    payload = stored[HEAD.size :]
    if len(payload) != item.stored:
        raise Damaged("the pack ends in the middle of it")
    digest = blake3(payload).digest()
    if stored[: HEAD.size] != head_of(item, digest):
        raise Damaged("its seal is broken")
    if item.method not in WHOLE:
        return payload
    data = payload if item.method == RAW else content(item, bytes(payload))
    if item.method != RAW:
        digest = blake3(data).digest()
    if digest != item.digest or len(data) != item.raw:
        raise Damaged("its bytes do not match its digest")
    return data


def content(item: Item, stored: bytes) -> bytes:
    """What is kept of an object that a pack holds alone, as it was before. Its digest is not looked at."""
    if item.method == ZSTD:
        return squeeze.unpack_exactly(stored, item.raw)
    return planes.read(stored, item.raw) if item.method == PLANES else stored


def payload(fd: int, item: Item) -> bytes:
    """What is stored of an object."""
    data = _pread(fd, item.stored, item.payload)
    if len(data) != item.stored:
        raise Damaged("the pack ends in the middle of it")
    return data


def blocks(fd: int, item: Item) -> Iterator[bytes]:
    """The stored payload, in pieces."""
    offset = item.payload
    while offset < item.after:
        block = _pread(fd, min(BLOCK, item.after - offset), offset)
        if not block:
            raise Damaged("the pack ends in the middle of it")
        offset += len(block)
        yield block


def raw_blocks(fd: int, item: Item) -> Iterator[bytes]:
    """The raw bytes, in pieces of bounded size. Raises Damaged, at the latest at the end, unless they match."""
    hasher = blake3()
    size = 0
    for block in _expanded(fd, item):
        hasher.update(block)
        size += len(block)
        if size > item.raw:
            break
        yield block
    if size != item.raw or hasher.digest() != item.digest:
        raise Damaged("its bytes do not match its digest")


def _expanded(fd: int, item: Item) -> Iterator[bytes]:
    if item.method == RAW:
        yield from blocks(fd, item)
        return
    if item.method == PLANES:  # of a piece: never more than a few MiB
        yield content(item, payload(fd, item))
        return
    zstd = squeeze.zstd()
    reader = zstd.ZstdDecompressor()
    try:
        for block in blocks(fd, item):
            piece = reader.decompress(block, max_length=BLOCK)
            while True:
                if piece:
                    yield piece
                if reader.needs_input or reader.eof:
                    break
                piece = reader.decompress(b"", max_length=BLOCK)
    except zstd.ZstdError as error:
        raise Damaged(f"its compression is broken ({error})") from None


def read_into(room: memoryview, fd: int, offset: int) -> int:
    """How many bytes were there to fill a room with. As `_pread`, for memory that is used again."""
    done = 0
    try:
        while done < len(room) and (more := os.preadv(fd, [room[done:]], offset + done)):
            done += more
    except OSError as error:
        raise Damaged(f"the disk cannot read it: {error.strerror}") from error
    return done


def _pread(fd: int, size: int, offset: int) -> bytes:
    """`os.pread` that does not stop at 2 GiB or at a signal. What the disk cannot read is as good as damaged: another
    copy may serve."""
    pieces = []
    try:
        while size > 0 and (piece := os.pread(fd, min(size, 1 << 30), offset)):
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
    except OSError as error:
        raise Damaged(f"the disk cannot read it: {error.strerror}") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
