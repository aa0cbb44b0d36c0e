"""What a run printed: one of its streams, or both as they came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from bis.nouns.run import Run
    from bis.store import Store

BLOCK = 1 << 20
LETTERS = {b"o": "<stdout>", b"e": "<stderr>"}


def printed(run: Run, store: Store, names: tuple[str, ...] = ("<stdout>", "<stderr>")) -> Iterator[bytes]:
    """The bytes in the order of time, as far as it was recorded; what it does not cover comes last."""
    logs = {output.path: output for output in run.outputs if output.path in names and output.size}
    with ExitStack() as stack:
        streams = {name: stack.enter_context(store.open(log.digest)) for name, log in logs.items()}
        if len(streams) > 1 and run.lines:
            yield from _in_order(store.get_bytes(run.lines), streams)
        for stream in streams.values():
            # To the end, also where nothing is left: a store says there that the bytes did not match.
            yield from _blocks(stream, None)


def _in_order(index: bytes, streams: dict[str, BinaryIO]) -> Iterator[bytes]:
    """Each line of the index says from which byte of a stream on something came at a time."""
    pieces = [line.split() for line in index.splitlines()]
    entries = [(LETTERS[piece[1]], int(piece[2])) for piece in pieces if len(piece) == 3 and piece[1] in LETTERS]
    following: dict[str, int] = {}
    ends: list[int | None] = []
    for name, offset in reversed(entries):
        ends.append(following.get(name))
        following[name] = offset
    for (name, offset), end in zip(entries, reversed(ends), strict=True):
        if name in streams:
            # The last piece of each stream has no end: it is taken here, where it began.
            yield from _blocks(streams[name], None if end is None else max(0, end - offset))


def _blocks(stream: BinaryIO, size: int | None) -> Iterator[bytes]:
    """So many bytes of a stream, or all that is left, in pieces that are no larger than a block."""
    while block := stream.read(BLOCK if size is None else min(BLOCK, size)):
        yield block
        size = size if size is None else size - len(block)
