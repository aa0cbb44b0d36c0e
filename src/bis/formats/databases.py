"""Databases: SQLite, by schema and rows. The order of rows and the layout of pages are set aside.

An SQLite file is what MLflow keeps runs in: ids, the times of runs and artifact paths in it are masked as typed
spans; a metric, a param or a duration is not. Each id must have one partner over all tables: a metric that belongs to
another run is a difference, though both metrics are there.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from bis.formats import Context, Unreadable, clocks
from bis.formats.identities import Mention, unpaired
from bis.formats.masks import Masks
from bis.formats.tally import Tally, plural, shown
from bis.formats.values import POINTS, RUN_NAME, WORDS, Number, Walk, masked_kinds
from bis.nouns.verdict import Comparison

ROWS = 2_000_000
CELL = 64 << 20
"""Largest row, as a schema can make a value of any size out of nothing."""
SYSTEM = "name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
Row = tuple[Any, ...]


class _Line(NamedTuple):
    """A row. `key`: it with every masked span replaced by its type; `ids`: those among the spans."""

    key: str
    row: Row
    ids: tuple[str, ...]


Mentions = tuple[list[Mention], list[Mention]]


class Sqlite:
    name = "SQLite"

    def recognises(self, name: str, head: bytes) -> bool:
        return head.startswith(b"SQLite format 3\0")

    def compare(self, before: Path, after: Path, context: Context) -> Comparison:
        tally = Tally(context)
        tally.paired_ids = False
        with closing(_open(before)) as old, closing(_open(after)) as new:
            try:
                self._schemas(old, new, tally)
                tables = _tables(old)
                mentions: Mentions = ([], [])
                for table in tables if not tally.count else ():
                    _Rows(table, context, tally, mentions).compare(old, new)
                if not tally.count:
                    _ids(mentions, tally)
            except sqlite3.Error as error:
                raise Unreadable(f"a damaged database ({error})") from None
        return tally.settle(self.name, f"the same schema and rows in {plural(len(tables), 'table')}", "row")

    def _schemas(self, old: sqlite3.Connection, new: sqlite3.Connection, tally: Tally) -> None:
        for pragma in ("user_version", "application_id", "encoding"):
            one, other = (database.execute(f"PRAGMA {pragma}").fetchone()[0] for database in (old, new))
            if one != other:
                tally.differ(pragma, f"{one} -> {other}")
        query = f"SELECT type || ' ' || name, sql FROM sqlite_master WHERE {SYSTEM} ORDER BY 1"
        first, second = dict(old.execute(query)), dict(new.execute(query))
        for name in sorted(first.keys() | second.keys()):
            one, other = first.get(name, ""), second.get(name, "")
            if one == other:
                continue
            both = name in first and name in second
            if both and name.startswith("table ") and _clauses(one) == _clauses(other):
                tally.set_aside("order in the schema", name, "")
            else:
                tally.differ(f"schema {shown(name)}", f"{shown(one, 60)} -> {shown(other, 60)}")


class _Rows:
    """The rows of one table, on both sides."""

    def __init__(self, table: str, context: Context, tally: Tally, mentions: Mentions) -> None:
        self.table = table
        self.mentions = mentions
        self.context = context
        self.tally = tally
        self.masks = Masks(context)
        self.walk = Walk(context, tally)
        self.columns: list[str] = []

    def compare(self, old: sqlite3.Connection, new: sqlite3.Connection) -> None:
        columns, others = (_columns(database, self.table) for database in (old, new))
        if columns != others:  # a row is read by the places of its cells
            what = f"columns in another order: {', '.join(columns)} -> {', '.join(others)}"
            self.tally.differ(f"table {shown(self.table)}", shown(what))
            return
        olds, news = self._read(old, 0), self._read(new, 1)
        common = Counter(line.key for line in olds) & Counter(line.key for line in news)
        rest_old, same_old = _apart(olds, common)
        rest_new, same_new = _apart(news, common)
        for one, other in zip(same_old, same_new, strict=True):
            self._pair(one, other)
        for first, second in zip_longest(rest_old, rest_new):
            if first is None or second is None:
                row = shown((first or second).row, 80)
                self.tally.differ(
                    f"table {shown(self.table)}", f"only in the {'second' if first is None else 'first'}: {row}"
                )
            else:
                self._pair(first, second)

    def _pair(self, old: _Line, new: _Line) -> None:
        if (old.key, old.row) != (new.key, new.row):  # the rows alone would not tell 1 from 1.0
            self._cells(old.row, new.row)
        if old.ids or new.ids:
            for line, found in zip((old, new), self.mentions, strict=True):
                found.append(Mention((self.table, old.key), line.ids, (self.table, line.row)))

    def _read(self, database: sqlite3.Connection, side: int) -> list[_Line]:
        cursor = database.execute(_all_of(self.table))
        self.columns = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(ROWS)
        if cursor.fetchone() is not None:
            raise Unreadable(f"more than {ROWS:,} rows in {self.table}")
        return sorted((self._line(row, side) for row in rows), key=lambda line: line.key)

    def _line(self, row: Row, side: int) -> _Line:
        cells, ids = [], []
        for column, cell in zip(self.columns, row, strict=True):
            if isinstance(cell, str):
                text = "\0run name\0" if self._is_run_name(row, column, cell) else cell
                canonical, found = self.masks.split(text, side, masked_kinds(column))
                cells.append("s" + canonical)
                ids += found
            elif isinstance(cell, int) and self._is_time(column, cell, side):
                cells.append("\0time\0")
            elif isinstance(cell, float) and self._is_duration(row, column, cell, cell):
                cells.append("\0duration\0")
            else:
                cells.append(f"{type(cell).__name__} {cell!r}")
        return _Line("\x1f".join(cells), row, tuple(ids))

    def _is_time(self, column: str, cell: int, side: int) -> bool:
        return bool(_words(column) & POINTS) and self.masks.plausible(str(cell), "epoch", side)

    def _is_duration(self, row: Row, column: str, old: float, new: float) -> bool:
        """Whether a value is a metric that the name beside it calls a duration: MLflow logs `mean_fit_time`."""
        if column != "value" or "key" not in self.columns:
            return False
        name = str(row[self.columns.index("key")])
        return clocks.measured(name) and clocks.lasted(name, repr(old), repr(new), self.context)

    def _is_run_name(self, row: Row, column: str, cell: str) -> bool:
        named = (self.table, column) == ("runs", "name") or (column == "value" and "mlflow.runName" in row)
        return named and RUN_NAME.fullmatch(cell) is not None

    def _cells(self, old: Row, new: Row) -> None:
        where = f"table {shown(self.table)}"
        for column, one, other in zip(self.columns, old, new, strict=True):
            if one == other and type(one) is type(other):
                continue
            if isinstance(one, str) and isinstance(other, str):
                if self._is_run_name(old, column, one) and self._is_run_name(new, column, other):
                    self.tally.set_aside("run name", one, other)
                else:
                    self.walk.compare_leaf(one, other, where, column)
            elif isinstance(one, float) and isinstance(other, float) and self._is_duration(old, column, one, other):
                self.tally.set_aside("duration", str(one), str(other))
            elif isinstance(one, (int, float)) and isinstance(other, (int, float)):
                self.walk.compare_leaf(Number(one), Number(other), where, column)
            else:
                self.tally.differ(f"{where}.{column}", f"{shown(one)} -> {shown(other)}")


def _apart(lines: list[_Line], common: Counter[str]) -> tuple[list[_Line], list[_Line]]:
    """The rows that have no partner, and those that have one."""
    left = Counter(common)
    rest: list[_Line] = []
    same: list[_Line] = []
    for line in lines:
        (same if left[line.key] > 0 else rest).append(line)
        left[line.key] -= 1
    return rest, same


def _ids(mentions: Mentions, tally: Tally) -> None:
    """Two databases whose tables hold the same rows, each by itself: whether their ids connect the same ones."""
    found = unpaired(*mentions)
    if found is not None and found.mention is not None:
        table, row = found.mention.row
        tally.differ(f"table {shown(table)}", f"the same rows, but another id connects them: {shown(row, 80)}")
    elif found is not None:
        tally.differ("", "the same rows, but so many alike that their ids could not be paired")


def _open(path: Path) -> sqlite3.Connection:
    """The database, opened so that nothing is written beside it and nothing of its schema is run."""
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    database.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    database.execute("PRAGMA trusted_schema = OFF")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CELL)
    return database


def _tables(database: sqlite3.Connection) -> list[str]:
    query = f"""SELECT name, sql FROM sqlite_master
        WHERE type = 'table' AND ({SYSTEM} OR name = 'sqlite_sequence') ORDER BY name"""
    return [name for name, sql in database.execute(query) if not re.match(r"(?i)create\s+virtual", sql or "")]


def _all_of(table: str) -> str:
    name = table.replace('"', '""')
    return f'SELECT * FROM "{name}"'


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [column[0] for column in database.execute(f"{_all_of(table)} LIMIT 0").description]


def _clauses(sql: str) -> list[str]:
    """The lines of a statement that makes a table, in any order: SQLAlchemy writes its constraints in the order of a
    set."""
    return sorted(line.strip().rstrip(",") for line in sql.splitlines())


def _words(column: str) -> set[str]:
    return {word.lower() for word in WORDS.findall(column)}
