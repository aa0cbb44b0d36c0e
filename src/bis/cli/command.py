"""What every command has in common: the options for all of them, help with exit statuses, suggestions, the project."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from bis.errors import BisError, UsageError, counted

if TYPE_CHECKING:
    from bis.cli.render import Terminal
    from bis.nouns.run import Run
    from bis.settings import Settings
    from bis.steps.home import Home

Function = TypeVar("Function", bound=Callable[..., Any])

STATUSES = {
    0: "done",
    1: "a difference was found",
    2: "wrong use",
    3: "not found",
    4: "the run cannot be repeated here",
    5: "trouble with the store, the ledger or the network",
    125: "bis itself failed",
}


class Door:
    """What a command gets from outside: folder, clock, environment variables, terminal. Nothing is read elsewhere."""

    def __init__(self) -> None:
        self.variables: Mapping[str, str] = dict(os.environ)
        self.start = Path.cwd
        self.project_option = ""
        self.color = "auto"
        self.pager = True
        self.quiet = False
        self.as_json = False
        """Whether a script asked, with `--json`: it gets an object, and where there is no result, the error as one."""

    @cached_property
    def folder(self) -> Path:
        """Where the command was typed, or what `-C` says."""
        try:
            folder = (self.start() / self.project_option).resolve()
        except FileNotFoundError:
            raise UsageError("the current folder is not there any more", hint="cd somewhere else") from None
        if not folder.is_dir():
            state = "is not a folder" if folder.exists() else "is not there"
            raise UsageError(f"{self.project_option} {state}", hint="bis -C FOLDER, or cd FOLDER first")
        return folder

    @cached_property
    def terminal(self) -> Terminal:
        from bis.cli.render import Terminal

        return Terminal(self.variables, color=self.color, pager=self.pager, quiet=self.quiet)

    @cached_property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @cached_property
    def project(self) -> Path:
        from bis.settings import find_project

        return find_project(self.folder)

    @cached_property
    def settings(self) -> Settings:
        from bis.settings import load_settings

        return load_settings(self.project, self.variables)

    @cached_property
    def home(self) -> Home:
        """The project's runs, those that lost their supervisor marked as lost. NotFound where none were recorded."""
        home = self.opened_home(create=False)
        if home.live.is_dir() and any(home.live.iterdir()):
            from bis.steps.recover import recover_lost

            recover_lost(home, self.variables)
        if home.logging.is_dir():
            from bis.acts.sync import sync

            list(sync(home, self.variables, servers=False))
        if any(run.repeats for run in home.ledger.under_way()):
            import tempfile

            from bis.steps.leftovers import recover_repeats

            recover_repeats(home, Path(tempfile.gettempdir()))
        return home

    def opened_home(self, *, create: bool = True, recording: bool = False, serving: bool = False) -> Home:
        """The project's home with a ledger that knows what the store has; made where there is none, unless told not
        to. Another command may be making it at this moment. A server may be `serving` a bucket."""
        from bis.steps.home import bring_up, open_home

        home = open_home(self.project, self.settings, create=create, variables=self.variables, serving=serving)
        if remark := bring_up(home, record_meter(self.terminal), recording=recording):
            self.terminal.tell(f"help: {remark}")
        return home

    def answer(self, error: BisError) -> None:
        """Give a script the error in place of a result, on standard output; people read it on stderr."""
        if self.as_json and not self.terminal.answered:
            self.terminal.json("bis.error/1", {"error": error.told()})

    def find(self, reference: str, *, removed: bool = False) -> Run:
        """The run that a person means; with `removed`, one that was removed."""
        from bis.nouns.reference import parse

        # By the clock of this machine: "yesterday" ends at its midnight, in summer time and in winter time.
        return self.home.ledger.find(parse(reference, self.now.astimezone().replace(tzinfo=None)), removed=removed)


def record_meter(terminal: Terminal) -> Callable[[int, int], None]:
    """Tells how far the reading of a store's records is."""
    return lambda done, total: terminal.meter(f"read {done:,} of {counted(total, 'record')}", done, total)


def byte_meter(terminal: Terminal) -> Callable[[str, int, int], None]:
    """Bytes, rate and what is left on stderr."""
    from bis.text import size

    started: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        begun = started.setdefault(what, time.monotonic())
        if what.startswith("reading"):
            terminal.meter(f"{what}, {done:,} of {total:,}", done, total)
            return
        passed = time.monotonic() - begun
        rate = f", {size(done / passed)}/s" if passed > 0.5 else ""
        terminal.meter(f"{what} {size(done)} of {size(total)}{rate}", done, total)

    return tell


pass_door = click.make_pass_decorator(Door)


class Command(click.Command):
    """A command that says what its exit statuses mean, and what was meant by a misspelled option."""

    def __init__(
        self, *args: Any, statuses: Mapping[int, str] | None = None, examples: Sequence[str] = (), **others: Any
    ) -> None:
        super().__init__(*args, **others)
        self.statuses = {0: STATUSES[0], 2: STATUSES[2], **(statuses or {})}
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            self._note_json(ctx, words)
            raise misuse(ctx, error, *self.examples) from None

    def _note_json(self, ctx: click.Context, words: list[str]) -> None:
        """Of a line that could not be read: whether a script typed it. Words after `--` belong to another command."""
        own = list(takewhile(lambda word: word != "--", words))
        if not self.context_settings.get("allow_interspersed_args", True) and "--" not in words:
            own = list(takewhile(lambda word: word.startswith("-"), words))
        door = ctx.find_object(Door)
        if door is not None and "--json" in own and any("--json" in param.opts for param in self.params):
            door.as_json = True

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_end(self.examples, self.statuses, formatter)


Made = TypeVar("Made", bound=Command)


class Family(Command, click.Group):
    """Commands with a word in common (`bis data add`), which says what was meant by one that is not there."""

    def member(self, made: Made) -> Made:
        """Take a command in, as a decorator."""
        self.add_command(made)
        return made

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near = nearest(args[0], self.commands)
            hint = f"did you mean  {shlex.join([*ctx.command_path.split(), near, *args[1:]])}" if near else ""
            raise UsageError(
                f'{ctx.command_path} has no command "{args[0]}"', hint=hint or f"{ctx.command_path} --help"
            )
        return super().resolve_command(ctx, args)


def _format_end(examples: Sequence[str], statuses: Mapping[int, str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
    with formatter.section("Exit status"):
        formatter.write_dl([(str(status), meaning) for status, meaning in sorted(statuses.items())])


CONDITION: Final = re.compile(r"[=<>]|\b(?:NOT )?(?:I?LIKE|IN|IS)\b", re.IGNORECASE)
"""What words have in them that are a filter."""


def misuse(ctx: click.Context, error: click.UsageError, *examples: str) -> UsageError:
    """What click found wrong with a command line, with what was meant or an example."""
    example = examples[0] if examples else f"{ctx.command_path} --help"
    match error:
        case click.NoSuchOption():
            return _no_option(ctx, error.option_name)
        case click.MissingParameter():
            name = error.param.make_metavar(ctx) if error.param else "a word"
            return UsageError(f"{ctx.command_path}: {name} is missing", hint=example)
        case click.BadOptionUsage():
            return UsageError(f"{ctx.command_path}: {_needs(ctx, error.option_name)}", hint=example)
        case click.BadParameter() if error.param is not None:
            return _bad_value(ctx, error.param, error.message)
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.format_message())
    if extra:
        filtered = any("--filter" in param.opts for param in ctx.command.get_params(ctx)) and CONDITION.search(extra[1])
        meant = f"{ctx.command_path} --filter {_quoted(extra[1])}"
        return UsageError(f"{ctx.command_path}: too many words: {extra[1]}", hint=meant if filtered else example)
    return UsageError(error.format_message(), hint=f"{ctx.command_path} --help")


def _quoted(text: str) -> str:
    """As a shell takes it and a person reads it: filters have apostrophes."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def _no_option(ctx: click.Context, typed: str) -> UsageError:
    """The error for an option that is not there, with the one that was probably meant."""
    known = [name for param in ctx.command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
    options = [name for name in known if name.startswith("-")]
    from difflib import get_close_matches

    near = get_close_matches(typed.partition("=")[0], options, 1, 0.5)
    what = f'{ctx.command_path} has no option "{typed}"'
    return UsageError(what, because=f"Did you mean {near[0]}?" if near else "", hint=f"{ctx.command_path} --help")


def _needs(ctx: click.Context, typed: str) -> str:
    """That the value of an option is missing, or not wanted."""
    for param in ctx.command.get_params(ctx):
        if typed in param.opts and isinstance(param, click.Option) and not param.is_flag:
            return f"{typed} needs a value, {param.make_metavar(ctx)}"
    return f"{typed} takes no value"


def _bad_value(ctx: click.Context, param: click.Parameter, said: str) -> UsageError:
    """What a value should have been; of some words, the one that was probably meant."""
    name = max(param.opts, key=len) if isinstance(param, click.Option) else param.make_metavar(ctx)
    typed = re.search(r"'((?:[^'\\]|\\.)*)'|(-?\d+)", said)
    value = next(filter(None, typed.groups()), "") if typed else ""
    hint = f"{ctx.command_path} --help"
    if isinstance(param.type, click.Choice):
        near = nearest(value, param.type.choices)
        because = f"Did you mean {near}?" if near else ""
        one_of = ", ".join(param.type.choices)
        return UsageError(f"{ctx.command_path}: {name} is one of {one_of}, not {value!r}", because=because, hint=hint)
    if isinstance(param.type, click.IntRange):
        return UsageError(
            f"{ctx.command_path}: {name} is a whole number from {param.type.min} on, not {value!r}", hint=hint
        )
    return UsageError(f"{ctx.command_path}: {name}: {said}", hint=hint)


def nearest(word: str, known: Iterable[str], likeness: float = 0.5) -> str:
    """The known word that was probably meant; empty when none is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 1, likeness)
    return found[0] if found else ""


# -- options for all commands ------------------------------------------------------------------------------------


def everywhere(hidden: bool) -> Callable[[Function], Function]:
    """The options that may stand before the command and behind it; shown in the help of `bis` only."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        door = ctx.find_object(Door)
        if door is not None and param.name is not None and value not in (None, False):
            setattr(door, param.name, False if param.name == "pager" else value)

    def add(function: Function) -> Function:
        for option in (
            click.option("-q", "--quiet", is_flag=True, help="No progress and no advice.", **_kept(hidden, keep)),
            click.option("--no-pager", "pager", is_flag=True, help="Never use a pager.", **_kept(hidden, keep)),
            click.option(
                "--color",
                type=click.Choice(["auto", "always", "never"]),
                help="When to use colours. NO_COLOR and FORCE_COLOR are obeyed, too.",
                **_kept(hidden, keep),
            ),
            click.option(
                "-C",
                "--project",
                "project_option",
                metavar="DIR",
                help="Act as if started in DIR.",
                **_kept(hidden, keep),
            ),
        ):
            function = option(function)
        return function

    return add


def _kept(hidden: bool, keep: Callable[..., None]) -> dict[str, Any]:
    return {"hidden": hidden, "expose_value": False, "callback": keep}


def command(
    name: str, *, statuses: Mapping[int, str] | None = None, examples: Sequence[str] = (), **others: Any
) -> Callable[[Callable[..., int]], Command]:
    """Make a command of a function that takes the Door and returns the exit status."""

    def make(function: Callable[..., int]) -> Command:
        made = click.command(name, cls=Command, statuses=statuses, examples=examples, **others)
        return made(everywhere(hidden=True)(pass_door(function)))

    return make


def family(
    name: str, *, statuses: Mapping[int, str] | None = None, examples: Sequence[str] = (), **others: Any
) -> Callable[[Callable[..., Any]], Family]:
    """Make a family of commands, empty yet, of a function whose docstring says what they are for, and which does
    something itself where it is `invoke_without_command`."""

    def make(function: Callable[..., Any]) -> Family:
        made = click.group(name, cls=Family, statuses=statuses, examples=examples, **others)
        return made(everywhere(hidden=True)(function))

    return make


def json_option(function: Function) -> Function:
    def keep(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
        door = ctx.find_object(Door)
        if door is not None:
            door.as_json = value
        return value

    told = "One JSON object, with its schema; also for an error."
    # Eager: known before the values of other options are looked at, which may be wrong.
    option = click.option("--json", "as_json", is_flag=True, is_eager=True, callback=keep, help=told)
    return option(function)


def utc_option(function: Function) -> Function:
    told = "Times on the clock of UTC, where a terminal would say how long ago."
    return click.option("--utc", is_flag=True, help=told)(function)


# -- completion --------------------------------------------------------------------------------------------------


class Completed(click.ParamType):  # type: ignore[type-arg]  # generic since 8.5 only
    """A word that a shell can complete, by `completions`."""

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(self.completions(ctx, incomplete))
        except Exception:  # a shell that asks for words must never get a failure
            return []


def door_of(ctx: click.Context) -> Door:
    """The door of a command that is only being typed."""
    door = Door()
    door.project_option = ctx.find_root().params.get("project_option") or ""
    return door


class RunReference(Completed):
    """How a person names a run. Completes names and ids, saying what each run was."""

    name = "run"

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        return _completions(ctx, incomplete)


def _completions(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from bis.text import ago, number, plain

    door = door_of(ctx)
    for run in door.home.ledger.rows("removed = ''", limit=100):
        metrics = ", ".join(f"{plain(name)} {number(value)}" for name, value in list(run.metrics.items())[:2])
        told = ", ".join(filter(None, (run.status, ago(run.started, door.now), metrics)))
        if plain(run.name).startswith(incomplete):
            yield CompletionItem(plain(run.name), help=told)
        elif incomplete and run.id.startswith(incomplete):
            yield CompletionItem(run.id, help=f"{plain(run.name)}, {told}")
    if incomplete and "@latest".startswith(incomplete):
        yield CompletionItem("@latest", help="the newest run")
