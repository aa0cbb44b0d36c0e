"""What lineage asks of runs beside what they read and made (`used`, `made`): each function is one question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bis.digest import decoded
from bis.ledger.connection import Connection
from bis.ledger.made import COMMIT
from bis.ledger.moments import NEVER
from bis.nouns.model import OF_MODEL, ROWS, WRITTEN, ModelVersion
from bis.nouns.run import Run, called
from bis.store.squeeze import unpack


class SaidData(NamedTuple):
    """A data set that a client named."""

    name: str
    digest: str
    source: str


class Predictions(NamedTuple):
    """What a run scored."""

    place: str
    rows: int | None


def run_at(connection: Connection, seq: int) -> Run:
    """By its place in the ledger, called as it is now."""
    found = connection.execute("SELECT name, content FROM runs WHERE seq = ?", (seq,)).fetchall()
    return next(called(decoded(unpack(content), Run), name) for name, content in found)


def newest(connection: Connection, most: int) -> Iterator[Run]:
    """The newest that bis itself ran, as they were recorded."""
    rows = connection.execute("SELECT content FROM runs WHERE tracked = 0 ORDER BY seq DESC LIMIT ?", (most,))
    for (content,) in rows.fetchall():
        yield decoded(unpack(content), Run)


def places(connection: Connection, ids: Sequence[str]) -> list[int]:
    """Where runs are in the ledger, by their ids; those that are not there are left out."""
    found: list[int] = []
    for id in ids:
        found += [seq for (seq,) in connection.execute("SELECT seq FROM runs WHERE id = ?", (id,)).fetchall()]
    return found


def first_hand(connection: Connection, seqs: Iterable[int]) -> list[int]:
    """Without the runs of `bis repeat`, which make what was made before; those, where there are no others."""
    chosen = sorted(set(seqs))
    rows = [connection.execute("SELECT repeats FROM runs WHERE seq = ?", (seq,)).fetchall() for seq in chosen]
    return [seq for seq, row in zip(chosen, rows, strict=True) if row and not row[0][0]] or chosen


def is_result(connection: Connection, seq: int) -> bool:
    """Whether a run is none of `bis repeat`, and was not removed."""
    found = connection.execute("SELECT repeats, removed FROM runs WHERE seq = ?", (seq,)).fetchall()
    return bool(found) and not found[0][0] and not found[0][1]


def had_begun(connection: Connection, seq: int, until: int) -> bool:
    if until == NEVER:
        return True
    found = connection.execute("SELECT started FROM runs WHERE seq = ?", (seq,)).fetchall()
    return bool(found) and found[0][0] <= until


# -- what clients said -------------------------------------------------------------------------------------------


def commits_said(connection: Connection, seq: int) -> list[str]:
    found = connection.execute("SELECT value FROM tags WHERE run = ? AND key = ?", (seq, COMMIT)).fetchall()
    return [value for (value,) in found]


def data_said(connection: Connection, seq: int, most: int) -> list[SaidData]:
    """What a client said that a run read."""
    found = connection.execute(
        "SELECT t.name, t.digest, t.source FROM run_datasets d JOIN tracked_datasets t ON t.id = d.dataset"
        " WHERE d.run = ? ORDER BY t.name LIMIT ?",
        (seq, most),
    ).fetchall()
    return [SaidData(*row) for row in found]


def models_said(connection: Connection, seq: int) -> list[str]:
    """The logged models of which a client said that a run asked them."""
    asked = "SELECT DISTINCT model FROM run_models WHERE run = ? AND role = 'input'"
    return [model for (model,) in connection.execute(asked, (seq,)).fetchall()]


# -- what a run reached ------------------------------------------------------------------------------------------


def models_logged(connection: Connection, id: str, until: int, most: int) -> list[tuple[str, str]]:
    """Id and name of the models that a run logged by then."""
    found = connection.execute(
        "SELECT id, name FROM logged_models WHERE run = ? AND removed IS NULL AND made <= ? ORDER BY seq LIMIT ?",
        (id, until, most),
    ).fetchall()
    return [(id, name) for id, name in found]


def predictions(connection: Connection, seq: int) -> Predictions | None:
    """None for a run that scored nothing."""
    asked = "SELECT key, value FROM tags WHERE run = ? AND key IN (?, ?)"
    tags: dict[str, str] = dict(connection.execute(asked, (seq, WRITTEN, ROWS)).fetchall())
    rows = tags.get(ROWS, "")
    return Predictions(tags[WRITTEN], int(rows) if rows.isdecimal() else None) if WRITTEN in tags else None


def askers(connection: Connection, version: ModelVersion) -> set[int]:
    """The runs that say that they asked a version: scorings and evaluations, and clients of the model that they
    logged."""
    asked = "SELECT run FROM tags WHERE key = ? AND value = ?"
    rows = connection.execute(asked, (OF_MODEL, version.reference)).fetchall()
    if version.logged_model:
        asked = "SELECT DISTINCT run FROM run_models WHERE model = ? AND role = 'input'"
        rows += connection.execute(asked, (version.logged_model,)).fetchall()
    return {seq for (seq,) in rows}
