"""The interpreters installed on this machine, and which of them is the one that a run had."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bis.digest import unspell
from bis.errors import CannotRepeat
from bis.parts.interpreter import Interpreter, describe

HOMES = (
    "{home}/.pyenv/versions/*/bin",
    "{home}/.local/share/uv/python/*/bin",
    "{home}/.local/share/mise/installs/python/*/bin",
    "{home}/.asdf/installs/python/*/bin",
    "{home}/.rye/py/*/bin",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/*/bin",
    "/opt/python/*/bin",
    "/opt/homebrew/opt/python@3.*/bin",
    "/usr/local/opt/python@3.*/bin",
    "/Library/Frameworks/Python.framework/Versions/3.*/bin",
)
"""Where installers of interpreters put them; searched after `PATH`."""


def find_python(
    recorded: Interpreter, wanted: str | None, variables: Mapping[str, str], home: Path, run: str = "RUN"
) -> Interpreter:
    """The interpreter to repeat with: the recorded version exactly, or what `wanted` (a version or a path) names.

    Raises CannotRepeat, naming what there is. Never answers another version than the one asked for.
    """
    if wanted and "/" in wanted:
        found = describe(wanted, variables, home)
        if found is None:
            raise CannotRepeat(f"{wanted} is not a Python interpreter", hint=f"bis repeat {run} --python 3.11")
        return found
    asked = wanted or recorded.version
    here: list[Interpreter] = []
    for python in installed_pythons(recorded, asked, variables, home):
        if python.version == asked and _fits(python, recorded, asked):
            return python
        here.append(python)
    fitting = [python for python in here if _fits(python, recorded, asked)]
    if fitting:
        return max(fitting, key=lambda python: _numbers(python.version))
    raise _missing(recorded, asked, here, run)


def installed_pythons(
    recorded: Interpreter, version: str, variables: Mapping[str, str], home: Path
) -> Iterator[Interpreter]:
    """The base interpreters found here, the recorded one first, each once. Only the last resort runs them."""
    seen: set[str] = set()
    for path in _candidates(recorded, version, variables, home):
        real = os.path.realpath(path)
        if real in seen or not os.access(real, os.X_OK):
            continue
        seen.add(real)
        if (Path(real).parent.parent / "pyvenv.cfg").exists():
            continue
        found = describe(real, variables, home)
        if found and found.version:
            yield found


def _candidates(recorded: Interpreter, version: str, variables: Mapping[str, str], home: Path) -> Iterator[str]:
    minor = ".".join(version.split(".")[:2])
    names = [f"python{minor}", f"python{minor}t", "python3", "python", f"pypy{minor}", "pypy3"]
    if recorded.implementation.startswith("pypy"):
        names.reverse()
    if recorded.real:
        yield unspell(recorded.real)
        if recorded.base_prefix:
            yield from (os.path.join(unspell(recorded.base_prefix), "bin", name) for name in names)
    folders = [
        folder for folder in variables.get("PATH", os.defpath).split(os.pathsep) if not folder.endswith("/shims")
    ]
    patterns = [pattern.format(home=glob.escape(str(home))) for pattern in HOMES]
    for name, below in (("PYENV_ROOT", "versions/*/bin"), ("UV_PYTHON_INSTALL_DIR", "*/bin"), ("CONDA_PREFIX", "bin")):
        if root := variables.get(name):
            patterns.insert(0, os.path.join(glob.escape(root), below))
    folders += [folder for pattern in patterns for folder in sorted(glob.glob(pattern))]
    folders.append(os.path.join(sys.base_prefix, "bin"))
    for folder in dict.fromkeys(folders):
        yield from (os.path.join(folder, name) for name in names)


def _fits(python: Interpreter, recorded: Interpreter, version: str) -> bool:
    numbers = version.split(".")
    same_version = python.version.split(".")[: len(numbers)] == numbers
    if not recorded.abi or not python.abi:
        return same_version
    return same_version and _build(python.abi) == _build(recorded.abi)


def _build(abi: str) -> tuple[str, str, str]:
    """`cpython-311d-x86_64-linux-gnu` as (`cpython`, `d`, `x86_64-linux-gnu`): what another version must share."""
    implementation, _, rest = abi.partition("-")
    number, _, platform = rest.partition("-")
    return implementation.rstrip("0123456789"), number.lstrip("0123456789"), platform


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".") if number.isdigit())


def _missing(recorded: Interpreter, asked: str, here: list[Interpreter], run: str) -> CannotRepeat:
    there = sorted({(_numbers(item.version), item.version, item.executable) for item in here if item.version >= "3"})
    listed = ", ".join(f"{version} ({path})" for _, version, path in there) or "none"
    because = f"Recorded with {recorded.version} ({recorded.abi or recorded.implementation}). Installed here: {listed}."
    near = [version for _, version, _ in there if version.split(".")[:2] == asked.split(".")[:2]]
    other = f", or `bis repeat {run} --python {near[-1]}`" if near else ""
    hint = f"`uv python install {asked}`{other}" if recorded.implementation == "cpython" else f"install {asked}"
    return CannotRepeat(f"Python {asked} is needed and is not installed here", because=because, hint=hint)
