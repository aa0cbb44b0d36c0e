"""What was removed: collected for good, or taken back while it is still there, and who else needs something."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from bis.digest import Digest
from bis.errors import Damaged, NotFound, counted
from bis.ledger import artifacts, collecting, gone
from bis.ledger.collecting import Doomed
from bis.ledger.runs import SqlLedger
from bis.nouns.model import By
from bis.nouns.part import Finding, Part, PartKind
from bis.steps.home import Home
from bis.steps.registering import registering
from bis.store import doomed
from bis.store.collect import alone
from bis.store.local import LocalStore
from bis.store.mark import reachable
from bis.store.records import named_by_run


@contextmanager
def still_there(store: LocalStore, records: Sequence[Digest]) -> Iterator[None]:
    """Nothing is collected meanwhile, and all that these records need is in the store. Raises NotFound when some of it
    was deleted already."""
    with alone(store):
        gone = doomed.names(lot for lot in doomed.read(store.path) if lot.going)
        try:
            needed = reachable(store, records)
        except (NotFound, Damaged) as error:
            raise _collected(error.what) from None
        missing = sum(not any(place.pack not in gone for place in store.index.find(digest)) for digest in needed)
        if missing:
            raise _collected(f"the store lacks {counted(missing, 'object')} of it")
        yield


def _collected(what: str) -> NotFound:
    return NotFound(
        "it cannot be taken back: its content was collected",
        because=f"{what[:1].upper()}{what[1:]}.",
        hint="bis pull brings it from a remote that has it; a version of data comes back with bis data add PATH",
    )


def of_clients(home: Home, without: Collection[str] = ()) -> list[Digest]:
    """What clients of a server uploaded, but for these folders: no record names it."""
    ledger = home.ledger
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return []
    with ledger.database.reading() as connection:
        return list(artifacts.digests(connection, without))


def removed_by_clients(home: Home, until: int) -> Doomed:
    """What clients removed by a time, and nothing needs that stays."""
    ledger = home.ledger
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return Doomed(until=until)
    with ledger.database.reading() as connection:
        return collecting.doomed(connection, until)


def delete_for_good(home: Home, doomed: Doomed, by: By) -> None:
    """In steps: killed in between, the next collection goes on. Who logs meanwhile has turns in between."""
    for step in collecting.steps(doomed):
        with registering(home) as connection:
            collecting.delete(connection, step, by)


def refuse_collected(home: Home, named: str) -> None:
    """Raises NotFound for a run that a client logged, by its id, that was deleted for good."""
    ledger = home.ledger
    if isinstance(ledger, SqlLedger) and ledger.database.there:
        with ledger.database.reading() as connection:
            gone.refuse_run(connection, named)


def missing_artifacts(home: Home) -> list[Finding]:
    """Uploaded artifacts of which the content is not in the store."""
    ledger = home.ledger
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return []
    with ledger.database.reading() as connection:
        absent = [one for one in artifacts.below(connection, "") if not _is_there(home.store, one.digest)]
    hint = "copy the packs back from a backup, or upload it again"
    return [
        Finding(code="missing-object", text=f"artifact {one.path} is missing: {one.digest}", hint=hint, blocks=True)
        for one in absent
    ]


def _is_there(store: LocalStore, digest: Digest) -> bool:
    try:
        store.size(digest)
    except NotFound:
        return False
    return True


def of_versions(home: Home) -> list[Digest]:
    """What runs that were removed had, and versions of registered models need."""
    ledger = home.ledger
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return []
    with ledger.database.reading() as connection:
        runs = collecting.removed_and_needed(connection)
    found = [named.digest for id in runs for named in named_by_run(ledger.get(id))]
    return [digest for digest in found if home.store.has(digest)]


def under_way(home: Home) -> list[Digest]:
    """What runs without a record yet need of the store: those under way, and those that lost their supervisor."""
    runs = home.ledger.under_way()
    found = [named.digest for run in runs for named in named_by_run(run)]
    for scratch in home.live.iterdir() if home.live.is_dir() else ():
        with suppress(OSError, msgspec.DecodeError):
            parts = msgspec.json.decode((scratch / "parts").read_bytes(), type=dict[PartKind, Part])
            found += [digest for part in parts.values() for digest in part.trees.values()]
    return [digest for digest in found if home.store.has(digest)]
