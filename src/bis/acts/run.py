"""`bis run`: execute a command and record everything its result came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bis.errors import KeepingError, UsageError
from bis.settings import FOLDER, Settings, find_project, load_settings
from bis.steps import trace as traces

if TYPE_CHECKING:
    from bis.nouns.run import Run
    from bis.steps.perform import Receive


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
    tell: Callable[[str], None] = lambda text: None,
    receive: Receive | None = None,
) -> Run:
    """Execute `command` in `folder` and return its sealed record. `tell`: what a person should know beside it;
    `receive`: what takes in what the command logs over HTTP.

    Raises UsageError for a command that cannot be started and KeepingError for a place that cannot be written;
    once the command has started, whatever becomes of it is in the record.
    """
    if not command or not command[0]:
        raise UsageError("there is no command to run", hint="bis run -- python train.py")
    folder = folder.resolve()
    project = find_project(folder)
    settings = _settings(load_settings(project, variables), options)
    # The tracer and the version control get ready while the rest of bis is imported and its files are opened.
    with traces.start(settings.trace) as tracer:
        from bis.parts.vcs import ask

        # Not while `.bis/` is being made: Git would see files in it that are not ignored yet.
        asked = ask(project, variables) if (project / FOLDER / ".gitignore").exists() else None
        from bis.steps import chance as chances
        from bis.steps.home import bring_up, open_home
        from bis.steps.perform import perform
        from bis.steps.planning import plan
        from bis.steps.recover import recover_lost

        home = open_home(project, settings, variables=variables)
        if remark := bring_up(home, recording=True):
            tell(remark)
        recover_lost(home, variables)
        enabled = options.seeded and settings.seed
        chance = chances.draw(variables, seed=options.seed, enabled=enabled, deterministic=options.deterministic)
        planned = plan(
            command,
            folder,
            home,
            variables,
            chance=chance,
            name=options.name,
            note=options.note,
            quiet=options.quiet,
            asked=asked,
        )
        try:
            return perform(planned, home, started=started, tracer=tracer, receive=receive).run
        except BaseException:
            with suppress(KeepingError):
                home.ledger.unname(planned.run.name)
            raise


def _settings(settings: Settings, options: RunOptions) -> Settings:
    return msgspec.structs.replace(
        settings,
        data=(*settings.data, *options.data),
        copy_data=settings.copy_data or options.copy_data,
        trace=options.tracing or settings.trace,
    )
