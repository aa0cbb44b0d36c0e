"""Before a command starts: all that is decided about its run, and looked up for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bis.digest import spell, unspell
from bis.nouns.run import Chance, Run, command_key
from bis.parts import Scene
from bis.parts.secret import hide_argv
from bis.parts.vcs import Asked
from bis.steps.capture import known_outputs, made_inputs, remembered_inputs, stem_of
from bis.steps.here import now
from bis.steps.home import Home
from bis.steps.notebook import notebook_command
from bis.steps.perform import Plan, conditions_here, new_run
from bis.store.snapshot import put_leaves

RECENT = 5
"""So many of the newest runs are asked for their outputs, which are no code of the next."""
ROOMS: Final = "evaluations"
"""Where cells of evaluations have their folders, apart from the project."""


def plan(
    command: Sequence[str],
    folder: Path,
    home: Home,
    variables: Mapping[str, str],
    *,
    chance: Chance,
    name: str = "",
    note: str = "",
    quiet: bool = False,
    asked: Asked | None = None,
) -> Plan:
    """The plan of a run of `command`. `asked`: what the version control was asked ahead."""
    executed = notebook_command(command, folder, variables)
    scene = _scene(command, folder, home, variables, asked)
    return Plan(
        run=_record(command, scene, home, name, note, chance),
        scene=scene,
        command=executed,
        chance=chance,
        scratch=home.live,
        tracing=home.settings.trace,
        quiet=quiet,
    )


def _scene(
    command: Sequence[str], folder: Path, home: Home, variables: Mapping[str, str], asked: Asked | None
) -> Scene:
    last = home.ledger.last(command_key(command, _folder(folder, home)))
    return Scene(
        project=home.project,
        folder=folder,
        command=tuple(command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        asked=asked,
        cache=home.cache,
        known_outputs=still_outputs(home) | made_inputs(last.parts.get("data") if last else None),
        remembered=remembered_inputs(last),
    )


def still_outputs(home: Home) -> frozenset[str]:
    """Outputs of recent runs that nobody has changed since."""
    known = known_outputs(_recent(home), home.project)
    present = [(name, home.project / unspell(name)) for name in sorted(known)]
    leaves = put_leaves([(name, path) for name, path in present if path.is_file()], None, home.cache)
    return frozenset(leaf.path for leaf in leaves if leaf.entry.digest in known[leaf.path])


def _recent(home: Home) -> list[Run]:
    """The newest runs of the project, however many cells of an evaluation came after them: those have folders of their
    own, and make nothing here."""
    for limit in (RECENT, 4 * RECENT, 16 * RECENT):
        there = home.ledger.recorded(limit)
        found = [run for run in there if Path(unspell(run.project)).parent.name != ROOMS]
        if len(found) >= RECENT or len(there) < limit:
            break
    return found[:RECENT]


def _record(command: Sequence[str], scene: Scene, home: Home, name: str, note: str, chance: Chance) -> Run:
    return new_run(
        os.urandom(6).hex(),
        name or home.ledger.name(stem_of(command, scene.folder), now()),
        [spell(word) for word in hide_argv(command, home.key)],
        _folder(scene.folder, home),
        home.project,
        conditions=conditions_here(scene.variables),
        chance=chance,
        parent=scene.variables.get("BIS_RUN", ""),
        note=note,
    )


def _folder(folder: Path, home: Home) -> str:
    return spell(os.path.relpath(folder, home.project))
