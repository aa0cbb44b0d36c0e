"""`bis restore`: code and data of a run, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option
from bis.digest import spell, unspell
from bis.text import count, plain

if TYPE_CHECKING:
    from bis.acts.restore import Restored
    from bis.nouns.run import Run


@command(
    "restore",
    short_help="Put code and data of a run into a folder.",
    statuses={2: "wrong use, or the folder is not empty", 3: STATUSES[3], 4: STATUSES[4], 5: STATUSES[5]},
    examples=[
        "bis restore train-12",
        "bis restore @{2026-05-03} ../as-it-was --environment",
        "bis restore train-12 --outputs --only model.pkl",
    ],
)
@click.option("--outputs", is_flag=True, help="Also what the run made; artifacts below artifacts/.")
@click.option("--environment", is_flag=True, help="Also build its environment again.")
@click.option("--only", multiple=True, metavar="PATH", help="Only this file, folder or glob; may be given again.")
@json_option
@click.argument("run", type=RunReference(), metavar="RUN")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def restore(
    door: Door, run: str, folder: Path | None, outputs: bool, environment: bool, only: tuple[str, ...], as_json: bool
) -> int:
    """Put code and data of RUN into DIR, which must be new or empty; without it, into a folder named like the run.
    Nothing that is there is ever written over.
    """
    from bis.acts.restore import restore as act

    found = door.find(run)
    # A name is one folder here, whatever a record from elsewhere says.
    into = door.folder / (folder or unspell(found.name).replace("/", "-").lstrip(".") or found.id)
    restored = act(
        found,
        door.home,
        into,
        variables=door.variables,
        outputs=outputs,
        environment=environment,
        only=[spell(path) for path in only],
        progress=door.terminal.progress,
    )
    if as_json:
        door.terminal.json("bis.restore/1", {"run": found.id, "restored": restored})
    else:
        _show(door, found, restored)
    return 0


def _show(door: Door, run: Run, restored: Restored) -> None:
    terminal = door.terminal
    into = plain(spell(str(_near(restored.into, door.folder))))
    lines = [f"{terminal.paint('restored', 'green')}  {plain(run.name)} into {into}  {count(restored.files, 'file')}"]
    if restored.environment:
        lines.append(f"environment  {plain(restored.environment)}")
    lines += [f"{terminal.paint('[!]', 'yellow')} not restored: {plain(missing)}" for missing in restored.missing]
    lines += [plain(note) for note in restored.notes]
    terminal.show(lines)


def _near(path: Path, folder: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path
