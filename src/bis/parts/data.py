"""Data: what the run read that is neither code nor environment. Declared, remembered, or discovered by the trace.

Trees: `project`, the inputs inside the project; `outside`, those of absolute paths (without the leading slash).
Facts: `inputs`, one row each: `path` (relative to the project, or absolute), `size`, `digest`, `how` (`declared`,
`remembered`, `discovered`, `listed`), `read`, `kept` (False: recorded by reference), `tracked` (by which other system,
and as what: `parts/tracked.py`); `secrets`, files that were read and whose content is never kept: `path`, keyed digest;
`network`, addresses that data may have come from; `listed`, folders outside the project whose names the run read;
`caches`, files of caches that it read, which are not recorded;
`there`, what was there and counts by its name alone: in the project's own folder before the run, and what the run
removed unread (`path`, `kind` file, folder or link, `size`, `target`), folders that it wrote into, and files that the
run was not let read (`refused`); `wrote`, paths outside the project that the run
made, changed or removed (there only when it was seen whole).
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import shlex
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from bis.digest import Digest, digest_file, digest_value, keyed_digest, readable, short, spell, unspell
from bis.errors import CannotRepeat, counted
from bis.nouns.part import Change, Finding, Part, PartKind
from bis.nouns.trace import GONE, MADE, WRITTEN, Access, Process, Stat
from bis.nouns.tree import Leaf
from bis.parts import Place, Scene
from bis.parts.code import DIFF_SIZE, unified
from bis.parts.origin import LIVE, TEMPORARY, in_passing, is_data, is_lock, models_brought, sorter
from bis.parts.programs import recogniser
from bis.parts.secret import holds_secret, is_secret_file
from bis.settings import FOLDER
from bis.store import Store
from bis.store.snapshot import plant, put_leaves, walk
from bis.store.snapshot import restore as restore_tree

KIND: PartKind = "data"

CHANGED = WRITTEN | GONE
LISTED = 10_000
"""So many files of a listed folder are recorded though they were not opened; in larger folders only what was read."""
CACHE_FILES = 50
HERE = ("tcp:127.", "tcp:localhost:", "tcp:[::1]:", "tcp:[::ffff:127.", "tcp:0.0.0.0:", "tcp:[::]:")
"""How addresses of this machine itself begin: servers that the run starts for its own processes."""
SCORING = "predict"
"""The folder of bis' own in which `bis predict` keeps what it has scored, until all is."""
MOST_WRITTEN = 10_000
"""From so many paths outside the project on, `wrote` is not recorded, and a repeat is not kept from writing there."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is to be recorded: how records name it, and where its bytes of that time are now."""

    name: str
    place: Path | None
    """None: the run overwrote it; its bytes of that time are those recorded before the run."""
    how: str
    read: bool = True


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    findings: list[Finding] = []
    inputs = {one.name: one for one in _expected(scene, findings)}
    secrets: list[dict[str, str]] = []
    network: list[str] = []
    before = dict(_leaves(earlier, store)) if earlier else {}
    if scene.trace is not None:
        if scene.trace.complete:
            inputs = {name: one for name, one in inputs.items() if one.how == "declared"}
        inputs |= {one.name: one for one in _discovered(scene, inputs, before, findings)}
        secrets = list(_secrets(scene))
        network = _far(scene)
    leaves = _put(inputs.values(), scene, store, findings)
    leaves |= {name: before[name] for name, one in inputs.items() if one.place is None}
    rows = [
        _row(inputs[name], leaf)
        for name, leaf in sorted(leaves.items())
        if name in inputs and leaf.entry.kind != "link"
    ]
    if scene.trace is not None:
        from bis.parts.tracked import mark  # beside the command, which need not wait for what it imports

        rows, told = mark(rows, scene, store)
        findings += told
    if network:
        findings.append(_network_finding(network, scene))
    findings += _own_files(scene)
    facts = {"project": spell(str(scene.project)), "secrets": secrets, "network": network}
    there = [*earlier.facts.get("there", ())] if earlier else []
    if scene.trace is None:
        there = _names_at_top(scene)
    else:
        facts |= {"listed": listed_outside(scene), "caches": _caches(scene), **_wrote(scene)}
        there += _removed_unread(scene, {*leaves, *(row["path"] for row in there)})
        there += _written_into(scene, {row["path"] for row in there})
        refused = list(_refused(scene, inputs, leaves))
        there = [row for row in there if row["path"] not in {row["path"] for row in refused}] + refused
    facts["there"] = there
    return _part(rows, leaves, facts, store, findings)


def restore(part: Part, place: Place, store: Store) -> None:
    """Put every input back: project files into the project, others below `place.outside` when there is one."""
    gone: list[str] = []
    for role, into in (("project", place.project), ("outside", place.outside)):
        if into is None or role not in part.trees:
            continue
        for leaf in restore_tree(store, part.trees[role], into, overwrite=True):
            name = leaf.path if role == "project" else f"/{leaf.path}"
            if not _bring(name, leaf, into / unspell(leaf.path), part):
                gone.append(name)
    if gone:
        raise CannotRepeat(
            f"what was recorded by reference is not there any more as it was: {_some(gone)}",
            because=f"Looked below {part.facts.get('project', '')} and at absolute paths, for the recorded digest.",
            hint="put the file back, or record it with its content: bis run --copy-data …",
        )


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    if before.digest == after.digest:
        return []
    old, new = _by_path(before), _by_path(after)
    changes = []
    for path in sorted({*old, *new}):
        was, now = old.get(path), new.get(path)
        if was is None or now is None or was["digest"] != now["digest"]:
            changes.append(_change(path, was, now, store))
    return changes


# Which files -------------------------------------------------------------------------------------------------------


def _expected(scene: Scene, findings: list[Finding]) -> Iterator[Input]:
    """Inputs that are known before the run: declared in the settings, and read by the last run of the same command."""
    for name in scene.remembered:
        place = scene.real(name if name.startswith("/") else spell(str(scene.project / unspell(name))))
        if place.is_file():
            yield Input(name=name, place=place, how="remembered")
    top = scene.real(spell(str(scene.project)))
    for glob in scene.settings.data:
        files = [file for path in _meant(glob, top, scene) for file in _files(path)]
        for file in files:
            yield Input(name=_called(file, top, scene.outside), place=file, how="declared", read=False)
        if not files:
            findings.append(_declared_absent(glob, scene))


def _called(file: Path, top: Path, outside: Path | None) -> str:
    if file.is_relative_to(top):
        return spell(str(file.relative_to(top)))
    return spell(str("/" / file.relative_to(outside)) if outside and file.is_relative_to(outside) else str(file))


def _meant(glob: str, top: Path, scene: Scene) -> list[Path]:
    """The files and folders of a declaration; none for what is no pattern. In a repeat those of the record: what lies
    at such paths on the machine is not what the command finds there."""
    start, pattern = top, glob
    if glob.startswith(("/", "~/", "../")):
        pattern = os.path.normpath(scene.project / (scene.home / glob[2:] if glob[0] == "~" else glob))
        own = f"{scene.project}/"
        if f"{pattern}/" == own:
            return [top]
        start = top if pattern.startswith(own) else scene.outside or Path("/")
        pattern = pattern.removeprefix(own)
        pattern = pattern.lstrip("/")
    try:
        found = sorted(start.glob(pattern)) if pattern else []
    except ValueError:  # `data/**x`
        return []
    return [Path(os.path.normpath(path)) for path in found]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name not in (FOLDER, ".git", ".hg", ".svn"))
            yield from (Path(folder, name) for name in sorted(names))


def _declared_absent(glob: str, scene: Scene) -> Finding:
    return Finding(
        code="declared-absent",
        text=f"no file is meant by the declared data {readable(spell(glob))!r}",
        hint=f"data in bis.toml, or --data: files, folders or globs, relative to {readable(spell(str(scene.project)))}",
    )


def _discovered(
    scene: Scene, expected: Mapping[str, Input], before: Mapping[str, Leaf], findings: list[Finding]
) -> Iterator[Input]:
    """What the trace saw being read, each with the bytes that it had when it was first opened."""
    assert scene.trace is not None
    chosen, brought = _chooser(scene), models_brought(scene)
    written = {access.path for access in scene.trace.accesses if access.was_written}
    read: set[str] = set()
    for access in scene.trace.accesses:
        is_brought = access.path.startswith(brought) and scene.real(access.path).is_file()
        if not (access.was_read or is_brought) or not chosen(access):
            continue
        name = scene.named(access.path)
        read.add(name)
        how = expected[name].how if name in expected else "discovered"
        if access.preimage and not is_brought:  # what was asked for then lies where another answer lay before
            yield Input(name=name, place=Path(unspell(access.preimage)), how=how)
        elif not is_brought and (access.was_written or any(letter in access.how for letter in "dm")):
            if name in before:
                yield Input(name=name, place=None, how=how)
            else:
                findings.append(_overwritten(name))
        else:
            place = scene.real(access.path)
            findings += _trouble(access, name, place)
            yield Input(name=name, place=place, how=how)
    for name, place in _beside(scene, written):
        if name not in expected and name not in read:
            yield Input(name=name, place=place, how="listed", read=False)


def _chooser(scene: Scene) -> Callable[[Access], bool]:
    origin = sorter(scene)
    is_program = recogniser(scene, origin)
    top = spell(str(scene.project))

    def chosen(access: Access) -> bool:
        where = origin(access.path)
        if where not in ("project", "outside", "temporary") or is_lock(access) or _is_secret(access.path, scene):
            return False
        if is_program(access):
            return False
        size = access.before.size if access.before else 0
        name = access.path[len(top) + 1 :]
        # What an earlier run made is left out of the code, whatever its name.
        return where != "project" or name in scene.known_outputs or is_data(name, size)

    return chosen


def _overwritten(name: str) -> Finding:
    return Finding(
        code="input-overwritten",
        text=f"{readable(name)} was read and then changed or removed by the run; its content from before was not kept",
        hint=f'declare it, so that it is recorded before each run: data = ["{readable(name)}"] in bis.toml',
        blocks=True,
    )


def _trouble(access: Access, name: str, place: Path) -> Iterator[Finding]:
    """What is wrong with a file whose bytes of the time must now be taken from where it lies."""
    try:
        status = place.stat()
    except OSError as error:
        text = f"{readable(name)} was read and cannot be read any more ({error.strerror})"
        yield Finding(code="input-vanished", text=text, blocks=True)
        return
    if access.before and not _unchanged(access.before, status):
        text = f"{readable(name)} changed while the run read it; the record holds it as it is now"
        yield Finding(code="input-changed", text=text, hint="run again when nothing else writes to it", blocks=True)


def _unchanged(before: Stat, status: os.stat_result) -> bool:
    return (before.size, before.mtime_ns) == (status.st_size, status.st_mtime_ns)


def _beside(scene: Scene, written: set[str]) -> Iterator[tuple[str, Path]]:
    """Data files that lie in a folder whose listing the run read: which names there are can steer a run, too."""
    assert scene.trace is not None
    origin = sorter(scene)
    top = spell(str(scene.project))
    for access in scene.trace.accesses:
        if "l" not in access.how or access.path == top or origin(access.path) != "project":
            continue
        files = _files_in(scene.real(access.path))
        for file, size in files if len(files) <= LISTED else ():
            path = f"{access.path}/{spell(file.name)}"
            name = scene.named(path)
            if path in written or name in scene.known_outputs or _is_secret(path, scene):
                continue
            if is_data(name, size):
                yield name, file


def _files_in(folder: Path) -> list[tuple[Path, int]]:
    """The files of a folder and their sizes, without those that cannot be looked at (a link that leads to itself)."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_file():
                        found.append((Path(entry.path), entry.stat().st_size))
    except OSError:
        pass
    return found


def _names_at_top(scene: Scene) -> list[dict[str, Any]]:
    """The project's own folder before the run. Its names are read by every interpreter that starts there, so which
    command looked at them is not known; a repeat finds them all, most of them without content."""
    found: list[dict[str, Any]] = []
    try:
        with os.scandir(scene.real(spell(str(scene.project)))) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                row = _there(spell(entry.name), Path(entry.path))
                if row and not (row["kind"] == "folder" and Path(entry.path, "pyvenv.cfg").exists()):
                    found.append(row)
    except OSError:
        return []
    return found if len(found) <= LISTED else []


def _there(name: str, path: Path) -> dict[str, Any] | None:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return {"path": name, "kind": "link", "target": spell(str(path.readlink()))}
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return {"path": name, "kind": "folder"}
    return {"path": name, "kind": "file", "size": status.st_size} if stat.S_ISREG(status.st_mode) else None


def _removed_unread(scene: Scene, known: Collection[str]) -> list[dict[str, Any]]:
    """Files that the run removed and had not looked into: a repeat must find them, with any content."""
    assert scene.trace is not None
    origin = sorter(scene)
    found = []
    for access in scene.trace.accesses:
        if access.before is None or not access.was_removed or scene.named(access.path) in known:
            continue
        where = origin(access.path)
        if where in ("project", "outside") or (where == "temporary" and not in_passing(access.path)):
            found.append({"path": scene.named(access.path), "kind": "file", "size": max(0, access.before.size)})
    return found[:LISTED]


def _written_into(scene: Scene, known: Collection[str]) -> list[dict[str, Any]]:
    """Folders of the project, empty perhaps, into which the run wrote and which it had not made: a repeat must find
    them. Where it was not seen who made a folder, nothing is said of it."""
    assert scene.trace is not None
    top = PurePosixPath(spell(str(scene.project)))
    made = {access.path for access in scene.trace.accesses if not MADE.isdisjoint(access.how)}
    found: set[str] = set()
    for access in scene.trace.accesses if scene.trace.complete else ():
        path = PurePosixPath(access.path)
        if access.was_written and path.is_relative_to(top):
            folders = [folder for folder in reversed(path.parents) if folder != top and folder.is_relative_to(top)]
            # What lies below a folder that it made is its own, too.
            old = itertools.takewhile(lambda folder: str(folder) not in made and folder.name != FOLDER, folders)
            found.update(str(folder.relative_to(top)) for folder in old)
    return [{"path": name, "kind": "folder"} for name in sorted(found - {*known})][:LISTED]


def _refused(scene: Scene, inputs: Mapping[str, Input], leaves: Collection[str]) -> Iterator[dict[str, Any]]:
    """Files that nobody let the run read, with permissions from before it began: a repeat is not let read them."""
    assert scene.trace is not None
    for name, one in sorted(inputs.items()):
        if name in leaves or one.place is None:
            continue
        try:
            status = one.place.stat()
        except OSError:
            continue
        shut = stat.S_ISREG(status.st_mode) and not os.access(one.place, os.R_OK)
        if shut and status.st_ctime_ns < scene.trace.since_ns:
            yield {"path": name, "kind": "file", "size": status.st_size, "refused": True}


def _wrote(scene: Scene) -> dict[str, list[str]]:
    """Where outside the project the run made, changed or removed something, whatever became of it."""
    assert scene.trace is not None
    origin = sorter(scene)
    found = [
        access.path
        for access in scene.trace.accesses
        if not CHANGED.isdisjoint(access.how)
        and origin(access.path) in ("outside", "temporary", "system", "cache")
        and not access.path.startswith((*LIVE, f"{spell(str(scene.project))}/", models_brought(scene)))
        and not ("/__pycache__/" in access.path or in_passing(access.path))
    ]
    return {"wrote": sorted(found)} if scene.trace.complete and len(found) <= MOST_WRITTEN else {}


def listed_outside(scene: Scene) -> list[str]:
    """Folders outside the project whose names the run read, without those that are searched for modules or programs,
    and those of models, which are read as a whole."""
    origin, brought = sorter(scene), models_brought(scene)
    known = {spell(entry) for report in scene.reports for entry in report.path} | set(TEMPORARY)
    known |= {spell(entry.rstrip("/")) for entry in scene.variables.get("PATH", "").split(os.pathsep)}
    project = f"{spell(str(scene.project))}/"
    return sorted(
        access.path
        for access in (scene.trace.accesses if scene.trace else ())
        if access.was_listed
        and access.path not in known
        and origin(access.path) in ("outside", "temporary")
        and not project.startswith(f"{access.path.rstrip('/')}/")
        and not access.path.startswith(brought)
    )


def _caches(scene: Scene) -> list[str]:
    """Files of the user's caches that the run read, `CACHE_FILES` at most."""
    assert scene.trace is not None
    origin = sorter(scene)
    home = f"{spell(str(scene.home))}/"
    found = (
        access.path
        for access in scene.trace.accesses
        if access.was_read and access.path.startswith(home) and not access.path.endswith(".pyc")
    )
    return sorted(itertools.islice((path for path in found if origin(path) == "cache"), CACHE_FILES))


def _secrets(scene: Scene) -> Iterator[dict[str, str]]:
    assert scene.trace is not None
    origin = sorter(scene)
    for access in scene.trace.accesses:
        if access.was_read and origin(access.path) in ("project", "outside") and _is_secret(access.path, scene):
            try:
                content = scene.real(access.path).read_bytes()
            except OSError:
                continue
            yield {"path": scene.named(access.path), "digest": keyed_digest(scene.key, content.hex())}


def _is_secret(path: str, scene: Scene) -> bool:
    secrets = scene.settings.secrets
    return is_secret_file(path, secrets) and holds_secret(path, scene.real(path), secrets)


def _own_files(scene: Scene) -> Iterator[Finding]:
    """A run that reads all files it finds reads those of bis too, which are others each time."""
    if scene.trace is None or any(_is_bis(process) for process in scene.trace.processes):
        return
    own, working = (f"{spell(str(scene.project / FOLDER / name))}/" for name in ("", SCORING))
    read = [
        access.path
        for access in scene.trace.accesses
        if access.path.startswith(own) and access.was_read and not access.path.startswith(working)
    ]
    brought = models_brought(scene)
    asked = any(access.path.startswith(brought) for access in scene.trace.accesses)
    if read and not asked:  # what `bis.load_model` found in the ledger is an input itself
        yield Finding(
            code="own-files-read",
            text=f"the run read what bis keeps for itself: {_some([scene.named(path) for path in read])}",
            hint=f"leave {FOLDER}/ out where the program looks for its files: it holds other files in each run",
        )


def _is_bis(process: Process) -> bool:
    return any(PurePosixPath(word).name == "bis" for word in process.argv[:3])


def _far(scene: Scene) -> list[str]:
    """Addresses of other machines that the run connected to. The C library connects UDP sockets, sending nothing, to
    sort the addresses of a name: they are no input."""
    told = {address for report in scene.reports for address in report.facts.get("connections", ())}
    told |= set(scene.trace.connections if scene.trace else ())
    return sorted(address for address in told if address.startswith("tcp:") and not address.startswith(HERE))


def _network_finding(addresses: list[str], scene: Scene) -> Finding:
    names = list(dict.fromkeys(name for report in scene.reports for name in report.facts.get("names", ())))
    looked = f" (looked up: {_some(names)})" if names else ""
    return Finding(
        code="network-input",
        text=f"connected to {_some(addresses)}{looked}: what came from there has no version",
        hint="save what you download to a file, and read that",
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(readable(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {counted(len(names) - 3, 'other')}"


# Keeping -----------------------------------------------------------------------------------------------------------


def _put(inputs: Iterable[Input], scene: Scene, store: Store, findings: list[Finding]) -> dict[str, Leaf]:
    keep = _keeper(scene)
    found: dict[str, Leaf] = {}
    present = []
    named = {one.name: one for one in inputs}
    for one in named.values():
        try:
            if one.place and stat.S_ISREG(one.place.stat().st_mode):
                present.append((one.name, _bytes_of(one.place, one, named, scene)))
        except OSError:
            continue
    notes: list[Finding] = []
    for leaf in put_leaves(sorted(present), store, scene.cache, keep=keep, notes=notes):
        found[leaf.path] = leaf
    findings += [_with_remedy(note, present) for note in notes]
    away = [leaf for leaf in found.values() if not leaf.entry.kept]
    if away:
        total = sum(leaf.entry.size for leaf in away)
        findings.append(
            Finding(
                code="by-reference",
                text=f"recorded by reference, not copied: {_some([leaf.path for leaf in away])} ({_size(total)})",
                hint="bis run --copy-data, or limits.input_file in bis.toml",
            )
        )
    return found


def _with_remedy(note: Finding, places: Iterable[tuple[str, Path]]) -> Finding:
    """What to type where permissions are in the way: whoever owns a file may change them."""
    if note.code != "unreadable":
        return note
    name, place = next((two for two in places if note.text.startswith(f"{readable(two[0])} ")), ("", Path()))
    with suppress(OSError):
        if name and not os.access(place, os.R_OK):
            verb = "chmod u+r" if place.stat().st_uid == os.getuid() else "ls -l"
            return msgspec.structs.replace(note, hint=f"{verb} {shlex.quote(readable(name))}")
    return note


def _bytes_of(place: Path, one: Input, named: Collection[str], scene: Scene) -> Path:
    """What the run opened is a file's bytes, also where the name is a link: the link is resolved, unless it lies in the
    project and what it leads to is an input by its own name. To resolve what is no link costs a look at each folder
    above it."""
    if not place.is_symlink():
        return place
    folder = (scene.project / unspell(one.name)).parent
    target = scene.named(spell(os.path.normpath(folder / place.readlink())))
    return place if target in named and not one.name.startswith("/") else place.resolve()


def _keeper(scene: Scene) -> Callable[[str, os.stat_result], bool]:
    settings = scene.settings
    room = settings.limits.input_run

    def keep(name: str, status: os.stat_result) -> bool:
        nonlocal room
        if any(fnmatch.fnmatch(name, glob) for glob in settings.by_reference):
            return False
        if not settings.copy_data and status.st_size > min(settings.limits.input_file, room):
            return False
        room -= status.st_size
        return True

    return keep


def _leaves(part: Part, store: Store) -> Iterator[tuple[str, Leaf]]:
    for role, start in (("project", ""), ("outside", "/")):
        if role in part.trees:
            for leaf in walk(store, part.trees[role]):
                name = start + leaf.path
                yield name, msgspec.structs.replace(leaf, path=name)


def _row(one: Input, leaf: Leaf) -> dict[str, Any]:
    entry = leaf.entry
    row = {"path": one.name, "size": entry.size, "digest": entry.digest, "how": one.how, "read": one.read}
    return row if entry.kept else {**row, "kept": False}


def _part(
    rows: list[dict[str, Any]], leaves: Mapping[str, Leaf], facts: dict[str, Any], store: Store, findings: list[Finding]
) -> Part:
    inside = [leaf for name, leaf in sorted(leaves.items()) if not name.startswith("/")]
    outside = [
        msgspec.structs.replace(leaf, path=name[1:]) for name, leaf in sorted(leaves.items()) if name.startswith("/")
    ]
    trees = {"project": plant(inside, store)} if inside else {}
    if outside:
        trees["outside"] = plant(outside, store)
    counted = [row for row in rows if row["read"] or row["how"] == "declared"]
    return Part(
        kind=KIND,
        digest=digest_value([(row["path"], row["digest"]) for row in counted]),
        summary=_summary(counted),
        trees=trees,
        facts={"inputs": rows, **facts},
        findings=tuple(findings),
    )


def _summary(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "none"
    if len(rows) == 1:
        return ", ".join(filter(None, (readable(rows[0]["path"]), _size(rows[0]["size"]), _tracker(rows[0]))))
    marked = sum(bool(_tracker(row)) for row in rows)
    others = f", {marked} tracked by other systems" if marked else ""
    return f"{len(rows)} files, {_size(sum(row['size'] for row in rows))}{others}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


# Giving back and comparing -----------------------------------------------------------------------------------------


def _bring(name: str, leaf: Leaf, into: Path, part: Part) -> bool:
    """Copy an input that was recorded by reference from where it lay, if it is still what it was."""
    import shutil

    source = (
        Path(unspell(name))
        if name.startswith("/")
        else Path(unspell(part.facts.get("project", "/nowhere"))) / unspell(name)
    )
    try:
        if source.stat().st_size != leaf.entry.size or digest_file(source) != leaf.entry.digest:
            return False
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, into)
        into.chmod(leaf.entry.mode)
    except OSError:
        return False
    return True


def _by_path(part: Part) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in part.facts["inputs"] if row["read"] or row["how"] == "declared"}


def _change(path: str, was: dict[str, Any] | None, now: dict[str, Any] | None, store: Store) -> Change:
    return Change(
        kind=KIND,
        name=path,
        before=_named(was) if was else None,
        after=_named(now) if now else None,
        detail=unified(path, _text(was, store), _text(now, store)) if was and now else "",
    )


def _named(row: dict[str, Any]) -> str:
    return f"{short(row['digest'])} ({', '.join(filter(None, (_size(row['size']), _tracker(row))))})"


def _text(row: dict[str, Any] | None, store: Store) -> bytes | None:
    if row is None or row["size"] > DIFF_SIZE or not row.get("kept", True):
        return None
    digest = Digest(row["digest"])
    return store.get_bytes(digest) if store.has(digest) else None


def _tracker(row: dict[str, Any]) -> str:
    """What tracks an input, for a person; empty for most."""
    if "tracked" not in row:
        return ""
    from bis.parts.tracked import shown

    return shown(row)
