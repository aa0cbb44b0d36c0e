"""The ledger in SQLite: runs as they begin and are sealed, verdicts, and how to find them again."""

from __future__ import annotations

import math
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bis.digest import Digest, canonical, digest_value, readable, spell
from bis.errors import Damaged, NotFound, UsageError
from bis.ledger import PartRow, Row
from bis.ledger.database import Database
from bis.ledger.search import LARGEST, compile_filter, compile_order
from bis.nouns.reference import EXAMPLES, Reference
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict
from bis.store import Store
from bis.store.squeeze import pack, unpack

T = TypeVar("T")

SCRIPTS: Final = (".py", ".ipynb", ".sh", ".r", ".jl", ".pyz", ".pl", ".js")
AT_ONCE: Final = 500
DIGITS: Final = frozenset("0123456789abcdef")
SHORTEST: Final = 4
"""Digits of an id that are enough to mean it."""


def open_ledger(path: Path, create: bool = True) -> SqliteLedger:
    """The ledger in the file `path`. Nothing is opened before the first question, nothing made before the first run;
    with `create` false, never: writing to a ledger that is not there raises NotFound."""
    return SqliteLedger(Database(path), create)


def command_key(command: Sequence[str], folder: str) -> str:
    """Equal for two runs of the same script in the same folder, whatever values its options have."""
    words: list[str] = []
    option = ""
    for number, word in enumerate(command):
        if number == 0:
            words.append(word.rsplit("/", 1)[-1])
        elif word.startswith("-") and len(word) > 1:
            option = "" if "=" in word else word
        elif option and option != "-m" and not word.lower().endswith(SCRIPTS):
            option = ""
        elif "=" not in word:
            words.append(word)
            option = ""
    return digest_value([folder, *(spell(word) for word in words)])


def decode_run(data: bytes) -> Run:
    """A record read back from its canonical JSON. Raises Damaged for what is no record of a run."""
    return _decode(data, Run)


def decode_verdict(data: bytes) -> Verdict:
    return _decode(data, Verdict)


def reindex(store: Store, ledger: SqliteLedger, progress: Callable[[int, int], None] | None = None) -> int:
    """Take every sealed record of the store into the ledger; what it knows already stays. Returns how many records
    there were. A record that is damaged, or of a kind not known, is passed over: `bis verify` names it."""
    records = list(store.list("record"))
    for number, digest in enumerate(records, start=1):
        if progress:
            progress(number, len(records))
        if ledger.knows(digest):
            continue
        try:
            data = store.get_bytes(digest)
            schema = msgspec.json.decode(data, type=_Tagged).schema
            if schema == "bis.run/1":
                ledger.seal(decode_run(data), digest)
            elif schema == "bis.verdict/1":
                ledger.add_verdict(decode_verdict(data), digest)
        except (Damaged, msgspec.MsgspecError):
            continue
    return len(records)


class _Tagged(msgspec.Struct):
    schema: str = ""


class SqliteLedger:
    """The Ledger protocol over one SQLite file."""

    def __init__(self, database: Database, create: bool = True) -> None:
        self.database = database
        self._create = create

    def __enter__(self) -> SqliteLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

    # writing

    def begin(self, run: Run) -> None:
        self._put(run, "")

    def seal(self, run: Run, record: Digest) -> None:
        self._put(run, record)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run. They are annotations, not part of its sealed record."""
        with self.database.writing() as connection:
            seq = self._seq(connection, run)
            connection.executemany(
                "INSERT OR REPLACE INTO tags (run, key, value) VALUES (?, ?, ?)",
                [(seq, key, value) for key, value in tags.items()],
            )

    def add_verdict(self, verdict: Verdict, record: Digest) -> None:
        content = pack(canonical(verdict))
        with self.database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO verdicts (record, run, again, sameness, made, content)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (record, verdict.run, verdict.again, verdict.sameness, _micros(verdict.made), content),
            )
            self._judge(connection, verdict.run)

    def _put(self, run: Run, record: str) -> None:
        if not self._create and not self.database.there:
            raise NotFound(f"there is no ledger {self.database.asked}", hint="bis run -- COMMAND makes one")
        row = _columns(run, record)
        with self.database.writing() as connection:
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "id")
            connection.execute(
                f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}", row
            )
            seq = self._seq(connection, run.id)
            _put_params(connection, seq, told(run))
            _put_metrics(connection, seq, run.metrics)
            self._judge(connection, run.id)

    def _seq(self, connection: sqlite3.Connection, id: str) -> int:
        found = connection.execute("SELECT seq FROM runs WHERE id = ?", (id,)).fetchone()
        if not found:
            raise NotFound(f"no run has the id {id}", hint="bis log")
        return int(found[0])

    def _judge(self, connection: sqlite3.Connection, id: str) -> None:
        """The newest verdict on a run, beside it; verdicts may come before their run when a ledger is rebuilt."""
        connection.execute(
            "UPDATE runs SET verdict = coalesce((SELECT sameness FROM verdicts WHERE run = runs.id"
            " ORDER BY made DESC, seq DESC LIMIT 1), '') WHERE id = ?",
            (id,),
        )

    # asking

    def get(self, id: str) -> Run:
        for (content,) in self.database.ask("SELECT content FROM runs WHERE id = ?", (id,)):
            return decode_run(unpack(content))
        raise NotFound(f"no run has the id {id}", hint="bis log")

    def record(self, id: str) -> Digest:
        for (record,) in self.database.ask("SELECT record FROM runs WHERE id = ?", (id,)):
            return Digest(record)
        raise NotFound(f"no run has the id {id}", hint="bis log")

    def knows(self, record: Digest) -> bool:
        return bool(
            self.database.ask(
                "SELECT 1 FROM runs WHERE record = ? UNION ALL SELECT 1 FROM verdicts WHERE record = ?",
                (record, record),
            )
        )

    def runs(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Run]:
        return [decode_run(unpack(content)) for (content,) in self._select("content", filter, order, limit)]

    def rows(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        found = self._select("seq, brief, verdict, record", filter, order, limit)
        tags = self._tags([seq for seq, *_ in found])
        decoder = msgspec.json.Decoder(Row, strict=False)
        return [
            msgspec.structs.replace(decoder.decode(brief), tags=tags.get(seq, {}), verdict=verdict, record=record)
            for seq, brief, verdict, record in found
        ]

    def count(self, filter: str = "") -> int:
        where = compile_filter(filter)
        found = self.database.ask(f"SELECT count(*) FROM runs WHERE {where.where or 'TRUE'}", where.values)
        return int(found[0][0]) if found else 0

    def last(self, command_key: str) -> Run | None:
        found = self.database.ask(
            "SELECT content FROM runs WHERE command_key = ? AND record <> '' ORDER BY started DESC, seq DESC LIMIT 1",
            (command_key,),
        )
        return decode_run(unpack(found[0][0])) if found else None

    def verdicts(self, run: str) -> list[Verdict]:
        found = self.database.ask("SELECT content FROM verdicts WHERE run = ? ORDER BY made DESC, seq DESC", (run,))
        return [decode_verdict(unpack(content)) for (content,) in found]

    def find(self, reference: Reference) -> Run:
        # Runs that a repeat made are found by id and name; "the newest" and "the one before" mean a person's runs.
        seq, started = self._base(reference)
        if not reference.back:
            return self._content(seq)
        earlier = self.database.ask(
            "SELECT seq FROM runs WHERE (started, seq) < (?, ?) AND repeats = ''"
            " ORDER BY started DESC, seq DESC LIMIT 1 OFFSET ?",
            (started, seq, reference.back - 1),
        )
        if not earlier:
            ((before,),) = self.database.ask(
                "SELECT count(*) FROM runs WHERE (started, seq) < (?, ?) AND repeats = ''", (started, seq)
            )
            raise NotFound(
                f"{reference.text} is not there: only {before} runs lie before {reference.base or 'the newest'}",
                hint="bis log",
            )
        return self._content(earlier[0][0])

    def _base(self, reference: Reference) -> tuple[int, int]:
        """Which run a reference names before it goes back: seq and start."""
        by_then = "started <= ?" if reference.moment else "TRUE"
        bound = (_micros(reference.moment),) if reference.moment else ()
        newest = "ORDER BY started DESC, seq DESC LIMIT 1"
        if not reference.base:
            found = self.database.ask(f"SELECT seq, started FROM runs WHERE {by_then} AND repeats = '' {newest}", bound)
        else:
            found = self.database.ask(
                f"SELECT seq, started FROM runs WHERE name = ? AND {by_then} {newest}", (reference.base, *bound)
            ) or self._by_id(reference)
        if not found:
            raise self._no_such(reference)
        return found[0][0], found[0][1]

    def _by_id(self, reference: Reference) -> list[Any]:
        digits = reference.base.lower()
        if len(digits) < SHORTEST or not set(digits) <= DIGITS:
            return []
        found = self.database.ask(
            "SELECT seq, started, id, name, command FROM runs WHERE id >= ? AND id < ? ORDER BY started DESC",
            (digits, digits + "g"),
        )
        if len(found) > 1:
            lines = (
                f"{id}  {name}  {_shown(started)}  {readable(command)[:60]}" for _, started, id, name, command in found
            )
            raise UsageError(
                f"{reference.base} is the start of {len(found)} ids",
                because="\n".join(line for line, _ in zip(lines, range(10), strict=False)),
                hint=f"a digit more: {found[0][2][: len(digits) + 2]}",
            )
        return found

    def _no_such(self, reference: Reference) -> NotFound:
        if not self.database.ask("SELECT 1 FROM runs LIMIT 1"):
            return NotFound("no runs are recorded here yet", hint="bis run -- python train.py")
        if not reference.base:
            what = (
                f"no run had started by {reference.moment}"
                if reference.moment
                else "there are only runs of `bis repeat`"
            )
            return NotFound(what, hint="bis log")
        names = [name for (name,) in self.database.ask("SELECT DISTINCT name FROM runs ORDER BY seq DESC LIMIT 2000")]
        import difflib

        near = difflib.get_close_matches(reference.base, names, 3)
        few = len(reference.base) < SHORTEST and set(reference.base.lower()) <= DIGITS
        rule = f"An id needs {SHORTEST} of its digits." if few else f"A reference is {EXAMPLES}."
        return NotFound(
            f"no run is called {readable(reference.base)!r}, and no id begins so",
            because=f"Names like it: {', '.join(near)}." if near else rule,
            hint=f"bis show {near[0]}" if near else "bis log",
        )

    def _content(self, seq: int) -> Run:
        ((content,),) = self.database.ask("SELECT content FROM runs WHERE seq = ?", (seq,))
        return decode_run(unpack(content))

    def _select(self, columns: str, filter: str, order: Sequence[str], limit: int | None) -> list[Any]:
        where, by = compile_filter(filter), compile_order(order)
        return self.database.ask(
            f"SELECT {columns} FROM runs WHERE {where.where or 'TRUE'} ORDER BY {by.where} LIMIT ?",
            (*where.values, *by.values, -1 if limit is None else limit),
        )

    def _tags(self, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for start in range(0, len(seqs), AT_ONCE):
            some = seqs[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            for seq, key, value in self.database.ask(f"SELECT run, key, value FROM tags WHERE run IN ({marks})", some):
                found.setdefault(seq, {})[key] = value
        return found


def told(run: Run) -> dict[str, str]:
    """What a run was told, by name: the options of its command and the values of its configuration files. A value also
    goes by its name without the file, where no option has that name and one file alone sets it."""
    facts = run.parts["params"].facts if "params" in run.parts else {}
    options = {str(key): str(value) for key, value in facts.get("options", {}).items()}
    values = {str(key): str(value) for key, value in facts.get("values", {}).items()}
    short = [key.partition(":")[2] for key in values]
    brief = {key.partition(":")[2]: value for key, value in values.items() if short.count(key.partition(":")[2]) == 1}
    brief.pop("", None)
    return {**brief, **values, **options}


def _columns(run: Run, record: str) -> dict[str, Any]:
    digests = {kind: part.digest for kind, part in run.parts.items()}
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "exit": run.exit,
        "signal": run.signal,
        "started": _micros(run.started),
        "ended": _micros(run.ended) if run.ended else None,
        "username": run.user,
        "host": run.host,
        "command": shlex.join(run.command),
        "command_key": command_key(run.command, run.folder),
        "folder": run.folder,
        "project": run.project,
        **{kind: digests.get(kind, "") for kind in PART_COLUMNS},
        "repeats": run.repeats,
        "parent": run.parent,
        "record": record,
        "brief": canonical(_row(run)),
        "content": pack(canonical(run)),
    }


PART_COLUMNS: Final = ("code", "data", "params", "environment", "infrastructure", "machine")


def _row(run: Run) -> Row:
    return Row(
        id=run.id,
        name=run.name,
        command=run.command,
        folder=run.folder,
        user=run.user,
        host=run.host,
        started=run.started,
        ended=run.ended,
        seconds=run.usage.seconds,
        status=run.status,
        exit=run.exit,
        signal=run.signal,
        parts={kind: PartRow(part.digest, part.summary) for kind, part in run.parts.items()},
        params=told(run),
        metrics=run.metrics,
        outputs=len(run.outputs),
        findings=tuple(_finding_codes(run)),
        repeats=run.repeats,
        parent=run.parent,
        note=run.note,
    )


def _finding_codes(run: Run) -> Iterator[str]:
    parts = (finding for part in run.parts.values() for finding in part.findings)
    yield from dict.fromkeys(finding.code for finding in (*run.findings, *parts))


def _put_params(connection: sqlite3.Connection, seq: int, params: Mapping[str, str]) -> None:
    connection.execute("DELETE FROM params WHERE run = ?", (seq,))
    connection.executemany(
        "INSERT INTO params (run, key, value, number) VALUES (?, ?, ?, ?)",
        [(seq, key, value, _as_number(value)) for key, value in params.items()],
    )


def _put_metrics(connection: sqlite3.Connection, seq: int, metrics: Mapping[str, float]) -> None:
    connection.execute("DELETE FROM metrics WHERE run = ?", (seq,))
    connection.executemany(
        "INSERT INTO metrics (run, key, value, flag) VALUES (?, ?, ?, ?)",
        [(seq, key, *_as_stored(value)) for key, value in metrics.items()],
    )


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_stored(value: float) -> tuple[float | None, str]:
    if math.isnan(value):
        return None, "NaN"
    if math.isinf(value):
        return math.copysign(LARGEST, value), "Infinity" if value > 0 else "-Infinity"
    return value, ""


def _micros(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp)
    past = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def _shown(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)  # not strict: "NaN" where a number is meant
    except msgspec.MsgspecError as error:
        raise Damaged(f"a record is not readable as a {kind.__name__}: {error}", hint="bis verify") from None
