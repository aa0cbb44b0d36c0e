"""`bis data`: versions of data sets."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bis.cli.command import STATUSES, Door, command, family, json_option, utc_option
from bis.cli.text import plain
from bis.digest import readable, spell
from bis.errors import NotFound, UsageError

if TYPE_CHECKING:
    from bis.acts.data import Added
    from bis.nouns.dataset import Held
    from bis.steps.home import Home

REFERENCE = "REF is a name, name@v3, name@2026-05-03, name@b3:8e4c, name@TAG, name@v3~1; without @, the newest."
BY_REFERENCE = "a file that was recorded by reference is not there any more as it was"


@family(
    "data",
    short_help="Keep versions of data sets, and bring them back.",
    statuses={1: "a difference was found", 3: STATUSES[3], 4: BY_REFERENCE, 5: STATUSES[5]},
    examples=["bis data add data/customers.csv", "bis data log customers", "bis data get customers@v1 old/"],
    epilog=REFERENCE,
)
def data() -> None:
    """Keep states of files as versions of a data set, and bring them back, proved byte by byte. A version is named by
    its number, its time and its checksum, all at once.
    """


class DataName(click.ParamType):  # type: ignore[type-arg]  # generic since 8.5 only
    """How a person names a version of data. Completes the names of data sets, saying what the newest version is."""

    name = "data"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(_completions(ctx, incomplete))
        except Exception:  # a shell that asks for words must never get a failure
            return []


def _completions(ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
    from bis.cli.text import ago

    door = Door()
    door.project_option = ctx.find_root().params.get("project_option") or ""
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
        return home.ledger.data.find(reference_of(read_pointer(door.folder / text)), hidden=hidden)
    # By the clock of this machine, as for runs.
    return home.ledger.data.find(parse_data(text, door.now.astimezone().replace(tzinfo=None)), hidden=hidden)


# -- adding ------------------------------------------------------------------------------------------------------


@data.member
@command(
    "add",
    short_help="Keep files as the next version of a data set.",
    statuses={3: "the path is not there", 5: STATUSES[5]},
    examples=[
        "bis data add data/customers.csv -m 'May, cleaned'",
        "bis data add data/images --name faces --tag train --meta licence=CC-BY",
        "bis data add data/customers.csv --pointer && git add data/customers.csv.bis",
    ],
)
@click.option("--name", default="", metavar="NAME", help="Of the data set; without it, after the path.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What this version is.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Say something of it; may be given again.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Tag it, and no other version; may be given again.")
@click.option("--checksum", "sums", multiple=True, metavar="NAMES", help="Further checksums: md5, sha1, sha256.")
@click.option("--by-reference", is_flag=True, help="Note the checksums and copy nothing.")
@click.option("--pointer", is_flag=True, help="Write PATH.bis, a small file for Git that says which version it is.")
@json_option
@click.argument("path", metavar="PATH")
def add(
    door: Door,
    path: str,
    name: str,
    message: str,
    meta: tuple[str, ...],
    tags: tuple[str, ...],
    sums: tuple[str, ...],
    by_reference: bool,
    pointer: bool,
    as_json: bool,
) -> int:
    """Keep the file or folder PATH as the next version of a data set. What did not change since it was last looked at
    is not read again; what has the content of the newest version is no new one.
    """
    from bis.acts.data import Adding
    from bis.acts.data import add as act

    adding = Adding(
        path=_absolute(door, path),
        name=spell(name),
        message=spell(message),
        metadata=dict(_pair(text) for text in meta),
        tags=tags,
        checksums=tuple(word.strip().lower() for text in sums for word in text.split(",") if word.strip()),
        by_reference=by_reference,
        pointer=pointer,
    )
    added = act(adding, _home_to_add(door, adding.path), door.terminal.progress)
    door.terminal.settle()
    _show_added(door, path, added, pointer, as_json)
    return 0


def _show_added(door: Door, path: str, added: Added, pointer: bool, as_json: bool) -> None:
    from bis.cli import page_data

    terminal = door.terminal
    if as_json:
        told = {"new": added.new, "version": page_data.as_plain(added.held), "findings": added.findings}
        before = added.before.reference if added.before else None
        terminal.json("bis.data.add/1", {**told, "before": before, "pointer": added.pointer})
        return
    terminal.show(page_data.added_lines(added, terminal))
    for finding in added.findings:
        terminal.tell(f"help: left out: {plain(finding.text)}")
    if added.pointer:
        shown = _near(added.pointer, door.folder)
        terminal.tell(f"wrote  {plain(spell(shown))}, to be committed")
        if pointer:
            name = Path(path).name
            ignore = os.path.join(os.path.dirname(shown), ".gitignore")  # noqa: PTH118, PTH120 - as typed
            terminal.tell(f"help: keep the data out of Git: echo {shlex.quote(f'/{name}')} >> {shlex.quote(ignore)}")


def _home_to_add(door: Door, path: Path) -> Home:
    """The home; made, where there is none and there is something to add."""
    from bis.steps.home import open_home

    if path.exists() and not (door.project / ".bis").is_dir():
        return open_home(door.project, door.settings)
    return home_of(door)


# -- looking -----------------------------------------------------------------------------------------------------


@data.member
@command(
    "log",
    short_help="List data sets, or the versions of one.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data log", "bis data log customers", "bis data log customers --json"],
)
@click.option("--removed", is_flag=True, help="Also versions that were removed.")
@utc_option
@json_option
@click.argument("name", required=False, type=DataName(), metavar="[NAME]")
def log(door: Door, name: str | None, removed: bool, utc: bool, as_json: bool) -> int:
    """List the data sets; with NAME, the versions of that one, newest first."""
    from bis.cli import page_data

    terminal = door.terminal
    terminal.utc = utc
    ledger = home_of(door).ledger.data
    if name is None:
        versions = ledger.versions(hidden=removed)
        if as_json:
            terminal.json("bis.data.log/1", {"sets": page_data.sets_as_plain(versions)})
        else:
            terminal.show(page_data.set_lines(versions, door.now, terminal))
            if not versions:
                terminal.tell("help: no data sets are recorded here yet: bis data add PATH")
        return 0
    chosen, _ = find(door, name, hidden=removed)
    versions = ledger.versions(chosen.version.name, hidden=removed)
    if as_json:
        told = {"name": chosen.version.name, "versions": [page_data.as_plain(one) for one in versions]}
        terminal.json("bis.data.log/1", told)
    else:
        terminal.show(page_data.version_lines(versions, door.now, terminal))
    return 0


# -- getting -----------------------------------------------------------------------------------------------------


@data.member
@command(
    "get",
    short_help="Put a version, or a file of it, into a folder.",
    statuses={2: "wrong use, or something else is there", 3: STATUSES[3], 4: BY_REFERENCE, 5: STATUSES[5]},
    examples=[
        "bis data get customers@v1 old/",
        "bis data get customers/2026/may.csv",
        "bis data get data/customers.csv.bis",
        "bis data get customers data/ --force",
    ],
)
@click.option("--force", is_flag=True, help="Replace files that have other content. They may be in no version.")
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
@click.argument("folder", required=False, metavar="[DIR]")
def get(door: Door, reference: str, folder: str | None, force: bool, as_json: bool) -> int:
    """Put the files of REF into the folder DIR, each proved against its checksum; without DIR, into a folder with the
    name of the data set, a single file into this one. REF may be a pointer file: then beside it.

    What is there with the same content stays as it is. What has other content is never touched without --force, and
    what the version does not have is never touched.
    """
    from bis.cli import page_data
    from bis.steps.bring import bring
    from bis.steps.pointer import SUFFIX, is_pointer

    held, path = find(door, reference)
    pointer = door.folder / reference if is_pointer(door.folder / reference) else None
    words = ["bis", "data", "get", reference, *([folder] if folder else [])]
    into, name = _destination(
        door, held, path, folder, pointer.with_name(pointer.name.removesuffix(SUFFIX)) if pointer else None
    )
    brought = bring(held, path, into, door.home, force=force, name=name, ours=shlex.join(words))
    if as_json:
        told = {"version": page_data.as_plain(held), "path": path, "brought": brought}
        door.terminal.json("bis.data.get/1", told)
    else:
        where = _near(brought.into, door.folder)
        door.terminal.show(page_data.brought_lines(held, path, brought, plain(spell(where)), door.terminal))
    return 0


def _destination(door: Door, held: Held, path: str, folder: str | None, beside: Path | None) -> tuple[Path, str]:
    """The folder to write into, and the name of a single file, where it is not its own."""
    from bis.digest import unspell
    from bis.steps.bring import is_one_file, leaves_of

    if folder is not None:
        return _absolute(door, folder), ""
    one = is_one_file(held, path, leaves_of(held, path, door.home))
    if beside is not None:
        return (beside.parent, spell(beside.name)) if one else (beside, "")
    if one:
        return door.folder, ""
    return door.folder / unspell((path or held.version.name).rpartition("/")[2]), ""


# -- paths and words ---------------------------------------------------------------------------------------------


def _absolute(door: Door, path: str) -> Path:
    """A path as typed, made absolute; links in it stay."""
    return Path(os.path.normpath(door.folder / Path(path).expanduser()))


def _near(path: Path, folder: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{text!r} is not KEY=VALUE", hint=f"--meta {shlex.quote(f'{text}=yes')}")
    return spell(key.strip()), spell(value)
