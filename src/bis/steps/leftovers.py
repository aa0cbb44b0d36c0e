"""What runs and repeats leave on this machine and nobody needs: environments in the cache and folders of killed
repeats, which a repeat could make again, what was seen of lost runs and could not be read, what killed commands were
putting into folders and had among the temporary files, what scorings had while they were at it, copies of models, and
images that were brought or made.

What is in use is held by a lock that the kernel lets go of when its holder has died; nothing held is ever removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from bis.errors import KeepingError
from bis.nouns.part import Finding
from bis.nouns.run import Run
from bis.settings import FOLDER, SCORING
from bis.steps.here import host_here, now
from bis.steps.home import Home
from bis.steps.rebuild import BUILDING, MARKER, Rebuilt
from bis.steps.recover import UNREAD, alone, is_alive, is_sealed
from bis.steps.seal import seal
from bis.store import drafts
from bis.store import temporary as temporaries

REPEAT = "bis-repeat-"
"""How the folders of repeats begin. Those that a person wants to keep have another name."""
KEPT = "bis-kept-"
SOURCES = "sources"
USED = ".used"
"""How the notes end that say when something in a cache was used, and are locked by those that use it."""
USING = ".using"
"""The file in the folder of scorings, and in the cache, that is locked by those that are under way."""
KILLED = Finding(
    code="supervisor-lost",
    text="bis was killed while it repeated the run; what the repeat did is not recorded",
    hint="repeat it again",
    blocks=True,
)

_OfRuns = Literal["environment", "source", "unfinished", "repeat", "unread", "draft", "temporary"]
What = _OfRuns | Literal["scoring", "evaluation", "model", "program", "fetched", "image"]
OF_THE_DEAD: tuple[What, ...] = ("draft", "temporary")
"""Of use to nobody, whatever their age: they are found when their makers are dead."""
SCORED: dict[str, What] = {
    "models": "model",
    "programs": "program",
    "inputs": "fetched",
    "outputs": "fetched",
    "evaluations": "evaluation",
    "images": "image",
}
"""What lies in the folder of scorings, and in that of what is served, evaluated and built on."""


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    what: What
    """`source`: of an editable package; `unfinished`: of a builder that was killed; `repeat`: a folder of one;
    `unread`: what was seen of a lost run, whose record says that it could not be read; `draft`: what a command was
    putting into a folder when it was killed; `temporary`: what one had among the temporary files; `scoring`: the parts
    of one that was not finished; `evaluation`: the folder of one that was killed; `model`: a copy of one in the store;
    `program`, `fetched`: of the last scorings, which make or fetch them again; `image`: one that was brought, or
    unpacked to repeat in, or a base that was made, all of which are had again."""
    size: int
    """Bytes on disk, those included that uv's cache shares."""
    used: float
    """When it was last used: seconds since 1970."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder of a repeat from being taken for one that was left."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def in_use(rebuilt: Rebuilt | None) -> Iterator[None]:
    """Keep an environment from being removed while a command runs in it, and note when that was."""
    if rebuilt is None or rebuilt.how not in ("built", "cached"):
        yield
        return
    with contextlib.ExitStack() as stack:
        for folder in (rebuilt.prefix, *map(Path, rebuilt.sources.values())):
            stack.enter_context(using(folder))
        yield


@contextlib.contextmanager
def using(folder: Path) -> Iterator[None]:
    """Keep what lies in a cache from being removed while it is in use, and note when that was."""
    note_use(folder)
    with _locked(_note(folder), fcntl.LOCK_SH):
        yield


def note_use(folder: Path) -> None:
    """Note that something in a cache is used now. It itself is left as it is, as a run may be reading it."""
    with contextlib.suppress(OSError):  # a cache that may only be read is nobody's to clean, either
        _note(folder).touch()


@contextlib.contextmanager
def all_in_use(folder: Path) -> Iterator[None]:
    """Keep all that lies in the folder of scorings, or in that of what is evaluated, served and built on, from being
    removed while one of them is under way."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / USING, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def recover_repeats(home: Home, temporary: Path) -> list[Run]:
    """Seal the repeats of this project whose bis was killed, as lost; those that were found so. What such a one did is
    not recorded: it ran in a place of its own. One that cannot be found is left alone until the machine starts anew."""
    here = [run for run in home.ledger.under_way() if run.repeats and run.host == host_here()]
    return [lost for run in here if (lost := _recover(run, home, temporary))]


def _recover(run: Run, home: Home, temporary: Path) -> Run | None:
    """The repeat, sealed as lost, if it is."""
    scratch = next(temporary.glob(f"{REPEAT}*/scratch/{run.id}"), None)
    if scratch is None:
        gone = datetime.fromisoformat(run.started).timestamp() < _boot()
        return _seal(run, home) if gone else None
    with alone(scratch) as ours:
        return _seal(run, home) if ours and not is_alive(scratch) else None


def _seal(run: Run, home: Home) -> Run | None:
    """A full disk must not keep anybody from reading the log: the repeat waits for a command that finds room."""
    with contextlib.suppress(KeepingError):
        if not is_sealed(run, home):
            lost = msgspec.structs.replace(run, status="lost", ended=now(), findings=(*run.findings, KILLED))
            seal(lost, home.store, home.ledger)
            return lost
    return None


def _boot() -> float:
    """When this machine started: seconds since 1970; 0 where it does not tell."""
    try:
        return time.time() - float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return 0.0


def leftovers(
    environments: Path, temporary: Path, project: Path | None = None, scored: Iterable[Path] = ()
) -> list[Leftover]:
    """All that there is, whether in use or not; those that were not used for the longest time first. `project`: the
    project, in which and beside which drafts of the dead are looked for; `scored`: the folders of scorings, and of what
    is served, evaluated and built on."""
    found = [*_environments(environments), *_repeats(temporary), *_temporary(temporary)]
    if project:
        found += [*_unread(project / FOLDER), *_drafts(project), *_scorings(project / FOLDER)]
    for folder in scored:
        found += _scored(folder)
    return sorted(found, key=lambda one: one.used)


def remove(one: Leftover) -> bool:
    """Remove what was left; False for what is in use, or may not be removed by this user."""
    if one.what in OF_THE_DEAD:
        return drafts.remove(os.fspath(one.path))
    lock = _lock_of(one)
    with _locked(lock, fcntl.LOCK_EX) as ours, _locked(_note(one.path), fcntl.LOCK_EX) as unused:
        if not (ours and unused) or any(map(is_alive, _supervised(one.path))):
            return False
        doomed = one.path
        if one.what in ("environment", "source"):
            # Under another name first: killed half-way, nothing is found that looks whole.
            doomed = one.path.with_name(f"{BUILDING}{one.path.name}-removed-{secrets.token_hex(4)}")
            with contextlib.suppress(OSError):
                one.path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                doomed.unlink()
        if not os.path.lexists(doomed):
            _note(one.path).unlink(missing_ok=True)
    return not (os.path.lexists(doomed) or os.path.lexists(one.path))


def _supervised(path: Path) -> list[Path]:
    """Where a supervisor may be at work."""
    return [path, *path.glob("scratch/*")] if path.is_dir() else []


def size_of(folder: Path) -> int:
    """Bytes that the files below a folder take, or a file; a file with several names counts once."""
    if folder.is_file():
        return folder.stat().st_blocks * 512
    seen: dict[tuple[int, int], int] = {}
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = Path(top, name).lstat()
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def _environments(cache: Path) -> Iterator[Leftover]:
    for folder in _folders(cache):
        if folder.name.startswith(BUILDING):
            yield _leftover(folder, "unfinished")
        elif (folder / MARKER).exists():
            yield _leftover(folder, "environment")
    for folder in _folders(cache / SOURCES):
        yield _leftover(folder, "unfinished" if folder.name.startswith(BUILDING) else "source")


def _repeats(temporary: Path) -> Iterator[Leftover]:
    for folder in _folders(temporary):
        if folder.name.startswith(REPEAT) and folder.stat().st_uid == os.getuid():
            yield _leftover(folder, "repeat")


def _temporary(temporary: Path) -> Iterator[Leftover]:
    for folder in temporaries.left_in(temporary):
        yield _leftover(folder, "temporary")


def _unread(project: Path) -> Iterator[Leftover]:
    for folder in _folders(project / UNREAD):
        yield _leftover(folder, "unread")


def _drafts(project: Path) -> Iterator[Leftover]:
    found = drafts.left_in(os.fspath(project.parent))
    # A folder in which nothing was recorded may be somebody's home: it is not walked through.
    for folder, names, _ in os.walk(project) if (project / FOLDER).is_dir() else ():
        if any(name.startswith(drafts.PREFIX) for name in names):
            found += drafts.left_in(folder)
        names[:] = [name for name in names if name not in (FOLDER, ".git") and not drafts.is_name(name)]
    return (_leftover(Path(path), "draft") for path in found)


def _scorings(project: Path) -> Iterator[Leftover]:
    for folder in _folders(project / SCORING):
        yield _leftover(folder, "scoring")


def _scored(folder: Path) -> Iterator[Leftover]:
    for name, what in SCORED.items():
        for path in sorted((folder / name).glob("*")):
            if not (path.name.startswith(".") and path.name.endswith(USED)):
                yield _leftover(path, what)


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _leftover(folder: Path, what: What) -> Leftover:
    beside = [_note(folder), folder / MARKER, folder] if what in ("environment", "source") else [folder, _note(folder)]
    times = [path.stat().st_mtime for path in beside if path.exists()]
    if what in ("repeat", "unread", "draft", "temporary", "scoring", "fetched"):
        times += [path.stat().st_mtime for path in folder.glob("*")]
    # The note says when it was used; without one, the marker and the folder say when it was made.
    used = times[0] if what in ("environment", "source") else max(times)
    return Leftover(path=folder, what=what, size=size_of(folder), used=used)


def _note(folder: Path) -> Path:
    """The file whose time says when a cached folder was last used."""
    return folder.with_name(f".{folder.name}{USED}")


def _lock_of(one: Leftover) -> Path:
    """What is locked by those who use it: of a cached folder, by its builder (`steps/rebuild.py`)."""
    folder = one.path
    match one.what:
        case "repeat" | "unread":
            return folder
        case "scoring":
            return folder / "lock"
        case "model" | "program" | "fetched" | "evaluation" | "image":
            return folder.parent.parent / USING
    key = folder.name.removeprefix(BUILDING).partition("-")[0]
    return folder.with_name(f".{key}.lock")


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    """Hold a lock on a file or folder; False where another holds it. What is not there is nobody's."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
