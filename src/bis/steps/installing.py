"""Putting packages into an environment: with uv from cache and indexes, and from the store what no index has."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from configparser import Error as ConfigError
from configparser import RawConfigParser
from pathlib import Path
from urllib.parse import quote

import msgspec

from bis.digest import Digest, readable, unspell
from bis.errors import CannotRepeat, KeepingError, explains
from bis.parts.indexes import asked, for_uv, only_folders
from bis.parts.installed import Installed, points_to_source
from bis.parts.interpreter import Interpreter
from bis.store import Store
from bis.store.snapshot import restore, walk

UNWANTED = (
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_TARGET"),
    *("UV_SYSTEM_PYTHON", "UV_REQUIRE_HASHES", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_COMPILE_BYTECODE", "UV_NO_BINARY"),
    *("UV_EXCLUDE_NEWER", "UV_OFFLINE", "UV_PREFIX", "UV_RESOLUTION", "UV_NO_DEPS", "UV_VENV_SEED"),
)
"""Variables of the person's that would change what is built."""
MAX_NAMED = 20
PYTORCH = "https://download.pytorch.org/whl/"
PYTORCH_BUILD = re.compile(r"\+(cpu|xpu|cu\d+|rocm[\d.]+)(?:[.-]|$)")
UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|timed out|status (401|403|5\d\d)", re.IGNORECASE
)
"""uv could not look, which is another thing than not finding."""
NO_INDEX = explains("B045", "An index of packages did not answer, and not all of them were at hand.")
FULL_DISK = explains("B044", "An environment could not be written: no room, or no permission.")
FULL = re.compile(r"no space left|disk quota|read-only file system|permission denied", re.IGNORECASE)
SCRIPT = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
# -*- coding: utf-8 -*-
import sys
from {module} import {start}
if __name__ == "__main__":
    sys.exit({call}())
"""


class Uv(msgspec.Struct, frozen=True, kw_only=True):
    """The uv program, and the configuration of the person it works for."""

    program: str
    variables: dict[str, str]
    extra_first: dict[str, str]
    """What to add to look in the additional indexes before the main one; empty when there are none."""
    options: tuple[str, ...]
    """For everything that installs."""
    folder: Path | None
    places: str
    """Where it looks for packages, for messages."""
    held: tuple[int, ...] = ()
    """Locks that it keeps held, even when it outlives who started it."""

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words],
            cwd=self.folder,
            env={**self.variables, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            pass_fds=self.held,
        )


def find_uv(variables: Mapping[str, str], home: Path, project: Path | None, *, offline: bool = False) -> Uv:
    """uv as it is installed with bis, else as found on PATH; `offline`: one that asks its cache alone. Raises
    CannotRepeat when there is none."""
    kept = {key: value for key, value in variables.items() if key not in UNWANTED}
    added, other = for_uv(kept, home, project), for_uv(kept, home, project, extra_first=True)
    fixed = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "UV_NO_ENV_FILE": "1"}
    if offline:
        fixed["UV_OFFLINE"] = "1"
    return Uv(
        program=_uv_program(variables),
        variables={**kept, **added, **fixed},
        options=("--no-index",) if only_folders(kept, home, project) else (),
        extra_first=other if other != added else {},
        folder=project if project and project.is_dir() else None,
        places=asked(kept, home, project),
    )


def _uv_program(variables: Mapping[str, str]) -> str:
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return os.fspath(find_uv_bin())
    if found := shutil.which("uv", path=variables.get("PATH")):
        return found
    raise CannotRepeat("uv is needed to rebuild an environment and is not installed", hint="pip install uv")


def make_room(uv: Uv, room: Path, python: Interpreter, system_site: bool, run: str) -> None:
    """An empty environment that can be moved."""
    more = ["--system-site-packages"] if system_site else []
    made = uv.run(
        "venv", "--relocatable", "--no-project", "--quiet", *more, "-p", unspell(python.real), os.fspath(room)
    )
    if made.returncode:
        raise CannotRepeat(
            f"uv cannot make an environment on {readable(python.real)}",
            because=_tail(made.stderr),
            hint=f"bis repeat {run} --here, in the environment that this machine has",
        )


# -- from indexes ------------------------------------------------------------------------------------------------


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An installation that is to be done: into which environment, with what."""

    uv: Uv
    room: Path
    python: Interpreter
    run: str
    offline_first: bool
    offline: bool = False
    """No index is asked: one that does not answer is waited for once, not again for each trouble."""
    progress: Callable[[str], None]


def install(order: Order, wanted: Sequence[Installed]) -> None:
    """Exact versions, nothing else: from the cache, then from the indexes. Raises CannotRepeat naming each package
    that cannot be had, KeepingError when an index could not be asked."""
    if not wanted:
        return
    command = _command(order, [f"{item.name}=={item.version}" for item in wanted])
    more = _bundled(order, wanted)
    if order.offline_first:
        order.progress("installing from the cache")
        said = order.uv.run(*command, "--offline", **more)
        if said.returncode == 0:
            return
        if order.offline:
            raise _not_to_be_had(order, wanted, said.stderr)
    order.progress(f"installing from {order.uv.places}")
    said = order.uv.run(*command, **more)
    if said.returncode == 0:
        return
    for settings in _ways_round(said.stderr, wanted, order.uv):
        if order.uv.run(*command, **{**more, **settings}).returncode == 0:
            return
    if FULL.search(said.stderr):
        hint = "free some room, or name another place: BIS_ENVIRONMENTS=/some/folder"
        raise KeepingError("an environment could not be written", because=_tail(said.stderr), hint=hint, code=FULL_DISK)
    if UNREACHABLE.search(said.stderr):
        raise KeepingError(
            "an index of packages could not be asked, and not all packages are in uv's cache",
            because=f"Asked: {order.uv.places}. uv says: {_tail(said.stderr)}",
            hint=f"bis repeat {order.run}, when the network is there",
            code=NO_INDEX,
        )
    raise _not_to_be_had(order, wanted, said.stderr)


def _ways_round(said: str, wanted: Iterable[Installed], uv: Uv) -> Iterator[dict[str, str]]:
    """What to try when the plain way fails: the certificates of the system, as pip does; PyTorch's own indexes for
    its builds, which people name on the command line."""
    if "certificate" in said:
        yield {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    builds = dict.fromkeys(found[1] for item in wanted if (found := PYTORCH_BUILD.search(item.version)))
    if builds:
        places = " ".join([uv.variables.get("UV_INDEX", ""), *(PYTORCH + build for build in builds)]).strip()
        yield {"UV_INDEX": places, "UV_INDEX_STRATEGY": "unsafe-best-match"}


def install_otherwise(order: Order, wanted: Sequence[Installed]) -> None:
    """Once more, packages whose files are not the recorded ones: from the other indexes first, or from the very
    address that is known of them. Best effort: what fails leaves what is there."""
    lines = [f"{item.name}=={item.version}" for item in wanted]
    if order.uv.extra_first:
        _quietly(order, lines, order.uv.extra_first)


def install_from_address(order: Order, wanted: Sequence[Installed]) -> None:
    """Once more, from the very address that the recorded files are proved to have come from. Best effort."""
    known = [item for item in wanted if item.url and item.sha256 and item.archive.endswith(".whl")]
    _quietly(order, [f"{item.name} @ {item.url}#sha256={item.sha256}" for item in known], {})


def install_afresh(order: Order, wanted: Sequence[Installed]) -> None:
    """Once more, past a cache that holds damaged files. Best effort."""
    if order.offline:
        return
    order.progress("installing again, past the cache: " + ", ".join(item.name for item in wanted))
    command = _command(order, [f"{item.name}=={item.version}" for item in wanted])
    order.uv.run(*command, "--reinstall", "--no-cache")


def install_wheel(order: Order, wheel: Path) -> None:
    """A wheel that lies in a file. Raises CannotRepeat."""
    python = os.fspath(order.room / "bin" / "python")
    answer = order.uv.run("pip", "install", "--python", python, "--no-deps", "--quiet", "--offline", os.fspath(wheel))
    if answer.returncode:
        hint = f"bis repeat {order.run} --here"
        raise CannotRepeat(f"{wheel.name} cannot be installed", because=_tail(answer.stderr), hint=hint)


def _quietly(order: Order, lines: list[str], more: Mapping[str, str]) -> None:
    if not lines:
        return
    command = [*_command(order, lines), "--reinstall"]
    if order.offline_first and order.uv.run(*command, "--offline", **more).returncode == 0:
        return
    if not order.offline:
        order.uv.run(*command, **more)


def _command(order: Order, lines: Sequence[str]) -> list[str]:
    requirements = order.room / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    python = os.fspath(order.room / "bin" / "python")
    settings = ["--no-deps", "--quiet", "--no-compile-bytecode", *order.uv.options]
    return ["pip", "install", "--python", python, *settings, "--requirements", os.fspath(requirements)]


def _bundled(order: Order, wanted: Iterable[Installed]) -> dict[str, str]:
    """pip and setuptools as the interpreter brings them, so that a plain environment needs no index for its own."""
    if not any(item.name in ("pip", "setuptools") for item in wanted):
        return {}
    folders = [os.fspath(path) for path in Path(unspell(order.python.base_prefix)).glob("lib/*/ensurepip/_bundled")]
    return {"UV_FIND_LINKS": ",".join(filter(None, [order.uv.variables.get("UV_FIND_LINKS", ""), *folders]))}


def _not_to_be_had(order: Order, wanted: Sequence[Installed], stderr: str) -> CannotRepeat:
    """Name every package that no index has, not only the first one that uv stumbled over."""
    missing: list[Installed] = []
    left, said = list(wanted), stderr
    while len(missing) < MAX_NAMED and (culprit := _culprit(said, left)):
        missing.append(culprit)
        left.remove(culprit)
        again = order.uv.run(*_command(order, [f"{item.name}=={item.version}" for item in left]), "--dry-run")
        if again.returncode == 0:
            break
        said = again.stderr
    names = ", ".join(f"{item.name} {item.version}" for item in missing) or "the packages"
    return CannotRepeat(
        f"{names} cannot be had for Python {order.python.version}",
        because=f"Asked: {order.uv.places}. uv says: {_tail(stderr)}",
        hint=f"name an index that has it (`UV_INDEX=URL bis repeat {order.run}`), or `bis repeat {order.run} --here`",
    )


def _culprit(stderr: str, candidates: Sequence[Installed]) -> Installed | None:
    """The package that uv's message is about."""
    said = re.sub(r"\s+", " ", stderr.lower())
    for item in candidates:
        name = rf"(?<![\w.-]){re.escape(item.name)}"
        if re.search(
            rf"no version of {name}==|{name} was not found|{name}=={re.escape(item.version.lower())} has no", said
        ):
            return item
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


# -- from the store ----------------------------------------------------------------------------------------------


def put_installed(store: Store, tree: Digest, package: Installed, site: Path, source: str) -> None:
    """The files that an installation once put into its site folder. Those that name the source folder of an editable
    install name `source` (a path, not spelled) afterwards."""
    absent = restore(store, tree, site)
    if absent:
        raise CannotRepeat(
            f"{package.name} {package.version}: {readable(absent[0].path)} was too large to be kept",
            hint="bis run --copy-data, for the next run",
        )
    old = unspell(package.source)
    if source and old and source != old:
        changed = [leaf.path for leaf in walk(store, tree) if points_to_source(leaf.path)]
        told = f"{package.info}/direct_url.json"
        names = [unspell(path) for path in [*changed, *({leaf.path for leaf in walk(store, tree)} & {told})]]
        _redirect(site, names, old, source, unspell(package.info))
    put_scripts(site, unspell(package.info))


def _redirect(site: Path, names: Sequence[str], old: str, new: str, info: str) -> None:
    """Let the files that point to a source folder point to another one, and their RECORD say so."""
    hashes = {}
    for name in names:
        before = (site / name).read_bytes()
        after = before.replace(os.fsencode(old), os.fsencode(new))
        after = after.replace(quote(old).encode(), quote(new).encode()) if name.endswith(".json") else after
        (site / name).unlink()
        (site / name).write_bytes(after)
        told = base64.urlsafe_b64encode(hashlib.sha256(after).digest()).rstrip(b"=").decode()
        hashes[name] = f"{name},sha256={told},{len(after)}"
    record = site / info / "RECORD"
    rows = record.read_text("utf-8", "surrogateescape").splitlines()
    record.write_text(
        "".join(hashes.get(row.partition(",")[0], row) + "\n" for row in rows), "utf-8", "surrogateescape"
    )


def put_scripts(site: Path, info: str) -> None:
    """The commands that a distribution names, as files that find the interpreter beside them."""
    parser = RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string((site / info / "entry_points.txt").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return
    for section in ("console_scripts", "gui_scripts"):
        for name, place in parser.items(section) if parser.has_section(section) else ():
            found = re.match(r"^([\w.]+)\s*:\s*([\w.]+)", place)
            if found and "/" not in name:
                script = site.parents[2] / "bin" / name
                start = found[2].partition(".")[0]
                script.write_text(SCRIPT.format(module=found[1], start=start, call=found[2]), "utf-8")
                script.chmod(0o755)


def put_egg_link(package: Installed, site: Path, source: str) -> None:
    """`setup.py develop` again: a file that names the source, and a line that puts it on the path."""
    (site / unspell(package.info)).write_text(f"{source}\n.", "utf-8", "surrogateescape")
    with (site / "easy-install.pth").open("a", encoding="utf-8", errors="surrogateescape") as lines:
        lines.write(f"{source}\n")


def patch(store: Store, tree: Digest, site: Path) -> None:
    """The files that had been edited in place, over those that were installed. Never through a link into a cache."""
    for leaf in walk(store, tree):
        file = site / unspell(leaf.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
    restore(store, tree, site)
