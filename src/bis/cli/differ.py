"""`bis diff` and `bis status`: what is different between two runs, and between a run and now."""

from __future__ import annotations

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option
from bis.digest import spell
from bis.text import plain

ALL = "Also what is the same, what hardly matters, and lists at full length."


@command(
    "diff",
    short_help="Say what is different between two runs.",
    statuses={0: "the same", 1: "different", 3: STATUSES[3], 5: STATUSES[5]},
    examples=[
        "bis diff train-1 train-2",
        "bis diff @~1",
        "bis diff train-1 @ --stat",
        "bis diff main-run @ --markdown",
    ],
)
@click.option("--all", "everything", is_flag=True, help=ALL)
@click.option("--stat", is_flag=True, help="Count the lines of code that differ; do not show them.")
@click.option("--markdown", "as_markdown", is_flag=True, help="As Markdown, for a pull request.")
@json_option
@click.argument("before", default="@~1", type=RunReference(), metavar="[A]")
@click.argument("after", default="@latest", type=RunReference(), metavar="[B]")
def diff(door: Door, before: str, after: str, everything: bool, stat: bool, as_markdown: bool, as_json: bool) -> int:
    """Say what is different between runs A and B: code, data, params, environment, infrastructure, machine, metrics
    and outputs. Without B, the newest run is meant; without A, the one before it.
    """
    from bis.acts.explain import difference, told
    from bis.cli import page_difference

    terminal = door.terminal
    old, new = door.find(before), door.find(after)
    if old.id == new.id:
        terminal.tell(f"help: {plain(before)} and {plain(after)} are the same run")
    found = difference(old, new, door.home)
    if as_json:
        terminal.json("bis.diff/1", told(found))
    elif as_markdown:
        terminal.show(page_difference.markdown(found))
    else:
        terminal.show(page_difference.difference_page(found, terminal, everything=everything, stat=stat))
    return 0 if found.same else 1


@command(
    "status",
    short_help="Say what would be different if a run ran now.",
    statuses={0: "nothing is different", 1: "something is different", **{n: STATUSES[n] for n in (3, 4, 5)}},
    examples=["bis status", "bis status train-12 --stat"],
)
@click.option("--all", "everything", is_flag=True, help=ALL)
@click.option("--stat", is_flag=True, help="Count the lines of code that differ; do not show them.")
@json_option
@click.argument("run", default="", type=RunReference(), metavar="[RUN]")
def status(door: Door, run: str, everything: bool, stat: bool, as_json: bool) -> int:
    """Say what would be different if the command of RUN, or of the last `bis run` of this project, ran now. Nothing
    is executed, so what only an execution shows is compared as far as it can be known before one.
    """
    from bis.acts.explain import status as act
    from bis.acts.explain import told
    from bis.cli import page_difference

    against = door.find(run) if run else door.home.ledger.last_run(spell(str(door.home.project)))
    found = act(against, door.home, folder=door.folder, variables=door.variables)
    if as_json:
        door.terminal.json("bis.status/1", told(found))
    else:
        lines = page_difference.difference_page(found, door.terminal, everything=everything, stat=stat)
        door.terminal.show(lines)
    return 0 if found.same else 1
