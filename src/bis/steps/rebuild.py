"""Rebuild an environment from its lock with uv: from the cache without network first, then from the indexes.

An environment is built in a folder of its own, checked against the record, and only then gets the name under which
it is found again; a killed builder leaves a folder that the next one clears away. Packages whose installed files
have the recorded digest are *proved*: the same wheel, whatever the index says today.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from bis.digest import Digest, digest_value, short, spell, unspell
from bis.errors import CannotRepeat
from bis.nouns.part import Finding, Part
from bis.parts.environment import packages_of, python_of
from bis.parts.indexes import asked, for_uv
from bis.parts.installed import Installed, installed, set_digest
from bis.parts.interpreter import Interpreter
from bis.steps.pythons import find_python
from bis.store import Store

MARKER = "bis-environment.json"
UNWANTED = (
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_TARGET"),
    *("UV_SYSTEM_PYTHON", "UV_REQUIRE_HASHES", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_COMPILE_BYTECODE", "UV_NO_BINARY"),
    *("UV_EXCLUDE_NEWER", "UV_OFFLINE", "UV_PREFIX", "UV_RESOLUTION", "UV_NO_DEPS", "PYTHONDONTWRITEBYTECODE"),
)
"""Variables of the person's that would change what is built."""
MAX_NAMED = 20

How = Literal["built", "cached", "as-is", "none"]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An environment that is ready, and how sure it is that it is the recorded one."""

    prefix: Path
    """Its folder; put `bin` below it first in PATH."""
    python: Path
    """Its interpreter."""
    how: How
    at: str = ""
    """Where it was recorded, spelled: the place to mount it at. Empty when that was no virtual environment."""
    version: str = ""
    packages: int = 0
    proved: int = 0
    """How many have exactly the recorded files."""
    digest: Digest = Digest("")
    """Of the set; equal to the recorded one when all is proved."""
    findings: tuple[Finding, ...] = ()


def quiet(_: str) -> None:
    """Say nothing."""


def rebuild(
    part: Part,
    store: Store,
    into_cache: Path,
    *,
    offline_first: bool = True,
    python: str | None = None,
    project: Path | None = None,
    variables: Mapping[str, str],
    home: Path,
    run: str = "RUN",
    progress: Callable[[str], None] = quiet,
) -> Rebuilt:
    """The recorded environment below `into_cache`, built or found there. Raises CannotRepeat, naming what is missing.

    `python` allows another version than the recorded one. `run` is how messages call the run. Environments are
    shared by all who use the same `into_cache`, and are not to be written to.
    """
    recorded = python_of(part)
    if recorded is None:
        return Rebuilt(prefix=Path(), python=Path(), how="none")
    packages = packages_of(part, store)
    found = find_python(recorded, python, variables, home, run)
    plan = Plan(recorded=recorded, python=found, packages=packages)
    final = into_cache / plan.key
    into_cache.mkdir(parents=True, exist_ok=True)
    with _alone(into_cache / f".{plan.key}.lock"):
        if ready := _ready(final, plan):
            return ready
        _clear(into_cache, plan.key)
        room = into_cache / f".building-{plan.key}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            uv = Uv.find(variables, home, project)
            progress(f"rebuilding Python {found.version} with {len(packages)} packages")
            _build(room, plan, uv, offline_first, run, progress)
            answer = _examine(room, plan)
            (room / MARKER).write_bytes(msgspec.json.encode(answer, enc_hook=os.fspath))
            room.rename(final)
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
    return _placed(answer, final)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built, and from which interpreter."""

    recorded: Interpreter
    python: Interpreter
    packages: tuple[Installed, ...]

    @property
    def key(self) -> str:
        """The same for the same set, on the same interpreter."""
        python = [self.python.real, self.python.version, self.python.abi]
        return short(digest_value({"python": python, "set": set_digest(self.packages)}), 20)


# -- the cache of environments -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the lock of one environment, so that two builders do not do the same work. The kernel lets go of it when
    its holder dies. Where files cannot be locked, the rename at the end still decides."""
    with file.open("a+") as handle:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _ready(final: Path, plan: Plan) -> Rebuilt | None:
    """The environment that is already there, if it is still what its marker says; a damaged one is cleared away."""
    try:
        noted = msgspec.json.decode((final / MARKER).read_bytes(), type=Rebuilt, dec_hook=lambda kind, text: kind(text))
    except (OSError, msgspec.MsgspecError):
        noted = None
    if noted and noted.digest == set_digest(_installed_in(final, plan)[0]) and (final / "bin" / "python").exists():
        return msgspec.structs.replace(_placed(noted, final), how="cached", at=_recorded_prefix(plan))
    if final.exists():
        doomed = final.with_name(f".building-{plan.key}-damaged-{secrets.token_hex(4)}")
        final.rename(doomed)
    return None


def _clear(into_cache: Path, key: str) -> None:
    """Remove what builders left behind that were killed. Called with the lock, so nobody is building this one."""
    for left in into_cache.glob(f".building-{key}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _placed(answer: Rebuilt, final: Path) -> Rebuilt:
    return msgspec.structs.replace(answer, prefix=final, python=final / "bin" / "python")


def _recorded_prefix(plan: Plan) -> str:
    return plan.recorded.prefix if plan.recorded.is_virtual else ""


# -- uv ----------------------------------------------------------------------------------------------------------


class Uv(msgspec.Struct, frozen=True, kw_only=True):
    """The uv program, and the configuration of the person it works for."""

    program: str
    variables: dict[str, str]
    folder: Path | None
    places: str
    """Where it looks for packages, for messages."""

    @classmethod
    def find(cls, variables: Mapping[str, str], home: Path, project: Path | None) -> Uv:
        kept = {key: value for key, value in variables.items() if key not in UNWANTED}
        added = for_uv(kept, home, project)
        fixed = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "UV_NO_ENV_FILE": "1"}
        where = asked(kept, home, project)
        folder = project if project and project.is_dir() else None
        return cls(program=_uv_program(variables), variables={**kept, **added, **fixed}, folder=folder, places=where)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, *words]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.variables, **more},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def _uv_program(variables: Mapping[str, str]) -> str:
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    if found := shutil.which("uv", path=variables.get("PATH")):
        return found
    raise CannotRepeat("uv is needed to rebuild an environment and is not installed", hint="pip install uv")


# -- building ----------------------------------------------------------------------------------------------------


def _build(room: Path, plan: Plan, uv: Uv, offline_first: bool, run: str, progress: Callable[[str], None]) -> None:
    made = uv.run("venv", "--relocatable", "--no-project", "--quiet", "-p", unspell(plan.python.real), os.fspath(room))
    if made.returncode:
        raise CannotRepeat(
            f"uv cannot make an environment on {plan.python.real}",
            because=_tail(made.stderr),
            hint=f"bis repeat {run} --python {plan.python.version}",
        )
    wanted = [package for package in plan.packages if package.origin == "index"]
    if not wanted:
        return
    requirements = room / "requirements.txt"
    requirements.write_text("".join(f"{item.name}=={item.version}\n" for item in wanted), "utf-8")
    install = _install_command(room, requirements)
    if offline_first:
        progress("installing from the cache")
        if uv.run(*install, "--offline").returncode == 0:
            return
    progress(f"installing from {uv.places}")
    online = uv.run(*install)
    if online.returncode:
        raise _not_to_be_had(room, wanted, uv, online.stderr, plan, run)


def _install_command(room: Path, requirements: Path) -> list[str]:
    python = os.fspath(room / "bin" / "python")
    settings = ["--no-deps", "--quiet", "--no-compile-bytecode"]
    return ["pip", "install", "--python", python, *settings, "--requirements", os.fspath(requirements)]


def _not_to_be_had(room: Path, wanted: Sequence[Installed], uv: Uv, stderr: str, plan: Plan, run: str) -> CannotRepeat:
    """Name every package that no index has, not only the first one that uv stumbled over."""
    missing: list[Installed] = []
    left, said = list(wanted), stderr
    while len(missing) < MAX_NAMED and (culprit := _culprit(said, left)):
        missing.append(culprit)
        left.remove(culprit)
        requirements = room / "left.txt"
        requirements.write_text("".join(f"{item.name}=={item.version}\n" for item in left), "utf-8")
        again = uv.run(*_install_command(room, requirements), "--dry-run")
        if again.returncode == 0:
            break
        said = again.stderr
    names = ", ".join(f"{item.name} {item.version}" for item in missing) or "the packages"
    return CannotRepeat(
        f"{names} cannot be had for Python {plan.python.version}",
        because=f"Asked: {uv.places}. uv says: {_tail(stderr)}",
        hint=f"name the index that has it (`UV_INDEX=URL bis repeat {run}`), or `bis repeat {run} --here`",
    )


def _culprit(stderr: str, candidates: Sequence[Installed]) -> Installed | None:
    """The package that uv's message is about."""
    said = re.sub(r"\s+", " ", stderr.lower())
    for item in candidates:
        if f"{item.name}=={item.version.lower()}" in said:
            return item
    for item in candidates:
        if re.search(rf"(?<![\w.-]){re.escape(item.name)}(?![\w-])", said.partition("conclude")[0]):
            return item
    return None


def _tail(stderr: str) -> str:
    lines = [line.strip() for line in stderr.strip().splitlines() if line.strip()]
    return " ".join(lines[-6:])[:1200]


# -- looking at what was built -----------------------------------------------------------------------------------


def _installed_in(prefix: Path, plan: Plan) -> tuple[list[Installed], list[Installed]]:
    sites = [spell(os.fspath(site)) for site in sorted(prefix.glob("lib/*/site-packages"))]
    return installed(sites)


def _examine(room: Path, plan: Plan) -> Rebuilt:
    """Compare what was installed with the record, package by package."""
    here = {item.name: item for item in _installed_in(room, plan)[0]}
    findings = []
    proved = 0
    for package in plan.packages:
        built = here.get(package.name)
        if built and built.identity == package.identity:
            proved += 1
        elif built and built.version == package.version:
            text = f"{package.name} {package.version} has other files than the recorded one: another wheel or build"
            findings.append(Finding(code="other-files", text=text))
    if plan.python.version != plan.recorded.version:
        text = f"repeated with Python {plan.python.version}; recorded with {plan.recorded.version}"
        findings.append(Finding(code="other-python", text=text, blocks=True))
    return Rebuilt(
        prefix=room,
        python=room / "bin" / "python",
        how="built",
        at=_recorded_prefix(plan),
        version=plan.python.version,
        packages=len(plan.packages),
        proved=proved,
        digest=set_digest(here.values()),
        findings=tuple(findings),
    )
