"""Journals: what the processes of a run say of it, one file for each, written so that a kill loses nothing.

A journal begins with a line that names its version; then come entries, each with its length before it. One entry is
one write to the file: what was written survives the death of its process. The last may be cut short, by a full disk
say; what stands before it counts.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bis.nouns.logged import ENDING, Saying

HEADER: Final = b"bis.journal/1\n"
LENGTH: Final = struct.Struct("<I")
LONGEST: Final = 64 << 20
"""Bytes of an entry. More is no entry: the file is damaged there."""
AT_ONCE: Final = 1 << 20


class Told(NamedTuple):
    """An entry, and where the next one begins."""

    entry: Saying
    end: int


def create(folder: Path) -> tuple[Path, Callable[[Saying], None]]:
    """A journal of this process alone, and the function that writes an entry into it. The function costs about a
    microsecond, may be called by any thread, and raises OSError where nothing can be written."""
    path = folder / f"{time.time_ns():020d}-{os.getpid()}{ENDING}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        _whole(os.write(descriptor, HEADER), HEADER)
    except OSError:  # the next entry tries again: nothing may gather meanwhile
        os.close(descriptor)
        path.unlink()
        raise
    encode, length, write, turn = msgspec.msgpack.Encoder().encode, LENGTH.pack, os.write, threading.RLock()

    def append(entry: Saying) -> None:
        data = encode(entry)
        data = length(len(data)) + data
        with turn:
            written = write(descriptor, data)
            if written != len(data):  # what comes behind half an entry could not be read
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        _whole(written, data)

    return path, append


def _whole(written: int, data: bytes) -> None:
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def journals(folder: Path) -> list[Path]:
    """Those of a run, the oldest first."""
    return sorted(folder.glob(f"*{ENDING}"))


def entries(path: Path, start: int = 0) -> Iterator[Told]:
    """What a journal holds from a place on; up to one that is cut short, or of which there is no knowing what it is."""
    decoder = msgspec.msgpack.Decoder(Saying)
    with path.open("rb") as file:
        if start < len(HEADER):
            if file.read(len(HEADER)) != HEADER:
                return
            start = len(HEADER)
        file.seek(start)
        rest, at = b"", start
        while block := file.read(AT_ONCE):
            rest += block
            position = 0
            while position + LENGTH.size <= len(rest):
                (size,) = LENGTH.unpack_from(rest, position)
                end = position + LENGTH.size + size
                if size > LONGEST:
                    return
                if end > len(rest):
                    break
                try:
                    entry = decoder.decode(memoryview(rest)[position + LENGTH.size : end])
                except msgspec.MsgspecError:
                    return
                yield Told(entry, at + end)
                position = end
            rest, at = rest[position:], at + position
