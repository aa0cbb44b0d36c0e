"""Sending objects to a remote and receiving them: only what is missing, in parallel, in bounded memory."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby
from operator import itemgetter
from typing import IO, Final, NamedTuple

from blake3 import blake3

from bis.digest import short
from bis.errors import BisError, Damaged, KeepingError, NotFound
from bis.nouns.part import Finding
from bis.store import chunks, deltas, packs
from bis.store.crew import in_order
from bis.store.index import Place
from bis.store.known import Known, damaged_pack
from bis.store.local import FORMAT, SERVES, VERSION, LocalStore, digest_of, pieces, version_in
from bis.store.packs import DELTA, HEAD, KINDS, NUMBER_OF_KIND, PARTS, RAW, WHOLE, Form, Item
from bis.store.parcels import Damages, Parcel, Taken, blocks, broken, compose, stage
from bis.store.proofs import Wholes
from bis.store.remote import NO_SUCH_REMOTE, Remote
from bis.store.trouble import NOT_A_STORE

Progress = Callable[[int, int], None]
"""Called with bytes that have travelled, and those that are to."""
Copies = list[Place]
"""Where an object lies, in the order in which they are tried."""

RANGE: Final = 2 << 20
"""So much is asked for at once."""
OFFSET: Final = Item._fields.index("offset")
GAP: Final = 64 << 10
"""What is not wanted and shorter than this is read, too, rather than asked around."""


class Moved(NamedTuple):
    objects: int = 0
    size: int = 0
    packs: int = 0
    records: int = 0
    findings: tuple[Finding, ...] = ()
    names: tuple[str, ...] = ()
    """Of the packs that were put there."""


def check_remote(remote: Remote) -> int:
    """The version of the store there; 0 where there is none. Raises KeepingError for one that a newer bis wrote, and
    for what is no store."""
    text = remote.format()
    if not text:
        return 0
    version = version_in(text, remote.url)
    if version is None:
        raise KeepingError(
            f"what lies in {remote.url} is no store: its file `format` says {text[:40]!r}",
            because=f"Expected: {FORMAT} {VERSION}",
            hint="bis remote list shows the URLs",
            code=NOT_A_STORE,
        )
    return version


def no_store(remote: Remote) -> NotFound:
    return NotFound(
        f"there is no store in {remote.url}", hint="bis push makes one, where the runs are", code=NO_SUCH_REMOTE
    )


def uncovered(ours: Iterable[Place], theirs: Iterable[Place]) -> Iterator[Copies]:
    """The objects of `ours` which `theirs` cannot serve. Both are sorted by digest."""
    others = groupby(theirs, key=lambda place: place.item.digest)
    digest, there = next(others, (None, iter(())))
    for mine, group in groupby(ours, key=lambda place: place.item.digest):
        while digest is not None and digest < mine:
            digest, there = next(others, (None, iter(())))
        places = list(group)
        if digest != mine and len(places) == 1:  # as nearly always
            yield places
            continue
        same = [place.item for place in there] if digest == mine else []
        by_use: dict[tuple[int, bool], Copies] = {}
        for place in places:
            by_use.setdefault((place.item.kind, pieces(place.item)), []).append(place)
        yield from (copies for copies in by_use.values() if not _serves(same, copies[0].item))


def _serves(items: Sequence[Item], wanted: Item) -> bool:
    """Whether one of these can stand for an object, also as a piece of others where that can."""
    serves = SERVES[KINDS[wanted.kind - 1]]
    return any(map(serves, items)) and (not pieces(wanted) or any(map(pieces, items)))


# -- sending ---------------------------------------------------------------------------------------------------------


def send(
    store: LocalStore, remote: Remote, known: Known, places: Sequence[Place], progress: Progress = lambda d, t: None
) -> Moved:
    """Put these objects there. After an error, what has arrived stays: who sends again sends the rest.

    A pack goes on its way when those that hold what it needs have arrived, so that nothing there is ever without what
    it is put together from, and records come last.
    """
    if check_remote(remote) < (VERSION if places else 1):
        remote.declare(f"{FORMAT} {VERSION}\n")
    findings: list[Finding] = []
    damages, left = Damages(findings.append), list(places)
    total, sent, arrived = sum(HEAD.size * 2 + place.item.stored for place in places), _Counter(), list[Parcel]()
    while left:
        sending = _Sending(store, remote, damages, sent)
        for parcel in sending.send(left):
            if parcel:
                known.add(parcel.name, parcel.size, parcel.items)
                arrived.append(parcel)
            progress(min(sent.value, total), total)
        left = sending.left(left)
    return Moved(
        sum(len(parcel.places) for parcel in arrived),
        sum(parcel.size for parcel in arrived),
        len(arrived),
        sum(place.item.kind == NUMBER_OF_KIND["record"] for parcel in arrived for place in parcel.places),
        tuple(findings),
        tuple(parcel.name for parcel in arrived),
    )


class _Sending:
    """Packs on their way, as long as nothing turns out to be damaged."""

    def __init__(self, store: LocalStore, remote: Remote, damages: Damages, sent: _Counter) -> None:
        self._store, self._remote, self._damages, self._sent = store, remote, damages, sent
        self._under_way: dict[Future[bool], Parcel] = {}
        self._there: list[Parcel] = []
        self._failed = False

    def send(self, places: Sequence[Place]) -> Iterator[Parcel | None]:
        """Each parcel that arrived, and now and then none."""
        most = self._remote.at_once
        with ThreadPoolExecutor(most, thread_name_prefix="bis") as pool:
            try:
                for parcel in compose(self._store, places, self._damages):
                    yield from self._arrived(most - 1, parcel.high)
                    if self._failed:
                        break
                    self._under_way[pool.submit(self._one, parcel)] = parcel
                yield from self._arrived(0)
            except BaseException:
                for future in self._under_way:
                    future.cancel()
                self._sent.stop()
                raise

    def _arrived(self, most: int, below: int = 0) -> Iterator[Parcel | None]:
        """Wait until no more than so many are under way, and none that holds something below that stage."""
        while len(self._under_way) > most or any(parcel.low < below for parcel in self._under_way.values()):
            done, _ = wait(self._under_way, 0.2, FIRST_COMPLETED)
            for future in done:
                parcel = self._under_way.pop(future)
                if future.result():
                    self._there.append(parcel)
                    yield parcel
                else:
                    self._look(parcel)
            yield None

    def _one(self, parcel: Parcel) -> bool:
        """Whether it arrived; it does not where something in it is damaged."""
        taken = Taken(blocks(self._store, parcel, self._sent.add))
        try:
            self._remote.write(parcel.name, parcel.size, taken)
        except Exception:
            if not taken.damaged:
                raise
        return not taken.damaged

    def _look(self, parcel: Parcel) -> None:
        """Find out what in a parcel is damaged, all of it."""
        self._failed = True
        for place in broken(self._store, parcel):
            self._damages.add(place)

    def left(self, places: Sequence[Place]) -> list[Place]:
        """What is to be put together anew, without what is damaged and what needs it."""
        if not self._failed:
            return []
        there = {(place.pack, place.item.offset) for parcel in self._there for place in parcel.places}
        return [place for place in places if (place.pack, place.item.offset) not in there]


class _Counter:
    """Bytes handed out by all threads. Stopped: they give up at the next block."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()
        self._stopped = False

    def add(self, size: int) -> None:
        with self._lock:
            if self._stopped:
                raise KeepingError("given up, as another transfer failed")
            self.value += size

    def stop(self) -> None:
        self._stopped = True


# -- receiving -------------------------------------------------------------------------------------------------------


class _Range(NamedTuple):
    """Bytes of a pack to be asked for, with the objects that are wanted of them."""

    pack: str
    items: tuple[Item, ...]

    @property
    def start(self) -> int:
        return self.items[0].offset

    @property
    def size(self) -> int:
        return self.items[-1].after - self.start


class _Got(NamedTuple):
    """An object that came, or what is wrong with it."""

    pack: str
    item: Item
    payload: bytes | memoryview
    """As part of all that came with it, which it keeps in memory."""
    wrong: str = ""


class _Run(NamedTuple):
    """Objects that came as they are to be kept, proved, one behind the other."""

    pack: str
    items: list[Item]
    stored: memoryview
    """Heads and payloads."""


RECORD: Final = NUMBER_OF_KIND["record"]
_Use = tuple[bytes, int, bool]
"""An object and what it can be used for: its digest, its kind, and whether it can be a piece of others."""


def _use(item: Item) -> _Use:
    return item.digest, item.kind, pieces(item)


class Receiving:
    """Keeps objects that come from a remote, each one proved before: its seal, and that its bytes have its digest.

    What came whole is kept when it comes, so that after a cut it is not asked for again; what is put together from
    other objects when those are there. Records are held back until the end, so that none is here without what it needs.
    """

    def __init__(self, store: LocalStore, remote: Remote, progress: Progress = lambda done, total: None) -> None:
        self.store, self.remote = store, remote
        self.objects = self.size = self.records = 0
        self.done = self.total = 0
        self.progress = progress
        self.held: dict[bytes, _Got] = {}
        """Records, by digest."""
        self.packs: set[str] = set()
        self.needed: set[bytes] = set()
        """Digests of what was not here to put others together from, which were not kept for that."""
        self.wrong: dict[_Use, _Got] = {}
        """Objects of which no copy was whole yet."""
        self._wholes = Wholes()
        """Large objects of which pieces are to come."""
        self._spool: IO[bytes] = tempfile.TemporaryFile(dir=store.path, prefix="tmp-")  # noqa: SIM115
        self._waiting: list[tuple[str, Item, int]] = []

    def __enter__(self) -> Receiving:
        return self

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        """Keep what came, also after an error; records only without one."""
        try:
            if problem is None or issubclass(problem, BisError):
                self._keep_composed()
            if problem is None:
                for one in self.held.values():
                    self._keep(one)
        finally:
            self._spool.close()
            self.store.flush()

    def bring(self, wanted: Iterable[Copies]) -> None:
        """Where a copy is damaged, the next one is tried; what has none is told of in the end, and the rest goes on."""
        todo, turn = list(wanted), 0
        self.total += sum(HEAD.size + copies[0].item.stored for copies in todo)
        while todo:
            self._round([copies[turn] for copies in todo])
            turn += 1
            todo = [copies for copies in todo if _use(copies[0].item) in self.wrong and turn < len(copies)]
        self.store.flush()

    def record(self, digest: bytes) -> bytes | None:
        """The content of a record that is held back."""
        one = self.held.get(digest)
        if one is None:
            return None
        return packs.content(one.item, bytes(one.payload))

    def _round(self, places: Sequence[Place]) -> None:
        """One copy of each object."""
        workers = 2 * self.remote.at_once if self.remote.at_once > 1 else 1
        for got in in_order(self._ask, _ranges(places, self._wholes), workers):
            for one in got:
                self._take(one)
            self.progress(min(self.done, self.total), self.total)
        self._keep_composed()

    def _ask(self, asked: _Range) -> list[_Run | _Got]:
        try:
            data = self.remote.read(asked.pack, asked.start, asked.size)
        except NotFound:
            return [_Got(asked.pack, item, b"", "it is gone") for item in asked.items]
        return list(_proved(asked, memoryview(data)))

    def _take(self, one: _Run | _Got) -> None:
        if isinstance(one, _Run):
            self._keep_run(one)
            return
        self.done += HEAD.size + one.item.stored
        if one.wrong:
            self._fail(one)
        elif one.item.method in WHOLE:  # a record
            self.held[one.item.digest] = one._replace(payload=bytes(one.payload))
            self.wrong.pop(_use(one.item), None)
        else:
            self._spool.seek(0, 2)
            self._waiting.append((one.pack, one.item, self._spool.tell()))
            self._spool.write(one.payload)

    def _keep_run(self, run: _Run) -> None:
        self.store.keep_run(run.items, run.stored)
        self.done += len(run.stored)
        self.size += len(run.stored)
        self.objects += len(run.items)
        self.packs.add(run.pack)
        if self.wrong:
            for item in run.items:
                self.wrong.pop(_use(item), None)
        for item in run.items if self._wholes else ():
            if self._wholes.awaits(item.digest):
                at = item.payload - run.items[0].offset
                payload = run.stored[at : at + item.stored]
                self._wholes.passes(item.digest, payload if item.method == RAW else packs.content(item, bytes(payload)))

    def _keep_composed(self) -> None:
        """What needs other objects, in the order in which they do."""
        waiting, self._waiting = sorted(self._waiting, key=lambda one: stage(one[1])), []
        for pack, item, at in waiting:
            self._spool.seek(at)
            one = _Got(pack, item, self._spool.read(item.stored))
            try:
                parts = self._put_together(one)
            except NotFound as error:
                self.needed |= self._absent(one)
                self._fail(one._replace(wrong=error.what))
            except BisError as error:
                self._fail(one._replace(wrong=error.what))
            else:
                self._keep(one, parts)
        self._spool.truncate(0)

    def _put_together(self, one: _Got) -> chunks.PartList | None:
        """Raises Damaged unless an object that needs others has the digest that it should have."""
        item, found = one.item, None
        if item.method == DELTA:
            delta = deltas.read(bytes(one.payload))
            base = deltas.joined([self.store.fetch(digest) for digest in delta.bases])
            if blake3(deltas.apply(delta, base, item.raw)).digest() != item.digest:
                raise Damaged("its bytes do not match its digest")
        elif item.method == PARTS:
            found = chunks.read_list(bytes(one.payload))
            if chunks.total(found.parts) != item.raw:
                raise Damaged(f"its pieces do not make {item.raw} bytes")
            self._demand_whole(item, found)
        return found

    def _demand_whole(self, item: Item, found: chunks.PartList) -> None:
        """Pieces that came were proved when they did; whatever they are, the digest of all proves the whole. It is
        found out while they come, as far as they come in their order."""
        if not self._wholes.expects(item, found):
            self._wholes.forget(item.digest)
            self._wholes.expect(item, found)
        absent = next((part.digest for part in found.parts if not self.store.holds(part.digest, "chunk")), None)
        if absent:
            raise NotFound(f"{short(digest_of(absent))}, a piece of it, did not come")
        if not self._wholes.proved(item.digest, self.store.glance):
            for part in found.parts:
                self.store.fetch(part.digest)  # which says what is wrong, if a piece is
            raise Damaged("its bytes do not match its digest")

    def _absent(self, one: _Got) -> set[bytes]:
        """What it is put together from and is not here."""
        if one.item.method == DELTA:
            needs = deltas.read(bytes(one.payload)).bases
        else:
            needs = tuple(part.digest for part in chunks.read_list(bytes(one.payload)).parts)
        return {digest for digest in needs if not self.store.holds(digest, "chunk")}

    def _keep(self, one: _Got, parts: chunks.PartList | None = None) -> None:
        item = one.item
        form, boundaries = Form(item.method, one.payload, item.depth), parts.boundaries() if parts else ()
        self.store.keep(KINDS[item.kind - 1], item.digest, item.raw, form, boundaries)
        self.wrong.pop(_use(item), None)
        self.objects += 1
        self.size += HEAD.size + item.stored
        self.records += item.kind == NUMBER_OF_KIND["record"]
        self.packs.add(one.pack)

    def _fail(self, one: _Got) -> None:
        self.wrong[_use(one.item)] = one

    def moved(self) -> Moved:
        return Moved(self.objects, self.size, len(self.packs), self.records, tuple(self._findings()))

    def _findings(self) -> Iterator[Finding]:
        """A finding for each damaged pack, not for each object of it."""
        by_pack: dict[str, list[_Got]] = {}
        for one in self.wrong.values():
            by_pack.setdefault(one.pack, []).append(one)
        for pack, objects in sorted(by_pack.items()):
            first = objects[0]
            what = f"{KINDS[first.item.kind - 1]} {short(digest_of(first.item.digest))}"
            more = f" and {len(objects) - 1:,} more of it" if len(objects) > 1 else ""
            yield damaged_pack(self.remote, pack, f"{what}{more} cannot be used: {first.wrong}")


def _ranges(places: Sequence[Place], wholes: Wholes) -> list[_Range]:
    """What to ask for: objects that lie together are asked for together, and pieces in the order in which they are
    needed; all else pack by pack."""
    turn = {digest: number for number, digest in enumerate(wholes.merged())}
    by_pack: dict[str, list[Item]] = {}
    for pack, item in places:
        by_pack.setdefault(pack, []).append(item)
    found = []
    for pack, there in sorted(by_pack.items()):
        there.sort(key=itemgetter(OFFSET))
        items: list[Item] = []
        first = after = 0
        for item in there:
            end = item.offset + HEAD.size + item.stored
            apart = item.offset - after > GAP or end - first > RANGE
            if items and (apart or not _follows(items[-1], item, turn)):
                found.append(_Range(pack, tuple(items)))
                items = []
            if not items:
                first = item.offset
            items.append(item)
            after = end
        found.append(_Range(pack, tuple(items)))
    return sorted(found, key=lambda asked: turn.get(asked.items[0].digest, len(turn)))


def _follows(one: Item, other: Item, turn: Mapping[bytes, int]) -> bool:
    """Whether nothing that lies elsewhere is needed between these two."""
    return not turn or turn.get(other.digest, -1) == turn.get(one.digest, -2) + 1


def _proved(asked: _Range, data: memoryview) -> Iterator[_Run | _Got]:
    """What came, in its order, with what is wrong with it: nothing in it is believed before."""
    run: list[Item] = []
    for item in asked.items:
        at = item.offset - asked.start
        stored = data[at : at + HEAD.size + item.stored]
        wrong = ""
        try:
            packs.proved(item, stored)
        except Damaged as error:
            wrong = error.what
        simple = not wrong and item.method in WHOLE and item.kind != RECORD
        if run and not (simple and item.offset == run[-1].after):
            yield _run(asked, run, data)
            run = []
        if simple:
            run.append(item)
        else:
            yield _Got(asked.pack, item, b"" if wrong else stored[HEAD.size :], wrong)
    if run:
        yield _run(asked, run, data)


def _run(asked: _Range, items: list[Item], data: memoryview) -> _Run:
    return _Run(asked.pack, items, data[items[0].offset - asked.start : items[-1].after - asked.start])


def spread(copies: Iterable[Copies], sizes: Mapping[str, int]) -> list[Copies]:
    """Each object from the largest pack that has it: more of what is wanted lies together there."""
    return [
        sorted(places, key=lambda place: (-sizes.get(place.pack, 0), place.pack)) if len(places) > 1 else places
        for places in copies
    ]
