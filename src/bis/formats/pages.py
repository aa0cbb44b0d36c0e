"""Pages: HTML, line by line as text, without the state of notebook widgets, which is keyed by ids drawn at random."""

from __future__ import annotations

import io
from pathlib import Path

from bis.formats import Context
from bis.formats.documents import read_bounded
from bis.formats.tally import Tally
from bis.formats.text import Reading
from bis.nouns.verdict import Comparison

BEGIN, END = b'<script type="application/vnd.jupyter.widget-state+json">', b"</script>"


class Html:
    name = "HTML"

    def recognises(self, name: str, head: bytes) -> bool:
        return name.lower().endswith((".html", ".htm")) and b"\0" not in head

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        old, new = (read_bounded(path) for path in (before, after))
        plain_old, plain_new = (_without_widgets(data) for data in (old, new))
        if plain_old != old or plain_new != new:
            tally.set_aside("widget ids", "widget state", "widget state")
        Reading(context, tally).compare(io.BytesIO(plain_old), io.BytesIO(plain_new))
        return tally.settle(self.name, "the same text", "line")


def _without_widgets(data: bytes) -> bytes:
    """Each byte is looked at once, whatever the page holds: a pattern for both ends would look for the end anew at
    every beginning."""
    kept, at = [], 0
    while (begin := data.find(BEGIN, at)) >= 0 and (end := data.find(END, begin)) >= 0:
        kept.append(data[at : begin + len(BEGIN)])
        at = end
    return b"".join((*kept, data[at:]))
