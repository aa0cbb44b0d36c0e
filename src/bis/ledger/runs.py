"""The ledger: runs as they begin and are sealed, what was said of them, and how to find them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bis.digest import Digest, decoded
from bis.errors import Damaged, NotFound
from bis.ledger import Row
from bis.ledger.connection import Connection
from bis.ledger.database import Database
from bis.ledger.moments import NEVER, micros, stamp
from bis.ledger.noted import OWN, THERE, put_annotation, put_run, put_verdict
from bis.ledger.places import database_at
from bis.nouns.annotation import Annotation
from bis.nouns.dataset import DataAnnotation, DataVersion
from bis.nouns.reference import Reference
from bis.nouns.run import Run, called
from bis.nouns.verdict import Verdict
from bis.store import Store
from bis.store.squeeze import unpack

if TYPE_CHECKING:
    from bis.ledger.datasets import SqlDataSets
    from bis.ledger.other_seals import OtherSeal
    from bis.ledger.records import Record
    from bis.nouns.tracked import Tracked

AT_ONCE: Final = 500
A_DAY: Final = 86_400_000_000
"""Microseconds."""
IMPORTED: Final = "bis model import "
"""How the command of a run begins that stands for a model which was made elsewhere."""


def open_ledger(place: Path | str, create: bool = True) -> SqlLedger:
    """The ledger in a file, or in the database of a URL (`postgresql://user@host/name`). Nothing is opened before the
    first question, nothing made before the first run; with `create` false, never: writing to a ledger that is not there
    raises NotFound."""
    return SqlLedger(database_at(place), create)


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
            put_run(connection, run, "")

    def seal(self, run: Run, record: Digest) -> None:
        from bis.ledger import other_seals

        with self._writing() as connection:
            other_seals.prefer(connection, run.id, record)
            put_run(connection, run, record)

    def take_history(self, run: Run | Tracked, content: bytes) -> None:
        from bis.ledger import histories

        with self._writing(durable=False) as connection:
            histories.put(connection, run.id, content)

    def annotate(self, annotation: Annotation, record: Digest) -> None:
        with self._writing() as connection:
            put_annotation(connection, annotation, record)

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
            put_verdict(connection, verdict, record)

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
                            put_run(connection, value, record)
                    case Verdict():
                        put_verdict(connection, value, record)
                    case Annotation():
                        put_annotation(connection, value, record)
                    case DataVersion():
                        from bis.ledger import datasets

                        datasets.put_version(connection, value, record)
                    case DataAnnotation():
                        from bis.ledger import datasets

                        datasets.put_data_annotation(connection, value, record)
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
        from bis.ledger.datasets import SqlDataSets

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
            return decoded(unpack(content), Run)
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
        return [decoded(unpack(content), Run) for (content,) in self.database.ask(asked, (limit,))]

    def last_run(self, project: str) -> Run:
        asked = f"SELECT seq FROM runs WHERE tracked = 0 AND repeats = '' AND {THERE} AND command NOT LIKE ? AND"
        for where in ("project = ?", "project <> ?"):
            newest = f"{asked} {where} ORDER BY started DESC, seq DESC LIMIT 1"
            for (seq,) in self.database.ask(newest, (f"{IMPORTED}%", project)):
                return self._content(seq)
        raise NotFound("no run was made here by bis yet", hint="bis run -- COMMAND")

    def under_way(self) -> list[Run]:
        found = self.database.ask("SELECT content FROM runs WHERE record = '' AND tracked = 0 ORDER BY started")
        return [decoded(unpack(content), Run) for (content,) in found]

    def rows(self, filter: str = "", order: Sequence[str] = (), limit: int | None = None) -> list[Row]:
        from bis.ledger import listed

        found = self._select(listed.COLUMNS, filter, order, limit)
        if not found:
            return []
        with self.database.reading() as connection:
            return listed.with_facts(connection, found)

    def count(self, filter: str = "") -> int:
        asked, values = "SELECT count(*) FROM runs", tuple[Any, ...]()
        if filter:
            from bis.ledger.search import compile_filter

            where = compile_filter(filter)
            asked, values = f"{asked} WHERE {where.where or 'TRUE'}", where.values
        found = self.database.ask(asked, values)
        return int(found[0][0]) if found else 0

    def last(self, command_key: str) -> Run | None:
        found = self.database.ask(
            "SELECT content FROM runs WHERE command_key = ? AND record <> '' ORDER BY started DESC, seq DESC LIMIT 1",
            (command_key,),
        )
        return decoded(unpack(found[0][0]), Run) if found else None

    def verdicts(self, run: str) -> list[Verdict]:
        found = self.database.ask("SELECT content FROM verdicts WHERE run = ? ORDER BY made DESC, seq DESC", (run,))
        return [decoded(unpack(content), Verdict) for (content,) in found]

    def annotations(self, run: str) -> list[Annotation]:
        found = self.database.ask("SELECT content FROM annotations WHERE run = ? ORDER BY made, record", (run,))
        return [decoded(unpack(content), Annotation) for (content,) in found] or self._rows_say(run)

    def _rows_say(self, run: str) -> list[Annotation]:
        """Tags and note of a run that clients log to, as one annotation."""
        for seq, started, user, note in self.database.ask(
            "SELECT seq, started, username, note FROM runs WHERE id = ? AND tracked = 1", (run,)
        ):
            from bis.ledger import tracked

            with self.database.reading() as connection:
                tags = tracked.texts(connection, "tags", [seq]).get(seq, {})
            if tags or note:
                return [Annotation(run=run, made=stamp(started), user=user, tags=dict(sorted(tags.items())), note=note)]
        return []

    def experiment(self, run: str) -> str:
        from bis.ledger.listed import PLACED

        found = self.database.ask(f"SELECT {PLACED} FROM runs WHERE id = ?", (run,))
        return str(found[0][0]) if found else ""

    def find(self, reference: Reference, *, removed: bool = False) -> Run:
        from bis.ledger.meant import meant

        return self._content(meant(self.database, reference, removed=removed))

    def _content(self, seq: int) -> Run:
        return self._decoded(self.database.ask("SELECT seq, name, content FROM runs WHERE seq = ?", (seq,)))[0]

    def _decoded(self, rows: Sequence[tuple[int, str, bytes]]) -> list[Run]:
        """Runs by their records, called as they are now; those that clients log to, with what they logged until now."""
        found = {seq: called(decoded(unpack(content), Run), name) for seq, name, content in rows}
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


def _is_taken(connection: Connection, name: str) -> bool:
    asked = "SELECT 1 FROM runs WHERE name = :name UNION ALL SELECT 1 FROM names WHERE name = :name LIMIT 1"
    return connection.execute(asked, {"name": name}).fetchone() is not None
