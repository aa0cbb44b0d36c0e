"""The place where a run is repeated: what is put there, what the command sees of it, and what leaked in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bis.digest import keyed_digest, readable, spell, unspell
from bis.errors import CannotRepeat
from bis.nouns.part import Finding, Part
from bis.nouns.run import Run
from bis.nouns.trace import CHANGED
from bis.parts import Scene
from bis.parts.beside_inputs import listed_outside
from bis.parts.origin import CACHES, KEPT_CACHES, LIVE, SYSTEM, in_passing, installer_caches, is_lock, sorter
from bis.settings import Settings
from bis.steps import rooms
from bis.steps.rebuild import Rebuilt
from bis.steps.rooms import Mount, Seal

SYSTEM_FOLDERS = tuple(f"{folder}/" for folder in SYSTEM)
INSTALLED = (".local/share/jupyter",)
"""Of the caches below home: Jupyter's kernels are there, which a repeat needs."""
MOST_SHARED = 2000
"""With more names than that, /tmp stays as it is in a repeat: each name takes a mount."""
MANY = 20
"""From so many inputs in one folder outside the project, the folder is shown to the command, not each file."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of one repeat."""

    top: Path

    @property
    def project(self) -> Path:
        return self.top / "project"

    @property
    def outside(self) -> Path:
        return self.top / "outside"

    @property
    def scratch(self) -> Path:
        return self.top / "scratch"

    @property
    def tools(self) -> Path:
        """Copies of what bis runs inside the command's interpreters, where the command can see them."""
        return self.top / "tools"


def environments_folder(settings: Settings, variables: Mapping[str, str]) -> Path:
    """Where rebuilt environments are cached, one for each lock."""
    if settings.environments:
        return Path(settings.environments).expanduser()
    cache = variables.get("XDG_CACHE_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".cache")
    return Path(cache) / "bis" / "environments"


def bring_secrets(run: Run, ground: Ground, key: bytes) -> None:
    """Copy the credential files that the run read from where they are now, if they are still the same.

    Raises CannotRepeat, naming the first that is not.
    """
    project = Path(unspell(run.project))
    for secret in run.parts["data"].facts.get("secrets", ()):
        name = unspell(secret["path"])
        source = Path(name) if name.startswith("/") else project / name
        into = ground.outside / name[1:] if name.startswith("/") else ground.project / name
        try:
            same = keyed_digest(key, source.read_bytes().hex()) == secret["digest"]
        except OSError:
            same = False
        if not same:
            raise CannotRepeat(
                f"the run read {readable(secret['path'])}, which is never stored, and {source} does not hold it now",
                because="Credentials are recorded only as a digest; a repeat takes them from where they lie.",
                hint=f"put the file back at {source}, then: bis repeat {run.id[:8]}",
            )
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, into)


def mounts(
    run: Run, ground: Ground, rebuilt: Rebuilt | None, home: Path, variables: Mapping[str, str]
) -> tuple[Mount, ...]:
    """What the command shall see: caches hidden, the restored project, inputs and environment at their old paths."""
    project = Path(unspell(run.project))
    whole = _listed_whole(run, (project, home, *((rebuilt.prefix,) if rebuilt else ())))
    # What programs left there in passing is neither recorded nor missed; they may leave it again.
    named = installer_caches(variables, str(home), str(project), str(ground.top))
    caches = {*_caches(home), *(Path(unspell(folder)) for folder in named)}
    apart = [folder for folder in caches if caches.isdisjoint(folder.parents)]
    hidden = [folder for folder in (*sorted(apart), Path("/var/tmp")) if folder.is_dir()]
    shown = [Mount(at=folder) for folder in hidden]
    shown += [Mount(at=home / name, source=home / name, write=False) for name in KEPT_CACHES if (home / name).is_dir()]
    changed = {Path(path) for path in _changed_outside(run)}
    shown += [Mount(at=path, absent=True) for path in sorted(changed)]
    shown.append(Mount(at=project, source=ground.project))
    shown += [
        Mount(at=Path("/") / path, source=ground.outside / path, copied=Path("/") / path in changed)
        for path in _shown_inputs(ground, whole)
    ]
    if rebuilt is not None and rebuilt.how in ("built", "cached"):
        at = Path(unspell(rebuilt.at)) if rebuilt.at else rebuilt.prefix
        places = [Mount(at=at, source=rebuilt.prefix, write=False)]
        places += [
            Mount(at=Path(unspell(old)), source=Path(unspell(new)))
            for old, new in rebuilt.sources.items()
            if not Path(unspell(old)).is_relative_to(project)
        ]
        # An environment may lie in the source of one of its packages, and a source in its environment.
        shown += sorted(places, key=lambda mount: mount.at)
    # The ground itself must stay in sight where the project or a hidden folder lies above it.
    shown.append(Mount(at=ground.top, source=ground.top))
    return tuple(shown)


def _caches(home: Path) -> list[Path]:
    """Folders of caches below home, without those that lie in another, and those in which programs are installed."""
    folders = [home / name for name in CACHES if name not in INSTALLED]
    return [folder for folder in folders if not any(other in folder.parents for other in folders)]


def _changed_outside(run: Run) -> set[str]:
    """What the run made, changed or removed outside the project: a repeat makes its own, and never touches what is
    there. In the folders of the system it does as the run did."""
    made = [output.path for output in run.outputs if output.path.startswith("/")]
    wrote = [path for path in run.parts["data"].facts.get("wrote", ()) if not path.startswith(SYSTEM_FOLDERS)]
    return {unspell(path) for path in (*made, *wrote)}


def sealing(run: Run) -> Seal | None:
    """What of the machine a repeat may still change. None where the record does not say what the run changed."""
    wrote = run.parts["data"].facts.get("wrote")
    if wrote is None:
        return None
    live = {Path(folder) for folder in LIVE if not folder.startswith(("/proc/", "/sys/"))}
    live |= {_nearest(Path(unspell(path)).parent) for path in wrote if path.startswith(SYSTEM_FOLDERS)}
    names = [path.name for path in Path("/tmp").iterdir()] if Path("/tmp").is_dir() else []
    if len(names) > MOST_SHARED:
        return Seal(live=(*sorted(live), Path("/tmp")))
    passing = tuple(name for name in names if in_passing(f"/tmp/{spell(name)}"))
    return Seal(live=tuple(sorted(live)), shared={Path("/tmp"): passing} if names else {})


def left_open(paths: Sequence[str]) -> Iterator[Finding]:
    """Places (spelled) that the kernel did not let the room make read-only."""
    if paths:
        text = (
            f"a repeat could change what is in {', '.join(map(readable, paths[:3]))}: it cannot be made read-only here"
        )
        yield Finding(code="not-sealed", text=text)


def refused(scene: Scene, seal: Seal | None) -> Iterator[Finding]:
    """What the command wanted to change on the machine, as the recorded run had not, and was kept from."""
    origin = sorter(scene)
    # What is live was not read-only, and the kernel's own files are another's business.
    live = (*LIVE, *(f"{spell(str(folder))}/" for folder in (seal.live if seal else ())))
    found = [
        access.path
        for access in (scene.trace.accesses if scene.trace else ())
        if not CHANGED.isdisjoint(access.how)
        and origin(access.path) in ("outside", "temporary", "system", "cache")
        and not ("/__pycache__/" in access.path or in_passing(access.path) or access.path.startswith(live))
        and scene.refused(access.path)
        and _writable(Path(unspell(access.path)))
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield Finding(
            code="write-refused",
            text=f"the repeat was not let change what the run had left alone on this machine: "
            f"{', '.join(readable(path) for path in found[:3])}{more}",
            hint="what makes it do so is what differs",
            blocks=True,
        )


def _writable(path: Path) -> bool:
    """Whether the user may write there: else it was not the repeat that was in the way."""
    return os.access(_nearest(path), os.W_OK)


def _nearest(path: Path) -> Path:
    """The path, or the folder above it, that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def stand_in(part: Part, ground: Ground, *, whole: bool) -> dict[str, str]:
    """Put what counts by its name alone where nothing was restored: folders empty, files of the same size without
    content, and those that the run was not let read so that nobody may read them. Not `whole`, where it would not be
    seen that a repeat looks into a file: only these and the folders. Returns the names of the files that can be read,
    and why nobody kept their content."""
    made = {}
    for row in part.facts.get("there", ()):
        name = unspell(row["path"])
        place = ground.outside / name[1:] if name.startswith("/") else ground.project / name
        if os.path.lexists(place) or not (whole or row.get("refused") or row["kind"] == "folder"):
            continue
        with suppress(OSError):  # a name that cannot be given is missing, and that is all
            place.parent.mkdir(parents=True, exist_ok=True)
            if row["kind"] == "folder":
                place.mkdir()
            elif row["kind"] == "link":
                place.symlink_to(unspell(row["target"]))
            else:
                with place.open("xb") as file:
                    file.truncate(row["size"])
                if row.get("refused"):
                    place.chmod(0)
                if os.access(place, os.R_OK):
                    made[row["path"]] = "was refused" if row.get("refused") else "had left alone"
    return made


def read_without_content(scene: Scene, stood_in: Mapping[str, str]) -> Iterator[Finding]:
    """Files that the repeat looked into, and the recorded run did not: nobody kept what was in them."""
    for access in scene.trace.accesses if scene.trace else ():
        name = scene.named(access.path)
        if access.was_read and "m" not in access.how and name in stood_in:
            yield Finding(
                code="not-recorded",
                text=f"the repeat read {readable(name)}, which the run {stood_in[name]}, so that its content is not"
                " recorded",
                hint="repeat it as a user whom the permissions of files bind"
                if stood_in[name] == "was refused"
                else "what makes it do so is what differs",
                blocks=True,
            )


def _listed_whole(run: Run, needed: Sequence[Path]) -> set[Path]:
    """Folders outside the project that the run listed: a repeat shall find the recorded names there and no others.
    Not those above something that it needs."""
    listed = {Path(unspell(path)) for path in run.parts["data"].facts.get("listed", ())}
    return {folder for folder in listed if not any(path.is_relative_to(folder) for path in needed)}


def _shown_inputs(ground: Ground, whole: Collection[Path] = ()) -> list[Path]:
    """Inputs from outside the project, relative to the root: files, or their folder where there are many of them or
    it is one of `whole`."""
    folders: dict[Path, list[Path]] = {}
    if ground.outside.is_dir():
        for path in ground.outside.rglob("*"):
            if path.is_file():
                folders.setdefault(path.parent, []).append(path)
    found = []
    for folder, files in sorted(folders.items()):
        there = Path("/") / folder.relative_to(ground.outside)
        found += [folder] if len(files) >= MANY or there in whole else sorted(files)
    return [path.relative_to(ground.outside) for path in found]


def restored(shown: Sequence[Mount]) -> tuple[str, ...]:
    """Paths, as the command sees them, at which there is nothing but what was put there from the record."""
    return tuple(spell(str(mount.at)) for mount in shown)


def outside(path: Path, shown: Sequence[Mount], scratch: Path) -> Path:
    """Where a path that the command sees in its room lies outside of it, also before the room is made."""
    for mount in reversed(shown):
        if mount.source is not None and not mount.copied and path.is_relative_to(mount.at):
            return mount.source / path.relative_to(mount.at)
    return rooms.outside(path, scratch)


def substitute(command: Sequence[str], part: Part, python: Path | None) -> tuple[str, ...]:
    """The command with an absolute path to the recorded interpreter replaced by the rebuilt one."""
    facts = part.facts.get("python") or {}
    recorded = {unspell(facts[name]) for name in ("executable", "real") if facts.get(name)}
    if python is not None and command[0] in recorded:
        return (str(python), *command[1:])
    return tuple(command)


def at_old_path(command: Sequence[str], rebuilt: Rebuilt) -> tuple[str, ...]:
    """A command in which the rebuilt environment is named by the path that it has in the room."""
    here = f"{rebuilt.prefix}/"
    return tuple(
        f"{unspell(rebuilt.at)}/{word.removeprefix(here)}" if word.startswith(here) else word for word in command
    )


def unchanged_programs(recorded: Part, again: Part) -> set[str]:
    """Programs from outside the project (spelled) that the repeat executed and that have the recorded bytes. Of the
    infrastructure parts."""
    before, after = (part.facts.get("programs", {}) for part in (recorded, again))
    return {path for path, digest in after.items() if digest and before.get(path) == digest}


def leaks(scene: Scene, recorded: Part, unchanged: Collection[str] = ()) -> list[str]:
    """Files that the command read, and folders that it listed (with a slash at their end), that neither the record nor
    environment or system account for (spelled).

    A file outside the project that holds, byte for byte, what the record says of that path is no leak; nor are programs
    that are known to be `unchanged`.
    """
    origin = sorter(scene)
    known = set(unchanged)
    known |= {row["path"] for row in recorded.facts["inputs"]} | {row["path"] for row in recorded.facts["secrets"]}
    made = {access.path for access in scene.trace.accesses if "c" in access.how} if scene.trace else set()
    restored = tuple(f"{path}/" for path in scene.restored)
    found = []
    for access in scene.trace.accesses if scene.trace else ():
        if not access.was_read or access.path in made or origin(access.path) not in ("outside", "temporary"):
            continue
        if access.path not in known and not f"{access.path}/".startswith(restored) and not is_lock(access):
            found.append(access.path)
    found += [f"{path}/" for path in listed_outside(scene) if not f"{path}/".startswith(restored)]
    return sorted(found)


def missing_caches(scene: Scene, recorded: Part) -> Iterator[Finding]:
    """Files of caches that the run read, and that the repeat neither read nor made anew."""
    seen = {access.path for access in scene.trace.accesses if access.how != "a"} if scene.trace else set()
    for path in recorded.facts.get("caches", ()):
        if path not in seen:
            yield Finding(
                code="cache-missing",
                text=f"{readable(path)} is of a cache, which is not recorded, and the repeat did not have it",
                hint=f'declare it and record again: data = ["{readable(path)}"] in bis.toml',
            )


def differing_inputs(recorded: Part, again: Part) -> Iterator[Finding]:
    """Inputs that the repeat read with other content than recorded."""
    digests = {row["path"]: row["digest"] for row in recorded.facts["inputs"]}
    for row in again.facts["inputs"]:
        if row["read"] and digests.get(row["path"], row["digest"]) != row["digest"]:
            yield Finding(
                code="input-differs",
                text=f"{readable(row['path'])} was not restored as recorded",
                hint="bis verify",
                blocks=True,
            )
