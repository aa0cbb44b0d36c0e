"""What the statements of the ledger are given to: SQLite's connection is one, and PostgreSQL's is made to look like it.

A statement has one spelling for both: `?` and `:name` stand for values, which are always bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]


class Cursor(Protocol):
    """The rows of one answer."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Any: ...


class Connection(Protocol):
    """One connection, used by one thread at a time."""

    def execute(self, statement: str, values: Any = ..., /) -> Cursor: ...

    def executemany(self, statement: str, values: Iterable[Any], /) -> Cursor: ...
