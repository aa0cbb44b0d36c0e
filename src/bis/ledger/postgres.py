"""The ledger in a database of PostgreSQL: psycopg made to look like SQLite's connection, its troubles put in words.

Writers take their turn by one lock of the ledger, as they do with SQLite: what a change has read is still so when it
writes. A connection that was lost is made again: a question is asked once more, a change never.
"""

from __future__ import annotations

import contextlib
import functools
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from bis.errors import BisError, KeepingError, UsageError, explains
from bis.ledger import database
from bis.ledger.connection import Connection
from bis.ledger.database import NO_SERVER, SCHEMA, is_old, migrations, refused, statements
from bis.ledger.dialect import for_postgres, numbered, spelled
from bis.store.trouble import BUSY, DISK_ERROR, DISK_FULL, NOT_WRITABLE

if TYPE_CHECKING:
    import psycopg
    from psycopg.adapt import AdaptersMap

T = TypeVar("T")

UNKNOWN = explains(
    "B072", "The connection to the ledger was lost while a change was committed. Look whether it is there."
)

OURS: Final = 0x626973
"""The first half of the names of our advisory locks."""
SCHEMA_NAME: Final = "bis"
CHOSEN: Final = ("client", "user", "database", "database user")
"""Where a search path comes from that somebody chose for this ledger."""
REACH: Final = 10
"""Seconds to wait for the server's answer when connecting, where neither URL nor PGCONNECT_TIMEOUT say else."""
AGAIN: Final = 0.2
ALIVE: Final = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
SESSION: Final = """
    SET lock_timeout = {patience}; SET jit = off; SET default_transaction_isolation = 'read committed';
    SET standard_conforming_strings = on; SET search_path = {schema};
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
AT_ONCE: Final = (256, 64, 16, 4, 1)
"""Rows in one statement: few sizes, for the server to remember how each is carried out."""
TEXT: Final = 25
"""PostgreSQL's number of the type."""
_ONE_ROW: Final = re.compile(r"(INSERT INTO [^?']* VALUES )(\((?:\?, )*\?\))([^?]*)\Z")
STARTING: Final = ("starting up", "shutting down", "recovery mode", "not yet accepting")


class PostgresDatabase:
    """The Database protocol over a schema of a PostgreSQL database."""

    folder: Path | None = None
    path: Path | None = None
    relocated = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._facts = _read(url)
        self._lock = threading.RLock()
        self._link: _Link | None = None
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

    def _asked(self, question: Callable[[_Link], T], *, again: bool = True) -> T:
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

    def _begin(self, durable: bool) -> _Link:
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

    def _commit(self, link: _Link) -> None:
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

    def _open(self, *, create: bool, waiting: bool = False) -> _Link | None:
        """The connection; None where there is no ledger and none is to be made. `waiting`: the server was there just
        now, and may be starting again."""
        if self._link and self._link.lost and not self._in_writing:
            self._drop()
            waiting = True
        if self._link is None:
            self._link = _Link(self._connected(waiting), self._facts)
        if not self._there:
            self._there = self._brought_up(self._link, create)
        return self._link if self._there else None

    def _drop(self) -> None:
        if self._link:
            self._link.close()
        self._link = None

    def _connected(self, waiting: bool) -> psycopg.Connection[Any]:
        import psycopg

        until = time.monotonic() + database.PATIENCE
        while True:
            try:
                return psycopg.connect(**self._facts, autocommit=True, context=_adapters())
            except psycopg.OperationalError as error:
                again = any(word in str(error) for word in STARTING)
                if time.monotonic() > until or not (waiting or again):
                    raise self._unreachable(error) from error
                time.sleep(AGAIN)

    def _brought_up(self, link: _Link, create: bool) -> bool:
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

    def _make(self, link: _Link) -> None:
        if not link.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (link.schema,)).fetchall():
            link.execute(f"CREATE SCHEMA {_quoted(link.schema)}")
        for statement in statements(SCHEMA.read_text("utf-8")):
            link.execute(for_postgres(statement))
        link.execute("CREATE TABLE ledger_version (version BIGINT NOT NULL)")
        link.execute("INSERT INTO ledger_version (version) VALUES (?)", (database.VERSION,))

    def _migrate(self, link: _Link) -> None:
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
        state, text = error.sqlstate or "", _line(error)
        if state == "55P03":
            return KeepingError(
                f"another process has been writing to the ledger {self.place} for more than {database.PATIENCE:.0f} s",
                hint="SELECT * FROM pg_stat_activity names it (psql); then repeat the command",
                code=BUSY,
            )
        if state in ("42501", "25006"):
            return self._forbidden(text)
        if state in ("53100", "53200"):
            return KeepingError(
                f"no room to write the ledger {self.place}: {text}",
                because="Nothing half-written is kept.",
                hint="free some room on the server, then repeat the command",
                code=DISK_FULL,
            )
        if state in ("54000", "22003"):
            return UsageError(
                f"the ledger {self.place} cannot hold this: {text}", hint="choose a shorter or smaller value"
            )
        if state in ("42P01", "42703", "3F000"):
            return KeepingError(
                f"tables of the ledger {self.place} are missing: {text}",
                because="Somebody removed or changed them. The sealed records in the store are not concerned.",
                hint="bring the database back from a copy (pg_restore), or name another one and `bis reindex`",
                code=DISK_ERROR,
            )
        if state.startswith(("08", "57P")) or (not state and self._link is not None and self._link.lost):
            return KeepingError(
                f"the connection to the ledger {self.place} was lost: {text}",
                because="Nothing of the change that was under way is kept.",
                hint="repeat the command",
                code=NO_SERVER,
            )
        return KeepingError(f"the ledger {self.place} cannot be used: {text}", hint="bis verify", code=DISK_ERROR)

    def _schema(self) -> str:
        return self._link.schema if self._link else SCHEMA_NAME

    def _forbidden(self, said: str) -> KeepingError:
        user = self._link.user if self._link else "USER"
        name = self._link.name if self._link else "NAME"
        if self._there:
            because = "The database is read-only, or this user may not write to its tables."
            hint = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {self._schema()} TO {user}"
        else:
            because = "The user has no right to create a schema and tables there."
            hint = f"GRANT CREATE ON DATABASE {name} TO {user}"
        return KeepingError(
            f"the ledger {self.place} cannot be written to: {said}", because=because, hint=hint, code=NOT_WRITABLE
        )

    def _unreachable(self, error: psycopg.OperationalError) -> KeepingError:
        text = _line(error)
        if secret := self._facts.get("password"):
            text = text.replace(secret, "…")
        because, hint = "", f"psql {self.place}"
        if "password" in text or "authentication" in text or "pg_hba" in text:
            because = "The server does not let this user in."
            hint = "PGPASSWORD, ~/.pgpass, or the password in the URL: postgresql://USER:PASSWORD@HOST/NAME"
        elif "database" in text and "does not exist" in text:
            because, hint = "The server has no such database.", f"createdb {self._facts.get('dbname', 'NAME')}"
        elif "slots" in text or "too many" in text:
            because, hint = "The server has no connection left.", "repeat the command later, or raise max_connections"
        elif (
            "refused" in text or "No such file" in text or "timeout" in text or "resolve" in text or "translate" in text
        ):
            because = "No server answers there."
        return KeepingError(
            f"the ledger {self.place} cannot be opened: {text}", because=because, hint=hint, code=NO_SERVER
        )


class _Link:
    """A connection of psycopg that takes the statements of the ledger."""

    def __init__(self, raw: psycopg.Connection[Any], facts: Mapping[str, Any]) -> None:
        self._raw = raw
        self._named = raw.cursor(binary=True)
        self._cursor = _driver().RawCursor(raw)
        self._cursor.format = self._named.format
        raw.prepared_max = 1000
        asked = (
            "SELECT current_setting('server_encoding'), current_setting('synchronous_commit'), current_user,"
            " current_database(), setting, source FROM pg_settings WHERE name = 'search_path'"
        )
        try:
            ((encoding, commit, self.user, self.name, path, source),) = self.execute(asked).fetchall()
            if encoding != "UTF8":
                raise KeepingError(
                    f"the database {shown_url(facts)} has the encoding {encoding}, and texts of the ledger are Unicode",
                    hint="createdb --encoding UTF8 --template template0 NAME",
                    code=DISK_ERROR,
                )
            self.schema = _first_of(path) if source in CHOSEN else SCHEMA_NAME
            self._careless = commit == "off"
            key = zlib.crc32(self.schema.encode()) - (1 << 31)
            self._turn = f"BEGIN; SELECT pg_advisory_xact_lock({OURS}, {key})"
            raw.execute(SESSION.format(patience=int(database.PATIENCE * 1000), schema=_quoted(self.schema)))
        except BaseException:
            raw.close()
            raise

    def execute(self, statement: str, values: Any = (), /) -> _Rows:
        cursor: psycopg.Cursor[Any] = self._cursor
        if isinstance(values, Mapping):
            cursor = self._named
            cursor.execute(spelled(statement), values)
        else:
            cursor.execute(numbered(statement), values)
        result = cursor.pgresult
        if cursor.description is None or result is None:
            return _Rows([], cursor.rowcount)
        rows = cursor.fetchall()
        for place in range(result.nfields) if rows else ():
            if result.ftype(place) == TEXT and "\1" in "".join([row[place] or "" for row in rows]):
                rows = [(*row[:place], _as_written(row[place]), *row[place + 1 :]) for row in rows]
        return _Rows(rows, cursor.rowcount)

    def executemany(self, statement: str, values: Iterable[Any], /) -> _Rows:
        """Several rows that are inserted are one statement, or few: none of them is in the way of another."""
        rows, count, place = list(values), 0, 0
        while place < len(rows):
            several = next(size for size in AT_ONCE if size <= len(rows) - place)
            some = rows[place : place + several]
            if several > 1 and (whole := _for_several(statement, several)):
                count += self.execute(whole, [value for row in some for value in row]).rowcount
            else:
                count += sum(self.execute(statement, row).rowcount for row in some)
            place += several
        return _Rows([], count)

    @property
    def lost(self) -> bool:
        return self._raw.closed

    def version(self) -> int | None:
        """Of the ledger; None where there is none."""
        there = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'ledger_version'"
        if not self.execute(there, (self.schema,)).fetchall():
            return None
        return next(
            (int(version) for (version,) in self.execute("SELECT version FROM ledger_version").fetchall()), None
        )

    def begin(self, durable: bool) -> None:
        """A transaction that has the ledger's lock. What is not durable is as safe as the server, the role or the URL
        say (synchronous_commit)."""
        self._raw.execute(self._turn)
        if durable and self._careless:
            self._raw.execute("SET LOCAL synchronous_commit = on")

    def roll_back(self) -> None:
        import psycopg

        with contextlib.suppress(psycopg.Error):
            self._raw.execute("ROLLBACK")

    def interrupt(self) -> None:
        self._raw.cancel_safe(timeout=REACH)

    def close(self) -> None:
        self._raw.close()


class _Rows:
    """The rows of one answer, and how many rows there were or were changed."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


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


@functools.lru_cache(1024)
def _for_several(statement: str, count: int) -> str:
    """The statement for so many rows at once; empty where it is none that inserts rows of values."""
    found = _ONE_ROW.match(statement)
    return f"{found[1]}{', '.join([found[2]] * count)}{found[3]}" if found else ""


def _as_written(text: str | None) -> str | None:
    """A text without the signs that stand for NUL."""
    return text.replace("\1\1", "\0").replace("\1\2", "\1") if text and "\1" in text else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_of(path: str) -> str:
    """The schema that a search path names first; that of the user is no place for what many share."""
    names = (name.strip().strip('"') for name in path.split(","))
    return next((name for name in names if name and name != "$user"), SCHEMA_NAME)


def _line(error: Exception) -> str:
    """What the server said, on one line, without the statement."""
    return " ".join(str(error).strip().partition("\nLINE ")[0].split())


def _read(url: str) -> dict[str, Any]:
    """The URL as psycopg's words. Raises UsageError, without a word of the URL that may be a password."""
    psycopg = _driver()
    facts: dict[str, Any] = {}
    with contextlib.suppress(psycopg.ProgrammingError):
        facts = psycopg.conninfo.conninfo_to_dict(url)
    # A `/` in a password makes the rest of it a name, which would be shown.
    plain = not any("@" in str(facts.get(name, "")) for name in ("host", "port", "dbname"))
    if not (facts and plain and str(facts.get("port", "0")).replace(",", "").isdecimal()):
        raise UsageError(
            "the URL of the ledger cannot be read",
            because="In a password and a name, @ : / ? # % are written as %40 %3A %2F %3F %23 %25.",
            hint="postgresql://USER@HOST:5432/DATABASE",
        )
    import os

    if "PGCONNECT_TIMEOUT" not in os.environ:
        facts.setdefault("connect_timeout", REACH)
    for name, value in {**ALIVE, "application_name": "bis", "client_encoding": "UTF8"}.items():
        facts.setdefault(name, value)
    return facts


def shown_url(facts: Mapping[str, Any]) -> str:
    """A URL for people: who, where and which database, and nothing secret."""
    user = f"{quote(str(facts['user']), safe='')}@" if facts.get("user") else ""
    host, port = str(facts.get("host", "")), str(facts.get("port", ""))
    asked = [f"{name}={facts[name]}" for name in ("service",) if facts.get(name)]
    if "/" in host:
        asked, host, port = [f"host={host}", *([f"port={port}"] if port else []), *asked], "", ""
    else:
        ports = port.split(",")
        hosts = host.split(",")
        host = ",".join(
            f"{name}:{ports[min(number, len(ports) - 1)]}" if port else name for number, name in enumerate(hosts)
        )
    name = quote(str(facts.get("dbname", "")), safe="")
    return f"postgresql://{user}{host}/{name}{'?' if asked else ''}{'&'.join(asked)}"


def _driver() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise KeepingError(
            "a ledger on PostgreSQL needs the package psycopg, which is not installed beside bis",
            because=str(error),
            hint="uv tool install 'bis[postgres]', or pip install 'psycopg[binary]'",
            code=NO_SERVER,
        ) from None
    return psycopg


@functools.cache
def _adapters() -> AdaptersMap:
    """Values as SQLite takes and gives them: whole numbers of 64 bits, NaN as NULL, any text, sums as numbers.

    PostgreSQL takes no NUL in a text, and a name of bytes that are no UTF-8 is spelled with it (`digest.spell`):
    NUL is kept as \\x01\\x01 and \\x01 as \\x01\\x02, which sorts as before.
    """
    from psycopg import adapters
    from psycopg.adapt import AdaptersMap, Dumper
    from psycopg.pq import Format
    from psycopg.types.numeric import NumericBinaryLoader

    whole, real = struct.Struct(">q").pack, struct.Struct(">d").pack

    class Text(Dumper):
        def dump(self, value: str) -> bytes:
            if "\0" in value or "\1" in value:
                value = value.replace("\1", "\1\2").replace("\0", "\1\1")
            return value.encode()

    class Real(Dumper):
        format, oid = Format.BINARY, adapters.types["float8"].oid

        def dump(self, value: float) -> bytes | None:
            return None if value != value else real(value)

    class Whole(Dumper):
        format, oid = Format.BINARY, adapters.types["int8"].oid

        def dump(self, value: int) -> bytes:
            try:
                return whole(value)
            except struct.error:
                raise OverflowError("int too large to convert to BIGINT") from None

    class Sum(NumericBinaryLoader):
        def load(self, data: Any) -> Any:
            value = super().load(data)
            return int(value) if value == value.to_integral_value() else float(value)

    kept = AdaptersMap(adapters)
    for kind, dumper in ((str, Text), (float, Real), (int, Whole), (bool, Whole)):
        kept.register_dumper(kind, dumper)
    kept.register_loader("numeric", Sum)
    return kept
