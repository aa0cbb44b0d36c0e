"""A model's environment with packages beside what the model itself needs: pyarrow for Parquet, Ray or Dask for many
machines. An environment of its own, kept in the cache as all are; one that a person named is left as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bis.digest import digest_value, short
from bis.errors import CannotRepeat
from bis.steps.installing import find_uv
from bis.steps.model_environment import RESOLVED, Chosen, building, there
from bis.steps.rebuild import Rebuilt

LOOK: Final = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n) is None))"
PACKAGES: Final = {"pyarrow": "pyarrow", "ray": "ray", "distributed": "distributed"}
"""Module -> the distribution that has it."""


def lacking(python: Path, modules: Sequence[str]) -> list[str]:
    """Those of the modules that an interpreter does not have."""
    if not modules:
        return []
    done = subprocess.run([python, "-c", LOOK, *modules], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRepeat(f"{python} does not start", because=done.stderr.strip()[-400:])
    return done.stdout.split()


def with_packages(
    chosen: Chosen,
    modules: Sequence[str],
    *,
    variables: Mapping[str, str],
    cache: Path,
    progress: Callable[[str], None],
) -> Chosen:
    """The environment, or one with the same packages and those that it lacks. Raises CannotRepeat where they cannot be
    had."""
    missing = [PACKAGES[name] for name in lacking(chosen.python, modules)]
    if not missing:
        return chosen
    if chosen.rebuilt is None:
        raise CannotRepeat(
            f"{' and '.join(missing)} is not in {chosen.python}",
            because="An environment that you name is used as it is.",
            hint=f"uv pip install --python {chosen.python} {' '.join(missing)}",
        )
    prefix = chosen.rebuilt.prefix
    final = cache / short(digest_value({"beside": prefix.name, "packages": sorted(missing)}), 20)
    made = there(final, chosen.rebuilt.version)
    if not (final / RESOLVED).is_file():
        progress(f"adding {' and '.join(missing)} to the model's environment")
        _make(chosen, missing, made, variables)
    return msgspec.structs.replace(chosen, python=made.python, rebuilt=made)


def _make(chosen: Chosen, missing: Sequence[str], made: Rebuilt, variables: Mapping[str, str]) -> None:
    uv = find_uv(variables, Path(variables.get("HOME") or "~").expanduser(), None)

    def demand(*words: str) -> str:
        said = uv.run(*words)
        if said.returncode:
            because = " ".join(said.stderr.split())[-600:]
            raise CannotRepeat(
                f"{' and '.join(missing)} cannot be added to the model's environment",
                because=f"uv says: {because}",
                hint="--python PATH names an environment that has all of it",
            )
        return said.stdout

    with building(made) as room:
        frozen = demand("pip", "freeze", "--python", os.fspath(chosen.python))
        demand("venv", "--relocatable", "--no-project", "--quiet", "-p", os.fspath(chosen.python), os.fspath(room))
        wanted = room / "wanted.txt"
        wanted.write_text(frozen + "".join(f"{one}\n" for one in missing), "utf-8")
        python = os.fspath(room / "bin" / "python")
        demand("pip", "install", "--python", python, "--quiet", *uv.options, "--requirements", os.fspath(wanted))
        (room / RESOLVED).write_text(demand("pip", "freeze", "--python", python), "utf-8")
