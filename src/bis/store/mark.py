"""Which objects a record, a tree or a large object needs, all the way down.

Objects are named by their 32 bytes here: a set of a million of them takes about 130 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from bis.digest import Digest, short
from bis.errors import Damaged
from bis.store.local import LocalStore, digest_of, raw_of
from bis.store.records import named_by
from bis.store.snapshot import read_tree


def reachable(store: LocalStore, roots: Iterable[Digest], known: set[bytes] | None = None) -> set[bytes]:
    """The roots and all that they need: what records name, the entries of trees that were kept, the pieces of large
    objects, and what differences differ from. It is added to `known`, whose members are not looked at again.

    A file that a tree names is in the answer whether it is in the store or not. Raises NotFound where a root, a tree
    or what a record names is not there, and Damaged where it cannot be read: what that needs cannot be known.
    """
    found = set() if known is None else known
    Marking(store).follow(roots, found)
    return found


class Marking:
    """The objects of a store that must be opened to know what they need: all others are only named."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.records = set(store.raw_digests("record"))
        self.trees = set(store.raw_digests("tree"))
        self.composed = store.composed()

    def follow(self, roots: Iterable[Digest], found: set[bytes]) -> None:
        """Add the roots to what was `found`, and all that they need."""
        todo = [self.there(root) for root in roots]
        while todo:
            digest = todo.pop()
            if digest in found:
                continue
            found.add(digest)
            for needed in self.needs(digest):
                if self.needs_others(needed):
                    todo.append(needed)
                else:
                    found.add(needed)

    def needs_others(self, digest: bytes) -> bool:
        return digest in self.trees or digest in self.composed or digest in self.records

    def there(self, digest: Digest) -> bytes:
        """Raises NotFound unless it is in the store."""
        self.store.size(digest)
        return raw_of(digest)

    def needs(self, digest: bytes) -> Iterator[bytes]:
        if digest in self.composed:
            yield from self.store.needs(digest)
        if digest in self.records:
            yield from self._of_record(digest_of(digest))
        if digest in self.trees:
            yield from self._of_tree(digest_of(digest))

    def _of_record(self, digest: Digest) -> Iterator[bytes]:
        try:
            named = named_by(self.store.get_bytes(digest))
        except msgspec.MsgspecError as error:
            raise Damaged(f"record {short(digest)} cannot be read: {error}", hint="bis verify") from None
        for one in named:
            yield self.there(one.digest)

    def _of_tree(self, digest: Digest) -> Iterator[bytes]:
        for entry in read_tree(self.store, digest).entries:
            if entry.kind == "tree":
                yield self.there(entry.digest)
            elif entry.kind == "file" and entry.kept:
                yield raw_of(entry.digest)
