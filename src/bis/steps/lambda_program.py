"""What AWS Lambda calls: the package `bis_lambda`, which holds a model or runs a command, and Amazon's client of its
runtime, which asks for events and hands them over. Both are the same for the same model or run and the same bis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.errors import CannotRepeat
from bis.oci.layers import Entry, entries_of
from bis.steps.image import Interpreter, Part
from bis.steps.installing import Uv

PACKAGE: Final = "bis_lambda"
HANDLER: Final = f"{PACKAGE}.handler"
FOLDER: Final = "opt/lambda"
"""Of an image."""
START: Final = f"/{FOLDER}/start.py"
LOCK: Final = Path(__file__).with_name("awslambdaric.txt")
"""Amazon's client, by its hashes: for every version of Python that it is made for."""
SOURCE: Final = Path(__file__).resolve().parent.parent
SCORING: Final = ("__init__", "events", "frames", "lean", "oip", "payloads", "tabular", "v1", "worker", "written")

_HOLD: Final = b'''"""The handler that AWS Lambda calls: it holds a model."""

import site
from pathlib import Path

HERE = Path(__file__).parent
site.addsitedir(str(HERE.parent))

from .scoring.events import Handler

handler = Handler(HERE)
'''
_START: Final = b'''"""Starts Amazon's client of Lambda, whose packages come after those of the model or the run."""

import sys

sys.path.append("/opt/lambda/lib")

from awslambdaric.__main__ import main

if __name__ == "__main__":
    main(sys.argv)
'''


def of_model(
    at: str, described: Mapping[str, Any], folder: str, about: Mapping[str, str], *, trust: bool
) -> Iterator[Entry]:
    """The package that holds a model, below `at`. `folder`: where the model is, from the package on. `about`: its name,
    number, run and identity, which answers tell."""
    job = {
        "description": {key: described.get(key) for key in ("flavors", "signature", "saved_input_example_info")},
        "folder": folder,
        "name": about["model-name"],
        "version": about["model-version"],
        "about": about,
        "trust": trust,
    }
    yield Entry(f"{at}{PACKAGE}/__init__.py", _HOLD)
    yield Entry(f"{at}{PACKAGE}/job.json", msgspec.json.encode(job, order="sorted"))
    paths = [*SOURCE.glob("flavors/*.py"), *(SOURCE / "scoring" / f"{name}.py" for name in SCORING)]
    for path in paths:
        yield Entry(f"{at}{PACKAGE}/{path.relative_to(SOURCE)}", path.read_bytes())


def of_run(
    at: str, command: list[str], files: str, folder: str, variables: Mapping[str, str], packages: str = ""
) -> Iterator[Entry]:
    """The package that runs a command, below `at`. `files`: where those of the run are, from the package on; `folder`:
    where it starts among them; `packages`: where it imports from, beside the interpreter. An empty word of the command
    is the interpreter that calls it."""
    job = {"command": command, "files": files, "folder": folder, "variables": variables, "packages": packages}
    yield Entry(f"{at}{PACKAGE}/__init__.py", (SOURCE / "inside" / "called.py").read_bytes())
    yield Entry(f"{at}{PACKAGE}/job.json", msgspec.json.encode(job, order="sorted"))


def client_part(python: Interpreter, uv: Uv, room: Path, say: Callable[[str], None]) -> Part:
    """Amazon's client, and what starts it in an image. Raises CannotRepeat where it cannot be had."""
    version = python.path.rpartition("python")[2]
    say(f"installing Amazon's client of Lambda for Python {version}")
    done = uv.run(
        *("pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:", "--require-hashes"),
        *("--target", str(room), "--python-version", version, *uv.options, "-r", str(LOCK)),
    )
    if done.returncode:
        tail = " ".join(done.stderr.split()[-60:])
        raise CannotRepeat(
            f"Amazon's client of Lambda cannot be had for Python {version}",
            because=tail,
            hint="It is made for Python 3.10 and newer.",
        )
    entries = [*entries_of(room, f"{FOLDER}/lib"), Entry(START.lstrip("/"), _START)]
    return Part("client of Lambda", [entry for entry in entries if not entry.path.startswith(f"{FOLDER}/lib/bin/")])
