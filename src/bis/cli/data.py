"""`bis data`: versions of data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, byte_meter, command, family, json_option, utc_option
from bis.cli.data_add import add_by_url, checked_url, home_to_add, show_added, take_in
from bis.cli.data_words import DataName, absolute, find, home_of, is_one, near, pair
from bis.digest import readable, spell
from bis.errors import NotFound, UsageError
from bis.text import plain

if TYPE_CHECKING:
    from bis.acts.data_layout import Layout
    from bis.formats.profile import Profile
    from bis.nouns.dataset import Held
    from bis.steps.home import Home

BY_REFERENCE = "a file that was recorded by reference is not there any more as it was"


@family(
    "data",
    short_help="Keep versions of data sets, and bring them back.",
    statuses={1: "a difference was found", 3: STATUSES[3], 4: BY_REFERENCE, 5: STATUSES[5]},
    examples=["bis data add data/customers.csv", "bis data log customers", "bis data get customers@v1 old/"],
)
def data() -> None:
    """Keep states of files as versions of a data set, and bring them back, proved byte by byte. A version is named by
    its number, its time and its checksum, all at once.

    REF is a name (the newest version), name@v3, name@2026-05-03, name@b3:8e4c, name@TAG, or name@v3~1 (the version
    before), with /PATH behind it for a file or folder in it. PATH is a file or folder on this disk.
    """


# -- adding ------------------------------------------------------------------------------------------------------


@data.member
@command(
    "add",
    short_help="Keep files as the next version of a data set.",
    statuses={3: "there is nothing at the path or URL", 5: STATUSES[5]},
    examples=[
        "bis data add data/customers.csv -m 'May, cleaned'",
        "bis data add data/images --name faces --tag train --meta licence=CC-BY",
        "bis data add data/customers.csv --pointer && git add data/customers.csv.bis",
        "bis data add --by-reference s3://bucket/images/",
    ],
)
@click.option("--name", default="", metavar="NAME", help="Of the data set; without it, after the path.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What this version is.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Say something of it; may be given again.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Tag it, and no other version; may be given again.")
@click.option("--checksum", "sums", multiple=True, metavar="NAMES", help="Further checksums: md5, sha1, sha256.")
@click.option("--by-reference", is_flag=True, help="Note the checksums and copy nothing. PATH may then be a URL.")
@click.option("--pointer", is_flag=True, help="Write PATH.bis, a small file for Git that says which version it is.")
@click.option(
    "--layout",
    type=click.Choice(["kedro", "dated"]),
    help="Add all versions that lie there, with their times: PATH/2026-05-03T10.11.12.123Z/FILE, PATH/FILE_20260503.",
)
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
    layout: str | None,
    as_json: bool,
) -> int:
    """Keep the file or folder PATH as the next version of a data set. What did not change since it was last looked at
    is not read again; what has the content of the newest version is no new one.

    With --by-reference, PATH may be a URL: https://host/file.csv, s3://bucket/file.csv, or s3://bucket/prefix/ for all
    that is below it (also gs:// and az://). It is read once, and stays where it is. Credentials in a URL are used and
    not recorded.
    """
    from bis.steps.add_data import Adding
    from bis.steps.add_data import add as act
    from bis.steps.home import provisional

    url = checked_url(path, by_reference, pointer, layout)
    adding = Adding(
        path=Path() if url else absolute(door, path),
        name=spell(name),
        message=spell(message),
        metadata=dict(pair(text) for text in meta),
        tags=tags,
        checksums=tuple(word.strip().lower() for text in sums for word in text.split(",") if word.strip()),
        by_reference=by_reference,
        pointer=pointer,
        url=url,
    )
    if url:
        return add_by_url(door, adding, as_json)
    if layout is not None and pointer:
        raise UsageError("--pointer and --layout exclude each other", hint=f"bis data add {path} --layout {layout}")
    with provisional(home_to_add(door, adding.path)) as home:
        if layout is not None:
            return take_in(door, adding, layout, home, as_json)
        added = act(adding, home, door.terminal.progress)
    door.terminal.settle()
    show_added(door, added, pointer, as_json)
    return 0


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
    from bis.steps import data_told

    terminal = door.terminal
    terminal.utc = utc
    ledger = home_of(door).ledger.data
    if name is None:
        versions = ledger.versions(hidden=removed)
        if as_json:
            terminal.json("bis.data.log/1", {"sets": data_told.sets_told(versions)})
        else:
            terminal.show(page_data.set_lines(versions, door.now, terminal))
            if not versions:
                terminal.tell("help: no data sets are recorded here yet: bis data add PATH")
        return 0
    chosen, _ = find(door, name, hidden=removed)
    versions = ledger.versions(chosen.version.name, hidden=removed)
    if as_json:
        told = {"name": chosen.version.name, "versions": [data_told.told(one) for one in versions]}
        terminal.json("bis.data.log/1", told)
    else:
        terminal.show(page_data.version_lines(versions, door.now, terminal))
    return 0


@data.member
@command(
    "show",
    short_help="Show everything known of a version, and which runs used it.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data show customers", "bis data show customers@v1 --columns", "bis data show images/cat.png"],
)
@click.option("--columns", is_flag=True, help="Also the columns of a table, with their types and statistics.")
@utc_option
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
def show(door: Door, reference: str, columns: bool, utc: bool, as_json: bool) -> int:
    """Show everything known of REF: its names, where it came from, what was said of it, and which runs used it."""
    from bis.acts.data import is_kept, users
    from bis.acts.data import told as users_told
    from bis.cli import page_data
    from bis.steps import data_told
    from bis.steps.add_url import sight_of
    from bis.store.snapshot import find_leaf

    held, path = find(door, reference)
    terminal, home = door.terminal, door.home
    terminal.utc = utc
    leaf = find_leaf(home.store, held.version.tree, path) if path else None
    kept = is_kept(held, home)
    runs, whole = users(held, path, home)
    inside = _profile(held, path, home) if columns else None
    sight = sight_of(held, path, home)
    if as_json:
        about = {"version": data_told.told(held), "path": path, "by_reference": not kept, "seen": sight}
        told = about | {"runs": users_told(runs), "runs_complete": whole}
        terminal.json("bis.data.show/1", told | ({"profile": inside} if columns else {}))
        return 0
    line = home.ledger.data.versions(held.version.name)
    terminal.show(page_data.version_page(held, leaf, kept, line, runs, whole, door.now, terminal, sight))
    if inside:
        terminal.show(page_data.profile_lines(inside, terminal))
    return 0


def _profile(held: Held, path: str, home: Home) -> Profile:
    from bis.formats import Unreadable
    from bis.formats.profile import is_profiled, profile
    from bis.steps.bring import located

    with located(held, path, home) as place:
        if not is_profiled(place.name):
            raise UsageError(
                f"{readable(spell(place.name))} is no table or image that can be looked into",
                hint=f"bis data show {plain(held.reference)}/FILE.csv --columns",
            )
        try:
            return profile(place)
        except Unreadable as error:
            raise UsageError(f"{readable(spell(place.name))}: {error}", hint="bis data cat REF | head") from None


@data.member
@command(
    "diff",
    short_help="Say what is different between two versions.",
    statuses={0: "the same", 1: "different", 3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data diff customers@v1 customers@v2", "bis data diff customers", "bis data diff raw clean --files"],
)
@click.option("--files", is_flag=True, help="Only which files differ; look into none.")
@click.option("--all", "everything", is_flag=True, help="Look into every table and image, however large, and list all.")
@json_option
@click.argument("before", type=DataName(), metavar="A")
@click.argument("after", type=DataName(), required=False, metavar="[B]")
def diff(door: Door, before: str, after: str | None, files: bool, everything: bool, as_json: bool) -> int:
    """Say what turns version A into version B: files added, removed, changed and moved; within CSV, JSON lines,
    Parquet and Arrow, which rows and columns, their types and statistics; of images, the size. With A alone, what
    turned the version before it into A.
    """
    from bis.acts.data_diff import EVERY, Bounds, told
    from bis.acts.data_diff import diff as act
    from bis.cli import page_data

    new, _ = find(door, after or before)
    old = find(door, before)[0] if after else _earlier(door, new)
    progress = door.terminal.progress
    bounds = Bounds(EVERY, EVERY) if everything else Bounds()
    found = act(old, new, door.home, look=not files, bounds=bounds, progress=progress)
    door.terminal.settle()
    if as_json:
        door.terminal.json("bis.data.diff/1", told(found))
    else:
        door.terminal.show(page_data.difference_lines(found, door.terminal, everything=everything))
    return 1 if found.changes else 0


def _earlier(door: Door, held: Held) -> Held:
    """The version before."""
    line = door.home.ledger.data.versions(held.version.name)
    place = [one.record for one in line].index(held.record) + 1
    if place < len(line):
        return line[place]
    name = plain(held.version.name)
    raise NotFound(
        f"{plain(held.reference)} is the first version of {name}: there is none before it",
        hint=f"bis data status {name}  compares it with the files as they are now",
    )


@data.member
@command(
    "status",
    short_help="Say what would be a new version.",
    statuses={0: "nothing is different", 1: "something would be a new version", 3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data status", "bis data status customers", "bis data status data/customers.csv"],
)
@json_option
@click.argument("what", required=False, type=DataName(), metavar="[NAME|PATH]")
def status(door: Door, what: str | None, as_json: bool) -> int:
    """Say how the files that data sets were added from stand to their newest versions: the same, changed, or gone. Of a
    URL, the server is asked, and what it cannot prove to be unchanged is read. With a PATH or a URL, how that stands to
    the data set that came from it, or that its pointer names.
    """
    from bis.acts.standing import standing
    from bis.cli import page_data

    home = home_of(door)
    if what is None:
        newest: dict[str, Held] = {}
        for one in home.ledger.data.versions():
            newest.setdefault(one.version.name, one)
        chosen: list[tuple[Held, Path | None]] = [(newest[name], None) for name in sorted(newest)]
    else:
        chosen = [_standing_of(door, what)]
    found = [standing(held, home, place, byte_meter(door.terminal)) for held, place in chosen]
    door.terminal.settle()
    if as_json:
        door.terminal.json("bis.data.status/1", {"sets": [page_data.standing_json(one) for one in found]})
    else:
        door.terminal.show(page_data.standing_lines(found, door.folder, door.terminal))
        if not found:
            door.terminal.tell("help: no data sets are recorded here yet: bis data add PATH")
    if any(one.state == "unknown" for one in found):
        return 5
    return 1 if any(one.state == "changed" for one in found) else 0


def _standing_of(door: Door, what: str) -> tuple[Held, Path | None]:
    """The version, and the place to compare with it where it is not that it was added from."""
    from bis.steps.add_data import source_of
    from bis.steps.pointer import SUFFIX, is_pointer, pointer_path
    from bis.steps.urls import as_folder, clean, is_typed_url, local_path

    if is_typed_url(what) and not local_path(what):
        url = clean(what).url
        for one in home_of(door).ledger.data.versions():
            if one.version.source in (url, as_folder(url)):
                return one, None
        raise NotFound(f"no data set was added from {plain(url)}", hint="bis data log")
    place = absolute(door, what)
    if is_pointer(place):
        return find(door, what)[0], place.with_name(place.name.removesuffix(SUFFIX))
    if is_pointer(pointer_path(place)):
        return find(door, str(pointer_path(place)))[0], place
    if place.exists() or "@" not in what:
        source = source_of(place, home_of(door))
        for one in home_of(door).ledger.data.versions():
            if one.version.source == source:
                return one, place
    return find(door, what)[0], None


@data.member
@command(
    "ls",
    short_help="List the files of a version.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data ls customers", "bis data ls images@v2/cats", "bis data ls images --recursive"],
)
@click.option("-r", "--recursive", is_flag=True, help="Also what lies in its folders.")
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
def ls(door: Door, reference: str, recursive: bool, as_json: bool) -> int:
    """List what lies in REF, or in a folder of it: size, checksum and name."""
    from bis.cli import page_data
    from bis.steps import data_told
    from bis.steps.bring import leaves_of

    held, path = find(door, reference)
    leaves = leaves_of(held, path, door.home)
    if recursive:
        leaves = [leaf for leaf in leaves if leaf.entry.kind != "tree"]
    else:
        leaves = [leaf for leaf in leaves if "/" not in leaf.path]
    if as_json:
        rows = [data_told.leaf_told(leaf) for leaf in leaves]
        door.terminal.json("bis.data.ls/1", {"version": held.reference, "path": path, "files": rows})
    else:
        door.terminal.show(page_data.leaf_lines(leaves, door.terminal))
    return 0


@data.member
@command(
    "cat",
    short_help="Print a file of a version.",
    statuses={3: STATUSES[3], 4: BY_REFERENCE, 5: STATUSES[5]},
    examples=[
        "bis data cat customers",
        "bis data cat images@v2/labels.csv | head",
        "bis data cat customers@2026-05-03",
    ],
)
@json_option
@click.argument("reference", type=DataName(), metavar="REF/PATH")
def cat(door: Door, reference: str, as_json: bool) -> int:
    """Print the bytes of a file, all of them proved against its checksum before the first is printed. Of a data set
    that is a single file, the name is enough. With --json, as Base64.
    """
    from bis.steps.bring import opened

    held, path = find(door, reference)
    with opened(held, path, door.home) as blocks:
        if as_json:
            import base64

            content = base64.b64encode(b"".join(blocks)).decode()
            door.terminal.json("bis.data.cat/1", {"version": held.reference, "path": path, "base64": content})
        else:
            door.terminal.raw(blocks)
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
    from bis.steps import data_told
    from bis.steps.bring import bring
    from bis.steps.pointer import SUFFIX, is_pointer

    held, path = find(door, reference)
    pointer = door.folder / reference if is_pointer(door.folder / reference) else None
    words = ["bis", "data", "get", reference, *([folder] if folder else [])]
    into, name = _destination(
        door, held, path, folder, pointer.with_name(pointer.name.removesuffix(SUFFIX)) if pointer else None
    )
    meter = byte_meter(door.terminal)
    brought = bring(held, path, into, door.home, force=force, name=name, ours=shlex.join(words), told=meter)
    door.terminal.settle()
    if as_json:
        about = {"version": data_told.told(held), "path": path, "brought": brought}
        door.terminal.json("bis.data.get/1", about)
    else:
        where = near(brought.into, door.folder)
        door.terminal.show(page_data.brought_lines(held, path, brought, plain(spell(where)), door.terminal))
    return 0


def _destination(door: Door, held: Held, path: str, folder: str | None, beside: Path | None) -> tuple[Path, str]:
    """The folder to write into, and the name of a single file, where it is not its own."""
    from bis.digest import unspell
    from bis.steps.bring import is_one_file, leaves_of

    if folder is not None:
        into = absolute(door, folder)
        if into.exists() and not into.is_dir():
            raise UsageError(
                f"{plain(folder)} is not a folder",
                because="The files of a version are put into one, each by its own name.",
                hint=f"bis data get {held.reference} DIR",
            )
        return into, ""
    one = is_one_file(held, path, leaves_of(held, path, door.home))
    if beside is not None:
        return (beside.parent, spell(beside.name)) if one else (beside, "")
    if one:
        return door.folder, ""
    return door.folder / unspell((path or held.version.name).rpartition("/")[2]), ""


@data.member
@command(
    "export",
    short_help="Write versions as files side by side.",
    statuses={2: "wrong use, or something else is there", 3: STATUSES[3], 4: BY_REFERENCE, 5: STATUSES[5]},
    examples=[
        "bis data export customers data/ --layout kedro",
        "bis data export customers data/ --layout dated",
        "bis data export customers@v3 out/ --layout plain",
    ],
)
@click.option(
    "--layout",
    type=click.Choice(["kedro", "dated", "plain"]),
    required=True,
    help="DIR/FILE/2026-05-03T10.11.12.123Z/FILE, DIR/FILE_20260503.csv, or DIR/FILE.",
)
@click.option("--force", is_flag=True, help="Replace files that have other content.")
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
@click.argument("folder", metavar="DIR")
def export(door: Door, reference: str, folder: str, layout: Layout, force: bool, as_json: bool) -> int:
    """Write all versions of the data set REF below DIR, each where the layout has it; of a REF with an @, that one
    version. The layout plain has room for one version: the newest, or REF. What is there already stays.
    """
    from bis.acts.data_layout import write
    from bis.cli import page_data

    held, path = find(door, reference)
    if path:
        raise UsageError(f"{plain(path)} is a file of a version", hint=f"bis data get {shlex.quote(reference)} DIR")
    one = layout == "plain" or is_one(reference)
    versions = [held] if one else door.home.ledger.data.versions(held.version.name)
    words = ["bis", "data", "export", reference, folder, "--layout", layout]
    done = write(versions, absolute(door, folder), layout, door.home, force=force, ours=shlex.join(words))
    if as_json:
        rows = [{"version": version.reference, "brought": brought} for version, brought in done]
        door.terminal.json("bis.data.export/1", {"layout": layout, "exported": rows})
        return 0
    lines = []
    for version, brought in done:
        where = plain(spell(near(brought.into, door.folder)))
        lines += page_data.brought_lines(version, "", brought, where, door.terminal, others=False)
    door.terminal.show(lines)
    return 0


# -- saying something of it --------------------------------------------------------------------------------------


@data.member
@command(
    "tag",
    short_help="Let a word mean a version.",
    statuses={3: "there is no such version, or it has no such tag", 5: STATUSES[5]},
    examples=["bis data tag customers@v3 production", "bis data tag customers@v3 --remove production"],
)
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag away; may be given again.")
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
@click.argument("tags", nargs=-1, metavar="[TAG]...")
def tag(door: Door, reference: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> int:
    """Let each TAG mean the version REF from now on, and no other of its data set: `customers@production` finds it.
    Without TAG, list the tags of the data set.
    """
    from bis.acts.data import tag as act

    held, _ = find(door, reference)
    if tags or remove:
        held = act(held, tags, door.home, removed=remove)
    versions = door.home.ledger.data.versions(held.version.name)
    has = {tag: one.reference for one in versions for tag in one.tags}
    if as_json:
        door.terminal.json("bis.data.tag/1", {"name": held.version.name, "tags": has})
    else:
        rows = [[plain(tag), plain(owner)] for tag, owner in sorted(has.items())]
        door.terminal.show(door.terminal.aligned(rows) if door.terminal.tty else ["\t".join(row) for row in rows])
        if not has:
            door.terminal.tell(f"{plain(held.version.name)} has no tags")
    return 0


@data.member
@command(
    "rm",
    short_help="Remove a version, or a data set.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis data rm customers@v3", "bis data rm customers", "bis data rm --undo customers@v3"],
)
@click.option("--undo", is_flag=True, help="Take a removal back, as long as the content is still there.")
@json_option
@click.argument("reference", type=DataName(), metavar="REF")
def rm(door: Door, reference: str, undo: bool, as_json: bool) -> int:
    """Remove the version REF; a name alone removes all versions of the data set. It is not found any more.
    `bis gc` deletes its content, as far as nothing else needs it; until then, --undo brings it back. Files outside the
    store are left alone.
    """
    from bis.acts.data import remove as act
    from bis.digest import unspell

    held, path = find(door, reference, hidden=undo)
    if path:
        raise UsageError(
            f"{plain(path)} is a file of a version, and a version stays whole", hint=f"bis data rm {held.reference}"
        )
    one = is_one(reference)
    versions = [held] if one else door.home.ledger.data.versions(held.version.name, hidden=undo)
    versions = [version for version in versions if version.hidden == undo]
    if not versions:
        raise NotFound(
            f"nothing of {plain(held.reference if one else held.version.name)} is removed", hint="bis data log"
        )
    act(versions, door.home, undo=undo)
    if as_json:
        told = {"undo": undo, "versions": [version.reference for version in versions]}
        door.terminal.json("bis.data.rm/1", told)
    else:
        names = ", ".join(plain(version.reference) for version in reversed(versions))
        word = ("back", "green") if undo else ("removed", "red")
        door.terminal.show([f"{door.terminal.paint(*word)}  {names}"])
        if not undo:
            again = shlex.join(["bis", "data", "rm", "--undo", unspell(held.reference if one else held.version.name)])
            door.terminal.tell(f"help: {again}  takes it back, until bis gc deletes its content")
    return 0
