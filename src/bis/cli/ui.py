"""`bis ui`: the pages of a project, in a browser."""

from __future__ import annotations

import threading
import webbrowser

import click

from bis.cli.command import STATUSES, Door, command, json_option
from bis.digest import spell


@command(
    "ui",
    short_help="Look at runs, data and models in a browser.",
    statuses={5: STATUSES[5]},
    examples=["bis ui", "bis ui --port 0 --no-browser", "bis ui --json --port 0", "bis -C ../churn ui"],
)
@click.option(
    "--port", default=5001, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--no-browser", is_flag=True, help="Only say where the pages are.")
@json_option
def ui(door: Door, port: int, no_browser: bool, as_json: bool) -> int:
    """Show the pages of this project: its runs with their charts, what they were made of, whether they repeat, its data
    and its models. Only this machine reaches them. Ends with Ctrl-C.

    With --json it says where they are as soon as they are there. A server for a team has the same pages: bis server.
    """
    from bis.server.serve import Serving, serve

    def told(said: str) -> None:
        address = said.rpartition(" on ")[2]
        if as_json:
            door.terminal.json("bis.ui/1", {"url": address, "project": spell(str(door.project))})
        else:
            door.terminal.tell(said)
        if door.terminal.tty and not (no_browser or as_json):
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(door.opened_home(serving=True), Serving(command="bis ui", port=port), told)
    return 0
