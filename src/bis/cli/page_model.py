"""What is shown of registered models, their versions and their history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bis.cli.page_run import labelled, mark
from bis.cli.render import Column
from bis.digest import short
from bis.ledger.moments import stamp
from bis.nouns.model import Event, ModelVersion, Standing
from bis.steps.model_summary import hyperparameters, layers
from bis.text import command_line, cut, number, plain, size

if TYPE_CHECKING:
    from bis.acts.models import Described
    from bis.acts.registry import Made, Shown
    from bis.cli.render import Cell, Terminal
    from bis.nouns.run import Run
    from bis.nouns.tracking import TrackedRun
    from bis.steps.promotion import Promoted

IDENTITY = "bis.identity"
SHOWN = 4
"""Metrics of a version in a list."""
PARAMS = 20
"""Hyperparameters, layers, and lines of a signature, of a version."""
WIDEST = 72
"""Columns of one of their values."""


# -- for scripts -------------------------------------------------------------------------------------------------


def model_json(shown: Shown) -> dict[str, Any]:
    model = shown.model
    return {
        "name": model.name,
        "description": model.description,
        "made": stamp(model.made),
        "changed": stamp(model.changed),
        "tags": model.tags,
        "aliases": model.aliases,
        "versions": [version_json(one) for one in shown.versions],
    }


def version_json(one: ModelVersion) -> dict[str, Any]:
    return {
        "reference": one.reference,
        "name": one.name,
        "number": one.number,
        "record": one.record,
        "description": one.description,
        "user": one.user,
        "stage": one.stage,
        "source": one.source,
        "run": one.run or None,
        "logged_model": one.logged_model or None,
        "made": stamp(one.made),
        "changed": stamp(one.changed),
        "tags": one.tags,
        "aliases": list(one.aliases),
    }


def made_json(made: Made, described: Described | None = None) -> dict[str, Any]:
    told = version_json(made.version)
    run: dict[str, Any] | None = None
    if made.run:
        run = {
            "id": made.run.id,
            "name": made.run.name,
            "started": stamp(made.run.started),
            "metrics": {point.key: point.value for point in made.run.metrics},
            "sealed": made.run.sealed,
        }
    parts = made.record.parts if made.record else {}
    return {
        "version": told,
        "model": described_json(described) if described else None,
        "run": run,
        "parts": {kind: {"digest": part.digest, "summary": part.summary} for kind, part in parts.items()},
    }


def described_json(described: Described) -> dict[str, Any]:
    found = described.found
    return {
        "identity": described.identity or None,
        "flavor": found.flavor,
        "words": found.words,
        "size": found.size,
        "summary": found.summary,
        "signature": [{"what": what, "type": type_} for what, type_ in described.signature],
        "warnings": list(found.warnings),
    }


def standing_json(stood: Standing) -> dict[str, Any]:
    return {
        "name": stood.name,
        "moment": stamp(stood.moment),
        "versions": list(stood.versions),
        "aliases": stood.aliases,
        "stages": {str(number): stage for number, stage in stood.stages.items()},
    }


def event_json(event: Event) -> dict[str, Any]:
    return {
        "made": stamp(event.made),
        "user": event.user,
        "model": event.model,
        "version": event.version,
        "record": event.record,
        "action": event.action,
        "key": event.key,
        "before": event.before,
        "after": event.after,
        "reason": event.reason,
    }


def promoted_json(done: Promoted) -> dict[str, Any]:
    checks = [{"condition": one.condition, "holds": one.holds, "said": one.said} for one in done.checks]
    return {
        "version": version_json(done.version),
        "alias": done.alias,
        "before": done.before,
        "checks": checks,
        "forced": done.forced,
    }


# -- for people --------------------------------------------------------------------------------------------------


def model_lines(found: Sequence[Shown], now: datetime, terminal: Terminal) -> list[str]:
    """The registered models, one a line."""
    columns = [
        Column("name"),
        Column("newest", right=True),
        Column("aliases", shrinks=True),
        Column("changed"),
        Column("description", shrinks=True),
    ]
    rows: list[list[Cell]] = []
    for one in found:
        newest = max((version.number for version in one.versions), default=0)
        aliases = ", ".join(f"{plain(alias)} {version}" for alias, version in one.model.aliases.items())
        when = terminal.time(stamp(one.model.changed), now)
        rows.append([(plain(one.model.name), "cyan"), str(newest or ""), aliases, when, plain(one.model.description)])
    return terminal.table(columns, rows) if rows or not terminal.tty else []


def model_page(shown: Shown, now: datetime, terminal: Terminal) -> list[str]:
    model = shown.model
    tags = ", ".join(f"{plain(key)}={plain(value)}" for key, value in model.tags.items())
    aliases = terminal.aligned([[plain(alias), f"version {version}"] for alias, version in model.aliases.items()])
    sections = [
        labelled("model", [terminal.paint(plain(model.name), "cyan")], terminal),
        labelled("about", [plain(line) for line in model.description.splitlines()], terminal),
        labelled("made", [terminal.time(stamp(model.made), now)], terminal),
        labelled("tags", [tags] if tags else [], terminal),
        labelled("aliases", aliases, terminal),
        labelled("versions", _version_lines(shown, now, terminal), terminal),
        labelled("next", [f"bis model show {plain(_shortest(shown.versions[0], shown.versions))}"], terminal)
        if shown.versions
        else [],
    ]
    return [line for section in sections for line in section]


def _shortest(one: ModelVersion, among: Sequence[ModelVersion]) -> str:
    """What means this version, and no other of its model."""
    alone = sum(other.number == one.number for other in among) == 1
    return f"{one.name}/{one.number}" if alone else one.exact


def _version_lines(shown: Shown, now: datetime, terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = []
    numbers = [one.number for one in shown.versions]
    for one in shown.versions:
        run = shown.runs.get(one.run)
        several = numbers.count(one.number) > 1
        rows.append(
            [
                (f"{one.number} (@{one.record[:11]})" if several else str(one.number), "cyan"),
                ", ".join(map(plain, one.aliases)),
                one.stage if one.stage != "None" else "",
                (plain(run.name) if run else one.run[:12], "yellow"),
                terminal.time(stamp(one.made), now),
                _metrics(one, run),
                plain(one.description.partition("\n")[0]),
            ]
        )
    return terminal.aligned(rows) or ["none yet"]


def _metrics(one: ModelVersion, run: TrackedRun | None) -> str:
    found = list(_measured(one, run).items())[:SHOWN]
    return "  ".join(f"{plain(key)} {number(value)}" for key, value in found)


def _measured(one: ModelVersion, run: TrackedRun | None) -> dict[str, float]:
    return one.measured({point.key: point.value for point in run.metrics}) if run else {}


def version_page(made: Made, now: datetime, terminal: Terminal, described: Described | None = None) -> list[str]:
    """A version, and all that it is made of."""
    one, run = made.version, made.run
    tags = ", ".join(f"{plain(key)}={plain(value)}" for key, value in one.tags.items() if key != IDENTITY)
    by = f"  by {plain(one.user)}" if one.user else ""
    sections = [
        labelled("version", [terminal.paint(plain(one.reference), "cyan")], terminal),
        labelled("about", [plain(line) for line in one.description.splitlines()], terminal),
        labelled("aliases", [", ".join(map(plain, one.aliases))] if one.aliases else [], terminal),
        labelled("stage", [one.stage] if one.stage != "None" else [], terminal),
        labelled("registered", [f"{terminal.time(stamp(one.made), now)}{by}"], terminal),
        labelled("tags", [tags] if tags else [], terminal),
        labelled("identity", [described.identity] if described and described.identity else [], terminal),
        *(labelled(title, lines, terminal) for title, lines in _what_it_is(described, terminal)),
        labelled("from", [plain(one.source)], terminal),
        labelled("run", _run_lines(made, now, terminal), terminal),
        labelled("parts", _part_lines(made.record, terminal), terminal),
        labelled(
            "metrics",
            terminal.aligned([[plain(key), number(value)] for key, value in _measured(one, run).items()]),
            terminal,
        ),
        labelled("next", list(_next(made, described)), terminal),
    ]
    return [line for section in sections for line in section]


def _what_it_is(described: Described | None, terminal: Terminal) -> list[tuple[str, list[str]]]:
    if described is None:
        return []
    summary = described.found.summary
    built = str(summary.get("architecture") or "").splitlines()
    return [
        ("model", [_words(described)]),
        ("architecture", [cut(plain(built[0]), WIDEST)] if len(built) == 1 and built[0] != summary.get("kind") else []),
        ("layers", _listed(layers(summary), terminal)),
        ("hyperparameter", _listed(hyperparameters(summary), terminal)),
        ("signature", _listed(described.signature, terminal)),
        ("warnings", [plain(line) for line in described.found.warnings]),
    ]


def _words(described: Described) -> str:
    found = described.found
    return f"{plain(found.flavor)} {', '.join(filter(None, (plain(found.words), size(found.size))))}"


def _listed(found: Sequence[tuple[str, str]], terminal: Terminal) -> list[str]:
    rows: list[list[Cell]] = [[plain(name), cut(plain(value), WIDEST)] for name, value in found[:PARAMS]]
    more = len(found) - PARAMS
    return [*terminal.aligned(rows), *([f"and {more:,} more (--json)"] if more > 0 else [])]


def _run_lines(made: Made, now: datetime, terminal: Terminal) -> list[str]:
    if made.run is None:
        return [f"{plain(made.version.run)} is not recorded here" if made.version.run else "none is known"]
    when = terminal.time(stamp(made.run.started), now)
    told = "" if made.run.sealed else "  logged by a client: its parts are not recorded"
    return [f"{made.run.id[:12]}  {terminal.paint(plain(made.run.name), 'cyan')}  {when}{told}"]


def _part_lines(run: Run | None, terminal: Terminal) -> list[str]:
    if run is None:
        return []
    rows: list[list[Cell]] = [
        [kind, (short(part.digest), "yellow"), plain(part.summary)] for kind, part in run.parts.items()
    ]
    return terminal.aligned(rows)


def _next(made: Made, described: Described | None) -> Sequence[str]:
    named = command_line([made.version.reference])
    asked = [f"bis serve {named}"] if described and not described.found.cannot else []
    if made.record is None or not made.record.parts:  # it was imported: nothing can be repeated
        return asked
    return [f"bis repeat {made.record.id[:12]}", f"bis lineage {named}", *asked]


def registered_lines(added: ModelVersion, run: Run, new: bool, terminal: Terminal) -> list[str]:
    word = terminal.paint("registered", "green")
    aliases = f"  {', '.join(map(plain, added.aliases))}" if added.aliases else ""
    first = "  a new model" if new else ""
    made = f"{plain(run.name)}, {plain(added.source)}"
    return [f"{word}  {terminal.paint(plain(added.reference), 'cyan')}  from {made}{aliases}{first}"]


def already_lines(found: ModelVersion, run: Run, terminal: Terminal) -> list[str]:
    word = terminal.paint("there", "green")
    which = terminal.paint(f"{plain(found.name)}/{found.number}", "cyan")
    terminal.tell("help: --again makes a new version of it all the same")
    return [f"{word}  what {plain(run.name)} made is {which} already"]


def promoted_lines(done: Promoted, terminal: Terminal) -> list[str]:
    one = done.version
    before = f"  it was {plain(one.name)}/{done.before}" if done.before else "  the first"
    if done.before == one.number:
        return [f"{terminal.paint('there', 'green')}  {plain(one.reference)} is {plain(done.alias)} already"]
    word = terminal.paint("forced", "yellow") if done.forced else terminal.paint("promoted", "green")
    checks = [
        f"{terminal.paint(*mark('identical' if check.holds else 'different'))} {plain(check.condition)}:"
        f" {plain(check.said)}"
        for check in done.checks
    ]
    return [*checks, f"{word}  {plain(one.name)}@{plain(done.alias)} is {plain(one.reference)}{before}"]


def standing_lines(stood: Standing, terminal: Terminal) -> list[str]:
    aliases = terminal.aligned([[plain(alias), f"version {version}"] for alias, version in stood.aliases.items()])
    stages = [f"{version}  {stage}" for version, stage in stood.stages.items()]
    numbers = ", ".join(map(str, stood.versions))
    sections = [
        labelled("model", [terminal.paint(plain(stood.name), "cyan")], terminal),
        labelled("on", [stamp(stood.moment)], terminal),
        labelled("aliases", aliases or ["none"], terminal),
        labelled("stages", stages, terminal),
        labelled("versions", [numbers or "none"], terminal),
    ]
    return [line for section in sections for line in section]


def event_lines(found: Sequence[Event], now: datetime, terminal: Terminal) -> list[str]:
    columns = [
        Column("when"),
        Column("who"),
        Column("version", right=True),
        Column("what"),
        Column("before", shrinks=True),
        Column("after", shrinks=True),
        Column("reason", shrinks=True),
    ]
    rows: list[list[Cell]] = [
        [
            terminal.time(stamp(event.made), now),
            plain(event.user),
            "" if event.version is None else str(event.version),
            _what(event),
            plain(event.before),
            plain(event.after),
            plain(event.reason),
        ]
        for event in found
    ]
    return terminal.table(columns, rows)


def _what(event: Event) -> Cell:
    colours = {"refused": "red", "forced": "yellow", "removed": "red", "rolled back": "yellow", "alias": "green"}
    return f"{event.action} {plain(event.key)}".strip(), colours.get(event.action, "")
