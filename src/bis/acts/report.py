"""`bis export html`: runs as one file to send and to keep. Here are its facts; `server/pages/report.py` makes the page
of them, and of what `bis diff` says where there are two runs.

The same ledger and store give the same facts, in the same order: nothing in them says when or where the file was made.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from bis.errors import BisError, UsageError
from bis.ledger import curves, overviews, tracked
from bis.ledger.connection import Connection
from bis.ledger.runs import SqlLedger
from bis.nouns.curve import Overview, looks_of
from bis.nouns.run import Output, Run
from bis.steps.abreast import Group, Head, Within, groups, head, within
from bis.steps.drawing import Line, exactness, line_chart
from bis.steps.home import Home
from bis.steps.known import Known, known
from bis.steps.media import media_of
from bis.steps.models import database_of
from bis.steps.shallow import need
from bis.text import clear_lines, count, plain_lines, size

MOST: Final = 20
"""Runs in one file."""
CHARTS: Final = 60
"""Of one run."""
OVERLAYS: Final = 30
"""Charts with the lines of several runs."""
WIDE: Final = 640
"""Pixels of a chart. About so many bands are drawn in it at most, together."""
LISTED: Final = 1000
"""Outputs of a run that are named."""
SHOWN: Final = 60
"""Files of a run whose content is in the file, and bytes of it."""
TEXT: Final = 1 << 16
PICTURE: Final = 1 << 20
ROOM: Final = 8 << 20
"""Bytes of all contents of a run."""
BLOCK: Final = 1 << 20
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})
"""As an image a drawing runs no script and asks for nothing."""


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A metric, drawn."""

    key: str
    svg: str
    said: str
    """How what is drawn stands to the points."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds: text, or a picture as a data URL."""

    path: str
    text: str = ""
    picture: str = ""
    left: str = ""
    """What of it is not here, in words."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    known: Known
    metrics: list[Overview]
    charts: list[Chart]
    undrawn: int
    """Metrics of several points that have no chart here."""
    contents: list[Content]
    unlisted: int
    """Outputs that are not named."""

    @property
    def outputs(self) -> list[Output]:
        return self.known.outputs[:LISTED]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    runs: list[Told]
    heads: list[Head]
    groups: list[Group]
    """Of several runs: what each of them has."""
    within: list[Within]
    """Of more than two runs: what differs within their parts."""
    overlays: list[Chart]
    undrawn: int
    """Metrics of several of the runs that have no chart here."""

    @property
    def title(self) -> str:
        names = [one.name for one in self.heads]
        return names[0] if len(names) == 1 else f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}"


def report(runs: Sequence[Run], home: Home) -> Report:
    """Raises UsageError for more runs than one file holds."""
    runs = list({run.id: run for run in runs}.values())
    if len(runs) > MOST:
        raise UsageError(f"{len(runs)} runs are named, and one file holds at most {MOST}")
    several = len(runs) > 1
    with database_of(home).reading() as connection:
        told = [_told(connection, run, home) for run in runs]
        shared = _shared(connection, runs) if several else {}
        overlays = [_chart(connection, having, key) for key, having in list(shared.items())[:OVERLAYS]]
    whole = [one.known.run for one in told]
    return Report(
        project=home.project.name,
        runs=told,
        heads=[head(run) for run in whole],
        groups=groups(whole) if several else [],
        within=within(whole, home.store) if len(whole) > 2 else [],
        overlays=overlays,
        undrawn=len(shared) - len(overlays),
    )


def _told(connection: Connection, run: Run, home: Home) -> Told:
    ledger = home.ledger
    assert isinstance(ledger, SqlLedger)
    facts = known(ledger, run, home)
    metrics = overviews.overview(connection, tracked.seq_of(connection, run.id))
    lines = [one.key for one in metrics if one.points > 1]
    return Told(
        known=facts,
        metrics=metrics,
        charts=[_chart(connection, [run], key) for key in lines[:CHARTS]],
        undrawn=max(0, len(lines) - CHARTS),
        contents=_contents(facts.outputs, home),
        unlisted=max(0, len(facts.outputs) - LISTED),
    )


# -- charts --------------------------------------------------------------------------------------------------------


def _shared(connection: Connection, runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The metrics of which several of the runs have a history, with those."""
    having: dict[str, list[Run]] = {}
    for run in runs:
        for one in overviews.overview(connection, tracked.seq_of(connection, run.id)):
            if one.points > 1:
                having.setdefault(one.key, []).append(run)
    return {key: having[key] for key in sorted(having) if len(having[key]) > 1}


def _chart(connection: Connection, runs: Sequence[Run], key: str) -> Chart:
    places = WIDE // (2 if len(runs) < 3 else len(runs))
    lines = []
    for run in runs:
        hue, dashes = looks_of(run.id)
        curve = curves.curve(connection, tracked.seq_of(connection, run.id), key, places=places)
        lines.append(Line(run.name, curve, hue, dashes if len(runs) > 1 else ""))
    said = [exactness(line.curve) for line in lines]
    each = "; ".join(f"{line.name}: {one}" for line, one in zip(lines, said, strict=True))
    told = said[0] if len(lines) == 1 else f"of each: {said[0]}" if len(set(said)) == 1 else each
    return Chart(key=key, svg=line_chart(lines, title=key, width=WIDE), said=told)


# -- files ---------------------------------------------------------------------------------------------------------


def _contents(outputs: Sequence[Output], home: Home) -> list[Content]:
    """Of small files what they hold. All others are in the list of outputs, with their digests."""
    fitting = [one for one in outputs if _fits(one)]
    logs = [one for one in fitting if one.is_log]
    chosen = [*[one for one in fitting if not one.is_log][: SHOWN - len(logs)], *logs]
    with suppress(BisError):  # they are named as missing then
        need(home, [one.digest for one in chosen])
    found, room = [], ROOM
    for one in chosen:
        if one.size > room and not one.is_log:
            continue
        room -= min(one.size, TEXT if one.is_log else one.size)
        if content := _content(one, home):
            found.append(content)
    return found


def _fits(one: Output) -> bool:
    if not one.kept or one.target or not one.size:
        return False
    return one.is_log or one.size <= (PICTURE if media_of(one.path) in PICTURES else TEXT)


def _content(one: Output, home: Home) -> Content | None:
    """None for what is neither text nor a picture."""
    try:
        content = _end(one, home) if one.is_log else home.store.get_bytes(one.digest)
    except BisError as error:
        return Content(path=one.path, left=error.what)
    if one.is_log:
        return _log(one, content)
    if media_of(one.path) in PICTURES:
        return Content(path=one.path, picture=f"data:{media_of(one.path)};base64,{base64.b64encode(content).decode()}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else Content(path=one.path, text="\n".join(plain_lines(text)))


def _end(one: Output, home: Home) -> bytes:
    """The last bytes of what may be large. Raises BisError."""
    end = b""
    with home.store.open(one.digest) as file:
        while block := file.read(BLOCK):
            end = (end + block)[-TEXT:]
    return end


def _log(one: Output, end: bytes) -> Content:
    """What went wrong stands at its end."""
    lines = clear_lines(end.decode("utf-8", "replace"))
    if one.size <= TEXT:
        return Content(path=one.path, text="\n".join(lines))
    if len(lines) == 1:
        return Content(path=one.path, text=lines[0], left=f"the end of {size(one.size)} in one line")
    left = f"the last {count(len(lines) - 1, 'line')} of {size(one.size)}"
    return Content(path=one.path, text="\n".join(lines[1:]), left=left)
