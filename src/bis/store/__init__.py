"""The Store protocol: content by digest, immutable, verified whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from bis.digest import Digest

ObjectKind = Literal["blob", "tree", "record", "chunk"]


class Store(Protocol):
    """Keeps blobs, trees and records. What `put_*` returned a digest for, and `flush` returned after, is durable."""

    def has(self, digest: Digest) -> bool: ...

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that it does not have, found out with few questions."""
        ...

    def put_bytes(self, data: bytes, kind: ObjectKind = "blob") -> Digest:
        """Keep bytes; already there: does nothing. Durable after `flush`."""
        ...

    def put_file(self, path: Path | str, *, expected: Digest | None = None) -> Digest:
        """Keep the bytes of a file, read once, in bounded memory. Raises KeepingError when they are not `expected`."""
        ...

    def get_bytes(self, digest: Digest) -> bytes:
        """Raises NotFound when it is not there, Damaged when its bytes no longer match."""
        ...

    def get_many(self, digests: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """As `get_bytes`, each once, in the order that is cheapest. What is not small is left out."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """A stream that raises Damaged at its end when the bytes did not match. Bounded memory."""
        ...

    def get_file(self, digest: Digest, path: Path, mode: int = 0o644) -> None:
        """Write the bytes to `path` (which must not exist), verified before it appears under that name."""
        ...

    def size(self, digest: Digest) -> int: ...

    def list(self, kind: ObjectKind) -> Iterator[Digest]: ...

    def flush(self) -> None:
        """Make everything that was put durable: write, fsync, rename, then index."""
        ...
