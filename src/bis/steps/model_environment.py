"""From a model's folder to an interpreter that can load it: the environment of the run that made it, its own lock, or,
where neither is known, what its requirements mean today, which is said and kept.

Environments are cached with those of runs and found again by what they are made of.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from bis.digest import digest_value, short
from bis.errors import CannotRepeat, NotFound, UsageError
from bis.flavors import by_mlflow
from bis.parts.interpreter import python_of
from bis.parts.pylock import problems
from bis.steps.home import Home
from bis.steps.installing import Uv, find_uv
from bis.steps.model_folder import read_folder
from bis.steps.rebuild import BUILDING, MARKER, Rebuilt, rebuild

LOCK: Final = "pylock.toml"
REQUIREMENTS: Final = "requirements.txt"
RESOLVED: Final = "resolved.txt"
"""In an environment that was made of requirements: the exact versions that they meant when it was made."""
APART: Final = ("mlflow", "mlflow-skinny")
"""Packages that MLflow names for each model, and that serving does without where a flavor reads the model."""

How = Literal["as named", "lock", "run", "requirements"]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter for a model."""

    python: Path
    how: How
    cached: bool = False
    told: str = ""
    """What whoever serves it should know."""
    rebuilt: Rebuilt | None = None
    """Where it lies in the cache: to be kept from being cleaned away while it is used (`leftovers.in_use`)."""


def environment(
    folder: Path,
    *,
    home: Home | None,
    run: str = "",
    python: str = "",
    variables: Mapping[str, str],
    cache: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> Chosen:
    """An interpreter with what the model in a folder needs. `python`: this one, as it is. `run`: the id of the run that
    made it, whose recorded environment is rebuilt, local packages and all; else the lock of the folder counts, where
    it can be installed. Raises CannotRepeat for what cannot be
    had, KeepingError where an index does not answer."""
    if python:
        return Chosen(python=_named(python, variables), how="as named")
    user = Path(variables.get("HOME") or "~").expanduser()
    if home is not None and run and (recorded := _of_run(home, run, variables, user, cache, progress)):
        return recorded
    lacking = problems((folder / LOCK).read_text("utf-8")) if (folder / LOCK).is_file() else "no lock"
    if not lacking:
        return _installed(folder, folder / LOCK, "lock", variables, user, cache, progress)
    if (folder / REQUIREMENTS).is_file():
        found = _installed(folder, folder / REQUIREMENTS, "requirements", variables, user, cache, progress)
        why = lacking if lacking == "no lock" else f"{LOCK} cannot be installed as it is ({lacking})"
        told = f"{why}: {REQUIREMENTS} was resolved to what is in {found.python.parent.parent / RESOLVED}"
        return msgspec.structs.replace(found, told=told)
    raise NotFound(
        f"nothing says which packages the model in {folder} needs",
        because=f"It has no {LOCK} and no {REQUIREMENTS}, and its run is not recorded here.",
        hint="--python PATH names an interpreter that has them",
    )


def _named(python: str, variables: Mapping[str, str]) -> Path:
    """An interpreter by its path, by the folder of its environment, or by a name on PATH."""
    path = Path(python).expanduser()
    if path.is_dir():
        path = path / "bin" / "python"
    found = path if os.access(path, os.X_OK) else shutil.which(python, path=variables.get("PATH"))
    if not found:
        raise UsageError(f"there is no interpreter {python}", hint="--python .venv, or --python /usr/bin/python3")
    return Path.cwd() / found


def _of_run(
    home: Home, run: str, variables: Mapping[str, str], user: Path, cache: Path, progress: Callable[[str], None]
) -> Chosen | None:
    """The environment that the run had; None where none was recorded."""
    try:
        found = home.ledger.get(run)
    except NotFound:
        return None
    part = found.parts.get("environment")
    if part is None or python_of(part) is None:
        return None
    ready = rebuild(part, home.store, cache, variables=variables, home=user, run=found.name, progress=progress)
    return Chosen(python=ready.python, how="run", cached=ready.how == "cached", rebuilt=ready)


def _installed(
    folder: Path,
    list_: Path,
    how: How,
    variables: Mapping[str, str],
    user: Path,
    cache: Path,
    progress: Callable[[str], None],
) -> Chosen:
    """An environment of what a file lists, found in the cache or made there by uv."""
    wanted = (
        _lines(list_, () if _asks_mlflow(folder) else APART) if how == "requirements" else [list_.read_text("utf-8")]
    )
    version = _python_version(folder)
    key = short(digest_value({"how": how, "wanted": wanted, "python": version, "machine": platform.machine()}), 20)
    final = cache / key
    if (final / RESOLVED).is_file() and (final / "bin" / "python").exists():
        return Chosen(python=final / "bin" / "python", how=how, cached=True, rebuilt=there(final, version))
    progress(f"making an environment for Python {version} from {list_.name}")
    cache.mkdir(parents=True, exist_ok=True)
    uv, made = find_uv(variables, user, None), there(final, version)
    with building(made) as room:
        _make(uv, room, version, list_, wanted, how)
    return Chosen(python=made.python, how=how, rebuilt=made)


@contextlib.contextmanager
def building(made: Rebuilt) -> Iterator[Path]:
    """A folder to make an environment in, which has its name when this ends well: it is there whole or not at all."""
    final = made.prefix
    room = final.with_name(f"{BUILDING}{final.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield room
        (room / MARKER).write_bytes(msgspec.json.encode(made, enc_hook=os.fspath))
        if final.exists():
            final.rename(final.with_name(f"{BUILDING}{final.name}-damaged-{secrets.token_hex(4)}"))
        room.rename(final)
    except OSError:
        if not (final / RESOLVED).is_file():  # else somebody else made it at the same time
            raise
    finally:
        shutil.rmtree(room, ignore_errors=True)


def there(final: Path, version: str) -> Rebuilt:
    """As `steps.rebuild` says it of its own, so that all are cleaned away alike."""
    return Rebuilt(prefix=final, python=final / "bin" / "python", how="cached", version=version)


def _make(uv: Uv, room: Path, version: str, list_: Path, wanted: list[str], how: How) -> None:
    said = uv.run("venv", "--relocatable", "--no-project", "--quiet", "-p", version, os.fspath(room))
    if said.returncode:
        minor = ".".join(version.split(".")[:2])
        said = uv.run("venv", "--relocatable", "--no-project", "--quiet", "-p", minor, os.fspath(room))
    _demand(said.returncode, said.stderr, f"there is no Python {version} for this model")
    python = os.fspath(room / "bin" / "python")
    if how == "lock":
        file = list_
    else:
        file = room / REQUIREMENTS
        file.write_text("".join(f"{line}\n" for line in wanted), "utf-8")
    said = uv.run("pip", "install", "--python", python, "--quiet", *uv.options, "--requirements", os.fspath(file))
    _demand(said.returncode, said.stderr, f"what {list_} lists cannot be installed")
    frozen = uv.run("pip", "freeze", "--python", python)
    (room / RESOLVED).write_text(frozen.stdout, "utf-8")


def _demand(status: int, said: str, what: str) -> None:
    if status:
        tail = " ".join(line.strip() for line in said.strip().splitlines()[-6:])[:1200]
        hint = "--python PATH names an interpreter that has what the model needs"
        raise CannotRepeat(what, because=f"uv says: {tail}", hint=hint)


def _lines(file: Path, apart: Sequence[str]) -> list[str]:
    """Without the packages that are set apart."""
    lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#") and _name(line) not in apart]


def _asks_mlflow(folder: Path) -> bool:
    """Whether the model is loaded by a module of mlflow itself, as no flavor reads it."""
    try:
        return by_mlflow(read_folder(folder).flavors)
    except (NotFound, UsageError):
        return False


def _name(requirement: str) -> str:
    import re

    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def _python_version(folder: Path) -> str:
    """Which Python the model was saved with."""
    import yaml

    try:
        found = yaml.safe_load((folder / "python_env.yaml").read_text("utf-8"))
        return str(found["python"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ".".join(map(str, sys.version_info[:3]))
