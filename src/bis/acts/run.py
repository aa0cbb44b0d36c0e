"""`bis run`: execute a command and record everything its result came from."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bis.digest import spell, unspell
from bis.errors import UsageError
from bis.ledger.runs import command_key
from bis.nouns.run import Chance, Run
from bis.parts import Scene
from bis.parts.secret import hide_argv
from bis.settings import Settings, find_project, load_settings
from bis.steps import chance as chances
from bis.steps.capture import auto_name, known_outputs, made_inputs, remembered_inputs
from bis.steps.home import Home, open_home
from bis.steps.notebook import notebook_command
from bis.steps.perform import Plan, conditions_here, new_run, perform
from bis.steps.recover import recover_lost
from bis.store.snapshot import put_leaves

RECENT = 5
"""So many of the newest runs are asked for their outputs, which are no code of the next."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    note: str = ""
    seed: int | None = None
    seeded: bool = True
    deterministic: bool = False
    tracing: str = ""
    data: tuple[str, ...] = ()
    copy_data: bool = False
    quiet: bool = False


def run(
    command: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    options: RunOptions = RunOptions(),  # noqa: B008 - a frozen value
    started: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Execute `command` in `folder` and return its sealed record.

    Raises UsageError for a command that cannot be started and KeepingError for a place that cannot be written;
    once the command has started, whatever becomes of it is in the record.
    """
    if not command:
        raise UsageError("there is no command to run", hint="bis run -- python train.py")
    folder = folder.resolve()
    project = find_project(folder)
    settings = _settings(load_settings(project, variables), options)
    home = open_home(project, settings)
    recover_lost(home, variables)
    executed = notebook_command(command, folder, variables)
    enabled = options.seeded and settings.seed
    chance = chances.draw(variables, seed=options.seed, enabled=enabled, deterministic=options.deterministic)
    scene = _scene(command, folder, home, variables)
    plan = Plan(
        run=_record(command, scene, home, options, chance),
        scene=scene,
        command=executed,
        chance=chance,
        scratch=home.live,
        tracing=settings.trace,
        quiet=options.quiet,
    )
    return perform(plan, home, started=started).run


def _settings(settings: Settings, options: RunOptions) -> Settings:
    return msgspec.structs.replace(
        settings,
        data=(*settings.data, *options.data),
        copy_data=settings.copy_data or options.copy_data,
        trace=options.tracing or settings.trace,
    )


def _scene(command: Sequence[str], folder: Path, home: Home, variables: Mapping[str, str]) -> Scene:
    last = home.ledger.last(command_key(command, _folder(folder, home)))
    return Scene(
        project=home.project,
        folder=folder,
        command=tuple(command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        cache=home.cache,
        known_outputs=_still_outputs(home) | made_inputs(last.parts.get("data") if last else None),
        remembered=remembered_inputs(last),
    )


def _still_outputs(home: Home) -> frozenset[str]:
    """Outputs of recent runs that nobody has changed since."""
    known = known_outputs(home.ledger.runs(limit=RECENT), home.project)
    present = [(name, home.project / unspell(name)) for name in sorted(known)]
    leaves = put_leaves([(name, path) for name, path in present if path.is_file()], None, home.cache)
    return frozenset(leaf.path for leaf in leaves if leaf.entry.digest in known[leaf.path])


def _record(command: Sequence[str], scene: Scene, home: Home, options: RunOptions, chance: Chance) -> Run:
    return new_run(
        secrets.token_hex(6),
        options.name or auto_name(command, home.ledger.count("repeats = ''") + 1, scene.folder),
        [spell(word) for word in hide_argv(command, home.key)],
        _folder(scene.folder, home),
        home.project,
        conditions=conditions_here(scene.variables),
        chance=chance,
        parent=scene.variables.get("BIS_RUN", ""),
        note=options.note,
    )


def _folder(folder: Path, home: Home) -> str:
    return spell(os.path.relpath(folder, home.project))
