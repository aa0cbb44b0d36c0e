"""`bis server`: the ledger and the store of a project over HTTP."""

from __future__ import annotations

import click

from bis.cli.command import Door, command


@command(
    "server",
    short_help="Serve runs and models to MLflow clients and browsers.",
    statuses={},
    examples=["bis server", "bis server --port 5001"],
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=5000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
def server(door: Door, host: str, port: int) -> int:
    """Serve the ledger and the store of this project: to MLflow clients in any language, to `bis` elsewhere, and to
    browsers. Ends with Ctrl-C, after the requests under way.
    """
    from bis.server.serve import serve

    serve(door.opened_home(), host, port, told=door.terminal.tell)
    return 0
