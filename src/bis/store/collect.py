"""Deleting what nothing needs any more: in two phases, by the pack, while others read and write.

First, packs that hold little or nothing that is needed are doomed: what is needed of them is copied, as it is stored,
into new packs, and their names go into the file `doomed`. From then on nobody relies on them who did not before. Later,
when the writers of that time have ended and the time of grace has passed, it is found out again what is needed; what is
needed and lies nowhere else is copied, and the doomed packs are deleted. Killed at any point, nothing needed is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from bis.digest import Digest
from bis.errors import Damaged, KeepingError, NotFound
from bis.store import ObjectKind, doomed, packs, writers
from bis.store.choose import Choice, KindGone, pack_names
from bis.store.doomed import Lot
from bis.store.local import LocalStore, digest_of, raw_of
from bis.store.mark import Marking, reachable
from bis.store.move import Moving
from bis.store.records import sort_out
from bis.store.trouble import BUSY, NEWER, trouble

LOCK: Final = "collecting"
Progress = Callable[[str], None]


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection did, or, in a dry run, would do."""

    unneeded: dict[ObjectKind, KindGone] = {}
    """What nothing needs, in the packs that were doomed now."""
    doomed: int = 0
    """Packs that were doomed now."""
    moved: int = 0
    """Bytes on disk that were written anew, as they are needed."""
    deleted: int = 0
    """Packs that were deleted."""
    freed: int = 0
    """Bytes of those."""
    waiting: int = 0
    """Bytes of packs that are doomed and not deleted yet."""
    until: str = ""
    """When the time of grace of the last of those has passed."""
    writers: tuple[str, ...] = ()
    """Those that are waited for."""
    left: tuple[str, ...] = ()
    """Packs that were left alone as they are damaged."""


@contextlib.contextmanager
def alone(store: LocalStore) -> Iterator[None]:
    """Nobody else collects meanwhile, or takes back what was removed. Raises KeepingError when somebody does."""
    path = store.path / LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise trouble(error, "lock", path) from error
    try:
        if not packs.lock(fd):
            raise KeepingError("`bis gc` is at work in this store", hint="try again when it has ended", code=BUSY)
        yield
    finally:
        os.close(fd)


def collect(
    store: LocalStore,
    *,
    now: datetime,
    grace: timedelta,
    at_once: bool = False,
    dry: bool = False,
    also: Iterable[Digest] = (),
    named: Callable[[], Iterable[Digest]] = tuple,
    without: Collection[str] = (),
    progress: Progress = lambda text: None,
) -> Collected:
    """Delete what no record needs, nor anything in `also`, nor what is `named` elsewhere. That is asked for each time
    when it is found out what is needed, as others go on naming; what of it is not there is passed over. With `at_once`
    the time of grace is none, and what is doomed now is deleted now, unless a writer lives. `without`: runs that a dry
    run takes for removed, of which that would have been written down before.

    Raises KeepingError where it cannot be known what is needed, and touches nothing then.
    """
    also = list(also)
    store.rest()
    if dry:
        return _Collection(store, now, grace, named, progress, without).plan(also)
    with alone(store):
        packs.remove_unfinished(store.packs)
        return _Collection(store, now, timedelta(0) if at_once else grace, named, progress).work(also, at_once)


class _Collection:
    """One collection: what each step needs, kept together."""

    def __init__(
        self,
        store: LocalStore,
        now: datetime,
        grace: timedelta,
        named: Callable[[], Iterable[Digest]],
        progress: Progress,
        without: Collection[str] = (),
    ) -> None:
        self.without = without
        self.store, self.now, self.grace, self.named, self.progress = store, now, grace, named, progress
        self.lots = list(doomed.read(store.path))
        self.done = Collected()

    def plan(self, also: list[Digest]) -> Collected:
        alive = writers.alive(self.store.path)
        choice = self.choose(self.needed(also), alive)
        self.note(unneeded=choice.unneeded(), doomed=len(choice.chosen), moved=choice.needed_bytes())
        return self.report(alive)

    def work(self, also: list[Digest], at_once: bool) -> Collected:
        self.finish_going()
        self.lots = [self.not_in_future(lot) for lot in self.lots]
        alive = self.learn_writers()
        ripe = self.ripe(alive)
        needed = self.needed(also)
        self.doom(self.choose(needed, alive), needed)
        if at_once:
            ripe = self.ripe(writers.alive(self.store.path))
            needed = self.needed(also) if ripe else needed
        if ripe:
            self.delete(ripe, needed)
        return self.report(writers.alive(self.store.path))

    def needed(self, also: Iterable[Digest]) -> set[bytes]:
        """Everything that is needed. All packs are read anew: an index that is behind must not cost an object."""
        self.progress("reading the lists of all packs")
        self.store.index.rebuild()
        self.progress("finding out what is needed")
        store = self.store
        try:
            told = ((digest, store.get_bytes(digest)) for digest in list(store.list("record")))
            records = sort_out(told, without=self.without)
            # The records of what was removed stay, and tell that it was there.
            removed = {raw_of(digest) for digest in records.removed}
            return reachable(store, (*records.needed, *also, *self.there()), removed)
        except (NotFound, Damaged) as error:
            raise KeepingError(
                f"it cannot be known what is needed: {error.what}",
                because="Nothing was deleted.",
                hint=error.hint or "bis verify",
                code=error.code if error.code == NEWER else "",
            ) from error

    def there(self) -> Iterator[Digest]:
        """What is named elsewhere, as far as it is in the store."""
        for digest in self.named():
            with contextlib.suppress(NotFound):
                self.store.size(digest)
                yield digest

    # -- the first phase -------------------------------------------------------------------------------------------

    def choose(self, needed: Collection[bytes], alive: dict[str, float]) -> Choice:
        return Choice(self.store, needed, doomed.names(self.lots), min(alive.values(), default=None))

    def doom(self, choice: Choice, needed: Collection[bytes]) -> None:
        if not choice.chosen:
            self.note(left=tuple(sorted(choice.unsound)))
            return
        others = choice.others()
        taken = doomed.names(self.lots) | choice.chosen
        moving = Moving(self.store, taken, self.progress)
        moving.move(choice.chosen, others, needed)
        gone = choice.chosen - moving.failed
        if gone:
            self.lots.append(Lot(made=_text(self.now), packs=tuple(sorted(gone))))
            doomed.write(self.store.path, self.lots)
            self.learn_writers()
        self.note(
            unneeded=choice.unneeded(),
            doomed=len(gone),
            moved=self.done.moved + moving.size,
            left=tuple(sorted(choice.unsound | moving.failed)),
        )

    def learn_writers(self) -> dict[str, float]:
        """Who lived when, or after, a lot was doomed: found out when everybody can see that it is."""
        alive = writers.alive(self.store.path)
        names = tuple(sorted(alive))
        self.lots = [
            lot if lot.writers is not None else msgspec.structs.replace(lot, writers=names) for lot in self.lots
        ]
        if tuple(self.lots) != doomed.read(self.store.path):
            doomed.write(self.store.path, self.lots)
        return alive

    # -- the second phase ------------------------------------------------------------------------------------------

    def ripe(self, alive: Collection[str]) -> list[Lot]:
        """The lots whose time of grace has passed, and whose writers have all ended."""
        return [
            lot
            for lot in self.lots
            if self.now >= _moment(lot.made) + self.grace and not set(alive) & set(lot.writers or ())
        ]

    def not_in_future(self, lot: Lot) -> Lot:
        """A clock went backwards: the time of grace begins now."""
        return lot if _moment(lot.made) <= self.now else msgspec.structs.replace(lot, made=_text(self.now))

    def delete(self, ripe: list[Lot], needed: set[bytes]) -> None:
        """`needed` grows by what others lean on."""
        all_doomed = doomed.names(self.lots)
        there = pack_names(self.store)
        staying = there - all_doomed
        _add_what_others_need(self.store, staying, needed)
        moving = Moving(self.store, all_doomed, self.progress)
        moving.move(doomed.names(ripe) & there, staying, needed)
        self.note(moved=self.done.moved + moving.size, left=(*self.done.left, *sorted(moving.failed)))
        self.lots = [_without(lot, moving.failed, going=lot in ripe) for lot in self.lots]
        doomed.write(self.store.path, self.lots)
        self.finish_going()

    def finish_going(self) -> None:
        """Delete what nothing needs. Also where a collection was killed at it."""
        going = [lot for lot in self.lots if lot.going]
        if not going:
            return
        self.progress("deleting")
        size = count = 0
        try:
            for name in sorted(doomed.names(going)):
                path = self.store.packs / name
                with contextlib.suppress(FileNotFoundError):
                    size, count = size + path.stat().st_size, count + 1
                    path.unlink()
            packs.sync_folder(self.store.packs)
        except OSError as error:
            raise trouble(error, "delete packs in", self.store.packs) from error
        self.lots = [lot for lot in self.lots if not lot.going]
        doomed.write(self.store.path, self.lots)
        self.store.index.catch_up(sure=True)
        self.note(deleted=self.done.deleted + count, freed=self.done.freed + size)

    # -- telling ---------------------------------------------------------------------------------------------------

    def note(self, **fields: object) -> None:
        self.done = msgspec.structs.replace(self.done, **fields)

    def report(self, alive: Collection[str]) -> Collected:
        sizes = 0
        for name in doomed.names(self.lots):
            with contextlib.suppress(OSError):
                sizes += (self.store.packs / name).stat().st_size
        until = max((_moment(lot.made) + self.grace for lot in self.lots), default=None)
        waited = {name for lot in self.lots for name in lot.writers or () if name in alive}
        self.note(waiting=sizes, until=_text(until) if until else "", writers=tuple(sorted(waited)))
        return self.done


def _add_what_others_need(store: LocalStore, staying: Collection[str], needed: set[bytes]) -> None:
    """What killed writers left, in packs that stay, must not be left without what it names."""
    leaning = {
        place.item.digest
        for place in store.index.copies()
        if place.pack in staying and place.item.digest not in needed and packs.leans(place.item)
    }
    marking = Marking(store)
    for digest in leaning:
        with contextlib.suppress(NotFound, Damaged):
            marking.follow([digest_of(digest)], needed)


def _without(lot: Lot, failed: set[str], *, going: bool) -> Lot:
    return msgspec.structs.replace(lot, packs=tuple(name for name in lot.packs if name not in failed), going=going)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
