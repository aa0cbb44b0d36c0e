"""`bis sync`: deliver what scripts logged and could not deliver themselves."""

from __future__ import annotations

import click

from bis.cli.command import Door, command, json_option
from bis.errors import counted
from bis.text import plain


@command(
    "sync",
    short_help="Deliver what scripts logged while their server was away.",
    statuses={3: "nothing waits for the run to drop", 5: "something still waits"},
    examples=["bis sync", "MLFLOW_TRACKING_TOKEN=... bis sync", "bis sync --drop 1f0c22ab"],
)
@click.option("--drop", metavar="RUN", help="Give up what waits for this run.")
@json_option
def sync(door: Door, drop: str | None, as_json: bool) -> int:
    """Deliver what scripts logged with `import bis` and could not deliver themselves: to the server that each run is
    for, or to the ledger of this project. What is delivered twice counts once.

    A run that was removed where it is kept takes nothing any more: what waits for it stays until the run is restored
    there, or until `--drop` gives it up. RUN is its name, or how its id begins.
    """
    from bis.acts import sync as act

    terminal, home = door.terminal, door.opened_home(create=False)
    done = list(act.sync(home, door.variables)) if drop is None else [act.drop(home, drop)]
    waiting = [one for one in done if one.trouble]
    if as_json:
        terminal.json("bis.sync/1", {"runs": done})
        return 5 if waiting else 0
    for one in done:
        name, place = plain(one.run.name or one.run.id[:8]), plain(one.run.server) or "the ledger"
        if one.trouble:
            terminal.tell(f"[!] {name}: {plain(one.trouble)}")
            if one.hint:
                terminal.tell(f"help: {plain(one.hint)}")
        elif drop is not None:
            terminal.show([f"{name}: {counted(one.dropped, 'entry', 'entries')} for {place} given up"])
        else:
            terminal.show([f"{name}: {counted(one.entries, 'entry', 'entries')} to {place}"])
        for refused in one.refused:
            terminal.tell(f"[!] {name}: {plain(refused)}")
    if not done:
        terminal.show(["nothing waits"])
    return 5 if waiting else 0
