"""Rebuild an environment from its lock with uv: from the cache without network first, then from the indexes.

An environment is built in a folder of its own, checked against the record, and only then gets the name under which
it is found again; a killed builder leaves a folder that the next one clears away. Packages whose installed files
have the recorded digest are *proved*: the same wheel, whatever the index says today.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bis.digest import Digest, digest_value, readable, short, spell, unspell
from bis.errors import BisError, CannotRepeat, counted
from bis.nouns.part import Finding, Part
from bis.parts.conda import conda_digest, conda_packages
from bis.parts.edited import damaged
from bis.parts.installed import Installed, installed
from bis.parts.interpreter import Interpreter, describe, python_of
from bis.parts.pylock import packages_of
from bis.steps.copying import copy_proved
from bis.steps.installing import (
    FULL_DISK,
    NO_INDEX,
    Order,
    find_uv,
    install,
    install_afresh,
    install_from_address,
    install_otherwise,
    install_wheel,
    make_room,
    patch,
    put_egg_link,
    put_installed,
)
from bis.steps.pythons import find_python
from bis.store import Store
from bis.store.snapshot import restore, snapshot, walk
from bis.store.trouble import trouble

MARKER = "bis-environment.json"
BUILDING, NOTES = ".building-", ".installed"
FIXED = frozenset(("system", "conda"))
NAMED = 5

How = Literal["built", "cached", "as-is", "none"]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An environment that is ready, and how sure it is that it is the recorded one. Not to be written to."""

    prefix: Path
    """Its folder; put `bin` below it first in PATH."""
    python: Path
    """Its interpreter."""
    how: How
    """`as-is`: the recorded environment itself, found unchanged; `none`: no Python ran."""
    at: str = ""
    """Where it was recorded, spelled: the place to mount it at. Empty when that was no virtual environment."""
    version: str = ""
    packages: int = 0
    proved: int = 0
    """How many have exactly the recorded files."""
    sources: dict[str, str] = {}
    """Source folders of editable packages: where they were -> where they are now. Spelled."""
    content: Digest = Digest("")
    """Of what is installed, to tell whether it is still that."""
    project: str = ""
    """The project's folder, when packages are installed from it: without it, the environment is of no use."""
    findings: tuple[Finding, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built, and on which interpreter."""

    recorded: Interpreter
    python: Interpreter
    packages: tuple[Installed, ...]
    trees: dict[str, Digest]
    used: frozenset[str] | None = None
    """Names of the packages that the run used; None when that is not known."""
    places: dict[str, str] = {}
    """Name of an editable package -> the folder that it will be imported from (not spelled)."""
    system_site: bool = False
    project: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The same for the same files at the same places, on the same interpreter."""
        files = [[item.name, item.version, item.record] for item in self.packages]
        python = [self.python.real, self.python.version, self.python.abi, self.system_site]
        places = {name: spell(place) for name, place in self.places.items()}
        patched = self.trees.get("patched", "")
        return short(digest_value({"python": python, "files": files, "places": places, "patched": patched}), 20)


def quiet(_: str) -> None:
    """Say nothing."""


def rebuild(
    part: Part,
    store: Store,
    into_cache: Path,
    *,
    offline_first: bool = True,
    offline: bool = False,
    python: str | None = None,
    project: Path | None = None,
    original_paths: bool = False,
    variables: Mapping[str, str],
    home: Path,
    run: str = "RUN",
    progress: Callable[[str], None] = quiet,
) -> Rebuilt:
    """The recorded environment below `into_cache`, built or found there. Raises CannotRepeat, naming what is missing.

    With `offline` no index is asked, whatever is missing. `python` allows another version than the recorded one.
    `project` is where the project lies now. With `original_paths` editable packages are imported from the paths they
    were recorded at, where the caller will mount `sources` and the project. `run` is how messages call the run.
    Environments are shared by all who use the same `into_cache`.
    """
    recorded = python_of(part)
    if recorded is None:
        return Rebuilt(prefix=Path(), python=Path(), how="none")
    packages = packages_of(part, store)
    if recorded.origin == "conda" or any(item.origin == "conda" for item in packages):
        return _as_is(part, recorded, packages, variables, home, run)
    found = find_python(recorded, python, variables, home, run)
    plan = _plan(part, recorded, found, packages, variables, home, run)
    if project and not original_paths and any(item.origin == "project" for item in packages):
        plan = msgspec.structs.replace(plan, project=spell(os.fspath(project)))
    try:
        sources = _sources(packages, store, into_cache)
        places = _places(part, packages, sources, project, original_paths)
        plan = msgspec.structs.replace(plan, places=places)
        answer = _cached_or_built(
            plan, store, into_cache, offline_first, offline, variables, home, project, run, progress
        )
    except OSError as error:
        raise trouble(error, "build an environment in", Path(error.filename or into_cache)) from error
    named = {item.source: spell(os.fspath(sources[item.name])) for item in packages if item.name in sources}
    return msgspec.structs.replace(answer, sources=named)


def _plan(
    part: Part,
    recorded: Interpreter,
    found: Interpreter,
    packages: tuple[Installed, ...],
    variables: Mapping[str, str],
    home: Path,
    run: str,
) -> Plan:
    """Packages of the operating system are not installed but found; those that are not, and were not used, left out."""
    used = part.facts.get("used")
    known = None if used is None else frozenset(used)
    plan = Plan(recorded=recorded, python=found, packages=packages, trees=part.trees, used=known)
    system = {item.name: item for item in packages if item.origin == "system"}
    if not system:
        return plan
    base = describe(unspell(found.real), variables, home)
    here = {item.name: item for item in installed(base.path if base else ())[0]}
    wrong = sorted(name for name, item in system.items() if name not in here or here[name].record != item.record)
    if not wrong:
        return msgspec.structs.replace(plan, system_site=True)
    needed = [name for name in wrong if used is None or name in used]
    if needed:
        told = ", ".join(f"{name} {system[name].version}" for name in needed[:NAMED])
        raise CannotRepeat(
            f"packages of the operating system are not here as recorded: {told}",
            because=f"They came with {readable(recorded.base_prefix)} and cannot be had from a Python index.",
            hint=f"install them with the system's package manager, or `bis repeat {run} --here`",
        )
    left = tuple(item for item in packages if item.origin != "system")
    return msgspec.structs.replace(plan, packages=left, left_out=tuple(sorted(system)))


# -- the cache of environments -----------------------------------------------------------------------------------


def _cached_or_built(
    plan: Plan,
    store: Store,
    into_cache: Path,
    offline_first: bool,
    offline: bool,
    variables: Mapping[str, str],
    home: Path,
    project: Path | None,
    run: str,
    progress: Callable[[str], None],
) -> Rebuilt:
    final = into_cache / plan.key
    with _alone(into_cache / f".{plan.key}.lock") as lock:
        if ready := _ready(final):
            return ready
        _clear(into_cache, plan.key)
        room = into_cache / f"{BUILDING}{plan.key}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            progress(f"rebuilding Python {plan.python.version} with {counted(len(plan.packages), 'package')}")
            uv = msgspec.structs.replace(find_uv(variables, home, project, offline=offline), held=(lock,))
            make_room(uv, room, plan.python, plan.system_site, run)
            order = Order(uv=uv, room=room, python=plan.python, run=run, offline_first=offline_first, progress=progress)
            answer = _build(order, plan, store)
            (room / MARKER).write_bytes(msgspec.json.encode(answer, enc_hook=os.fspath))
            room.rename(final)
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
    return _placed(answer, final)


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[int]:
    """Hold the lock of one environment, so that two builders do not do the same work. The kernel lets go of it when
    its holder has died, and all to whom it was handed on. Where files cannot be locked, the rename at the end still
    decides."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def _ready(final: Path) -> Rebuilt | None:
    """The environment that is already there, if it is still what its marker says; a damaged one is put away."""
    noted = _marker(final)
    if noted and (final / "bin" / "python").exists() and noted.content == _set_of(_site(final), final.parent / NOTES):
        return msgspec.structs.replace(_placed(noted, final), how="cached")
    if final.exists():
        final.rename(final.with_name(f"{BUILDING}{final.name}-damaged-{secrets.token_hex(4)}"))
    return None


def _marker(environment: Path) -> Rebuilt | None:
    try:
        raw = (environment / MARKER).read_bytes()
        return msgspec.json.decode(raw, type=Rebuilt, dec_hook=lambda kind, text: kind(text))
    except (OSError, msgspec.MsgspecError):
        return None


def _clear(into_cache: Path, key: str) -> None:
    """Remove what killed builders of this environment left (its lock is held, so none is at work), and environments
    that were made for a project's folder which is gone."""
    for left in into_cache.glob(f"{BUILDING}{key}-*"):
        shutil.rmtree(left, ignore_errors=True)
    for file in into_cache.glob(f"*/{MARKER}"):
        noted = _marker(file.parent)
        if noted and noted.project and not Path(unspell(noted.project)).exists():
            shutil.rmtree(file.parent, ignore_errors=True)


def _placed(answer: Rebuilt, final: Path) -> Rebuilt:
    return msgspec.structs.replace(answer, prefix=final, python=final / "bin" / "python")


def _site(prefix: Path) -> Path:
    return next(iter(sorted(prefix.glob("lib/*/site-packages"))), prefix)


def _set_of(site: Path, cache: Path | None = None) -> Digest:
    """What is installed in a site folder, by RECORD."""
    return digest_value([[item.name, item.version, item.record] for item in _here(site, cache).values()])


def _here(site: Path, cache: Path | None = None) -> dict[str, Installed]:
    return {item.name: item for item in installed([spell(os.fspath(site))], cache)[0]}


# -- sources of editable packages --------------------------------------------------------------------------------


def _sources(packages: Sequence[Installed], store: Store, into_cache: Path) -> dict[str, Path]:
    """The source trees of editable packages, put back below `into_cache`: name -> folder."""
    return {item.name: _source(item, store, into_cache / "sources") for item in packages if item.tree}


def _source(package: Installed, store: Store, into: Path) -> Path:
    final = into / short(package.tree, 20)
    with _alone(into / f".{final.name}.lock"):
        if final.is_dir():
            if _still(final, package.tree, store):
                return final
            shutil.rmtree(final, ignore_errors=True)
        for left in into.glob(f"{BUILDING}{final.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        room = into / f"{BUILDING}{final.name}-{secrets.token_hex(4)}"
        try:
            restore(store, package.tree, room)
            room.rename(final)
        except BisError as error:
            raise CannotRepeat(
                f"the source of {package.name} {package.version} cannot be put back",
                because=str(error),
                hint="bis verify",
            ) from error
        finally:
            shutil.rmtree(room, ignore_errors=True)
    return final


def _still(folder: Path, tree: Digest, store: Store) -> bool:
    """Whether a folder holds the files of a tree and, byte code aside, no others."""
    paths = {leaf.path for leaf in walk(store, tree)}
    there = {spell(os.fspath(path.relative_to(folder))) for path in folder.rglob("*") if not path.is_dir()}
    if {path for path in there if "__pycache__/" not in path} != paths:
        return False
    return snapshot(folder, None, paths=sorted(paths), modes="exec") == tree


def _places(
    part: Part, packages: Sequence[Installed], sources: Mapping[str, Path], project: Path | None, original_paths: bool
) -> dict[str, str]:
    """Where each editable package is imported from."""
    places = {}
    was = unspell(str(part.facts.get("project", "")))
    for item in packages:
        source = unspell(item.source)
        if item.origin == "project":
            moved = project and was and (source == was or source.startswith(was + "/")) and not original_paths
            places[item.name] = os.path.normpath(f"{project}{source[len(was) :]}") if moved else source
        elif item.name in sources:
            places[item.name] = source if original_paths else os.fspath(sources[item.name])
        elif item.origin == "editable":
            places[item.name] = source
    return places


# -- building ----------------------------------------------------------------------------------------------------


def _build(order: Order, plan: Plan, store: Store) -> Rebuilt:
    """Install everything, then look at what was installed, and try again where it is not what was recorded."""
    site, notes = _site(order.room), order.room / NOTES
    stored = {item.name for item in plan.packages if _is_stored(item, plan)}
    from_index = [item for item in plan.packages if item.name not in stored and item.origin not in FIXED]
    edited = {leaf.path for leaf in walk(store, plan.trees["patched"])} if "patched" in plan.trees else set[str]()
    had = _install(order, plan, from_index, site, edited)
    order = msgspec.structs.replace(order, offline=had.offline)
    for again in (install_otherwise, install_from_address):
        if wrong := _others(site, from_index, notes):
            again(order, wrong)
    copied = [*had.copied, *copy_proved(_others(site, from_index, notes), plan.recorded, plan.python, site, edited)]
    broken = _broken(site, notes, edited)
    if broken:
        install_afresh(order, [item for item in from_index if item.name in broken])
        broken = _broken(site, notes, edited)
    for item in plan.packages:
        if item.name in stored:
            _from_store(order, item, plan, site, store)
    if patched := plan.trees.get("patched"):
        patch(store, patched, site)
    (order.room / "requirements.txt").unlink(missing_ok=True)
    answer = _examined(order, had.without(plan), site, notes, broken)
    shutil.rmtree(notes, ignore_errors=True)
    return msgspec.structs.replace(answer, findings=(*answer.findings, *_told(copied, had.missing)))


class _Had(msgspec.Struct, frozen=True):
    """What came from elsewhere than an index, and what came from nowhere."""

    copied: Sequence[Installed] = ()
    missing: Sequence[Installed] = ()
    """Not to be had, and not used by the run."""
    offline: bool = False

    def without(self, plan: Plan) -> Plan:
        return msgspec.structs.replace(plan, packages=tuple(item for item in plan.packages if item not in self.missing))


def _install(order: Order, plan: Plan, packages: Sequence[Installed], site: Path, edited: set[str]) -> _Had:
    """From cache and indexes; what cannot be had from there, from where it was recorded."""
    try:
        install(order, packages)
        return _Had()
    except BisError as error:
        if error.code == FULL_DISK:
            raise
        order.progress("copying what no index has from where it was recorded")
        copied = copy_proved(packages, plan.recorded, plan.python, site, edited)
        offline = error.code == NO_INDEX
        left = [item for item in packages if item not in copied]
        try:
            install(msgspec.structs.replace(order, offline=offline), left)
        except BisError:
            if not copied or plan.used is None or any(item.name in plan.used for item in left):
                raise error from None
            return _Had(copied, left, offline)
        return _Had(copied, (), offline)


def _broken(site: Path, notes: Path, edited: set[str]) -> set[str]:
    """Distributions with files that are not what their RECORD says, but for those that will be patched."""
    wrong = damaged(spell(os.fspath(site)), _here(site, notes).values())
    return {name for name, path in wrong if path not in edited}


def _is_stored(package: Installed, plan: Plan) -> bool:
    roles = (f"wheel:{package.name}", f"installed:{package.name}")
    return any(role in plan.trees for role in roles) or package.info.endswith(".egg-link")


def _from_store(order: Order, package: Installed, plan: Plan, site: Path, store: Store) -> None:
    place = plan.places.get(package.name, "")
    try:
        if wheel := plan.trees.get(f"wheel:{package.name}"):
            file = order.room / package.archive
            store.get_file(wheel, file)
            install_wheel(order, file)
            file.unlink()
        elif tree := plan.trees.get(f"installed:{package.name}"):
            put_installed(store, tree, package, site, place)
        else:
            put_egg_link(package, site, place)
    except CannotRepeat:
        raise
    except BisError as error:
        raise CannotRepeat(
            f"{package.name} {package.version} cannot be put back from the store", because=str(error), hint="bis verify"
        ) from error


def _others(site: Path, packages: Sequence[Installed], notes: Path) -> list[Installed]:
    """Packages that have the recorded version and other files."""
    here = _here(site, notes)
    return [item for item in packages if item.name in here and here[item.name].record != item.record]


def _examined(order: Order, plan: Plan, site: Path, notes: Path, broken: set[str]) -> Rebuilt:
    """Compare what is there now with the record, package by package."""
    here = _here(site, notes)
    fixed = [item.name for item in plan.packages if item.origin == "system"]
    proved = [item for item in plan.packages if item.name in here and here[item.name].record == item.record]
    wrong = [item for item in plan.packages if item not in proved and item.name not in fixed]
    return Rebuilt(
        prefix=order.room,
        python=order.room / "bin" / "python",
        how="built",
        at=plan.recorded.prefix if plan.recorded.is_virtual else "",
        version=plan.python.version,
        packages=len(plan.packages),
        proved=len([item for item in proved if item.name not in broken]) + len(fixed),
        content=_set_of(site, notes),
        project=plan.project,
        findings=tuple(_findings(plan, wrong, sorted(broken), fixed)),
    )


def _findings(plan: Plan, wrong: Sequence[Installed], broken: Sequence[str], fixed: Sequence[str]) -> Iterator[Finding]:
    if plan.python.version != plan.recorded.version:
        text = f"repeated with Python {plan.python.version}; recorded with {plan.recorded.version}"
        yield Finding(code="other-python", text=text, blocks=True)
    elif plan.python.abi != plan.recorded.abi:
        text = f"repeated with a Python built for {plan.python.abi}; recorded with {plan.recorded.abi}"
        yield Finding(code="other-python", text=text, blocks=True)
    if wrong:
        names = [f"{item.name} {item.version}" for item in wrong]
        text = f"not the recorded files, but another wheel or build of the same version: {_list(names)}"
        yield Finding(code="other-files", text=text, hint="bis diff shows what is different")
    if built := [f"{item.name} {item.version}" for item in plan.packages if item.built]:
        text = f"no wheel was ever downloaded of these, they are built from their source archives: {_list(built)}"
        yield Finding(code="built-from-source", text=text)
    if broken:
        text = f"files that do not match their own RECORD, from uv's cache and from the index: {_list(broken)}"
        yield Finding(
            code="damaged-packages", text=text, hint="uv cache clean " + " ".join(broken[:NAMED]), blocks=True
        )
    if fixed:
        text = f"packages of the operating system, used as they are here, unchanged by their metadata: {_list(fixed)}"
        yield Finding(code="used-as-is", text=text)
    if plan.left_out:
        text = f"packages of the operating system that the run did not use are left out: {_list(plan.left_out)}"
        yield Finding(code="left-out", text=text)


def _told(copied: Sequence[Installed], missing: Sequence[Installed]) -> Iterator[Finding]:
    if copied:
        names = _list([f"{item.name} {item.version}" for item in copied])
        text = f"not to be had from an index; copied from where they were recorded, each file proved by hash: {names}"
        yield Finding(code="copied", text=text)
    if missing:
        names = _list([f"{item.name} {item.version}" for item in missing])
        yield Finding(
            code="left-out", text=f"not to be had any more, and left out as the run did not use them: {names}"
        )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# -- what cannot be rebuilt --------------------------------------------------------------------------------------


def _as_is(
    part: Part,
    recorded: Interpreter,
    packages: Sequence[Installed],
    variables: Mapping[str, str],
    home: Path,
    run: str,
) -> Rebuilt:
    """An environment that conda made: used where it is, if it is still the recorded one."""
    here = describe(unspell(recorded.executable), variables, home)
    found = {item.name: item for item in installed(here.path)[0]} if here else {}
    changes = [
        f"{item.name} {item.version} -> {found[item.name].version if item.name in found else 'not there'}"
        for item in packages
        if item.origin != "project" and (item.name not in found or found[item.name].record != item.record)
    ]
    rows = part.facts.get("conda", [])
    if here and conda_digest(conda_packages(Path(unspell(recorded.prefix)))) != conda_digest(rows):
        changes.append("conda's own list is another one")
    if here is None or here.version != recorded.version or changes:
        state = f"has changed: {_list(changes)}" if here else "is not here"
        raise CannotRepeat(
            f"the environment {readable(recorded.prefix)} was made by conda and {state}",
            because="uv cannot rebuild what conda installs; its list is in the record (`bis show`).",
            hint=f"make it again with conda at that place, or `bis repeat {run} --here`",
        )
    text = f"{readable(recorded.prefix)} was made by conda: used as it is, its packages as recorded"
    return Rebuilt(
        prefix=Path(unspell(recorded.prefix)),
        python=Path(unspell(recorded.executable)),
        how="as-is",
        version=here.version,
        packages=len(packages),
        proved=len(packages),
        findings=(Finding(code="used-as-is", text=text),),
    )
