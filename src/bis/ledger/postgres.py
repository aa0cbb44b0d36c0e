"""The ledger in a database of PostgreSQL.

Writers take their turn by one lock of the ledger, as they do with SQLite: what a change has read is still so when it
writes. A connection that was lost is made again: a question is asked once more, a change never.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bis.errors import BisError, KeepingError, explains
from bis.ledger import database
from bis.ledger.connection import Connection
from bis.ledger.database import SCHEMA, is_old, migrations, refused, statements
from bis.ledger.dialect import for_postgres
from bis.ledger.postgres_link import Link, connect, quoted
from bis.ledger.postgres_trouble import Standing, said
from bis.ledger.postgres_url import read_url, shown_url

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

UNKNOWN = explains(
    "B072", "The connection to the ledger was lost while a change was committed. Look whether it is there."
)


class PostgresDatabase:
    """The Database protocol over a schema of a PostgreSQL database."""

    folder: Path | None = None
    path: Path | None = None
    relocated = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._facts = read_url(url)
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._there = False
        self._in_writing = False

    @property
    def place(self) -> str:
        return shown_url(self._facts)

    @property
    def remark(self) -> str:
        return (
            f"{self.place} is a new ledger. Runs that were recorded before are added from the store of their project"
            " with `bis reindex`"
        )

    @property
    def there(self) -> bool:
        with self._lock, self._words():
            return self._there or self._open(create=False) is not None

    @property
    def size(self) -> int:
        tables = "SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        found = self.ask(f"SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM ({tables}) AS tables")
        return int(found[0][0]) if found else 0

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._words():
            if self._open(create=False) is None:
                return []
            return self._asked(lambda link: link.execute(statement, values).fetchall())

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._lock, self._words():
            self._open(create=False)
            yield _Questions(self)

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        with self._lock, self._words():
            assert not self._in_writing, "a change within a change"
            link = self._begin(durable)
            self._in_writing = True
            try:
                yield link
                self._commit(link)
            except BaseException:
                link.roll_back()
                raise
            finally:
                self._in_writing = False

    def state(self) -> str:
        found = self.ask("SELECT CAST(pg_current_snapshot() AS text)")
        return str(found[0][0]) if found else ""

    def another(self) -> PostgresDatabase:
        return PostgresDatabase(self._url)

    def told(self, error: Exception) -> Exception:
        import psycopg

        if isinstance(error, psycopg.Error):
            return self._said(error)
        return refused(error) or error

    def interrupt(self) -> None:
        if link := self._link:
            link.interrupt()

    def close(self) -> None:
        with self._lock:
            self._drop()

    # connections

    def _asked(self, question: Callable[[Link], T], *, again: bool = True) -> T:
        """The answer to a question; asked `again`, once, when the connection turns out to be lost."""
        import psycopg

        link = self._link
        assert link
        try:
            return question(link)
        except psycopg.OperationalError:
            if self._in_writing or not link.lost or not again:
                raise
        self._drop()
        link = self._open(create=False, waiting=True)
        assert link
        return question(link)

    def _begin(self, durable: bool) -> Link:
        """A transaction that has its turn. Where the connection was lost before it, on a new one."""
        import psycopg

        link = self._open(create=True)
        assert link
        try:
            link.begin(durable)
        except psycopg.OperationalError:
            if not link.lost:
                link.roll_back()
                raise
            self._drop()
            link = self._open(create=True, waiting=True)
            assert link
            link.begin(durable)
        return link

    def _commit(self, link: Link) -> None:
        import psycopg

        try:
            link.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not link.lost:
                raise
            raise KeepingError(
                f"the connection to the ledger {self.place} was lost while a change was committed",
                because="It is not known whether the change was kept: the server had not yet said so.",
                hint="bis log  shows what the ledger has; then repeat the command if it is missing",
                code=UNKNOWN,
            ) from error

    def _open(self, *, create: bool, waiting: bool = False) -> Link | None:
        """The connection; None where there is no ledger and none is to be made. `waiting`: the server was there just
        now, and may be starting again."""
        if self._link and self._link.lost and not self._in_writing:
            self._drop()
            waiting = True
        if self._link is None:
            self._link = connect(self._facts, waiting)
        if not self._there:
            self._there = self._brought_up(self._link, create)
        return self._link if self._there else None

    def _drop(self) -> None:
        if self._link:
            self._link.close()
        self._link = None

    def _brought_up(self, link: Link, create: bool) -> bool:
        """Whether there is a ledger, now of the newest version. Two processes may come here at once: the second finds
        nothing left to do."""
        version = link.version()
        if version is None and not create:
            return False
        if version is None or is_old(version, self.place):
            link.begin(durable=True)
            try:
                self._make(link) if link.version() is None else self._migrate(link)
                link.execute("COMMIT")
            except BaseException:
                link.roll_back()
                raise
        return True

    def _make(self, link: Link) -> None:
        if not link.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (link.schema,)).fetchall():
            link.execute(f"CREATE SCHEMA {quoted(link.schema)}")
        for statement in statements(SCHEMA.read_text("utf-8")):
            link.execute(for_postgres(statement))
        link.execute("CREATE TABLE ledger_version (version BIGINT NOT NULL)")
        link.execute("INSERT INTO ledger_version (version) VALUES (?)", (database.VERSION,))

    def _migrate(self, link: Link) -> None:
        for number, step in migrations(link.version() or 0):
            step(link, for_postgres)
            link.execute("UPDATE ledger_version SET version = ?", (number,))

    # words

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        """What PostgreSQL says, as an error that says what to do."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise self._said(error) from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise refused(error) or error from None

    def _said(self, error: psycopg.Error) -> BisError:
        link = self._link
        known = (link.lost, link.user, link.name, link.schema) if link else ()
        return said(error, self.place, Standing(self._there, *known))


class _Questions:
    """The connection as `reading` gives it: a question is asked again when the server was restarted meanwhile, unless
    several have begun one transaction, to see the ledger at one moment."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._together = False

    def execute(self, statement: str, values: Any = (), /) -> Any:
        ends = statement in ("COMMIT", "ROLLBACK")
        found = self._database._asked(lambda link: link.execute(statement, values), again=ends or not self._together)
        self._together = statement.startswith("BEGIN") or (self._together and not ends)
        return found

    def executemany(self, statement: str, values: Iterable[Any], /) -> Any:
        raise NotImplementedError("questions change nothing")
