"""The command `bis`: which commands there are. Each is imported when it is used."""

from __future__ import annotations

import importlib
import shlex
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from bis import __version__
from bis.cli.command import Door, everywhere, misuse, nearest
from bis.errors import UsageError


class Entry(NamedTuple):
    """A command: where it is, and what it does in a few words."""

    module: str
    says: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Record and repeat": {
        "run": Entry("run", "Run a command and record everything its result came from."),
        "repeat": Entry("repeat", "Run it again from the record and say whether it came out the same."),
        "restore": Entry("restore", "Put code and data of a run into a folder."),
    },
    "Look and compare": {
        "ui": Entry("ui", "Look at runs, data and models in a browser."),
        "log": Entry("look", "List the runs."),
        "show": Entry("look", "Show everything known of a run."),
        "diff": Entry("differ", "Say what is different between two runs."),
        "status": Entry("differ", "Say what would be different if a run ran now."),
        "tag": Entry("annotate", "Give tags to a run, to find it by."),
        "note": Entry("annotate", "Write a remark on a run."),
        "rename": Entry("experiment", "Give a run another name."),
        "experiment": Entry("experiment", "Keep runs that belong together in one place."),
        "rm": Entry("collect", "Remove runs, so that their content may be collected."),
    },
    "Data": {
        "data": Entry("data", "Keep versions of data sets, and bring them back."),
        "import": Entry("adopt", "Bring data over from DVC, Quilt, Kedro, Git LFS and others."),
        "export": Entry("adopt", "Give data to DVC, Quilt, Kedro or Croissant; runs to a browser."),
    },
    "Models": {
        "model": Entry("registry", "Register models, promote them, and take that back."),
        "evaluate": Entry("evaluate", "Evaluate versions of a model on versions of data."),
        "lineage": Entry("lineage", "Say what a thing is made of, and what it reached."),
        "build": Entry("build", "Build images, functions and manifests of runs and models."),
    },
    "Share": {
        "remote": Entry("share", "Name the places to share with."),
        "push": Entry("share", "Send to a remote what it has not."),
        "pull": Entry("share", "Bring what a remote has."),
        "fetch": Entry("share", "Bring what a remote has, without taking it into the ledger."),
        "clone": Entry("share", "Make a project that has all that a remote has."),
        "sync": Entry("sync", "Deliver what scripts logged while their server was away."),
    },
    "Serve": {
        "serve": Entry("serve", "Serve models over HTTP: predictions for whoever asks."),
        "predict": Entry("predict", "Score files of rows with a model, in bulk, as a run that can be repeated."),
        "server": Entry("server", "Serve runs and models to MLflow clients and browsers."),
    },
    "Keep": {
        "verify": Entry("keep", "Check every stored byte and every sealed run."),
        "du": Entry("keep", "Say what takes how much room on disk."),
        "gc": Entry("collect", "Delete from the store what nothing needs any more."),
        "clean": Entry("clean", "Remove cached environments that nobody used for long."),
        "reindex": Entry("keep", "Build the ledger again from the store."),
    },
    "Help": {
        "explain": Entry("words", "Explain an error code, or a finding of a run."),
        "completion": Entry("words", "Print the script that completes bis commands in a shell."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
CALLED_ELSEWHERE = {"logs": ["show", "--log"]}
"""What other programs call something that is called otherwise here."""


class Commands(click.Group):
    """The commands, by name, imported one by one. Their help does not need them."""

    def main(self, *args: Any, **others: Any) -> Any:
        """How click is entered when a shell asks for completions."""
        from bis.cli.words import register

        register()
        return super().main(*args, **others)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = getattr(importlib.import_module(f"bis.cli.{entry.module}"), cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise _no_command(args)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = ctx.obj or Door()
        try:
            return super().parse_args(ctx, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise misuse(ctx, error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<11}", entry.says) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=entry.says) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


def _no_command(words: list[str]) -> UsageError:
    import shutil

    typed = words[0]
    program = shutil.which(typed) is not None or typed.endswith(".ipynb")
    meant = CALLED_ELSEWHERE.get(typed) or list(filter(None, [nearest(typed, COMMANDS, 0.75 if program else 0.5)]))
    if meant:
        hint = f"did you mean  {shlex.join(['bis', *meant, *(words[1:] if _takes(meant[0], words[1:]) else [])])}"
    elif program:
        hint = f"did you mean  {shlex.join(['bis', 'run', '--', *words])}"
    else:
        hint = "bis --help"
    return UsageError(f'no command "{typed}"', hint=hint)


def _takes(name: str, words: list[str]) -> bool:
    """Whether a command has these options, and arguments for the rest."""
    entry = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(f"bis.cli.{entry.module}"), name)
    try:
        _, more, _ = command.make_parser(click.Context(command, **command.context_settings)).parse_args(list(words))
    except click.UsageError:
        return False
    return not more or isinstance(command, click.Group)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `bis run -- python train.py`, and then `bis repeat @`. RUN is the start of an id, a name,"
    " @latest (or @ for short), @{2026-05-03} or RUN~1. `bis COMMAND --help` says more.",
)
@click.version_option(__version__, "-V", "--version", message="bis %(version)s", help="Print the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a failure.")
@everywhere(hidden=False)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Record a run, repeat it, and prove that it came out the same."""
