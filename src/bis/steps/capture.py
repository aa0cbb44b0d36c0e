"""Every part of a run, before it starts and again when it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from bis.digest import digest_value
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Run
from bis.parts import Kind, Scene
from bis.parts.kinds import KINDS
from bis.parts.origin import is_data
from bis.store import Store

FIRST: tuple[PartKind, ...] = ("code", "data", "params")
"""Captured before the command starts, as the command may change them; the others while it runs."""


class Captures:
    """Parts on their way. `first` is there when `begin` returns; `rest` waits for the others."""

    def __init__(self, scene: Scene, store: Store, given: Mapping[PartKind, Part]) -> None:
        self._given = given
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bis-capture")
        self._parts: dict[PartKind, Part] = dict(given)
        self._coming: dict[PartKind, Future[Part]] = {}
        for kind in KINDS:
            if kind.KIND in given:
                continue
            if kind.KIND in FIRST:
                self._parts[kind.KIND] = _capture(kind, scene, store, None)
            else:
                self._coming[kind.KIND] = self._pool.submit(_capture, kind, scene, store, None)

    @property
    def first(self) -> dict[PartKind, Part]:
        return dict(self._parts)

    def wait(self) -> dict[PartKind, Part]:
        """All parts, as they are without an execution."""
        self._parts |= {kind: coming.result() for kind, coming in self._coming.items()}
        self._coming.clear()
        self._pool.shutdown()
        return {kind.KIND: self._parts[kind.KIND] for kind in KINDS}

    def finish(self, scene: Scene, store: Store) -> dict[PartKind, Part]:
        """All parts, captured again with what the trace saw."""
        earlier = self.wait()
        return {
            kind.KIND: self._given[kind.KIND]
            if kind.KIND in self._given
            else _capture(kind, scene, store, earlier[kind.KIND])
            for kind in KINDS
        }


def capture(scene: Scene, store: Store, given: Mapping[PartKind, Part] | None = None) -> Captures:
    """Start capturing: code, data and params at once, the rest beside the command."""
    return Captures(scene, store, given or {})


def _capture(kind: Kind, scene: Scene, store: Store, earlier: Part | None) -> Part:
    """A part that cannot be captured is recorded as such: the training is worth more than the record of it."""
    started = time.perf_counter()
    try:
        part = kind.capture(scene, store, earlier)
    except Exception as error:
        finding = Finding(
            code="capture-failed",
            text=f"the {kind.KIND} could not be recorded: {type(error).__name__}: {error}",
            hint="please report this, with the output of `bis --debug run …`",
            blocks=True,
        )
        if scene.variables.get("BIS_DEBUG"):
            raise
        part = earlier or Part(kind=kind.KIND, digest=digest_value(None), summary="not recorded")
        part = msgspec.structs.replace(part, findings=(*part.findings, finding))
    if scene.variables.get("BIS_DEBUG"):
        part = msgspec.structs.replace(part, facts={**part.facts, "captured in": time.perf_counter() - started})
    return part


def auto_name(command: Sequence[str], number: int, folder: Path) -> str:
    """`train-12` for the twelfth run of the project, `python train.py --lr 1`: after the first script that is there."""
    words = [word for word in command[1:] if not word.startswith("-")]
    scripts = [word for word in words if PurePosixPath(word).suffix in (".py", ".ipynb", ".sh", ".R", ".jl")]
    present = [word for word in scripts if (folder / word).is_file()]
    stem = PurePosixPath((present or scripts or command)[0]).stem
    if "-m" in command[:-1]:
        stem = command[command.index("-m") + 1].rpartition(".")[2]
    cleaned = "".join(letter if (letter.isalnum() and letter.isascii()) or letter == "_" else "-" for letter in stem)
    return f"{cleaned.strip('-').lower() or 'run'}-{number}"


def remembered_inputs(last: Run | None) -> tuple[str, ...]:
    """The inputs that the last run of the same command read."""
    part = last.parts.get("data") if last else None
    return tuple(row["path"] for row in part.facts.get("inputs", ())) if part else ()


def made_inputs(part: Part | None) -> frozenset[str]:
    """Inputs that only their origin, an earlier run, tells from code: they stay data."""
    rows = part.facts.get("inputs", ()) if part else ()
    return frozenset(row["path"] for row in rows if row["read"] and not is_data(row["path"], row["size"]))


def known_outputs(runs: Sequence[Run], project: Path) -> dict[str, set[str]]:
    """Paths inside the project that earlier runs made -> the digests they had."""
    known: dict[str, set[str]] = {}
    for run in runs:
        for output in run.outputs:
            if not output.path.startswith(("/", "<")):
                known.setdefault(output.path, set()).add(output.digest)
    return known
