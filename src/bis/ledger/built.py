"""What was built of models and runs, for lineage. Each function is one question or change within the caller's
transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bis.digest import Digest, canonical
from bis.ledger.connection import Connection
from bis.ledger.moments import micros
from bis.nouns.built import Built


def put(connection: Connection, built: Built, record: Digest) -> None:
    """Note a record; one that is known stays."""
    connection.execute(
        "INSERT INTO built (record, digest, run, model, image, made, content) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (record) DO NOTHING",
        (
            record,
            built.digest,
            built.run,
            built.model,
            built.image.rpartition("@")[2],
            micros(built.made),
            canonical(built),
        ),
    )


def by_digest(connection: Connection, digest: str) -> list[Built]:
    """The records of one thing, oldest first: it may have been built, or sent somewhere, several times."""
    return _read(connection, "digest = ?", (digest,))


def of_run(connection: Connection, run: str) -> list[Built]:
    """All records of what was built of a run, or of a model that it made, by its id."""
    return _read(connection, "run = ?", (run,))


def of_model(connection: Connection, reference: str) -> list[Built]:
    """What was built of a version of a model: each thing once."""
    return once(_read(connection, "model = ?", (reference,)))


def of_either(connection: Connection, run: str, model: str) -> list[Built]:
    """All records of what was built of a run or of a version of a model, oldest first; an empty one is none."""
    return _read(connection, "(run = ? AND run <> '') OR (model = ? AND model <> '')", (run, model))


def with_image(connection: Connection, digest: str) -> list[Built]:
    """What starts an image: each thing once."""
    return once(_read(connection, "image = ?", (digest,)))


def once(found: Sequence[Built]) -> list[Built]:
    """The newest record of each thing."""
    return list({one.digest: one for one in found}.values())


def _read(connection: Connection, where: str, values: Sequence[Any]) -> list[Built]:
    found = connection.execute(f"SELECT content FROM built WHERE {where} ORDER BY made, record", values).fetchall()
    return [msgspec.json.decode(bytes(content), type=Built, strict=False) for (content,) in found]
