"""Runs whose supervisor went away: seen, and sealed with what they had."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bis.digest import decoded, readable, spell, unspell
from bis.errors import Damaged, KeepingError, NotFound
from bis.nouns.part import Finding, Part, PartKind
from bis.nouns.run import Run
from bis.parts import Scene
from bis.parts.origin import with_sources
from bis.steps import chance as chances
from bis.steps.capture import capture
from bis.steps.execute import Execution, recover
from bis.steps.here import now
from bis.steps.home import Home
from bis.steps.perform import SUPERVISOR, gathered, record_of
from bis.steps.samples import started_at
from bis.steps.seal import seal
from bis.steps.trace import is_watched
from bis.store.drafts import discard

TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""What may be otherwise for the next command."""
UNREAD = "unread"
"""Folder of what was seen of lost runs and could not be read: bis never looks there again; a person may."""


def recover_lost(home: Home, variables: Mapping[str, str]) -> list[Run]:
    """Seal every run under way whose supervisor is gone; the runs that were found lost. Cheap when there are none."""
    found = []
    for scratch in sorted(home.live.iterdir()) if home.live.is_dir() else ():
        # A full disk must not keep anybody from reading the log: the run waits for a command that finds room.
        with alone(scratch) as ours, suppress(KeepingError, NotFound, OSError):
            if ours and (lost := _look(scratch, home, variables)):
                found.append(lost)
    return found


@contextmanager
def alone(scratch: Path) -> Iterator[bool]:
    """Whether nobody else is about to seal this run. A run that has ended meanwhile is nobody's to seal."""
    try:
        folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(folder)


def _look(scratch: Path, home: Home, variables: Mapping[str, str]) -> Run | None:
    """The run under way in a scratch folder, sealed, if it is lost."""
    run = _read(scratch)
    if run is None:
        # Made and not begun: its parts are being captured, or its supervisor was killed meanwhile.
        if _age(scratch) > home.settings.lost_after and not is_alive(scratch):
            discard(os.fspath(scratch))
        return None
    if is_alive(scratch):
        return None
    if is_sealed(run, home):
        # It ended while we looked, or its supervisor was killed after its last word.
        discard(os.fspath(scratch))
        return None
    return _seal(run, scratch, home, variables)


def _age(scratch: Path) -> float:
    """Seconds since something came into the folder or left it."""
    try:
        return time.time() - scratch.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def is_sealed(run: Run, home: Home) -> bool:
    """Whether the record of the run is written. One that the ledger did not hear of any more it hears of now."""
    try:
        if home.ledger.record(run.id):
            return True
    except NotFound:
        pass
    for digest in set(home.store.list("record")) - home.ledger.records():
        with suppress(Damaged, NotFound):
            record = home.store.get_bytes(digest)
            if f'"id":"{run.id}"'.encode() in record:
                home.ledger.seal(decoded(record, Run), digest)
                return True
    return False


def is_alive(scratch: Path) -> bool:
    """Whether the supervisor still runs, or at least the tracer, and with it the command."""
    try:
        pid, start = map(int, (scratch / SUPERVISOR).read_text().split())
    except (OSError, ValueError):
        return is_watched(scratch)
    return (started_at(pid) == start != 0) or is_watched(scratch)


def _read(scratch: Path) -> Run | None:
    try:
        return msgspec.json.decode((scratch / "run").read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError):
        return None


def _seal(run: Run, scratch: Path, home: Home, variables: Mapping[str, str]) -> Run:
    try:
        sealed, moved = _recovered(run, scratch, home, variables), None
    except (KeepingError, NotFound):
        raise
    except Exception as error:  # whatever is wrong with one run must not keep anybody from all others
        if isinstance(error, OSError) and error.errno in TROUBLE:
            raise
        moved = home.folder / UNREAD / run.id
        sealed = msgspec.structs.replace(
            run, status="lost", ended=now(), findings=(*run.findings, _unread(error, run, moved))
        )
    seal(sealed, home.store, home.ledger)
    if moved:
        moved.parent.mkdir(exist_ok=True)
        scratch.rename(moved)
    else:
        discard(os.fspath(scratch))
    return sealed


def _unread(error: Exception, run: Run, moved: Path) -> Finding:
    return Finding(
        code="lost-unread",
        text="bis was killed while the command ran, and what was seen until then could not be read"
        f" ({type(error).__name__}: {error}); it lies in {readable(spell(str(moved)))}",
        hint=f"bis repeat {run.id[:8]}",
        blocks=True,
    )


def _recovered(run: Run, scratch: Path, home: Home, variables: Mapping[str, str]) -> Run:
    execution = recover(scratch)
    lost = Finding(
        code="supervisor-lost",
        text="bis was killed while the command ran; the record holds what was seen until then"
        if execution is None or execution.exit is None
        else "bis was killed while the command ran; the command ended by itself",
        hint=f"bis repeat {run.id[:8]}",
        blocks=True,
    )
    if execution is None:
        return msgspec.structs.replace(run, status="lost", ended=now(), findings=(*run.findings, lost))
    return _sealed(run, execution, scratch, home, variables, lost)


def _sealed(
    run: Run, execution: Execution, scratch: Path, home: Home, variables: Mapping[str, str], lost: Finding
) -> Run:
    scene = Scene(
        project=home.project,
        folder=home.project / unspell(run.folder),
        command=tuple(unspell(word) for word in run.command),
        variables=dict(variables),
        settings=home.settings,
        home=Path(variables.get("HOME") or "~").expanduser(),
        key=home.key,
        cache=home.cache,
        trace=execution.trace,
        reports=chances.observe(scratch / "inside"),
    )
    scene = with_sources(scene)
    # Parts captured before the start are as they were; the others are captured now, and the finding says so.
    parts = capture(scene, home.store, _first_parts(scratch)).finish(scene, home.store)
    logged = gathered(scratch / "inside", home.store)
    sealed = record_of(run, execution, scene, parts, home, _started_ns(scratch), logged)
    status = "lost" if execution.exit is None and execution.signal is None else sealed.status
    return msgspec.structs.replace(sealed, status=status, findings=(*sealed.findings, lost))


def _first_parts(scratch: Path) -> dict[PartKind, Part]:
    try:
        return msgspec.json.decode((scratch / "parts").read_bytes(), type=dict[PartKind, Part])
    except (OSError, msgspec.DecodeError):
        return {}


def _started_ns(scratch: Path) -> int:
    return (scratch / "run").stat().st_mtime_ns
