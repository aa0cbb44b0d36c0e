"""What belongs to a project: its store, ledger, cache and the runs under way, below `.bis/`."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bis.errors import KeepingError, NotFound, UsageError
from bis.ledger import Ledger
from bis.ledger.places import on_server
from bis.ledger.runs import SqlLedger, open_ledger, reindex
from bis.nouns.logged import LOGGING
from bis.settings import FOLDER, IGNORE, Settings
from bis.store.local import LocalStore, open_store
from bis.store.statcache import StatCache, open_cache
from bis.store.trouble import NOT_WRITABLE, shown
from bis.store.volume import network_file_system


class Home(msgspec.Struct, frozen=True, kw_only=True):
    project: Path
    settings: Settings
    folder: Path
    """`.bis`."""
    store: LocalStore
    ledger: Ledger
    cache: StatCache
    key: bytes
    """Secret of this home, with which credentials are digested."""
    variables: Mapping[str, str] = {}
    """Environment variables of who asks: what lies elsewhere is asked for with the credentials in them."""
    is_new: bool = False
    """It was made when it was opened."""
    hold: int = -1
    """A descriptor of the folder, locked for as long as the store is used: nobody takes the folder away meanwhile."""

    @property
    def live(self) -> Path:
        """Folder of the runs under way: one folder each, named by id."""
        return self.folder / "live"

    @property
    def logging(self) -> Path:
        """Folder of the runs that scripts began and that are not wholly delivered: one folder each, named by id."""
        return self.folder / LOGGING


def open_home(
    project: Path,
    settings: Settings,
    *,
    create: bool = True,
    variables: Mapping[str, str] | None = None,
    serving: bool = False,
) -> Home:
    """Open the project's `.bis/`. With `create=False` nothing is made: NotFound where nothing was recorded yet. Where
    scripts have logged and nobody has read it yet, there is something to make it for. Raises UsageError for a store in
    a bucket, unless it is a server that is `serving` it, and where a server would be told secrets that the user has not
    named."""
    if in_bucket(settings.store):
        refuse_bucket(settings.store, serving)
    if in_bucket(settings.store) or on_server(settings.ledger):
        from bis.steps.trust import demand_places

        demand_places(project, settings, variables or {})
    folder = project / FOLDER
    if not create and not _is_filled(folder / LOGGING):
        if not folder.is_dir():
            raise NotFound(f"no runs are recorded in {shown(project)}", hint="bis run -- python train.py")
        return _opened(project, settings, False, variables or {})
    is_new, hold = _make(folder)
    try:
        home = _opened(project, settings, True, variables or {})
    except BaseException:
        if is_new:
            _take_away(folder, hold)
        os.close(hold)
        raise
    weakref.finalize(home.store, os.close, hold)
    return msgspec.structs.replace(home, is_new=is_new, hold=hold)


def in_bucket(store: str) -> bool:
    """Whether what a setting says of the store is a URL."""
    return "://" in store


def refuse_bucket(store: str, serving: bool) -> None:
    """Raises UsageError for a URL of no bucket, and for any where no server is at work."""
    from bis.store.remote.address import SCHEMES, checked

    if checked(store, Path()).partition("://")[0] not in SCHEMES:
        raise UsageError(f"a store is a folder, or a bucket for `bis server`, not {store}", hint="s3://bucket/prefix")
    if not serving:
        raise UsageError(
            f"the store of this project is {store}, which `bis server` alone works on",
            because="Other commands work on a folder. The bucket is a remote as any other: they have it as a clone.",
            hint=f"bis clone {store} FOLDER",
        )


@contextmanager
def provisional(home: Home) -> Iterator[Home]:
    """A home for something that may fail: one that was made for it and in which, at the end, nothing was kept is gone
    again, unless another command has come to use it."""
    try:
        yield home
    finally:
        if home.is_new and _is_unused(home):
            _take_away(home.folder, home.hold)


def _opened(project: Path, settings: Settings, create: bool, variables: Mapping[str, str]) -> Home:
    folder = project / FOLDER
    _moved(folder / "store" / "index.db")
    return Home(
        project=project,
        settings=settings,
        folder=folder,
        store=_store(project, settings, create, variables),
        ledger=open_ledger(_ledger_place(project, settings), create=create),
        cache=open_cache(_moved(folder / "cache.db")),
        key=_key(folder, create),
        variables=variables,
    )


def _store(project: Path, settings: Settings, create: bool, variables: Mapping[str, str]) -> LocalStore:
    if in_bucket(settings.store):
        from bis.store.bucket import FOLDER as BUCKET
        from bis.store.bucket import open_bucket_store

        return open_bucket_store(settings.store.rstrip("/"), project / FOLDER / BUCKET, variables)
    store = Path(settings.store).expanduser() if settings.store else project / FOLDER / "store"
    return open_store(project / store, create=create)


def _ledger_place(project: Path, settings: Settings) -> Path | str:
    if on_server(settings.ledger):
        return settings.ledger
    chosen = Path(settings.ledger).expanduser() if settings.ledger else _moved(project / FOLDER / "ledger.db")
    return project / chosen


def _is_unused(home: Home) -> bool:
    """Whether there is no fact, no content and no run under way; what was put and is not durable is dropped then. A
    ledger on a server says nothing of one home: what a run leaves is in the store, too."""
    if not isinstance(home.ledger, SqlLedger) or (home.ledger.database.folder and home.ledger.database.there):
        return False
    home.store.close()
    return not any(_is_filled(path) for path in (home.store.packs, home.live, home.logging))


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _take_away(folder: Path, hold: int) -> None:
    """Remove a home in which there is nothing, unless another command uses it, or one of another machine may."""
    import shutil

    with suppress(OSError):
        if not network_file_system(folder):
            fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _moved(old: Path) -> Path:
    """The place of a file of ours that had a suffix once. It lies in the project, and `Path(".").rglob("*.db")` is to
    find the same files with bis as without. The old place, where it cannot be given the new name."""
    new = old.with_suffix("")
    if new.exists() or not old.exists():
        return new
    try:
        for helper in ("-wal", "-shm", ""):  # the file itself last: a rename that was broken off goes on
            with suppress(FileNotFoundError):
                Path(f"{old}{helper}").rename(f"{new}{helper}")
    except OSError:
        return old
    return new


def bring_up(home: Home, progress: Callable[[int, int], None] | None = None, *, recording: bool = False) -> str:
    """Take into the ledger what the store has and it has not, where it may be behind: it is gone, or it is kept on this
    machine because store and project are on a network file system, where other machines record, too. One on a server
    is shared: what a store has is added to it by `bis reindex` alone. A home that was made for a ledger that cannot be
    had is gone again.

    Returns what a person should be told, once: that the ledger is made elsewhere. Makes no ledger for a store without
    records, unless a run is about to be recorded. `progress` is told of records read and of all records.
    """
    try:
        return _brought_up(home, progress, recording)
    except KeepingError:
        with provisional(home):
            raise


def _brought_up(home: Home, progress: Callable[[int, int], None] | None, recording: bool) -> str:
    ledger, store = home.ledger, home.store
    if not isinstance(ledger, SqlLedger):
        return ""
    is_new = not ledger.database.there
    # A store elsewhere may hold the runs of other projects: `bis reindex` takes them when a person wants them.
    own = store.path.parent == ledger.database.folder
    behind = own and (is_new or ledger.database.relocated) and _is_behind(ledger, store)
    if behind:
        reindex(store, SqlLedger(ledger.database), progress)
    return ledger.database.remark if is_new and (behind or recording) else ""


def _is_behind(ledger: SqlLedger, store: LocalStore) -> bool:
    return any(store.packs.iterdir()) and not ledger.records().issuperset(store.list("record"))


def _make(folder: Path) -> tuple[bool, int]:
    """Whether it was not there, and a descriptor of it, locked."""
    try:
        is_new, hold = _enter(folder)
        (folder / "live").mkdir(exist_ok=True)
        if not (folder / ".gitignore").exists():
            (folder / ".gitignore").write_text(IGNORE)
    except OSError as error:
        raise KeepingError(
            f"{shown(folder)} cannot be written: {error.strerror}",
            because="A project's runs are recorded below its folder, so that one must be yours to write in.",
            hint=f"chmod u+rwx {shown(folder.parent)}, or copy the project to a place of your own",
            code=NOT_WRITABLE,
        ) from None
    return is_new, hold


def _enter(folder: Path) -> tuple[bool, int]:
    """The folder, made where there is none, and held: another command may be about to take it away."""
    while True:
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        hold = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(hold, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(hold), folder.stat()):
                return is_new, hold
        os.close(hold)


def _key(folder: Path, create: bool) -> bytes:
    file = folder / "key"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if not create:
            return b""
    # Two first runs at once: the key appears whole, and the one that comes second takes the key of the first.
    draft = folder / f"key.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
        out.write(os.urandom(32))
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_bytes()
