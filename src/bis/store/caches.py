"""SQLite databases that can be made again from something else: whatever goes wrong with their files costs time only."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import NamedTuple


class Layout(NamedTuple):
    """What is in the file. Another version: the tables are made anew, empty."""

    version: int
    schema: str
    """Statements that make the tables, each ended by a semicolon and a line feed."""
    patience: float
    """Seconds to wait for another process that writes."""
    wal: bool = True
    """Whether it is read while another process writes to it."""


def open_cache(path: Path, layout: Layout) -> sqlite3.Connection:
    """The database in the file `path`: made where there is none, begun anew where it is damaged, and in memory, for
    this process alone, where it cannot be opened. Written to without waiting for the disk."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(str(path), layout)
        except (sqlite3.OperationalError, OSError):
            break
        except sqlite3.DatabaseError:
            remove(path)
    return in_memory(layout)


def in_memory(layout: Layout) -> sqlite3.Connection:
    return _connect(":memory:", layout)


def remove(path: Path) -> None:
    """Take a database away, with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def _connect(path: str, layout: Layout) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=layout.patience, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        if connection.execute("PRAGMA user_version").fetchone() != (layout.version,):
            _make(connection, layout)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection, layout: Layout) -> None:
    """Several processes may come here at once: the first one makes the tables."""
    if layout.wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone() != (layout.version,):
        for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            connection.execute(f"DROP TABLE {table}")
        for statement in layout.schema.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {layout.version}")
    connection.execute("COMMIT")
