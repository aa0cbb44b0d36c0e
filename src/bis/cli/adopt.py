"""`bis import` and `bis export`: data from other systems, and for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bis.cli.command import STATUSES, Door, Function, command, family, json_option
from bis.cli.data_words import DataName, absolute, find
from bis.cli.export_html import export_html
from bis.digest import spell
from bis.errors import NotFound, UsageError
from bis.text import count, plain

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bis.acts.export import Exported
    from bis.steps.home import Home
    from bis.steps.taking import Adopted

SOME_MISSING = "content of some versions is missing or damaged; the others were imported"
IMPORT = {3: "the path is not there, or nothing of that system is", 4: SOME_MISSING, 5: STATUSES[5]}
EXPORT = {2: "wrong use, or something else is there", 3: STATUSES[3], 4: "content is missing", 5: STATUSES[5]}


@family(
    "import",
    short_help="Bring data over from DVC, Quilt, Kedro, Git LFS and others.",
    statuses=IMPORT,
    examples=["bis import dvc .", "bis import lfs data/images", "bis import quilt ~/registry --package ada/cars"],
)
def import_() -> None:
    """Make versions of data sets of what another system keeps, with their history: its times, authors and messages.
    Every content is proved by the hash that the other system has of it. To import again adds only what is new.
    """


@family(
    "export",
    short_help="Give data to DVC, Quilt, Kedro or Croissant; runs to a browser.",
    statuses=EXPORT,
    examples=[
        "bis export dvc customers@v3 project/data",
        "bis export quilt customers registry --package ada/customers",
        "bis export html train-12 --output train-12.html",
    ],
)
def export() -> None:
    """Write a version of a data set as another system keeps it, so that its own programs take it for theirs; or runs as
    one file that a browser opens anywhere."""


export.member(export_html)


def __getattr__(name: str) -> Any:
    """`import` is a word of Python: the command of that name is called otherwise here."""
    if name == "import":
        return import_
    raise AttributeError(name)


def prefix_option(function: Function) -> Function:
    told = "Put the names of the data sets below NAME/."
    return click.option("--prefix", default="", metavar="NAME", help=told)(function)


# -- bis import --------------------------------------------------------------------------------------------------


@import_.member
@command(
    "dvc",
    short_help="A DVC project, with its history in Git.",
    statuses=IMPORT,
    examples=["bis import dvc .", "bis import dvc ../old-project --prefix old"],
)
@prefix_option
@json_option
@click.argument("path", metavar="PROJECT")
def import_dvc(door: Door, path: str, prefix: str, as_json: bool) -> int:
    """Each commit in which an output changed becomes a version of the data set of that output, with the commit's time,
    author and message. Content is taken from the cache and from the project's remotes: folders, buckets, SSH and web
    servers, with what .dvc/config and .dvc/config.local say of them. Of others, fetch it first:
    dvc fetch --all-commits.
    """
    from bis.acts.adopt_dvc import adopt_dvc

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_dvc(place, home, door.variables, prefix, door.terminal.meter), as_json)


@import_.member
@command(
    "lfs",
    short_help="Files that Git LFS keeps, with their history.",
    statuses=IMPORT,
    examples=["bis import lfs data/images", "bis import lfs model.bin"],
)
@prefix_option
@json_option
@click.argument("path", metavar="PATH")
def import_lfs(door: Door, path: str, prefix: str, as_json: bool) -> int:
    """Each commit that changed the file or folder PATH of a Git repository becomes a version of a data set, with the
    contents in the places of the pointers, from the first commit on that has one. Contents are those in .git/lfs;
    fetch what is not there first: git lfs fetch --all.
    """
    from bis.acts.adopt_git import adopt_lfs

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_lfs(place, home, door.variables, prefix, door.terminal.meter), as_json)


@import_.member
@command(
    "annex",
    short_help="Files that git-annex or DataLad keeps, with their history.",
    statuses=IMPORT,
    examples=["bis import annex ../openneuro/ds000001"],
)
@prefix_option
@json_option
@click.argument("path", metavar="PATH")
def import_annex(door: Door, path: str, prefix: str, as_json: bool) -> int:
    """As `bis import lfs`, for the links and unlocked files of git-annex. Fetch what is not there first:
    git annex get --all.
    """
    from bis.acts.adopt_git import adopt_annex

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_annex(place, home, door.variables, prefix, door.terminal.meter), as_json)


@import_.member
@command(
    "quilt",
    short_help="Packages of a Quilt registry in a folder, with all their versions.",
    statuses=IMPORT,
    examples=["bis import quilt ~/.local/share/Quilt/packages", "bis import quilt registry --package ada/cars"],
)
@click.option("--package", "packages", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@prefix_option
@json_option
@click.argument("path", metavar="REGISTRY")
def import_quilt(door: Door, path: str, packages: tuple[str, ...], prefix: str, as_json: bool) -> int:
    """Each version of each package becomes one of a data set with its name. Files must be on this machine: install
    what is in a bucket first.
    """
    from bis.acts.adopt import adopt_quilt

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_quilt(place, home, packages, prefix, door.terminal.meter), as_json)


@import_.member
@command(
    "kedro",
    short_help="Versioned data sets of a Kedro project.",
    statuses=IMPORT,
    examples=["bis import kedro .", "bis import kedro data/01_raw/cars.csv"],
)
@prefix_option
@json_option
@click.argument("path", metavar="PATH")
def import_kedro(door: Door, path: str, prefix: str, as_json: bool) -> int:
    """Each version of what the catalogs of the project PATH declare as versioned, and of what lies as such,
    PATH/VERSION/NAME, becomes a version with that time. Kedro keeps no hash: files are taken as they are.
    """
    from bis.acts.adopt import adopt_kedro

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_kedro(place, home, prefix, door.terminal.meter), as_json)


@import_.member
@command(
    "croissant",
    short_help="Files that a Croissant description names.",
    statuses=IMPORT,
    examples=["bis import croissant download/croissant.json --name titanic"],
)
@click.option("--name", default="", metavar="NAME", help="Of the data set; without it, that of the description.")
@prefix_option
@json_option
@click.argument("path", metavar="FILE")
def import_croissant(door: Door, path: str, name: str, prefix: str, as_json: bool) -> int:
    """The files beside the description FILE become a version of a data set, each proved by its sha256 or md5. Files
    that it has elsewhere are not fetched.
    """
    from bis.acts.adopt import adopt_croissant

    place = _there(door, path)
    with _home(door) as home:
        return _show(door, adopt_croissant(place, home, name, prefix, door.terminal.meter), as_json)


def _there(door: Door, path: str) -> Path:
    """What is to be imported, as an absolute path; links in it stay."""
    place = absolute(door, path)
    if not place.exists():
        raise NotFound(f"{plain(spell(path))} is not there", hint=f"ls {plain(spell(str(place.parent)))}")
    return place


def _home(door: Door) -> AbstractContextManager[Home]:
    from bis.steps.home import provisional

    return provisional(door.opened_home(recording=True))


def _show(door: Door, adopted: Adopted, as_json: bool) -> int:
    from bis.steps import data_told

    terminal = door.terminal
    terminal.settle()
    status = 4 if adopted.missing else 0
    if as_json:
        told = {"versions": [data_told.told(held) for held in adopted.versions], "known": adopted.known}
        terminal.json("bis.import/1", {**told, "missing": adopted.missing, "notes": adopted.notes})
        return status
    lines = []
    for held in adopted.versions:
        version = held.version
        first = version.message.partition("\n")[0]
        about = filter(None, (version.stamp, count(version.files, "file"), version.user, first))
        lines.append("  ".join([plain(held.reference), *map(plain, about)]))
    known = f", {count(adopted.known, 'state')} known before" if adopted.known else ""
    lines.append(f"{terminal.paint('imported', 'green')}  {count(len(adopted.versions), 'version')}{known}")
    lines += [f"{terminal.paint('[!]', 'yellow')} {plain(gone.what)}: {plain(gone.why)}" for gone in adopted.missing]
    terminal.show(lines)
    for note in adopted.notes:
        terminal.tell(f"help: {plain(note)}")
    return status


# -- bis export --------------------------------------------------------------------------------------------------


def to_folder(function: Function) -> Function:
    """What all of them are asked with: which version, and where to."""
    for declare in (
        click.argument("folder", metavar="DIR"),
        click.argument("reference", type=DataName(), metavar="REF"),
        json_option,
    ):
        function = declare(function)
    return function


@export.member
@command(
    "dvc",
    short_help="A .dvc file, and its contents in the cache.",
    statuses=EXPORT,
    examples=["bis export dvc customers@v3 project/data && cd project && dvc checkout"],
)
@to_folder
def export_dvc(door: Door, reference: str, folder: str, as_json: bool) -> int:
    """Write DIR/NAME.dvc, and the contents into the cache of the DVC project around DIR, which is made where there is
    none. `dvc checkout` puts the files there.
    """
    from bis.acts.export import export_dvc as act

    held = _whole(door, reference)
    return _show_exported(door, act(held, absolute(door, folder), door.home), as_json)


@export.member
@command(
    "quilt",
    short_help="A package in a registry that is a folder.",
    statuses=EXPORT,
    examples=["bis export quilt customers@v3 registry --package ada/customers"],
)
@click.option("--package", default="", metavar="USER/PACKAGE", help="Its name there.")
@to_folder
def export_quilt(door: Door, reference: str, folder: str, package: str, as_json: bool) -> int:
    """Write a package into the registry DIR, with the version's message, metadata and time; the files lie below it."""
    from bis.acts.export import export_quilt as act
    from bis.steps.here import user_here

    held = _whole(door, reference)
    return _show_exported(door, act(held, absolute(door, folder), door.home, package, user_here()), as_json)


@export.member
@command(
    "kedro",
    short_help="A version in the layout of Kedro, and the lines for a catalog.",
    statuses=EXPORT,
    examples=["bis export kedro customers@v3 data/01_raw"],
)
@to_folder
def export_kedro(door: Door, reference: str, folder: str, as_json: bool) -> int:
    """Write DIR/NAME/VERSION/NAME, where VERSION is the time stamp of the version, and print the entry of a catalog."""
    from bis.acts.export import export_kedro as act

    held = _whole(door, reference)
    return _show_exported(door, act(held, absolute(door, folder), door.home), as_json)


@export.member
@command(
    "croissant",
    short_help="Files with a description in JSON-LD.",
    statuses=EXPORT,
    examples=["bis export croissant customers@v3 published"],
)
@to_folder
def export_croissant(door: Door, reference: str, folder: str, as_json: bool) -> int:
    """Write the files into DIR/data, and DIR/croissant.json, which names each with its size and sha256."""
    from bis.acts.export import export_croissant as act

    held = _whole(door, reference)
    return _show_exported(door, act(held, absolute(door, folder), door.home), as_json)


def _whole(door: Door, reference: str) -> Any:
    held, path = find(door, reference)
    if path:
        whole = plain(held.reference)
        raise UsageError(f"{plain(reference)} is a part of {whole}, and a whole version is exported", hint=whole)
    return held


def _show_exported(door: Door, exported: Exported, as_json: bool) -> int:
    from bis.text import size

    terminal = door.terminal
    if as_json:
        terminal.json("bis.export/1", {"exported": exported})
        return 0
    lines = [f"{terminal.paint('exported', 'green')}  {count(exported.files, 'file')}, {size(exported.size)}"]
    lines += [f"wrote     {plain(spell(str(path)))}" for path in exported.wrote]
    lines += [f"name      {plain(exported.name)}"] if exported.name else []
    lines += [
        f"next      {line}" if not at else f"          {line}" for at, line in enumerate(exported.next.splitlines())
    ]
    terminal.show(lines)
    for note in exported.notes:
        terminal.tell(f"help: {plain(note)}")
    return 0
