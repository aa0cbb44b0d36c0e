"""What keeps the tables of a ledger: a SQLite file or a database of PostgreSQL, asked and changed in the same words.

Reading never makes anything: where there is no ledger yet, every question has an empty answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from bis.errors import BisError, KeepingError, UsageError, explains
from bis.ledger.connection import Connection
from bis.ledger.made import fill_made
from bis.ledger.used import fill_used
from bis.store.trouble import NEWER

PATIENCE: Final = 30.0
"""Seconds to wait for another process that writes."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"
SCHEMA: Final = Path(__file__).parent / "schema.sql"
VERSION: Final = 9
"""The newest migration."""
DAMAGED_LEDGER = explains("B060", "The ledger's file is damaged. `bis reindex` makes it anew from the sealed records.")
NO_SERVER = explains("B071", "The database server of the ledger cannot be reached, or does not let this user in.")


FILLS: Final[Mapping[int, Callable[[Connection], None]]] = {4: fill_used, 6: fill_made}
"""What follows a migration, where SQL alone cannot say it."""


class Database(Protocol):
    """For several threads and processes: one connection, opened when first asked, with a lock around it. What goes
    wrong is a BisError that says what to do."""

    @property
    def place(self) -> str:
        """As people are shown it: never with a password."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder in which the ledger was asked for; None where it is on a server."""
        ...

    @property
    def path(self) -> Path | None:
        """Of the file on this machine; None where it is on a server."""
        ...

    @property
    def size(self) -> int:
        """Bytes on disk."""
        ...

    @property
    def relocated(self) -> bool:
        """True: `folder` is on a network file system, and the file is kept in the user's cache folder."""
        ...

    @property
    def remark(self) -> str:
        """What a person should be told about the place, once, when a ledger is made there; often nothing."""
        ...

    @property
    def there(self) -> bool:
        """Whether there is a ledger yet."""
        ...

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of one answer; none where there is no ledger yet."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """For several questions; the ledger must be there."""
        ...

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """A transaction. One process writes at a time: it waits for its turn, and what it reads is as it stays until
        it ends. Committed, it survives a kill of any process and, when it is `durable`, power loss."""
        ...

    def state(self) -> str:
        """Another one as soon as somebody else has committed a change since it was asked for last, and seldom without
        that. Empty where there is no ledger yet."""
        ...

    def another(self) -> Database:
        """The same ledger on a connection of its own, for questions that need not wait for those of this one."""
        ...

    def told(self, error: Exception) -> Exception:
        """An error of the database itself as the BisError that says what to do; any other as it is. For who catches
        errors within `reading` or `writing`, which tell them so when they leave."""
        ...

    def interrupt(self) -> None:
        """From another thread: end the statement that is under way, if one is, with an error."""
        ...

    def close(self) -> None: ...


def is_old(version: int, place: str) -> bool:
    """Whether migrations are left to do. Raises KeepingError for a ledger of a newer bis."""
    if version > VERSION:
        raise KeepingError(
            f"the ledger {place} has schema version {version}; this bis knows up to {VERSION}",
            because="It was written by a newer bis. Nothing in it was touched.",
            hint="uv tool upgrade bis",
            code=NEWER,
        )
    return version < VERSION


def migrations(since: int) -> Iterator[tuple[int, Callable[[Connection, Callable[[str], str]], None]]]:
    """The migrations that come after a version: each is given the connection, and what turns a statement into the words
    of its database."""
    for number in range(since + 1, VERSION + 1):
        yield number, functools.partial(_migrate, number)


def _migrate(number: int, connection: Connection, translated: Callable[[str], str]) -> None:
    for statement in statements((MIGRATIONS / f"{number:04}.sql").read_text("utf-8")):
        connection.execute(translated(statement))
    if fill := FILLS.get(number):
        fill(connection)


def statements(text: str) -> list[str]:
    """The statements of an SQL file, comments removed."""
    lines = (line.partition("--")[0].rstrip() for line in text.splitlines())
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def refused(error: Exception) -> BisError | None:
    """What no ledger can hold, whatever lies behind it."""
    if isinstance(error, OverflowError) and "too large" in str(error):
        return UsageError(f"a whole number has more than 64 bits: {error}", hint="log it as text, or as a float")
    if isinstance(error, UnicodeEncodeError):
        return UsageError(
            f"a text is no Unicode: {error.reason} at character {error.start + 1}", hint="mend its source"
        )
    return None
