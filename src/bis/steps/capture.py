"""Every part of a run, before it starts and again when it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from bis.digest import digest_value, spell, unspell
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Run
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Kind, Scene, code, data, params
from bis.parts.origin import is_data
from bis.store import Store
from bis.store.snapshot import walk

FIRST: tuple[PartKind, ...] = ("code", "data", "params")
"""Captured before the command starts, as the command may change them; the others while it runs."""


class Captures:
    """Parts on their way: `first` is there at once, the others are captured from `go_on` on."""

    def __init__(self, scene: Scene, store: Store, given: Mapping[PartKind, Part]) -> None:
        self._scene, self._store, self._given = scene, store, given
        self._parts: dict[PartKind, Part] = {**given}
        first: tuple[Kind, ...] = (code, data, params)
        self._parts |= {kind.KIND: _capture(kind, scene, store, None) for kind in first if kind.KIND not in given}
        self.first = dict(self._parts)
        self._beside = threading.Thread(target=self._capture_rest, name="bis-capture", daemon=True)
        self._error: Exception | None = None

    def go_on(self) -> None:
        """Begin to capture the others, in a thread of its own."""
        if self._beside.ident is None:
            self._beside.start()

    def wait(self) -> dict[PartKind, Part]:
        """All parts, as they are without an execution."""
        self.go_on()
        self._beside.join()
        if self._error:
            raise self._error
        return {kind.KIND: self._parts[kind.KIND] for kind in _kinds()}

    def finish(self, scene: Scene, store: Store) -> dict[PartKind, Part]:
        """All parts, captured again with what the trace saw."""
        earlier = self.wait()
        return {
            kind.KIND: self._given[kind.KIND]
            if kind.KIND in self._given
            else _capture(kind, scene, store, earlier[kind.KIND])
            for kind in _kinds()
        }

    def _capture_rest(self) -> None:
        try:
            for kind in _kinds():
                if kind.KIND not in self._parts:
                    self._parts[kind.KIND] = _capture(kind, self._scene, self._store, None)
            # What will be needed when the command has ended: by the data part, and by a store that is put something.
            from bis.parts import beside_inputs, discovered, tracked  # noqa: F401
            from bis.store import large  # noqa: F401
        except Exception as error:
            self._error = error


def capture(scene: Scene, store: Store, given: Mapping[PartKind, Part] | None = None) -> Captures:
    """Capture code, data and params; the rest follows when `go_on` is called, beside the command."""
    return Captures(scene, store, given or {})


def _kinds() -> tuple[Kind, ...]:
    """All kinds. Importing those that are not first takes some milliseconds, which no command needs to wait for."""
    from bis.parts.kinds import KINDS

    return KINDS


def capture_supposed(scene: Scene, store: Store, like: Run) -> dict[PartKind, Part]:
    """Every part as it is now, supposed that a command reads the files that it read in the run `like`."""
    parts, seen = capture(scene, store).wait(), supposed(scene, store, like)
    again = {kind.KIND: _capture(kind, seen, store, parts[kind.KIND]) for kind in _kinds() if kind.KIND in FIRST}
    again["params"] = _capture(params, _with_configuration_of(like, seen), store, parts["params"])
    if "environment" in like.parts:
        from bis.parts import environment

        again["environment"] = environment.supposed(parts["environment"], like.parts["environment"], scene, store)
    return {**parts, **again}


def _with_configuration_of(like: Run, seen: Scene) -> Scene:
    """Configuration files are params when they are read: of those that lie in the code, only what the run had read."""
    config = like.parts["params"].facts.get("config", ()) if "params" in like.parts else ()
    assert seen.trace is not None
    read = tuple(access for access in seen.trace.accesses if seen.named(access.path) in config)
    return msgspec.structs.replace(seen, trace=msgspec.structs.replace(seen.trace, accesses=read))


def supposed(scene: Scene, store: Store, like: Run) -> Scene:
    """The scene with a trace as if the command had read, now, the files that it read in the run `like`."""
    trace = Trace(mechanism="none", complete=True, accesses=tuple(_accesses(scene, store, like)))
    return msgspec.structs.replace(scene, trace=trace)


def _accesses(scene: Scene, store: Store, like: Run) -> Iterator[Access]:
    """As a trace would tell them: the files of a run that are there now."""
    code, data, params = (like.parts.get(kind) for kind in FIRST)
    names = {leaf.path for leaf in walk(store, code.trees["tree"])} if code and "tree" in code.trees else set()
    names |= {row["path"] for row in data.facts.get("inputs", ()) if row["read"]} if data else set()
    names |= set(params.facts.get("config", ())) if params else set()
    for name in sorted(names):
        path = scene.project / unspell(name)
        try:
            found = path.stat()
        except OSError:
            continue
        before = Stat(size=found.st_size, mtime_ns=found.st_mtime_ns, inode=found.st_ino)
        yield Access(path=spell(str(path)), how="r", before=before)


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


def stem_of(command: Sequence[str], folder: Path) -> str:
    """What a run is called that nobody named: `train` for `python train.py --lr 1`, after the first script that is
    there. The ledger adds a number."""
    words = [word for word in command[1:] if not word.startswith("-")]
    scripts = [word for word in words if PurePosixPath(word).suffix in (".py", ".ipynb", ".sh", ".R", ".jl")]
    present = [word for word in scripts if (folder / word).is_file()]
    stem = PurePosixPath((present or scripts or command)[0]).stem
    if "-m" in command[:-1]:
        stem = command[command.index("-m") + 1].rpartition(".")[2]
    cleaned = "".join(letter if (letter.isalnum() and letter.isascii()) or letter == "_" else "-" for letter in stem)
    return cleaned.strip("-").lower() or "run"


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
