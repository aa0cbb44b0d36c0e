"""What a run printed: the end of it, any stretch of it, or the lines that hold a text; live while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bis.errors import NotFound
from bis.ledger.runs import SqlLedger
from bis.nouns.run import Run
from bis.server.desk import Desk
from bis.server.pages.meant import run_meant
from bis.server.pages.page import Page
from bis.steps.abreast import Head, head
from bis.steps.home import Home
from bis.steps.printed import printed
from bis.steps.shallow import need
from bis.text import clear_line

AT_ONCE: Final = 500
READ: Final = 32 << 20
"""Bytes that are looked at: the last ones, of more."""
HITS: Final = 1000
LONGEST: Final = 4000
"""Letters of a line that are shown."""

Stream = Literal["both", "stdout", "stderr"]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    stream: Stream = "both"
    q: Annotated[str, Meta(max_length=1000)] = ""
    """Only lines that hold this, however it is written."""
    first: Annotated[int, Meta(ge=1)] | None = None
    """The number of the first line; without one, the last lines."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    text: str
    more: int = 0
    """Letters that are left out."""


class Log(msgspec.Struct, kw_only=True):
    asked: Asked
    run: Head
    lines: list[Line]
    total: int
    """Lines, of what was looked at."""
    hits: int | None
    """Lines that hold what is looked for."""
    first: int
    live: bool
    """Whether more may come."""
    looked: int
    """Bytes that were looked at."""
    cut: int = 0
    """Bytes at the beginning that were not looked at."""


async def log(desk: Desk, asked: Asked) -> Log:
    return await desk.shelf.work(lambda: _log(desk, asked))


def _log(desk: Desk, asked: Asked) -> Log:
    run = run_meant(SqlLedger(desk.database, False), asked.id)
    if desk.home is None:
        raise NotFound("this server has no store, and so nothing that a run printed")
    content, cut = _content(run, desk.home, asked.stream)
    lines = content.split(b"\n")
    if not _cleared(lines[-1]):
        lines.pop()
    wanted = asked.q.casefold()
    # Without it only what is shown is made readable: a page of a run that goes on is asked for again and again.
    hits = [number for number, line in enumerate(lines, 1) if wanted in _cleared(line).casefold()] if wanted else None
    if hits is not None:
        chosen: Iterable[int] = hits[:HITS]
        first = 1
    else:
        last = max(1, len(lines) - AT_ONCE + 1)
        first = min(asked.first or last, max(1, len(lines)))
        chosen = range(first, min(first + AT_ONCE, len(lines) + 1))
    return Log(
        asked=asked,
        run=head(run),
        lines=[_line(number, _cleared(lines[number - 1])) for number in chosen],
        total=len(lines),
        hits=len(hits) if hits is not None else None,
        first=first,
        live=run.status == "running",
        looked=len(content),
        cut=cut,
    )


def _cleared(line: bytes) -> str:
    return clear_line(line.decode("utf-8", "replace"))


def _line(number: int, text: str) -> Line:
    return Line(number=number, text=text[:LONGEST], more=max(0, len(text) - LONGEST))


def _content(run: Run, home: Home, stream: Stream) -> tuple[bytes, int]:
    """The last bytes, and how many were before them."""
    names = ("<stdout>", "<stderr>") if stream == "both" else (f"<{stream}>",)
    if run.status == "running":
        return _live(home.live / run.id, names)
    need(home, [*(one.digest for one in run.outputs if one.path in names), *filter(None, [run.lines])])
    kept = bytearray()
    cut = 0
    for block in printed(run, home.store, names):
        kept += block
        if len(kept) > 2 * READ:
            cut += len(kept) - READ
            del kept[:-READ]
    more = max(0, len(kept) - READ)
    return bytes(kept[more:]), cut + more


def _live(folder: Path, names: Iterable[str]) -> tuple[bytes, int]:
    """Of a run that is under way on this machine; nothing is known of what one elsewhere has printed."""
    pieces, cut = [], 0
    for name in names:
        path = folder / name[1:-1]
        if path.is_file():
            with path.open("rb") as file:
                size = file.seek(0, 2)
                cut += file.seek(max(0, size - READ))
                pieces.append(file.read(READ))
    return b"".join(pieces), cut


PAGES: Final = (Page("/runs/{id}/log", "log", Asked, log),)
