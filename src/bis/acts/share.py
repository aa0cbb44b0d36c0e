"""Share a store: push what a remote has not, fetch what it has, clone a project from it, mend damage from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from bis.digest import Digest, canonical, digest_bytes
from bis.errors import UsageError
from bis.ledger.runs import SqlLedger, reindex
from bis.nouns.dataset import Held
from bis.nouns.part import Finding
from bis.nouns.run import Run
from bis.settings import FOLDER, load_settings
from bis.steps.home import Home, open_home
from bis.steps.keeping import keep_all, newest_record
from bis.steps.meeting import RECEIVING, SENDING, Meeting, Told, bring_missing, bring_needed, chosen, packs_of, telling
from bis.steps.remotes import FIRST, add
from bis.steps.shallow import demand_whole, make_shallow, make_whole, shallow_of
from bis.store.known import state_of
from bis.store.local import digest_of
from bis.store.mark import reachable
from bis.store.mending import damaged_packs, forget_aside, missing, set_aside
from bis.store.records import sort_out
from bis.store.remote.address import checked, open_remote
from bis.store.transfer import Moved, Receiving, check_remote, no_store, send, uncovered
from bis.store.trouble import shown


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What a push, a fetch or a pull did."""

    remote: str
    url: str
    objects: int = 0
    size: int = 0
    """Bytes that travelled."""
    packs: int = 0
    records: int = 0
    """Of the objects: runs, verdicts, versions of data, and what was said of them."""
    runs: int = 0
    """New in the ledger."""
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Finding, ...] = ()
    """What is no damage, and should be known: second records of runs, which were passed over."""


def push(
    home: Home,
    name: str,
    variables: Mapping[str, str],
    *,
    what: Sequence[Run | Held] = (),
    told: Told = lambda text, done, total: None,
) -> Shared:
    """Send what the remote has not: everything, or what these runs and versions need. Nothing that is there is changed,
    so two who push at once lose nothing. What arrived before an error stays, and is not sent again."""
    name, url = chosen(name, home.project, home.settings, variables)
    if (origin := shallow_of(home)) and name != origin:
        demand_whole(home, f"be pushed to {name}")
    # What a shallow clone has and its origin has not was recorded here, and is all that it can send.
    what = () if origin else what
    keep_all(home)
    roots = _roots(home, what)
    with Meeting(home, url, variables) as meeting:
        fresh, asked = meeting.unserved(roots)
        if not fresh or (what and not asked):
            return Shared(remote=name, url=meeting.remote.url)
        there, findings = meeting.learn(told)
        wanted = reachable(home.store, asked) if what else None
        lacking = [
            copies[0] for copies in meeting.lacking(fresh, there) if wanted is None or copies[0].item.digest in wanted
        ]
        moved = Moved()
        if lacking:
            moved = send(home.store, meeting.remote, meeting.known, lacking, telling(told, SENDING))
        findings += moved.findings
        if not findings:
            served = fresh if wanted is None else asked if meeting.are_here(wanted) else []
            meeting.serves(served, [*there, *moved.names])
    return _shared(name, meeting.remote.url, moved, findings)


def _roots(home: Home, what: Iterable[Run | Held]) -> list[Digest]:
    """The records of runs with all that was said of them, and of the repeats; the records of versions."""
    from bis.steps.built import built_of

    found: list[Digest] = []
    for one in what:
        if isinstance(one, Held):
            found.append(one.record)
            continue
        record = newest_record(home, one) if one.tracked else home.ledger.record(one.id)
        if not record:
            raise UsageError(f"run {one.id[:8]} has not ended yet", hint=f"bis show {one.id[:8]}")
        found.append(record)
        beside = (*home.ledger.annotations(one.id), *home.ledger.verdicts(one.id), *built_of(home, one.id))
        found += [digest_bytes(canonical(said)) for said in beside]
    return [digest for digest in dict.fromkeys(found) if home.store.has(digest)]


def fetch(
    home: Home,
    name: str,
    variables: Mapping[str, str],
    *,
    what: Sequence[Run | Held] = (),
    told: Told = lambda text, done, total: None,
) -> Shared:
    """Bring what the remote has and this store has not, each object proved before it is kept; or only what these runs
    and versions need. A damaged pack is told of, and the rest comes. The ledger does not know of it yet.

    What runs and versions need that were removed stays there, as does what nobody needs; in a shallow clone, all but
    records and trees.
    """
    name, url = chosen(name, home.project, home.settings, variables)
    if what:
        return _shared(name, url, bring_needed(home, name, _roots(home, what), told), ())
    shallow = bool(shallow_of(home))
    way = "fetch shallow" if shallow else "fetch"
    with Meeting(home, url, variables) as meeting:
        if meeting.known.is_settled(url, way, state_of(meeting.here, meeting.listed)):
            return Shared(remote=name, url=meeting.remote.url)
        # The name of a pack that is known vouches for what is in it, whatever has become of the remote.
        if not (meeting.listed and meeting.listed.keys() <= meeting.known.sizes().keys()):
            meeting.check()
        sound, findings = meeting.learn(told)
        with Receiving(home.store, meeting.remote, telling(told, RECEIVING)) as receiving:
            receiving.bring(meeting.that_tell(sound, small=not shallow))
            needed = (lambda: set[bytes]()) if shallow else lambda: _lacking(home, receiving)
            bring_missing(meeting, receiving, sound, needed)
        moved = receiving.moved()
        findings += moved.findings
        if not findings:
            meeting.known.settle(url, way, state_of(packs_of(home.store), meeting.listed))
    return _shared(name, meeting.remote.url, moved, findings)


def _lacking(home: Home, receiving: Receiving) -> set[bytes]:
    return missing(home.store, _needed(home, receiving), receiving.record)


def _needed(home: Home, receiving: Receiving) -> list[Digest]:
    """All records, those that just came among them, but for those of what was removed."""
    here = ((digest, home.store.get_bytes(digest)) for digest in list(home.store.list("record")))
    come = ((digest_of(raw), receiving.record(raw) or b"") for raw in receiving.held)
    return sort_out(chain(here, come), strict=False).needed


def pull(
    home: Home,
    name: str,
    variables: Mapping[str, str],
    *,
    whole: bool = False,
    told: Told = lambda text, done, total: None,
) -> Shared:
    """Fetch, and take what is new into the ledger. Files of data stay in the store until somebody gets them. `whole`
    makes a shallow clone one that has all."""
    if whole:
        make_whole(home)
    shared = fetch(home, name, variables, told=told)
    keep_all(home)
    before = home.ledger.count()
    assert isinstance(home.ledger, SqlLedger)
    known = set(home.ledger.passed_over())
    reindex(home.store, home.ledger)
    shared = msgspec.structs.replace(shared, runs=home.ledger.count() - before)
    others = [one for one in home.ledger.passed_over() if one not in known]
    if not others:
        return shared
    from bis.steps.recorded import told_of_seconds

    return msgspec.structs.replace(shared, remarks=tuple(told_of_seconds(others, home.ledger)))


def clone(
    url: str,
    folder: Path,
    variables: Mapping[str, str],
    *,
    seen_from: Path,
    shallow: bool = False,
    told: Told = lambda text, done, total: None,
) -> tuple[Home, Shared]:
    """Make a project in `folder` that has all that the remote has, which is its `origin` from then on; if `shallow`,
    contents come when they are needed. The remote is asked before anything is made."""
    url = checked(url, seen_from)
    if (folder / FOLDER).exists():
        hint = f"cd {shown(folder)}; bis remote add {FIRST} {url}; bis pull"
        raise UsageError(f"{shown(folder / FOLDER)} is there already", hint=hint)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{shown(folder)} is a file", hint="name another folder")
    remote = open_remote(url, variables)
    try:
        if not check_remote(remote):
            raise no_store(remote)
    finally:
        remote.close()
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        settings = load_settings(folder, variables)
        home = open_home(folder, settings, variables=variables)
        if "://" in url:  # a folder is told no secrets
            from bis.steps.trust import trust

            trust(url, variables)
        add(FIRST, url, folder, settings, seen_from=seen_from)
        if shallow:
            make_shallow(home, FIRST)
    except BaseException:
        shutil.rmtree(folder if made else folder / FOLDER, ignore_errors=True)
        raise
    return home, pull(home, FIRST, variables, told=told)


def mend(home: Home, name: str, variables: Mapping[str, str], *, told: Told = lambda text, done, total: None) -> Shared:
    """Bring what `sweep.verify` found damaged or missing here. What is whole in damaged packs is written anew, and they
    are set aside and, when all that they held is whole again, deleted. The ledger says which records should be here."""
    name, url = chosen(name, home.project, home.settings, variables)
    store, records = home.store, home.ledger.records()
    with Meeting(home, url, variables) as meeting:
        meeting.check()
        sound, findings = meeting.learn(told)
        damaged = damaged_packs(store)
        listed = set(chain.from_iterable(damaged.values()))
        set_aside(store, damaged)
        with Receiving(store, meeting.remote, telling(told, RECEIVING)) as receiving:
            roots = {*records, *store.list("record")}
            bring_missing(meeting, receiving, sound, lambda: listed | missing(store, roots, receiving.record))
        moved = receiving.moved()
    if listed <= {place.item.digest for place in store.index.copies()} and not missing(store, records):
        forget_aside(store)
    return _shared(name, meeting.remote.url, moved, [*findings, *moved.findings])


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a remote holds."""

    remote: str
    url: str
    packs: int
    size: int
    to_push: int
    """Objects that it lacks."""
    to_pull: int
    """Objects that this store lacks."""
    findings: tuple[Finding, ...] = ()


def look(home: Home, name: str, variables: Mapping[str, str], *, told: Told = lambda text, done, total: None) -> Look:
    """Ask a remote what it holds. Nothing is changed, here or there."""
    name, url = chosen(name, home.project, home.settings, variables)
    with Meeting(home, url, variables) as meeting:
        meeting.check()
        there, findings = meeting.learn(told)
        known = meeting.known
        return Look(
            remote=name,
            url=meeting.remote.url,
            packs=len(meeting.listed),
            size=sum(meeting.listed.values()),
            to_push=sum(1 for _ in uncovered(meeting.copies_here(), known.places(there))),
            to_pull=sum(1 for _ in uncovered(known.places(there), meeting.copies_here())),
            findings=tuple(findings),
        )


def _shared(name: str, url: str, moved: Moved, findings: Iterable[Finding]) -> Shared:
    return Shared(
        remote=name,
        url=url,
        objects=moved.objects,
        size=moved.size,
        packs=moved.packs,
        records=moved.records,
        findings=tuple(findings),
    )
