"""Annotations: kept in the store, then told to the ledger. Killed in between, `reindex` finds them."""

from __future__ import annotations

from bis.digest import canonical
from bis.ledger import Ledger
from bis.nouns.annotation import Annotation
from bis.store import Store


def keep(annotation: Annotation, store: Store, ledger: Ledger) -> Annotation:
    record = store.put_bytes(canonical(annotation), "record")
    store.flush()
    ledger.annotate(annotation, record)
    return annotation
