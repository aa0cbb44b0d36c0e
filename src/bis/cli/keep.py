"""`bis verify`, `bis du` and `bis reindex`: the store and the ledger."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import ItemsView, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from bis.cli.command import STATUSES, Door, byte_meter, command, json_option, record_meter
from bis.cli.render import Column
from bis.digest import spell
from bis.errors import KeepingError
from bis.text import count, plain, size

if TYPE_CHECKING:
    from bis.cli.render import Cell, Terminal
    from bis.ledger.runs import SqlLedger
    from bis.nouns.part import Finding
    from bis.nouns.run import Run
    from bis.steps.home import Home
    from bis.steps.leftovers import Leftover
    from bis.store.sweep import Room

LARGEST = 5
LEFT = {
    "environments": ("environment", "source", "unfinished"),
    "folders of repeats": ("repeat",),
    "rests of lost runs": ("unread",),
    "drafts of killed commands": ("draft",),
    "their temporary folders": ("temporary",),
    "unfinished scorings": ("scoring",),
    "copies of models": ("model",),
    "images and bases": ("image",),
    "files of scorings": ("program", "fetched", "evaluation"),
}
"""What is left on the machine, by what it is told as."""
UNUSED = 30 * 86400
"""Seconds after which `bis clean` would remove what nobody used."""
ABSENT = "missing-object"
"""What a finding is called of an object that a record needs and that is not here."""
FAULTS = 50
"""So many are listed."""


@command(
    "verify",
    short_help="Check every stored byte and every sealed run.",
    statuses={0: "all is as it was written", 3: STATUSES[3], 5: "something is damaged or missing"},
    examples=["bis verify", "bis verify --repair origin", "bis verify --json"],
)
@click.option("--repair", default="", metavar="REMOTE", help="Bring what is damaged or missing from this remote.")
@json_option
def verify(door: Door, repair: str, as_json: bool) -> int:
    """Read every byte of the store and compare it with its digest. Check that every object which a run names is
    there, and every artifact that a client of `bis server` uploaded, and that the ledger says of each run what its
    sealed record says.

    With --repair, what is damaged or missing is brought from a remote, and everything is read once more.
    """
    from bis.steps.recorded import told_of_seconds
    from bis.steps.removals import missing_artifacts
    from bis.steps.shallow import shallow_of
    from bis.store.sweep import room
    from bis.store.sweep import verify as check

    terminal, home = door.terminal, door.home

    def look() -> list[Finding]:
        meter = functools.partial(_read_meter, terminal)
        seconds = told_of_seconds(_sql(home).passed_over(), home.ledger)
        return check(home.store, meter) + _unsealed(home) + seconds + missing_artifacts(home)

    found, origin, away = look(), shallow_of(home), 0
    if origin and not repair:
        away = sum(finding.code == ABSENT for finding in found)
        found = [finding for finding in found if finding.code != ABSENT]
    if repair and any(finding.blocks for finding in found):
        from bis.acts.share import mend

        mended = mend(home, repair, door.variables, told=byte_meter(terminal))
        terminal.say("repaired", f"{count(mended.objects, 'object')}, {size(mended.size)} from {plain(mended.url)}")
        found = [*look(), *mended.findings]
    damaged = any(finding.blocks for finding in found)
    runs, kinds = home.ledger.count(), room(home.store).kinds.values()
    figures = {
        "away": away,
        "runs": runs,
        "objects": sum(kind.objects for kind in kinds),
        "bytes": sum(kind.raw for kind in kinds),
    }
    if as_json:
        terminal.json("bis.verify/1", {"sound": not damaged, **figures, "away": away, "findings": found})
        return 5 if damaged else 0
    rows: list[list[Cell]] = [[("[!]", "red"), plain(one.text), (one.code, "grey")] for one in found[:FAULTS]]
    word = terminal.paint(*(("damaged", "red") if damaged else ("sound", "green")))
    told = f"{count(runs, 'run')}, {count(figures['objects'], 'object')}, {size(figures['bytes'])} of content"
    told += f"; {count(away, 'object')} in {plain(origin)} only, not looked at" if away else ""
    more = [f"and {len(found) - FAULTS:,} more (--json)"] if len(found) > FAULTS else []
    terminal.show([*terminal.aligned(rows), *more, f"{word}  {told}"])
    for hint in dict.fromkeys(plain(one.hint) for one in found if one.hint):
        terminal.tell(f"help: {hint}")
    if damaged and not repair:
        from bis.steps.remotes import remotes

        for name in remotes(home.project, home.settings):
            terminal.tell(f"help: bis verify --repair {plain(name)}")
    return 5 if damaged else 0


def _read_meter(terminal: Terminal, done: int, total: int) -> None:
    terminal.meter(f"read {size(done)} of {size(total)}", done, total)


def _unsealed(home: Home) -> list[Finding]:
    """Runs of which the ledger does not say what their sealed record says."""
    from bis.digest import canonical, digest_bytes
    from bis.errors import Damaged
    from bis.nouns.part import Finding

    found = []
    shared = _sql(home).database.folder is None
    for row in home.ledger.rows():
        if not row.record:
            continue
        try:
            same = digest_bytes(canonical(home.ledger.as_recorded(row.id))) == row.record
        except Damaged:
            same = False
        if shared and not home.store.has(row.record):
            text = f"run {row.id[:8]} ({row.name}) was not looked at: its record is not in this store"
            hint = "the ledger is shared; look where the run was recorded, or `bis pull` it"
            found.append(Finding(code="record-elsewhere", text=text, hint=hint))
        elif not home.store.has(row.record):
            text = f"the record of run {row.id[:8]} ({row.name}) is not in the store"
            found.append(Finding(code="record-missing", text=text, hint="put back the packs of the store from a copy"))
        elif not same:
            text = f"the ledger does not say of run {row.id[:8]} ({row.name}) what its sealed record says"
            found.append(Finding(code="ledger-differs", text=text, hint=_forgetting(home, row.id)))
    return found


def _forgetting(home: Home, run: str) -> str:
    """How to have a row of the ledger written anew."""
    database = _sql(home).database
    if database.path:
        return f"mv {plain(spell(str(database.path)))} . && bis reindex"
    return f"""psql {plain(database.place)} -c "DELETE FROM bis.runs WHERE id = '{run}'" && bis reindex"""


@command(
    "du",
    short_help="Say what takes how much room on disk.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis du", "bis du --json"],
)
@click.option(
    "-n",
    "--largest",
    type=click.IntRange(min=0),
    default=LARGEST,
    metavar="N",
    show_default=True,
    help="Files to list; 0: none.",
)
@json_option
def du(door: Door, largest: int, as_json: bool) -> int:
    """Say what takes how much room: the store by kind of content, the ledger, the environments that were built for
    repeats, what repeats and scorings left, and the largest files of the runs. A file that many runs share is stored
    once.
    """
    from bis.cli.clean import as_plain
    from bis.cli.clean import told as told_of
    from bis.steps.leftovers import leftovers
    from bis.steps.model_place import data_folder, models_folder
    from bis.steps.repeating import environments_folder
    from bis.store.sweep import room

    terminal, home = door.terminal, door.home
    environments = environments_folder(home.settings, door.variables)
    scored = data_folder(door.variables), models_folder(home.settings, door.variables).parent
    found = room(home.store)
    left = leftovers(environments, Path(tempfile.gettempdir()), door.project, scored)
    places = _places(door, left)
    files = _files(home) if as_json or terminal.tty else []
    if as_json:
        told = {
            "store": home.store.path,
            "room": found,
            "places": places,
            "left": [as_plain(one) for one in left],
            "files": files[:largest],
        }
        terminal.json("bis.du/1", told)
        return 0
    numbers = {name: sum(one.what in whats for one in left) for name, whats in LEFT.items()}
    terminal.show([*_room_lines(found, places, numbers, terminal), *_file_lines(files[:largest], terminal)])
    if old := [one for one in left if door.now.timestamp() - one.used > UNUSED]:
        terminal.tell(f"help: bis clean  removes what nobody used for 30 days: {told_of(old)}")
    return 0


def _places(door: Door, left: Sequence[Leftover]) -> dict[str, int]:
    """Bytes on disk beside the store."""
    from bis.steps.leftovers import size_of

    home = door.home
    cache = [path for path in home.folder.iterdir() if path.name.startswith("cache")]
    return {
        "ledger": _sql(home).database.size,
        "cache": sum(path.stat().st_size for path in cache),
        "runs under way": size_of(home.live),
        **{name: sum(one.size for one in left if one.what in whats) for name, whats in LEFT.items()},
    }


class File(NamedTuple):
    """Content that runs share, under the name it had in the newest of them."""

    size: int
    path: str
    role: str
    runs: int


def _files(home: Home) -> list[File]:
    """Kept inputs and outputs of all runs by content, the largest first."""
    found: dict[str, File] = {}
    for row in home.ledger.rows():
        for digest, file in _files_of(home.ledger.get(row.id)):
            known = found.get(digest)
            found[digest] = file if known is None else known._replace(runs=known.runs + 1)
    return sorted(found.values(), key=lambda file: -file.size)


def _files_of(run: Run) -> ItemsView[str, File]:
    files = {output.digest: File(output.size, output.path, "output", 1) for output in run.outputs if output.kept}
    data = run.parts.get("data")
    for one in data.facts.get("inputs", ()) if data else ():
        if one.get("kept", True):
            files[one["digest"]] = File(one["size"], one["path"], "input", 1)
    return files.items()


def _room_lines(found: Room, places: dict[str, int], numbers: dict[str, int], terminal: Terminal) -> list[str]:
    """What takes room; in a pipe, in bytes."""
    told = size if terminal.tty else lambda taken: f"{taken:.0f}"
    names = {"blob": "files", "tree": "folders", "record": "records", "chunk": "pieces of files"}
    kinds = {names[kind]: one for kind, one in found.kinds.items()}
    rows: list[list[Cell]] = [
        [name, f"{one.objects:,}" if terminal.tty else str(one.objects), told(one.raw), told(one.stored)]
        for name, one in kinds.items()
    ]
    rows.append(["store", str(sum(one.objects for one in kinds.values())), "", told(found.size)])
    rows += [[name, str(numbers.get(name, "")), "", told(taken)] for name, taken in places.items() if taken]
    titles = ("objects", "content", "on disk")
    return terminal.table([Column("what"), *(Column(title, right=True) for title in titles)], rows)


def _file_lines(files: Sequence[File], terminal: Terminal) -> list[str]:
    if not files or not terminal.tty:
        return []
    rows: list[list[Cell]] = [[size(file.size), count(file.runs, "run"), file.role, plain(file.path)] for file in files]
    columns = [Column("content", right=True), Column("used by", right=True), Column("as"), Column("largest files")]
    return ["", *terminal.table(columns, rows)]


@command(
    "reindex",
    short_help="Build the ledger again from the store.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis reindex"],
)
@json_option
def reindex(door: Door, as_json: bool) -> int:
    """Read every sealed record of the store and add to the ledger what it does not know. Nothing is removed from it."""
    from bis.ledger.runs import reindex as build
    from bis.steps.keeping import keep_all

    terminal, home = door.terminal, _home_to_write(door)
    keep_all(home)
    before = home.ledger.count()
    records = build(home.store, _sql(home), record_meter(terminal))
    runs = home.ledger.count()
    if as_json:
        terminal.json("bis.reindex/1", {"records": records, "runs": runs, "added": runs - before})
    else:
        read = f"{count(records, 'record')} read, {count(runs - before, 'run')} added"
        terminal.show([f"{read}, {count(runs, 'run')} in all"])
    return 0


def _home_to_write(door: Door) -> Home:
    """The home with a ledger that can be written: a new one where there is none, or where it is damaged; that file
    is kept beside it."""
    from bis.ledger.database import DAMAGED_LEDGER
    from bis.steps.home import open_home

    open_home(door.project, door.settings, create=False)
    home = open_home(door.project, door.settings, variables=door.variables)
    try:
        home.ledger.count()
    except KeepingError as error:
        if error.code != DAMAGED_LEDGER:
            raise
        home.ledger.close()
        path = _sql(home).database.path
        assert path  # a server does not say that a file is damaged
        aside = path.with_name(f"{path.name}.damaged-{door.now:%Y%m%d-%H%M%S}")
        door.terminal.tell(f"the damaged ledger is kept as {plain(spell(str(aside)))}")
        path.rename(aside)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        return _home_to_write(door)
    return home


def _sql(home: Home) -> SqlLedger:
    from bis.ledger.runs import SqlLedger

    assert isinstance(home.ledger, SqlLedger)
    return home.ledger
