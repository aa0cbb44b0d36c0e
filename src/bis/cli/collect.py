"""`bis rm` and `bis gc`: remove runs, and delete from the store what nothing needs any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from bis.cli.clean import Age
from bis.cli.command import STATUSES, Door, RunReference, command, json_option, utc_option
from bis.cli.render import Column
from bis.errors import UsageError
from bis.text import count, plain, size

if TYPE_CHECKING:
    from bis.cli.render import Cell, Terminal
    from bis.ledger.collecting import Counted
    from bis.store.collect import Collected

GRACE = "1h"
NAMES = {"blob": "files", "tree": "folders", "record": "records", "chunk": "pieces of files"}


@command(
    "rm",
    short_help="Remove runs, so that their content may be collected.",
    statuses={3: "there is no such run, or its content was collected already", 5: STATUSES[5]},
    examples=["bis rm train-3", "bis rm train-3 train-4", "bis rm --undo train-3", "bis log --removed"],
)
@click.option("--undo", is_flag=True, help="Take a removal back, as long as the content is still there.")
@json_option
@click.argument("runs", nargs=-1, required=True, type=RunReference(), metavar="RUN...")
def rm(door: Door, runs: tuple[str, ...], undo: bool, as_json: bool) -> int:
    """Remove each RUN: `bis log` lists it no more, and `bis gc` deletes what only it needs. What it was is still told
    by `bis log --removed`. Until it is collected, --undo brings it back.
    """
    from bis.acts.annotate import remove
    from bis.steps.removals import refuse_collected

    terminal = door.terminal
    for text in runs if undo else ():
        refuse_collected(door.home, text)
    found = list({run.id: run for run in (door.find(text, removed=undo) for text in runs)}.values())
    remove(found, door.home, undo=undo)
    if as_json:
        terminal.json("bis.rm/1", {"undo": undo, "runs": [{"id": run.id, "name": run.name} for run in found]})
        return 0
    for run in found:
        terminal.say("back" if undo else "removed", f"{plain(run.name)} ({run.id[:8]})")
    if not undo:
        terminal.tell("help: bis gc  deletes what nothing else needs")
    return 0


@command(
    "gc",
    short_help="Delete from the store what nothing needs any more.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis gc --dry-run", "bis gc", "bis gc --now", "bis gc --grace 2d"],
)
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@click.option(
    "--grace", type=Age(), default=GRACE, metavar="AGE", show_default=True, help="How long it waits before it deletes."
)
@click.option("--now", "at_once", is_flag=True, help="Do not wait, unless somebody else is writing.")
@utc_option
@json_option
def gc(door: Door, dry_run: bool, grace: float, at_once: bool, utc: bool, as_json: bool) -> int:
    """Delete what no run, verdict, annotation or version of data needs. Runs that `bis rm`, and versions that `bis data
    rm` removed need nothing. It takes two rounds: the first finds what may go, and a later one, when the time of grace
    has passed and nobody writes who was writing then, deletes it. Others may read and write meanwhile.

    Runs, experiments and models that clients logged or registered, and that were removed longer ago than the time of
    grace, are deleted from the ledger for good, with their artifacts. What a registered version came from stays.
    """
    from bis.acts.collect import collect
    from bis.steps.home import in_bucket

    if in_bucket(door.settings.store):
        raise UsageError(
            f"{door.settings.store} is not collected where it is: nothing tells what servers rely on there",
            because="It is done while none runs, in a copy, of which the bucket is made a copy then.",
            hint="docs/howto/team-ledger.md has the four commands; BIS_STORE=FOLDER bis gc --now  is the second",
        )
    terminal = door.terminal
    terminal.utc = utc
    done, clients = collect(
        door.home,
        now=door.now,
        grace=timedelta(seconds=grace),
        at_once=at_once,
        dry=dry_run,
        progress=lambda text: terminal.meter(text, 0, 0),
    )
    if as_json:
        facts = {name: getattr(done, name) for name in done.__struct_fields__}
        terminal.json("bis.gc/1", {"dry_run": dry_run, **facts, "removed_by_clients": clients})
        return 0
    terminal.show([*_kind_lines(done, terminal), *_client_lines(clients, dry=dry_run), *_told(done, dry=dry_run)])
    for hint in _hints(done, door, dry=dry_run):
        terminal.tell(hint)
    return 0


def _kind_lines(done: Collected, terminal: Terminal) -> list[str]:
    """What nothing needs, by kind."""
    told = size if terminal.tty else lambda taken: f"{taken:.0f}"
    rows: list[list[Cell]] = [
        [NAMES[kind], f"{gone.objects:,}" if terminal.tty else str(gone.objects), told(gone.size)]
        for kind, gone in sorted(done.unneeded.items())
    ]
    columns = [Column("not needed"), Column("objects", right=True), Column("on disk", right=True)]
    return terminal.table(columns, rows) if rows else []


def _client_lines(clients: Counted, *, dry: bool) -> list[str]:
    """What clients removed, and is deleted for good."""
    kinds = {
        "run": clients.runs,
        "experiment": clients.experiments,
        "logged model": clients.logged_models,
        "registered model": clients.models,
        "version": clients.versions,
    }
    some = [count(number, kind) for kind, number in kinds.items() if number]
    lines = []
    if some:
        files = f", with {count(clients.files, 'artifact')} of {size(clients.size)}" if clients.files else ""
        lines.append(f"{'would be gone' if dry else 'gone'} for good: {', '.join(some)}{files}")
    if clients.kept:
        some_kept = count(clients.kept, "removed run or model", "removed runs or models")
        lines.append(f"kept: {some_kept} that registered versions came from")
    return lines


def _told(done: Collected, *, dry: bool) -> list[str]:
    going = size(sum(gone.size for gone in done.unneeded.values()))
    if dry:
        more = f"; {size(done.waiting)} wait already to be deleted" if done.waiting else ""
        return [f"{going} would go, {size(done.moved)} would be written anew{more}"]
    lines = [f"deleted: {size(done.freed)} in {count(done.deleted, 'pack')}"] if done.deleted else []
    if done.waiting:
        lines.append(f"to be deleted: {size(done.waiting)}")
    return lines or ["nothing to delete"]


def _hints(done: Collected, door: Door, *, dry: bool) -> list[str]:
    found = []
    if done.writers and not dry:
        found.append(f"waits for {count(len(done.writers), 'process', 'processes')} that write: {_processes(done)}")
    if done.waiting and not dry:
        when = door.terminal.time(done.until, door.now)
        found.append(f"help: bis gc  from {when} on deletes it; bis gc --now  at once")
    found += [f"[!] pack {name[:12]} is damaged and was left alone: bis verify" for name in done.left]
    return found


def _processes(done: Collected) -> str:
    return ", ".join(name.partition("-")[0] for name in done.writers)
