"""`bis evaluate`: versions of a model on versions of data. Each cell of the table is a run of its own, in the model's
environment, which `bis repeat` repeats like any other; one that was evaluated already is not run again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from bis.digest import Digest, digest_file, digest_value, readable, short
from bis.errors import CannotRepeat, NotFound, UsageError
from bis.nouns.annotation import Annotation
from bis.nouns.dataset import Held
from bis.nouns.model import OF_MODEL
from bis.nouns.run import Run
from bis.steps import chance as chances
from bis.steps.annotations import keep
from bis.steps.bring import bring, leaves_of
from bis.steps.declared_metrics import declared
from bis.steps.here import now as clock
from bis.steps.here import user_here
from bis.steps.home import Home
from bis.steps.leftovers import all_in_use
from bis.steps.model_environment import environment
from bis.steps.model_folder import read_folder
from bis.steps.model_place import Placed, models_folder, place
from bis.steps.perform import perform
from bis.steps.planning import ROOMS, plan
from bis.steps.repeating import environments_folder
from bis.steps.site import Site

TAG: Final = "evaluation"
"""The tag of a run that is a cell: what it is of, as a digest."""
SOURCE: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("flavors", "scoring")
"""Packages that an evaluation takes along, so that its record holds all that it ran."""
REFUSED: Final = 65
"""The status of an evaluation that makes no sense."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How models are to be evaluated."""

    target: str = ""
    """The column that says what is true; empty: the only one that the model does not take."""
    metrics: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    """Those that the training of the model told: they count where nobody asks for others and they can be told."""
    task: str = ""
    script: Path | None = None
    python: str = ""
    trust: bool = False
    again: bool = False
    """Evaluate even what was evaluated already."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model on one version of data."""

    model: str
    data: str
    run: Run
    metrics: dict[str, float]
    known: bool = False
    """It was evaluated before."""


def evaluate(models: Sequence[str], data: Sequence[tuple[Held, str]], asked: Asked, site: Site) -> list[Cell]:
    """A cell for each model with each version of data, and a path in it. Raises UsageError for what makes no sense, and
    what is wrong with a model or its environment."""
    cache = models_folder(site.home.settings, site.variables)
    with all_in_use(cache.parent):
        return _cells(models, data, asked, site, cache)


def _cells(
    models: Sequence[str], data: Sequence[tuple[Held, str]], asked: Asked, site: Site, cache: Path
) -> list[Cell]:
    placed = [place(text, site.now, site.folder, lambda: site.home, cache) for text in models]
    asked = msgspec.structs.replace(asked, declared=_declared(placed, asked, site.home))
    return [
        _cell(one, text, held, path, asked, site)
        for text, one in zip(models, placed, strict=True)
        for held, path in data
    ]


def _cell(placed: Placed, text: str, held: Held, path: str, asked: Asked, site: Site) -> Cell:
    called = f"data:/{held.reference}" + (f"/{path}" if path else "")
    key = short(_key(placed, held, path, asked, site.home), 24)
    if not asked.again and (known := _before(key, site.home)):
        return Cell(model=text, data=called, run=known, metrics=known.metrics, known=True)
    site.say(f"evaluating {text} on {called}")
    room = models_folder(site.home.settings, site.variables).parent / ROOMS / key
    shutil.rmtree(room, ignore_errors=True)
    try:
        run = _performed(placed, held, path, asked, room, site)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if not run.ok:
        raise _failed(run, text, called, site.home)
    model = {OF_MODEL: f"models:/{placed.name}/{placed.version}"} if placed.version else {}
    tags = {TAG: key, "model": text, "data": called, **model}
    keep(Annotation(run=run.id, made=clock(), user=user_here(), tags=tags), site.home.store, site.home.ledger)
    return Cell(model=text, data=called, run=run, metrics=run.metrics)


def _declared(models: Sequence[Placed], asked: Asked, home: Home) -> tuple[str, ...]:
    """What the models came with, and the runs that made them measured, where nobody says what is to be: the same for
    all of a table."""
    found: set[str] = set()
    for one in models if not (asked.metrics or asked.script) else ():
        model = read_folder(one.folder)
        found.update(model.measured)
        if run := one.run or model.run:
            with suppress(NotFound):
                found.update(home.ledger.get(run).metrics)
    return declared(found)


def _key(placed: Placed, held: Held, path: str, asked: Asked, home: Home) -> Digest:
    """What a cell is of: the same for the same model, data, question and code."""
    files = {leaf.path: leaf.entry.digest for leaf in leaves_of(held, path, home) if leaf.entry.kind != "tree"}
    model = placed.content or {name: digest_file(placed.folder / name) for name in _names(placed.folder)}
    code = {f"{name}/{one}": digest_file(SOURCE / name / one) for name in CODE for one in _names(SOURCE / name)}
    script = digest_file(asked.script) if asked.script else ""
    question = [asked.target, list(asked.metrics), list(asked.declared), asked.task, script]
    return digest_value({"model": model, "data": files, "question": question, "code": code, "python": asked.python})


def _names(folder: Path) -> list[str]:
    found = [one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
    return sorted(one.relative_to(folder).as_posix() for one in found)


def _before(key: str, home: Home) -> Run | None:
    """The newest run that is this cell."""
    for row in home.ledger.rows(f"tags.{TAG} = '{key}' AND removed = '' AND repeats = ''", limit=1):
        found = home.ledger.get(row.id)
        return found if found.ok else None
    return None


def _performed(placed: Placed, held: Held, path: str, asked: Asked, room: Path, site: Site) -> Run:
    """The sealed run of a cell. All that it needs lies in its folder."""
    home = site.home
    model = read_folder(placed.folder)
    run = placed.run or model.run
    chosen = environment(
        placed.folder,
        home=home if run else None,
        run=run,
        python=asked.python,
        variables=site.variables,
        cache=environments_folder(home.settings, site.variables),
        progress=site.say,
    )
    room.mkdir(parents=True)
    shutil.copytree(placed.folder, room / "model")
    brought = bring(held, path, room / "data", home)
    data = os.fspath(brought.into.relative_to(room))
    if asked.script:
        shutil.copyfile(asked.script, room / asked.script.name)
        words = [asked.script.name, "model", data]
    else:
        for name in CODE:
            shutil.copytree(SOURCE / name, room / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
        (room / "described").write_text(json.dumps(model.described, sort_keys=True), "utf-8")
        words = ["code/scoring/evaluate.py", "--model", "model", "--described", "described", "--data", data]
        words += ["--target", asked.target] if asked.target else []
        words += ["--metrics", ",".join(asked.metrics)] if asked.metrics else []
        words += ["--declared", ",".join(asked.declared)] if asked.declared else []
        words += ["--task", asked.task] if asked.task else []
        words += ["--trust"] if asked.trust or placed.own else []
    there = msgspec.structs.replace(home, project=room)
    chance = chances.draw(site.variables)
    planned = plan([os.fspath(chosen.python), *words], room, there, site.variables, chance=chance, quiet=True)
    return perform(planned, there).run


def _failed(run: Run, model: str, data: str, home: Home) -> UsageError | CannotRepeat:
    """What an evaluation said of why it failed. One that made no sense is no run that anybody wants."""
    digest = next((output.digest for output in run.outputs if output.path == "<stderr>"), None)
    said = home.store.get_bytes(digest).decode("utf-8", "replace").strip().splitlines() if digest else []
    if run.exit == REFUSED:
        told = dict(line.split(": ", 1) for line in said if line.startswith(("error: ", "because: ", "hint: ")))
        keep(Annotation(run=run.id, made=clock(), user=user_here(), hidden=True), home.store, home.ledger)
        return UsageError(told.get("error", ""), because=told.get("because", ""), hint=told.get("hint", ""))
    return CannotRepeat(
        f"{model} could not be evaluated on {data}",
        because=readable(said[-1]) if said else "It said nothing.",
        hint=f"bis show {run.id[:8]} --log",
    )
