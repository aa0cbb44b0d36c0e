"""Programs that a run executed from outside the project, its environment and the system: `~/tools/uv`, what a compiler
made in the folder next door.

They are no data, and an update of one is no other data: the infrastructure part names each with its digest. Small ones
are kept in the store too, as nobody else may have what a user compiled. Scripts are not meant: they are inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from bis.digest import unspell
from bis.nouns.trace import Access
from bis.parts import Scene
from bis.parts.interpreter import LAUNCHERS, PYTHON
from bis.parts.origin import Origin, sorter

KEPT = 16 << 20
"""Bytes of a program up to which it is kept."""
MAGIC = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How programs begin that the processor executes itself: on Linux, on macOS."""


def programs(scene: Scene) -> list[str]:
    """Their paths, spelled and sorted; none before the run."""
    is_program = recogniser(scene, sorter(scene))
    return sorted(access.path for access in (scene.trace.accesses if scene.trace else ()) if is_program(access))


def recogniser(scene: Scene, origin: Callable[[str], Origin]) -> Callable[[Access], bool]:
    """A function that tells whether what was opened is such a program."""

    def is_program(access: Access) -> bool:
        return (
            "x" in access.how
            and access.was_read
            and not access.was_written
            and origin(access.path) in ("outside", "temporary")
            and _begins(scene.real(access.path))
        )

    return is_program


def is_kept(path: str, place: Path) -> bool:
    """Whether a program (spelled; its bytes are at `place`) is to be had from the store: not an interpreter, which does
    not work without what lies around it, nor what only starts one."""
    name = PurePosixPath(unspell(path)).name
    try:
        return name not in LAUNCHERS and not PYTHON.match(name) and place.stat().st_size <= KEPT
    except OSError:
        return False


def _begins(place: Path) -> bool:
    try:
        with place.open("rb") as file:
            return file.read(4) in MAGIC
    except OSError:
        return False
