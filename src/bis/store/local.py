"""A store in a folder: `format`, `packs/`, and `index`, which can be made again from the packs."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from blake3 import blake3

from bis.digest import PREFIX, READ_SIZE, Digest, digest_bytes, digest_file, short
from bis.errors import BisError, Damaged, KeepingError, NotFound
from bis.store import ObjectKind, assembly, deltas, doomed, packs, writers
from bis.store.chunks import MAXIMUM, MINIMUM, Piece
from bis.store.index import Boundary, Index, Place
from bis.store.open_packs import OpenPacks, open_pack
from bis.store.opening import Source, begin
from bis.store.packs import NUMBER_OF_KIND, PARTS, RAW, Form, Item, PackWriter, Unsynced
from bis.store.trouble import CHANGED, NEWER, NOT_A_STORE, shown, trouble, unreadable

if TYPE_CHECKING:
    from bis.store.inplace import Standing

T = TypeVar("T")

FORMAT: Final = "bis store"
VERSION: Final = 3
SMALL: Final = MINIMUM
"""Up to this size an object is one piece."""
PACK_SIZE: Final = 64 << 20
"""A pack that has grown to this size is finished, and another begun."""
OFTEN: Final = 64
"""Whoever asks for more objects than this is putting many: the index is then read whole, once."""
FEW: Final = 8
"""Where one piece in so many has to be unpacked, or fewer, they are read one after the other."""


def pieces(item: Item) -> bool:
    """Whether an object can be a piece of others: not one that itself is put together from pieces."""
    return item.method != PARTS


SERVES: Final[Mapping[ObjectKind | None, Callable[[Item], bool]]] = {
    None: lambda item: True,
    "blob": lambda item: True,
    "tree": lambda item: item.kind == NUMBER_OF_KIND["tree"],
    "record": lambda item: item.kind == NUMBER_OF_KIND["record"],
    "chunk": pieces,
}
"""Which copy will do: for a blob anything with its bytes; a tree or record must be listed as one."""


def open_store(path: Path, create: bool = True) -> LocalStore:
    """The store in the folder `path`. Raises NotFound when there is none and none is to be made, KeepingError when it
    was written by a newer bis (nothing is touched) or cannot be made."""
    path = path.absolute()
    version = VERSION
    try:
        text = (path / "format").read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        if not create:
            raise NotFound(
                f"there is no store in {shown(path)}", hint="bis run -- COMMAND records a first run"
            ) from None
        _make(path)
    except OSError as error:
        raise trouble(error, "read the store", path) from error
    else:
        version = _check(text, path)
        with contextlib.suppress(OSError):  # a store that lost its packs is an empty one, and says so object by object
            (path / "packs").mkdir(exist_ok=True)
    return LocalStore(path, version)


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        foreign = sorted(there for there in path.iterdir() if there.name != "packs" and there.name[:6] != "format")
        if foreign and not (path / "format").exists():  # else another process made the store meanwhile
            raise KeepingError(
                f"{shown(path)} is not a store: it holds {shown(foreign[0].name)} and no file `format`",
                hint="name an empty folder: BIS_STORE=/some/folder",
                code=NOT_A_STORE,
            )
        (path / "packs").mkdir(exist_ok=True)
        _declare(path)
    except OSError as error:
        raise trouble(error, "make a store in", path) from error


def _declare(path: Path) -> None:
    """Say in which version the store is written from now on."""
    fresh = path / f"format.{os.urandom(4).hex()}"
    with fresh.open("x", encoding="utf-8") as file:
        file.write(f"{FORMAT} {VERSION}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path / "format")
    packs.sync_folder(path)


def _check(text: str, path: Path) -> int:
    """The version of a store. Raises KeepingError for one that cannot be read."""
    version = version_in(text, shown(path))
    if version is None:
        raise KeepingError(
            f"{shown(path / 'format')} does not describe a store: {text[:40]!r}",
            because=f"Expected: {FORMAT} {VERSION}",
            hint=f"restore the file: echo '{FORMAT} {VERSION}' > {shown(path / 'format')}",
            code=NOT_A_STORE,
        )
    return version


def version_in(text: str, place: str) -> int | None:
    """What the file `format` of the store in `place` says; None for what is no such file. Raises KeepingError for what
    a newer bis wrote."""
    name, _, version = text.strip().rpartition(" ")
    if name != FORMAT or not version.isdecimal():
        return None
    if int(version) > VERSION:
        raise KeepingError(
            f"the store in {place} has format {version}; this bis reads up to {VERSION}",
            because="It was written by a newer bis. Nothing in it was touched.",
            hint="uv tool upgrade bis",
            code=NEWER,
        )
    return int(version)


class LocalStore:
    """The Store protocol over a folder. May be used by several threads; each process writes packs of its own."""

    def __init__(self, path: Path, version: int = VERSION) -> None:
        self.path = path
        self._version = version
        self.packs = path / "packs"
        self._lock = threading.RLock()
        self._lazy_index: Index | None = None
        self._writer: PackWriter | None = None
        self._pending: dict[bytes, list[Item]] = {}
        self._boundaries: dict[bytes, Boundary] = {}
        self._session: writers.Session | None = None
        self._doomed: frozenset[str] | None = None
        self._rebuilt = False
        self._asked = 0
        self._open = OpenPacks(self.packs)
        self._broken: KeepingError | None = None

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything. What was put and not flushed is dropped."""
        with self._lock:
            if self._writer:
                self._writer.discard()
            self._writer = None
            self._pending.clear()
            self.rest()
            if self._lazy_index:
                self._lazy_index.close()
            self._lazy_index = None
            self._open.close()

    def another(self) -> LocalStore:
        """The same store, for somebody who relies on it, and rests, on their own."""
        return LocalStore(self.path, self._version)

    def rest(self) -> None:
        """What was asked and put so far is not relied upon any more: records name it, or nobody needs it. Until then
        nothing is deleted of what this store said that it has."""
        with self._lock:
            if self._session:
                self._session.end()
            self._session, self._doomed = None, None

    @property
    def index(self) -> Index:
        if self._lazy_index is None:
            self._lazy_index = Index(self.path)
        return self._lazy_index

    # putting

    def has(self, digest: Digest) -> bool:
        raw = _raw(digest)
        with self._lock:
            return raw is not None and self._holds(raw, None)

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        found = {digest: _raw(digest) or b"" for digest in digests}
        with self._lock:
            going = self._relying() if self._doomed is None else self._doomed
            there = self.index.find_all([raw for raw in found.values() if raw not in self._pending], going)
            return {digest for digest, raw in found.items() if raw not in self._pending and raw not in there}

    def put_bytes(self, data: bytes, kind: ObjectKind = "blob") -> Digest:
        raw = blake3(data).digest()
        if len(data) > SMALL:
            if not self.holds(raw, kind):
                # What is needed to put something is imported there: a run that finds all it looks at known does
                # not wait for it before its command starts.
                from bis.store.large import Content, put_large

                content = Content(io.BytesIO(data).readinto, len(data))
                put_large(self, content, kind, lambda digest: not self.holds(digest, kind))
            return digest_of(raw)
        with self._lock:
            self._demand_sound()
            try:  # what `_writing` does, without its cost: there may be very many
                if not self._holds(raw, kind):
                    from bis.store.large import form_of

                    self._add(kind, raw, len(data), form_of(data))
            except (OSError, Unsynced) as error:
                raise self._trouble(error) from error
        return digest_of(raw)

    def put_file(self, path: Path | str, *, expected: Digest | None = None) -> Digest:
        try:
            if expected is not None and self.has(expected):
                return _demand(path, digest_file(path), expected)
            start, rest = begin(path)
            if rest is not None:
                with rest:
                    return self._put_stream(Source(path, start, rest), path, expected)
        except OSError as error:
            raise unreadable(error, Path(path)) from error
        if expected is not None:
            _demand(path, digest_bytes(start), expected)
        return self.put_bytes(start)

    def _put_stream(self, source: Source, path: Path | str, expected: Digest | None) -> Digest:
        def wanted(digest: bytes) -> bool:
            _demand(path, digest_of(digest), expected)
            return not self.holds(digest, "blob")

        from bis.store.large import Content, put_large

        content = Content(source.read, source.size(), os.fsencode(source.path.absolute()))
        return digest_of(put_large(self, content, "blob", wanted))

    def flush(self) -> None:
        with self._lock, self._writing():
            self._finish()

    # what is asked by those who put large content, or much: `large.Keeper`, `inplace.Keeper`

    def holds(self, digest: bytes, kind: ObjectKind) -> bool:
        """Whether it need not be put. A piece is served by any object that has its bytes at hand."""
        with self._lock:
            return self._holds(digest, kind)

    def keep(self, kind: ObjectKind, digest: bytes, raw: int, form: Form, boundaries: Iterable[Boundary] = ()) -> None:
        """Put an object in the form it was given, unless another thread did so meanwhile."""
        with self._lock, self._writing():
            if not self._holds(digest, kind):
                self._add(kind, digest, raw, form)
            self._boundaries |= {boundary[0]: boundary for boundary in boundaries}

    def keep_run(self, items: Sequence[Item], stored: bytes | memoryview) -> None:
        """Put objects as they lie in a pack, one behind the other, heads and payloads: they are proved, and were not
        here when this was last looked at."""
        with self._lock, self._writing():
            for item in self._pack().append(items, stored):
                self._pending.setdefault(item.digest, []).append(item)

    @contextlib.contextmanager
    def undoing(self) -> Iterator[None]:
        with self._lock:
            writer, count = self._writer, len(self._writer.items) if self._writer else 0
        try:
            yield
        except BaseException:
            with self._lock:
                if self._writer and (writer is None or writer is self._writer):
                    for item in self._writer.forget(count):
                        self._pending[item.digest].remove(item)
            raise

    def bases(self, piece: Piece) -> tuple[tuple[bytes, ...], int]:
        """A piece that is itself the last of a long row of differences is passed over for what it differs from."""
        with self._lock:
            here = [self._boundaries.get(anchor) for anchor in (piece.start, piece.end)]
            found = [boundary[side] for boundary, side in zip(here, (2, 1), strict=True) if boundary]
            digests = tuple(dict.fromkeys(filter(None, found))) or self.index.around(piece.start, piece.end)
        chosen: dict[bytes, int] = {}
        for digest in digests:
            chosen |= self._shallow(digest)
        some = dict(list(chosen.items())[: deltas.MOST_BASES])
        return tuple(some), max(some.values(), default=0)

    def standing(self, spots: Iterable[bytes]) -> Standing | None:
        from bis.store.inplace import Standing

        with self._lock:
            known = filter(None, map(self._behind, spots))
            place = next(filter(None, map(self._piece, known)), None)
        found = self._shallow(place.item.digest) if place else {}
        if not place or len(found) != 1:
            return None
        ((base, depth),) = found.items()
        return Standing(place.item.digest, place.item.raw, base, depth)

    def is_anchor(self, anchor: bytes) -> bool:
        with self._lock:
            return anchor in self._boundaries or bool(self.index.around(anchor, anchor))

    def _behind(self, spot: bytes) -> bytes | None:
        """The piece that began there last."""
        if here := self._boundaries.get(spot):
            return here[2]
        return next(iter(self.index.around(spot, b"")), None)

    def _shallow(self, digest: bytes) -> dict[bytes, int]:
        """The piece, or what it differs from, each with its depth; nothing when it is not there any more."""
        place = self._piece(digest)
        if place is None:
            return {}
        if place.item.depth < deltas.DEEPEST:
            return {digest: place.item.depth}
        try:
            below = {base: self._piece(base) for base in self._from_copy(place, assembly.needs)}
        except BisError:
            return {}
        return {base: there.item.depth for base, there in below.items() if there}

    def _piece(self, digest: bytes) -> Place | None:
        """Where a piece lies, as far as that is known without looking for it."""
        with self._lock:
            here = [Place("", item) for item in self._pending.get(digest, ())]
            return next((place for place in here or self._staying(digest) if pieces(place.item)), None)

    # the pack under way

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What the operating system says while the store is written to, as a KeepingError."""
        self._demand_sound()
        try:
            yield
        except (OSError, Unsynced) as error:
            raise self._trouble(error) from error

    def _demand_sound(self) -> None:
        if self._broken:
            raise self._broken

    def _trouble(self, error: OSError | Unsynced) -> KeepingError:
        """After a failed sync nothing more is written."""
        if isinstance(error, Unsynced):
            self._broken = trouble(error.error, "write to the store", self.path)
            return self._broken
        return trouble(error, "write to the store", self.path)

    def _pack(self) -> PackWriter:
        if self._writer and self._writer.size >= PACK_SIZE:
            self._finish()
        if not self._writer:
            if self._version < VERSION:
                self._declare()
                self._version = VERSION
            packs.remove_unfinished(self.packs)
            self._writer = PackWriter(self.packs)
        return self._writer

    def _declare(self) -> None:
        _declare(self.path)

    def _add(self, kind: ObjectKind, digest: bytes, raw: int, form: Form) -> None:
        item = self._pack().add(kind, digest, raw, form)  # first, as a new pack begins with nothing pending
        self._pending.setdefault(digest, []).append(item)

    def _finish(self) -> None:
        if self._writer and self._writer.items:
            name, items = self._writer.finish(self._relying())
            self.index.add(name, items, self._boundaries.values())
        elif self._writer:
            self._writer.discard()
        self._pending.clear()
        self._boundaries.clear()
        self._writer = None

    # what need not be put

    def _holds(self, digest: bytes, kind: ObjectKind | None) -> bool:
        pending = self._pending.get(digest)
        if pending and any(map(SERVES[kind], pending)):
            return True
        staying = self._staying(digest)
        return bool(staying) and any(SERVES[kind](place.item) for place in staying)

    def _staying(self, digest: bytes) -> list[Place]:
        """Where an object lies, without the packs that are about to be deleted."""
        going = self._relying() if self._doomed is None else self._doomed
        self._asked += 1
        if self._asked > OFTEN and not self.index.may_have(digest):
            return []
        return [place for place in self.index.find(digest) if place.pack not in going]

    def _relying(self) -> frozenset[str]:
        """From now on, nothing is deleted but what was doomed already: these packs."""
        if self._doomed is None:
            self._session = writers.begin(self.path)
            self._doomed = doomed.names(doomed.read(self.path))
            self.index.doubt()
            self.index.catch_up()
        return self._doomed

    # getting

    def get_bytes(self, digest: Digest) -> bytes:
        return self._from_any_copy(digest, self._read)

    def get_many(self, digests: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        from bis.store import bulk

        names = {_raw(digest) or b"": digest for digest in digests}
        with self._lock:
            places = self.index.find_all([raw for raw in names if raw not in self._pending])
        for places_near in bulk.stretches(place for place in places.values() if place.item.raw <= SMALL):
            for item, data in self._stretch(places_near):
                yield names[item.digest], data
                del names[item.digest]
        for digest in names.values():  # what lies elsewhere, or otherwise, or is damaged
            if self.size(digest) <= SMALL:
                yield digest, self.get_bytes(digest)

    def _stretch(self, places: Sequence[Place]) -> Iterator[tuple[Item, bytes]]:
        """Those objects that lie near each other in a pack, and are whole there."""
        from bis.store import bulk

        start = places[0].item.payload
        try:
            with self._reading(places[0]) as fd:
                block = os.pread(fd, places[-1].item.after - start, start)
        except (BisError, OSError):
            return
        for _, item in places:
            data = bulk.content(item, block[item.payload - start : item.after - start])
            if data is not None:
                yield item, data

    def fetch(self, digest: bytes) -> bytes:
        """The bytes of a piece."""
        return self._from_any_copy(digest_of(digest), self._read, pieces)

    def glance(self, digest: bytes) -> bytes:
        """The bytes of a piece as they lie there, for who verifies what they are a part of."""
        return self._from_any_copy(digest_of(digest), self._glimpse, pieces)

    def _glimpse(self, fd: int, item: Item) -> bytes:
        return assembly.glimpse(fd, item, self.fetch)

    def _read(self, fd: int, item: Item) -> bytes:
        return assembly.read(fd, item, self.fetch)

    def open(self, digest: Digest) -> BinaryIO:
        if self.size(digest) <= MAXIMUM:
            return io.BytesIO(self.get_bytes(digest))
        stream = self._from_any_copy(digest, functools.partial(assembly.Stream, digest, self.fetch))
        return io.BufferedReader(stream, READ_SIZE)

    def stretch(self, digest: Digest, start: int) -> Iterator[bytes]:
        """The content from a place on, in pieces of bounded size. Those before it are not read; each is verified before
        it is handed out. Close what is not read to its end."""
        return self._from_any_copy(digest, lambda fd, item: assembly.stretch(fd, item, self.fetch, start))

    def get_file(self, digest: Digest, path: Path, mode: int = 0o644) -> None:
        from bis.store import new_file

        with new_file.beside(path) as fresh:
            self._from_any_copy(digest, lambda fd, item: self._copy_out(fd, item, fresh, mode))
            new_file.appear(fresh, path)

    def _copy_out(self, fd: int, item: Item, fresh: str, mode: int) -> None:
        """Write an object to a new file, which is worth nothing after an error. A second try begins it again."""
        from bis.store import new_file

        if item.method == PARTS:
            with contextlib.suppress(Damaged, NotFound):  # which the second try tells more of, or mends
                new_file.write(fresh, self._at_the_end(fd, item), item.raw, mode)
                return
        small = item.raw <= SMALL
        blocks = [self._read(fd, item)] if small else assembly.stream(fd, item, self.fetch)
        new_file.write(fresh, blocks, item.raw, mode)

    def _at_the_end(self, fd: int, item: Item) -> Iterator[bytes | memoryview]:
        """The bytes of a large object, which is verified as a whole."""
        found = assembly.list_of(fd, item)
        with self._lock:
            places = self.index.find_all([part.digest for part in found.parts])
        if sum(place.item.method != RAW for place in places.values()) * FEW > len(places):
            return assembly.at_the_end(fd, item, self.glance)
        room = memoryview(bytearray(MAXIMUM))
        look = functools.partial(assembly.glimpse_into, room)
        return assembly.straight(
            item,
            found,
            lambda digest: self._from_any_copy(digest_of(digest), lambda fd, item: look(fd, item, self.fetch), pieces),
        )

    # what there is, and where it lies

    def size(self, digest: Digest) -> int:
        return self._places(digest)[0].item.raw

    def list(self, kind: ObjectKind) -> Iterator[Digest]:
        number = NUMBER_OF_KIND[kind]
        with self._lock:
            found = list(self.index.of_kind(number))
            found += [raw for raw, items in self._pending.items() if any(item.kind == number for item in items)]
        for raw in dict.fromkeys(found):
            yield digest_of(raw)

    def raw_digests(self, kind: ObjectKind) -> Iterator[bytes]:
        """As `list`, of what is durable, and as bytes: for those who look at very many."""
        with self._lock:
            yield from self.index.of_kind(NUMBER_OF_KIND[kind])

    def composed(self) -> set[bytes]:
        """What is put together from other objects, of what is durable."""
        with self._lock:
            return self.index.composed()

    def needs(self, digest: bytes) -> set[bytes]:
        """The objects from which any copy of this one is put together."""
        found: set[bytes] = set()
        for place in self._places(digest_of(digest)):
            if place.item.method not in packs.WHOLE:
                found.update(self._from_copy(place, assembly.needs))
        return found

    def _places(self, digest: Digest) -> Sequence[Place]:
        """Where the copies of an object lie, the packs themselves asked before it is called missing."""
        raw = _raw(digest)
        with self._lock:
            if raw and raw in self._pending:
                return [Place("", item) for item in self._pending[raw]]
            if raw and (places := self.index.find(raw)):
                return places
            self.index.catch_up(sure=True)
            if raw and not self._rebuilt and not self.index.find(raw):
                self._rebuilt = True
                self.index.rebuild()
            if raw and (places := self.index.find(raw)):
                return places
        raise NotFound(
            f"{short(digest)} is not in the store {shown(self.path)}",
            because=f"Looked for {digest} in all packs.",
            hint="bis verify names every missing object",
        )

    def _from_any_copy(
        self, digest: Digest, read: Callable[[int, Item], T], serves: Callable[[Item], bool] = lambda item: True
    ) -> T:
        """What `read` makes of the first copy that is whole and `serves`. What the index says is doubted before a
        pack is."""
        broken: dict[str, str] = {}
        for _ in range(2):
            for place in self._places(digest):
                if not serves(place.item):
                    continue
                try:
                    return self._from_copy(place, read)
                except Damaged as error:
                    broken[place.pack] = error.what
            with self._lock:
                for name in filter(None, broken):
                    self.index.read_again(name)
                    self.let_go(name)
        if not broken:
            raise NotFound(f"{short(digest)} is not in the store {shown(self.path)}", hint="bis verify")
        raise Damaged(
            f"{short(digest)} is damaged in pack {', '.join(name[:12] for name in broken)}",
            because=f"{digest} is not handed out: {'; '.join(dict.fromkeys(broken.values()))}.",
            hint="bis verify",
        )

    def let_go(self, name: str) -> None:
        """Open a pack anew when it is next read: another file may have taken its place."""
        self._open.let_go(name)

    def adopt(self, draft: Path, fd: int, name: str) -> None:
        """Let a proved pack, which lies in `draft` and is open, appear: durable. Raises OSError."""
        with contextlib.suppress(OSError):  # against accidents only
            os.fchmod(fd, os.fstat(fd).st_mode & 0o444)
        os.fsync(fd)
        draft.rename(self.packs / name)
        packs.sync_folder(self.packs)
        with self._lock:
            self.let_go(name)
            self.index.read_again(name)

    def _from_copy(self, place: Place, read: Callable[[int, Item], T]) -> T:
        with self._reading(place) as fd:
            packs.check_head(fd, place.item)
            return read(fd, place.item)

    def _reading(self, place: Place) -> contextlib.AbstractContextManager[int]:
        return self._open.reading(place.pack) if place.pack else self._reading_pending(place.item)

    @contextlib.contextmanager
    def _reading_pending(self, item: Item) -> Iterator[int]:
        fd = self._open_pending(item)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open_pending(self, item: Item) -> int:
        """The pack under way; when another thread finished it meanwhile, the finished one."""
        with self._lock:
            if not (self._writer and item in self._pending.get(item.digest, ())):
                return open_pack(self.packs / self._places(digest_of(item.digest))[0].pack)
            try:
                return self._writer.reader()
            except OSError as error:
                raise trouble(error, "read", self.packs) from error


def _demand(path: Path | str, digest: Digest, expected: Digest | None) -> Digest:
    if expected not in (None, digest):
        raise KeepingError(
            f"{shown(path)} is not what it was: its digest is {short(digest)}, expected {short(expected or '')}",
            because="It changed since it was looked at, or it is another file.",
            hint="repeat the command when nothing writes to the file",
            code=CHANGED,
        )
    return digest


def _raw(digest: str) -> bytes | None:
    """The 32 bytes; None for what is no digest."""
    try:
        raw = bytes.fromhex(digest.removeprefix(PREFIX))
    except ValueError:
        return None
    return raw if digest.startswith(PREFIX) and len(raw) == 32 else None


def raw_of(digest: Digest) -> bytes:
    """The 32 bytes of a name."""
    return bytes.fromhex(digest.removeprefix(PREFIX))


def digest_of(raw: bytes) -> Digest:
    """The name of 32 bytes."""
    return Digest(PREFIX + raw.hex())
