"""How a person names a version of data, a path, or something said of a version; and what completes it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bis.cli.command import Completed, Door, door_of
from bis.digest import readable, spell
from bis.errors import NotFound, UsageError
from bis.text import plain

if TYPE_CHECKING:
    from bis.nouns.dataset import Held
    from bis.steps.home import Home


class DataName(Completed):
    """How a person names a version of data. Completes the names of data sets, saying what the newest version is."""

    name = "data"

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        return _completions(ctx, incomplete)


def _completions(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from bis.text import ago

    door = door_of(ctx)
    newest: dict[str, Held] = {}
    for one in door.home.ledger.data.versions():
        newest.setdefault(one.version.name, one)
        if "@" in incomplete and plain(one.reference).startswith(incomplete):
            yield CompletionItem(plain(one.reference), help=f"{ago(one.version.made, door.now)}, {one.version.message}")
    for name, one in newest.items() if "@" not in incomplete else ():
        if plain(name).startswith(incomplete):
            yield CompletionItem(plain(name), help=f"v{one.version.number}, {ago(one.version.made, door.now)}")


def home_of(door: Door) -> Home:
    """The home, where something is recorded. NotFound says how to begin with data."""
    try:
        return door.home
    except NotFound:
        if (door.project / ".bis").is_dir():
            raise
        where = readable(spell(str(door.project)))
        raise NotFound(f"no data sets are recorded in {where}", hint="bis data add PATH") from None


def find(door: Door, text: str, *, hidden: bool = False) -> tuple[Held, str]:
    """The version that a person means, and the path in it. A pointer file, too."""
    from bis.nouns.reference import parse_data
    from bis.steps.pointer import is_pointer, read_pointer, reference_of

    home = home_of(door)
    if is_pointer(door.folder / text):
        pointer = read_pointer(door.folder / text)
        try:
            return home.ledger.data.find(reference_of(pointer), hidden=hidden)
        except NotFound as error:
            which = f"version {pointer.version} of {plain(pointer.name)}, of {pointer.made}"
            raise NotFound(
                f"{plain(spell(text))} names {which}, which is not here",
                because=f"Its checksum is {pointer.checksum}.",
                hint=error.hint if "undo" in error.hint else "bring it from the store that it was added to",
            ) from None
    # By the clock of this machine, as for runs.
    return home.ledger.data.find(parse_data(text, door.now.astimezone().replace(tzinfo=None)), hidden=hidden)


def absolute(door: Door, path: str) -> Path:
    """A path as typed, or a `file://` URL, made absolute; links in it stay."""
    if path.startswith("file://"):
        from bis.steps.urls import local_path

        path = str(local_path(path))
    return Path(os.path.normpath(door.folder / Path(path).expanduser()))


def near(path: Path, folder: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def is_one(reference: str) -> bool:
    """Whether a reference means one version, not a data set."""
    return any(letter in reference.removeprefix("data:") for letter in "@~:") or reference.endswith(".bis")


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{text!r} is not KEY=VALUE", hint=f"--meta {shlex.quote(f'{text}=yes')}")
    return spell(key.strip()), spell(value)
