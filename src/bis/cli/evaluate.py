"""`bis evaluate`: any version of a model on any version of data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from bis.cli.command import STATUSES, Door, command, json_option
from bis.cli.lineage import Thing
from bis.errors import UsageError
from bis.text import by_point, numbers, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bis.acts.evaluate import Cell
    from bis.cli.render import Cell as Painted
    from bis.cli.render import Terminal
    from bis.nouns.dataset import Held

EVERY = "*"


@command(
    "evaluate",
    short_help="Evaluate versions of a model on versions of data.",
    statuses={3: "there is no such model, or no such version of data", 4: "a model cannot be loaded", 5: STATUSES[5]},
    examples=[
        "bis evaluate models:/churn@champion --data data:/customers@v3",
        "bis evaluate 'models:/churn/*' --data 'data:/customers@*' --target churned",
        "bis evaluate train-12 --data customers --metrics accuracy,auc --json",
        "bis evaluate models:/churn/3 --data customers --script evaluate.py",
    ],
)
@click.option("--data", "data", multiple=True, required=True, metavar="REF", help="A version; may be given again.")
@click.option(
    "--target", default="", metavar="COLUMN", help="What is true; else the column that the model does not take."
)
@click.option("--metrics", default="", metavar="NAMES", help="These alone, separated by commas.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="Where it cannot be told.")
@click.option("--script", metavar="FILE", help="Run `python FILE MODEL DATA`, whose metrics.json is what counts.")
@click.option("--python", default="", metavar="PATH", help="The environment, as it is.")
@click.option("--trust", is_flag=True, help="Open a pickle that is not of this ledger's own runs.")
@click.option("--again", is_flag=True, help="Evaluate even what was evaluated already.")
@json_option
@click.argument("models", nargs=-1, required=True, type=Thing(), metavar="MODEL...")
def evaluate(
    door: Door,
    models: tuple[str, ...],
    data: tuple[str, ...],
    target: str,
    metrics: str,
    task: str | None,
    script: str | None,
    python: str,
    trust: bool,
    again: bool,
    as_json: bool,
) -> int:
    """Ask each MODEL about the rows of each version of data, and hold what it says against the column COLUMN. MODEL is
    models:/churn@champion, a run, or a folder; models:/churn/* is all versions, and customers@* all of the data.

    Each cell of the table is a run in the environment of the model, which `bis repeat` repeats; one that was evaluated
    before is not run again. Metrics are those that the training run measured, or else accuracy, f1, log_loss and auc,
    or rmse, mae and r2.
    """
    from bis.acts.evaluate import Asked
    from bis.acts.evaluate import evaluate as act
    from bis.steps.site import Site

    file = door.folder / script if script else None
    if file and not file.is_file():
        raise UsageError(f"there is no script {plain(str(script))}", hint="--script evaluate.py")
    if file and (metrics or task or target):
        raise UsageError("--script says itself what is measured", hint="bis evaluate MODEL --data REF --script FILE")
    names = tuple(filter(None, (name.strip() for name in metrics.split(","))))
    asked = Asked(target=target, metrics=names, task=task or "", script=file, python=python, trust=trust, again=again)
    site = Site(
        home=door.home,
        folder=door.folder,
        variables=door.variables,
        now=datetime.now(UTC),
        say=lambda text: door.terminal.tell(f"{text} …"),
    )
    cells = act(list(_models(door, models)), list(_data(door, data)), asked, site)
    if as_json:
        door.terminal.json("bis.evaluate/1", {"cells": [_cell(one) for one in cells]})
    else:
        door.terminal.show(_table(cells, door.terminal))
    return 0


def _models(door: Door, texts: Sequence[str]) -> Iterator[str]:
    """`models:/churn/*` as all versions of it, oldest first."""
    from bis.acts.registry import show

    for text in texts:
        if not text.endswith(f"/{EVERY}"):
            yield text
            continue
        name = text.removesuffix(f"/{EVERY}").removeprefix("models:/")
        for one in sorted(show(door.home, name).versions, key=lambda version: version.number):
            yield one.reference


def _data(door: Door, texts: Sequence[str]) -> Iterator[tuple[Held, str]]:
    from bis.cli.data_words import find

    for text in texts:
        name = text.removeprefix("data:/")
        if name.endswith(f"@{EVERY}"):
            found = door.home.ledger.data.versions(name.removesuffix(f"@{EVERY}"))
            if not found:
                find(door, text.removesuffix(f"@{EVERY}"))  # raises, with names like it
            yield from ((held, "") for held in sorted(found, key=lambda held: held.version.made))
        else:
            yield find(door, text)


def _cell(one: Cell) -> dict[str, Any]:
    return {
        "model": one.model,
        "data": one.data,
        "run": one.run.id,
        "name": one.run.name,
        "metrics": one.metrics,
        "known": one.known,
    }


def _table(cells: Sequence[Cell], terminal: Terminal) -> list[str]:
    """One line for a cell; with several models and several versions of data, one table for each metric."""
    models, data = (list(dict.fromkeys(getattr(one, side) for one in cells)) for side in ("model", "data"))
    names = list(dict.fromkeys(name for one in cells for name in one.metrics))
    metrics = {name: by_point(numbers([one.metrics.get(name) for one in cells])) for name in names}
    runs = [plain(one.run.name) for one in cells]
    if len(models) > 1 and len(data) > 1:
        squares = [_square(title, cells, column, models, data) for title, column in (*metrics.items(), ("run", runs))]
        return [line for rows in squares for line in ("", *terminal.aligned(rows))][1:]
    head: list[Painted] = [(title, "grey") for title in ("model", "data", *map(plain, names), "run")]
    rows: list[list[Painted]] = [
        [
            (plain(one.model), "cyan"),
            plain(one.data),
            *(column[place] for column in metrics.values()),
            (runs[place], "yellow"),
        ]
        for place, one in enumerate(cells)
    ]
    return terminal.aligned([head, *rows])


def _square(
    title: str, cells: Sequence[Cell], shown: Sequence[str], models: Sequence[str], data: Sequence[str]
) -> list[list[Painted]]:
    """Models from top to bottom, data from left to right."""
    found = {(one.model, one.data): text for one, text in zip(cells, shown, strict=True)}
    head: list[Painted] = [(plain(title), "grey"), *((plain(name), "grey") for name in data)]
    rows: list[list[Painted]] = [[(plain(model), "cyan")] for model in models]
    for model, row in zip(models, rows, strict=True):
        row += [found.get((model, name), "") for name in data]
    return [head, *rows]
