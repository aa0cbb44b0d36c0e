"""`bis model`: registered models, their versions, and which of them is in use."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, Function, RunReference, command, family, json_option, utc_option
from bis.cli.hooks import tell
from bis.cli.model_words import ModelName, model_reference
from bis.digest import spell
from bis.errors import NotFound, UsageError
from bis.nouns.model import CHAMPION
from bis.text import plain

if TYPE_CHECKING:
    from pathlib import Path

    from bis.acts.models import Rows

NO_MODEL = "there is no such model, version or alias"


def reason_option(function: Function) -> Function:
    return click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the history.")(function)


@family(
    "model",
    short_help="Register models, promote them, and take that back.",
    statuses={1: "a promotion was refused", 3: NO_MODEL, 5: STATUSES[5]},
    examples=[
        "bis model register churn train-12 --path model.joblib",
        "bis model promote churn/3 --better metrics.rmse:lower",
        "bis model show churn@champion",
        "bis model diff churn/2 churn/3",
    ],
)
def model() -> None:
    """Give models that runs made a name and a number, say which of them is in use, and know afterwards which it was.
    A version leads to its run, and so to code, data, environment, infrastructure and machine.

    MODEL is churn (the model, or its newest version), churn/3, churn@champion, churn@{2026-05-03} (the newest then), or
    churn@champion@{2026-05-03}; `models:/` may stand before it.
    """


# -- looking -----------------------------------------------------------------------------------------------------


@model.member
@command(
    "list",
    short_help="List the registered models.",
    statuses={5: STATUSES[5]},
    examples=["bis model list", "bis model list --json"],
)
@utc_option
@json_option
def list_(door: Door, utc: bool, as_json: bool) -> int:
    """List the registered models, with their newest versions and what their aliases mean."""
    from bis.acts.registry import models
    from bis.cli import page_model

    door.terminal.utc = utc
    found = models(door.home)
    if as_json:
        door.terminal.json("bis.model.list/1", {"models": [page_model.model_json(one) for one in found]})
    else:
        door.terminal.show(page_model.model_lines(found, door.now, door.terminal))
        if not found:
            door.terminal.tell("help: no models are registered here yet: bis model register NAME RUN")
    return 0


@model.member
@command(
    "show",
    short_help="Show a model, or what a version is made of.",
    statuses={3: NO_MODEL, 5: STATUSES[5]},
    examples=[
        "bis model show churn",
        "bis model show churn@champion",
        "bis model show churn --on 2026-05-03",
        "bis model show churn@champion@{2026-05-03}",
    ],
)
@click.option("--on", "moment", default="", metavar="DATE", help="As it was then: a date, a time stamp, `2 days ago`.")
@utc_option
@json_option
@click.argument("reference", type=ModelName(), metavar="MODEL")
def show(door: Door, reference: str, moment: str, utc: bool, as_json: bool) -> int:
    """Show the model MODEL with its versions; of one version, what it is, the run that made it, and the code, data,
    environment, infrastructure and machine that went in. With --on, which versions there were then, and which was in
    use.
    """
    from bis.acts import registry
    from bis.cli import page_model

    terminal, named = door.terminal, model_reference(door, reference)
    terminal.utc = utc
    if moment:
        if named.is_version:
            raise UsageError(
                "--on wants a model as a whole", hint=f"bis model show {named.name} --on {shlex.quote(moment)}"
            )
        at = model_reference(door, f"{named.name}@{{{moment}}}").moment
        stood = registry.standing(door.home, named.name, at)
        if as_json:
            terminal.json("bis.model.standing/1", page_model.standing_json(stood))
        else:
            terminal.show(page_model.standing_lines(stood, terminal))
    elif named.is_version:
        from bis.acts.models import describe

        made = registry.made_of(door.home, registry.find(door.home, named))
        described = describe(door.home, made.version)
        if as_json:
            terminal.json("bis.model.version/1", page_model.made_json(made, described))
        else:
            terminal.show(page_model.version_page(made, door.now, terminal, described))
    else:
        shown = registry.show(door.home, named.name)
        if as_json:
            terminal.json("bis.model.show/1", page_model.model_json(shown))
        else:
            terminal.show(page_model.model_page(shown, door.now, terminal))
    return 0


@model.member
@command(
    "history",
    short_help="Say who changed what of a model, and when.",
    statuses={3: NO_MODEL, 5: STATUSES[5]},
    examples=["bis model history churn", "bis model history churn -n 5 --json"],
)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=1 << 40, help="So many, the newest.", metavar="N")
@utc_option
@json_option
@click.argument("name", type=ModelName(), metavar="NAME")
def history(door: Door, name: str, limit: int, utc: bool, as_json: bool) -> int:
    """List every change of the model NAME, newest first: who, when, what it was before and after, and why; refused
    promotions, too. The list is only ever added to. That of a model that was removed is still there.
    """
    from bis.acts.registry import happened
    from bis.cli import page_model

    door.terminal.utc = utc
    found = happened(door.home, model_reference(door, name).name, limit)
    if as_json:
        door.terminal.json("bis.model.history/1", {"name": name, "events": list(map(page_model.event_json, found))})
    else:
        door.terminal.show(page_model.event_lines(found, door.now, door.terminal))
    return 0


@model.member
@command(
    "diff",
    short_help="Say what is different between two versions.",
    statuses={0: "the same model", 1: "another one", 3: NO_MODEL, 5: STATUSES[5]},
    examples=[
        "bis model diff churn/2 churn/3",
        "bis model diff churn@champion churn@challenger --data customers@v3 --target churned",
        "bis model diff churn/2 churn/3 --json",
    ],
)
@click.option("--data", default="", metavar="FILE|REF", help="Rows that both are asked about; else an input example.")
@click.option("--target", default="", metavar="COLUMN", help="A column of them that the models are not asked with.")
@click.option("--python", default="", metavar="PATH", help="The environment of both, as it is.")
@click.option("--trust", is_flag=True, help="Open a pickle that is not of this ledger's own runs.")
@click.option("--all", "everything", is_flag=True, help="Lists at full length.")
@json_option
@click.argument("before", type=ModelName(), metavar="A")
@click.argument("after", type=ModelName(), metavar="B")
def diff(
    door: Door,
    before: str,
    after: str,
    data: str,
    target: str,
    python: str,
    trust: bool,
    everything: bool,
    as_json: bool,
) -> int:
    """Say what is different between the versions A and B: hyperparameters, weights and coefficients, trees, signature,
    metrics, what they answer to the same rows, and what they were made of. Files are read as data, without the
    framework; each model is asked in its own environment.
    """
    from datetime import UTC, datetime

    from bis.acts import models, registry
    from bis.cli import page_models
    from bis.store.temporary import temporary

    site = models.Asking(
        home=door.home,
        folder=door.folder,
        variables=door.variables,
        now=datetime.now(UTC),
        say=lambda text: door.terminal.tell(f"{text} …"),
        python=python,
        trust=trust,
    )
    one, other = (registry.find(door.home, model_reference(door, text)) for text in (before, after))
    with temporary("rows") as room:
        found = models.diff(one, other, site, _rows(door, one.name, data, target, room))
    if as_json:
        door.terminal.json("bis.model.diff/1", models.told(found))
    else:
        door.terminal.show(page_models.difference_page(found, door.terminal, everything=everything))
        if not data and found.predictions and found.asked == models.EXAMPLE_ROWS:
            door.terminal.tell(f"help: bis model probe {plain(one.name)} DATA  asks about more rows from now on")
    return 0 if found.same else 1


def _rows(door: Door, name: str, data: str, target: str, room: Path) -> Rows | None:
    """Those that were named, a file as it is or a version of data put into a folder; else the model's probe set."""
    from bis.acts.models import Rows
    from bis.acts.probe import probe

    if data:
        path = door.folder / data
        return Rows(path=path if path.exists() else _brought(door, data, room), called=data, target=target)
    if (stored := probe(door.home, name)) is None:
        return None
    try:
        path = _brought(door, stored.data, room)
    except NotFound as error:
        door.terminal.tell(f"the probe set of {plain(name)} cannot be asked about: {error.what}")
        return None
    return Rows(path=path, called=stored.data, target=target or stored.target, demanded=False)


def _brought(door: Door, text: str, room: Path) -> Path:
    from bis.cli.data_words import find
    from bis.steps.bring import bring

    held, path = find(door, text)
    return bring(held, path, room, door.home).into


@model.member
@command(
    "probe",
    short_help="Say which rows versions of a model are asked about, to tell them apart.",
    statuses={3: "there is no such model, or no such version of data", 5: STATUSES[5]},
    examples=[
        "bis model probe churn customers@v3 --target churned",
        "bis model probe churn",
        "bis model probe churn --forget",
    ],
)
@click.option("--target", default="", metavar="COLUMN", help="A column of them that the models are not asked with.")
@click.option("--forget", is_flag=True, help="From now on, ask about the input example again.")
@reason_option
@json_option
@click.argument("name", type=ModelName(), metavar="NAME")
@click.argument("data", required=False, default="", metavar="[DATA]")
def probe(door: Door, name: str, data: str, target: str, forget: bool, reason: str, as_json: bool) -> int:
    """Keep a version of data as the probe set of the model NAME: `bis model diff` asks both versions about its rows and
    tells how far apart they are. DATA is customers@v3, or customers, which means the newest version of today. Without
    it, say what the probe set is.
    """
    from bis.acts import probe as probes
    from bis.acts.registry import by_here
    from bis.cli.data_words import find

    if forget and data:
        raise UsageError("--forget takes no data", hint=f"bis model probe {name} --forget")
    named = model_reference(door, name)
    if named.is_version:
        raise UsageError(f"{name!r} names a version", hint=f"bis model probe {named.name}")
    by = by_here(spell(reason))
    found: probes.Probe | None
    if data:
        held, path = find(door, data)
        found = probes.set_probe(door.home, named.name, held, path, target, by)
    else:
        found = probes.forget(door.home, named.name, by) if forget else probes.probe(door.home, named.name)
    if as_json:
        told = {"model": named.name, "data": found.data if found else None, "target": found.target if found else None}
        door.terminal.json("bis.model.probe/1", {**told, "forgotten": forget})
    elif found is None:
        door.terminal.tell(f"help: bis model probe {plain(named.name)} DATA --target COLUMN  gives it a probe set")
    else:
        beside = f", without the column {plain(found.target)}" if found.target else ""
        word = door.terminal.paint(*(("forgotten", "yellow") if forget else ("probe", "green")))
        asked = "is not asked any more about" if forget else "is asked about"
        door.terminal.show([f"{word}  {plain(named.name)} {asked} {plain(found.data)}{beside}"])
    return 0


@model.member
@command(
    "export",
    short_help="Put a model into a folder, with all that its run knows.",
    statuses={3: NO_MODEL, 5: STATUSES[5]},
    examples=["bis model export models:/churn@champion churn/", "bis model export train-12 model/ --format mlflow"],
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["bis", "mlflow"]),
    default="bis",
    help="mlflow: with a loader for what MLflow does not read itself.",
)
@json_option
@click.argument("what", metavar="MODEL|RUN")
@click.argument("folder", metavar="DIR")
def export(door: Door, what: str, folder: str, format_: str, as_json: bool) -> int:
    """Put a model into the folder DIR, which is made: its files with an MLmodel, the exact lock of its environment, the
    run with its parts, and a card to read. `bis serve DIR` and `bis model import DIR NAME` read it. MODEL is
    models:/churn/3, a run, or runs:/RUN/PATH.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from bis.acts import models

    site = models.Asking(home=door.home, folder=door.folder, variables=door.variables, now=datetime.now(UTC))
    into = door.folder / Path(folder).expanduser()
    placed = models.export(what, into, site, mlflow=format_ == "mlflow")
    names = sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())
    if as_json:
        told = {"folder": str(into), "model": placed.reference, "run": placed.run or None, "files": names}
        door.terminal.json("bis.model.export/1", told)
    else:
        word = door.terminal.paint("exported", "green")
        door.terminal.show([f"{word}  {plain(what)} to {plain(folder)}: {', '.join(map(plain, names))}"])
    return 0


# -- changing ----------------------------------------------------------------------------------------------------


@model.member
@command(
    "register",
    short_help="Make what a run made the next version of a model.",
    statuses={3: "there is no such run, or it made no such file", 5: STATUSES[5]},
    examples=[
        "bis model register churn train-12",
        "bis model register churn @latest --path model.joblib -m 'deeper' --tag reviewed=yes",
        "bis model register churn train-12 --alias challenger",
    ],
)
@click.option("--path", default="", metavar="PATH", help="Which output is the model; not needed where there is one.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What this version is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the version; may be given again.")
@click.option("--alias", default="", metavar="ALIAS", help="Let ALIAS mean it, too.")
@click.option("--again", is_flag=True, help="Make a new version even of what is one already.")
@reason_option
@json_option
@click.argument("name", type=ModelName(), metavar="NAME")
@click.argument("run", type=RunReference(), metavar="RUN")
def register(
    door: Door,
    name: str,
    run: str,
    path: str,
    message: str,
    tags: tuple[str, ...],
    alias: str,
    again: bool,
    reason: str,
    as_json: bool,
) -> int:
    """Make a file or folder that RUN made the next version of the model NAME, which is made where there is none. The
    number is never given again. What is a version of NAME already, whatever its bytes, is not made another: its tags
    and its alias are set on that one.
    """
    from bis.acts import registry
    from bis.cli import page_model
    from bis.cli.data_words import pair
    from bis.server import telling

    named = model_reference(door, name)
    if named.is_version:
        raise UsageError(f"{name!r} names a version already", hint=f"bis model register {named.name} {run}")
    if alias:
        registry.check_alias(alias)
    found, by = door.find(run), registry.by_here(spell(reason))
    told = dict(pair(text) for text in tags)
    done = registry.register(
        door.home, named.name, found, spell(path), by, description=spell(message), tags=told, again=again
    )
    added = done.version
    if alias:
        added = registry.alias(door.home, model_reference(door, added.exact), alias, by)
    if done.new:
        tell(door, [telling.model_made(registry.show(door.home, added.name).model)])
    made = [] if done.already else [telling.version_made(added)]
    tell(door, [*made, *([telling.alias_set(added, alias)] if alias else ())])
    if as_json:
        document = {"version": page_model.version_json(added), "new": done.new, "already": done.already}
        door.terminal.json("bis.model.register/1", document)
    elif done.already:
        door.terminal.show(page_model.already_lines(added, found, door.terminal))
    else:
        door.terminal.show(page_model.registered_lines(added, found, done.new, door.terminal))
    return 0


@model.member
@command(
    "import",
    short_help="Register a model that somebody else made, from its folder.",
    statuses={3: "there is no model in the folder", 5: STATUSES[5]},
    examples=["bis model import from-ana/ churn", "bis model import mlruns/0/…/artifacts/model churn -m 'of Ana'"],
)
@click.option("-m", "--message", default="", metavar="TEXT", help="What this version is.")
@reason_option
@json_option
@click.argument("folder", metavar="DIR")
@click.argument("name", type=ModelName(), metavar="NAME")
def import_(door: Door, folder: str, name: str, message: str, reason: str, as_json: bool) -> int:
    """Keep the model in the folder DIR, as bis or MLflow wrote it, in the store, and make it the next version of the
    model NAME. Nothing in it is run. A pickle is said to be one, and is not opened later without --trust.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from bis.acts import models, registry
    from bis.cli import page_model
    from bis.server import telling
    from bis.steps.model_folder import read_folder

    named = model_reference(door, name)
    if named.is_version:
        raise UsageError(f"{name!r} names a version already", hint=f"bis model import {folder} {named.name}")
    place, by = door.folder / Path(folder).expanduser(), registry.by_here(spell(reason))
    read_folder(place)  # before anything is made for it
    home = door.opened_home()
    site = models.Asking(home=home, folder=door.folder, variables=door.variables, now=datetime.now(UTC))
    done = models.import_(place, named.name, by, site, description=spell(message))
    if not done.already:
        tell(door, [telling.version_made(done.version)])
    if as_json:
        told = {"version": page_model.version_json(done.version), "already": done.already, "warnings": done.warnings}
        door.terminal.json("bis.model.import/1", told)
        return 0
    word = door.terminal.paint("there" if done.already else "imported", "green")
    which = door.terminal.paint(plain(done.version.reference), "cyan")
    door.terminal.show([f"{word}  {plain(folder)} is {which}{' already' if done.already else ''}"])
    for warning in done.warnings:
        door.terminal.tell(f"note: {plain(warning)}")
    return 0


@model.member
@command(
    "alias",
    short_help="Let a word mean a version.",
    statuses={1: "a condition does not hold that the settings enforce", 3: NO_MODEL, 5: STATUSES[5]},
    examples=[
        "bis model alias churn/3 challenger",
        "bis model alias churn --remove challenger",
        "bis model alias churn",
    ],
)
@click.option("--remove", multiple=True, metavar="ALIAS", help="Take this alias away; may be given again.")
@reason_option
@json_option
@click.argument("reference", type=ModelName(), metavar="MODEL")
@click.argument("aliases", nargs=-1, metavar="[ALIAS]...")
def alias(
    door: Door, reference: str, aliases: tuple[str, ...], remove: tuple[str, ...], reason: str, as_json: bool
) -> int:
    """Let each ALIAS mean the version MODEL from now on, and no other: `churn@champion` finds it. No condition is
    looked at, unless the settings enforce those of the alias: `bis model promote` does that. Without ALIAS, list the
    aliases of the model.
    """
    from bis.acts import registry
    from bis.server import telling

    named, by = model_reference(door, reference), registry.by_here(spell(reason))
    for word in aliases:
        tell(door, [telling.alias_set(registry.alias(door.home, named, word, by), word)])
    for word in remove:
        registry.unalias(door.home, named.name, word, by)
        tell(door, [telling.alias_deleted(named.name, word)])
    has = registry.show(door.home, named.name).model.aliases
    if as_json:
        door.terminal.json("bis.model.alias/1", {"name": named.name, "aliases": has})
    else:
        rows = [[plain(word), f"{plain(named.name)}/{number}"] for word, number in has.items()]
        door.terminal.show(door.terminal.aligned(rows) if door.terminal.tty else ["\t".join(row) for row in rows])
        if not has:
            door.terminal.tell(f"{plain(named.name)} has no aliases")
    return 0


@model.member
@command(
    "promote",
    short_help="Put a version into use, if it is good enough.",
    statuses={1: "a condition does not hold; nothing was changed", 3: NO_MODEL, 5: STATUSES[5]},
    examples=[
        "bis model promote churn/3",
        "bis model promote churn/3 --repeat equivalent --better metrics.rmse:lower --tagged reviewed=yes",
        "bis model promote churn/3 --force --reason 'the old one is broken'",
    ],
)
@click.option("--to", "alias_", default=CHAMPION, show_default=True, metavar="ALIAS", help="The alias that it gets.")
@click.option("--repeat", type=click.Choice(["identical", "equivalent"]), help="What its newest repeat must have said.")
@click.option(
    "--better",
    multiple=True,
    metavar="METRIC:lower|higher",
    help="A metric by which it must beat the version that has the alias. Equal is not better. May be given again.",
)
@click.option("--tagged", multiple=True, metavar="KEY[=VALUE]", help="A tag that it must have; may be given again.")
@click.option("--force", is_flag=True, help="Do it even where a condition does not hold; wants a --reason.")
@reason_option
@json_option
@click.argument("reference", type=ModelName(), metavar="MODEL")
def promote(
    door: Door,
    reference: str,
    alias_: str,
    repeat: str | None,
    better: tuple[str, ...],
    tagged: tuple[str, ...],
    force: bool,
    reason: str,
    as_json: bool,
) -> int:
    """Let `champion` mean the version MODEL, if the conditions hold: those given here, and those of the settings
    (`[promotion.champion]`). Where one does not, nothing is changed, both values are shown, and the history says that
    it was tried.
    """
    from bis.acts import registry
    from bis.cli import page_model
    from bis.server import telling
    from bis.settings import Promotion

    conditions = Promotion(repeat=repeat or "", better=better, tags=tagged)
    by = registry.by_here(spell(reason))
    done = registry.promote(door.home, model_reference(door, reference), alias_, conditions, by, force=force)
    tell(door, [telling.alias_set(done.version, done.alias)])
    if as_json:
        door.terminal.json("bis.model.promote/1", page_model.promoted_json(done))
    else:
        door.terminal.show(page_model.promoted_lines(done, door.terminal))
    return 0


@model.member
@command(
    "rollback",
    short_help="Put the version back into use that was before.",
    statuses={3: "there is no such model, or no version before", 5: STATUSES[5]},
    examples=["bis model rollback churn --reason 'it drifts'", "bis model rollback churn --alias challenger"],
)
@click.option("--alias", "alias_", default=CHAMPION, show_default=True, metavar="ALIAS", help="Which alias.")
@reason_option
@json_option
@click.argument("name", type=ModelName(), metavar="NAME")
def rollback(door: Door, name: str, alias_: str, reason: str, as_json: bool) -> int:
    """Let the alias of NAME mean the version again that it meant before. Done twice, it goes two back. It is a change
    of its own: what was stays in the history.
    """
    from bis.acts import registry
    from bis.cli import page_model
    from bis.server import telling

    named = model_reference(door, name).name
    before, found = registry.rollback(door.home, named, alias_, registry.by_here(spell(reason)))
    tell(door, [telling.alias_set(found, alias_)])
    if as_json:
        told = {"alias": alias_, "before": before or None, "version": page_model.version_json(found)}
        door.terminal.json("bis.model.rollback/1", told)
    else:
        was = f"  it was {named}/{before}" if before else ""
        word = door.terminal.paint("rolled back", "green")
        door.terminal.show([f"{word}  {plain(named)}@{alias_} is {plain(named)}/{found.number} again{plain(was)}"])
    return 0


@model.member
@command(
    "rm",
    short_help="Remove a version, or a model.",
    statuses={3: NO_MODEL, 5: STATUSES[5]},
    examples=["bis model rm churn/3", "bis model rm churn", "bis model rm --undo churn/3"],
)
@click.option("--undo", is_flag=True, help="Take a removal back.")
@reason_option
@json_option
@click.argument("reference", type=ModelName(), metavar="MODEL")
def rm(door: Door, reference: str, undo: bool, reason: str, as_json: bool) -> int:
    """Remove the version MODEL; a name alone removes the model with all its versions. It is not found any more; its
    history is, and its number is never given again. The run that made it, and its files, are left alone.

    The aliases of a version go with it, and come back with it unless they mean another version by then.
    """
    from bis.acts import registry

    by = registry.by_here(spell(reason))
    told, aliases = registry.remove(door.home, model_reference(door, reference), by, undo=undo)
    if as_json:
        door.terminal.json("bis.model.rm/1", {"undo": undo, "removed": told, "aliases": aliases})
    else:
        word = ("back", "green") if undo else ("removed", "red")
        called = f"  with {', '.join(map(plain, aliases))}" if aliases else ""
        door.terminal.show([f"{door.terminal.paint(*word)}  {plain(told)}{called}"])
        if not undo:
            again = shlex.join(["bis", "model", "rm", "--undo", told.removeprefix("models:/")])
            door.terminal.tell(f"help: {again}  takes it back")
    return 0
