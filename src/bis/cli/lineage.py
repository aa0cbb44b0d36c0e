"""`bis lineage`: what a thing is made of, and what it reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bis.cli.command import STATUSES, Completed, Door, RunReference, command, json_option
from bis.cli.model_words import ModelName
from bis.text import plain

if TYPE_CHECKING:
    from bis.acts.lineage import Node
    from bis.cli.render import Terminal

COLOURS = {"run": "yellow", "model version": "cyan", "alias": "green", "data version": "cyan"}


class Thing(Completed):
    """Completes runs and models; a shell itself completes paths."""

    name = "thing"

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        yield from RunReference().completions(ctx, incomplete)
        before = "models:/" if incomplete.startswith("models:/") else ""
        for item in ModelName().completions(ctx, incomplete.removeprefix(before)):
            yield CompletionItem(f"{before}{item.value}", help=item.help)


@command(
    "lineage",
    short_help="Say what a thing is made of, and what it reached.",
    statuses={3: "nothing that is recorded here is called so", 5: STATUSES[5]},
    examples=[
        "bis lineage models:/churn@champion",
        "bis lineage train-12",
        "bis lineage data/customers.csv",
        "bis lineage data:/customers@v3",
        "bis lineage 4f2a91c",
        "bis lineage numpy==2.1.0",
        "bis lineage ghcr.io/team/churn@sha256:0b6f…",
    ],
)
@click.option("--packages", is_flag=True, help="Also the packages of each environment, one by one.")
@json_option
@click.argument("thing", type=Thing(), metavar="THING")
def lineage(door: Door, thing: str, packages: bool, as_json: bool) -> int:
    """Say what THING is made of, and which runs, models and aliases it reached. THING is a version of a model
    (models:/churn/3), a run, a version of data (data:/customers@v3), a file, a commit, a package (numpy==2.1.0), or an
    image or another thing that was built (sha256:…, or the file).

    A file is known by its content: also under another name, and also when another run made it.
    """
    from bis.acts.lineage import lineage as act

    found = act(thing, door.home, door.folder, door.now.astimezone().replace(tzinfo=None), packages=packages)
    if as_json:
        door.terminal.json("bis.lineage/1", {"lineage": found})
        return 0
    terminal = door.terminal
    lines = [_line(found.thing, terminal)]
    for title, nodes in (("made of", found.made_of), ("reached", found.reached)):
        lines.append(terminal.paint(title, "grey"))
        lines += [line for node in nodes for line in _tree(node, 1, terminal)] or ["  nothing that is recorded here"]
    terminal.show(lines)
    for limit in found.limits:
        terminal.tell(f"note: {plain(limit)}")
    return 0


def _tree(node: Node, depth: int, terminal: Terminal) -> Iterator[str]:
    yield "  " * depth + _line(node, terminal)
    for child in node.children:
        yield from _tree(child, depth + 1, terminal)


def _line(node: Node, terminal: Terminal) -> str:
    kind = "" if node.kind in ("model version", "alias") else f"{node.kind}  "
    detail = f"  {plain(node.detail)}" if node.detail else ""
    return f"{kind}{terminal.paint(plain(node.name), COLOURS.get(node.kind, ''))}{detail}"
