"""The ledger: runs as they begin and are sealed, what was said of them, and how to find them again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from bis.digest import Digest, canonical, digest_value, readable, spell
from bis.errors import Damaged, NotFound, UsageError
from bis.ledger import PartRow, Row
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.datasets import SqlDataSets, put_data_annotation, put_version
from bis.ledger.made import put_made
from bis.ledger.moments import NEVER, micros, shown_time, stamp
from bis.ledger.numbers import as_number, as_stored
from bis.ledger.places import database_at
from bis.ledger.used import put_used
from bis.nouns.annotation import Annotation, experiment_after, name_after, removed_at, tags_after
from bis.nouns.dataset import DataAnnotation, DataVersion
from bis.nouns.reference import EXAMPLES, Reference
from bis.nouns.run import Run
from bis.nouns.verdict import Verdict
from bis.store import Store
from bis.store.squeeze import pack, unpack

if TYPE_CHECKING:
    from bis.ledger.other_seals import OtherSeal
    from bis.ledger.records import Record
    from bis.nouns.tracked import Tracked

T = TypeVar("T")

SCRIPTS: Final = (".py", ".ipynb", ".sh", ".r", ".jl", ".pyz", ".pl", ".js")
AT_ONCE: Final = 500
A_DAY: Final = 86_400_000_000
"""Microseconds."""
OWN: Final = "repeats = '' AND (tracked = 0 OR parent = '')"
"""A person's runs: not those that a repeat made, nor what a client logged while `bis run` ran it."""
IMPORTED: Final = "bis model import "
"""How the command of a run begins that stands for a model which was made elsewhere."""
THERE: Final = "removed = ''"
GONE: Final = "removed <> ''"
DIGITS: Final = frozenset("0123456789abcdef")
SHORTEST: Final = 4
"""Digits of an id that are enough to mean it."""
CANDIDATES: Final = 10
"""So many runs are named where the start of an id fits several."""


def open_ledger(place: Path | str, create: bool = True) -> SqlLedger:
    """The ledger in a file, or in the database of a URL (`postgresql://user@host/name`). Nothing is opened before the
    first question, nothing made before the first run; with `create` false, never: writing to a ledger that is not there
    raises NotFound."""
    return SqlLedger(database_at(place), create)


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


def decode_annotation(data: bytes) -> Annotation:
    return _decode(data, Annotation)


def reindex(store: Store, ledger: SqlLedger, progress: Callable[[int, int], None] | None = None) -> int:
    """Take every record of the store into the ledger; what it knows already stays. Returns how many records there
    were. A record that is damaged, or of a kind not known, is passed over: `bis verify` names it. So is all but one of
    several records of one run: that which is known, or else the one with the smallest digest."""
    records, known = sorted(store.list("record")), ledger.records()
    new = [digest for digest in records if digest not in known]
    events: list[tuple[Record, Digest]] = []
    for start in range(0, len(new), AT_ONCE):
        if progress:
            progress(len(records) - len(new) + start, len(records))
        events += _take_in(store, ledger, new[start : start + AT_ONCE])
    if events:
        ledger.take(events)
    if progress:
        progress(len(records), len(records))
    return len(records)


def take_in(store: Store, ledger: SqlLedger, records: Sequence[Digest]) -> None:
    """Take some records of the store into the ledger."""
    if events := _take_in(store, ledger, records):
        ledger.take(events)


def _take_in(store: Store, ledger: SqlLedger, records: Sequence[Digest]) -> list[tuple[Record, Digest]]:
    """The same, but for the events of the registry, which are returned: what follows from them is made once, for all
    of them together."""
    from bis.ledger.records import has_history, is_event

    read = list(_readable(store, records))
    found = [one for one in read if not is_event(one[0])]
    passed_over = ledger.take(found) if found else set()
    for value, record in found:
        if has_history(value) and record not in passed_over:
            # Of a removed run, and in a shallow clone, it may not be there.
            with suppress(NotFound, Damaged):
                ledger.take_history(value, store.get_bytes(value.history))
    return [one for one in read if is_event(one[0])]


def _readable(store: Store, digests: Sequence[Digest]) -> Iterator[tuple[Record, Digest]]:
    from bis.ledger.records import any_record

    for digest in digests:
        try:
            yield any_record(store.get_bytes(digest)), digest
        except (Damaged, msgspec.MsgspecError):
            continue


class SqlLedger:
    """The Ledger protocol over a database."""

    def __init__(self, database: Database, create: bool = True) -> None:
        self.database = database
        self._create = create

    def __enter__(self) -> SqlLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

    # writing

    def name(self, stem: str, at: str) -> str:
        moment = micros(at)
        with self._writing(durable=False) as connection:
            connection.execute("DELETE FROM names WHERE given < ?", (moment - A_DAY,))
            (number,) = connection.execute(f"SELECT count(*) + 1 FROM runs WHERE {OWN}").fetchone()
            while _is_taken(connection, f"{stem}-{number}"):
                number += 1
            connection.execute("INSERT INTO names (name, given) VALUES (?, ?)", (f"{stem}-{number}", moment))
        return f"{stem}-{number}"

    def unname(self, name: str) -> None:
        with self._writing(durable=False) as connection:
            connection.execute("DELETE FROM names WHERE name = ?", (name,))

    def begin(self, run: Run) -> None:
        with self._writing() as connection:
            _put_run(connection, run, "")

    def seal(self, run: Run, record: Digest) -> None:
        from bis.ledger import other_seals

        with self._writing() as connection:
            other_seals.prefer(connection, run.id, record)
            _put_run(connection, run, record)

    def take_history(self, run: Run | Tracked, content: bytes) -> None:
        from bis.ledger import histories

        with self._writing(durable=False) as connection:
            histories.put(connection, run.id, content)

    def annotate(self, annotation: Annotation, record: Digest) -> None:
        with self._writing() as connection:
            _put_annotation(connection, annotation, record)

    def amend(self, annotation: Annotation) -> None:
        from bis.ledger import changed, experiments, tracked

        with self._writing() as connection:
            seq, moment = tracked.seq_of(connection, annotation.run), micros(annotation.made)
            for key in annotation.removed:
                tracked.drop_tag(connection, annotation.run, key)
            tracked.put_tags(connection, seq, annotation.tags)
            changed.runs(connection, "seq = ?", seq)
            if annotation.note:
                connection.execute("UPDATE runs SET note = ? WHERE seq = ?", (annotation.note, seq))
            if annotation.experiment:
                place = experiments.find(connection, annotation.experiment)
                tracked.move(connection, annotation.run, place.id)
            if annotation.name:
                tracked.update(connection, annotation.run, name=annotation.name)
            if annotation.hidden:
                tracked.remove(connection, annotation.run, moment)
            elif annotation.hidden is False:
                tracked.restore(connection, annotation.run)

    def add_verdict(self, verdict: Verdict, record: Digest) -> None:
        with self._writing() as connection:
            _put_verdict(connection, verdict, record)

    def take(self, records: Sequence[tuple[Record, Digest]]) -> set[Digest]:
        """Note records that are in the store already. What is lost with the power can be taken again. Returns those
        that do not say of a run how it is: how it was once, or a second record of it."""
        from bis.ledger import other_seals
        from bis.nouns.built import Built
        from bis.nouns.model_event import ModelEvent
        from bis.nouns.tracked import Tracked

        old: set[Digest] = set()
        with self._writing(durable=False) as connection:
            for value, record in records:
                match value:
                    case Run():
                        if other_seals.is_other(connection, value.id, record):
                            other_seals.pass_over(connection, value.id, record)
                            old.add(record)
                        else:
                            _put_run(connection, value, record)
                    case Verdict():
                        _put_verdict(connection, value, record)
                    case Annotation():
                        _put_annotation(connection, value, record)
                    case DataVersion():
                        put_version(connection, value, record)
                    case DataAnnotation():
                        put_data_annotation(connection, value, record)
                    case Built():
                        from bis.ledger import built

                        built.put(connection, value, record)
                    case Tracked():
                        from bis.ledger import kept

                        if not kept.take(connection, value, record):
                            old.add(record)
            if events := [(value, record) for value, record in records if isinstance(value, ModelEvent)]:
                from bis.ledger import model_events

                model_events.take(connection, [model_events.Held(*one) for one in events])
        return old

    @property
    def data(self) -> SqlDataSets:
        return SqlDataSets(self.database, self._writing)

    def _writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        if not self._create and not self.database.there:
            raise NotFound(f"there is no ledger {self.database.place}", hint="bis run -- COMMAND makes one")
        return self.database.writing(durable=durable)

    # asking

    def get(self, id: str) -> Run:
        for row in self.database.ask("SELECT seq, name, content FROM runs WHERE id = ?", (id,)):
            return self._decoded([row])[0]
        raise NotFound(f"no run has the id {id}", hint="bis log")

    def as_recorded(self, id: str) -> Run:
        for (content,) in self.database.ask("SELECT content FROM runs WHERE id = ?", (id,)):
            return decode_run(unpack(content))
        raise NotFound(f"no run has the id {id}", hint="bis log")

    def record(self, id: str) -> Digest:
        for (record,) in self.database.ask("SELECT record FROM runs WHERE id = ?", (id,)):
            return Digest(record)
        raise NotFound(f"no run has the id {id}", hint="bis log")

    def records(self) -> set[Digest]:
        """The digests of all records that it knows."""
        found = self.database.ask(
            "SELECT record FROM runs UNION ALL SELECT record FROM verdicts UNION ALL SELECT record FROM annotations"
            " UNION ALL SELECT record FROM data_versions UNION ALL SELECT record FROM data_annotations"
            " UNION ALL SELECT record FROM tracked_records UNION ALL SELECT record FROM built"
            " UNION ALL SELECT record FROM registry_events WHERE kept = 1 UNION ALL SELECT record FROM other_seals"
        )
        return {Digest(record) for (record,) in found}

    def passed_over(self) -> list[OtherSeal]:
        """Records of runs that say nothing of them, as each has another one: the first that this ledger heard of, or
        the one that was written here."""
        if not self.database.there:
            return []
        from bis.ledger import other_seals

        with self.database.reading() as connection:
            return other_seals.every(connection)

    def runs(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Run]:
        return self._decoded(self._select("seq, runs.name, content", filter, order, limit))

    def recorded(self, limit: int) -> list[Run]:
        asked = "SELECT content FROM runs WHERE tracked = 0 ORDER BY started DESC, seq DESC LIMIT ?"
        return [decode_run(unpack(content)) for (content,) in self.database.ask(asked, (limit,))]

    def last_run(self, project: str) -> Run:
        asked = f"SELECT seq FROM runs WHERE tracked = 0 AND repeats = '' AND {THERE} AND command NOT LIKE ? AND"
        for where in ("project = ?", "project <> ?"):
            newest = f"{asked} {where} ORDER BY started DESC, seq DESC LIMIT 1"
            for (seq,) in self.database.ask(newest, (f"{IMPORTED}%", project)):
                return self._content(seq)
        raise NotFound("no run was made here by bis yet", hint="bis run -- COMMAND")

    def under_way(self) -> list[Run]:
        found = self.database.ask("SELECT content FROM runs WHERE record = '' AND tracked = 0 ORDER BY started")
        return [decode_run(unpack(content)) for (content,) in found]

    def rows(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        from bis.ledger import listed

        found = self._select(listed.COLUMNS, filter, order, limit)
        if not found:
            return []
        with self.database.reading() as connection:
            return listed.with_facts(connection, found)

    def count(self, filter: str = "") -> int:
        from bis.ledger.search import compile_filter

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

    def annotations(self, run: str) -> list[Annotation]:
        found = self.database.ask("SELECT content FROM annotations WHERE run = ? ORDER BY made, record", (run,))
        return [decode_annotation(unpack(content)) for (content,) in found] or self._rows_say(run)

    def experiment(self, run: str) -> str:
        from bis.ledger.listed import PLACED

        found = self.database.ask(f"SELECT {PLACED} FROM runs WHERE id = ?", (run,))
        return str(found[0][0]) if found else ""

    def _rows_say(self, run: str) -> list[Annotation]:
        """Tags and note of a run that clients log to, as one annotation."""
        for seq, started, user, note in self.database.ask(
            "SELECT seq, started, username, note FROM runs WHERE id = ? AND tracked = 1", (run,)
        ):
            tags = self._tags([seq]).get(seq, {})
            if tags or note:
                return [Annotation(run=run, made=stamp(started), user=user, tags=dict(sorted(tags.items())), note=note)]
        return []

    def find(self, reference: Reference, *, removed: bool = False) -> Run:
        # All runs are found by id and name; "the newest" and "the one before" mean a person's runs.
        there = GONE if removed else THERE
        seq, started = self._base(reference, there)
        if not reference.back:
            return self._content(seq)
        earlier = self.database.ask(
            f"SELECT seq FROM runs WHERE (started, seq) < (?, ?) AND {OWN} AND {there}"
            " ORDER BY started DESC, seq DESC LIMIT 1 OFFSET ?",
            (started, seq, reference.back - 1),
        )
        if not earlier:
            ((before,),) = self.database.ask(
                f"SELECT count(*) FROM runs WHERE (started, seq) < (?, ?) AND {OWN} AND {there}",
                (started, seq),
            )
            few = f"only {before} run lies" if before == 1 else f"only {before} runs lie" if before else "no run lies"
            raise NotFound(
                f"{reference.text} is not there: {few} before {reference.base or 'the newest'}", hint="bis log"
            )
        return self._content(earlier[0][0])

    def _base(self, reference: Reference, there: str) -> tuple[int, int]:
        """Which run a reference names before it goes back: seq and start. `there`: which runs are meant at all."""
        newest, bound = "ORDER BY started DESC, seq DESC LIMIT 1", _by_then(reference)
        if not reference.base:
            found = self.database.ask(
                f"SELECT seq, started FROM runs WHERE started <= ? AND {OWN} AND {there} {newest}", (bound,)
            )
        else:
            found = self.database.ask(
                f"SELECT seq, started FROM runs WHERE name = ? AND started <= ? AND {there} {newest}",
                (reference.base, bound),
            ) or self._by_id(reference, there)
        if not found:
            raise self._no_such(reference, there)
        return found[0][0], found[0][1]

    def _by_id(self, reference: Reference, there: str = "TRUE") -> list[Any]:
        digits = reference.base.lower()
        if len(digits) < SHORTEST or not set(digits) <= DIGITS:
            return []
        found = self.database.ask(
            f"SELECT seq, started, id, name, command FROM runs WHERE id >= ? AND id < ? AND started <= ? AND {there}"
            " ORDER BY started DESC",
            (digits, digits + "g", _by_then(reference)),
        )
        if len(found) > 1:
            lines = (
                f"{id}  {readable(name)}  {shown_time(started)}  {readable(command)[:60]}"
                for _, started, id, name, command in found
            )
            raise UsageError(
                f"{reference.base} is the start of {len(found)} ids",
                because="\n".join(line for line, _ in zip(lines, range(CANDIDATES), strict=False)),
                hint=f"a digit more: {_longer(found[0][2], [row[2] for row in found[1:]], len(digits))}",
            )
        return found

    def _no_such(self, reference: Reference, there: str) -> NotFound:
        if reference.base and self._is_there(reference.base):
            named = shlex.quote(readable(reference.base))
            if there == GONE:
                return NotFound(f"{readable(reference.base)} was not removed", hint=f"bis show {named}")
            if self.database.ask(f"SELECT 1 FROM runs WHERE name = ? AND {GONE}", (reference.base,)) or self._by_id(
                reference, GONE
            ):
                return NotFound(f"{readable(reference.base)} was removed", hint=f"bis rm --undo {named}")
        if there == GONE:
            return NotFound(f"no run {readable(reference.text)} was removed", hint="bis log --removed")
        if not self.database.ask("SELECT 1 FROM runs LIMIT 1"):
            return NotFound("no runs are recorded here yet", hint="bis run -- python train.py")
        named = readable(reference.base)
        if reference.moment and (not named or self._is_there(reference.base)):
            what = f"no run{f' called {named}' if named else ''} had started by {shown_time(_by_then(reference))}"
            return NotFound(what, hint="bis log --sort started -n 1")
        if not reference.base:
            return NotFound("there are only runs of `bis repeat`", hint="bis log --repeats")
        newest = "SELECT name FROM runs GROUP BY name ORDER BY max(seq) DESC LIMIT 2000"
        names = [name for (name,) in self.database.ask(newest)]
        import difflib

        near = difflib.get_close_matches(reference.base, names, 3)
        few = len(reference.base) < SHORTEST and set(reference.base.lower()) <= DIGITS
        rule = f"An id needs {SHORTEST} of its digits." if few else f"A reference is {EXAMPLES}."
        return NotFound(
            f"no run is called {named!r}, and no id begins so",
            because=f"Names like it: {', '.join(map(readable, near))}." if near else rule,
            hint=f"bis show {shlex.quote(readable(near[0]))}" if near else "bis log",
        )

    def _is_there(self, base: str) -> bool:
        """Whether a run of that name or id is there at any time."""
        return bool(
            self.database.ask("SELECT 1 FROM runs WHERE name = ?", (base,))
            or self._by_id(Reference(text=base, base=base))
        )

    def _content(self, seq: int) -> Run:
        return self._decoded(self.database.ask("SELECT seq, name, content FROM runs WHERE seq = ?", (seq,)))[0]

    def _decoded(self, rows: Sequence[tuple[int, str, bytes]]) -> list[Run]:
        """Runs by their records, called as they are now; those that clients log to, with what they logged until now."""
        found = {seq: called(decode_run(unpack(content)), name) for seq, name, content in rows}
        logged = self._logged([seq for seq, run in found.items() if run.tracked])
        return [
            msgspec.structs.replace(run, logged=logged[seq][0], metrics=logged[seq][1]) if seq in logged else run
            for seq, run in found.items()
        ]

    def _logged(self, seqs: Sequence[int]) -> dict[int, tuple[dict[str, str], dict[str, float]]]:
        """Params and newest metrics of runs that clients log to."""
        if not seqs:
            return {}
        from bis.ledger import tracked

        with self.database.reading() as connection:
            params, metrics = tracked.texts(connection, "params", seqs), tracked.newest(connection, seqs)
        return {seq: (params.get(seq, {}), {point.key: point.value for point in metrics.get(seq, ())}) for seq in seqs}

    def _select(self, columns: str, filter: str, order: Sequence[str], limit: int | None) -> list[Any]:
        from bis.ledger.search import compile_filter, compile_order

        where, by = compile_filter(filter), compile_order(order)
        return self.database.ask(
            f"SELECT {columns} FROM runs{by.joins} WHERE {where.where or 'TRUE'} ORDER BY {by.by} LIMIT ?",
            (*by.values, *where.values, NEVER if limit is None else limit),
        )

    def _tags(self, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for start in range(0, len(seqs), AT_ONCE):
            some = seqs[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            for seq, key, value in self.database.ask(f"SELECT run, key, value FROM tags WHERE run IN ({marks})", some):
                found.setdefault(seq, {})[key] = value
        return found


def _by_then(reference: Reference) -> int:
    """The newest start that a reference allows."""
    return micros(reference.moment) if reference.moment else NEVER


def _longer(id: str, others: Sequence[str], length: int) -> str:
    """The start of an id that no other begins with, a digit longer or more."""
    while length < len(id) and any(other.startswith(id[:length]) for other in others):
        length += 1
    return id[:length]


def told(run: Run) -> dict[str, str]:
    """What a run was told, by name: the options of its command, the values of its configuration files, and what its
    script says of itself; the earlier of these wins where they use one name. A value of a file also
    goes by its name without the file, where no option has that name and one file alone sets it."""
    facts = run.parts["params"].facts if "params" in run.parts else {}
    options = {str(key): str(value) for key, value in facts.get("options", {}).items()}
    values = {str(key): str(value) for key, value in facts.get("values", {}).items()}
    short = [key.partition(":")[2] for key in values]
    brief = {key.partition(":")[2]: value for key, value in values.items() if short.count(key.partition(":")[2]) == 1}
    brief.pop("", None)
    return {**run.logged, **brief, **values, **options}


def _columns(run: Run, record: str) -> dict[str, Any]:
    digests = {kind: part.digest for kind, part in run.parts.items()}
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "exit": run.exit,
        "signal": run.signal,
        "started": micros(run.started),
        "ended": micros(run.ended) if run.ended else None,
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
        "note": run.note,
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


# -- writing, within a transaction -------------------------------------------------------------------------------


def _is_taken(connection: Connection, name: str) -> bool:
    asked = "SELECT 1 FROM runs WHERE name = :name UNION ALL SELECT 1 FROM names WHERE name = :name LIMIT 1"
    return connection.execute(asked, {"name": name}).fetchone() is not None


def _put_run(connection: Connection, run: Run, record: str) -> None:
    row = _columns(run, record)
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    changed = ", ".join(f"{name} = excluded.{name}" for name in row if name != "id")
    connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}", row)
    connection.execute("DELETE FROM names WHERE name = ?", (run.name,))
    (seq,) = connection.execute("SELECT seq FROM runs WHERE id = ?", (run.id,)).fetchone()
    _put_texts(connection, "params", seq, told(run))
    _put_metrics(connection, seq, run.metrics)
    put_used(connection, seq, run)
    put_made(connection, seq, run)
    # Verdicts and annotations may come before their run when a ledger is rebuilt.
    _judge(connection, run.id)
    _annotate(connection, run.id)
    # Where it was placed before, it stays: the experiment may have another name by now.
    if connection.execute("SELECT 1 FROM runs WHERE id = ? AND experiment = 0", (run.id,)).fetchall():
        _place(connection, run.id)


def _put_verdict(connection: Connection, verdict: Verdict, record: str) -> None:
    connection.execute(
        "INSERT INTO verdicts (record, run, again, sameness, made, content) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (record) DO NOTHING",
        (record, verdict.run, verdict.again, verdict.sameness, micros(verdict.made), pack(canonical(verdict))),
    )
    _judge(connection, verdict.run)


def _judge(connection: Connection, id: str) -> None:
    """The newest verdict on a run, beside it."""
    connection.execute(
        "UPDATE runs SET verdict = coalesce((SELECT sameness FROM verdicts WHERE run = runs.id"
        " ORDER BY made DESC, seq DESC LIMIT 1), '') WHERE id = ?",
        (id,),
    )


def _put_annotation(connection: Connection, annotation: Annotation, record: str) -> None:
    new = connection.execute(
        "INSERT INTO annotations (record, run, made, content) VALUES (?, ?, ?, ?) ON CONFLICT (record) DO NOTHING"
        " RETURNING seq",
        (record, annotation.run, micros(annotation.made), pack(canonical(annotation))),
    ).fetchall()
    _annotate(connection, annotation.run)
    if new and annotation.experiment:
        _place(connection, annotation.run)


def _annotate(connection: Connection, id: str) -> None:
    """Tags, note and name of a run as its annotations leave them, whatever the order in which they came here."""
    annotations = _said(connection, id)
    run = connection.execute("SELECT seq, name FROM runs WHERE id = ?", (id,)).fetchone()
    if not annotations or not run:
        return
    _put_texts(connection, "tags", run[0], tags_after(annotations))
    changed = (removed_at(annotations), name_after(annotations, run[1]), id)
    connection.execute("UPDATE runs SET removed = ?, name = ? WHERE id = ?", changed)
    for note in [annotation.note for annotation in annotations if annotation.note][-1:]:
        connection.execute("UPDATE runs SET note = ? WHERE id = ?", (note, id))


def _place(connection: Connection, id: str) -> None:
    """Into the experiment that its annotations name, which is made where this ledger has none of that name."""
    from bis.ledger import experiments

    annotations = _said(connection, id)
    if not (name := experiment_after(annotations)):
        return
    made = next(micros(one.made) for one in reversed(annotations) if one.experiment == name)
    place = experiments.found_or_made(connection, name, made)
    connection.execute("UPDATE runs SET experiment = ? WHERE id = ?", (place, id))


def _said(connection: Connection, id: str) -> list[Annotation]:
    found = connection.execute("SELECT content FROM annotations WHERE run = ? ORDER BY made, record", (id,)).fetchall()
    return [decode_annotation(unpack(content)) for (content,) in found]


def called(run: Run, name: str) -> Run:
    """The run under the name that it has now."""
    return run if run.name == name else msgspec.structs.replace(run, name=name)


def _put_texts(connection: Connection, table: str, seq: int, values: Mapping[str, str]) -> None:
    """Params or tags of a run, in place of those that it had."""
    connection.execute(f"DELETE FROM {table} WHERE run = ?", (seq,))
    connection.executemany(
        f"INSERT INTO {table} (run, key, value, number) VALUES (?, ?, ?, ?)",
        [(seq, key, value, as_number(value)) for key, value in values.items()],
    )


def _put_metrics(connection: Connection, seq: int, metrics: Mapping[str, float]) -> None:
    connection.execute("DELETE FROM metrics WHERE run = ?", (seq,))
    connection.executemany(
        "INSERT INTO metrics (run, key, value, flag) VALUES (?, ?, ?, ?)",
        [(seq, key, *as_stored(value)) for key, value in metrics.items()],
    )


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)  # not strict: "NaN" where a number is meant
    except msgspec.MsgspecError as error:
        raise Damaged(f"a record is not readable as a {kind.__name__}: {error}", hint="bis verify") from None
