"""Annotations: kept in the store, then told to the ledger. Killed in between, `reindex` finds them."""

from __future__ import annotations

from bis.digest import canonical
from bis.ledger import Ledger
from bis.nouns.annotation import Annotation
from bis.nouns.run import is_tracked
from bis.store import Store


def keep(annotation: Annotation, store: Store, ledger: Ledger) -> Annotation:
    """Of a run that clients log to, nothing is in the store: its rows in the ledger are its facts."""
    if is_tracked(annotation.run):
        ledger.amend(annotation)
        return annotation
    record = store.put_bytes(canonical(annotation), "record")
    store.flush()
    ledger.annotate(annotation, record)
    return annotation
