"""Standard input: an ingredient like any other, when it is a file (`bis run -- python train.py < rows.csv`)."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

import msgspec

from bis.digest import Digest
from bis.nouns.part import Finding
from bis.store import Store

STDIN = 0


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """What bis itself has as standard input, before the command starts. The command shares it, and its position."""

    kind: str
    """`file`, `pipe` or `other` (a terminal, nothing)."""
    position: int = 0


def look() -> Feed:
    try:
        mode = os.fstat(STDIN).st_mode
    except OSError:
        return Feed(kind="other")
    if stat.S_ISREG(mode):
        return Feed(kind="file", position=os.lseek(STDIN, 0, os.SEEK_CUR))
    if (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and not _at_end():
        return Feed(kind="pipe")
    return Feed(kind="other")


def kept(feed: Feed, store: Store, scratch: Path) -> Digest:
    """Keep the file when the command has read from it; the empty digest when it has not."""
    if feed.kind != "file" or os.lseek(STDIN, 0, os.SEEK_CUR) == feed.position:
        return Digest("")
    copy = scratch / "stdin"
    with copy.open("wb") as out:
        position = feed.position
        while block := os.pread(STDIN, 1 << 20, position):
            out.write(block)
            position += len(block)
    return store.put_file(copy)


def findings(feed: Feed) -> tuple[Finding, ...]:
    if feed.kind != "pipe":
        return ()
    return (
        Finding(
            code="piped-input",
            text="standard input was a pipe: what came through it was not recorded",
            hint="write it to a file first: bis run -- COMMAND < FILE",
        ),
    )


def _at_end() -> bool:
    """Whether a pipe has no writer any more and nothing in it."""
    poll = select.poll()
    poll.register(STDIN, select.POLLIN)
    return [events for _, events in poll.poll(0)] == [select.POLLHUP]
