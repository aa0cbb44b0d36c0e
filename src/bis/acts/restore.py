"""`bis restore`: go back to how a run was, in a folder of its own."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bis.digest import readable, unspell
from bis.errors import CannotRepeat, NotFound, UsageError
from bis.nouns.logged import ARTIFACTS
from bis.nouns.run import Output, Run
from bis.parts import Place
from bis.parts.kinds import KINDS
from bis.steps.home import Home
from bis.steps.leftovers import in_use
from bis.steps.rebuild import rebuild
from bis.steps.recorded import demand_record
from bis.steps.repeating import environments_folder
from bis.steps.shallow import contents_of, need
from bis.store import Store
from bis.store.fill import clear
from bis.store.trouble import shown, trouble


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    into: Path
    files: int
    environment: str = ""
    """Folder of the rebuilt environment."""
    missing: tuple[str, ...] = ()
    """What was recorded and could not be put back, with the reason."""
    notes: tuple[str, ...] = ()


def restore(
    run: Run,
    home: Home,
    into: Path,
    *,
    variables: Mapping[str, str] | None = None,
    outputs: bool = False,
    environment: bool = False,
    only: Sequence[str] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Restored:
    """Put code and data (and, if asked, outputs and environment) of a run into a new or empty folder.

    Inputs from outside the project land below `into/outside`, artifacts below `into/artifacts`. Raises UsageError for a
    folder that holds anything, and NotFound when nothing is named as `only` says.
    """
    into = Path(os.path.realpath(into))  # `../there` leads nowhere else than where it says
    demand_record(run, home)
    if not run.parts:
        raise CannotRepeat(f"nothing of {run.name} is recorded yet", hint=f"bis show {run.id[:8]}")
    need(home, contents_of(run, outputs=outputs))
    _make_room(into, run)
    place = Place(project=into, outside=into / "outside" if "outside" in run.parts["data"].trees else None)
    missing = []
    for kind in KINDS:
        try:
            kind.restore(run.parts[kind.KIND], place, home.store)
        except CannotRepeat as error:
            missing.append(error.what)
    missing += [
        f"{name}: {why}" for name, why in run.parts["code"].facts.get("left out", {}).items() if why == "secret"
    ]
    if outputs:
        missing += _restore_outputs(run.outputs, into, home.store)
    if only:
        _keep_only(into, only)
        if not any(into.iterdir()):
            raise NotFound(
                f"{run.name} has nothing named {' or '.join(map(readable, only))}",
                hint=f"bis show {run.id[:8]} --outputs"
                if outputs
                else f"bis restore {run.id[:8]} DIR --outputs --only …",
            )
    built = ""
    if environment:
        ready = rebuild(
            run.parts["environment"],
            home.store,
            environments_folder(home.settings, variables or {}),
            project=into,
            variables=variables or {},
            home=Path((variables or {}).get("HOME") or "~").expanduser(),
            progress=progress,
        )
        with in_use(ready):
            built = str(ready.prefix)
    return Restored(
        into=into,
        files=sum(1 for path in into.rglob("*") if path.is_file() or path.is_symlink()),
        environment=built,
        missing=tuple(missing),
    )


def _make_room(into: Path, run: Run) -> None:
    """A folder that is there and empty; UsageError where there cannot be one."""
    clear([], into)
    try:
        into.mkdir(parents=True, exist_ok=True)
        full = any(into.iterdir())
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{shown(into)} is not a folder", hint=f"bis restore {run.name} {into}-{run.id[:4]}") from None
    except OSError as error:
        raise trouble(error, "restore into", into) from error
    if full:
        raise UsageError(
            f"{shown(into)} is not empty",
            because="bis restore never writes over what is there, so that no uncommitted work is lost.",
            hint=f"bis restore {run.name} {into}-{run.id[:4]}",
        )


def _restore_outputs(outputs: Iterable[Output], into: Path, store: Store) -> list[str]:
    """Write the outputs; those that stand at absolute paths below `into/outside`, artifacts below `into/artifacts`.
    Returns what is missing: an artifact that would take the place of a file of the project, too.
    """
    missing = []
    for output in sorted(outputs, key=lambda output: output.path.startswith(ARTIFACTS)):
        if output.path.startswith("<") and not output.path.startswith(ARTIFACTS):
            continue
        path = into / _place(output.path)
        if ".." in path.parts or not path.parent.resolve().is_relative_to(into.resolve()):
            missing.append(f"{readable(output.path)}: it would lie outside of {shown(into)}")
            continue
        if output.path.startswith(ARTIFACTS) and os.path.lexists(path):
            missing.append(f"{readable(output.path)}: another file has its place, {shown(path)}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if output.target:
            path.unlink(missing_ok=True)
            path.symlink_to(unspell(output.target))
        elif output.kept:
            path.unlink(missing_ok=True)
            store.get_file(output.digest, path, output.mode)
        else:
            missing.append(f"{readable(output.path)}: its content was not kept")
    return missing


def _place(name: str) -> Path:
    if name.startswith(ARTIFACTS):
        return Path("artifacts", unspell(name.removeprefix(ARTIFACTS)))
    return Path("outside", unspell(name[1:])) if name.startswith("/") else Path(unspell(name))


def _keep_only(into: Path, globs: Sequence[str]) -> None:
    globs = [str(_place(glob)) if glob.startswith(ARTIFACTS) else glob for glob in globs]
    for path in sorted(into.rglob("*"), reverse=True):
        name = str(path.relative_to(into))
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(fnmatch.fnmatch(name, glob) or name.startswith(f"{glob.rstrip('/')}/") for glob in globs):
            path.unlink()
