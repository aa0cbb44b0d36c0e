"""What the records of a store say is in it: which objects each one names (`docs/format.md`, "Records")."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from bis.digest import Digest, readable
from bis.nouns.annotation import ANNOTATION_SCHEMA
from bis.nouns.dataset import NOTE_SCHEMA, VERSION_SCHEMA, DataVersion
from bis.nouns.run import RUN_SCHEMA, Run

VERDICT_SCHEMA: Final = "bis.verdict/1"
KNOWN: Final = frozenset((RUN_SCHEMA, VERDICT_SCHEMA, ANNOTATION_SCHEMA, VERSION_SCHEMA, NOTE_SCHEMA))
"""A record of another schema may name objects that nobody here knows of."""


class Named(NamedTuple):
    """An object that a record needs."""

    where: str
    """In words: `run train-1 (7f3a00000000): output model.pkl`."""
    digest: Digest


class _Tagged(msgspec.Struct):
    schema: str = ""


def schema_of(record: bytes) -> str:
    """Raises msgspec.MsgspecError for what is no record."""
    return msgspec.json.decode(record, type=_Tagged).schema


def named_by(record: bytes) -> list[Named]:
    """The objects that a record says are in the store; none for a schema that is not known here. Raises
    msgspec.MsgspecError for what is no record."""
    schema = schema_of(record)
    if schema == RUN_SCHEMA:
        return named_by_run(msgspec.json.decode(record, type=Run, strict=False))
    if schema == VERSION_SCHEMA:
        version = msgspec.json.decode(record, type=DataVersion, strict=False)
        return [Named(f"data set {readable(version.name)}@v{version.number}", version.tree)]
    return []


def named_by_run(run: Run) -> list[Named]:
    parts = [(f"{kind} {role}", content) for kind, part in run.parts.items() for role, content in part.trees.items()]
    outputs = [(f"output {output.path}", output.digest) for output in run.outputs if output.kept and not output.target]
    others = [("usage", run.usage.samples), ("times of the output", run.lines), ("standard input", run.stdin)]
    named = [*parts, *outputs, *others]
    return [Named(f"run {run.name} ({run.id}): {readable(what)}", content) for what, content in named if content]
