"""What the records of a store say is in it: which objects each one names (`docs/format.md`, "Records")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from bis.digest import Digest, readable, short
from bis.errors import Damaged
from bis.nouns.annotation import ANNOTATION_SCHEMA
from bis.nouns.built import BUILT_SCHEMA
from bis.nouns.dataset import NOTE_SCHEMA, VERSION_SCHEMA, DataAnnotation, DataVersion
from bis.nouns.model_event import EVENT_SCHEMA
from bis.nouns.run import RUN_SCHEMA, Run
from bis.nouns.tracked import TRACKED_SCHEMA, Tracked
from bis.store.trouble import NEWER

VERDICT_SCHEMA: Final = "bis.verdict/1"
KNOWN: Final = frozenset(
    (
        *(RUN_SCHEMA, VERDICT_SCHEMA, ANNOTATION_SCHEMA, VERSION_SCHEMA, NOTE_SCHEMA, TRACKED_SCHEMA, EVENT_SCHEMA),
        BUILT_SCHEMA,
    )
)
"""A record of another schema may name objects that nobody here knows of."""


class Named(NamedTuple):
    """An object that a record needs."""

    where: str
    """In words: `run train-1 (7f3a00000000): output model.pkl`."""
    digest: Digest


class _Tagged(msgspec.Struct):
    schema: str = ""


class _Subject(msgspec.Struct):
    """What of a record says whom it is about, and whether that is removed."""

    schema: str = ""
    id: str = ""
    run: str = ""
    about: tuple[Digest, ...] = ()
    made: str = ""
    hidden: bool | None = None


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
        what = f"data set {readable(version.name)}@v{version.number}"
        return [Named(what, digest) for digest in (version.tree, version.seen) if digest]
    if schema == NOTE_SCHEMA:
        said = msgspec.json.decode(record, type=DataAnnotation, strict=False)
        return [Named(f"data set {readable(said.name)}", said.seen)] if said.seen else []
    if schema == TRACKED_SCHEMA:
        return list(_named_by_tracked(msgspec.json.decode(record, type=Tracked, strict=False)))
    return []


def _named_by_tracked(run: Tracked) -> Iterator[Named]:
    what = f"run {readable(run.name)} ({run.id})"
    if run.history:
        yield Named(f"{what}: history of metrics", run.history)
    for file in run.files:
        yield Named(f"{what}: artifact {readable(file.path)}", file.digest)


def named_by_run(run: Run) -> list[Named]:
    parts = [(f"{kind} {role}", content) for kind, part in run.parts.items() for role, content in part.trees.items()]
    outputs = [(f"output {output.path}", output.digest) for output in run.outputs if output.kept and not output.target]
    others = [("usage", run.usage.samples), ("times of the output", run.lines), ("standard input", run.stdin)]
    named = [*parts, *outputs, *others, ("history of metrics", run.history)]
    return [Named(f"run {run.name} ({run.id}): {readable(what)}", content) for what, content in named if content]


class Records(NamedTuple):
    """The records of a store, by whether what they name is to be kept."""

    needed: list[Digest]
    removed: set[Digest]
    """Of runs and versions of data that a person removed, and of runs of clients as they were before: they tell what
    was, and their content may go."""


def sort_out(records: Iterable[tuple[Digest, bytes]], *, strict: bool = True, without: Collection[str] = ()) -> Records:
    """If `strict`, raises Damaged for a record that cannot be read or has a schema that is not known here: what it
    names cannot be known. Runs that are named in `without` count as removed, though no record says so yet."""
    ids: dict[Digest, str] = {}
    said: list[tuple[str, Digest, tuple[str, ...], bool]] = []
    newest: dict[str, tuple[str, Digest]] = {}
    before: set[Digest] = set()
    for digest, data in records:
        try:
            subject = msgspec.json.decode(data, type=_Subject, strict=False)
        except msgspec.MsgspecError as error:
            if strict:
                raise Damaged(f"record {short(digest)} cannot be read: {error}", hint="bis verify") from None
            subject = _Subject()
        if strict and subject.schema not in KNOWN:
            raise Damaged(
                f"record {short(digest)} is of a kind that this bis does not know: {subject.schema!r}",
                because="A newer bis wrote it. What it needs is not known here.",
                hint="uv tool upgrade bis",
                code=NEWER,
            )
        ids[digest] = subject.id
        if subject.schema == TRACKED_SCHEMA:
            before.add(digest)
            newest[subject.id] = max(newest.get(subject.id, ("", Digest(""))), (subject.made, digest))
            subject = msgspec.structs.replace(subject, run=subject.id)
        if subject.hidden is not None:
            said.append((subject.made, digest, subject.about or (subject.run,), subject.hidden))
    hidden: dict[str, bool] = {}
    for _, _, about, state in sorted(said):
        hidden |= dict.fromkeys(about, state)
    hidden |= dict.fromkeys(without, True)
    before -= {digest for _, digest in newest.values()}
    removed = {digest for digest, id in ids.items() if hidden.get(id) or hidden.get(digest)} | before
    return Records([digest for digest in ids if digest not in removed], removed)
