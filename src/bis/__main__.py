"""The entry point of the command `bis`, and the last resort for whatever goes wrong in it."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from bis import __version__

TYPE_CHECKING = False  # Type checkers know the name; importing it from typing would cost a third of `bis --version`.
if TYPE_CHECKING:
    from bis.cli.command import Door
    from bis.errors import BisError

INTERRUPTED = 130
BROKEN_PIPE = 141
GARBAGE = 50_000
"""So many more objects than before are looked through for those that only hold each other."""
VALUED = ("-C", "--project", "--color")
"""Options before the command that take a word."""


def main() -> int:
    """Run the command line; the exit status. Nothing escapes as a traceback: it is saved in a file, which is named."""
    _open_streams()
    words, debug = _without_debug(sys.argv[1:])
    if words in (["--version"], ["-V"]):
        print(f"bis {__version__}")
        return 0
    # Importing leaves no garbage, and at its end a process need not look for any: together some 15 ms a command.
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)
    return _guarded(words, debug)


def _open_streams() -> None:
    """Have something at the numbers 0, 1 and 2. Where a caller has closed them (`bis run … <&-`), the next file or
    socket that is opened would get the number: the command would read from it, its output would be written there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """The words without `--debug`, and whether it was there. What follows `run` or `--` belongs to another command."""
    command = 0
    while command < len(words) and words[command].startswith("-"):
        command += 2 if words[command] in VALUED else 1
    own = words[:command] if words[command : command + 1] == ["run"] else words
    if "--" in own:
        own = own[: own.index("--")]
    kept = [word for word in own if word != "--debug"]
    return kept + words[len(own) :], len(kept) < len(own) or bool(os.environ.get("BIS_DEBUG"))


def _guarded(words: list[str], debug: bool) -> int:
    """The exit status of the command line, with every failure told in words."""
    door: list[Door] = []
    try:
        status = _command_line(words, door)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        # It may have come from elsewhere than the keyboard, and to stop without a word looks like an end.
        sys.stderr.write("bis  interrupted\n")
        return INTERRUPTED
    except BrokenPipeError as error:
        if not _reader_is_gone():
            return _explain(error, debug, door)
        # (`bis log | head`) Nobody is left to tell, and the interpreter must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except Exception as error:
        return _explain(error, debug, door)


def _reader_is_gone() -> bool:
    """Whether it is standard output that nobody reads any more, and not a pipe between processes of bis."""
    import select

    watched = select.poll()
    watched.register(1, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in watched.poll(0))


def _command_line(words: list[str], door: list[Door]) -> int:
    """The exit status; `door` is filled with that of the command, which knows how its answer is wanted."""
    from bis.cli.command import Door
    from bis.cli.main import cli

    door.append(Door())

    if "_BIS_COMPLETE" in os.environ:
        cli.main(args=words, prog_name="bis")
    # Not `cli.main`, which turns a broken pipe into exit status 1.
    with cli.make_context("bis", words, obj=door[0]) as context:
        status = cli.invoke(context)
    return status if isinstance(status, int) else 0


def _explain(error: Exception, debug: bool, door: list[Door]) -> int:
    """Tell a failure on stderr: `error[CODE]: what`, why, and what to type next; a script that asked with `--json` gets
    it as an object on stdout, too. Returns the exit status."""
    import click

    from bis.errors import BisError

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if debug:
        import traceback

        traceback.print_exception(error)
    told = error if isinstance(error, BisError) else _as_ours(error)
    _say(told)
    for one in door:
        _answer(told, one)
    return told.status


def _answer(error: BisError, door: Door) -> None:
    try:
        door.answer(error)
        sys.stdout.flush()
    except OSError:
        # Nobody reads it, or the disk is full; the error was told, and the interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _as_ours(error: Exception) -> BisError:
    """The same failure as one of ours. The traceback of an unforeseen one is saved, and the file named."""
    import errno

    import click

    from bis.errors import BisError, KeepingError, UsageError

    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return UsageError(error.format_message(), hint=f"{context.command_path if context else 'bis'} --help")
    reasons = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EROFS: "it is read-only"}
    if isinstance(error, OSError) and error.errno in reasons:
        return KeepingError(f"cannot write {error.filename or 'a file'}: {reasons[error.errno]}", hint="bis du")
    if isinstance(error, ModuleNotFoundError):
        from bis.cli.extras import missing_extra

        if missing := missing_extra(error):
            return missing
    kept = _keep_traceback(error)
    return BisError(
        f"bis failed: {type(error).__name__}: {error}",
        because=f"The traceback is in {kept}" if kept else "",
        hint="the same command with --debug, which shows the traceback",
    )


def _say(error: BisError) -> None:
    lines = [f"error[{error.code}]: {error.what}"]
    lines += [f"  {line}" for line in error.because.splitlines()]
    lines += [f"help: {error.hint}"] if error.hint else []
    # A message may hold a name from the operating system that is not UTF-8.
    sys.stderr.write("\n".join(lines).encode("utf-8", "backslashreplace").decode() + "\n")


def _keep_traceback(error: Exception) -> str:
    """The file that now holds the traceback (not the arguments, which may hold a token); empty when there is none."""
    import tempfile
    import traceback
    from pathlib import Path

    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    text = f"bis {__version__}, Python {sys.version}\n" + "".join(traceback.format_exception(error))
    for folder in (Path(state) / "bis", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="failure-", suffix=".txt", dir=folder)
        except OSError:
            continue
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return name
    return ""


if __name__ == "__main__":
    sys.exit(main())
