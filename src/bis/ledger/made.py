"""What lineage is asked by: which runs made a file, of which commit their code was, and which packages an environment
had.

Files are known by digest, as in `used`: of a run with very many outputs the smallest 4,096. The packages of an
environment lie in the store; they are noted when they are first asked for, once for each environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from bis.digest import Digest, short
from bis.ledger.connection import Connection
from bis.ledger.used import DIGITS, MOST
from bis.nouns.run import PRINTED, Run
from bis.store.squeeze import unpack

AT_ONCE: Final = 500
COMMIT: Final = "mlflow.source.git.commit"
"""The tag by which clients say of which commit their code was."""
READ: Final = ""
"""The name that is noted beside the packages: those of this environment are known, even if there is none."""


def put_made(connection: Connection, seq: int, run: Run) -> None:
    """Note outputs and commit of a run in place of those that it had."""
    code = run.parts.get("code")
    rows = [(output.digest, output.path, output.size) for output in run.outputs]
    _put(connection, seq, rows, str(code.facts.get("revision") or "") if code else "")


def fill_made(connection: Connection) -> None:
    """Note them for all runs of a ledger from before there were these tables."""
    decoder = msgspec.json.Decoder(_Run, strict=False)
    for (seq,) in connection.execute("SELECT seq FROM runs ORDER BY seq").fetchall():
        ((content,),) = connection.execute("SELECT content FROM runs WHERE seq = ?", (seq,)).fetchall()
        try:
            run = decoder.decode(unpack(content))
        except (msgspec.MsgspecError, ValueError):
            continue
        code = run.parts.get("code")
        rows = [(output.digest, output.path, output.size) for output in run.outputs]
        _put(connection, seq, rows, str(code.facts.get("revision") or "") if code else "")


def makers(connection: Connection, digests: Iterable[str]) -> dict[str, list[int]]:
    """The runs (`seq`) that made a file, oldest first: the start of its digest -> runs."""
    wanted = sorted({short(digest, DIGITS) for digest in digests})
    found: dict[str, list[int]] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        asked = f"SELECT digest, run FROM run_outputs WHERE digest IN ({', '.join('?' * len(some))}) ORDER BY run"
        for digest, run in connection.execute(asked, some).fetchall():
            found.setdefault(digest, []).append(run)
    return found


def runs_at(connection: Connection, revision: str) -> list[int]:
    """The runs whose code was of a commit, by its id or the start of it; also those that a client logged with it."""
    start = revision.lower()
    found = connection.execute(
        "SELECT run FROM run_commits WHERE revision >= ? AND revision < ?"
        " UNION SELECT run FROM tags WHERE key = ? AND value >= ? AND value < ?",
        (start, start + "g", COMMIT, start, start + "g"),
    ).fetchall()
    return sorted(run for (run,) in found)


def unread_environments(connection: Connection) -> dict[str, int]:
    """Environments whose packages are not noted yet, each with a run that had it."""
    found = connection.execute(
        "SELECT environment, max(seq) FROM runs WHERE environment <> '' AND NOT EXISTS (SELECT 1 FROM"
        " environment_packages p WHERE p.name = '' AND p.version = '' AND p.environment = runs.environment)"
        " GROUP BY environment"
    ).fetchall()
    return dict(found)


def note_packages(connection: Connection, environment: str, packages: Mapping[str, str]) -> None:
    """The packages of an environment: name, as indexes spell it, -> version."""
    connection.executemany(
        "INSERT INTO environment_packages (name, version, environment) VALUES (?, ?, ?)"
        " ON CONFLICT (name, version, environment) DO NOTHING",
        [(name, version, environment) for name, version in {**packages, READ: ""}.items()],
    )


def runs_with_package(connection: Connection, name: str, version: str) -> list[int]:
    """The runs in whose environment a package was; without a version, in any."""
    where, values = ("p.version = ?", (name, version)) if version else ("TRUE", (name,))
    found = connection.execute(
        f"SELECT DISTINCT r.seq FROM environment_packages p JOIN runs r ON r.environment = p.environment"
        f" WHERE r.environment <> '' AND p.name = ? AND {where} ORDER BY r.seq",
        values,
    ).fetchall()
    return [seq for (seq,) in found]


def versions_of_package(connection: Connection, name: str) -> list[str]:
    found = connection.execute("SELECT DISTINCT version FROM environment_packages WHERE name = ?", (name,)).fetchall()
    return sorted(version for (version,) in found)


class _Output(msgspec.Struct):
    path: str
    digest: Digest
    size: int


class _Part(msgspec.Struct):
    facts: dict[str, Any] = {}


class _Run(msgspec.Struct):
    parts: dict[str, _Part] = {}
    outputs: tuple[_Output, ...] = ()


def _put(connection: Connection, seq: int, outputs: Iterable[tuple[str, str, int]], revision: str) -> None:
    """An empty file is like every other, and a log is not made to be read: they are left out."""
    digests = {short(digest, DIGITS) for digest, path, size in outputs if digest and size and path not in PRINTED}
    connection.execute("DELETE FROM run_outputs WHERE run = ?", (seq,))
    connection.executemany(
        "INSERT INTO run_outputs (digest, run) VALUES (?, ?)", [(digest, seq) for digest in sorted(digests)[:MOST]]
    )
    connection.execute("DELETE FROM run_commits WHERE run = ?", (seq,))
    if revision:
        connection.execute("INSERT INTO run_commits (revision, run) VALUES (?, ?)", (revision, seq))
