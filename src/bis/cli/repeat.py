"""`bis repeat`: do a run again and say whether it came out the same."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option
from bis.digest import spell
from bis.errors import CannotRepeat, Failure, UsageError
from bis.text import plain

if TYPE_CHECKING:
    from bis.acts.repeat import RepeatOptions
    from bis.cli.render import Terminal
    from bis.nouns.run import Run
    from bis.nouns.verdict import Verdict

WORSE = ("not repeatable", "different", "nothing observed", "equivalent", "identical")


@command(
    "repeat",
    short_help="Run it again from the record and say whether it came out the same.",
    statuses={
        0: "the same: identical or equivalent (with --strict: identical), or nothing to compare",
        1: "different (with --strict: not identical)",
        3: STATUSES[3],
        4: "an ingredient of the run cannot be had again here",
        5: STATUSES[5],
    },
    examples=[
        "bis repeat train-12",
        "bis repeat @ --times 3 --strict",
        "bis repeat train-12 --here",
        "bis repeat train-12 --with environment=train-15",
        "bis repeat train-12 --with data=new/ --tolerance 'val_*=1e-6'",
        "bis repeat train-12 --with data=data:/customers@latest",
        "bis repeat train-12 --in oci:image:train-12",
    ],
)
@click.option("--times", type=click.IntRange(min=1), default=1, metavar="N", help="Repeat so many times.")
@click.option("--here", is_flag=True, help="In the environment and conditions of now: shows drift.")
@click.option(
    "--with",
    "taken",
    multiple=True,
    metavar="PART=RUN|PATH|REF",
    help="Take a part from another run or a path, or data from a version: data=data:/NAME@v3.",
)
@click.option(
    "--in",
    "image",
    default="",
    metavar="IMAGE",
    help="In the system of an image that was built of it: oci:DIR, or NAME@sha256:….",
)
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Repeat in this new folder, and keep it.")
@click.option("--keep", is_flag=True, help="Keep the folder it was repeated in.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless every output is identical.")
@click.option("--python", default="", metavar="VERSION", help="Another version of Python than the recorded one.")
@click.option("--tolerance", "tolerances", multiple=True, metavar="METRIC=REL", help="How far a metric may be off.")
@click.option("--offline", is_flag=True, help="Install packages from caches only.")
@json_option
@click.argument("run", type=RunReference(), metavar="RUN")
def repeat(
    door: Door,
    run: str,
    times: int,
    here: bool,
    taken: tuple[str, ...],
    image: str,
    into: Path | None,
    keep: bool,
    strict: bool,
    python: str,
    tolerances: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> int:
    """Restore code and data of RUN into an empty folder, rebuild its environment, give it the same seeds and
    conditions, execute it, and compare parts, metrics and outputs with what was recorded.
    """
    parts = dict(_settled(door, *_pair(text, "--with environment=RUN")) for text in taken)
    tolerance = dict(_tolerance(text) for text in tolerances)
    if image and (here or python):
        raise UsageError("--in takes the environment of the image", hint="leave out --here and --python")
    folder = _folder(door, into, keep, times)
    from bis.acts.repeat import RepeatOptions
    from bis.server.receiver import receive

    options = RepeatOptions(
        times=times,
        here=here,
        taken=parts,
        into=folder,
        keep=folder is not None,
        python=python,
        image=image,
        folder=door.folder,
        tolerance=tolerance,
        offline=offline,
        receive=receive,
    )
    found = door.find(run)
    verdicts = _repeat(door, found, options, as_json)
    worst = min((verdict.sameness for verdict in verdicts), key=WORSE.index)
    if as_json:
        same = all(verdict.same for verdict in verdicts)
        door.terminal.json("bis.repeat/1", {"sameness": worst, "same": same, "verdicts": verdicts})
    else:
        _show(verdicts, found, door.terminal, parts)
    if folder:
        door.terminal.tell(f"it was repeated in {plain(spell(str(folder / 'project')))}")
    return exit_status(worst, strict)


def exit_status(sameness: str, strict: bool) -> int:
    if sameness == "not repeatable":
        return 4
    good = ("identical",) if strict else ("identical", "equivalent", "nothing observed")
    return 0 if sameness in good else 1


def _repeat(door: Door, run: Run, options: RepeatOptions, as_json: bool) -> list[Verdict]:
    from bis.acts.repeat import repeat as act

    try:
        with _told_when_ended(run, door.terminal):
            return act(run, door.home, variables=door.variables, options=options, progress=door.terminal.progress)
    except CannotRepeat as error:
        if as_json:
            answer = {"sameness": "not repeatable", "same": False, "error": error.told()}
            door.terminal.json("bis.repeat/1", answer)
        raise
    except BrokenPipeError as error:
        # Not the reader of our output, which the act does not write to: a process of bis that ended too early.
        raise Failure("a process of bis that supervised the command ended too early") from error
    finally:
        door.terminal.settle()


class _Ended(BaseException):
    """A signal that ends a program, as an exception: what a repeat has made on the way is removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _told_when_ended(run: Run, terminal: Terminal) -> Iterator[None]:
    """SIGTERM and SIGHUP end a repeat as they end any program, and not without a word: one that stops in silence would
    look as if it had come to its end. While the command runs they are passed on to it."""

    def end(number: int, _: object) -> None:
        raise _Ended(number)

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    except _Ended as ended:
        name = signal.Signals(ended.number).name
        terminal.tell(f"bis  ended by {name}, and there is no verdict; again: bis repeat {run.id[:8]}")
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _show(verdicts: Sequence[Verdict], run: Run, terminal: Terminal, taken: Mapping[str, str]) -> None:
    """The page of each word that was spoken, once; for several repeats then a line each, and how many were the same."""
    from bis.cli.page_verdict import closing, verdict_page
    from bis.text import count

    lines: list[str] = []
    told: set[str] = set()
    for verdict in verdicts:
        lines += (
            verdict_page(verdict, run, terminal, taken)
            if verdict.sameness not in told
            else [closing(verdict, run, terminal)]
        )
        told.add(verdict.sameness)
    if len(verdicts) > 1:
        same = sum(verdict.same for verdict in verdicts)
        lines.append(f"{same} of {count(len(verdicts), 'repeat')} came out the same")
    terminal.show(lines)


# -- options -----------------------------------------------------------------------------------------------------


def _pair(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{text!r} is not NAME=VALUE", hint=f"bis repeat RUN {example}")
    return name, value


def _settled(door: Door, part: str, source: str) -> tuple[str, str]:
    """What a part is taken from, a version of data by its number: the newest may be another one tomorrow."""
    if part != "data" or not source.startswith("data:"):
        return part, source
    from bis.cli.data_words import find

    held, path = find(door, source)
    return part, f"data:/{held.reference}{f'/{path}' if path else ''}"


def _tolerance(text: str) -> tuple[str, float]:
    """`auc=1e-3` or `auc=0.1%`."""
    name, value = _pair(text, "--tolerance auc=1e-3")
    found = re.fullmatch(r"(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)(%?)", value)
    if found is None:
        raise UsageError(f"{value!r} is no relative tolerance", hint=f"bis repeat RUN --tolerance {name}=1e-3")
    return name, float(found[1]) / (100 if found[2] else 1)


def _folder(door: Door, into: Path | None, keep: bool, times: int) -> Path | None:
    """Where to repeat, when the place is to be kept: what was asked for, or a new folder."""
    if times > 1 and (into or keep):
        raise UsageError("--times keeps no folders", hint=f"bis repeat RUN {f'--into {into}' if into else '--keep'}")
    if into is None:
        from bis.steps.leftovers import KEPT

        return Path(tempfile.mkdtemp(prefix=KEPT)) if keep else None
    folder = door.folder / into
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and not empty", hint=f"bis repeat RUN --into {folder}-2")
    return folder
