"""`bis serve`: predictions over HTTP, by models in their own environments."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bis.cli.command import STATUSES, Door, command, json_option
from bis.errors import UsageError

if TYPE_CHECKING:
    from bis.serving.prepared import Preparing
    from bis.steps.home import Home

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """Bytes, as people write them: 500M, 2G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,12})\s*([KMGT]?)(?:i?B|i)?", str(value).strip(), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is no size: 500M, 2G", param, ctx)
        return int(found[1]) * UNITS[found[2].upper()]


@command(
    "serve",
    short_help="Serve models over HTTP: predictions for whoever asks.",
    statuses={3: STATUSES[3], 4: "a model cannot be loaded here", 5: STATUSES[5]},
    examples=[
        "bis serve models:/churn@champion",
        "bis serve train-12 --port 8080",
        "bis serve ./model --python .venv",
        "bis serve churn=models:/churn@champion price=models:/price/3",
        "bis serve models:/churn@champion --shadow models:/churn@challenger --compare",
        "bis serve models:/churn@champion --canary models:/churn@challenger --percent 5",
    ],
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=5001, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--open", "is_open", is_flag=True, help="Let everybody ask who reaches the server, without a token.")
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="Further name of an open server on this machine; repeatable."
)
@click.option("--python", default="", metavar="PATH", help="Interpreter or environment for the models, as it is.")
@click.option("--trust", is_flag=True, help="Open pickles of models that no run of this project made.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes for each model.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads of a worker's libraries."
)
@click.option("--cpus", default=0, type=click.IntRange(0, 4096), help="Processors that the workers share; else all.")
@click.option("--memory", default=0, type=Size(), metavar="SIZE", help="Most memory of one worker: 2G.")
@click.option(
    "--batch",
    default=64,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Requests that waited and are predicted as one, at most; 1: each alone.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Time for an answer.",
)
@click.option(
    "--load-timeout",
    default=600.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Time for a worker to load its model.",
)
@click.option("--max-body", default="64M", show_default=True, type=Size(), metavar="SIZE", help="Largest body.")
@click.option(
    "--shadow", default="", metavar="MODEL", help="Version that is asked, too, and whose answers nobody gets."
)
@click.option("--compare", is_flag=True, help="Say at the end how the answers of --shadow compare.")
@click.option("--canary", default="", metavar="MODEL", help="Version that answers a part of the requests.")
@click.option(
    "--percent", default=5.0, show_default=True, type=click.FloatRange(0, 100), help="The part that --canary answers."
)
@click.option(
    "--watch",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How often to look which version an alias means; 0: never.",
)
@click.option("--log-requests", default="", metavar="DIR", help="Write requests and predictions down, as JSON lines.")
@click.option(
    "--sample", default=100.0, show_default=True, type=click.FloatRange(0, 100), help="The percent of them to write."
)
@click.option(
    "--grace",
    default=30,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Time for requests under way when the server is told to end.",
)
@json_option
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
def serve(door: Door, models: tuple[str, ...], as_json: bool, **asked: Any) -> int:
    """Answer requests for predictions, in MLflow's protocol (/invocations), the Open Inference Protocol (/v2) and that
    of TensorFlow Serving (/v1). Ends with Ctrl-C or SIGTERM, after the requests under way.

    MODEL is models:/churn@champion (an alias is followed: when it moves, the new version takes over and no request
    fails), models:/churn/3, a run, runs:/RUN/PATH, or a folder that bis.save_model or MLflow wrote. NAME=MODEL says how
    it is called in addresses. Each model is loaded in its own environment: that of its lock, of the run that made it,
    or what its requirements mean; --python names one.
    """
    from bis.serving.app import Limits
    from bis.serving.serve import Serving, compared_lines, counted
    from bis.serving.serve import serve as serve_on

    if asked["compare"] and not asked["shadow"]:
        raise UsageError("--compare needs a version to compare with", hint="--shadow models:/NAME@challenger")
    folder = asked["log_requests"]
    serving = Serving(
        models=tuple(map(_named, models)),
        host=asked["host"],
        port=asked["port"],
        open=asked["is_open"],
        hosts=tuple(name.lower() for name in asked["allow_host"]),
        shadow=asked["shadow"],
        canary=asked["canary"],
        share=asked["percent"] / 100 if asked["canary"] else 0.0,
        watch=asked["watch"],
        sampled=door.folder / Path(folder).expanduser() if folder else None,
        sample=asked["sample"] / 100,
        limits=Limits(asked["max_body"], max(512 << 20, 2 * asked["max_body"]), seconds=asked["timeout"]),
        grace=asked["grace"],
    )
    tally = serve_on(serving, _preparing(door, asked), door.terminal.tell)
    if as_json:
        door.terminal.json("bis.served/1", counted(tally))
    elif asked["compare"] or asked["canary"]:
        door.terminal.show(compared_lines(tally) or ["nothing was asked"])
    return 0


def _named(word: str) -> tuple[str, str]:
    """`NAME=MODEL`, or MODEL alone."""
    name, equals, model = word.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name) and model:
        return name, model
    return "", word


def _preparing(door: Door, asked: dict[str, Any]) -> Preparing:
    from bis.serving.prepared import Bounds, Preparing
    from bis.steps.model_place import models_folder
    from bis.steps.repeating import environments_folder

    homes: list[Home] = []

    def home() -> Home:
        if not homes:
            homes.append(door.home)
        return homes[0]

    return Preparing(
        folder=door.folder,
        homes=home,
        environments=environments_folder(door.settings, door.variables),
        models=models_folder(door.settings, door.variables),
        variables=door.variables,
        clock=lambda: datetime.now(UTC),
        python=asked["python"],
        trust=asked["trust"],
        bounds=Bounds(
            workers=asked["workers"],
            threads=asked["threads"],
            cpus=asked["cpus"],
            memory=asked["memory"],
            together=asked["batch"],
            seconds=asked["timeout"],
            loading=asked["load_timeout"],
        ),
        progress=door.terminal.tell,
    )
