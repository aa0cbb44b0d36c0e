"""`bis remote`, `bis push`, `bis fetch`, `bis pull`, `bis clone`: sharing with other people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from bis.cli.command import STATUSES, Door, byte_meter, command, family, json_option
from bis.cli.render import Column
from bis.digest import spell
from bis.errors import NotFound, UsageError
from bis.text import count, plain, size

if TYPE_CHECKING:
    from bis.acts.share import Shared
    from bis.cli.render import Cell, Terminal
    from bis.nouns.dataset import Held
    from bis.nouns.run import Run
    from bis.steps.home import Home

DAMAGED = "the remote could not be reached, or something there or here is damaged; the rest has travelled"
URLS = """URL is a folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, ssh://host/path
    (ssh://host/~/path is below the home folder there), or that of a `bis server`, http://host:5000."""


@family(
    "remote",
    short_help="Name the places to share with.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis remote add origin /mnt/share/store", "bis remote add lab s3://bucket/prefix", "bis remote list"],
)
def remote() -> None:
    """Name the places to share with: other stores, to which `bis push` sends and from which `bis pull` brings runs,
    data and all that they need.

    A remote is a folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, ssh://host/path, or a
    `bis server`, http://host:5000. Passwords and keys do not belong in a URL: they are taken from the environment
    (BIS_TOKEN for a server), the files of each cloud's tools, or ssh.
    """


@remote.member
@command(
    "add",
    short_help="Give a name to a place.",
    statuses={5: STATUSES[5]},
    examples=["bis remote add origin ssh://lab.example.org/srv/bis", "bis remote add disk /mnt/usb/store"],
)
@json_option
@click.argument("name", metavar="NAME")
@click.argument("url", metavar="URL")
def add(door: Door, as_json: bool, name: str, url: str) -> int:
    """Give a name to a place to share with. Nothing is asked of it yet; the first push makes a store there. The remote
    called origin is the one that is meant where none is named.
    """
    from bis.steps.home import open_home
    from bis.steps.remotes import add as note
    from bis.steps.trust import trust

    home = open_home(door.project, door.settings, variables=door.variables)
    kept = note(name, url, home.project, home.settings, seen_from=door.folder)
    trust(kept, door.variables)
    if as_json:
        door.terminal.json("bis.remotes/1", {"remotes": {name: kept}})
    else:
        door.terminal.show([f"{plain(name)}  {plain(spell(kept))}"])
    return 0


@remote.member
@command("list", short_help="List the remotes.", examples=["bis remote list", "bis remote list --json"])
@json_option
def list_(door: Door, as_json: bool) -> int:
    """List the remotes of the project with their URLs."""
    from bis.steps.remotes import remotes

    known = remotes(door.project, door.settings)
    if as_json:
        door.terminal.json("bis.remotes/1", {"remotes": known})
        return 0
    rows: list[list[Cell]] = [[plain(name), plain(spell(url))] for name, url in known.items()]
    door.terminal.show(door.terminal.table([Column("name"), Column("url")], rows) if rows else [])
    if not rows:
        door.terminal.tell("help: bis remote add origin URL")
    return 0


@remote.member
@command(
    "trust",
    short_help="Let a remote have your credentials.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis remote trust origin"],
)
@json_option
@click.argument("name", metavar="NAME")
def trust_(door: Door, as_json: bool, name: str) -> int:
    """Let the server of the remote NAME have your credentials, or that of a ledger, by its URL. Remotes that you added
    by `bis remote add` or cloned from have them; one that only the files of a project name has not. It is noted in
    ~/.config/bis/trusted, for all projects. On CI the variable BIS_TRUST names servers instead.
    """
    from bis.ledger.places import on_server
    from bis.steps.remotes import choose
    from bis.steps.trust import trust

    url = name if on_server(name) else choose(name, door.project, door.settings)[1]
    server = trust(url, door.variables)
    if as_json:
        door.terminal.json("bis.trust/1", {"trusted": server or None})
    elif server:
        door.terminal.show([f"trusted  {plain(server)}"])
    else:
        door.terminal.show([f"{plain(name)} names no server that would need it"])
    return 0


@remote.member
@command("remove", short_help="Forget a remote.", statuses={3: STATUSES[3]}, examples=["bis remote remove disk"])
@json_option
@click.argument("name", metavar="NAME")
def remove(door: Door, as_json: bool, name: str) -> int:
    """Forget a remote. What lies there stays as it is."""
    from bis.steps.remotes import remove as forget

    url = forget(name, door.project, door.settings)
    if as_json:
        door.terminal.json("bis.remotes/1", {"forgotten": {name: url}})
    else:
        door.terminal.show([f"forgotten  {plain(name)}  {plain(spell(url))}"])
    return 0


@remote.member
@command(
    "show",
    short_help="Say what a remote holds.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis remote show origin", "bis remote show --json"],
)
@json_option
@click.argument("name", required=False, default="", metavar="[NAME]")
def show(door: Door, name: str, as_json: bool) -> int:
    """Ask a remote what it holds: packs and their size, and whether this store has something that it lacks."""
    from bis.acts.share import look

    home = _home(door)
    _warn(door, name)
    found = look(home, name, door.variables, told=byte_meter(door.terminal))
    if as_json:
        door.terminal.json("bis.remote/1", {"remote": found})
        return 5 if found.findings else 0
    rows: list[list[Cell]] = [
        ["remote", plain(found.remote)],
        ["url", plain(found.url)],
        ["holds", f"{count(found.packs, 'pack')}, {size(found.size)}"],
        ["to push", _objects(found.to_push)],
        ["to pull", _objects(found.to_pull)],
    ]
    door.terminal.show(door.terminal.aligned(rows))
    return _findings(door.terminal, found.findings)


def _objects(number: int) -> str:
    return count(number, "object") if number else "nothing"


@command(
    "push",
    short_help="Send to a remote what it has not.",
    statuses={3: STATUSES[3], 5: DAMAGED},
    examples=["bis push", "bis push origin train-12", "bis push lab data:/customers@v3"],
)
@json_option
@click.argument("words", nargs=-1, metavar="[NAME] [REF]...")
def push(door: Door, as_json: bool, words: Sequence[str]) -> int:
    """Send to the remote NAME (origin) what it has not: everything in this store, or what the runs and the versions of
    data need that are named. Nothing there is ever changed: two who push at once lose nothing. A push that was cut goes
    on where it stopped when it is typed again.
    """
    from bis.acts.share import push as send

    home = _home(door)
    name, references = _name_first(home, words)
    what = [_meant(door, text) for text in references]
    _warn(door, name)
    shared = send(home, name, door.variables, what=what, told=byte_meter(door.terminal))
    return _show(door, shared, "bis.push/1", "sent to", "nothing to send", as_json)


def _name_first(home: Home, words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Whether the first word names a remote: one that is known, a URL, or a path."""
    from bis.steps.remotes import remotes

    first = words[0] if words else ""
    is_place = first in remotes(home.project, home.settings) or "://" in first or first.startswith(("/", "./", "../"))
    return (first, words[1:]) if is_place else ("", words)


def _meant(door: Door, text: str) -> Run | Held:
    if text.startswith("data:"):
        from bis.cli.data_words import find

        return find(door, text)[0]
    try:
        return door.find(text)
    except NotFound as error:
        error.because = "\n".join(filter(None, (error.because, "A remote of that name is not known, either.")))
        raise


@command(
    "fetch",
    short_help="Bring what a remote has, without taking it into the ledger.",
    statuses={3: STATUSES[3], 5: DAMAGED},
    examples=["bis fetch", "bis fetch lab", "bis fetch data:/customers@v3"],
)
@json_option
@click.argument("words", nargs=-1, metavar="[NAME] [REF]...")
def fetch(door: Door, as_json: bool, words: Sequence[str]) -> int:
    """Bring into this store what the remote NAME (origin) has and it has not. Each object is proved before it is kept.
    The ledger does not tell of it until `bis pull` or `bis reindex`. With REF, bring only what these runs and versions
    of data need, which a shallow clone may lack.
    """
    from bis.acts.share import fetch as bring

    home = _home(door)
    name, references = _name_first(home, words)
    what = [_meant(door, text) for text in references]
    _warn(door, name)
    shared = bring(home, name, door.variables, what=what, told=byte_meter(door.terminal))
    return _show(door, shared, "bis.fetch/1", "fetched from", "nothing new in", as_json)


@command(
    "pull",
    short_help="Bring what a remote has.",
    statuses={3: STATUSES[3], 5: DAMAGED},
    examples=["bis pull", "bis pull lab", "bis pull --whole"],
)
@click.option("--whole", is_flag=True, help="Bring contents, too, that a shallow clone left there.")
@json_option
@click.argument("name", required=False, default="", metavar="[NAME]")
def pull(door: Door, as_json: bool, name: str, whole: bool) -> int:
    """Bring what the remote NAME (origin) has and this store has not: runs, verdicts, versions of data, and all that
    they need. `bis log` then lists them, `bis repeat` repeats them, `bis data get` puts files in place. Each object is
    proved before it is kept; what is damaged there is told of and refused, and the rest comes.
    """
    from bis.acts.share import pull as bring

    home = _home(door)
    _warn(door, name)
    shared = bring(home, name, door.variables, whole=whole, told=byte_meter(door.terminal))
    return _show(door, shared, "bis.pull/1", "pulled from", "nothing new in", as_json)


@command(
    "clone",
    short_help="Make a project that has all that a remote has.",
    statuses={3: STATUSES[3], 5: DAMAGED},
    examples=["bis clone http://lab.example.org:5000 churn", "bis clone --shallow s3://bucket/churn churn"],
)
@click.option("--shallow", is_flag=True, help="Only records; contents are brought when they are needed.")
@json_option
@click.argument("url", metavar="URL")
@click.argument("folder", required=False, default="", metavar="[DIR]")
def clone(door: Door, as_json: bool, url: str, folder: str, shallow: bool) -> int:
    """Make a project in the folder DIR (named after the URL) that has all that the remote at URL has, which is its
    origin from then on. Its runs can be looked at and repeated there; `bis restore RUN DIR` brings back code and data.

    With --shallow, what was recorded comes at once, and files when `bis data get`, `bis restore` or `bis repeat` need
    them; `bis fetch REF` brings those of a run or a version beforehand, and `bis pull --whole` all.
    """
    from bis.acts.share import clone as make

    into = door.folder / (folder or _folder_for(url))
    _warn_of(door, url)
    home, shared = make(
        url, into, door.variables, seen_from=door.folder, shallow=shallow, told=byte_meter(door.terminal)
    )
    door.terminal.settle()
    shown = plain(spell(str(home.project)))
    if not as_json:
        door.terminal.say("cloned into", shown)
    return _show(door, shared, "bis.clone/1", "pulled from", "nothing is in", as_json)


def _folder_for(url: str) -> str:
    parts = urlsplit(url)
    name = Path(parts.path.rstrip("/")).name or (parts.hostname or "")
    if name in ("", "~", ".", ".."):
        raise UsageError(f"{url} gives the folder no name", hint=f"bis clone {url} DIR")
    return name


# -- what they share -------------------------------------------------------------------------------------------------


def _home(door: Door) -> Home:
    """The project's home; where nothing was recorded yet, but a remote was added, a new one."""
    from bis.steps.remotes import remotes

    return door.opened_home() if remotes(door.project, door.settings) else door.home


def _warn(door: Door, name: str) -> None:
    from bis.steps.remotes import choose

    _warn_of(door, choose(name, door.project, door.settings)[1])


def _warn_of(door: Door, url: str) -> None:
    """Tell who would otherwise not know it that a token can be read on its way."""
    if url.startswith("http://"):
        from bis.store.remote.http import in_the_clear

        if host := in_the_clear(url, door.variables):
            door.terminal.tell(
                f"warning: the token goes to {plain(host)} by http://, where everybody on the way reads it"
            )


def _show(door: Door, shared: Shared, schema: str, did: str, nothing: str, as_json: bool) -> int:
    terminal = door.terminal
    if as_json:
        terminal.json(schema, _plain(shared))
        return 5 if shared.findings else 0
    where = plain(shared.url if "/" in shared.remote else f"{shared.remote} ({shared.url})")
    if shared.objects:
        new = f", {count(shared.runs, 'new run')}" if shared.runs else ""
        told = f"{count(shared.objects, 'object')}, {size(shared.size)}, {count(shared.records, 'record')}{new}"
        terminal.show([f"{did} {where}: {told}"])
    elif not shared.findings:
        new = f"; {count(shared.runs, 'run')} taken into the ledger" if shared.runs else ""
        terminal.show([f"{nothing}{'' if nothing.endswith(' in') else ' to'} {where}{new}"])
    _findings(terminal, shared.remarks)
    return _findings(terminal, shared.findings)


def _plain(shared: Shared) -> dict[str, Any]:
    import msgspec

    return {name: getattr(shared, name) for name in msgspec.structs.asdict(shared)}


def _findings(terminal: Terminal, findings: Sequence[Any]) -> int:
    """Tell of them; the exit status, where they are damage."""
    rows: list[list[Cell]] = [[("[!]", "red"), plain(one.text), (one.code, "grey")] for one in findings]
    if rows:
        terminal.show(terminal.aligned(rows))
    for hint in dict.fromkeys(plain(one.hint) for one in findings if one.hint):
        terminal.tell(f"help: {hint}")
    return 5 if findings else 0
