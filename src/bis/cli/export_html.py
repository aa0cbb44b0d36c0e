"""`bis export html`: runs as one file that a browser opens anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option
from bis.cli.data_words import absolute
from bis.digest import spell
from bis.errors import UsageError
from bis.text import count, plain, size

OURS: Final = b'<meta name="generator" content="bis '
BEGINNING: Final = 2048
"""Bytes of a file in which that stands where bis wrote it."""


@command(
    "html",
    short_help="Runs as one file that a browser opens anywhere.",
    statuses={2: "wrong use, or a file is there that bis did not write", 3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis export html train-12 --output train-12.html", "bis export html first second -o both.html"],
)
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to; one that bis wrote before is replaced.")
@json_option
@click.argument("runs", nargs=-1, required=True, type=RunReference(), metavar="RUN...")
def export_html(door: Door, runs: tuple[str, ...], output: str, as_json: bool) -> int:
    """Write all that is known of each RUN into one FILE: what went in, metrics with their charts, outputs with their
    digests and what is in the small ones, findings, verdicts and notes; of several, what differs comes first. It asks
    nothing of any server, and has no scripts. The same ledger gives the same bytes.
    """
    from bis.acts.report import report
    from bis.server.pages.report import document

    place = absolute(door, output)
    _free(place, output)
    found = [door.find(name) for name in runs]
    content = document(report(found, door.home), door.home).encode("utf-8", "replace")
    _write(place, content)
    shown = plain(spell(str(place)))
    if as_json:
        told = {"file": shown, "bytes": len(content), "runs": list(dict.fromkeys(run.id for run in found))}
        door.terminal.json("bis.export.html/1", told)
        return 0
    exported = door.terminal.paint("exported", "green")
    door.terminal.show(
        [f"{exported}  {count(len({run.id for run in found}), 'run')}, {size(len(content))}", f"wrote     {shown}"]
    )
    return 0


def _free(place: Path, typed: str) -> None:
    """Raises UsageError where something else would be lost."""
    if place.is_dir():
        raise UsageError(f"{plain(typed)} is a folder", hint=f"--output {plain(typed)}/runs.html")
    if not place.parent.is_dir():
        raise UsageError(f"the folder {plain(spell(str(place.parent)))} is not there", hint="mkdir -p it first")
    if not place.exists():
        return
    with place.open("rb") as file:
        if OURS not in file.read(BEGINNING):
            raise UsageError(f"{plain(typed)} is there already, and bis did not write it", hint="--output ANOTHER.html")


def _write(place: Path, content: bytes) -> None:
    """Whole or not at all."""
    from bis.store.trouble import trouble

    draft = place.with_name(f".{place.name}-{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(place)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise trouble(error, "write", place) from error
