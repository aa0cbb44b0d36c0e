"""`bis predict`: predictions for files of rows, in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bis.cli.command import STATUSES, Door, command, json_option
from bis.errors import UsageError
from bis.nouns.run import check_name

if TYPE_CHECKING:
    from bis.acts.predict import Predicted, Progress
    from bis.cli.render import Terminal

FORMATS = ["csv", "jsonl", "parquet", "arrow"]


@command(
    "predict",
    short_help="Score files of rows with a model, in bulk, as a run that can be repeated.",
    statuses={
        2: "wrong use, or a row does not fit the model",
        3: STATUSES[3],
        4: "the model cannot be loaded here",
        5: STATUSES[5],
    },
    examples=[
        "bis predict models:/churn@champion --input customers.parquet --output scores.parquet",
        "bis predict train-12 --input 'data/*.csv.gz' --output scores.csv --keep id --method predict_proba",
        "bis predict ./model --python .venv --input data:/customers@v3 --output scores.jsonl --keep all",
        "bis predict models:/churn/3 --input s3://bucket/in/ --output s3://bucket/scores.parquet --workers 4",
    ],
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="INPUT",
    help="File, folder, glob, URL or data:/NAME@REF.",
)
@click.option("--output", required=True, metavar="OUTPUT", help="File, folder, or an object of a bucket.")
@click.option(
    "--keep", multiple=True, metavar="COLUMN", help="Column of the input to write beside; `all`: each of them."
)
@click.option(
    "--method", default="", metavar="NAME", help="What to ask of the model: predict_proba, decision_function."
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Param of the model; repeatable.")
@click.option(
    "--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True, help="At a bad row."
)
@click.option(
    "--batch",
    default=10_000,
    show_default=True,
    type=click.IntRange(1, 10_000_000),
    help="Rows that are predicted at once; recorded, as answers may depend on it.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 1024), help="Processes that predict.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads of each of them.")
@click.option("--input-format", default="", type=click.Choice(["", *FORMATS]), help="Else as the names tell.")
@click.option("--format", default="", type=click.Choice(["", *FORMATS]), help="Of the output; else as its name tells.")
@click.option("--restart", is_flag=True, help="Begin anew, where an earlier scoring was not finished.")
@click.option(
    "--on",
    default="local",
    show_default=True,
    type=click.Choice(["local", "ray", "dask"]),
    help="Who predicts: this machine, or a cluster of Ray or Dask.",
)
@click.option("--python", default="", metavar="PATH", help="Interpreter or environment for the model, as it is.")
@click.option("--trust", is_flag=True, help="Open pickles of a model that no run of this project made.")
@click.option("--name", metavar="NAME", default="", help="Name of the run; else one is made, such as predict-3.")
@click.option("-m", "--note", metavar="TEXT", default="", help="Why you score.")
@json_option
@click.argument("model", metavar="MODEL")
def predict(door: Door, model: str, as_json: bool, **given: Any) -> int:
    """Predict each row of the inputs with MODEL and write the predictions, in the order of the rows.

    MODEL is models:/churn@champion, models:/churn/3, a run, runs:/RUN/PATH, or a folder that bis.save_model or MLflow
    wrote; it is asked in its own environment. Rows are read, predicted and written a batch at a time. Killed at any
    point, the same command goes on where it was. What was done is recorded as a run: `bis repeat` does it again.
    """
    from bis.acts.predict import Asked
    from bis.acts.predict import predict as act

    if given["name"]:
        check_name(given["name"], f"bis predict {model} --name nightly …")
    if strange := [one for one in given["params"] if "=" not in one]:
        raise UsageError(f"--param takes NAME=VALUE, not {strange[0]!r}")
    asked = Asked(
        model=model,
        skip=given.pop("on_error") == "skip",
        **given,
    )
    done = act(
        asked,
        folder=door.folder,
        variables=door.variables,
        now=door.now,
        progress=watched(door.terminal),
        tell=door.terminal.tell,
    )
    if as_json:
        door.terminal.json("bis.predicted/1", _document(done))
    else:
        _tell(done, door.terminal)
    return 0


def watched(terminal: Terminal) -> Progress:
    """Rows, their rate, and the time that the rest will take. What an earlier command had scored took no time now."""
    import time

    started: list[tuple[float, int, float]] = []

    def told(rows: int, part: float) -> None:
        now = time.monotonic()
        if not started:
            started.append((now, rows, part))
        began, before, behind = started[0]
        rate = (rows - before) / max(0.001, now - began)
        terminal.meter(f"{rows:,} rows" + (f", {rate:,.0f} a second" if rate else ""), part - behind, 1.0 - behind)

    return told


def _document(done: Predicted) -> dict[str, Any]:
    return {
        "run": done.run.name,
        "id": done.run.id,
        "model": done.model,
        "output": done.output,
        "rows": done.rows,
        "rejected": done.rejected,
        "rejects": done.rejects,
        "resumed": done.resumed,
        "seconds": done.run.usage.seconds,
    }


def _tell(done: Predicted, terminal: Terminal) -> None:
    from bis.text import command_line, count, plain

    seconds = done.run.usage.seconds
    rate = f"{done.rows / seconds:,.0f} rows a second" if seconds and done.rows and not done.resumed else ""
    output = f"{plain(done.output.rstrip('/'))}/" if done.is_folder else plain(done.output)
    pieces = [f"run {done.run.id[:8]}", f'"{plain(done.run.name)}"', count(done.rows, "row"), rate, output]
    terminal.say(*[piece for piece in pieces if piece])
    if done.is_folder and "." in done.output.rstrip("/").rpartition("/")[2]:
        terminal.say(("[!]", "yellow"), f"{output} is a folder: files are called .csv, .jsonl, .parquet or .arrow")
    if done.resumed:
        terminal.say(("went on", "grey"), "after what an earlier command had scored")
    if done.rejected:
        terminal.say(("[!]", "yellow"), f"{count(done.rejected, 'row')} could not be scored: {plain(done.rejects)}")
    terminal.say(("next", "grey"), command_line(("bis", "repeat", done.run.name)))
