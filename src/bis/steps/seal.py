"""After the command ended: its outputs into the store, the record written, the run sealed for ever."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bis.digest import Digest, canonical, digest_bytes, readable, spell, unspell
from bis.ledger import Ledger
from bis.nouns.part import Finding
from bis.nouns.run import Output, Run
from bis.nouns.trace import Access, Trace
from bis.nouns.tree import Leaf
from bis.parts import Scene
from bis.parts.origin import in_passing, is_lock, models_brought, sorter
from bis.parts.secret import is_secret_file
from bis.steps.metrics import SIZE as METRIC_SIZE
from bis.steps.metrics import is_metric_file, read_metrics
from bis.store import Store
from bis.store.snapshot import put_leaves

NOISE = (
    *(
        "__pycache__/*",
        "*/__pycache__/*",
        "*.pyc",
        ".ipynb_checkpoints/*",
        "*/.ipynb_checkpoints/*",
        ".git/*",
        "*/.git/*",
    ),
    *(
        ".pytest_cache/*",
        ".mypy_cache/*",
        ".ruff_cache/*",
        ".dvc/tmp/*",
        ".hg/*",
        ".svn/*",
        ".viz/*",
        "*/.viz/*",
        "*.swp",
        "*~",
        ".DS_Store",
    ),
    *("*.db-wal", "*.db-shm", "*.db-journal", "*.sqlite-wal", "*.sqlite-shm", ".nfs*", ".fuse_hidden*"),
)
"""Files that a run leaves behind and that are nobody's result."""


def collect(
    scene: Scene, store: Store, since_ns: int, metrics: Sequence[str]
) -> tuple[list[Output], dict[str, float], list[Finding]]:
    """What the run made: files written and still there, with the metrics found in them."""
    findings: list[Finding] = []
    written = sorted({(name, path) for name, path in _written(scene, since_ns) if os.path.lexists(path)})
    leaves = put_leaves(written, store, scene.cache, keep=_keeper(scene), notes=findings)
    outputs = [_output(leaf) for leaf in leaves if leaf.entry.kind != "tree"]
    unkept = [output for output in outputs if not output.kept]
    if unkept:
        findings.append(
            Finding(
                code="output-not-kept",
                text=f"{_were(len(unkept))} hashed, not copied: {unkept[0].path}",
                hint="see limits.output_file, limits.output_run and secrets in bis.toml",
            )
        )
    return outputs, _metrics(outputs, dict(written), metrics, store, findings), findings


def _were(count: int) -> str:
    return "an output was" if count == 1 else f"{count:,} outputs were"


def removed(scene: Scene) -> tuple[str, ...] | None:
    """Files that were there before the run, and that it deleted or moved away. None where that could not be seen."""
    if scene.trace is None or not scene.trace.complete:
        return None
    wanted = _wanted(scene)
    names = {wanted(access) for access in scene.trace.accesses if access.was_removed}
    return tuple(sorted(name for name in names if name and not os.path.lexists(_place(name, scene))))


def log_output(name: str, path: Path, store: Store) -> Output:
    """The standard output or error of the run as one of its outputs."""
    digest = store.put_file(path) if path.exists() else store.put_bytes(b"")
    return Output(path=name, digest=digest, size=path.stat().st_size if path.exists() else 0)


def seal(run: Run, store: Store, ledger: Ledger) -> Digest:
    """Write the record, make it durable, then tell the ledger. Killed in between, `reindex` finds it."""
    digest = store.put_bytes(canonical(run), "record")
    store.flush()
    ledger.seal(run, digest)
    if run.history:
        ledger.take_history(run, store.get_bytes(run.history))
    return digest


def _written(scene: Scene, since_ns: int) -> Iterator[tuple[str, Path]]:
    """Names and places of files that the run wrote: from the trace, or by looking where the trace is partial."""
    trace = scene.trace or Trace(mechanism="none", complete=False)
    wanted = _wanted(scene)
    for access in trace.accesses:
        if access.was_written and (name := wanted(access)):
            yield name, scene.real(access.path)
    if not trace.complete:
        yield from _changed_since(scene, since_ns)


def _wanted(scene: Scene) -> Callable[[Access], str]:
    """A function that names a file whose making, or removal, is a result of the run; empty for any other."""
    origin, brought = sorter(scene), models_brought(scene)

    def wanted(access: Access) -> str:
        where = origin(access.path)
        if access.path.startswith(brought) or (where != "project" and is_lock(access)):
            return ""
        if where not in ("project", "outside") and (where != "temporary" or in_passing(access.path)):
            return ""
        name = scene.named(access.path)
        return "" if _ignored(name, scene) or scene.refused(access.path) else name

    return wanted


def _place(name: str, scene: Scene) -> Path:
    return scene.real(name if name.startswith("/") else spell(str(scene.project / unspell(name))))


def _changed_since(scene: Scene, since_ns: int) -> Iterator[tuple[str, Path]]:
    """Files of the project with a modification time inside the run: for a trace that does not see every write."""
    top = scene.real(spell(str(scene.project)))
    for folder, names, files in os.walk(top):
        names[:] = [
            name for name in names if name not in (".git", ".hg", ".svn", ".bis", "__pycache__", "node_modules")
        ]
        names[:] = [name for name in names if not (Path(folder, name) / "pyvenv.cfg").exists()]
        for file in files:
            path = Path(folder, file)
            name = spell(str(path.relative_to(top)))
            try:
                changed = path.lstat().st_mtime_ns >= since_ns
            except OSError:
                continue
            if changed and not _ignored(name, scene):
                yield name, path


def _ignored(name: str, scene: Scene) -> bool:
    return any(fnmatch.fnmatch(name, glob) for glob in (*NOISE, *scene.settings.ignore))


def _keeper(scene: Scene) -> Callable[[str, os.stat_result], bool]:
    """Whether an output is copied: not a secret, not over the limit of a file, nor, in all, over that of a run."""
    room = scene.settings.limits.output_run

    def keep(name: str, status: os.stat_result) -> bool:
        nonlocal room
        fits = status.st_size <= min(scene.settings.limits.output_file, room)
        if not fits or is_secret_file(name, scene.settings.secrets):
            return False
        room -= status.st_size
        return True

    return keep


def _output(leaf: Leaf) -> Output:
    entry = leaf.entry
    digest = entry.digest or digest_bytes(entry.target.encode())
    return Output(path=leaf.path, digest=digest, size=entry.size, mode=entry.mode, kept=entry.kept, target=entry.target)


def _metrics(
    outputs: list[Output], places: dict[str, Path], globs: Sequence[str], store: Store, notes: list[Finding]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for output in outputs:
        if is_metric_file(output.path, globs) and output.size <= METRIC_SIZE and not output.target:
            content = _content(output, places[output.path], store, notes)
            found = read_metrics(output.path, content) if content is not None else {}
            # Names as they are in the file; with the file's name before them where two files use one name.
            metrics.update((f"{output.path}:{name}" if name in metrics else name, found[name]) for name in found)
    return metrics


def _content(output: Output, place: Path, store: Store, notes: list[Finding]) -> bytes | None:
    """What was kept of an output, though a process that the run left behind may have changed the file since. One that
    was not kept has to be as it was; else None, and a finding."""
    if output.kept:
        return store.get_bytes(output.digest)
    try:
        content = place.read_bytes()
    except OSError as error:
        why = f"cannot be read any more: {os.strerror(error.errno) if error.errno else error}"
    else:
        if digest_bytes(content) == output.digest:
            return content
        why = "changed after it was hashed"
    text = f"{readable(output.path)} {why}; the metrics in it are not recorded"
    notes.append(Finding(code="metrics-unread", text=text, hint="let the run wait for all that it starts"))
    return None
