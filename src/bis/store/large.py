"""Putting large content: cut into pieces, each kept once, as its difference from a piece like it where that pays.

That piece lay between the same cuts in a version before, or at the same place in it (see `inplace`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from blake3 import blake3

from bis.errors import BisError
from bis.store import ObjectKind, chunks, deltas, planes, squeeze
from bis.store.chunks import Base, Part, PartList, Piece
from bis.store.crew import Behind, hands, in_order
from bis.store.inplace import Before, Standing
from bis.store.packs import DELTA, PARTS, PLANES, RAW, ZSTD, Form

Boundary = tuple[bytes, bytes | None, bytes | None]
"""An anchor or a spot, and the digests of the pieces before and behind it."""


class Keeper(Protocol):
    """What is asked of a store. Any thread may call it."""

    def holds(self, digest: bytes, kind: ObjectKind) -> bool: ...

    def bases(self, piece: Piece) -> tuple[tuple[bytes, ...], int]:
        """Digests of the pieces that lie between the same cuts in other versions, and the depth of the deepest."""
        ...

    def standing(self, spots: Iterable[bytes]) -> Standing | None: ...

    def is_anchor(self, anchor: bytes) -> bool: ...

    def fetch(self, digest: bytes) -> bytes: ...

    def undoing(self) -> AbstractContextManager[None]:
        """Inside it, an error takes back the pieces that were kept, as far as that is possible."""
        ...

    def keep(
        self, kind: ObjectKind, digest: bytes, raw: int, form: Form, boundaries: Iterable[Boundary] = ()
    ) -> None: ...


class Content(NamedTuple):
    """Content to be put."""

    read: Callable[[memoryview], int]
    """Puts the next bytes where it is told to and returns how many those are; 0 at the end."""
    size: int
    """As far as it is known before."""
    path: bytes = b""
    """Of the file, where there is one."""


class _Ready(NamedTuple):
    part: Part
    form: Form | None
    """None: it is there already."""


def put_large(store: Keeper, content: Content, kind: ObjectKind, wanted: Callable[[bytes], bool]) -> bytes:
    """Keep content, in bounded memory; returns its digest. Its pieces are kept as they come; what binds
    them together only if `wanted(digest)` says so, at the end."""
    before = Before(store, content.size, content.path)
    start, parts = b"", list[Part]()
    with store.undoing(), _Whole() as whole:
        cut = whole.seen(chunks.pieces(content.read, before, content.size, before.same))
        for anchor, ready in in_order(lambda piece: (piece.start, _prepared(store, piece)), cut):
            start = start or anchor
            parts.append(ready.part)
            if ready.form:
                store.keep("chunk", ready.part.digest, ready.part.size, ready.form)
        digest = parts[0].digest if len(parts) == 1 else whole.digest()
        if wanted(digest) or len(parts) == 1:  # a single piece serves as the whole, and is found again by its cuts
            found, size = PartList(chunks.cutter(), start, tuple(parts)), chunks.total(parts)
            store.keep(kind, digest, size, Form(PARTS, chunks.write_list(found)), found.boundaries(content.path))
    return digest


class _Whole:
    """The digest of all pieces, found out while they are cut and kept; a single one has its own."""

    def __init__(self) -> None:
        self._hasher = blake3()
        self._behind: Behind[memoryview] | None = None

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *problem: object) -> None:
        if self._behind:
            self._behind.__exit__(*problem)

    def seen(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        first: memoryview | None = None  # not held any longer than needed, nor is the block that it is a part of
        for piece in pieces:
            if first is None and self._behind is None:
                first = piece.data
            else:
                self._update(first, piece.data)
                first = None
            yield piece

    def _update(self, *some: memoryview | None) -> None:
        if self._behind is None:
            self._behind = Behind(self._hasher.update, 2 * hands())
        for data in filter(None, some):
            self._behind.do(data)

    def digest(self) -> bytes:
        if self._behind:
            self._behind.catch_up()
        return self._hasher.digest()


def _prepared(store: Keeper, piece: Piece) -> _Ready:
    digest = piece.digest or blake3(piece.data).digest()
    part = Part(digest, len(piece.data), piece.end)
    if store.holds(digest, "chunk"):
        return _Ready(part, None)
    if piece.base and (form := _in_place(piece.data, piece.base)):
        return _Ready(part, form)
    bases, depth = store.bases(piece)
    return _Ready(part, (bases and _difference(store, piece.data, bases, depth)) or form_of(piece.data))


def form_of(data: bytes | memoryview) -> Form:
    """In planes or compressed where that pays."""
    if planes.numbers(data) and (width := planes.best(data).width) > 1:
        return Form(PLANES, planes.write(bytes(data), width))
    packed = squeeze.pack_if_it_pays(data)
    return Form(RAW, data) if packed is None else Form(ZSTD, packed)


def _in_place(data: memoryview, base: Base) -> Form | None:
    """None when the difference takes more than a sample said."""
    frame = planes.pack(planes.differing(data, base.data), base.width)
    if len(frame) > base.most:
        return None
    return Form(DELTA, deltas.write(deltas.Delta((base.digest,), frame, base.width)), base.depth + 1)


def _difference(store: Keeper, data: memoryview, bases: tuple[bytes, ...], depth: int) -> Form | None:
    """None when another form is as good, or a base cannot be read: what is damaged must not spread."""
    try:
        base = deltas.joined([store.fetch(digest) for digest in bases])
    except BisError:
        return None
    if not deltas.resembles(data, base):
        return None
    frame = deltas.make(data, base)
    if len(frame) > deltas.WORTH_IT * squeeze.shrinks_to(data) * len(data):
        return None
    return Form(DELTA, deltas.write(deltas.Delta(bases, frame)), depth + 1)
