"""`bis experiment` and `bis rename`: folders of runs that belong together, and what a run is called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bis.cli.command import STATUSES, Completed, Door, RunReference, command, door_of, family, json_option, utc_option
from bis.cli.render import Column
from bis.digest import spell
from bis.ledger.moments import stamp
from bis.text import count, plain

if TYPE_CHECKING:
    from bis.nouns.tracking import Experiment

NONE = "there is no such experiment"


class ExperimentName(Completed):
    """Completes the names of experiments."""

    name = "experiment"

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        from bis.acts.experiments import all_of

        for one in all_of(door_of(ctx).home):
            if plain(one.experiment.name).startswith(incomplete):
                yield CompletionItem(plain(one.experiment.name), help=count(one.runs, "run"))


@family(
    "experiment",
    short_help="Keep runs that belong together in one place.",
    statuses={3: NONE, 5: STATUSES[5]},
    examples=[
        "bis experiment create churn",
        "bis experiment move train-12 train-13 churn",
        "bis log --experiment churn",
    ],
)
def experiment() -> None:
    """An experiment is a folder of runs, as MLflow's clients have it. Runs that `bis run` records are in `Default`
    until they are moved.
    """


@experiment.member
@command(
    "list",
    short_help="List the experiments.",
    statuses={5: STATUSES[5]},
    examples=["bis experiment list", "bis experiment list --removed"],
)
@click.option("--removed", is_flag=True, help="Only those that were removed.")
@utc_option
@json_option
def list_(door: Door, removed: bool, utc: bool, as_json: bool) -> int:
    """List the experiments, with how many runs each has."""
    from bis.acts.experiments import all_of

    terminal = door.terminal
    terminal.utc = utc
    found = all_of(door.home, removed=removed)
    if as_json:
        told = [{**as_plain(one.experiment), "runs": one.runs} for one in found]
        terminal.json("bis.experiment.list/1", {"experiments": told})
        return 0
    columns = [Column("name", shrinks=True), Column("runs", right=True), Column("made"), Column("tags", shrinks=True)]
    rows: list[Any] = [
        [
            plain(one.experiment.name),
            str(one.runs),
            terminal.time(stamp(one.experiment.made), door.now) if one.experiment.made else "",
            plain(", ".join(f"{key}={value}" for key, value in one.experiment.tags.items())),
        ]
        for one in found
    ]
    if rows:
        terminal.show(terminal.table(columns, rows))
    return 0


@experiment.member
@command(
    "create",
    short_help="Make an experiment.",
    statuses={5: STATUSES[5]},
    examples=["bis experiment create churn"],
)
@json_option
@click.argument("name", metavar="NAME")
def create(door: Door, name: str, as_json: bool) -> int:
    """Make the experiment NAME. It is an error where there is one of that name, or one that was removed."""
    from bis.acts import experiments

    _told(door, "create", "made", experiments.create(door.opened_home(), spell(name)), as_json)
    return 0


@experiment.member
@command(
    "rename",
    short_help="Give an experiment another name.",
    statuses={3: NONE, 5: STATUSES[5]},
    examples=["bis experiment rename churn churn-2026"],
)
@json_option
@click.argument("name", type=ExperimentName(), metavar="NAME")
@click.argument("new", metavar="NEW")
def rename_(door: Door, name: str, new: str, as_json: bool) -> int:
    """Call the experiment NAME by the name NEW. Its runs stay in it."""
    from bis.acts import experiments

    _told(door, "rename", "renamed", experiments.rename(door.home, spell(name), spell(new)), as_json)
    return 0


@experiment.member
@command(
    "rm",
    short_help="Remove an experiment with the runs that clients logged in it.",
    statuses={3: NONE, 5: STATUSES[5]},
    examples=["bis experiment rm churn", "bis experiment rm --undo churn"],
)
@click.option("--undo", is_flag=True, help="Take a removal back, with the runs that went with it.")
@json_option
@click.argument("name", type=ExperimentName(), metavar="NAME")
def rm(door: Door, name: str, undo: bool, as_json: bool) -> int:
    """Remove the experiment NAME with the runs that clients logged in it: they are not listed any more. Runs that bis
    recorded stay, and go with `bis rm` alone.
    """
    from bis.acts import experiments

    done = experiments.remove(door.home, spell(name), undo=undo)
    _told(door, "rm", "back" if undo else "removed", done, as_json)
    return 0


@experiment.member
@command(
    "move",
    short_help="Move runs into an experiment.",
    statuses={3: "there is no such run or experiment", 5: STATUSES[5]},
    examples=["bis experiment move train-12 churn", "bis experiment move train-12 train-13 Default"],
)
@json_option
@click.argument("runs", nargs=-1, required=True, type=RunReference(), metavar="RUN...")
@click.argument("name", type=ExperimentName(), metavar="NAME")
def move(door: Door, runs: tuple[str, ...], name: str, as_json: bool) -> int:
    """Move each RUN into the experiment NAME. Artifacts stay where they are. What was recorded of a run stays as it is:
    where it belongs is said beside it, and `bis reindex` brings it back.
    """
    from bis.acts import experiments

    found = list({run.id: run for run in map(door.find, runs)}.values())
    place = experiments.move(door.home, found, spell(name))
    if as_json:
        told = [{"id": run.id, "name": run.name} for run in found]
        door.terminal.json("bis.experiment.move/1", {"experiment": as_plain(place), "runs": told})
    for run in found if not as_json else ():
        door.terminal.say("moved", f"{plain(run.name)} ({run.id[:8]}) to {plain(place.name)}")
    return 0


@command(
    "rename",
    short_help="Give a run another name.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis rename train-12 baseline"],
)
@json_option
@click.argument("run", type=RunReference(), metavar="RUN")
@click.argument("name", metavar="NAME")
def rename(door: Door, run: str, name: str, as_json: bool) -> int:
    """Call RUN by the name NAME from now on. Its record keeps the name that it had; its id stays."""
    from bis.acts import experiments

    found = door.find(run)
    done = experiments.rename_run(door.home, found, spell(name))
    if as_json:
        door.terminal.json("bis.rename/1", {"run": done.id, "name": done.name, "before": found.name})
    else:
        door.terminal.say("renamed", f"{plain(found.name)} ({found.id[:8]}) to {plain(done.name)}")
    return 0


def as_plain(one: Experiment) -> dict[str, Any]:
    """For scripts."""
    removed = stamp(one.removed) if one.removed else None
    made, changed = stamp(one.made), stamp(one.changed)
    return {"id": one.id, "name": one.name, "made": made, "changed": changed, "removed": removed, "tags": one.tags}


def _told(door: Door, command: str, done: str, one: Experiment, as_json: bool) -> None:
    if as_json:
        door.terminal.json(f"bis.experiment.{command}/1", {"experiment": as_plain(one)})
    else:
        door.terminal.say(done, f"experiment {plain(one.name)}")
