"""Runs, verdicts and annotations noted in the tables of the ledger, within the caller's transaction."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bis.digest import canonical, decoded
from bis.ledger import PartRow, Row
from bis.ledger.connection import Connection
from bis.ledger.made import put_made
from bis.ledger.moments import micros
from bis.ledger.numbers import as_number, as_stored
from bis.ledger.used import put_used
from bis.nouns.annotation import Annotation, experiment_after, name_after, removed_at, tags_after
from bis.nouns.run import Run, command_key, told
from bis.nouns.verdict import Verdict
from bis.store.squeeze import pack, unpack

OWN: Final = "repeats = '' AND (tracked = 0 OR parent = '')"
"""A person's runs: not those that a repeat made, nor what a client logged while `bis run` ran it."""
THERE: Final = "removed = ''"
GONE: Final = "removed <> ''"
PART_COLUMNS: Final = ("code", "data", "params", "environment", "infrastructure", "machine")


def put_run(connection: Connection, run: Run, record: str) -> None:
    """In place of what was noted of it. Its `record` is empty while it is under way."""
    row = columns(run, record)
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


def columns(run: Run, record: str) -> dict[str, Any]:
    """A run as a row of the table, by the names of its columns."""
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


def _put_metrics(connection: Connection, seq: int, metrics: Mapping[str, float]) -> None:
    connection.execute("DELETE FROM metrics WHERE run = ?", (seq,))
    connection.executemany(
        "INSERT INTO metrics (run, key, value, flag) VALUES (?, ?, ?, ?)",
        [(seq, key, *as_stored(value)) for key, value in metrics.items()],
    )


def put_verdict(connection: Connection, verdict: Verdict, record: str) -> None:
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


def put_annotation(connection: Connection, annotation: Annotation, record: str) -> None:
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
    return [decoded(unpack(content), Annotation) for (content,) in found]


def _put_texts(connection: Connection, table: str, seq: int, values: Mapping[str, str]) -> None:
    """Params or tags of a run, in place of those that it had."""
    connection.execute(f"DELETE FROM {table} WHERE run = ?", (seq,))
    connection.executemany(
        f"INSERT INTO {table} (run, key, value, number) VALUES (?, ?, ?, ?)",
        [(seq, key, value, as_number(value)) for key, value in values.items()],
    )
