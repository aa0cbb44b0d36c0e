"""A connection of psycopg made to look like SQLite's: statements, values and rows are those of the ledger."""

from __future__ import annotations

import contextlib
import functools
import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from bis.errors import KeepingError
from bis.ledger import database
from bis.ledger.dialect import numbered, spelled
from bis.ledger.postgres_trouble import unreachable
from bis.ledger.postgres_url import REACH, SCHEMA_NAME, driver, shown_url
from bis.store.trouble import DISK_ERROR

if TYPE_CHECKING:
    import psycopg
    from psycopg.adapt import AdaptersMap

OURS: Final = 0x626973
"""The first half of the names of our advisory locks."""
CHOSEN: Final = ("client", "user", "database", "database user")
"""Where a search path comes from that somebody chose for this ledger."""
SESSION: Final = """
    SET lock_timeout = {patience}; SET jit = off; SET default_transaction_isolation = 'read committed';
    SET standard_conforming_strings = on; SET search_path = {schema};
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
AGAIN: Final = 0.2
"""Seconds between two tries."""
STARTING: Final = ("starting up", "shutting down", "recovery mode", "not yet accepting")
AT_ONCE: Final = (256, 64, 16, 4, 1)
"""Rows in one statement: few sizes, for the server to remember how each is carried out."""
TEXT: Final = 25
"""PostgreSQL's number of the type."""
_ONE_ROW: Final = re.compile(r"(INSERT INTO [^?']* VALUES )(\((?:\?, )*\?\))([^?]*)\Z")


def connect(facts: Mapping[str, Any], waiting: bool) -> Link:
    """A new one. `waiting`: the server was there just now, and may be starting again. Raises KeepingError."""
    import psycopg

    until = time.monotonic() + database.PATIENCE
    while True:
        try:
            raw = psycopg.connect(**facts, autocommit=True, context=_adapters())
            break
        except psycopg.OperationalError as error:
            again = any(word in str(error) for word in STARTING)
            if time.monotonic() > until or not (waiting or again):
                raise unreachable(error, facts) from error
            time.sleep(AGAIN)
    return Link(raw, facts)


class Link:
    """A connection of psycopg that takes the statements of the ledger."""

    def __init__(self, raw: psycopg.Connection[Any], facts: Mapping[str, Any]) -> None:
        self._raw = raw
        self._named = raw.cursor(binary=True)
        self._cursor = driver().RawCursor(raw)
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
            raw.execute(SESSION.format(patience=int(database.PATIENCE * 1000), schema=quoted(self.schema)))
        except BaseException:
            raw.close()
            raise

    def execute(self, statement: str, values: Any = (), /) -> Rows:
        cursor: psycopg.Cursor[Any] = self._cursor
        if isinstance(values, Mapping):
            cursor = self._named
            cursor.execute(spelled(statement), values)
        else:
            cursor.execute(numbered(statement), values)
        result = cursor.pgresult
        if cursor.description is None or result is None:
            return Rows([], cursor.rowcount)
        rows = cursor.fetchall()
        for place in range(result.nfields) if rows else ():
            if result.ftype(place) == TEXT and "\1" in "".join([row[place] or "" for row in rows]):
                rows = [(*row[:place], _as_written(row[place]), *row[place + 1 :]) for row in rows]
        return Rows(rows, cursor.rowcount)

    def executemany(self, statement: str, values: Iterable[Any], /) -> Rows:
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
        return Rows([], count)

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


class Rows:
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


@functools.lru_cache(1024)
def _for_several(statement: str, count: int) -> str:
    """The statement for so many rows at once; empty where it is none that inserts rows of values."""
    found = _ONE_ROW.match(statement)
    return f"{found[1]}{', '.join([found[2]] * count)}{found[3]}" if found else ""


def _as_written(text: str | None) -> str | None:
    """A text without the signs that stand for NUL."""
    return text.replace("\1\1", "\0").replace("\1\2", "\1") if text and "\1" in text else text


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_of(path: str) -> str:
    """The schema that a search path names first; that of the user is no place for what many share."""
    names = (name.strip().strip('"') for name in path.split(","))
    return next((name for name in names if name and name != "$user"), SCHEMA_NAME)


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
