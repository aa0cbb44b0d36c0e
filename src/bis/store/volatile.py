"""A store that forgets: reads what another holds, keeps what is put in memory only, and writes nothing anywhere."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bis.digest import Digest, digest_bytes, digest_file
from bis.errors import KeepingError
from bis.store import ObjectKind, Store


class Forgetful:
    """For looking without recording: `bis status` captures the present into one. Files are hashed, not held;
    the bytes of one that was put are read from where it lies."""

    def __init__(self, below: Store) -> None:
        self._below = below
        self._held: dict[Digest, bytes] = {}
        self._files: dict[Digest, Path] = {}

    def has(self, digest: Digest) -> bool:
        return digest in self._held or digest in self._files or self._below.has(digest)

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return self._below.missing(
            digest for digest in digests if digest not in self._held and digest not in self._files
        )

    def put_bytes(self, data: bytes, kind: ObjectKind = "blob") -> Digest:
        digest = digest_bytes(data)
        self._held[digest] = data
        return digest

    def put_file(self, path: Path | str, *, expected: Digest | None = None) -> Digest:
        digest = digest_file(path)
        if expected and digest != expected:
            raise KeepingError(f"{path} changed while it was read", hint="try again")
        self._files[digest] = Path(path)
        return digest

    def get_bytes(self, digest: Digest) -> bytes:
        if digest in self._held:
            return self._held[digest]
        if digest in self._files:
            return self._files[digest].read_bytes()
        return self._below.get_bytes(digest)

    def get_many(self, digests: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        return ((digest, self.get_bytes(digest)) for digest in dict.fromkeys(digests))

    def open(self, digest: Digest) -> BinaryIO:
        if digest in self._held or digest in self._files:
            return io.BytesIO(self.get_bytes(digest))
        return self._below.open(digest)

    def get_file(self, digest: Digest, path: Path, mode: int = 0o644) -> None:
        if digest not in self._held and digest not in self._files:
            return self._below.get_file(digest, path, mode)
        path.write_bytes(self.get_bytes(digest))
        path.chmod(mode)
        return None

    def size(self, digest: Digest) -> int:
        if digest in self._held or digest in self._files:
            return len(self.get_bytes(digest))
        return self._below.size(digest)

    def list(self, kind: ObjectKind) -> Iterator[Digest]:
        return self._below.list(kind)

    def flush(self) -> None:
        pass
