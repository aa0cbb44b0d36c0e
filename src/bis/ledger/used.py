"""Which files the data part of each run holds, by digest, so that it can be asked which runs used a version of data.

Of a run with very many inputs the smallest 4,096 digests are noted: a sample that is the same whoever takes it, so
that a run which read a whole data set is found by any of them, and the table stays small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bis.digest import Digest, short
from bis.ledger.connection import Connection
from bis.nouns.run import Run
from bis.store.squeeze import unpack

MOST: Final = 4096
DIGITS: Final = 24
AT_ONCE: Final = 1000


def put_used(connection: Connection, seq: int, run: Run) -> None:
    """Note the inputs of a run in place of those that it had."""
    part = run.parts.get("data")
    _put(connection, seq, part.facts.get("inputs", ()) if part else ())


def fill_used(connection: Connection) -> None:
    """Note the inputs of all runs of a ledger from before there was this table."""
    decoder = msgspec.json.Decoder(_Run, strict=False)
    for seq, content in connection.execute("SELECT seq, content FROM runs").fetchall():
        try:
            part = decoder.decode(unpack(content)).parts.get("data")
        except (msgspec.MsgspecError, ValueError):
            continue
        _put(connection, seq, part.facts.get("inputs", ()) if part else ())


def runs_with(connection: Connection, digests: Iterable[Digest]) -> set[int]:
    """The runs (`seq`) that hold one of these."""
    wanted = sorted({short(digest, DIGITS) for digest in digests})
    found: set[int] = set()
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        some += some[-1:] * (AT_ONCE - len(some))  # one statement for any number: it is prepared once
        asked = f"SELECT DISTINCT run FROM data_used WHERE digest IN ({', '.join('?' * AT_ONCE)})"
        found.update(run for (run,) in connection.execute(asked, some).fetchall())
    return found


class _Part(msgspec.Struct):
    facts: dict[str, Any] = {}


class _Run(msgspec.Struct):
    parts: dict[str, _Part] = {}


def _put(connection: Connection, seq: int, inputs: Iterable[Any]) -> None:
    digests = {short(row["digest"], DIGITS) for row in inputs if row.get("digest")}
    connection.execute("DELETE FROM data_used WHERE run = ?", (seq,))
    rows = [(digest, seq) for digest in sorted(digests)[:MOST]]
    connection.executemany("INSERT INTO data_used (digest, run) VALUES (?, ?)", rows)
