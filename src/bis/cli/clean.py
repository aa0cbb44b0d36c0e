"""`bis clean`: remove what runs and repeats left on this machine and nobody needs."""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bis.cli.command import Door, command, json_option, utc_option
from bis.cli.render import Column
from bis.digest import spell
from bis.text import count, plain, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bis.cli.render import Cell
    from bis.steps.leftovers import Leftover

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
OLDER = "30d"
WORDS = {
    "environment": ("environment", ""),
    "source": ("source of a package", "sources of packages"),
    "unfinished": ("unfinished environment", ""),
    "repeat": ("folder of a repeat", "folders of repeats"),
    "unread": ("unread rest of a lost run", "unread rests of lost runs"),
    "draft": ("draft of a killed command", "drafts of killed commands"),
    "temporary": ("temporary folder of a killed command", "temporary folders of killed commands"),
    "scoring": ("unfinished scoring", ""),
    "evaluation": ("rest of a killed evaluation", "rests of killed evaluations"),
    "model": ("copy of a model", "copies of models"),
    "program": ("program of scorings", "programs of scorings"),
    "fetched": ("fetched file of a scoring", "fetched files of scorings"),
    "image": ("image or base", "images and bases"),
}


class Age(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """`30d`, `12h`, `2w`; as seconds."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,6})([smhdw])", str(value))
        if found is None:
            self.fail(f"{value!r} is no age such as 30d, 12h or 2w", param, ctx)
        return float(found[1]) * UNITS[found[2]]


@command(
    "clean",
    short_help="Remove cached environments that nobody used for long.",
    statuses={5: "something could not be removed"},
    examples=["bis clean --dry-run", "bis clean --older 2w"],
)
@click.option(
    "--older", type=Age(), default=OLDER, metavar="AGE", show_default=True, help="Unused for at least so long."
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@utc_option
@json_option
def clean(door: Door, older: float, dry_run: bool, utc: bool, as_json: bool) -> int:
    """Remove from this machine what repeats can make again: environments that were built for them and are cached, and
    folders of repeats that were killed; copies of models that were served, evaluated or loaded; programs and fetched
    files that `bis predict` had; and bases that images were built on, and images that were unpacked to repeat in.

    Of this project also what was seen of lost runs and could not be read, and scorings that were not finished; and,
    whatever its age, what killed commands were putting into folders in it and beside it, and what they had among the
    temporary files. No run, no file of the store and nothing in use is touched.
    """
    from bis.acts.clean import clean as act
    from bis.steps.model_place import data_folder, models_folder
    from bis.steps.repeating import environments_folder

    terminal = door.terminal
    terminal.utc = utc
    done = act(
        environments_folder(door.settings, door.variables),
        Path(tempfile.gettempdir()),
        door.project,
        (data_folder(door.variables), models_folder(door.settings, door.variables).parent),
        unused_since=door.now.timestamp() - older,
        dry=dry_run,
        progress=lambda number, total: terminal.meter(f"removed {number} of {total}", number, total),
    )
    if as_json:
        some = {name: [as_plain(one) for one in getattr(done, name)] for name in ("removed", "refused", "kept")}
        terminal.json("bis.clean/1", {"dry_run": dry_run, **some})
    else:
        verb = "would be removed" if dry_run else "removed"
        terminal.show([*_lines(door, done.removed), f"{verb}: {told(done.removed)}; kept: {told(done.kept)}"])
        for one in done.refused:
            terminal.tell(f"[!] in use, or not yours to remove: {plain(spell(str(one.path)))}")
    return 5 if done.refused else 0


def told(some: Sequence[Leftover]) -> str:
    """`3 environments, 1 folder of a repeat, 1.2 GiB`."""
    if not some:
        return "nothing"
    numbers = {what: sum(one.what == what for one in some) for what in WORDS}
    words = [count(number, *WORDS[what]) for what, number in numbers.items() if number]
    return ", ".join([*words, size(sum(one.size for one in some))])


def as_plain(one: Leftover) -> dict[str, object]:
    """For `--json`."""
    return {"path": one.path, "what": one.what, "size": one.size, "used": _stamp(one)}


def _stamp(one: Leftover) -> str:
    return datetime.fromtimestamp(one.used, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _lines(door: Door, removed: Sequence[Leftover]) -> list[str]:
    terminal = door.terminal
    rows: list[list[Cell]] = []
    for one in removed:
        when = terminal.time(_stamp(one), door.now)
        rows.append([one.what, size(one.size) if terminal.tty else str(one.size), when, plain(spell(str(one.path)))])
    columns = [Column("what"), Column("on disk", right=True), Column("last used"), Column("folder")]
    return terminal.table(columns, rows) if rows else []
