"""`bis sync`: deliver what scripts logged and could not deliver themselves."""

from __future__ import annotations

from bis.cli.command import Door, command, json_option
from bis.cli.text import plain
from bis.errors import counted


@command(
    "sync",
    short_help="Deliver what scripts logged while their server was away.",
    statuses={5: "something still waits"},
    examples=["bis sync", "MLFLOW_TRACKING_TOKEN=... bis sync"],
)
@json_option
def sync(door: Door, as_json: bool) -> int:
    """Deliver what scripts logged with `import bis` and could not deliver themselves: to the server that each run is
    for, or to the ledger of this project. What is delivered twice counts once.
    """
    from bis.acts.sync import sync as act

    terminal = door.terminal
    done = list(act(door.opened_home(create=False), door.variables))
    waiting = [one for one in done if one.trouble]
    if as_json:
        terminal.json("bis.sync/1", {"runs": done})
        return 5 if waiting else 0
    for one in done:
        name, place = plain(one.run.name or one.run.id[:8]), plain(one.run.server) or "the ledger"
        if one.trouble:
            terminal.tell(f"[!] {name}: {plain(one.trouble)}")
        else:
            terminal.show([f"{name}: {counted(one.entries, 'entry', 'entries')} to {place}"])
        for refused in one.refused:
            terminal.tell(f"[!] {name}: {plain(refused)}")
    if not done:
        terminal.show(["nothing waits"])
    return 5 if waiting else 0
