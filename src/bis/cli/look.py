"""`bis log` and `bis show`: what there is, and everything known of one run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option, nearest, utc_option
from bis.errors import UsageError
from bis.text import clear_lines, count

if TYPE_CHECKING:
    from bis.cli.page_log import Listing
    from bis.ledger import Ledger, Row
    from bis.nouns.run import Run
    from bis.steps.recognising import Recognised

LISTED = 30
RECENT = 1000
"""So many of the newest runs are asked for the names that there are."""


@command(
    "show",
    short_help="Show everything known of a run.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis show", "bis show train-12 --findings", "bis show train-12 --log | tail", "bis show @~1 --json"],
)
@click.option("--log", "stream", flag_value="log", help="What it printed, both streams in the order of time.")
@click.option("--stdout", "stream", flag_value="<stdout>", help="What it printed on standard output.")
@click.option("--stderr", "stream", flag_value="<stderr>", help="What it printed on standard error.")
@click.option("--findings", is_flag=True, help="Only what its reader should know, with what to do about it.")
@click.option("--outputs", is_flag=True, help="Only its outputs, all of them.")
@utc_option
@json_option
@click.argument("run", default="@latest", type=RunReference(), metavar="[RUN]")
def show(door: Door, run: str, stream: str | None, findings: bool, outputs: bool, utc: bool, as_json: bool) -> int:
    """Show everything known of RUN, or of the newest run: what went in, what came out, what was not seen."""
    from bis.cli import page_run
    from bis.nouns.annotation import tags_after
    from bis.steps.recorded import with_parent
    from bis.steps.uploaded import with_uploaded

    found, terminal = with_parent(with_uploaded(door.find(run), door.home), door.home), door.terminal
    terminal.utc = utc
    if stream:
        return _show_stream(door, found, stream)
    verdicts, annotations = door.home.ledger.verdicts(found.id), door.home.ledger.annotations(found.id)
    experiment = door.home.ledger.experiment(found.id)
    if as_json:
        tags = tags_after(annotations)
        models = list(map(page_run.model_json, _models(door, found)))
        told = {"run": found, "tags": tags, "annotations": annotations, "verdicts": verdicts, "models": models}
        terminal.json("bis.show/1", {**told, **({"experiment": experiment} if experiment else {})})
    elif findings:
        terminal.show(page_run.finding_lines(found.all_findings, terminal) or ["no findings"])
    elif outputs:
        terminal.show(page_run.output_lines(found, terminal, len(found.outputs) + len(found.removed or ())))
    else:
        wrote = _models(door, found)
        terminal.show(page_run.run_page(found, verdicts, door.now, terminal, annotations, experiment, wrote))
    return 0


def _models(door: Door, run: Run) -> list[Recognised]:
    """The models that it wrote."""
    if run.status == "running":
        return []
    from bis.steps.model_place import files_of
    from bis.steps.recognising import models_in

    return models_in(files_of(door.home, run), door.home.store)


def _show_stream(door: Door, run: Run, name: str) -> int:
    """Print what the run printed: its bytes as they were in a pipe; on a terminal, nothing that could steer it."""
    from bis.steps.printed import printed
    from bis.steps.shallow import need

    terminal = door.terminal
    names = ("<stdout>", "<stderr>") if name == "log" else (name,)
    need(door.home, [*(output.digest for output in run.outputs if output.path in names), *filter(None, [run.lines])])
    blocks = printed(run, door.home.store, names)
    if terminal.tty:
        terminal.show(clear_lines(b"".join(blocks).decode("utf-8", "replace")))
    else:
        terminal.raw(blocks)
    return 0


@command(
    "log",
    short_help="List the runs.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=[
        "bis log",
        "bis log -n 5 -f 'metrics.auc > 0.9 and params.lr = 0.1'",
        "bis log --sort=-metrics.auc --columns name,auc,lr,code",
        "bis log -f \"tags.state = 'final'\" --utc",
        "bis log --experiment churn",
        "bis log -n 0 --jsonl",
    ],
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=LISTED, metavar="N", show_default=True, help="So many; 0: all."
)
@click.option("-f", "--filter", "wanted", default="", metavar="FILTER", help="Only runs for which this is true.")
@click.option("--experiment", default="", metavar="NAME", help="Only the runs of this experiment.")
@click.option("--sort", "keys", multiple=True, metavar="KEY", help="metrics.auc, or -metrics.auc: the largest first.")
@click.option("--columns", default="", metavar="NAMES", help="These columns, separated by commas.")
@click.option("--all-columns", is_flag=True, help="Every column, also those in which all runs are the same.")
@click.option("--repeats", is_flag=True, help="Also the runs that were made by bis repeat.")
@click.option("--removed", is_flag=True, help="Only the runs that were removed by bis rm.")
@utc_option
@json_option
@click.option("--jsonl", "as_lines", is_flag=True, help="One JSON object a line for each run, with its schema.")
def log(
    door: Door,
    limit: int,
    wanted: str,
    experiment: str,
    keys: tuple[str, ...],
    columns: str,
    all_columns: bool,
    repeats: bool,
    removed: bool,
    utc: bool,
    as_json: bool,
    as_lines: bool,
) -> int:
    """List the runs, newest first: metrics, and what is different between them. What is the same in all of them
    is told once, below the list.

    FILTER is made of comparisons joined by AND, as in MLflow: metrics.NAME, params.NAME, tags.NAME, and
    the run's own name, experiment, status, started, seconds, command, note, code, data, environment, machine, verdict,
    removed.
    The first column, rpt, is there when a run was repeated, and has the newest verdict: [=] identical, [~] equivalent,
    [x] different, [!] not repeatable, [ ] not repeated, or nothing to compare.
    """
    from bis.cli.page_log import Listing
    from bis.ledger.search import compile_filter
    from bis.steps.listing import as_plain

    if as_json and as_lines:
        raise UsageError("--json and --jsonl exclude each other", hint="bis log --jsonl")
    ledger, terminal = door.home.ledger, door.terminal
    terminal.utc = utc
    # Read alone first: an error must not speak of what was not typed.
    compile_filter(wanted)
    if experiment:
        wanted = " AND ".join(filter(None, (wanted, _within(door, experiment))))
    there = f"removed {'!=' if removed else '='} ''"
    hidden = ["repeats = ''"] if not (repeats or removed or "repeats" in wanted) else []
    only = " AND ".join(filter(None, (wanted, *hidden, there if removed or "removed" not in wanted else "")))
    rows = ledger.rows(only, [_order(key) for key in keys], limit or None)
    if as_lines:
        terminal.json_lines("bis.log.run/1", map(as_plain, rows))
        return 0
    counts = {"shown": len(rows), "matching": ledger.count(only), "total": ledger.count(there)}
    if as_json:
        terminal.json("bis.log/1", {**counts, "runs": [as_plain(row) for row in rows]})
        return 0
    listing = Listing(rows, door.now, terminal)
    lines = listing.lines([name.strip() for name in columns.split(",") if name.strip()], everything=all_columns)
    below = list(_below(listing, counts, bool(wanted)))
    unknown = list(_unknown(wanted, keys, ledger, rows))
    if terminal.tty and rows:
        terminal.show([*lines, *(terminal.paint(line, "grey") for line in below)])
    else:
        terminal.show([] if terminal.tty else lines)
        unknown = [*below, *unknown]
    if unknown:
        terminal.tell("\n".join(unknown))
    return 0


def _within(door: Door, name: str) -> str:
    """A filter for the runs of an experiment. Raises NotFound where there is none."""
    from bis.acts.experiments import find

    quoted = find(door.home, name).name.replace("'", "''")
    return f"experiment = '{quoted}'"


def _unknown(wanted: str, keys: Sequence[str], ledger: Ledger, rows: Sequence[Row]) -> Iterator[str]:
    """The names in the order that no run has, and those in a filter that nothing matches; what was probably meant."""
    text = " ".join((*keys, "" if rows else wanted))
    asked = re.findall(r"\b(metrics|params|tags)\.([\w./:-]+)", text)
    if not asked:
        return
    recent = [*rows, *ledger.rows(limit=RECENT)]
    known = {kind: {name for row in recent for name in getattr(row, kind)} for kind in ("metrics", "params", "tags")}
    for kind, name in dict.fromkeys(asked):
        if name not in known[kind]:
            near = nearest(name, known[kind])
            yield f"help: no run has {kind}.{name}" + (f"; did you mean {kind}.{near}?" if near else "")


def _order(key: str) -> str:
    """`-metrics.auc` as the ledger takes it."""
    return f"{key[1:]} DESC" if key.startswith("-") else key


def _below(listing: Listing, counts: dict[str, int], filtered: bool) -> Iterator[str]:
    """What stands below the list: what is the same in all, what was left out, how many there are."""
    shown, matching, total = counts["shown"], counts["matching"], counts["total"]
    if listing.terminal.tty and (same := listing.same_parts()):
        yield f"the same in all: {same}"
    if listing.hidden:
        yield f"{count(listing.hidden, 'column')} more than fit: --all-columns, --columns or --json"
    if shown == total:
        yield count(total, "run")
        return
    said = [f"{shown:,} of {count(total, 'run')}"]
    if filtered:
        said.append(f"{matching:,} match")
    if shown < matching:
        said.append("-n 0 lists all")
    elif not filtered:
        said.append(f"{total - matching:,} more made by bis repeat (--repeats)")
    yield ", ".join(said)
