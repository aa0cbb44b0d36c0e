"""From how a model is named to all that a worker needs: its files here, an interpreter for them, what it may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from bis.errors import NotFound
from bis.serving.version import Version
from bis.serving.workers import Job, Started, start
from bis.steps.home import Home
from bis.steps.leftovers import in_use, using
from bis.steps.model_environment import environment
from bis.steps.model_folder import read_folder
from bis.steps.model_place import Homes, Placed, place


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of a model may use."""

    workers: int = 1
    threads: int = 1
    """Of one worker, for one prediction."""
    cpus: int = 0
    """Processors that all of them share; 0: all."""
    memory: int = 0
    """Bytes for each; 0: as many as there are."""
    together: int = 64
    """Requests that are predicted as one, at most."""
    seconds: float = 60.0
    """For an answer."""
    loading: float = 600.0
    """Seconds until a worker can be asked."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A version that workers can be started for."""

    version: Version
    job: Job
    python: Path
    cached: bool = False
    """Whether that is in an environment which bis made for itself."""
    example: str = ""
    described: dict[str, Any] = {}
    told: tuple[str, ...] = ()
    """What whoever serves it should know."""
    held: contextlib.ExitStack = msgspec.field(default_factory=contextlib.ExitStack)
    """Keeps its files and its environment from being cleaned away, until it is closed."""

    def begin(self, variables: Mapping[str, str]) -> Started:
        """Start a worker. Where the environment is bis' own, what is compiled is kept there, though others keep it
        nowhere: compiling scikit-learn anew takes longer than to load it."""
        kept = {name: value for name, value in variables.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return start(self.python, self.job, kept if self.cached else variables)


class Preparing(msgspec.Struct, frozen=True, kw_only=True):
    """What all models of one server have in common."""

    folder: Path
    """Where the command was typed."""
    homes: Homes
    environments: Path
    models: Path
    variables: Mapping[str, str]
    clock: Callable[[], datetime]
    python: str = ""
    trust: bool = False
    bounds: Bounds = Bounds()
    progress: Callable[[str], None] = lambda text: None


def prepare(text: str, name: str, asked: Preparing) -> Prepared:
    """`name`: how it is called in addresses; empty: by its own name. Raises what is wrong with it."""
    placed = place(text, asked.clock(), asked.folder, asked.homes, asked.models)
    return _prepared(placed, name, asked)


def _prepared(placed: Placed, name: str, asked: Preparing) -> Prepared:
    model = read_folder(placed.folder)
    run = placed.run or model.run
    chosen = environment(
        placed.folder,
        home=_home(asked) if run and not asked.python else None,
        run=run,
        python=asked.python,
        variables=asked.variables,
        cache=asked.environments,
        progress=asked.progress,
    )
    called = name or placed.name
    version = Version(
        name=called,
        number=placed.version,
        run=run,
        identity=model.identity,
        content=placed.content or str(placed.folder),
    )
    bounds = asked.bounds
    job = Job(
        folder=os.fspath(placed.folder),
        description=model.described,
        name=called,
        version=placed.version,
        trust=asked.trust or placed.own,
        threads=bounds.threads,
        cpus=_cpus(bounds.cpus),
        memory=bounds.memory,
        together=bounds.together > 1,
        front=os.getpid(),
    )
    told = (chosen.told,) if chosen.told else ()
    held = contextlib.ExitStack()
    held.enter_context(in_use(chosen.rebuilt))
    if placed.content:  # it lies in the cache
        held.enter_context(using(placed.folder))
    return Prepared(
        version=version,
        job=job,
        python=chosen.python,
        cached=chosen.rebuilt is not None and chosen.rebuilt.how in ("built", "cached"),
        example=model.example,
        described=model.described,
        told=told,
        held=held,
    )


def _home(asked: Preparing) -> Home | None:
    try:
        return asked.homes()
    except NotFound:
        return None


def _cpus(number: int) -> tuple[int, ...]:
    """So many of the processors that this process may use; none: all of them."""
    if not number or not hasattr(os, "sched_getaffinity"):
        return ()
    return tuple(sorted(os.sched_getaffinity(0))[:number])
