"""Running a notebook as a command: `bis run nb.ipynb`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bis.digest import spell
from bis.errors import UsageError
from bis.parts.interpreter import which

SCRIPT = Path(__file__).parents[1] / "inside" / "notebook.py"
SUFFIX = ".ipynb"


def notebook_command(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], script: Path = SCRIPT
) -> tuple[str, ...]:
    """`nb.ipynb [OUTPUT]` as a command that executes it, start to end, in the project's own Python; any other
    command unchanged.

    The project's Python is `python` on its PATH. It needs `ipykernel`; `nbclient` may be its own or that of bis.
    `script` is the program that does it, where the command will see it. Raises UsageError, naming what to install.
    """
    if not command[0].endswith(SUFFIX):
        return tuple(command)
    notebook = folder / command[0]
    if not notebook.is_file():
        raise UsageError(f"there is no notebook {command[0]} in {folder}", hint=f"ls {folder}/*{SUFFIX}")
    python = which("python", variables.get("PATH", os.defpath), folder) or which(
        "python3", variables.get("PATH", os.defpath), folder
    )
    if not python:
        raise UsageError(
            "there is no `python` on the PATH to execute the notebook with", hint="source .venv/bin/activate"
        )
    output = command[1] if len(command) > 1 else f"{command[0].removesuffix(SUFFIX)}.executed{SUFFIX}"
    if _imports(python, "nbclient", "ipykernel"):
        return ("python", str(script), command[0], output)
    if not _imports(python, "ipykernel"):
        raise UsageError(
            f"{python} has no kernel for notebooks",
            because="A notebook runs in the project's own environment, so ipykernel has to be there.",
            hint=f"{python} -m pip install ipykernel nbclient",
        )
    if not _imports(sys.executable, "nbclient"):
        raise UsageError(
            f"neither {python} nor bis itself has nbclient, which executes notebooks",
            hint=f"{python} -m pip install nbclient",
        )
    return (sys.executable, "-I", str(script), command[0], output, python)


def own_folders(command: Sequence[str]) -> tuple[str, ...]:
    """Where Python and the libraries of bis lie (spelled), if it is with them that a command executes a notebook: they
    are no ingredient of the run. Not those of the operating system, where other things lie, too."""
    if tuple(command[:2]) != (sys.executable, "-I"):
        return ()
    folders = dict.fromkeys((sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)))
    return tuple(spell(folder) for folder in folders if folder not in ("/", "/usr", "/usr/local"))


def _imports(python: str, *modules: str) -> bool:
    """Whether an interpreter finds the modules, without importing them."""
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {list(modules)!r})))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
