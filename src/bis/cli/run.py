"""`bis run`: the command's own output passes through; what bis says about it goes to stderr."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bis.cli.command import Door, command, json_option
from bis.errors import BisError, Failure, UsageError
from bis.nouns.run import check_name

if TYPE_CHECKING:
    from bis.acts.run import RunOptions
    from bis.cli.render import Cell, Terminal
    from bis.nouns.run import Run

FAILED = 125
NOT_STARTED = {"B126": 126, "B127": 127}
"""The exit statuses that a shell has for commands that cannot be executed or are not there."""
METRICS, FINDINGS = 4, 3
"""So many are told when a run has ended; `bis show` tells all."""
STANDING = ("floating-", "declared-differs", "os-randomness", "fixed-packages", "unverified-download")
"""Findings that stand from run to run: the end of each run does not repeat them, and `bis show` has them."""


@command(
    "run",
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS] [--]",
    short_help="Run a command and record everything its result came from.",
    statuses={
        0: "the command ended with 0",
        125: "bis itself failed",
        126: "the command is there and cannot be executed",
        127: "the command was not found",
    },
    examples=[
        "bis run -- python train.py --lr 0.1",
        "bis run --name baseline --seed 7 -- python train.py",
        "bis run notebook.ipynb",
    ],
)
@click.option("--name", metavar="NAME", default="", help="Name of the run; else one is made, such as train-12.")
@click.option("-m", "--note", metavar="TEXT", default="", help="Why you run it.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="For whatever nobody seeds; else one is drawn.")
@click.option("--no-seed", is_flag=True, help="Seed nothing.")
@click.option("--deterministic", is_flag=True, help="Also fix threads, cuBLAS and cuDNN; costs speed.")
@click.option(
    "--trace",
    type=click.Choice(["auto", "notify", "audit", "full", "off"]),
    help="How to see which files are used; auto takes the most complete that works here.",
)
@click.option("--data", multiple=True, metavar="GLOB", help="Also record these files as input; may be given again.")
@click.option("--copy-data", is_flag=True, help="Copy every input into the store, whatever its size.")
@json_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
def run(
    door: Door,
    words: tuple[str, ...],
    name: str,
    note: str,
    seed: int | None,
    no_seed: bool,
    deterministic: bool,
    trace: str | None,
    data: tuple[str, ...],
    copy_data: bool,
    as_json: bool,
) -> int:
    """Run COMMAND and record code, data, params, environment, infrastructure, machine, and what comes out.

    The command needs no change and its output passes through untouched; its exit status becomes that of bis, and
    128+N when signal N ended it. With --json, standard output holds the record and the command's output is kept,
    not shown.
    """
    if seed is not None and no_seed:
        raise UsageError("--seed and --no-seed exclude each other", hint="bis run --seed 7 -- python train.py")
    if name:
        better = re.sub("[^A-Za-z0-9]+", "-", name).strip("-") or "baseline"
        check_name(name, f"bis run --name {better} -- COMMAND")
    if not words:
        raise UsageError("there is no command to run", hint="bis run -- python train.py")
    from bis.acts.run import RunOptions

    options = RunOptions(
        name=name,
        note=note,
        seed=seed,
        seeded=not no_seed,
        deterministic=deterministic,
        tracing=trace or "",
        data=data,
        copy_data=copy_data,
        quiet=as_json,
    )
    done = _run(door, words, options)
    if as_json:
        door.terminal.json("bis.run/1", {"run": done})
    else:
        _tell_end(done, door.terminal)
    return exit_status(done)


def _run(door: Door, words: Sequence[str], options: RunOptions) -> Run:
    """The sealed run. What bis itself could not do is 125, as the command might end with any other status."""
    from bis.acts.run import run as act
    from bis.server.receiver import receive

    try:
        return act(
            words,
            folder=door.folder,
            variables=door.variables,
            options=options,
            started=lambda begun: _tell_start(begun, door.terminal),
            tell=lambda remark: door.terminal.tell(f"help: {remark}"),
            receive=receive,
        )
    except BrokenPipeError as error:
        # Not the reader of our output, which the act does not write to: a process of bis that ended too early.
        raise Failure("a process of bis that supervised the command ended too early") from error
    except BisError as error:
        error.status = NOT_STARTED.get(error.code, 2 if isinstance(error, UsageError) else FAILED)
        raise


def exit_status(run: Run) -> int:
    """What the shell is told: the command's own status, 128+N for signal N."""
    if run.signal is not None:
        return 128 + run.signal
    return run.exit if run.exit is not None else FAILED


# -- what is said ------------------------------------------------------------------------------------------------


def _tell_start(run: Run, terminal: Terminal) -> None:
    from bis.text import plain

    pieces: list[Cell] = [f"run {run.id[:8]}", (f'"{plain(run.name)}"', "cyan")]
    for kind in ("code", "data"):
        part = run.parts.get(kind)
        if part is not None and part.summary and part.summary != "none":
            pieces.append(f"{kind} {plain(part.summary)}")
    if run.chance.seed is not None:
        pieces.append(f"seed {run.chance.seed}")
    terminal.say(*pieces)


def _tell_end(run: Run, terminal: Terminal) -> None:
    from bis.cli.page_run import ending
    from bis.text import command_line, count, number, plain, size

    made = [output for output in run.outputs if not output.is_log]
    pieces: list[Cell] = [ending(run)]
    pieces += [f"{plain(name)} {number(value)}" for name, value in list(run.metrics.items())[:METRICS]]
    if len(run.metrics) > METRICS:
        pieces.append(count(len(run.metrics) - METRICS, "more metric"))
    if made:
        pieces.append(f"{count(len(made), 'output')}, {size(sum(output.size for output in made))}")
    if run.removed:
        pieces.append(f"{count(len(run.removed), 'file')} removed")
    terminal.say(*pieces)
    if not run.coverage.complete:
        how = f"{run.coverage.mechanism}, partial" if run.coverage.mechanism != "none" else "none"
        terminal.say(("trace", "grey"), f"{how}: bis show {run.id[:8]} says what was not seen")
    _tell_findings(run, terminal)
    terminal.say(("next", "grey"), command_line(("bis", "repeat" if run.ok else "show", run.name)))


def _tell_findings(run: Run, terminal: Terminal) -> None:
    from bis.text import count, plain

    found = [finding for finding in run.all_findings if not finding.code.startswith(STANDING)]
    shown = sorted(found, key=lambda finding: not finding.blocks)[:FINDINGS]
    for finding in shown:
        terminal.say(("[!]", "yellow"), plain(finding.text))
    if len(found) > len(shown):
        terminal.say("   ", f"{count(len(found) - len(shown), 'more finding')}: bis show {run.id[:8]} --findings")
