"""The ledger's SQLite file: opened when first asked, migrated by numbered steps, its troubles put in words.

Reading never makes anything: where there is no file, every question has an empty answer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bis.digest import digest_bytes, short
from bis.errors import KeepingError
from bis.ledger.connection import Connection
from bis.ledger.database import DAMAGED_LEDGER, PATIENCE, is_old, migrations, refused
from bis.store.trouble import BUSY, DISK_ERROR, DISK_FULL, NOT_WRITABLE, shown, trouble
from bis.store.volume import cache_folder, network_file_system

_FULL = {sqlite3.SQLITE_FULL}
_NOT_WRITTEN = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteDatabase:
    """The Database protocol over one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.asked = path
        self.path: Path = local_path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._durable = True

    @property
    def place(self) -> str:
        return shown(self.asked)

    @property
    def folder(self) -> Path | None:
        return self.asked.parent

    @property
    def size(self) -> int:
        beside = self.path.parent.iterdir() if self.path.parent.is_dir() else ()
        return sum(path.stat().st_size for path in beside if path.name.startswith(self.path.name))

    @property
    def relocated(self) -> bool:
        """True: the place asked for is on a network file system, and the file is kept in the user's cache folder."""
        return self.path != self.asked

    @property
    def remark(self) -> str:
        """What a person should be told about the place; empty when it is the one that was asked for."""
        if not self.relocated:
            return ""
        kind = network_file_system(self.asked.parent)
        return (
            f"{shown(self.asked)} would be on a network file system ({kind}), where no database is safe: this machine"
            f" keeps its ledger in {shown(self.path)}, made from the records in the store"
        )

    @property
    def there(self) -> bool:
        """Whether there is a file yet."""
        with self._words():
            return self._connection is not None or self.path.exists()

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._words():
            connection = self._open(create=False)
            return connection.execute(statement, values).fetchall() if connection else []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._lock, self._words():
            connection = self._open(create=False)
            assert connection
            yield connection

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        with self._lock, self._words():
            connection = self._open(create=True)
            assert connection
            if durable != self._durable:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def state(self) -> str:
        found = self.ask("PRAGMA data_version")
        return str(found[0][0]) if found else ""

    def another(self) -> SqliteDatabase:
        return SqliteDatabase(self.asked)

    def told(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error):
            return self._said(error)
        return refused(error) or error

    def interrupt(self) -> None:
        if connection := self._connection:
            connection.interrupt()

    def close(self) -> None:
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if self._connection is None and (create or self.there):
            if create:
                self._make_folder()
            connection = _connect(self.path)
            try:
                self._migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._durable = connection, True
        return self._connection

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._forbidden(os.strerror(error.errno or 0)) from error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not is_old(version, shown(self.path)):
            return
        _write_ahead(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        """What SQLite says, as an error that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._said(error) from error
        except OSError as error:
            raise trouble(error, "open the ledger", self.path) from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise refused(error) or error from None

    def _said(self, error: sqlite3.Error) -> KeepingError:
        whole = getattr(error, "sqlite_errorcode", 0)
        code = whole & 0xFF
        file = shown(self.path)
        if code in _FULL or (whole in _NOT_WRITTEN and _is_limited(self.path)):
            return KeepingError(
                f"no room to write the ledger {file}: {error}",
                because="Nothing half-written is kept.",
                hint="free some room, then repeat the command",
                code=DISK_FULL,
            )
        if code in _BUSY:
            return KeepingError(
                f"another process has been writing to the ledger {file} for more than {PATIENCE:.0f} s",
                hint=f"fuser {file} names it; then repeat the command",
                code=BUSY,
            )
        if code in _FORBIDDEN and self.path.is_dir():
            return KeepingError(f"the ledger {file} is a folder", hint=f"BIS_LEDGER={file}/ledger.db", code=DISK_ERROR)
        if code in _FORBIDDEN:
            return self._forbidden(str(error))
        if code in _BROKEN:
            return KeepingError(
                f"the ledger {file} is damaged: {error}",
                because="The sealed records in the store are not concerned.",
                hint=f"mv {file} {file}.damaged && bis reindex",
                code=DAMAGED_LEDGER,
            )
        return KeepingError(f"the ledger {file} cannot be used: {error}", hint="bis verify", code=DISK_ERROR)

    def _forbidden(self, said: str) -> KeepingError:
        return KeepingError(
            f"the ledger {shown(self.path)} cannot be written to: {said}",
            because="The file or its folder may not be written to, or is mounted read-only.",
            hint="chmod u+rwX on it, or name another place: BIS_LEDGER=/some/folder/ledger.db",
            code=NOT_WRITABLE,
        )


def local_path(path: Path) -> Path:
    """Where the file is kept: `path`, or a place in the user's cache folder when `path` is on a network file system,
    on which SQLite's locks cannot be relied upon."""
    if not network_file_system(path.parent):
        return path
    name = short(digest_bytes(os.fsencode(path.absolute())), 32)
    return cache_folder() / "ledgers" / f"{name}.db"


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database up to the newest version, inside the caller's transaction. Two processes may come here at once:
    the second finds nothing left to do."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, step in migrations(version):
        step(connection, str)
        connection.execute(f"PRAGMA user_version = {number}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have changes written to a journal first. SQLite itself does not wait here for others that do the same."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _connect(path: Path) -> sqlite3.Connection:
    """Writable where possible; else readable, also where SQLite may not put its helper files beside it."""
    place = path.absolute().as_uri()
    modes = [place] if os.access(path.parent, os.W_OK) else [f"{place}?mode=ro", f"{place}?immutable=1"]
    for number, mode in enumerate(modes, start=1):
        connection = sqlite3.connect(mode, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA case_sensitive_like = ON")
            connection.execute("SELECT count(*) FROM sqlite_schema")
            return connection
        except sqlite3.OperationalError:
            connection.close()
            if number == len(modes):
                raise
    raise AssertionError


def _is_limited(path: Path) -> bool:
    """Whether a write may have failed because files must not grow (a full disk SQLite knows by itself)."""
    try:
        limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
        return limited or os.statvfs(path.parent).f_bavail == 0
    except OSError:
        return False
