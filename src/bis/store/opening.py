"""Opening a file that is to be put: most are small, and read at once."""

from __future__ import annotations

import io
import os
from pathlib import Path

from bis.store.chunks import MINIMUM as SMALL
from bis.store.trouble import unreadable


def begin(path: Path | str) -> tuple[bytes, io.FileIO | None]:
    """A file up to the size of one piece; of a larger one its start, and the file, read so far."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = os.fstat(fd).st_size
        start = os.read(fd, min(told, SMALL) + 1)
        if len(start) == told:  # as nearly always; whoever may meet a file that grows looks at it again
            return start, None
        rest = io.FileIO(fd, closefd=False)
        while len(start) <= SMALL and (more := rest.read(SMALL + 1 - len(start))):
            start += more
        if len(start) <= SMALL:
            return start, None
        return start, io.FileIO(os.dup(fd))
    finally:
        os.close(fd)


class Source:
    """A large file being put: what was read of it already, then the rest."""

    def __init__(self, path: Path | str, start: bytes, rest: io.FileIO) -> None:
        self.path, self.start, self.rest = Path(path), start, rest

    def size(self) -> int:
        """As far as the operating system knows it."""
        return os.fstat(self.rest.fileno()).st_size

    def read(self, into: memoryview) -> int:
        if self.start:
            block, self.start = self.start[: len(into)], self.start[len(into) :]
            into[: len(block)] = block
            return len(block)
        try:
            return self.rest.readinto(into) or 0
        except OSError as error:
            raise unreadable(error, self.path) from error
